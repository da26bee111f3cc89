"""`scheelite tune`: from a cold SQUID to a sensor that works, with proof; load and undo."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from daq.readout.requests import Begin, End, Say
    from daq.services.tune import Result, Watch


LOAD, UNDO = "load", "undo"
What = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG | load FILE | undo",
        help="The config whose channels to tune (what is not up is brought up for it); or a tune "
        "file to bring back; or what was held before the latest tuning.",
    ),
]


def tune(
    what: What,
    file: Annotated[Path | None, typer.Argument(help="The tune file to load.")] = None,
    channel: Annotated[list[str] | None, typer.Option(help="One of [detectors]; several.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of [detectors], at once.")] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also Tc and G, and a map of working points: longer.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after a crash.")] = False,
    config: Annotated[
        Path | None, typer.Option(help="Of load and undo; default: the config that is up.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=1e-3, help="Of a simulated bench: its seconds per second."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="For machines: JSON.")] = False,
) -> None:
    """From a cold SQUID to a locked one and a TES at its working point, with proof.

    Exits 1 where a channel did not pass, which is then left as it was found.
    """
    from daq.errors import UsageError
    from daq.services import tune
    from daq.settings.loader import load

    if (what == LOAD) != (file is not None):
        raise UsageError(f"expected a file with {LOAD} alone, found {what} {file or ''}".rstrip())
    if what in (LOAD, UNDO):
        _bring_back(file, config, speed, json_)
        return
    if bool(channel) == all_ and not resume:
        raise UsageError("expected either --channel NAME or --all")
    settings, names = load(Path(what)), channel or []
    if dry_run:
        _tell_plan(tune.dry_run(settings, names, deep=deep), json_)
        return
    with progress(quiet=json_) as watch:
        result = tune.tune(settings, names, watch, deep=deep, resume=resume, speed=speed)
    _tell(result, json_)


def _bring_back(file: Path | None, config: Path | None, speed: float | None, json_: bool) -> None:
    from daq.services import system, tune
    from daq.settings.loader import load

    settings = load(config) if config else system.settings_of_what_is_up()
    with progress(quiet=json_) as watch:
        if file:
            result = tune.load(settings, file, watch, speed=speed)
        else:
            result = tune.undo(settings, watch, speed=speed)
    _tell(result, json_)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Watch]:
    """Lines of what begins and ends, and a bar per channel; nothing for machines."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(highlight=False, quiet=quiet, stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=quiet) as bars:
        tasks: dict[str, TaskID] = {}

        def watch(said: Say | Begin | End) -> None:
            if said.at not in tasks:
                tasks[said.at] = bars.add_task(said.at, total=1.0)
            text, done = _words(said)
            bars.update(tasks[said.at], description=f"{said.at} {text}", completed=done)
            if getattr(said, "passed", None) is not None:
                console.print(f"{said.at} {text}", soft_wrap=True)

        yield watch


def _words(said: Say | Begin | End) -> tuple[str, float]:
    from daq.readout.requests import Begin, End

    if isinstance(said, End):
        return (f"{said.step}: passed", 1.0) if said.passed else (f"{said.step}: {said.found}", 0.0)
    return (f"{said.step}", 0.0) if isinstance(said, Begin) else (said.text, said.fraction)


def _tell(result: Result, json_: bool) -> None:
    if json_:
        typer.echo(json.dumps(result.json()))
    else:
        _table(result)
    result.check()


def _table(result: Result) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for name, channel in result.file.channels.items():
        steps = ", ".join(s.name for s in channel.steps if s.passed)
        console.print(f"{name}: {'passed' if channel.passed else 'FAILED'} ({steps})")
    for row in result.differences:
        console.print(f"{row.channel} {row.name}: {row.before} -> {row.now} {row.change}")
    console.print(f"{result.seconds:.0f} s on the wall")
    console.print(f"tune: {result.tune}", soft_wrap=True)
    console.print(f"report: {result.report}", soft_wrap=True)


def _tell_plan(plan: dict[str, list[tuple[str, str]]], json_: bool) -> None:
    if json_:
        rows = {
            name: {"steps": [{"name": step, "does": does} for step, does in steps]}
            for name, steps in plan.items()
        }
        typer.echo(json.dumps({"dry_run": True, "channels": rows}))
        return
    for name, steps in plan.items():
        typer.echo(name)
        for step, does in steps:
            typer.echo(f"  {step}: {does}")
