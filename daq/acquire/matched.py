"""The optimum filter on the streams of a group of channels: triggers with height, time and chi2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from daq.acquire.coarse import Coarse, coarse, factor_for
from daq.acquire.filters import Filter
from daq.acquire.kernels import F32, I64
from daq.acquire.search import Pulse, Search, history_of
from daq.acquire.tapes import Rows, Tapes
from daq.errors import UsageError

FOREVER = 2**62


class Near(IntFlag):
    """Bits of a candidate's `near`."""

    LARGER = 1  # a larger pulse is within reach: it had to stand out of its side lobes


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pulses of one channel, in order of time; each array is [pulse].

    `sample` is where the template's trigger sample stands, as the nearest record sample (int64),
    `offset` what is to be added to it (float32, within half a sample), `amplitude` the height
    [counts] (float32), `chi2` per degree of freedom (float32) of which there are `ndf` (int32),
    `blind` the record samples on either side in which the pulse raises the threshold by more than
    a sigma (int64), `near` bits of Near (uint8), `generation` how often the channel's filter was
    changed before (uint16).
    """

    sample: I64
    offset: F32
    amplitude: F32
    chi2: F32
    blind: I64
    near: npt.NDArray[np.uint8]
    generation: npt.NDArray[np.uint16]
    ndf: npt.NDArray[np.int32]


class MatchedFilters:
    """One search for the channels of one digitizer that share record rate and template.

    Their filters have one length, pretrigger and rate; those that are searched at the same
    decimation go through one FFT. `thresholds` are heights in counts (`Filter.counts` converts).
    `start` is the number of the first record sample of the present stretch. What comes out depends
    on a channel's samples and filters alone: not on how they are cut, not on which other channels
    are in the group.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        thresholds: Sequence[float],
        start: int,
        *,
        factor: int | None = None,
    ) -> None:
        """`factor` is the decimation of the search: 1 for the full rate, None to let it choose."""
        _refuse(filters, thresholds)
        one = filters[0]
        self._alike = one.length, one.pretrigger, one.rate_hz
        self.history = history_of(one.length, one.length / one.rate_hz) + one.length
        self._factor, self._start, self._finished = factor, start, False
        given = [self._given(f, t) for f, t in zip(filters, thresholds, strict=True)]
        searches = _searches_of(given)
        self._channels = [_Channel(g, s) for g, s in zip(given, searches, strict=True)]
        self._begin(start)

    @property
    def fed(self) -> int:
        """Record samples were taken in up to here, counting anew after a restart."""
        return self._tapes.stop

    @property
    def complete_until(self) -> int:
        """No candidate of any channel before this record sample will still come."""
        return min(channel.until for channel in self._channels)

    def until(self, channel: int) -> int:
        """No candidate of a channel before this record sample will still come."""
        return self._channels[channel].until

    def head(self, channel: int) -> int:
        """Record samples from a stretch's start on in which a channel's pulse may be missed."""
        return self._channels[channel].head

    def tail(self, channel: int) -> int:
        """Record samples before its end in which it may."""
        return self._channels[channel].tail

    def reach(self, channel: int) -> int:
        """Record samples on either side of a pulse beyond which it raises no threshold."""
        return self._channels[channel].reach

    def feed(self, samples: Rows) -> None:
        """Take the next record samples [channel][sample] in; they must not change afterwards."""
        self._tapes.append(samples)
        grown = [search for search in self._searches() if search.feed(self._tapes)]
        if grown:
            self._collect(grown)
        self._tapes.forget_before(self.fed - self.history)

    def take(self) -> list[Candidates]:
        """What was found since the last time, per channel, complete up to its watermark."""
        return [_candidates(self.take_of(i)) for i in range(len(self._channels))]

    def take_of(self, channel: int) -> list[tuple[Pulse, int]]:
        """The same of one channel, as pulses with the generation of their filter, in order."""
        ready = self._channels[channel].ready
        if ready:
            self._channels[channel].ready = []
        return ready

    def with_filters(
        self, filters: Sequence[Filter], thresholds: Sequence[float], sample: int
    ) -> None:
        """Other filters for pulses from record sample `sample` on, not before complete_until.

        A channel whose filter and threshold stay goes on as if nothing had happened.
        """
        _refuse(filters, thresholds)
        one = filters[0]
        if len(filters) != len(self._channels):
            raise UsageError(f"expected {len(self._channels)} filters, found {len(filters)}")
        if (one.length, one.pretrigger, one.rate_hz) != self._alike:
            raise UsageError(
                f"expected filters of length, pretrigger and rate {self._alike}, found "
                f"{(one.length, one.pretrigger, one.rate_hz)}"
            )
        earliest = max(channel.earliest(self._start) for channel in self._channels)
        if sample < earliest:
            raise UsageError(f"expected a change at sample {earliest} or later, found {sample}")
        given = [
            channel.given if channel.has(f, t) else self._given(f, t)
            for channel, f, t in zip(self._channels, filters, thresholds, strict=True)
        ]
        searches = _searches_of(given)
        for search in dict.fromkeys(searches):
            search.begin(self._start, self._tapes.start)
            search.feed(self._tapes)
        for channel, new, search in zip(self._channels, given, searches, strict=True):
            channel.change(new, search, sample)
            channel.forget_ended(self._start)
        self._collect(dict.fromkeys(searches))

    def gap(self, start: int) -> None:
        """The stretch is over, the next begins at record sample `start`."""
        self.finish()
        self._start = start
        self._begin(start)

    def finish(self) -> None:
        """Nothing more comes in this stretch: search to the end of what was fed."""
        if self._finished:
            return
        searches = self._searches()
        for search in searches:
            search.finish(self._tapes)
        self._collect(searches)
        self._finished = True
        for channel in self._channels:
            channel.finish(self.fed)

    def restart(self, sample: int) -> None:
        """Samples come again from `sample` on, in the present stretch; of a fresh search.

        Gives again what is found in them: whoever restarts drops what is before its own watermark.
        """
        for channel in self._channels:
            channel.found, channel.ready = [], []
        self._begin(max(sample, self._start))

    # --- inside ---

    def _given(self, one: Filter, threshold: float) -> _Given:
        factor = factor_for(one) if self._factor is None else self._factor
        return _Given(one, threshold, coarse(one, threshold, factor))

    def _searches(self) -> list[Search]:
        """Those that some channel still needs."""
        turns = (turn for channel in self._channels for turn in channel.turns)
        return list(dict.fromkeys(turn.search for turn in turns))

    def _begin(self, first: int) -> None:
        self._tapes, self._finished = Tapes(first), False
        for channel in self._channels:
            channel.forget_ended(self._start)
        for search in self._searches():
            search.begin(self._start, first)
        for channel in self._channels:
            channel.begin()

    def _collect(self, searches: Iterable[Search]) -> None:
        """Take what searches have decided; forget those that can have no more."""
        for search in searches:
            for row, pulse in search.pulses(self._tapes):
                self._channels[row].add(search, pulse)
        for channel in self._channels:
            channel.settle()


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """A filter with its threshold [counts], and how it is searched."""

    filter: Filter
    threshold: float
    coarse: Coarse


