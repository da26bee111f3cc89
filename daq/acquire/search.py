"""One set of filters on one stretch: decimate, filter by blocks on absolute grids, find, refine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from daq.acquire import kernels
from daq.acquire.coarse import FACTORS, LEAST, Coarse, chi2_of, reach, span_of, taps
from daq.acquire.kernels import C64, F32, F64, I64
from daq.acquire.tapes import Tapes

AT_ONCE = 16  # channels per FFT
LONG, SHORT = 8, 4  # lengths of the filter in a block: long where it is cached and soon full
LONG_S = 0.5
AHEAD = 2  # blocks that are decimated before the one in front is full: fewer, longer calls
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
    """Filters of one decimation, on the stretch that `begin` names; fed from the group's tapes.

    `channels` are the filters' searches, `rows` which of the tapes' channels they look at. Output
    m of a filter is for a pulse at record sample m * factor. Blocks of outputs begin at multiples
    of `hop`, so that the FFTs see the same samples wherever the stream is cut.
    """

    def __init__(self, channels: Sequence[Coarse], rows: Sequence[int]) -> None:
        self.channels, self.rows = list(channels), list(rows)
        one = self.channels[0]
        self.factor = one.factor
        self._taps, self._reach = taps(self.factor), reach(self.factor)
        self._first, self._span = one.first, one.kernel.size
        self._size = _block_size(self._span, one.length_s)
        self._hop = self._size - self._span + 1
        self._wait = one.after.size  # a peak is compared with those so near
        self._levels = np.array([c.level for c in self.channels])
        self._spectra = self._kernel_spectra()
        # a block's input, and what there is of the next ones'
        self._line = np.empty((len(self.channels), self._size + AHEAD * self._hop), np.float32)
        self._peaks = [_Peaks() for _ in self.channels]
        self._room = _PeakRoom(min(AT_ONCE, len(self.channels)), self._hop)
        self._kept: list[object] = []

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
        return self._wait * self.factor

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
        self._ends = np.empty((len(self.channels), 2), np.float32)  # the last two outputs
        self._ended = False  # whether there are any
        self._told = self._decidable  # all peaks before this output were given
        for peaks in self._peaks:
            peaks.clear()

    def feed(self, tapes: Tapes) -> bool:
        """Filter whatever blocks are whole now; whether there were any."""
        before = self._block
        while self._fill(tapes):
            self._find(self._filtered(), self._block * self._hop, self._hop)
            left = self._filled - self._hop
            self._line[:, :left] = self._line[:, self._hop : self._filled].copy()
            self._block, self._filled = self._block + 1, left
        return self._block > before

    def finish(self, tapes: Tapes) -> None:
        """Filter the rest, as far as outputs need nothing after what is there."""
        self.feed(tapes)
        n = self._filled - self._span + 1
        if n > 0:
            self._line[:, self._filled :] = self._line[:, self._filled - 1 : self._filled]
            self._find(self._filtered(), self._block * self._hop, n)
        self._searched += self._wait

    def pulses(self, tapes: Tapes) -> list[tuple[int, Pulse]]:
        """The pulses that are decided and were not given yet, each with its tapes' channel."""
        stop = self._searched - self._wait
        climbed = [
            _Climbed(tapes, self.rows[i], channel, *summit)
            for i, (channel, peaks) in enumerate(zip(self.channels, self._peaks, strict=True))
            if peaks.some
            for summit in peaks.decided(self._told, stop, channel)
        ]
        self._told = max(self._told, stop)
        return _refined([one for one in climbed if one.is_high])

    # --- blocks ---

    def _fill(self, tapes: Tapes) -> bool:
        """Decimate what there is into the line; whether a block is whole."""
        begin = self._block * self._hop + self._first
        if self._filled == 0 and not self._fill_front(tapes, self._given - begin):
            return False
        at = begin + self._filled
        stop = (tapes.stop - 1 - self._reach) // self.factor + 1
        n = min(stop - at, self._line.shape[1] - self._filled)
        if n > 0:
            self._decimate(tapes, at, self._line[:, self._filled : self._filled + n])
            self._filled += n
        return self._filled >= self._size

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
        done = 0
        while done < out.shape[1]:
            begin = (at + done) * self.factor - self._reach
            most = out.shape[1] - done
            n, windows = tapes.windows(begin, self._taps.size, self.factor, most)
            for row, target in zip(self.rows, out[:, done : done + n], strict=True):
                if self.factor == 1:
                    kernels.to_floats(windows[row], target)
                else:
                    kernels.low_pass(windows[row], self._taps, self.factor, target)
            done += n

    def _filtered(self) -> list[F32]:
        """The block's outputs, [channel, output] for some channels at a time."""
        results, kept = [], []
        for spectra, rows in self._spectra:
            transform = np.asarray(scipy.fft.rfft(self._line[rows, : self._size]))
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
        skip = 0 if self._ended else max(self._searched - 1 - begin, 0)
        for (_, rows), outputs in zip(self._spectra, filtered, strict=True):
            for i, found in self._room.search(
                outputs, self._ends[rows], self._ended, skip, n, self._levels[rows]
            ):
                self._peaks[rows.start + i].add(begin, *found)
        self._ended = self._ended or n - skip >= 2
        self._searched = begin + n - 1


