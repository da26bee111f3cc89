"""`python -m gui CONFIG`: the live window from the command line."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daq.errors import ScheeliteError, UsageError
from daq.settings.loader import Settings, load
from gui.startup import qt_problem

app = typer.Typer(add_completion=False)


class Theme(StrEnum):
    """What the window looks like."""

    AUTO = "auto"
    LIGHT = "light"
    DARK = "dark"


@app.command()
def gui(
    config: Annotated[Path, typer.Argument(help="The configuration, such as config/bench.toml.")],
    screenshot: Annotated[
        Path | None, typer.Option(help="Take a picture of the window, then close it.")
    ] = None,
    after: Annotated[float, typer.Option(min=0.1, help="Seconds until the picture.")] = 5.0,
    theme: Annotated[Theme, typer.Option(help="Light, dark, or as the desktop is.")] = Theme.AUTO,
) -> None:
    """Show traces, records, rates and the run; start and stop it."""
    try:
        show(load(config), screenshot, after, theme.value)
    except ScheeliteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error


def show(settings: Settings, screenshot: Path | None, after_s: float, theme: str) -> None:
    """Show the window of an experiment; UsageError where Qt cannot start."""
    if screenshot is not None:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # a picture needs no display
    if problem := qt_problem(os.environ):
        raise UsageError(problem)
    # Qt's libraries are not sure to be there before this line
    from gui.feed import Endpoints
    from gui.windows.application import Screenshot, run

    endpoints = Endpoints(
        traces=settings.endpoint("core.traces"),
        pulses=settings.endpoint("core.pulses"),
        core_state=settings.endpoint("core.state"),
        run_state=settings.endpoint("run.state"),
        run_commands=settings.endpoint("run.commands"),
    )
    picture = None if screenshot is None else Screenshot(screenshot, after_s)
    run(endpoints, settings.channel_names, theme, picture)


if __name__ == "__main__":
    app(prog_name="python -m gui")
