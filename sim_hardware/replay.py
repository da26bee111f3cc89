"""Recorded pulses as the source of a digitizer: LJH records laid out as one continuous stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from sim_hardware.edges import Edges, EdgeTrigger, edges, mean_pulse
from sim_hardware.filler import CONDITION, Filler, Filling, Noise, measured, quiet, tail_decay
from sim_hardware.ljh import Ints, LjhError, LjhFile
from sim_hardware.source import Samples

VOLTS_PER_COUNT = 1 / 65536  # LJH knows no volts: we let 16 bits be 1 V
LEAD_RECORDS = 2  # lengths of noise before the first and after the last record
SHORTEST = 64  # samples to measure noise in, or to tell a pulse
ENOUGH_NOISE = 1024  # stretches of noise, over the whole file
TOO_LARGE = 1 << 15  # for int16
MOST_NAMED = 8
COUNTS_AGREE, COUNTS_LATE_S = 0.01, 0.1  # the times are a computer's, which may be late

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Input:
    """What one channel replays; without a noise file the pretriggers tell the noise."""

    channel: str
    pulses: LjhFile
    noise: LjhFile | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples [start, stop) of the stream are those of a record from its index `first` on."""

    channel: str
    record: int
    start: int
    stop: int
    first: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """For each file where its records begin in the stream, and how long that is."""

    starts: list[Ints]
    length: int
    notes: tuple[str, ...] = ()


class ReplaySource:
    """LJH files as the channels of one digitizer that replays them.

    A record lies at its recorded time, which is that of its trigger; or, with `record_rate_hz`,
    record k of all channels at k / rate. Where two records of a channel overlap the earlier one
    stands. Between them is noise like the measured, onto which the pulse before decays.
    """

    volts_per_count = VOLTS_PER_COUNT

    def __init__(
        self,
        name: str,
        inputs: Sequence[Input],
        *,
        record_rate_hz: float | None = None,
        seed: int = 0,
    ) -> None:
        """LjhError where the files do not suit each other, or hold no noise to measure."""
        _check_suited(inputs)
        files = [one.pulses for one in inputs]
        layout = _layout(files, record_rate_hz)
        self.name, self.channels = name, tuple(one.channel for one in inputs)
        self.rate_hz, self.length = 1 / files[0].timebase_s, layout.length
        self._timebase_fs = round(files[0].timebase_s * 1e15)
        self._start_ns = self._first_ns(files[0], layout)
        self._tracks = {
            one.channel: Track(one, starts, layout.length, np.random.default_rng([seed, number]))
            for number, (one, starts) in enumerate(zip(inputs, layout.starts, strict=True))
        }
        noted = (note for track in self._tracks.values() for note in track.notes)
        self.notes = (*layout.notes, *noted)

    def samples(self, start: int, stop: int) -> Samples:
        """The samples [start, stop), int16, [channel, sample]; ValueError outside [0, length)."""
        if not 0 <= start <= stop <= self.length:
            raise ValueError(f"expected samples within 0 to {self.length}, found {start} to {stop}")
        out = np.empty((len(self.channels), stop - start), np.int16)
        for row, track in zip(out, self._tracks.values(), strict=True):
            track.read(start, row)
        return out

    def t_ns(self, sample: int) -> int:
        """UTC of a sample in ns, by the recorded time of the first channel's first record."""
        return self._start_ns + self._ns(sample)

    @property
    def records(self) -> tuple[Piece, ...]:
        """Where each record lies, as far as it is used, channel by channel."""
        return tuple(p for c in self.channels for p in self.source_of(c, 0, self.length))

    def source_of(self, channel: str, start: int, stop: int) -> tuple[Piece, ...]:
        """The parts of records that make up [start, stop) of a channel; the rest is filled."""
        return self._tracks[channel].pieces(start, stop)

    def where(self, channel: str, sample: int) -> tuple[int, int] | None:
        """The record and the index in it that a sample comes from; None between records."""
        pieces = self.source_of(channel, sample, sample + 1)
        return (pieces[0].record, pieces[0].first) if pieces else None

    def counts_offset(self, channel: str) -> int:
        """What was added to the recorded samples of a channel to make them fit int16."""
        return self._tracks[channel].offset

    def record_length(self, channel: str) -> int:
        """Samples of a recorded record of a channel."""
        return self._tracks[channel].file.record_length

    def presamples(self, channel: str) -> int:
        """Samples of a recorded record before its trigger, as the file's header says."""
        return self._tracks[channel].file.presamples

    def rises(self, channel: str) -> Ints:
        """The samples of the stream at which the triggered pulses of a channel begin, ascending.

        The rule is that of `edges.edges`. Records without a pulse, and pulses that begin where
        another record stands, are not in it; `where` names the record of each.
        """
        return self._tracks[channel].rises

    def suggested_trigger(self) -> dict[str, EdgeTrigger]:
        """For each channel a trigger that finds each of `rises` once, and nothing in the noise."""
        return {name: track.edges.trigger for name, track in self._tracks.items()}

    def _first_ns(self, file: LjhFile, layout: Layout) -> int:
        """UTC of sample 0; 1970 where the file tells no time."""
        trigger = int(layout.starts[0][0]) + file.presamples
        return max(0, int(file.posix_us[0]) * 1000 - self._ns(trigger))

    def _ns(self, samples: int) -> int:
        return samples * self._timebase_fs // 10**6


