"""Muons: straight through the outer veto and whatever else lies on their line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim_hardware.world.array import DetectorArray, Line, from_above
from sim_hardware.world.particles import Deposit, Rng


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """A Moyal distribution whose mode and width grow with the way; mean = mode + 1.27 widths."""

    mode_ev_per_cm: float
    width_ev_per_cm: float

    def draw(self, rng: Rng, way_cm: float) -> float:
        """What is left over a way; never below a hundredth of the mode."""
        # a Moyal deviate is -ln z² of a normal z
        moyal = -np.log(rng.standard_normal() ** 2)
        per_cm = max(self.mode_ev_per_cm / 100, self.mode_ev_per_cm + self.width_ev_per_cm * moyal)
        return float(way_cm * per_cm)


# means: 4.2 MeV in 5 mm, 78 keV in 200 um, 84 MeV in 10 cm
TARGET = Stopping(mode_ev_per_cm=7.0e6, width_ev_per_cm=1.1e6)
SILICON = Stopping(mode_ev_per_cm=3.0e6, width_ev_per_cm=0.7e6)
CWO = Stopping(mode_ev_per_cm=7.8e6, width_ev_per_cm=0.5e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Muons:
    """Some cross the outer veto somewhere, some are aimed: they cross at least one crystal."""

    array: DetectorArray
    anywhere_hz: float
    aimed_hz: float
    kind: str = "muon"

    @property
    def rate_hz(self) -> float:
        """Both."""
        return self.anywhere_hz + (self.aimed_hz if self.array.targets else 0.0)

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """What lies on the muon's line."""
        del true_s
        aimed = rng.random() * self.rate_hz >= self.anywhere_hz
        line = self._aimed(rng) if aimed else self._anywhere(rng)
        return [*self._targets(rng, line), *self._silicon(rng, line), *self._cwo(rng, line)]

    def _anywhere(self, rng: Rng) -> Line:
        while True:
            line = from_above(rng, self.array.outer_radius_cm)
            if self.array.through_cwo(line) > 0:
                return line

    def _aimed(self, rng: Rng) -> Line:
        while True:
            line = from_above(rng, self.array.radius_cm)
            if self.array.through_targets(line):
                return line

    def _targets(self, rng: Rng, line: Line) -> list[Deposit]:
        names = self.array.targets
        met = self.array.through_targets(line)
        return [Deposit(0.0, names[which], TARGET.draw(rng, far)) for _, which, far in met]

    def _silicon(self, rng: Rng, line: Line) -> list[Deposit]:
        """Sheets that share a channel add up."""
        left: dict[str, float] = {}
        for sheet, far in self.array.through_silicon(line):
            channel = self.array.sheet_channel(sheet)
            if channel is not None:
                left[channel] = left.get(channel, 0.0) + SILICON.draw(rng, far)
        return [Deposit(0.0, channel, energy_ev) for channel, energy_ev in left.items()]

    def _cwo(self, rng: Rng, line: Line) -> list[Deposit]:
        far = self.array.through_cwo(line)
        return [Deposit(0.0, each, CWO.draw(rng, far)) for each in self.array.cwo if far > 0]
