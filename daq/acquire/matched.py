"""The optimum filter on the stream of a group of channels: triggers with height, time and chi2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from daq.acquire.filters import Filter
from daq.acquire.kernels import F32, I16, I64
from daq.acquire.search import Pulse, Search
from daq.acquire.tapes import Tapes
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
    a sigma (int64), `near` bits of Near (uint8), `generation` how often the filters were changed
    before (uint16).
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
    """One search for the channels of one digitizer that share record rate and template length.

    `thresholds` are heights in counts (`Filter.counts` converts). `start` is the number of the
    first record sample of the present stretch. What comes out depends on the samples alone: not
    on how they are cut, not on which channels are in the group.
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
        self._factor, self._start = factor, start
        self._generations = [_Generation(Search(filters, thresholds, factor), 0, -FOREVER)]
        self._found: list[list[_Found]] = [[] for _ in filters]
        self._ready: list[list[_Found]] = [[] for _ in filters]
        self._finished = False
        self._begin(start)

    @property
    def fed(self) -> int:
        """Record samples were taken in up to here, counting anew after a restart."""
        return self._tapes.stop

    @property
    def complete_until(self) -> int:
        """No candidate before this record sample will still come."""
        if self._finished:
            return self.fed
        first, *later = self._generations
        # pulses near a change are compared with those that the filters before it find
        return min([first.search.complete_until, *(g.begin for g in later)])

    @property
    def history(self) -> int:
        """Record samples before the last fed one that a restart needs again."""
        return max(g.search.history + g.search.lobe for g in self._generations)

    @property
    def head(self) -> int:
        """Record samples from a stretch's start on in which a pulse may not be found."""
        return max(g.search.head for g in self._generations)

    @property
    def tail(self) -> int:
        """Record samples before its end in which it may not."""
        return max(g.search.tail for g in self._generations)

    @property
    def reach(self) -> int:
        """Record samples on either side of a pulse beyond which it raises no threshold."""
        return max(g.search.reach for g in self._generations)

    def feed(self, samples: I16) -> None:
        """Take the next record samples [channel, sample] in."""
        self._tapes.append(samples)
        grown = [g.search.feed(self._tapes) for g in self._generations]
        if any(grown):
            self._collect()
        self._tapes.forget_before(self.fed - self.history)

    def take(self) -> list[Candidates]:
        """What was found since the last time, per channel, complete up to `complete_until`."""
        self._settle()
        result = [_candidates(sorted(rows, key=_sample)) for rows in self._ready]
        self._ready = [[] for _ in self._ready]
        return result

    def with_filters(
        self, filters: Sequence[Filter], thresholds: Sequence[float], sample: int
    ) -> None:
        """Other filters for pulses from record sample `sample` on, not before complete_until."""
        _refuse(filters, thresholds)
        last = self._generations[-1]
        decided = self.complete_until if self.complete_until > self._opened else self._start
        earliest = max(decided, last.begin)
        if len(filters) != len(self._found):
            raise UsageError(f"expected {len(self._found)} filters, found {len(filters)}")
        if sample < earliest:
            raise UsageError(f"expected a change at sample {earliest} or later, found {sample}")
        search = Search(filters, thresholds, self._factor)
        last.end, last.guard = sample, max(last.search.lobe, search.lobe)
        self._generations.append(_Generation(search, last.number + 1, sample))
        self._generations[-1].lately = [[] for _ in self._found]
        search.begin(self._start, self._tapes.start)
        search.feed(self._tapes)
        self._collect()

    def gap(self, start: int) -> None:
        """The stretch is over, the next begins at record sample `start`."""
        self.finish()
        self._settle()
        self._start = start
        self._begin(start)

    def finish(self) -> None:
        """Nothing more comes in this stretch: search to the end of what was fed."""
        if self._finished:
            return
        for generation in self._generations:
            generation.search.finish(self._tapes)
        self._collect()
        self._finished = True

    def restart(self, sample: int) -> None:
        """Samples come again from `sample` on, in the present stretch; of a fresh search.

        Gives again what is found in them: whoever restarts drops what is before its own watermark.
        """
        self._found, self._ready = [[] for _ in self._found], [[] for _ in self._found]
        self._begin(max(sample, self._start))

    # --- inside ---

    def _begin(self, first: int) -> None:
        self._tapes, self._finished = Tapes(len(self._found), first), False
        for generation in self._generations:
            generation.search.begin(self._start, first)
            generation.lately = [[] for _ in self._found]
        self._opened = self.complete_until  # before it nothing can be

    def _collect(self) -> None:
        """Ask every generation for its pulses; forget those that can have no more."""
        for generation in self._generations:
            found = generation.search.pulses(self._tapes)
            for channel, pulses in enumerate(found):
                own = [p for p in pulses if generation.owns(p.sample)]
                self._found[channel] += [_Found(p, generation) for p in own]
                generation.lately[channel] += [p.sample for p in own if generation.ends(p.sample)]
        while self._generations[0].over:
            previous = self._generations.pop(0)
            previous.previous, self._generations[0].previous = None, previous

    def _settle(self) -> None:
        """Make ready what is complete, without the pulses that two generations found."""
        until = self.complete_until
        for channel, rows in enumerate(self._found):
            settled = [f for f in rows if f.pulse.sample < until]
            self._found[channel] = [f for f in rows if f.pulse.sample >= until]
            self._ready[channel] += [f for f in settled if not f.doubled(channel)]


class _Generation:
    """Filters that are valid for pulses from `begin` to `end`.

    They look for pulses until `guard` later: one at the change must not be missed because the
    filters before and after it disagree by some samples on where it is.
    """

    def __init__(self, search: Search, number: int, begin: int) -> None:
        self.search, self.number, self.begin = search, number, begin
        self.end, self.guard = FOREVER, 0
        self.lately: list[list[int]] = []  # its pulses near its end, per channel
        self.previous: _Generation | None = None

    @property
    def over(self) -> bool:
        """Whether it can have no more pulses."""
        return self.search.complete_until >= self.end + self.guard

    def owns(self, sample: int) -> bool:
        """Whether a pulse there is one of its own."""
        return self.begin <= sample < self.end + self.guard

    def ends(self, sample: int) -> bool:
        """Whether a pulse there may be one that the next generation finds too."""
        return sample >= self.end - self.guard


@dataclass(frozen=True, slots=True)
class _Found:
    """A pulse, and by whose filters."""

    pulse: Pulse
    by: _Generation

    def doubled(self, channel: int) -> bool:
        """Whether the filters before have found it already."""
        previous = self.by.previous
        if previous is None:
            return False
        distances = [abs(s - self.pulse.sample) for s in previous.lately[channel]]
        return min(distances, default=FOREVER) < previous.guard


def _sample(found: _Found) -> int:
    return found.pulse.sample


def _candidates(found: Sequence[_Found]) -> Candidates:
    return _columns(found) if found else _NONE


def _columns(found: Sequence[_Found]) -> Candidates:
    pulses = [f.pulse for f in found]
    return Candidates(
        sample=np.array([p.sample for p in pulses], np.int64),
        offset=np.array([p.offset for p in pulses], np.float32),
        amplitude=np.array([p.amplitude for p in pulses], np.float32),
        chi2=np.array([p.chi2 for p in pulses], np.float32),
        ndf=np.array([p.ndf for p in pulses], np.int32),
        blind=np.array([p.blind for p in pulses], np.int64),
        near=np.array([Near.LARGER * p.lifted for p in pulses], np.uint8),
        generation=np.array([f.by.number for f in found], np.uint16),
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
