"""The latest record samples of several channels' common stretch, addressed by their numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from daq.acquire.kernels import I16

Rows = Sequence[I16]  # [channel][sample], as an array or as rows of any origin


class Tapes:
    """Contiguous samples [start, stop) of each channel; the front is forgotten when told to.

    As `tape.Tape` for several channels at once: nothing is copied.
    """

    def __init__(self, start: int) -> None:
        self._pieces: list[Rows] = []
        self._starts: list[int] = []  # of the pieces
        self.start = self.stop = start

    def append(self, samples: Rows) -> None:
        """Put samples of each channel at the end, as many of each."""
        if samples[0].size:
            self._pieces.append(list(samples))
            self._starts.append(self.stop)
            self.stop += samples[0].size

    def read(self, channel: int, start: int, stop: int) -> I16:
        """Samples [start, stop) of one channel, not to be changed."""
        i = self._at(start)
        piece, shift = self._pieces[i][channel], self._starts[i]
        if stop - shift <= piece.size:
            return piece[start - shift : stop - shift]
        parts = [piece[start - shift :]]
        while stop > self._stop_of(i):
            i += 1
            parts.append(self._pieces[i][channel][: stop - self._starts[i]])
        return np.concatenate(parts)

    def windows(self, begin: int, size: int, step: int, most: int) -> tuple[int, Rows]:
        """How many windows of `size` samples, `step` apart from `begin` on, lie in one piece, at
        most so many; and the samples of each channel that hold them.

        Those that reach into the next piece are put together, apart.
        """
        i = self._at(begin)
        here = self._stop_of(i) - begin
        if here >= size:
            n = min(most, (here - size) // step + 1)
            a = begin - self._starts[i]
            b = a + (n - 1) * step + size
            return n, [row[a:b] for row in self._pieces[i]]
        n = min(most, -(-here // step))
        stop = begin + (n - 1) * step + size
        return n, [self.read(c, begin, stop) for c in range(len(self._pieces[i]))]

    def forget_before(self, sample: int) -> None:
        """Samples before this one will not be asked for again."""
        self.start = max(self.start, min(sample, self.stop))
        n = bisect_right(self._starts, self.start) - 1
        if n > 0:
            del self._pieces[:n], self._starts[:n]

    def _at(self, sample: int) -> int:
        """Which piece holds a sample."""
        return bisect_right(self._starts, sample) - 1

    def _stop_of(self, i: int) -> int:
        return self._starts[i] + self._pieces[i][0].size
