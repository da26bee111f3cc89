"""The ring: what of one stream is kept until the core has it for good, and what to send next."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from daq.model.block import Block, Gap
from daq.model.block import Samples as SampleArray
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Samples

ANCHORS_KEPT = 16  # before the oldest sample, for the core to know the clock from
SMALLEST_PIECE = 65536  # bytes; a block is not cut into crumbs for want of credit
_sample, _stop = attrgetter("sample"), attrgetter("stop")


@dataclass(frozen=True, slots=True)
class Piece:
    """A block to send, or a part of one, with what was lost between the previous one and it."""

    block: Block
    gaps: tuple[Gap, ...]

    @property
    def n_bytes(self) -> int:
        """What it takes of the credit."""
        return int(self.block.samples.nbytes)


class Stretches:
    """A set of samples as disjoint stretches; `total` also counts those that were forgotten."""

    def __init__(self) -> None:
        self.total = self.count = 0  # samples; stretches
        self._stretches: list[tuple[int, int]] = []

    def add(self, start: int, stop: int) -> None:
        """Add [start, stop); what is in already counts once."""
        if start >= stop:
            return
        touching = [s for s in self._stretches if s[0] <= stop and start <= s[1]]
        merged = (min([start, *(s[0] for s in touching)]), max([stop, *(s[1] for s in touching)]))
        self.total += _length(merged) - sum(_length(s) for s in touching)
        self.count += not touching
        kept = [s for s in self._stretches if s not in touching]
        self._stretches = sorted([*kept, merged])

    def forget_before(self, sample: int) -> None:
        """Stretches that end before `sample` will not be added again."""
        self._stretches = [s for s in self._stretches if s[1] >= sample]


class Ring:
    """Blocks of one stream, in order, from the first that the core may still ask for.

    Knows no socket and no time. Samples and gaps come in without overlap and without holes. What
    does not fit drops the oldest block, unless the source can wait: then look at `is_full`.
    Until `want` was called nothing is to be sent.
    """

    def __init__(self, start: int, *, max_samples: int, max_bytes: int, can_wait: bool) -> None:
        self.newest = start
        self.lost = Stretches()
        self.n_dropped = 0  # blocks
        self._max_samples, self._max_bytes, self._can_wait = max_samples, max_bytes, can_wait
        self._blocks: list[Samples] = []
        self._gaps: list[Gap] = []
        self._anchors: list[Anchor] = []
        self._bytes = self._kept = 0  # of the blocks; `_kept` in samples, without gaps
        self._begun = False
        self._durable = 0
        self._cursor: int | None = None  # the next sample to send
        self._credit = self._sent = 0  # bytes since the latest `want`

    # --- from the digitizer -----------------------------------------------------------------

    def put(self, samples: Samples) -> None:
        """Keep samples that begin at `newest`."""
        if samples.start != self.newest:
            raise ValueError(f"expected samples from {self.newest}, found {samples.start}")
        self._begun = True
        self._blocks.append(samples)
        self._count(samples, +1)
        self.newest = samples.stop
        while self.is_full and not self._can_wait and len(self._blocks) > 1:
            self._drop_oldest()

    def skip(self, gap: Gap) -> None:
        """Samples that begin at `newest` were lost; before the first samples that costs nothing."""
        if gap.start != self.newest:
            raise ValueError(f"expected a gap from {self.newest}, found {gap.start}")
        self.newest = gap.stop
        if self._begun:
            self._gaps.append(gap)
            self.lost.add(gap.start, gap.stop)

    def mark(self, anchor: Anchor) -> None:
        """Keep an anchor; one for the same sample is the same one."""
        at = bisect_left(self._anchors, anchor.sample, key=_sample)
        if self._anchors[at : at + 1] == [] or self._anchors[at].sample != anchor.sample:
            insort(self._anchors, anchor, key=_sample)

    # --- from the core ----------------------------------------------------------------------

    def want(self, start: int, credit: int) -> None:
        """Send from `start` on, at most `credit` bytes."""
        self._cursor, self._credit, self._sent = start, credit, 0

    def acknowledge(self, durable: int, credit: int) -> None:
        """Free what lies before `durable`; `credit` bytes in all may be sent since the `want`."""
        if self._cursor is None:
            return  # it acknowledges what another connection sent
        self._credit = max(self._credit, credit)
        self._durable = max(self._durable, min(durable, self._cursor))
        done = bisect_right(self._blocks, self._durable, key=_stop)
        for block in self._blocks[:done]:
            self._count(block, -1)
        del self._blocks[:done]
        self._gaps = [gap for gap in self._gaps if gap.stop > self._durable]
        self.lost.forget_before(self._durable)
        self._forget_anchors()

    def halt(self) -> None:
        """Nothing is to be sent until the next `want`."""
        self._cursor = None

    # --- to the core ------------------------------------------------------------------------

    def next(self) -> Piece | None:
        """What to send now, if anything; call `sent` once it was."""
        if self._cursor is None:
            return None
        at = bisect_right(self._blocks, self._cursor, key=_stop)
        if at == len(self._blocks):
            return None
        start = max(self._cursor, self._blocks[at].start)
        stop = self._affordable(self._blocks[at], start)
        if stop == start:
            return None
        anchors = self._anchors_in(start, stop)
        block = Block(start, _cut(self._blocks[at], start, stop), anchors)
        return Piece(block, tuple(self._lost_in(self._cursor, start)))

    def sent(self, piece: Piece) -> None:
        """`piece`, which `next` gave, is on its way."""
        for gap in piece.gaps:
            self.lost.add(gap.start, gap.stop)
        self._cursor = piece.block.stop
        self._sent += piece.n_bytes

    # --- how it stands ----------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """The first sample that can be sent."""
        return self._blocks[0].start if self._blocks else self.newest

    @property
    def has_begun(self) -> bool:
        """Whether samples have come at all."""
        return self._begun

    @property
    def is_wanted(self) -> bool:
        """Whether the core has said from where to send."""
        return self._cursor is not None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept: all of it was acknowledged."""
        return not self._blocks

    @property
    def is_sent(self) -> bool:
        """Whether everything that is kept was sent."""
        last = self._blocks[-1].stop if self._blocks else 0
        return self._cursor is not None and self._cursor >= last

    @property
    def is_full(self) -> bool:
        """Whether it holds as much as it may."""
        return self._kept > self._max_samples or self._bytes > self._max_bytes

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The latest anchors at or before `oldest`."""
        at = bisect_right(self._anchors, self.oldest, key=_sample)
        return tuple(self._anchors[max(0, at - ANCHORS_KEPT) : at])

    # --- within -----------------------------------------------------------------------------

    def _count(self, block: Samples, sign: int) -> None:
        self._bytes += sign * block.samples.nbytes
        self._kept += sign * (block.stop - block.start)

    def _drop_oldest(self) -> None:
        block = self._blocks.pop(0)
        self._count(block, -1)
        self.n_dropped += 1
        kept_until = max(self._durable, self._cursor or 0)  # up to there the core has it
        self.lost.add(max(block.start, kept_until), block.stop)
        self._forget_anchors()

    def _affordable(self, block: Samples, start: int) -> int:
        """Up to where the credit reaches in `block`; `start` where that is not worth sending."""
        n_channels = block.samples.shape[0]
        whole = block.stop - start
        affordable = min(whole, (self._credit - self._sent) // (2 * n_channels))
        smallest = min(whole, -(-SMALLEST_PIECE // (2 * n_channels)))
        return start + affordable if affordable >= smallest else start

    def _lost_in(self, start: int, stop: int) -> list[Gap]:
        """[start, stop) as gaps: those the digitizer named, and between them what was dropped."""
        gaps, at = [], start
        for gap in self._gaps:
            if at < gap.stop and gap.start < stop:
                if at < gap.start:
                    gaps.append(Gap(at, gap.start))
                end = min(gap.stop, stop)
                gaps.append(Gap(max(at, gap.start), end, gap.exact, gap.cause))
                at = end
        return [*gaps, Gap(at, stop)] if at < stop else gaps

    def _anchors_in(self, start: int, stop: int) -> tuple[Anchor, ...]:
        first = bisect_left(self._anchors, start, key=_sample)
        return tuple(self._anchors[first : bisect_left(self._anchors, stop, key=_sample)])

    def _forget_anchors(self) -> None:
        at = bisect_right(self._anchors, self.oldest, key=_sample)
        del self._anchors[: max(0, at - ANCHORS_KEPT)]


def _cut(block: Samples, start: int, stop: int) -> SampleArray:
    if (start, stop) == (block.start, block.stop):
        return block.samples
    return np.ascontiguousarray(block.samples[:, start - block.start : stop - block.start])


def _length(stretch: tuple[int, int]) -> int:
    return stretch[1] - stretch[0]