class Track:
    """One channel's records, and what fills the gaps before, between and after them."""

    def __init__(self, of: Input, starts: Ints, length: int, rng: np.random.Generator) -> None:
        self._channel, self.file, self._starts = of.channel, of.pulses, starts
        self._stops = starts + self.file.record_length
        self._used = np.maximum(starts, np.append(starts[0], self._stops[:-1]))
        self._gap_starts = np.append(0, self._stops)  # gap k lies before record k
        self._gap_stops = np.append(self._used, length)
        self.offset = -TOO_LARGE if self.file.samples.max() >= TOO_LARGE else 0
        stretches = _stretches(of)
        self._noise = _quiet(of, stretches)
        self.notes = self._noted(len(stretches))
        self._pulse = mean_pulse(self.file.samples, self.file.presamples)
        noise = Noise(measured(self._noise, 1 / self.file.timebase_s), rng)
        self._filler = Filler(noise, tail_decay(self._pulse))
        self._filling = lru_cache(maxsize=4)(self._fill)

    def read(self, start: int, out: Samples) -> None:
        """Put the samples from `start` on into `out`."""
        stop = start + len(out)
        for piece in self.pieces(start, stop):
            out[piece.start - start : piece.stop - start] = self._recorded(piece)
        first = int(np.searchsorted(self._gap_stops, start, "right"))
        last = int(np.searchsorted(self._gap_starts, stop, "left"))
        for gap in range(first, last):
            begin = max(start, int(self._gap_starts[gap]))
            end = min(stop, int(self._gap_stops[gap]))
            if begin < end:
                out[begin - start : end - start] = self._filled(gap, begin, end)

    def pieces(self, start: int, stop: int) -> tuple[Piece, ...]:
        """The parts of records within [start, stop)."""
        first = int(np.searchsorted(self._stops, start, "right"))
        last = int(np.searchsorted(self._used, stop, "left"))
        pieces = (self._piece(record, start, stop) for record in range(first, last))
        return tuple(piece for piece in pieces if piece.start < piece.stop)

    @cached_property
    def edges(self) -> Edges:
        """What tells of the pulses."""
        return edges(self.file.samples, self.file.presamples, self._noise)

    @property
    def rises(self) -> Ints:
        """The samples of the stream at which triggered pulses begin."""
        at = self._starts + self.edges.rises
        rises: Ints = at[(self.edges.rises >= 0) & (at >= self._used)]
        return rises

    def _piece(self, record: int, start: int, stop: int) -> Piece:
        begin = max(start, int(self._used[record]))
        end = min(stop, int(self._stops[record]))
        return Piece(self._channel, record, begin, end, begin - int(self._starts[record]))

    def _recorded(self, piece: Piece) -> npt.NDArray[np.int32]:
        part = slice(piece.first, piece.first + piece.stop - piece.start)
        return self.file.samples[piece.record, part].astype(np.int32) + np.int32(self.offset)

    def _filled(self, gap: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        values = self._filling(gap).onto(self._filler.noise.at(start, stop), start)
        return np.rint(values).clip(-TOO_LARGE, TOO_LARGE - 1)

    def _fill(self, gap: int) -> Filling:
        start, stop = int(self._gap_starts[gap]), int(self._gap_stops[gap])
        before = self.pieces(start - CONDITION, start)[-1:]
        after = self.pieces(stop, stop + CONDITION)[:1]
        return self._filler.fill(
            start,
            stop,
            before=self._values(before),
            after=self._values(after),
            level=self._baseline(min(gap, self.file.n_records - 1)),
        )

    def _values(self, pieces: tuple[Piece, ...]) -> Floats:
        found = [self._recorded(piece).astype(np.float64) for piece in pieces]
        return np.concatenate([np.empty(0), *found])

    def _baseline(self, record: int) -> float:
        """The median of the first half of a record's pretrigger."""
        pretrigger = self.file.samples[record, : max(1, self.file.presamples // 2)]
        return float(np.median(pretrigger)) + self.offset

    def _noted(self, n_stretches: int) -> tuple[str, ...]:
        """What whoever looks at the replay should know."""
        overlaps = np.flatnonzero(self._used > self._starts)
        n_left_out = n_stretches - len(self._noise)
        notes = [
            (self.offset, f"{self.offset} is added to every sample, to fit int16"),
            (len(overlaps), f"begin within the record before, which stands: {_listed(overlaps)}"),
            (n_left_out, f"{n_left_out} of {n_stretches} stretches hold more than noise: left out"),
        ]
        return tuple(f"{self._channel}: {note}" for holds, note in notes if holds)


def _check_suited(inputs: Sequence[Input]) -> None:
    files = [file for one in inputs for file in (one.pulses, one.noise) if file is not None]
    if not files:
        raise LjhError("expected at least one file to replay, found none")
    for file in files:
        if file.record_length < SHORTEST:
            raise LjhError(
                f"{file.path}: expected records of {SHORTEST} samples or more, "
                f"found {file.record_length}"
            )
        if file.timebase_s != files[0].timebase_s:
            raise LjhError(
                f"{file.path}: expected the timebase {files[0].timebase_s:g} s "
                f"of {files[0].path}, found {file.timebase_s:g} s"
            )
    names = [one.channel for one in inputs]
    if len(set(names)) < len(names):
        raise LjhError(f"expected each channel once, found {', '.join(names)}")


def _stretches(of: Input) -> Floats:
    """Noise [stretch, sample] as recorded: a noise file's records, or the pretriggers."""
    file = of.noise or of.pulses
    n_samples = file.record_length if of.noise else file.presamples * 15 // 16  # clear of the rise
    if n_samples < SHORTEST:
        raise LjhError(
            f"{file.path}: expected at least {SHORTEST} samples in a row to measure the "
            f"noise in, found {n_samples}"
        )
    every = -(-file.n_records // ENOUGH_NOISE)
    return file.samples[::every, :n_samples].astype(np.float64)


def _quiet(of: Input, stretches: Floats) -> Floats:
    kept = quiet(stretches)
    if not len(kept):
        raise LjhError(
            f"{(of.noise or of.pulses).path}: expected stretches of noise alone, "
            f"found none among {len(stretches)}"
        )
    return kept


def _layout(files: Sequence[LjhFile], record_rate_hz: float | None) -> Layout:
    if record_rate_hz is not None:
        distance = 1 / (record_rate_hz * files[0].timebase_s)
        return _placed(files, [_whole(np.arange(file.n_records) * distance) for file in files])
    clock = _by_counts if all(_counted(file) for file in files) else _by_times
    begins = [at - file.presamples for at, file in zip(clock(files), files, strict=True)]
    if max(at[0] for at in begins) > min(at[-1] for at in begins):
        note = "the files were not recorded at the same time: their first records begin together"
        return _placed(files, [at - at[0] for at in begins], note)
    return _placed(files, begins)


def _placed(files: Sequence[LjhFile], begins: list[Ints], *notes: str) -> Layout:
    """The stream with the lead before the earliest record and after the last."""
    lead = LEAD_RECORDS * max(file.record_length for file in files)
    origin = min(int(at[0]) for at in begins) - lead
    ends = [int(at[-1]) + file.record_length for at, file in zip(begins, files, strict=True)]
    return Layout([at - origin for at in begins], max(ends) - origin + lead, notes)


def _by_counts(files: Sequence[LjhFile]) -> list[Ints]:
    return [file.counts // (file.subframes or 1) for file in files]


def _by_times(files: Sequence[LjhFile]) -> list[Ints]:
    origin = min(int(file.posix_us[0]) for file in files)
    return [_whole((file.posix_us - origin) * 1e-6 / file.timebase_s) for file in files]


def _counted(file: LjhFile) -> bool:
    """Whether the counts tell the sample, which is finer than the times: they agree with these."""
    if file.subframes is None:
        return False
    counted_s = float(file.counts[-1] - file.counts[0]) / file.subframes * file.timebase_s
    timed_s = float(file.times_us[-1] - file.times_us[0]) * 1e-6
    return abs(counted_s - timed_s) <= COUNTS_AGREE * timed_s + COUNTS_LATE_S


def _whole(values: npt.NDArray[np.floating]) -> Ints:
    return np.array(np.rint(values), dtype=np.int64)


def _listed(numbers: npt.NDArray[np.intp]) -> str:
    named = ", ".join(map(str, numbers[:MOST_NAMED]))
    return named if len(numbers) <= MOST_NAMED else f"{named} and {len(numbers) - MOST_NAMED} more"
