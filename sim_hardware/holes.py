"""Samples that a digitizer lost before anybody could read them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Holes:
    """Stretches of samples that are lost, [start, stop) each; those that touch are one."""

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in sorted(each for each in stretches if each[0] < each[1]):
            if self._stops and start <= self._stops[-1]:
                self._stops[-1] = max(self._stops[-1], stop)
            else:
                self._starts.append(start)
                self._stops.append(stop)

    def after(self, sample: int) -> int:
        """The first sample from this one on that is not lost."""
        number = bisect_right(self._starts, sample) - 1
        return max(sample, self._stops[number]) if number >= 0 else sample

    def before(self, start: int, stop: int) -> int:
        """How far samples from `start`, which is not lost, go on without a loss; at most `stop`."""
        number = bisect_right(self._starts, start)
        return min(stop, self._starts[number]) if number < len(self._starts) else stop
