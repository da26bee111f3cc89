"""What a volt at the digitizer is in ADC counts, in amperes through the TES, in eV of a pulse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from daq.readout.calibration import Calibration, Curve

UNITS = ("V", "counts", "A", "eV")
# what is missing where a unit is not there
MISSING = {
    "counts": "no record has said yet what a count is",
    "A": "no [detectors] in the config, or its feedback resistor was not read yet",
    "eV": "no calibration of this channel",
}


class Coupling(msgspec.Struct, frozen=True):
    """What the config's [detectors] says of one channel, as far as it concerns us."""

    squid: str = ""
    input_a_per_phi0: float | None = None
    feedback_a_per_phi0: float | None = None
    feedback_ohm: float | None = None


@dataclass(slots=True)
class Scales:
    """Factors from volts, by channel and unit; what is not known is None, never 1."""

    couplings: Mapping[str, Coupling] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=lambda: Calibration([]))
    feedback_ohm: dict[str, float] = field(default_factory=dict)  # as the electronics say
    volts_per_count: dict[str, float] = field(default_factory=dict)

    def factor(self, channel: str, unit: str) -> float | None:
        """What to multiply volts with; None where that is not known."""
        if unit == "V":
            return 1.0
        per_count = self.volts_per_count.get(channel)
        if unit == "counts":
            return None if not per_count else 1.0 / per_count
        if unit == "A":
            return self._amps_per_volt(channel)
        curve = self.curve(channel)
        if curve is None or not per_count:
            return None
        return 1.0 / (per_count * curve.counts_per_ev)

    def curve(self, channel: str) -> Curve | None:
        """The newest calibration of a channel."""
        return next((c for c in reversed(self.calibration.curves) if c.channel == channel), None)

    def known(self, channel: str) -> list[str]:
        """The units that a channel's volts can be shown in."""
        return [unit for unit in UNITS if self.factor(channel, unit) is not None]

    def _amps_per_volt(self, channel: str) -> float | None:
        """A loop in lock feeds back as many flux quanta as the TES's current makes."""
        coupling = self.couplings.get(channel)
        if coupling is None or not coupling.feedback_a_per_phi0:
            return None
        ohm = coupling.feedback_ohm or self.feedback_ohm.get(channel)
        if not ohm or not coupling.input_a_per_phi0:
            return None
        return coupling.input_a_per_phi0 / coupling.feedback_a_per_phi0 / ohm


def couplings_of(validated: Mapping[str, Any]) -> dict[str, Coupling]:
    """What the config says of its detectors; Any: a validated config is JSON."""
    given = validated.get("detectors") or {}
    try:
        return msgspec.convert(given, dict[str, Coupling], strict=False)
    except msgspec.ValidationError:
        return {}  # a config of another version: its units are not known, and the rest works
