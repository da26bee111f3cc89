"""Anti-alias decimation: from the digitizer's rate to a record's rate, exact in integers.

Record sample j stands for digitizer sample j * factor (the filter has no delay: it is symmetric
and centered there). Pass band to 0.4 of the record rate within 0.02 dB, stop band from 0.6 of it
below -63 dB for factors to 20 and -53 dB to 64, where the integer coefficients limit it (windowed
sinc, Kaiser 1974, beta 8; measured in tests/physics).
"""

from __future__ import annotations

import numpy as np

from daq.acquire.kernels import FIR_SHIFT, I16, decimate

KAISER_BETA = 8.0
TAPS_PER_FACTOR = 26  # half of it on each side


def taps(factor: int) -> I16:
    """Symmetric low-pass of odd length for a factor above 1: integers whose sum is 2^15."""
    half = TAPS_PER_FACTOR * factor // 2
    x = np.arange(-half, half + 1) / factor
    ideal = np.sinc(x) * np.kaiser(2 * half + 1, KAISER_BETA)
    result = np.round(ideal / ideal.sum() * 2**FIR_SHIFT).astype(np.int64)
    result[half] += 2**FIR_SHIFT - int(result.sum())
    return np.asarray(result, np.int16)


def reach(factor: int) -> int:
    """Digitizer samples that a record sample needs on each side of its own."""
    return 0 if factor == 1 else TAPS_PER_FACTOR * factor // 2


class Decimator:
    """Decimates one contiguous stretch of one channel, wherever the blocks are cut.

    `start` is the first digitizer sample of the stretch. Keeps as many samples as the filter needs.
    """

    def __init__(self, factor: int, start: int) -> None:
        self._factor, self._reach = factor, reach(factor)
        self._taps = taps(factor) if factor > 1 else None
        self._kept = np.empty(0, np.int16)
        self._kept_start = start
        self.first = -(-(start + self._reach) // factor)
        self._next = self.first

    def feed(self, samples: I16) -> I16:
        """The record samples that can be had after taking the next digitizer samples in."""
        if self._taps is None:
            return samples
        x = np.concatenate([self._kept, samples])
        stop = self._kept_start + x.size
        n = max((stop - 1 - self._reach) // self._factor + 1 - self._next, 0)
        out = np.empty(n, np.int16)
        offset = self._next * self._factor - self._reach - self._kept_start
        if n:
            decimate(x[offset:], self._taps, self._factor, out)
        self._next += n
        keep = max(min(offset + n * self._factor, x.size), 0)
        self._kept, self._kept_start = x[keep:].copy(), self._kept_start + keep
        return out
