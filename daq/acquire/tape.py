"""The latest samples of one channel's present stretch, addressed by their numbers."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from daq.acquire.kernels import I16

NOTHING = np.empty(0, np.int16)


class Tape:
    """Contiguous record samples [start, stop); the front is forgotten when told to.

    Keeps what it is given, without a copy: samples must not change after they are appended. What
    is read across two of those is put together for the reader.
    """

    __slots__ = ("_pieces", "_starts", "start", "stop")

    def __init__(self, start: int) -> None:
        self._pieces: list[I16] = []
        self._starts: list[int] = []  # of the pieces
        self.start = self.stop = start

    @classmethod
    def holding(cls, start: int, samples: I16) -> Tape:
        """A tape that begins with these samples."""
        tape = cls(start)
        tape.append(samples)
        return tape

    def append(self, samples: I16) -> None:
        """Put samples at the end."""
        if samples.size:
            self._pieces.append(samples)
            self._starts.append(self.stop)
            self.stop += samples.size

    def read(self, start: int, stop: int) -> I16:
        """Samples [start, stop), not to be changed."""
        if stop <= start:
            return NOTHING
        i = bisect_right(self._starts, start) - 1
        piece, shift = self._pieces[i], self._starts[i]
        if stop - shift <= piece.size:
            return piece[start - shift : stop - shift]
        parts = [piece[start - shift :]]
        while stop > self._starts[i] + self._pieces[i].size:
            i += 1
            parts.append(self._pieces[i][: stop - self._starts[i]])
        return np.concatenate(parts)

    def window(self, first: int, history: int) -> I16:
        """Samples [first - history, ...), more than `history`, as far as that takes no long copy:
        to the end of what was given at once, or a little past its start; not to be changed."""
        i = bisect_right(self._starts, first) - 1
        piece, shift = self._pieces[i], self._starts[i]
        if first - history >= shift:
            return piece[first - history - shift :]
        return self.read(first - history, min(shift + history, self.stop))

    def forget_before(self, sample: int) -> None:
        """Samples before this one will not be asked for again."""
        self.start = max(self.start, min(sample, self.stop))
        n = bisect_right(self._starts, self.start) - 1
        if n > 0:
            del self._pieces[:n], self._starts[:n]
