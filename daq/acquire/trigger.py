"""The triggers: where one channel's samples cross a condition; where blocks are cut is the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daq.acquire import kernels
from daq.acquire.chance import Poisson
from daq.acquire.kernels import I16, I64
from daq.model.channel import TriggerSettings
from daq.model.record import Cause

SIGNS = {"rising": (1,), "falling": (-1,), "both": (1, -1)}
NONE: list[int] = []  # nothing was found, as nearly always; not to be changed


@dataclass(frozen=True, slots=True)
class Crossings:
    """What one search found, in record samples: `at`, where the condition became true, and
    `freed`, where it could fire again. `armed` is what to begin the next search with."""

    at: list[int]
    freed: list[int] = field(default_factory=list)
    armed: list[bool] = field(default_factory=list)


Search = Callable[[I16, int, bool], tuple[I64, I64, bool]]  # window, sign, armed


class Threshold:
    """Fires in one direction or both, each with its own hysteresis.

    `history` samples before the searched ones must be in the window; it has `arms` hystereses.
    """

    cause: Cause

    def __init__(self, settings: TriggerSettings, search: Search, history: int) -> None:
        self._signs, self._search, self.history = SIGNS[settings.direction], search, history
        self.arms = len(self._signs)

    def find(self, window: I16, first: int, armed: list[bool]) -> Crossings:
        """Search window[history:], beginning armed or not in each direction."""
        shift = first - self.history
        if self.arms == 1:
            at, freed, last = self._search(window, self._signs[0], armed[0])
            if not at.size and not freed.size:
                return Crossings(NONE, NONE, [last])
            return Crossings((at + shift).tolist(), (freed + shift).tolist(), [last])
        found = [
            self._search(window, sign, arm) for sign, arm in zip(self._signs, armed, strict=True)
        ]
        at, freed = (np.sort(np.concatenate([one[i] for one in found])) + shift for i in (0, 1))
        return Crossings(at.tolist(), freed.tolist(), [one[2] for one in found])


class LevelTrigger(Threshold):
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


class EdgeTrigger(Threshold):
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


@dataclass(frozen=True, slots=True)
class Periodic:
    """Fires at sample `phase` and every `period` samples after it, on absolute samples."""

    period: int
    phase: int

    def between(self, start: int, stop: int) -> list[int]:
        """Those in [start, stop)."""
        n = max(-(-(start - self.phase) // self.period), 0)
        return list(range(self.phase + n * self.period, stop, self.period))


Blind = Periodic | Poisson  # fire at samples of their own choice, whatever a channel shows


def make(
    settings: TriggerSettings, seed: int, channel: str, rate_hz: float
) -> Threshold | Blind | None:
    """The trigger that the settings ask for, for records of this rate; None: another fires it."""
    match settings.kind:
        case "level":
            return LevelTrigger(settings)
        case "edge":
            return EdgeTrigger(settings)
        case "periodic":
            return Periodic(settings.period, settings.phase)
        case "random":
            return Poisson(seed, channel, "random", settings.rate_hz / rate_hz)
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
