"""The guard of one channel: what the SQUID does that no pulse does, found in the stream.

It stands before the decimation. Samples pass when no jump can still begin before them, without
the flux quanta that the loop has slipped by; what it finds is a hit, and dead time. All positions
are digitizer samples. A function of the samples and of the relocks at their samples alone: it
works on blocks of a fixed grid, and what is undecided at a cut waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import sqrt

import msgspec
import numpy as np

from daq.acquire import guardkernels as kernels
from daq.acquire.guardkernels import GRID, MEAN
from daq.acquire.intervals import LONG_AGO, Intervals
from daq.acquire.kernels import I16
from daq.acquire.tape import Tape
from daq.model.channel import PIECES, Guarding
from daq.model.record import HitKind

NEVER = 1e9  # counts: no difference of samples reaches it


class GuardHit(msgspec.Struct, frozen=True, array_like=True):
    """What was found in [start, stop); `quanta` and `size` as in the table of hits."""

    kind: int
    start: int
    stop: int
    quanta: int = 0
    size: float = 0.0


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Sums over one whole piece of a window."""

    start: int
    total: int
    squares: int


class GuardState(msgspec.Struct):
    """What must be remembered."""

    origin: int  # what lies before is not compared with what comes: a start, a gap, a relock
    judged: int  # every sample before was looked at
    search: int  # steps are looked for from here on
    since: int  # a level before a step begins here at the earliest
    passed: int  # no jump before this sample will still be found
    window: int = 0  # number of the one that is being filled
    sums: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    pieces: list[Piece] = []
    # from this sample on so many quanta are taken off
    steps: list[tuple[int, int]] = msgspec.field(default_factory=lambda: [(LONG_AGO, 0)])
    cuts: list[tuple[int, bool]] = []  # the loop is being locked anew from here on, or is locked
    relocking: bool = False
    marks: list[tuple[int, int]] = []  # stretches that go on into what was not judged yet
    second: int = LONG_AGO  # in which jumps are counted
    in_second: int = 0
    equal_since: int = LONG_AGO  # the last block is constant, and equal to all since here
    rail: tuple[int, int] | None = None  # a stretch that may go on
    out: dict[int, GuardHit] = {}  # what was out of its band in the last window
    hits: list[GuardHit] = []  # not taken yet
    n_jumps: int = 0


