"""Logic levels on a digitizer's input: a beam gate, and whatever else opens and closes in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Protocol

import numpy as np

from sim_hardware.world.clock import SampleClock
from sim_hardware.world.detectors import LEVEL_COUNTS
from sim_hardware.world.pulses import Signal

SHORTEST = 2  # samples that an opening is stretched to, so that none falls between two


class Levels(Protocol):
    """When a logic level is high."""

    def openings(self, start_s: float, stop_s: float) -> list[tuple[float, float]]:
        """(begin, end) of every time it is high that touches [start_s, stop_s), in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamGate:
    """High for `width_s` at `rate_hz`, the first time `phase_s` after the bench's start."""

    rate_hz: float
    width_s: float
    phase_s: float = 0.0

    def opening_s(self, number: int) -> float:
        """When the gate opens for the nth time, from 0."""
        return self.phase_s + number / self.rate_hz

    def after(self, true_s: float) -> int:
        """The number of the first opening later than a time."""
        number = max(0, floor((true_s - self.phase_s) * self.rate_hz) - 1)
        while self.opening_s(number) <= true_s:
            number += 1
        return number

    def openings(self, start_s: float, stop_s: float) -> list[tuple[float, float]]:
        """(begin, end) of every opening that touches [start_s, stop_s)."""
        number, found = self.after(start_s - self.width_s), []
        while (begin_s := self.opening_s(number)) < stop_s:
            found.append((begin_s, begin_s + self.width_s))
            number += 1
        return found


def add_levels(
    signals: dict[str, Signal],
    levels: Mapping[str, Levels],
    clock: SampleClock,
    start: int,
    stop: int,
) -> None:
    """Put the levels of channels into the signals of the samples [start, stop).

    A sample is high where it is converted while the level is, and at least SHORTEST samples are.
    """
    margin_s = (SHORTEST + 1) / clock.rate_hz
    for channel, each in levels.items():
        begin_s, end_s = clock.time_s(start) - margin_s, clock.time_s(stop) + margin_s
        for opened_s, closed_s in each.openings(begin_s, end_s):
            first = ceil(clock.position(opened_s))
            last = max(first + SHORTEST, ceil(clock.position(closed_s)))
            if first < stop and last > start:
                signal = signals.setdefault(channel, _silence(stop - start))
                signal[max(first, start) - start : min(last, stop) - start] = LEVEL_COUNTS


def _silence(n_samples: int) -> Signal:
    return np.zeros(n_samples, np.float32)
