"""`scheelite train` and `scheelite filters`: filters made of runs, and looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Optimum filters.")

Sigmas = Annotated[float, typer.Option(min=1, max=100, help="The threshold to predict for.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def train(
    runs: Annotated[list[Path], typer.Argument(help="Runs with pulses and random triggers.")],
    out: Annotated[Path, typer.Option(help="The filter file to write.")],
    channel: Annotated[str | None, typer.Option(help="This one alone; default: all.")] = None,
    least: Annotated[float, typer.Option(help="Lowest pulses of the template [counts].")] = 0.0,
    most: Annotated[float, typer.Option(help="Highest of them [counts].")] = float("inf"),
    sigmas: Sigmas = 5.0,
    json_: AsJson = False,
) -> None:
    """Template and noise of each channel from runs, into a filter file."""
    from rich.console import Console

    from daq.services.train import Heights, filter_row, filter_table, train_file

    trained = train_file(runs, out, channel=channel, heights=Heights(least=least, most=most))
    filters = {one.channel: one.filter for one in trained if one.filter is not None}
    rows = [filter_row(name, one, sigmas) for name, one in filters.items()]
    left = {one.channel: one.problem for one in trained if one.filter is None}
    if json_:
        typer.echo(json.dumps({"file": str(out), "filters": rows, "left_out": left}))
        return
    console = Console(highlight=False)
    console.print(filter_table(rows))
    for row in rows:
        for what in ("noise", "pulses"):
            console.print(f"{row['channel']} {what}: {row['provenance'][what]}", soft_wrap=True)
    for name, problem in left.items():
        console.print(f"left out: {name}: {problem}", soft_wrap=True)
    console.print(f"{out}: {len(filters)} filters", soft_wrap=True)


@app.command("load")
def filters_load(
    config: Annotated[Path, typer.Argument(help="The config of the running core.")],
    file: Annotated[Path, typer.Argument(help="What scheelite train wrote.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="This one, and more; default: all that it has.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Other filters for the run in progress, from now on, without losing a sample."""
    from daq.services.livefilters import load_filters
    from daq.settings.loader import load

    told = load_filters(load(config), file, channel or [])
    if json_:
        typer.echo(json.dumps(told))
        return
    for name, sample in told["since"].items():
        typer.echo(f"{name}: from sample {sample} on")
    typer.echo(f"settings epoch {told['epoch']}")


@app.command("show")
def filters_show(
    file: Annotated[Path, typer.Argument(help="A filter file.")],
    sigmas: Sigmas = 5.0,
    json_: AsJson = False,
) -> None:
    """What is in a filter file, and the noise triggers that it predicts."""
    from rich.console import Console

    from daq.services.filterfile import read_filters
    from daq.services.train import filter_row, filter_table

    rows = [filter_row(name, one, sigmas) for name, one in read_filters(file).items()]
    if json_:
        typer.echo(json.dumps({"file": str(file), "filters": rows}))
        return
    console = Console(highlight=False)
    console.print(filter_table(rows))
    for row in rows:
        told = [f"{key}: {value}" for key, value in row["provenance"].items()]
        console.print(f"{row['channel']}: {'; '.join(told)}", soft_wrap=True)
