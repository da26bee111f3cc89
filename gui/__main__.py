"""`python -m gui CONFIG`: the console from the command line."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daq.errors import ScheeliteError, UsageError
from daq.settings.loader import Settings, load
from gui.setup import endpoints_of, setup_of
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
    screenshots: Annotated[
        Path | None, typer.Option(help="Take pictures of every panel into this folder, then end.")
    ] = None,
    after: Annotated[float, typer.Option(min=0.1, help="Seconds until the first picture.")] = 5.0,
    theme: Annotated[Theme, typer.Option(help="Light, dark, or as the desktop is.")] = Theme.AUTO,
) -> None:
    """The console: the run, traces, spectra, the array, SQUIDs, the fridge, log and alarms."""
    try:
        settings = load(config)
        if screenshots is not None:
            picture_all(settings, screenshots, after)
        else:
            show(settings, screenshot, after, theme.value)
    except ScheeliteError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error


def show(settings: Settings, screenshot: Path | None, after_s: float, theme: str) -> None:
    """Show the window of an experiment; UsageError where Qt cannot start."""
    _expect_qt(picture=screenshot is not None)
    # Qt's libraries are not sure to be there before this line
    from gui.windows.application import Screenshot, run

    picture = None if screenshot is None else Screenshot(screenshot, after_s)
    run(endpoints_of(settings), setup_of(settings), theme, picture)


def picture_all(settings: Settings, folder: Path, after_s: float) -> None:
    """Pictures of all panels, in both themes and two sizes; UsageError where Qt cannot start."""
    _expect_qt(picture=True)
    from gui.windows.pictures import take_all

    take_all(endpoints_of(settings), setup_of(settings), folder, after_s)


def _expect_qt(*, picture: bool) -> None:
    if picture:
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # a picture needs no display
    if problem := qt_problem(os.environ):
        raise UsageError(problem)


if __name__ == "__main__":
    app(prog_name="python -m gui")
