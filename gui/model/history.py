"""Values against time, for days in bounded memory: all of late, extremes of what is older."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FINE_S = 1.0  # of late, one value in this time
FINE_KEPT = 3600
COARSE_S = 60.0  # older: lowest and highest in this time
COARSE_KEPT = 10 * 24 * 60
F64 = npt.NDArray[np.float64]


class Series:
    """One quantity. `times_s` is UTC in seconds."""

    def __init__(self) -> None:
        self._fine: deque[tuple[float, float]] = deque(maxlen=FINE_KEPT)
        self._coarse: deque[tuple[float, float, float]] = deque(maxlen=COARSE_KEPT)

    @property
    def last(self) -> tuple[float, float] | None:
        """The newest (time, value)."""
        return self._fine[-1] if self._fine else None

    def add(self, t_s: float, value: float) -> None:
        """Take in a value; one that comes too soon after the last, or before it, is let go."""
        if not math.isfinite(value) or (self._fine and t_s - self._fine[-1][0] < FINE_S):
            return
        self._fine.append((t_s, value))
        slot = t_s // COARSE_S * COARSE_S
        if self._coarse and self._coarse[-1][0] == slot:
            _, low, high = self._coarse[-1]
            self._coarse[-1] = (slot, min(low, value), max(high, value))
        else:
            self._coarse.append((slot, value, value))

    def put_before(self, rows: Sequence[Sequence[float]]) -> None:
        """What was before we began to listen: (time, lowest, highest) of a minute or more each."""
        first = self._coarse[0][0] if self._coarse else math.inf
        older = [(t, low, high) for t, low, high in rows if t + COARSE_S <= first]
        self._coarse = deque([*older, *self._coarse], maxlen=COARSE_KEPT)

    def since(self, t_s: float) -> tuple[F64, F64]:
        """Times and values from then on; what is old has two values a minute, the extremes."""
        if self._fine and self._fine[0][0] <= t_s:
            recent = [pair for pair in self._fine if pair[0] >= t_s]
            return _columns(recent)
        begins = self._fine[0][0] if self._fine else math.inf
        old = [row for row in self._coarse if t_s <= row[0] and row[0] + COARSE_S <= begins]
        pairs = [pair for at, low, high in old for pair in ((at, low), (at, high))]
        return _columns([*pairs, *self._fine])


class History:
    """All quantities by name."""

    def __init__(self) -> None:
        self._series: dict[str, Series] = {}

    def add(self, name: str, t_s: float, value: float) -> None:
        """Take in one value."""
        self._series.setdefault(name, Series()).add(t_s, value)

    def put_before(self, name: str, rows: Sequence[Sequence[float]]) -> None:
        """What a quantity was before we began to listen."""
        self._series.setdefault(name, Series()).put_before(rows)

    def names(self) -> list[str]:
        """What there is."""
        return list(self._series)

    def since(self, name: str, t_s: float) -> tuple[F64, F64]:
        """A quantity's times and values from then on; empty for one that is unknown."""
        series = self._series.get(name)
        return series.since(t_s) if series else (np.empty(0), np.empty(0))


def _columns(pairs: list[tuple[float, float]]) -> tuple[F64, F64]:
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
