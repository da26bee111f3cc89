"""One set of filters on one stretch: decimate, filter by blocks on absolute grids, find, refine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from daq.acquire import kernels
from daq.acquire.coarse import Coarse, coarse, factor_for, reach, taps
from daq.acquire.filters import Filter
from daq.acquire.kernels import C64, F32, I16, I64
from daq.acquire.tapes import Tapes

AT_ONCE = 16  # channels per FFT
LONG, SHORT = 8, 4  # lengths of the filter in a block: long where it is cached and soon full
LONG_S = 0.5
CACHED = 32768  # samples of a block of AT_ONCE channels that the second-level cache holds


class Pulse(NamedTuple):
    """A pulse as a search finds it; the fields are those of `matched.Candidates`."""

    sample: int
    offset: float
    amplitude: float
    chi2: float
    ndf: int
    blind: int
    lifted: bool  # it had to stand out of the side lobes of a larger one


class Search:
    """The filters of a group, on the stretch that `begin` names; fed from the group's tapes.

    Output m of the filter is for a pulse at record sample m * factor. Blocks of outputs begin at
    multiples of `hop`, so that the FFTs see the same samples wherever the stream is cut.
    """

    def __init__(
        self, filters: Sequence[Filter], thresholds: Sequence[float], factor: int | None
    ) -> None:
        one = filters[0]
        self.factor = factor_for(tuple(filters)) if factor is None else factor
        pairs = zip(filters, thresholds, strict=True)
        self.channels = [coarse(f, threshold, self.factor) for f, threshold in pairs]
        self.lobe = max(c.lobe for c in self.channels)
        self._taps, self._reach = taps(self.factor), reach(self.factor)
        self._first, self._span = self.channels[0].first, self.channels[0].kernel.size
        self._size = _block_size(self._span, one.length / one.rate_hz)
        self._hop = self._size - self._span + 1
        self._wait = self.channels[0].after.size  # a peak is compared with those so near
        self._spectra = self._kernel_spectra()
        self._line = np.empty((len(self.channels), self._size), np.float32)  # a block's input
        self._kept: list[object] = []

    @property
    def history(self) -> int:
        """Record samples before the last fed one from which all that is undecided can be had."""
        decimated = 2 * self._hop + self._span + 2 * self._wait + 6
        return decimated * self.factor + 2 * self._reach

    @property
    def complete_until(self) -> int:
        """No pulse before this record sample will still come."""
        return (max(self._searched - self._wait, self._decidable) - 1) * self.factor

    @property
    def head(self) -> int:
        """Record samples from a stretch's start on in which a pulse may not be found."""
        return (2 - self._first) * self.factor + self._reach

    @property
    def tail(self) -> int:
        """Record samples before its end in which it may not."""
        return (self._first + self._span + 1) * self.factor + self._reach

    @property
    def reach(self) -> int:
        """A pulse raises the threshold no farther than these record samples."""
        return max(max(c.before.size, c.after.size) for c in self.channels) * self.factor

    def begin(self, start: int, first: int) -> None:
        """A stretch that began at record sample `start`, of which samples come from `first` on."""
        first = max(start, first)
        self._given = -(-(first + self._reach) // self.factor)  # the first decimated sample
        out = self._given - self._first  # the first output that needs nothing before it
        if first == start:
            self._block = out // self._hop
            self._searched = self._decidable = out + 1
        else:
            self._block = -(-out // self._hop)
            self._searched = self._block * self._hop + 1
            self._decidable = self._searched + self._wait
        self._filled = 0
        self._tails = [np.empty(0, np.float32) for _ in self.channels]  # the last two outputs
        self._peaks = [_Peaks(self._decidable) for _ in self.channels]

    def feed(self, tapes: Tapes) -> bool:
        """Filter whatever blocks are whole now; whether there were any."""
        before = self._block
        while self._fill(tapes):
            self._find(self._filtered(), self._block * self._hop, self._hop)
            keep = self._size - self._hop
            self._line[:, :keep] = self._line[:, self._hop :].copy()
            self._block, self._filled = self._block + 1, keep
        return self._block > before

    def finish(self, tapes: Tapes) -> None:
        """Filter the rest, as far as outputs need nothing after what is there."""
        self.feed(tapes)
        n = self._filled - self._span + 1
        if n > 0:
            self._line[:, self._filled :] = self._line[:, self._filled - 1 : self._filled]
            self._find(self._filtered(), self._block * self._hop, n)
        self._searched += self._wait

    def pulses(self, tapes: Tapes) -> list[list[Pulse]]:
        """The pulses that are decided and were not given yet, per channel."""
        stop = self._searched - self._wait
        samples = tapes.read(tapes.start, tapes.stop)
        pairs = zip(samples, self.channels, self._peaks, strict=True)
        return [
            _refined(x, tapes.start, channel, *peaks.decided(stop, channel))
            for x, channel, peaks in pairs
        ]

    # --- blocks ---

    def _fill(self, tapes: Tapes) -> bool:
        """Decimate what there is into the block; whether that is whole."""
        begin = self._block * self._hop + self._first
        if self._filled == 0 and not self._fill_front(tapes, self._given - begin):
            return False
        at = begin + self._filled
        stop = (tapes.stop - 1 - self._reach) // self.factor + 1
        n = min(stop - at, self._size - self._filled)
        if n > 0:
            self._decimate(tapes, at, self._line[:, self._filled : self._filled + n])
            self._filled += n
        return self._filled == self._size

    def _fill_front(self, tapes: Tapes, missing: int) -> bool:
        """Before the stretch began put its first value; false where that is not known yet."""
        if missing <= 0:
            return True
        if tapes.stop <= self._given * self.factor + self._reach:
            return False
        self._decimate(tapes, self._given, self._line[:, :1])
        self._line[:, 1:missing] = self._line[:, :1]
        self._filled = missing
        return True

    def _decimate(self, tapes: Tapes, at: int, out: F32) -> None:
        begin = at * self.factor - self._reach
        x = tapes.read(begin, begin + (out.shape[1] - 1) * self.factor + self._taps.size)
        for row, target in zip(x, out, strict=True):
            if self.factor == 1:
                kernels.to_floats(row, target)
            else:
                kernels.low_pass(row, self._taps, self.factor, target)

    def _filtered(self) -> list[F32]:
        """The block's outputs, [channel, output] for some channels at a time."""
        results, kept = [], []
        for spectra, rows in self._spectra:
            transform = np.asarray(scipy.fft.rfft(self._line[rows]))
            kernels.multiply_spectra(transform, spectra)
            results.append(np.asarray(scipy.fft.irfft(transform, self._size)))
            kept.append(transform)
        self._kept = [results, kept]  # given back while others are held: the heap does not shrink
        return results

    def _kernel_spectra(self) -> list[tuple[C64, slice]]:
        """Conjugate spectra of the kernels, [channel, frequency], for some channels at a time."""
        padded = np.zeros((len(self.channels), self._size))
        padded[:, : self._span] = [c.kernel for c in self.channels]
        spectra = np.conj(scipy.fft.rfft(padded)).astype(np.complex64)
        groups = [slice(i, i + AT_ONCE) for i in range(0, len(self.channels), AT_ONCE)]
        return [(np.ascontiguousarray(spectra[rows]), rows) for rows in groups]

    # --- peaks ---

    def _find(self, filtered: list[F32], begin: int, n: int) -> None:
        """Keep the peaks of the block's outputs, which begin at output `begin`."""
        skip = max(self._searched - 1 - begin, 0) if not self._tails[0].size else 0
        rows = [y for outputs in filtered for y in outputs]
        for i, row in enumerate(rows):
            tail = self._tails[i]
            y = np.concatenate([tail, row[skip:n]])
            self._peaks[i].search(y, begin + skip - tail.size, self.channels[i].level)
            self._tails[i] = y[-2:].copy()
        self._searched = begin + n - 1


def _refined(x: I16, x_start: int, channel: Coarse, at: I64, shift: F32, lift: F32) -> list[Pulse]:
    """The peaks that are high enough also at full rate, from record samples x."""
    if not at.size:
        return []
    begins, found, factor = [], [], channel.factor
    for m, aside, more in zip(at.tolist(), shift.tolist(), lift.tolist(), strict=True):
        middle = m * factor - channel.pretrigger - x_start
        guess = round(middle + aside * factor)
        climbed = kernels.climb(x, channel.fine, guess, middle - factor, middle + factor)
        if climbed[2] >= channel.threshold + more:
            begins.append(climbed[0])
            found.append((climbed[1], climbed[2], more > 0))
    chi2 = channel.chi2(x, begins, [f[0] for f in found], [f[1] for f in found])
    return [
        Pulse(
            sample=begin + x_start + channel.pretrigger,
            offset=offset,
            amplitude=amplitude,
            chi2=misfit,
            ndf=channel.ndf,
            blind=channel.blind(amplitude),
            lifted=lifted,
        )
        for begin, (offset, amplitude, lifted), misfit in zip(begins, found, chi2, strict=True)
    ]


class _Peaks:
    """The peaks of one channel's decimated output: position, height, and where beside it."""

    def __init__(self, first: int) -> None:
        self._told = first  # all before this output were given
        self._at = np.empty(0, np.int64)
        self._height = self._shift = np.empty(0, np.float32)
        self._room = _peak_room(0)  # kept: fresh memory costs page faults

    def search(self, y: F32, begin: int, level: float) -> None:
        """Find those in y[1:-1], where y[0] is output `begin`."""
        if y.size // 2 >= self._room[0].size:
            self._room = _peak_room(y.size // 2 + 1)
        at, height, shift = self._room
        n = kernels.tops(y, level, at, height, shift)
        if n:
            self._at = np.concatenate([self._at, at[:n] + begin])
            self._height = np.concatenate([self._height, height[:n]])
            self._shift = np.concatenate([self._shift, shift[:n]])

    def decided(self, stop: int, channel: Coarse) -> tuple[I64, F32, F32]:
        """Peaks before output `stop` that stand out: position, shift, by how much."""
        if not self._at.size:
            self._told = max(self._told, stop)
            return self._at, self._shift, self._shift
        lift = np.zeros(self._at.size, np.float32)
        kernels.raised(self._at, self._height, channel.before, channel.after, lift)
        chosen = (self._at >= self._told) & (self._at < stop)
        chosen &= self._height >= channel.level + lift
        result = self._at[chosen], self._shift[chosen], lift[chosen]
        self._told = max(self._told, stop)
        near = self._at >= self._told - channel.after.size
        self._at, self._height, self._shift = self._at[near], self._height[near], self._shift[near]
        return result


def _peak_room(n: int) -> tuple[I64, F32, F32]:
    return np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32)


def _block_size(span: int, kernel_s: float) -> int:
    """A power of two near some kernels."""
    short = LONG * kernel_s <= LONG_S and LONG * span <= CACHED
    times = LONG if short else SHORT
    return 1 << max(round(float(np.log2(times * span))), int(np.ceil(np.log2(2 * span))))
