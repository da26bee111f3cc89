"""What a script does to a digitizer: to the samples at its inputs, to its memory, to its clock."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

import numpy as np

from sim_hardware.holes import Holes
from sim_hardware.scenario import (
    AdcOverflow,
    BaselineRamp,
    ClockDrift,
    DeadChannel,
    DigitizerGap,
    Schedule,
    TriggerStorm,
)
from sim_hardware.source import Samples, Source
from sim_hardware.world.clock import Drift, SampleClock
from sim_hardware.world.particles import Surge

RANGE = (-(2**15), 2**15 - 1)

Effect = Callable[[Samples, int], None]  # changes a row that begins at a sample number


class ScriptedSource:
    """Another source, with what the script does to its channels; still a function of the sample."""

    def __init__(self, source: Source, schedule: Schedule, clock: SampleClock) -> None:
        self._source = source
        self.name, self.channels = source.name, source.channels
        self.rate_hz, self.volts_per_count = source.rate_hz, source.volts_per_count
        self.length = source.length
        self._effects = {
            row: effects
            for row, channel in enumerate(source.channels)
            if (effects := _effects(channel, schedule, clock))
        }

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns."""
        return self._source.t_ns(sample)

    def samples(self, start: int, stop: int) -> Samples:
        """The samples [start, stop), int16, [channel, sample]."""
        samples = self._source.samples(start, stop)
        if not self._effects:
            return samples
        samples = samples.copy()
        for row, effects in self._effects.items():
            for effect in effects:
                effect(samples[row], start)
        samples.flags.writeable = False
        return samples


def holes(digitizer: str, schedule: Schedule, clock: SampleClock) -> Holes:
    """The samples that a digitizer's memory loses by the script."""
    gaps = schedule.of(DigitizerGap, digitizer)
    return Holes((_at(clock, gap.at_s), _at(clock, gap.stop_s)) for gap in gaps)


def drifts(digitizer: str, schedule: Schedule) -> list[Drift]:
    """How a digitizer's clock changes its speed by the script."""
    return [Drift(each.at_s, each.ppm) for each in schedule.of(ClockDrift, digitizer)]


def surges(schedule: Schedule) -> list[Surge]:
    """When there are more particles by the script."""
    return [
        Surge(
            start_s=each.at_s,
            stop_s=each.stop_s,
            factor=each.factor,
            kinds=None if each.particles is None else frozenset(each.particles),
        )
        for each in schedule.of(TriggerStorm)
    ]


def _effects(channel: str, schedule: Schedule, clock: SampleClock) -> list[Effect]:
    """In the order in which the signal meets them: ramps, then what stands instead of it."""
    ramps = [_ramp(each, clock) for each in schedule.of(BaselineRamp, channel)]
    ends = [
        _constant(each.at_s, each.stop_s, RANGE[each.side == "+"], clock)
        for each in schedule.of(AdcOverflow, channel)
    ]
    dead = [
        _constant(each.at_s, each.stop_s, 0, clock) for each in schedule.of(DeadChannel, channel)
    ]
    return [*ramps, *ends, *dead]


def _ramp(ramp: BaselineRamp, clock: SampleClock) -> Effect:
    begin, end = clock.position(ramp.at_s), clock.position(ramp.stop_s)
    total = ramp.slope * ramp.for_s

    def effect(row: Samples, start: int) -> None:
        if start + len(row) > begin:
            along = (np.arange(start, start + len(row)) - begin) / (end - begin)
            moved = row + np.rint(total * np.clip(along, 0.0, 1.0))
            row[:] = np.clip(moved, *RANGE).astype(np.int16)

    return effect


def _constant(at_s: float, stop_s: float, counts: int, clock: SampleClock) -> Effect:
    begin = _at(clock, at_s)
    end = None if stop_s == inf else _at(clock, stop_s)

    def effect(row: Samples, start: int) -> None:
        last = len(row) if end is None else max(0, end - start)
        row[max(0, begin - start) : last] = counts

    return effect


def _at(clock: SampleClock, true_s: float) -> int:
    """The first sample converted at a time or later."""
    return ceil(clock.position(true_s))
