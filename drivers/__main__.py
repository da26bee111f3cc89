"""The command line of the driver services: `python -m drivers digitizer NAME CONFIG`, and so on."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import typer

from daq.errors import ScheeliteError, UsageError
from daq.services.service import Waker, stop_on_signals
from daq.settings import loader
from daq.settings.detectors import Detectors
from drivers import catalogue
from drivers.services import digitizer as digitizer_service
from drivers.services import instruments as instruments_service
from drivers.services.detectorlimits import with_detectors
from drivers.services.digitizer import DigitizerService, Limits
from drivers.services.instruments import UNLIMITED, Entry, InstrumentsService
from drivers.settings import Digitizers, Instrument, Instruments, Safety

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The services that speak to the hardware."
)


@app.command()
def digitizer(name: str, config: Path) -> None:
    """Run the service of one digitizer of a config, until SIGTERM."""
    settings = loader.load(config)
    digitizers = settings.section(Digitizers).root
    if name not in digitizers:
        raise UsageError(f"expected one of the digitizers {', '.join(digitizers)}, found {name!r}")
    chosen = digitizers[name]
    driver = catalogue.digitizer(chosen.model)
    stop, waker = _stopping()
    service = DigitizerService(
        name,
        driver.from_settings(name, chosen),
        resource=chosen.resource,
        limits=Limits(
            buffer_s=chosen.buffer_s,
            buffer_bytes=chosen.buffer_bytes,
            silent_after_s=chosen.silent_after_s,
        ),
        endpoints=digitizer_service.Endpoints(
            blocks=settings.endpoint("core.blocks"),
            state=settings.endpoint(f"digitizer.{name}.state"),
            commands=settings.endpoint(f"digitizer.{name}.commands"),
        ),
        stop=stop,
        waker=waker,
    )
    service.run()


@app.command()
def instruments(config: Path) -> None:
    """Run the service of all instruments of a config, until SIGTERM."""
    settings = loader.load(config)
    stop, waker = _stopping()
    entries = {n: _entry(chosen) for n, chosen in settings.section(Instruments).root.items()}
    service = InstrumentsService(
        entries,
        safety=_safety(settings, entries),
        endpoints=instruments_service.Endpoints(
            readings=settings.endpoint("core.commands"),
            state=settings.endpoint("instruments.state"),
            commands=settings.endpoint("instruments.commands"),
            lease=settings.endpoint("run.state"),
        ),
        stop=stop,
        waker=waker,
    )
    service.run()


def _safety(settings: loader.Settings, entries: Mapping[str, Entry]) -> Safety:
    safety = settings.section(Safety) if "safety" in settings.sections else UNLIMITED
    if "detectors" not in settings.sections:
        return safety
    instruments = {name: entry.instrument for name, entry in entries.items()}
    return with_detectors(safety, settings.section(Detectors).root, instruments)


def _entry(chosen: Instrument) -> Entry:
    return Entry(
        model=chosen.model,
        resource=chosen.resource,
        instrument=chosen.made(),
        poll_s=chosen.poll_s,
        slow_poll_s=chosen.slow_poll_s,
    )


def _stopping() -> tuple[threading.Event, Waker]:
    stop, waker = threading.Event(), Waker()
    stop_on_signals(stop, waker)
    return stop, waker


def main() -> None:
    """Run a command; an error of ours is one sentence on stderr and its exit code."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        app(standalone_mode=True)
    except ScheeliteError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