class Guard:
    """Looks at one channel's samples; fills in what it finds in `dead`."""

    def __init__(
        self, settings: Guarding, rate_hz: float, state: GuardState, dead: Mapping[str, Intervals]
    ) -> None:
        self.settings, self.state, self._dead = settings, state, dead
        self._second = round(rate_hz)
        self._piece = settings.window // PIECES or 1 << 62
        self._level = (1 - settings.tolerance) * settings.phi0 if settings.phi0 else NEVER
        self.begin(state.origin)

    @classmethod
    def at(cls, sample: int) -> GuardState:
        """The state at the beginning of everything."""
        return GuardState(sample, sample, sample, sample, sample)

    # --- how it stands ---

    @property
    def settled(self) -> int:
        """What comes can make nothing before this sample dead."""
        s, c = self.state, self.settings
        if s.relocking:
            return s.judged
        until = s.passed
        if c.window:
            until = min(until, s.window * c.window)
        if c.frozen:
            until = min(until, s.judged - GRID if s.equal_since == LONG_AGO else s.equal_since)
        return max(until, s.origin)

    @property
    def needs(self) -> int:
        """The first sample that a restart needs again."""
        s = self.state
        if s.relocking:
            return s.judged
        return max(min(s.judged, s.search) - GRID - self.settings.span - MEAN, s.origin)

    @property
    def quanta(self) -> int:
        """How many flux quanta are taken off at present."""
        return self.state.steps[-1][1]

    @property
    def standing(self) -> GuardHit | None:
        """What has not ended yet, of several what began first; its stop is where it was seen."""
        s, found = self.state, list(self.state.out.values())
        if self._is_frozen:
            found.append(GuardHit(HitKind.FROZEN, s.equal_since, s.judged))
        if s.rail is not None:
            found.append(GuardHit(HitKind.RAIL, *s.rail))
        second = s.second * self._second
        if s.in_second >= self.settings.storm and s.judged < second + self._second:
            found.append(GuardHit(HitKind.STORM, second, s.judged))
        return min(found, key=lambda hit: hit.start, default=None)

    # --- what goes in, and passes ---

    def feed(self, samples: I16) -> I16:
        """Take the next samples in; those that pass, valid until the next time."""
        self._tape.append(samples)
        self._cut()
        self._judge(self._tape.stop // GRID * GRID, final=False)
        return self._release()

    def finish(self) -> I16:
        """The stretch is over: decide by what there is; the rest of it passes."""
        self._cut()
        self._judge(self._tape.stop, final=True)
        self.state.origin = self.state.judged
        return self._release()

    def open(self, start: int) -> None:
        """A new stretch: what was slipped stays slipped, nothing else is known."""
        self._restart_at(start)
        self.begin(start)

    def begin(self, start: int) -> None:
        """Samples come from `start` on, in the present stretch; perhaps again."""
        self._tape = Tape(start)
        self._released = start

    def relock(self, sample: int) -> None:
        """From `sample` on the loop is being locked anew: nothing is judged."""
        self.state.cuts = [*self.state.cuts, (sample, True)]

    def relocked(self, sample: int) -> None:
        """From `sample` on it is proven locked, at a level of its own."""
        self.state.cuts = [*self.state.cuts, (sample, False)]

    def take(self) -> list[GuardHit]:
        """The hits that are over, since the last time."""
        hits, self.state.hits = self.state.hits, []
        return hits

    def forget_before(self, sample: int) -> None:
        """A restart will not ask for samples before this one."""
        steps, sample = self.state.steps, min(sample, self.settled)
        while len(steps) > 1 and steps[1][0] <= sample:
            steps = steps[1:]
        self.state.steps = steps

    # --- passing ---

    def _release(self) -> I16:
        stop = min(self.state.passed, self._tape.stop)
        stop = max(stop, self._released)
        parts = [self._shifted(*part) for part in self._parts(self._released, stop)]
        self._released = stop
        self._tape.forget_before(min(self.needs, self._released, self.state.judged))
        if not parts:
            return np.empty(0, np.int16)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _parts(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """[start, stop) by the quanta that are taken off there."""
        steps = [*self.state.steps, (stop, 0)]
        cut = [(max(a, start), min(b, stop), quanta) for (a, quanta), (b, _) in pairwise(steps)]
        return [(a, b, quanta) for a, b, quanta in cut if b > a]

    def _shifted(self, start: int, stop: int, quanta: int) -> I16:
        samples = self._tape.read(start, stop)
        if not quanta:
            return samples
        out = np.empty(samples.size, np.int16)
        kernels.shifted(samples, round(quanta * self.settings.phi0), out)
        return out

    # --- judging ---

    def _cut(self) -> None:
        """Let relocks begin and end at their samples, once everything before is there."""
        s = self.state
        while s.cuts and s.cuts[0][0] <= self._tape.stop:
            (sample, relocking), s.cuts = s.cuts[0], s.cuts[1:]
            self._judge(sample, final=True)
            self._restart_at(max(sample, s.judged))
            if relocking and self.quanta:
                s.steps = [*s.steps, (sample, 0)]
            s.relocking = relocking

    def _restart_at(self, sample: int) -> None:
        s = self.state
        s.origin = s.judged = s.search = s.since = s.passed = sample
        s.pieces, s.marks, s.relocking = [], [], False
        s.equal_since, s.second, s.in_second = LONG_AGO, LONG_AGO, 0
        if self.settings.window:
            s.window, s.sums = sample // self.settings.window, [sample % self._piece, 0, 0]

    def _judge(self, stop: int, *, final: bool) -> None:
        s = self.state
        start, s.judged = s.judged, max(s.judged, stop)
        if s.relocking:
            s.passed = s.judged
            return
        if stop > start:
            seen = self._survey(start, stop)
            if seen & kernels.RAIL or s.rail:
                self._look_for_rails(start, stop)
            if self.settings.frozen and (seen & kernels.CONSTANT or s.equal_since > LONG_AGO):
                self._look_for_equals(start, stop)
            if s.search < start or seen & kernels.STEPS:
                self._look_for_steps(stop, final=final)
            else:
                s.search, s.passed = stop, stop - self.settings.span
        elif final and s.search < stop:
            self._look_for_steps(stop, final=True)
        if final:
            s.passed = s.judged
        self._judge_windows(final=final)
        self._spread(s.judged)
        if final:
            self._close(stop)

    def _read(self, start: int, stop: int) -> tuple[I16, int]:
        """Samples up to `stop`, and where `start` is in them; before it what a step needs."""
        first = max(start - GRID - self.settings.span - MEAN, self.state.origin, self._tape.start)
        return self._tape.read(first, stop), start - first

    def _survey(self, start: int, stop: int) -> int:
        s, c = self.state, self.settings
        x, first = self._read(start, stop)
        room = (stop - start) // self._piece + 2
        sums = np.array(s.sums, np.int64)
        totals, squares = np.empty(room, np.int64), np.empty(room, np.int64)
        seen, ended = kernels.survey(
            x, first, GRID - start % GRID, c.span, self._level, c.rail_low, c.rail_high,
            self._piece, sums, totals, squares,
        )  # fmt: skip
        if c.window:
            s.sums = sums.tolist()
            begin = start // self._piece * self._piece
            whole = [
                Piece(begin + i * self._piece, int(totals[i]), int(squares[i]))
                for i in range(ended)
            ]
            s.pieces = [*s.pieces, *(piece for piece in whole if piece.start >= s.origin)]
        return int(seen)

    def _hit(self, kind: HitKind, start: int, stop: int, quanta: int = 0, size: float = 0) -> None:
        self.state.hits = [*self.state.hits, GuardHit(kind, start, stop, quanta, size)]

    def _kill(self, cause: str, start: int, stop: int) -> None:
        self._dead[cause].add(start, stop)
        self._dead["guard"].add(start, stop)

    # --- the output at the end of its range ---

    def _look_for_rails(self, start: int, stop: int) -> None:
        s, c = self.state, self.settings
        x, first = self._read(start, stop)
        room = (stop - start) // 2 + 2
        starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
        n = kernels.beyond(x[first:], c.rail_low, c.rail_high, 1, starts, stops)
        for a, b in zip((starts[:n] + start).tolist(), (stops[:n] + start).tolist(), strict=True):
            self._kill("saturated", a, b)
            if s.rail and a < s.rail[1] + c.settle:
                s.rail = (s.rail[0], b)
                continue
            self._end_rail()
            s.rail = (a, b)
        if s.rail and s.rail[1] + c.settle <= stop:
            self._end_rail()

    def _end_rail(self) -> None:
        rail, self.state.rail = self.state.rail, None
        if rail is not None:
            self._hit(HitKind.RAIL, *rail)

    # --- samples that do not change ---

    @property
    def _is_frozen(self) -> bool:
        s = self.state
        return s.equal_since > LONG_AGO and s.judged - s.equal_since >= self.settings.frozen > 0

    def _look_for_equals(self, start: int, stop: int) -> None:
        s, least = self.state, self.settings.frozen
        begin = start if s.equal_since > LONG_AGO else max(start - GRID, s.origin, self._tape.start)
        x, first = self._read(begin, stop)
        since = first + (s.equal_since - begin if s.equal_since > LONG_AGO else 0)
        starts, stops = (np.empty((stop - begin) // least + 2, np.int64) for _ in range(2))
        n, last = kernels.equal_runs(x, first, since, least, starts, stops)
        for a, b in zip(starts[:n].tolist(), stops[:n].tolist(), strict=True):
            self._end_frozen(begin + a - first, begin + b - first)
        s.equal_since = begin + last - first if x.size - last >= GRID else LONG_AGO
        if self._is_frozen:
            self._kill("unlocked", s.equal_since, stop)

    def _end_frozen(self, start: int, stop: int) -> None:
        self._kill("unlocked", start, stop)
        self._hit(HitKind.FROZEN, start, stop)

    # --- jumps ---

    def _look_for_steps(self, stop: int, *, final: bool) -> None:
        """Judge every step before `stop`, or up to one that must wait."""
        s, c = self.state, self.settings
        while True:
            x, first = self._read(min(s.search, stop), stop)
            i = int(kernels.next_step(x, first, c.span, self._level))
            s.search = s.search + i - first
            if i >= x.size:
                break
            since = max(s.since - (s.search - i), 0)
            verdict, quanta, size, at = kernels.judge_step(
                x, i, since, c.span, c.hold, c.phi0, c.tolerance, c.rail_low, c.rail_high, final
            )
            if verdict == kernels.WAIT:
                break
            if verdict == kernels.JUMP:
                self._jump(s.search + at - i, quanta, size)
                s.since = s.search + c.span
            s.search += 2 * c.span + 1
        s.passed = max(s.passed, min(s.search, stop) - c.span)

    def _jump(self, at: int, quanta: int, size: float) -> None:
        s, c = self.state, self.settings
        s.n_jumps += 1
        s.steps = [*s.steps, (at, self.quanta + quanta)]
        self._dead["jump"].add(at - c.lead, at + c.settle)
        s.marks = [*s.marks, (at, at + c.settle)]
        second = at // self._second
        if second != s.second:
            s.second, s.in_second = second, 0
        s.in_second += 1
        if s.in_second <= c.storm:
            self._hit(HitKind.JUMP, at, at + c.settle, quanta, size)
        if s.in_second == c.storm:
            until = (second + 1) * self._second
            self._hit(HitKind.STORM, at, until)
            s.marks = [*s.marks, (at, until)]

    def _spread(self, stop: int) -> None:
        """What goes on is dead as far as was judged."""
        s = self.state
        for start, until in s.marks:
            self._kill("unlocked", start, min(until, stop))
        s.marks = [mark for mark in s.marks if mark[1] > stop]

    # --- noise and baseline ---

    def _judge_windows(self, *, final: bool) -> None:
        s, length = self.state, self.settings.window
        if not length:
            return
        while (s.window + 1) * length <= s.passed or (final and s.window * length < s.passed):
            start = max(s.window * length, s.origin)
            stop = min((s.window + 1) * length, s.passed)
            self._judge_window(start, stop, [piece for piece in s.pieces if piece.start < stop])
            s.pieces = [piece for piece in s.pieces if piece.start >= stop]
            s.window += 1

    def _judge_window(self, start: int, stop: int, pieces: list[Piece]) -> None:
        """By its quietest piece, which pulses disturb least."""
        c = self.settings
        of = [self._described(piece) for piece in pieces if not self._is_spoiled(piece)]
        rms, level = min(((r, b) for r, b in of if r > 0 or not c.frozen), default=(None, None))
        self._judge_band(HitKind.NOISE, rms, c.noise_low, c.noise_high, start, stop)
        self._judge_band(HitKind.BASELINE, level, c.baseline_low, c.baseline_high, start, stop)

    def _is_spoiled(self, piece: Piece) -> bool:
        return any(piece.start < at < piece.start + self._piece for at, _ in self.state.steps)

    def _described(self, piece: Piece) -> tuple[float, float]:
        """Standard deviation, and mean without the quanta that were slipped, in counts."""
        n, c = self._piece, self.settings
        quanta = next(q for at, q in reversed(self.state.steps) if at <= piece.start)
        variance = (piece.squares - piece.total * piece.total / n) / n
        return sqrt(max(variance, 0.0)), piece.total / n - round(quanta * c.phi0)

    def _judge_band(
        self, kind: HitKind, value: float | None, low: float, high: float, start: int, stop: int
    ) -> None:
        """A window without a whole piece is as the one before."""
        s, before = self.state, self.state.out.get(kind)
        if value is None:
            value = before.size if before else low
        if not low <= value <= high:
            self._kill("unlocked", start, stop)
            first = before.start if before else start
            s.out = {**s.out, kind: GuardHit(kind, first, stop, 0, value)}
        elif before is not None:
            s.out = {k: hit for k, hit in s.out.items() if k != kind}
            s.hits = [*s.hits, before]

    def _close(self, stop: int) -> None:
        """Nothing goes on beyond `stop`."""
        s = self.state
        self._end_rail()
        if self._is_frozen:
            self._end_frozen(s.equal_since, stop)
        s.hits = [*s.hits, *s.out.values()]
        s.out, s.equal_since, s.marks = {}, LONG_AGO, []
