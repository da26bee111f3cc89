"""`scheelite runs`: the catalogue of runs, to list, to search and to make anew."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from daq.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="The catalogue of all runs.")
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the run folders; default: of what is up, else runs."),
]


@app.command("list")
def list_runs(
    last: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = 20,
    data: Data = None,
    json_: AsJson = False,
) -> None:
    """The newest runs."""
    from daq.store.catalogue import Catalogue, Search

    _tell(Catalogue(_data(data)).find(Search())[-last:], json_)


@app.command()
def show(run: int, data: Data = None, json_: AsJson = False) -> None:
    """One run, channel by channel."""
    from daq.store.catalogue import Catalogue, Search

    found = [row for row in Catalogue(_data(data)).find(Search()) if row.run == run]
    if not found:
        raise UsageError(f"expected a run of the catalogue, found {run}; scheelite runs list")
    if json_:
        _json(asdict(found[0]))
        return
    from rich.console import Console

    Console(highlight=False).print(_details(found[0]))


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="In any of its comments.")] = "",
    after: Annotated[str, typer.Option(help="Not over before: 2026-11-26 or ...T22:00.")] = "",
    before: Annotated[str, typer.Option(help="Begun before.")] = "",
    label: Annotated[str, typer.Option(help="A, B, C or ignore.")] = "",
    channel: Annotated[str, typer.Option(help="Has this channel.")] = "",
    exposure: Annotated[
        float | None, typer.Option(min=0, help="At least [g d], of the channel or of all.")
    ] = None,
    data: Data = None,
    json_: AsJson = False,
) -> None:
    """Runs by time, comment, label, channel and exposure; times without a zone are UTC."""
    from daq.store.catalogue import Catalogue, Search

    asked = Search(
        after_ns=_ns(after),
        before_ns=_ns(before),
        text=text,
        label=label,
        channel=channel,
        exposure_g_d=exposure,
    )
    _tell(Catalogue(_data(data)).find(asked), json_)


@app.command()
def rebuild(data: Data = None, json_: AsJson = False) -> None:
    """Make the catalogue anew from the runs' files. Exits 1 where a run cannot be read."""
    from daq.services import cataloguing

    n_runs, problems = cataloguing.rebuild(_data(data))
    if json_:
        _json({"runs": n_runs, "problems": problems})
    else:
        sys.stdout.write("\n".join([*problems, f"{n_runs} runs are in the catalogue\n"]))
    raise SystemExit(int(bool(problems)))


def _data(given: Path | None) -> Path:
    """The folder of the runs that are meant."""
    if given is not None:
        return given
    from daq.errors import RefusedError
    from daq.services import system

    try:
        return system.settings_of_what_is_up().data_dir
    except RefusedError:
        return Path("runs").absolute()


def _ns(text: str) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"expected a time such as 2026-11-26T22:00, found {text!r}") from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1e6) * 1000


def _json(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _tell(rows: list[Any], json_: bool) -> None:  # Any: RunRow, which --help need not import
    if json_:
        _json({"runs": [asdict(row) for row in rows]})
        return
    from rich.console import Console
    from rich.table import Table

    made = Table(box=None)
    for column in ("run", "start (UTC)", "min", "state", "label", "records", "g d", "comment"):
        made.add_column(column, justify="right" if column in ("run", "min", "records") else "left")
    for row in rows:
        made.add_row(*_cells(row))
    Console(highlight=False).print(made if rows else "no run fits")


def _cells(row: Any) -> list[str]:
    start = datetime.fromtimestamp(row.start_ns / 1e9, UTC)
    minutes = (row.stop_ns - row.start_ns) / 60e9
    return [
        str(row.run), f"{start:%Y-%m-%d %H:%M:%S}", f"{minutes:.1f}", row.state, row.labels,
        str(row.records), f"{row.exposure_g_d:.4g}", row.comment,
    ]  # fmt: skip


def _details(row: Any) -> Any:
    from rich.console import Group
    from rich.table import Table

    head = Table(box=None, show_header=False)
    for key, value in asdict(row).items():
        if key != "channels":
            head.add_row(key, str(value))
    body = Table(box=None)
    for column in ("channel", "records", "live s", "g d"):
        body.add_column(column, justify="left" if column == "channel" else "right")
    for c in row.channels:
        body.add_row(c.channel, str(c.records), f"{c.live_s:.2f}", f"{c.exposure_g_d:.4g}")
    return Group(head, body)
