"""`python -m daq SERVICE CONFIG`: the services of the acquisition, one process each."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import typer

from daq.errors import ScheeliteError
from daq.services.service import Waker, end_at_once, stop_on_signals
from daq.settings.loader import Settings, load

app = typer.Typer(add_completion=False, no_args_is_help=True)
Service = Callable[[Settings, threading.Event, Waker], None]


@app.command()
def core(config: Path) -> None:
    """The triggered core."""
    from daq.services.core import Core

    _serve(config, lambda settings, stop, waker: Core(settings, stop, waker).run())


@app.command()
def folder(config: Path) -> None:
    """The process that makes HDF5 files of the write-ahead log."""
    from daq.services.copying import copies_of
    from daq.services.folder import serve

    _serve(
        config,
        lambda settings, stop, waker: serve(
            settings.data_dir,
            settings.endpoint("folder.state"),
            settings.endpoint("folder.commands"),
            stop,
            waker,
            copies=copies_of(settings),
        ),
    )


@app.command()
def run(config: Path) -> None:
    """Run control."""
    from daq.services.conductor import Conductor

    _serve(config, lambda settings, stop, waker: Conductor(settings, stop, waker).run())


@app.command()
def supervise(config: Path) -> None:
    """All services of a config, kept alive."""
    from daq.services.supervisor import Supervisor

    _serve(  # a second SIGTERM is for a service that hangs, and nothing to the supervisor
        config,
        lambda settings, stop, _waker: Supervisor(settings, stop).run(),
        lambda _number: None,
    )


def _serve(config: Path, service: Service, again: Callable[[int], None] = end_at_once) -> None:
    """Run a service until SIGTERM or SIGINT; an error of ours is one sentence and its exit code."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    stop, waker = threading.Event(), Waker()
    stop_on_signals(stop, waker, again)
    try:
        service(load(config), stop, waker)
    except ScheeliteError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error
    finally:
        waker.close()


if __name__ == "__main__":
    app()
