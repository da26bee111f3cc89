"""The plate as the sensors see it, in temperature and in shaking.

A function of the bench's time that never changes once it was asked for, whatever is done to the
refrigerator later.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from math import inf

GRID_S = 0.1
LAG = 2  # points by which it is late: so every value is known when it is needed

Quantity = Callable[[float], float]


class Bath:
    """Its quantities on a grid of GRID_S, joined by straight lines, LAG points late.

    Asked for times up to the one last extended to, and GRID_S beyond it.
    """

    def __init__(self, plate_k: Quantity, shaking: Quantity, remembered_s: float = inf) -> None:
        """`shaking` is that of the pulse tubes, from 0 to 1."""
        self._plate_k, self._shaking = plate_k, shaking
        # guards the grid: every digitizer's thread may extend it
        self._lock = threading.Lock()
        self._first = 0
        kept = None if remembered_s == inf else int(remembered_s / GRID_S) + 10
        self._values = deque([(plate_k(0.0), shaking(0.0))], maxlen=kept)

    def extend(self, until_s: float) -> None:
        """Look at the plate up to a time; what nobody can ask for any more is not looked at."""
        kept = self._values.maxlen
        with self._lock:
            if kept and until_s / GRID_S - self._first > 2 * kept:
                self._first = int(until_s / GRID_S) - kept
                self._values.clear()
            while (number := self._first + len(self._values)) <= until_s / GRID_S:
                self._first += len(self._values) == self._values.maxlen
                at_s = number * GRID_S
                self._values.append((self._plate_k(at_s), self._shaking(at_s)))

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

    def _point(self, number: int) -> tuple[float, float]:
        with self._lock:
            return self._values[max(0, number - self._first)]
