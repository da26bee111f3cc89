"""What an output of a waveform generator gives over time, and the heater pulses that it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHAPES = frozenset({"SIN", "SQU", "TRI", "RAMP", "PULS"})  # the others give their offset alone

EDGE_S = 1e-9  # by which an edge comes early, so that the sample it falls on is after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Volts without a load; the wave begins with its phase at `begun_s`, the stamp of its shape.

    `symmetry` is the rising share of a ramp, `duty` the high share of a square, 0 to 1 both.
    """

    on: bool = False
    function: str = "SIN"
    frequency_hz: float = 1e3
    vpp: float = 0.2
    offset_v: float = 0.0
    phase: float = 0.0  # in turns
    duty: float = 0.5
    symmetry: float = 1.0
    width_s: float = 100e-6
    inverted: bool = False
    begun_s: float = 0.0

    def stamped(self, t_s: float, before: Wave) -> Wave:
        """This wave from `t_s` on; it goes on where only its size changed."""
        same = replace(self, vpp=before.vpp, offset_v=before.offset_v, begun_s=before.begun_s)
        return replace(self, begun_s=before.begun_s if same == before else t_s)

    @property
    def moves(self) -> bool:
        """Whether the volts change with time."""
        return self.on and self.function in SHAPES

    @property
    def levels_v(self) -> tuple[float, float]:
        """The lower level and the upper one, of a pulse the resting one and the other."""
        half_v = self.vpp / 2 if self.moves else 0.0
        if not self.on:
            return 0.0, 0.0
        sign = -1.0 if self.inverted else 1.0
        return sign * (self.offset_v - half_v), sign * (self.offset_v + half_v)

    def volts(self, t_s: Floats) -> Floats:
        """What is there at these times of the bench."""
        rest_v, other_v = self.levels_v
        if not self.moves:
            return np.full(t_s.shape, rest_v)
        turns = np.mod((t_s - self.begun_s + EDGE_S) * self.frequency_hz + self.phase, 1.0)
        return rest_v + (other_v - rest_v) * self._part(turns)

    def highs(self, start_s: float, stop_s: float) -> list[tuple[float, float]]:
        """(begin, end) of the times at which a pulse, or the upper half of a wave, is on.

        Those that begin in [start_s, stop_s), which lies in the time of this wave.
        """
        if not self.moves:
            return []
        first, last = self._turn(start_s), self._turn(stop_s)
        begins = ((n - self.phase) / self.frequency_hz for n in range(ceil(first), ceil(last)))
        return [(self.begun_s + s, self.begun_s + s + self.high_s) for s in begins]

    @property
    def high_s(self) -> float:
        """How long a pulse, or the upper half of a wave, lasts."""
        if self.function == "PULS":
            return self.width_s
        return (self.duty if self.function == "SQU" else 0.5) / self.frequency_hz

    def _turn(self, t_s: float) -> float:
        """Turns since the beginning; near a whole number it is one."""
        turns = (max(t_s, self.begun_s) - self.begun_s) * self.frequency_hz + self.phase
        return float(round(turns)) if abs(turns - round(turns)) < 1e-9 else turns

    def _part(self, turns: Floats) -> Floats:
        """From 0 at the lower level to 1 at the upper one."""
        if self.function == "SIN":
            return 0.5 + 0.5 * np.sin(2 * np.pi * turns)
        if self.function == "SQU":
            return (turns < self.duty).astype(np.float64)
        if self.function == "PULS":
            return (turns < self.width_s * self.frequency_hz).astype(np.float64)
        rising = 0.5 if self.function == "TRI" else self.symmetry
        up = turns / max(rising, 1e-12)
        down = (1.0 - turns) / max(1.0 - rising, 1e-12)
        return np.minimum(up, down)


OFF = Wave()
