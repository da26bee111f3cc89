"""The plate as the sensors see it, in temperature and in shaking.

A function of the bench's time that never changes once it was asked for, whatever is done to the
refrigerator later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

GRID_S = 0.1
LAG = 2  # points by which it is late: so every value is known when it is needed
KEPT = 4096  # points that are not computed again

Look = Callable[[float], tuple[float, float]]


class Bath:
    """Its quantities on a grid of GRID_S, joined by straight lines, LAG points late."""

    def __init__(self, look: Look) -> None:
        """`look` gives the plate in K and how much the pulse tubes shake, from 0 to 1.

        What it says of a time it must say again.
        """
        self._point = lru_cache(KEPT)(lambda number: look(max(0, number) * GRID_S))

    def at(self, t_s: float) -> tuple[float, float]:
        """The temperature that a sensor sees in K, and how much it is shaken."""
        turn = t_s / GRID_S - LAG
        number = int(turn // 1)
        (before_k, before), (after_k, after) = self._point(number), self._point(number + 1)
        share = turn - number
        return before_k + (after_k - before_k) * share, before + (after - before) * share

    def at_k(self, t_s: float) -> float:
        """The temperature alone."""
        return self.at(t_s)[0]
