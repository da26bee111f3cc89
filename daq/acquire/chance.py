"""Chance that can be repeated: numbers that depend on seed, channel, purpose and sample alone.

A counter-based generator (Philox 4x64, Salmon et al. 2011) keyed by the first three, with the
chunk of samples as its counter: where blocks are cut, or where a core was killed, is the same.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left

import numpy as np
import numpy.typing as npt
from numpy.random import Philox

from daq.acquire.intervals import LONG_AGO

CHUNK = 1 << 16  # samples
LONGEST = 4096  # numbers drawn at once


class Uniform:
    """Numbers in [0, 1) for each chunk; the raw 64-bit ones are the same in every numpy."""

    def __init__(self, seed: int, channel: str, purpose: str) -> None:
        digest = hashlib.sha256(f"{seed}/{channel}/{purpose}".encode()).digest()
        self._key = np.frombuffer(digest[:16], np.uint64)

    def of_chunk(self, chunk: int, n: int) -> npt.NDArray[np.float64]:
        """The first `n` numbers of a chunk; asked for more, the first ones stay."""
        counter = np.array([0, 0, chunk & (2**64 - 1), 0], np.uint64)
        raw = Philox(key=self._key, counter=counter).random_raw(n)
        return np.asarray((raw >> np.uint64(11)) * 2.0**-53)


class Poisson:
    """Samples of a Poisson process with a mean rate per sample, each at most once."""

    def __init__(self, seed: int, channel: str, purpose: str, rate: float) -> None:
        self._uniform, self._rate = Uniform(seed, channel, purpose), rate
        self._chunk = LONG_AGO
        self._samples: list[int] = []
        self._quiet = 0, 0  # there is none in this stretch: most are asked for in vain

    def between(self, start: int, stop: int) -> list[int]:
        """Those in [start, stop)."""
        found: list[int] = []
        if self._quiet[0] <= start and stop <= self._quiet[1]:
            return found
        for chunk in range(start // CHUNK, -(-stop // CHUNK) if stop > start else start // CHUNK):
            samples = self._of(chunk)
            last = bisect_left(samples, stop)
            found += samples[bisect_left(samples, start) : last]
            until = samples[last] if last < len(samples) else (chunk + 1) * CHUNK
            self._quiet = stop, until
        return found

    def _of(self, chunk: int) -> list[int]:
        if chunk != self._chunk:
            self._chunk, self._samples = chunk, self._made(chunk)
        return self._samples

    def _made(self, chunk: int) -> list[int]:
        """Exponential waiting times, begun anew in every chunk: the process has no memory."""
        n = min(int(CHUNK * self._rate * 1.5) + 16, LONGEST)
        while True:
            waits = -np.log1p(-self._uniform.of_chunk(chunk, n)) / self._rate
            at = np.floor(np.cumsum(waits)).astype(np.int64)
            if at[-1] >= CHUNK:
                return [int(i) + chunk * CHUNK for i in np.unique(at[at < CHUNK])]
            n *= 2
