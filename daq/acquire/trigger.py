"""The triggers: where one channel's samples cross a condition; where blocks are cut is the same."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daq.acquire import kernels
from daq.acquire.kernels import I16, I64
from daq.model.channel import TriggerSettings
from daq.model.record import Cause


@dataclass(frozen=True, slots=True)
class Crossings:
    """What one search found: `at`, indices at which the condition became true, and `armed`,
    indices at which it could fire again; both into the window that was searched."""

    at: I64
    freed: I64
    armed: bool


class Trigger(Protocol):
    """A condition; `history` samples before the searched ones must be in the window."""

    cause: Cause
    history: int

    def find(self, window: I16, armed: bool) -> Crossings:
        """Search window[history:], beginning armed or not."""
        ...


class LevelTrigger:
    """Fires where a sample reaches the threshold; arms again below `rearm`."""

    cause = Cause.LEVEL
    history = 0

    def __init__(self, settings: TriggerSettings) -> None:
        self._threshold, self._rearm = _integers(settings)
        self._falling = settings.falling

    def find(self, window: I16, armed: bool) -> Crossings:
        """Search the whole window."""
        if self._falling:  # ~x = -x - 1 turns it over without overflow
            window = np.invert(window)
        at, freed = _room(window.size)
        shift = 1 if self._falling else 0
        n, m, armed = kernels.level_crossings(
            window, self._threshold - shift, self._rearm - shift, armed, at, freed
        )
        return Crossings(at[:n], freed[:m], armed)


class EdgeTrigger:
    """Fires where x[i] - x[i - span] reaches the threshold; arms again below `rearm`."""

    cause = Cause.EDGE

    def __init__(self, settings: TriggerSettings) -> None:
        self._threshold, self._rearm = _integers(settings)
        self._falling = settings.falling
        self.history = settings.edge_span

    def find(self, window: I16, armed: bool) -> Crossings:
        """Search the window from index `span` on."""
        if self._falling:
            window = np.invert(window)
        at, freed = _room(window.size)
        n, m, armed = kernels.edge_crossings(
            window, self.history, self._threshold, self._rearm, armed, at, freed
        )
        return Crossings(at[:n], freed[:m], armed)


class NoTrigger:
    """Never fires."""

    cause = Cause.LEVEL
    history = 0

    def find(self, window: I16, armed: bool) -> Crossings:
        """Nothing; it is armed from the first sample it is shown."""
        freed = np.zeros(0 if armed or not window.size else 1, np.int64)
        return Crossings(np.empty(0, np.int64), freed, armed or window.size > 0)


KINDS: dict[str, type[LevelTrigger | EdgeTrigger]] = {"level": LevelTrigger, "edge": EdgeTrigger}


def make(settings: TriggerSettings) -> Trigger:
    """The trigger that the settings ask for."""
    return NoTrigger() if settings.kind == "off" else KINDS[settings.kind](settings)


def _integers(settings: TriggerSettings) -> tuple[int, int]:
    """Samples are integers: x >= threshold is x >= ceil(threshold), x < rearm likewise."""
    return math.ceil(settings.threshold), math.ceil(settings.rearm)


def _room(n: int) -> tuple[I64, I64]:
    """Places for as many crossings as `n` samples can hold."""
    return np.empty(n // 2 + 1, np.int64), np.empty(n // 2 + 1, np.int64)
