"""The ring: the latest samples of one channel's present stretch, addressed by their numbers."""

from __future__ import annotations

import numpy as np

from daq.acquire.kernels import I16


class Tape:
    """Contiguous record samples [start, stop); the front is forgotten when told to.

    Appends into spare room and moves the rest to the front only when that is used up, so that a
    sample is copied about twice in its life.
    """

    def __init__(self, start: int) -> None:
        self._buffer = np.empty(4096, np.int16)
        self._front = self._back = 0
        self.start = self.stop = start

    @classmethod
    def holding(cls, start: int, samples: I16) -> Tape:
        """A tape that begins with these samples."""
        tape = cls(start)
        tape.append(samples)
        return tape

    def append(self, samples: I16) -> None:
        """Put samples at the end."""
        if self._back + samples.size > self._buffer.size:
            self._make_room(samples.size)
        self._buffer[self._back : self._back + samples.size] = samples
        self._back += samples.size
        self.stop += samples.size

    def read(self, start: int, stop: int) -> I16:
        """A view of samples [start, stop); valid until the next append."""
        at = self._front + start - self.start
        return self._buffer[at : at + stop - start]

    def forget_before(self, sample: int) -> None:
        """Samples before this one will not be asked for again."""
        step = min(max(sample - self.start, 0), self.stop - self.start)
        self._front += step
        self.start += step

    def _make_room(self, n: int) -> None:
        held = self._back - self._front
        size = self._buffer.size
        while size < 2 * (held + n):
            size *= 2
        target = self._buffer if size == self._buffer.size else np.empty(size, np.int16)
        target[:held] = self._buffer[self._front : self._back].copy()
        self._buffer, self._front, self._back = target, 0, held
