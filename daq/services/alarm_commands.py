"""`scheelite alarms`: what stands, who has seen it, and what could be watched."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="What is wrong now, and who has seen it.")
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
AlarmName = Annotated[str, typer.Argument(help="As in [alarms.NAME].")]


@app.command("list")
def list_alarms(json_: AsJson = False) -> None:
    """Alarms that stand, are over unseen, or are silenced. Exits 1 where one stands unseen."""
    from daq.services import system

    rows = system.alarms(system.settings_of_what_is_up())
    _tell(rows, json_)
    raise SystemExit(int(any(r["state"] == "standing" and not r["acknowledged_by"] for r in rows)))


@app.command()
def ack(name: AlarmName, json_: AsJson = False) -> None:
    """You have seen it: nobody else is called, and it goes when it is over."""
    from daq.services import system

    _tell(system.acknowledge(system.settings_of_what_is_up(), name), json_)


@app.command()
def silence(
    name: AlarmName,
    minutes: Annotated[float, typer.Option(min=0, help="For how long; 0 ends a silence.")] = 60.0,
    json_: AsJson = False,
) -> None:
    """Nobody is told of it and nothing is done because of it, until then."""
    from daq.services import system

    _tell(system.silence(system.settings_of_what_is_up(), name, minutes * 60.0), json_)


@app.command()
def quantities(
    config: Annotated[Path | None, typer.Argument(help="Default: the one that is up.")] = None,
    json_: AsJson = False,
) -> None:
    """Everything that alarms and plans can watch, with its unit."""
    import json

    from daq.services import system
    from daq.settings.loader import load
    from daq.settings.watch import quantities_of

    settings = load(config) if config else system.settings_of_what_is_up()
    found = quantities_of(settings.sections)
    if json_:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, unit in found.items():
        sys.stdout.write(f"{name}\t{unit}\n")


def _tell(rows: list[dict[str, Any]], json_: bool) -> None:  # Any: as run control says it
    import json

    if json_:
        sys.stdout.write(json.dumps({"alarms": rows}) + "\n")
        return
    from rich.console import Console

    Console(highlight=False).print(table(rows) if rows else "no alarm stands")


COLORS = {"critical": "red", "warning": "yellow", "info": "cyan"}


# Any: rich is imported only where something is shown; rows as run control says them
def table(rows: list[dict[str, Any]]) -> Any:
    """The alarms as a table."""
    from rich.table import Table

    made = Table(box=None)
    for column in ("alarm", "severity", "since (UTC)", "state", "seen by", "what"):
        made.add_column(column)
    for row in rows:
        color = COLORS[row["severity"]] if row["state"] == "standing" else "dim"
        made.add_row(
            row["name"], f"[{color}]{row['severity']}[/{color}]", _time(row["since_ns"]),
            _state(row), row["acknowledged_by"], row["sentence"].partition(": ")[2],
        )  # fmt: skip
    return made


def _state(row: dict[str, Any]) -> str:
    silent = f", silent until {_time(row['silent_until_ns'])}" if row["silent_until_ns"] else ""
    return f"{row['state']}{silent}"


def _time(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9, UTC).strftime("%d %H:%M:%S") if t_ns else ""