def _searches_of(given: Sequence[_Given]) -> list[Search]:
    """Each channel's search: one for all of the same decimation."""
    searches = {}
    for factor in sorted({one.coarse.factor for one in given}):
        rows = [i for i, one in enumerate(given) if one.coarse.factor == factor]
        searches[factor] = Search([given[i].coarse for i in rows], rows)
    return [searches[one.coarse.factor] for one in given]


class _Turn:
    """A filter that is valid for the pulses of a channel from `begin` to `end`.

    It looks for pulses until `guard` later: one at the change must not be missed because the
    filters before and after it disagree by some samples on where it is.
    """

    def __init__(self, given: _Given, search: Search, number: int, begin: int) -> None:
        self.given, self.search, self.number, self.begin = given, search, number, begin
        self.end, self.guard = FOREVER, 0
        self.lately: list[int] = []  # its pulses near its end
        self.previous: _Turn | None = None

    @property
    def over(self) -> bool:
        """Whether it can have no more pulses."""
        return self.search.complete_until >= self.end + self.guard

    def doubles(self, sample: int) -> bool:
        """Whether the filter before has found a pulse already."""
        before = self.previous
        return before is not None and any(abs(s - sample) < before.guard for s in before.lately)


class _Channel:
    """The filters of one channel, one after the other, and what they found."""

    def __init__(self, given: _Given, search: Search) -> None:
        self.turns = [_Turn(given, search, 0, -FOREVER)]
        self.found: list[tuple[Pulse, _Turn]] = []  # not complete yet
        self.ready: list[tuple[Pulse, int]] = []  # to be taken
        self.until = self._opened = -FOREVER
        self.head = self.tail = self.reach = 0  # see MatchedFilters
        self._look_at_turns()

    @property
    def given(self) -> _Given:
        """The last filter."""
        return self.turns[-1].given

    def has(self, one: Filter, threshold: float) -> bool:
        """Whether that is this one."""
        same = self.given.filter is one or self.given.filter.content_hash == one.content_hash
        return same and self.given.threshold == threshold

    def earliest(self, start: int) -> int:
        """Where its filter can change; `start` is that of the stretch."""
        decided = self.until if self.until > self._opened else start
        return max(decided, self.turns[-1].begin)

    def change(self, given: _Given, search: Search, sample: int) -> None:
        """Another filter, or another search by the same one, for pulses from `sample` on."""
        last = self.turns[-1]
        same = given is last.given
        last.end = sample
        last.guard = 0 if same else max(last.given.coarse.lobe, given.coarse.lobe)
        self.turns.append(_Turn(given, search, last.number + (not same), sample))
        self.turns[-1].previous = last
        self._look_at_turns()

    def forget_ended(self, start: int) -> None:
        """A stretch begins: what ended before it has no pulses in it."""
        while self.turns[0].end <= start:
            self.turns.pop(0)
            self.turns[0].previous = None
            self._look_at_turns()

    def begin(self) -> None:
        """Its searches were begun."""
        for turn in self.turns:
            turn.lately = []
        self.until = -FOREVER  # it may go back, in a restart
        self.settle()
        self._opened = self.until  # before it nothing can be

    def add(self, search: Search, pulse: Pulse) -> None:
        """A search has found a pulse: keep it if it is of its turn."""
        for turn in self.turns:
            if turn.search is search and turn.begin <= pulse.sample < turn.end + turn.guard:
                self.found.append((pulse, turn))
                if pulse.sample >= turn.end - turn.guard:
                    turn.lately.append(pulse.sample)

    def settle(self) -> None:
        """Make ready what is complete, without the pulses that two turns found."""
        while self.turns[0].over:
            self.turns.pop(0).previous = None
            self._look_at_turns()
        first, *later = self.turns
        # pulses near a change are compared with those that the filters before it find
        self.finish(min([first.search.complete_until, *(turn.begin for turn in later)]))

    def _look_at_turns(self) -> None:
        searches = [turn.search for turn in self.turns]
        self.head = max(search.head for search in searches)
        self.tail = max(search.tail for search in searches)
        self.reach = max(search.reach for search in searches)

    def finish(self, until: int) -> None:
        """Nothing before `until` will come any more."""
        self.until = until
        if not self.found:
            return
        settled = [one for one in self.found if one[0].sample < until]
        self.found = [one for one in self.found if one[0].sample >= until]
        fresh = [(p, turn.number) for p, turn in settled if not turn.doubles(p.sample)]
        self.ready += sorted(fresh, key=lambda one: one[0].sample)


