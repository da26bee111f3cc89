"""What the config tells a console: where the services are, and what its channels hang on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daq.errors import ScheeliteError
from daq.readout.calibration import Calibration
from daq.settings import operator
from daq.settings.loader import Settings
from daq.settings.sections import Experiment
from gui.endpoints import Endpoints
from gui.model.console import About
from gui.model.scales import Scales, couplings_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a window is made for."""

    channels: tuple[str, ...]
    about: About
    scales: Scales


def endpoints_of(settings: Settings) -> Endpoints:
    """Where the services of a config are."""
    services = ["run", "core", *_others(settings)]
    if "instruments" in settings.sections:
        services.append("instruments")
    return Endpoints(
        traces=settings.endpoint("core.traces"),
        pulses=settings.endpoint("core.pulses"),
        raw=settings.endpoint("core.raw"),
        progress=settings.endpoint("run.progress"),
        states={name: settings.endpoint(f"{name}.state") for name in services},
        commands={name: settings.endpoint(f"{name}.commands") for name in services},
        config=settings.path,
    )


def setup_of(settings: Settings) -> Setup:
    """What a config says of its channels."""
    validated = settings.validated()
    about = About(
        others=_others(settings),
        squids=_squids(validated),
        operator=operator.current().who,
    )
    scales = Scales(couplings=couplings_of(validated), calibration=_calibration(settings))
    return Setup(settings.channel_names, about, scales)


def _others(settings: Settings) -> tuple[str, ...]:
    return ("folder", *(f"digitizer.{name}" for name in settings.digitizer_names))


def _squids(validated: Mapping[str, Any]) -> dict[str, str]:
    """Channel -> "instrument:number", by the detectors, else by the simulated bench's wiring.

    Any: a validated config is JSON.
    """
    detectors = validated.get("detectors") or {}
    if detectors:
        return {name: str(detector["squid"]) for name, detector in detectors.items()}
    wiring = (validated.get("bench") or {}).get("wiring") or {}
    return dict(wiring.get("squids") or {})


def _calibration(settings: Settings) -> Calibration:
    """The config's calibration; without one that can be read, nothing is shown in eV."""
    name = settings.section(Experiment).calibration
    if not name:
        return Calibration([])
    try:
        path = settings.path.absolute().parent / name
        return Calibration.from_json(path.read_bytes())
    except (OSError, ScheeliteError) as error:
        logger.warning("No energies are shown: %s", error)
        return Calibration([])
