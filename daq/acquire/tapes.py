"""The latest record samples of several channels' common stretch, addressed by their numbers."""

from __future__ import annotations

import numpy as np

from daq.acquire.kernels import I16


class Tapes:
    """Contiguous samples [channel, start to stop); the front is forgotten when told to.

    As `tape.Tape` for several channels at once. The rest moves to the front only when the spare
    room is used up, and there is as much of that as is held.
    """

    def __init__(self, channels: int, start: int) -> None:
        self._buffer = np.empty((channels, 4096), np.int16)
        self._front = self._back = 0
        self.start = self.stop = start

    def append(self, samples: I16) -> None:
        """Put samples [channel, sample] at the end."""
        n = samples.shape[1]
        if self._back + n > self._buffer.shape[1]:
            self._make_room(n)
        self._buffer[:, self._back : self._back + n] = samples
        self._back += n
        self.stop += n

    def read(self, start: int, stop: int) -> I16:
        """A view [channel, sample] of samples [start, stop); valid until the next append."""
        at = self._front + start - self.start
        return self._buffer[:, at : at + stop - start]

    def forget_before(self, sample: int) -> None:
        """Samples before this one will not be asked for again."""
        step = min(max(sample - self.start, 0), self.stop - self.start)
        self._front += step
        self.start += step

    def _make_room(self, n: int) -> None:
        held, size = self._back - self._front, self._buffer.shape[1]
        while size < 2 * (held + n):
            size *= 2
        same = size == self._buffer.shape[1]
        target = self._buffer if same else np.empty((self._buffer.shape[0], size), np.int16)
        target[:, :held] = self._buffer[:, self._front : self._back]  # moves by more than `held`
        self._buffer, self._front, self._back = target, 0, held