def _candidates(found: Sequence[tuple[Pulse, int]]) -> Candidates:
    return _columns(found) if found else _NONE


def _columns(found: Sequence[tuple[Pulse, int]]) -> Candidates:
    pulses = [pulse for pulse, _ in found]
    return Candidates(
        sample=np.array([p.sample for p in pulses], np.int64),
        offset=np.array([p.offset for p in pulses], np.float32),
        amplitude=np.array([p.amplitude for p in pulses], np.float32),
        chi2=np.array([p.chi2 for p in pulses], np.float32),
        ndf=np.array([p.ndf for p in pulses], np.int32),
        blind=np.array([p.blind for p in pulses], np.int64),
        near=np.array([Near.LARGER * p.lifted for p in pulses], np.uint8),
        generation=np.array([number for _, number in found], np.uint16),
    )


_NONE = _columns([])


def _refuse(filters: Sequence[Filter], thresholds: Sequence[float]) -> None:
    """One sentence for filters that cannot be searched together."""
    if not filters or len(filters) != len(thresholds):
        raise UsageError(
            f"expected a threshold for each of one or more filters, "
            f"found {len(thresholds)} for {len(filters)}"
        )
    for name in ("length", "pretrigger", "rate_hz"):
        found = sorted({getattr(f, name) for f in filters})
        if len(found) > 1:
            raise UsageError(f"expected filters of one {name} in a group, found {found}")
    for threshold in thresholds:
        if not 0 < threshold < FOREVER:
            raise UsageError(f"expected thresholds above 0 counts, found {threshold}")
