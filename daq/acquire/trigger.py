"""The triggers: where one channel's samples cross a condition; where blocks are cut is the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from daq.acquire import chance, kernels
from daq.acquire.kernels import I16, I64
from daq.model.channel import TriggerSettings
from daq.model.record import Cause

SIGNS = {"rising": (1,), "falling": (-1,), "both": (1, -1)}
NONE: list[int] = []


@dataclass(frozen=True, slots=True)
class Crossings:
    """What one search found, in record samples: `at`, where the condition became true, and
    `freed`, where it could fire again. `armed` is what to begin the next search with."""

    at: list[int]
    freed: list[int] = field(default_factory=list)
    armed: list[bool] = field(default_factory=list)


class Trigger(Protocol):
    """A condition; `history` samples before the searched ones must be in the window."""

    cause: Cause
    history: int
    arms: int  # how many hystereses it has

    def find(self, window: I16, first: int, armed: list[bool]) -> Crossings:
        """Search from the sample `first` on, which is window[history]."""
        ...


Search = Callable[[I16, int, bool], tuple[I64, I64, bool]]  # window, sign, armed


class _Threshold:
    """Fires in one direction or both, each with its own hysteresis."""

    def __init__(self, settings: TriggerSettings, search: Search, history: int) -> None:
        self._signs, self._search, self.history = SIGNS[settings.direction], search, history
        self.arms = len(self._signs)

    def find(self, window: I16, first: int, armed: list[bool]) -> Crossings:
        """Search window[history:], beginning armed or not in each direction."""
        shift = first - self.history
        if self.arms == 1:
            at, freed, last = self._search(window, self._signs[0], armed[0])
            return Crossings((at + shift).tolist(), (freed + shift).tolist(), [last])
        found = [
            self._search(window, sign, arm) for sign, arm in zip(self._signs, armed, strict=True)
        ]
        at, freed = (np.sort(np.concatenate([one[i] for one in found])) + shift for i in (0, 1))
        return Crossings(at.tolist(), freed.tolist(), [one[2] for one in found])


class LevelTrigger(_Threshold):
    """Fires where a sample reaches the threshold; arms again below `rearm`."""

    cause = Cause.LEVEL

    def __init__(self, settings: TriggerSettings) -> None:
        super().__init__(settings, self._crossings, 0)
        self._levels = _integers(settings)

    def _crossings(self, window: I16, sign: int, armed: bool) -> tuple[I64, I64, bool]:
        shift = 0 if sign > 0 else 1  # ~x = -x - 1 turns it over without overflow
        threshold, rearm = self._levels
        at, freed = _room(window.size)
        n, m, armed = kernels.level_crossings(
            _turned(window, sign), threshold - shift, rearm - shift, armed, at, freed
        )
        return at[:n], freed[:m], armed


class EdgeTrigger(_Threshold):
    """Fires where x[i] - x[i - span] reaches the threshold; arms again below `rearm`."""

    cause = Cause.EDGE

    def __init__(self, settings: TriggerSettings) -> None:
        super().__init__(settings, self._crossings, settings.edge_span)
        self._levels = _integers(settings)

    def _crossings(self, window: I16, sign: int, armed: bool) -> tuple[I64, I64, bool]:
        threshold, rearm = self._levels
        at, freed = _room(window.size)
        n, m, armed = kernels.edge_crossings(
            _turned(window, sign), self.history, threshold, rearm, armed, at, freed
        )
        return at[:n], freed[:m], armed


class PeriodicTrigger:
    """Fires at sample `phase` and every `period` samples after it, on absolute samples."""

    cause = Cause.PERIODIC
    history = 0
    arms = 0

    def __init__(self, settings: TriggerSettings) -> None:
        self._period, self._phase = settings.period, settings.phase

    def find(self, window: I16, first: int, armed: list[bool]) -> Crossings:
        """Where it fires does not depend on the samples."""
        n = max(-(-(first - self._phase) // self._period), 0)
        return Crossings(
            list(range(self._phase + n * self._period, first + window.size, self._period))
        )


class RandomTrigger:
    """Fires at random: a Poisson process on absolute samples, the same wherever it is asked."""

    cause = Cause.RANDOM
    history = 0
    arms = 0

    def __init__(self, settings: TriggerSettings, seed: int, channel: str, rate_hz: float) -> None:
        self._process = chance.Poisson(seed, channel, "random", settings.rate_hz / rate_hz)

    def find(self, window: I16, first: int, armed: list[bool]) -> Crossings:
        """Where it fires does not depend on the samples."""
        return Crossings(self._process.within(first, first + window.size))


def make(settings: TriggerSettings, seed: int, channel: str, rate_hz: float) -> Trigger | None:
    """The trigger that the settings ask for, for records of this rate; None: not by samples."""
    match settings.kind:
        case "level":
            return LevelTrigger(settings)
        case "edge":
            return EdgeTrigger(settings)
        case "periodic":
            return PeriodicTrigger(settings)
        case "random":
            return RandomTrigger(settings, seed, channel, rate_hz)
        case _:
            return None


def _integers(settings: TriggerSettings) -> tuple[int, int]:
    """Samples are integers: x >= threshold is x >= ceil(threshold), x < rearm likewise."""
    return math.ceil(settings.threshold), math.ceil(settings.rearm)


def _turned(window: I16, sign: int) -> I16:
    return window if sign > 0 else np.invert(window)


def _room(n: int) -> tuple[I64, I64]:
    """Places for as many crossings as `n` samples can hold."""
    return np.empty(n // 2 + 1, np.int64), np.empty(n // 2 + 1, np.int64)
