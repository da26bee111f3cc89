"""The range of volts a trace is drawn in: grows at once, shrinks after a while of unused room."""

from __future__ import annotations

import math

HOLD_S = 30.0
STEPS = (1.0, 2.0, 5.0, 10.0)
SMALLEST_V = 1e-9


class Lane:
    """One channel's range, always of round numbers."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self.low, self.high = 0.0, 0.0
        self._hold_s, self._since_s = hold_s, -math.inf
        self._seen = (math.inf, -math.inf)

    @property
    def height(self) -> float:
        """The range's length; 0 before anything was seen."""
        return self.high - self.low

    def follow(self, low: float, high: float, now_s: float) -> None:
        """Grow to hold [low, high]; shrink to what was seen once `hold_s` have gone by."""
        self._seen = min(self._seen[0], low), max(self._seen[1], high)
        if self.height == 0 or low < self.low or high > self.high:
            self.low, self.high = around(*self._seen)
            self._since_s = now_s
        elif now_s - self._since_s >= self._hold_s:
            self.low, self.high = _smaller((self.low, self.high), around(*self._seen))
            self._seen, self._since_s = (low, high), now_s

    def fit(self, low: float, high: float, now_s: float) -> None:
        """Forget what was seen before and hold [low, high]."""
        self._seen, self._since_s = (low, high), now_s
        self.low, self.high = around(low, high)


def around(low: float, high: float) -> tuple[float, float]:
    """A range that holds [low, high]: 1, 2 or 5 times a power of ten, from a tenth of itself."""
    needed = max(high - low, SMALLEST_V, 1e-6 * max(abs(low), abs(high)))
    decade = 10.0 ** math.floor(math.log10(needed))
    candidates = [step * decade for step in (*STEPS, *(10 * s for s in STEPS))]
    for height in candidates:
        bottom = _bottom(low, high, height)
        if bottom <= low and high <= bottom + height:
            break
    return bottom, bottom + height


def _bottom(low: float, high: float, height: float) -> float:
    """The tenth of `height` from which [low, high] comes closest to the middle."""
    tenth = height / 10
    return round(((low + high) / 2 - height / 2) / tenth) * tenth


def _smaller(now: tuple[float, float], fitted: tuple[float, float]) -> tuple[float, float]:
    """The fitted range where it saves a step; a lane does not move for less."""
    return fitted if (fitted[1] - fitted[0]) < 0.75 * (now[1] - now[0]) else now
