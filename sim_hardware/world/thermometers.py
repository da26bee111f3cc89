"""Resistance thermometers, each by a power law: falling resistance, invertible by hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thermometer:
    """R = `ohm` · (T / `at_k`) ** -`power`."""

    ohm: float
    at_k: float
    power: float

    def resistance_ohm(self, temperature_k: float) -> float:
        """Its resistance at a temperature."""
        return float(self.ohm * (temperature_k / self.at_k) ** -self.power)

    def temperature_k(self, resistance_ohm: float) -> float:
        """The temperature at which it has a resistance."""
        return float(self.at_k * (resistance_ohm / self.ohm) ** (-1 / self.power))


SEMICONDUCTOR = Thermometer(ohm=5000.0, at_k=4.2, power=1.1)
RUTHENIUM_OXIDE = Thermometer(ohm=2200.0, at_k=1.0, power=0.5)
