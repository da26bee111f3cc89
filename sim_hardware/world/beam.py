"""Neutrinos of an accelerator's pions and muons at rest, in time with its gate."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from sim_hardware.world.array import DetectorArray
from sim_hardware.world.gate import BeamGate
from sim_hardware.world.particles import Deposit, Rng, pick

PULSE_S = 0.7e-6  # of protons, at the gate's beginning
MUON_LIFE_S = 2.197e-6
PROMPT = 1 / 3  # of the three neutrinos, the one that comes with the pion
PROMPT_EV, MUON_EV = 29.79e6, 105.658e6
TUNGSTEN_EV = 171.311e9


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamNeutrinos:
    """Recoils of tungsten after pulses of protons, each in one crystal.

    The gate opens at least twice a second: what comes after it is less than a second late.
    """

    array: DetectorArray
    gate: BeamGate
    rate_hz: float
    kind: str = "beam"

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """One, after the next opening of the gate: a third at once, the others as muons decay."""
        delay_s = self.gate.opening_s(self.gate.after(true_s)) - true_s
        delay_s += PULSE_S * rng.random()
        neutrino_ev = PROMPT_EV
        if rng.random() >= PROMPT:
            delay_s += MUON_LIFE_S * rng.standard_exponential()
            neutrino_ev = _delayed_ev(rng)
        most_ev = 2 * neutrino_ev**2 / TUNGSTEN_EV
        recoil_ev = most_ev * (1 - sqrt(1 - rng.random()))  # 1 - T/Tmax, without a form factor
        return [
            Deposit(delay_s, self.array.targets[pick(rng, self.array.cumulated_mass)], recoil_ev)
        ]


def _delayed_ev(rng: Rng) -> float:
    """Of a muon's two neutrinos one: x²(3 - 2x) or 6x²(1 - x), with x = 2E/m to 1."""
    other = rng.random() < 0.5
    while True:
        x = rng.random()
        density = 6 * x * x * (1 - x) / (8 / 9) if other else x * x * (3 - 2 * x)
        if rng.random() < density:
            return x * MUON_EV / 2
