"""The optimum filter of one channel, as its chain feeds it."""

from __future__ import annotations

import numpy as np

from daq.acquire.filters import Filter
from daq.acquire.kernels import I16
from daq.acquire.matched import Candidates, MatchedFilters


class Filtered:
    """The search for one channel's pulses; positions are record samples.

    What it finds is the same from any restart on, but found again: the caller knows what it had.
    """

    def __init__(self, one: Filter, threshold: float, start: int) -> None:
        """`threshold` in counts; the present stretch begins at record sample `start`."""
        self._engine, self._rate_hz = MatchedFilters([one], [threshold], start), one.rate_hz
        self.begin(start, start)

    @property
    def complete_until(self) -> int:
        """No pulse before this sample will still be found in this stretch."""
        return self._engine.complete_until

    @property
    def history(self) -> int:
        """Samples before the last one that a restart needs again."""
        return self._engine.history

    @property
    def head(self) -> int:
        """So near the start of a stretch a pulse may not be found."""
        return self._engine.head

    @property
    def tail(self) -> int:
        """So near its end it may not."""
        return self._engine.tail

    @property
    def reach(self) -> int:
        """A pulse raises the threshold no farther away than this."""
        return self._engine.reach

    def begin(self, start: int, first: int) -> None:
        """A stretch that begins at `start`, of which samples come from `first` on."""
        self._engine.gap(start)
        if first > start:
            self._engine.restart(first)

    def feed(self, samples: I16) -> None:
        """Take the next samples in."""
        if samples.size:
            self._engine.feed(samples[np.newaxis])

    def finish(self) -> None:
        """The stretch is over."""
        self._engine.finish()

    def take(self) -> list[tuple[int, float, float, float, int]]:
        """Pulses in order: sample, height [counts], chi2, offset [s], blind on either side."""
        (found,) = self._engine.take()
        return _rows(found, self._rate_hz) if found.sample.size else []


def _rows(found: Candidates, rate_hz: float) -> list[tuple[int, float, float, float, int]]:
    columns = (found.sample, found.amplitude, found.chi2, found.offset / rate_hz, found.blind)
    return list(zip(*(column.tolist() for column in columns), strict=True))