class _PeakRoom:
    """Room for the peaks of a block; kept, as fresh memory costs page faults."""

    def __init__(self, channels: int, outputs: int) -> None:
        shape = (channels, outputs // 2 + 2)
        self._at, self._counts = np.empty(shape, np.int64), np.empty(channels, np.int64)
        self._height, self._shift = np.empty(shape, np.float32), np.empty(shape, np.float32)

    def search(
        self, y: F32, ends: F32, ended: bool, skip: int, n: int, levels: F64
    ) -> list[tuple[int, tuple[I64, F32, F32]]]:
        """Row and peaks (index, height, shift) of those rows of y[:, skip:n] that have any.

        `ends` are the two outputs before y[:, 0], where there are any, and then become those at
        its end.
        """
        at, height, shift = self._at, self._height, self._shift
        kernels.block_tops(y, ends, ended, skip, n, levels, self._counts, at, height, shift)
        counts = self._counts[: len(y)]
        return [
            (i, (at[i, :k].copy(), height[i, :k].copy(), shift[i, :k].copy()))
            for i, k in enumerate(counts.tolist())
            if k
        ]


class _Peaks:
    """The peaks of one channel's decimated output: position, height, and where beside it."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._at = np.empty(0, np.int64)
        self._height = self._shift = np.empty(0, np.float32)
        self.some = False

    def add(self, begin: int, at: I64, height: F32, shift: F32) -> None:
        """Take those of a block in whose index 0 is output `begin`."""
        self.some = True
        self._at = np.concatenate([self._at, at + begin])
        self._height = np.concatenate([self._height, height])
        self._shift = np.concatenate([self._shift, shift])

    def decided(self, told: int, stop: int, channel: Coarse) -> list[tuple[int, float, float]]:
        """Those at outputs [told, stop) that stand out: position, shift, by how much."""
        at, height, shift = self._at, self._height, self._shift
        which, lift = np.empty(at.size, np.int64), np.empty(at.size, np.float32)
        n = kernels.standing_out(
            at, height, (told, stop), channel.level, channel.before, channel.after, which, lift
        )
        chosen = [
            (int(at[i]), float(shift[i]), raised)
            for i, raised in zip(which[:n].tolist(), lift[:n].tolist(), strict=True)
        ]
        near = int(np.searchsorted(at, max(told, stop) - channel.after.size))
        self._at, self._height, self._shift = at[near:], height[near:], shift[near:]
        self.some = bool(self._at.size)
        return chosen


class _Climbed:
    """A peak of the decimated output, and the top of it at the full rate."""

    __slots__ = ("amplitude", "begin", "channel", "is_high", "lifted", "offset", "row", "window")

    def __init__(
        self, tapes: Tapes, row: int, channel: Coarse, m: int, aside: float, lift: float
    ) -> None:
        factor = channel.factor
        middle = m * factor - channel.pretrigger
        margin = factor + 1 + reach(factor)
        start = middle - margin  # the taper's ringing reaches farther: it is all there
        self.window = tapes.read(row, start, middle + channel.length + margin)
        guess = round(middle - start + aside * factor)
        least, most = middle - start - factor, middle - start + factor
        top, self.offset, self.amplitude = kernels.climb(
            self.window, channel.fine, guess, least, most
        )
        self.row, self.channel, self.begin = row, channel, top + start
        self.window = self.window[top - reach(factor) :]
        self.is_high, self.lifted = self.amplitude >= channel.threshold + lift, lift > 0

    def pulse(self, chi2: float) -> Pulse:
        """As it is told."""
        channel = self.channel
        return Pulse(
            sample=self.begin + channel.pretrigger,
            offset=self.offset,
            amplitude=self.amplitude,
            chi2=chi2,
            ndf=channel.ndf,
            blind=channel.blind(self.amplitude),
            lifted=self.lifted,
        )


def _refined(climbed: Sequence[_Climbed]) -> list[tuple[int, Pulse]]:
    """Those with their chi2."""
    chi2 = chi2_of([(one.channel, one.window, one.offset, one.amplitude) for one in climbed])
    return [(one.row, one.pulse(misfit)) for one, misfit in zip(climbed, chi2, strict=True)]


def history_of(length: int, length_s: float) -> int:
    """Record samples before the last fed one from which all that is undecided can be had, and with
    which another filter of the same length can begin: enough for every decimation."""
    return max(
        (2 * (_block_size(n, length_s) - n + 1) + n + 2 * (length // f + 2) + 6) * f + 2 * reach(f)
        for f in (*FACTORS, 1)
        for n in (span_of(length, f),)
        if f == 1 or length >= LEAST * f
    )


def _block_size(span: int, kernel_s: float) -> int:
    """A power of two near some kernels."""
    short = LONG * kernel_s <= LONG_S and LONG * span <= CACHED
    times = LONG if short else SHORT
    return 1 << max(round(float(np.log2(times * span))), int(np.ceil(np.log2(2 * span))))
