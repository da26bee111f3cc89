"""`scheelite night`: begin a night by its plan, see what it does, look again later, end it."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from daq.errors import ScheeliteError, UsageError

LOOK_S = 0.5

AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def night(
    what: Annotated[str, typer.Argument(help="A plan's TOML file; or stop, attach, status.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen when.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not stay to watch.")] = False,
    json_: AsJson = False,
) -> None:
    """Run a night by its plan, in run control: no terminal is needed once it has begun.

    Ctrl-C leaves it alone; `night attach` looks again, `night stop` ends the step at hand and does
    the plan's [[last]]. The morning report is made at its end.
    """
    from daq.services import system

    settings = system.settings_of_what_is_up()
    if what == "status":
        _tell(_night(settings), json_)
    elif what == "attach":
        _watch(settings, json_)
    elif what == "stop":
        _tell(system.stop_night(settings), json_)
    elif dry_run:
        _rehearse(Path(what), settings, json_)
    else:
        system.start_night(settings, Path(what))
        if detach or json_:
            _tell(_night(settings), json_)
        else:
            _watch(settings, json_)


def _night(settings: Any) -> dict[str, Any]:  # Any: naming Settings would import pydantic; JSON
    from daq.services import system

    found = system.ask(settings, "run", "status")["night"]
    if found is None:
        raise UsageError("no night was begun here; scheelite night PLAN begins one")
    return dict(found)


def _tell(told: dict[str, Any], json_: bool) -> None:
    if json_:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    from rich.console import Console

    Console(highlight=False).print(table(told))


def _watch(settings: Any, json_: bool) -> None:
    """Show it until it is over, or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    told = _night(settings)
    try:
        with Live(table(told), console=console, auto_refresh=False) as live:
            while told["state"] != "over":
                time.sleep(LOOK_S)
                try:
                    told = _night(settings)
                except UsageError:
                    raise
                except ScheeliteError:
                    continue  # run control is being started again, and will go on
                live.update(table(told), refresh=True)
    except KeyboardInterrupt:
        console.print("detached: the night goes on; scheelite night attach looks again")
        return
    if json_:
        _tell(told, json_)


# Any: rich is imported only where something is shown; as run control says it
def table(told: dict[str, Any]) -> Any:
    """A night's steps and where it is."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None)
    for column in ("from", "for", "step", "what became of it"):
        made.add_column(column)
    for row in told["steps"]:
        failed = "red" if row["failed"] else ""
        made.add_row(
            _clock(row["began_ns"]), _length(row), row["what"], Text(_outcome(row), style=failed)
        )
    head = f"{told['name']}: {told['state']}, {told['outcome'] or told['part']}"
    if told["until_ns"] and told["state"] != "over":
        head += f", until {_clock(told['until_ns'])}"
    report = [Text(f"report: {told['report']}")] if told.get("report") else []
    return Group(Text(head, style="bold"), made, *report)


def _outcome(row: dict[str, Any]) -> str:
    return str(row["outcome"]) if row["ended_ns"] else "… now"


def _clock(t_ns: int) -> str:
    return datetime.fromtimestamp(t_ns / 1e9).astimezone().strftime("%H:%M:%S")


def _length(row: dict[str, Any]) -> str:
    seconds = (row["ended_ns"] - row["began_ns"]) / 1e9
    return str(timedelta(seconds=round(seconds))) if row["ended_ns"] else ""


# --- what would happen --------------------------------------------------------------------------


def _rehearse(path: Path, settings: Any, json_: bool) -> None:  # Any: as above
    from daq.settings.nightplan import load_plan

    rows = rehearsal(load_plan(path, settings), datetime.now().astimezone())
    if json_:
        sys.stdout.write(json.dumps({"steps": rows}) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None)
    for column in ("earliest", "latest", "part", "step"):
        made.add_column(column)
    for row in rows:
        made.add_row(row["earliest"], row["latest"] or "open", row["part"], row["what"])
    Console(highlight=False).print(made)


# Any: naming NightPlan would import pydantic for --help
def rehearsal(plan: Any, now: datetime) -> list[dict[str, str]]:
    """When each step begins at the earliest and at the latest; the first round of what repeats."""
    from daq.services.nightsteps import expected_s, said
    from daq.settings.nightplan import seconds_until

    earliest: datetime = now
    latest: datetime | None = now
    rows = []
    until = now + timedelta(seconds=seconds_until(plan.until, now)) if plan.until else None
    part = ""
    for place, step in plan.steps():
        if place.startswith("last") and not part.startswith("last") and until is not None:
            earliest, latest = max(earliest, until), None if latest is None else max(latest, until)
        part = place
        again = f", again and again until {plan.until}" if place.startswith("repeat") else ""
        rows.append(
            {
                "earliest": f"{earliest:%H:%M:%S}",
                "latest": f"{latest:%H:%M:%S}" if latest else "",
                "part": place.partition(".")[0],
                "what": said(step) + again,
            }
        )
        shortest_s, longest_s = expected_s(step)
        earliest += timedelta(seconds=shortest_s)
        if latest is None or longest_s is None:
            latest = None
        else:
            latest += timedelta(seconds=longest_s)
    return rows
