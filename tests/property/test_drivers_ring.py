"""Whatever is wanted, acknowledged, dropped and cut: nothing is lost without a word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Samples
from drivers.services import ring as ring_module
from drivers.services.merger import Merger
from drivers.services.outbox import Outbox
from drivers.services.ring import ANCHORS_KEPT, Ring, Stretches
from tests.digitizer_server import values

ENDLESS = 1 << 40
N_CHANNELS = 2
PER_SAMPLE = 2 * N_CHANNELS


@pytest.fixture(autouse=True, scope="module")
def small_pieces():
    """Blocks of a few samples, and pieces of them, instead of kilobytes."""
    patch = pytest.MonkeyPatch()
    patch.setattr(ring_module, "SMALLEST_PIECE", 3 * PER_SAMPLE)
    yield
    patch.undo()


class ByHand:
    """A digitizer and a core in plain sets, beside a ring; it complains at the first untruth."""

    def __init__(self, *, max_samples: int, can_wait: bool) -> None:
        self.ring = Ring(0, max_samples=max_samples, max_bytes=ENDLESS, can_wait=can_wait)
        self.max_samples, self.can_wait = max_samples, can_wait
        self.there: set[int] = set()  # samples that were put
        self.lost: set[int] = set()
        self.anchors: dict[int, int] = {}
        self.expected: int | None = None
        self.durable = 0
        self.credit = self.received = 0

    def put(self, n_samples: int) -> None:
        start, oldest = self.ring.newest, self.ring.oldest
        if start % 7 == 0:
            self.ring.mark(Anchor(start, start * 10))
            self.anchors[start] = start * 10
        self.ring.put(Samples(start, values(start, start + n_samples, N_CHANNELS)))
        self.there |= set(range(start, start + n_samples))
        dropped = set(range(oldest, self.ring.oldest)) & self.there
        assert not (dropped and self.can_wait)
        if dropped:  # one block less would have been too many
            assert start + n_samples - min(dropped) > self.max_samples
        self.lost |= {s for s in dropped if s >= max(self.durable, self.expected or 0)}

    def skip(self, n_samples: int) -> None:
        start = self.ring.newest
        self.ring.skip(Gap(start, start + n_samples, cause="overflow"))
        if self.there:
            self.lost |= set(range(start, start + n_samples))

    def want(self, back: int) -> None:
        self.expected = max(self.durable, self.ring.newest - back)
        self.credit, self.received = 10 * PER_SAMPLE, 0
        self.ring.want(self.expected, self.credit)

    def halt(self) -> None:
        self.expected = None
        self.ring.halt()

    def acknowledge(self, behind: int) -> None:
        if self.expected is None:
            return
        oldest = self.ring.oldest
        self.durable = max(self.durable, self.expected - max(behind, 0))
        self.credit = self.received + 10 * PER_SAMPLE
        self.ring.acknowledge(max(0, self.expected - behind), self.credit)
        freed = set(range(oldest, self.ring.oldest)) & self.there
        assert all(sample < self.durable for sample in freed), "freed before it was durable"

    def send(self, n_pieces: int) -> None:
        for _ in range(n_pieces):
            piece = self.ring.next()
            if piece is None:
                return
            assert self.expected is not None
            self._take_gaps(piece.gaps, piece.block.start)
            self._take_block(piece.block)
            self.ring.sent(piece)

    def _take_gaps(self, gaps, start: int) -> None:
        for gap in gaps:
            assert gap.start == self.expected < gap.stop <= start
            here = set(range(gap.start, gap.stop)) & self.there
            assert all(s < self.ring.oldest for s in here), "a gap over samples that are there"
            self.lost |= set(range(gap.start, gap.stop))
            self.expected = gap.stop
        assert self.expected == start, "a hole that nobody named"

    def _take_block(self, block) -> None:
        np.testing.assert_array_equal(block.samples, values(block.start, block.stop, N_CHANNELS))
        inside = {s: t for s, t in self.anchors.items() if block.start <= s < block.stop}
        assert {a.sample: a.t_ns for a in block.anchors} == inside
        self.received += block.samples.nbytes
        assert self.received <= self.credit
        self.expected = block.stop


steps = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 12)),
    st.tuples(st.just("skip"), st.integers(1, 9)),
    st.tuples(st.just("want"), st.integers(0, 80)),
    st.tuples(st.just("acknowledge"), st.integers(-5, 20)),  # even of what was not sent
    st.tuples(st.just("send"), st.integers(1, 6)),
)


@given(st.lists(steps, max_size=60), st.integers(5, 60), st.booleans())
@example([("put", 9), ("want", 20), ("send", 1), ("put", 9), ("put", 9), ("want", 27)], 10, False)
def test_what_the_core_gets_is_the_truth_and_all_of_it(sequence, max_samples, can_wait):
    bench = ByHand(max_samples=max_samples, can_wait=can_wait)
    for verb, number in sequence:
        getattr(bench, verb)(number)
        assert bench.ring.lost.total == len(bench.lost)
    if bench.expected is None:
        bench.want(30)
    for _ in range(200):  # then the core takes whatever there is, in spite of little credit
        bench.send(100)
        bench.acknowledge(0)
    assert bench.ring.is_sent
    assert bench.ring.is_empty
    assert bench.expected is not None
    assert bench.expected >= max(bench.there, default=0)
    assert bench.ring.lost.total == len(bench.lost)


@given(st.lists(steps, max_size=40))
def test_a_core_that_lost_its_connection_gets_nothing_before_it_asks(sequence):
    bench = ByHand(max_samples=30, can_wait=False)
    for verb, number in sequence:
        getattr(bench, verb)(number)
    bench.halt()
    kept = (bench.ring.oldest, bench.ring.newest)
    assert bench.ring.next() is None
    bench.ring.acknowledge(bench.ring.newest, ENDLESS)
    assert (bench.ring.oldest, bench.ring.newest) == kept


@given(st.lists(st.integers(1, 12), max_size=40))
def test_a_source_that_can_wait_loses_nothing_and_says_when_to_wait(lengths):
    bench = ByHand(max_samples=20, can_wait=True)
    for length in lengths:
        bench.put(length)
    assert bench.ring.oldest == 0
    assert bench.ring.is_full == (sum(lengths) > 20)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 12)), max_size=30))
def test_stretches_are_a_set_of_samples(pairs):
    stretches, by_hand = Stretches(), set()
    for start, length in pairs:
        stretches.add(start, start + length)
        by_hand |= set(range(start, start + length))
    assert stretches.total == len(by_hand)


@given(st.lists(st.integers(1, 40), max_size=40), st.integers(0, 39))
def test_where_packets_are_cut_makes_no_difference_to_the_samples(lengths, flush_at):
    merger, packets, start = Merger(rate_hz=1000.0, n_channels=N_CHANNELS), [], 0
    for length in lengths:
        packets.append(Samples(start, values(start, start + length, N_CHANNELS)))
        start += length
    blocks = []
    for number, packet in enumerate(packets):
        blocks += merger.add(packet)
        blocks += merger.flush() if number == flush_at else []
    at = 0
    for block in blocks + merger.flush():
        assert block.start == at
        np.testing.assert_array_equal(block.samples, values(at, block.stop, N_CHANNELS))
        at = block.stop
    assert at == start


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 5)),
            st.tuples(st.just("take"), st.integers(-3, 12)),
        ),
        max_size=60,
    )
)
def test_a_row_stays_until_it_is_taken_or_counted_as_dropped(sequence):
    outbox, added, taken = Outbox(limit=8), 0, 0
    for verb, number in sequence:
        if verb == "add":
            outbox.add([[added + i] for i in range(number)])
            added += number
        else:
            before = outbox.first
            outbox.taken(before + number)
            taken += outbox.first - before
        first, rows = outbox.batch(100)
        assert rows == [[number] for number in range(first, added)]
        assert len(rows) <= 8
        assert taken + outbox.n_dropped == first


def test_the_hello_lists_the_latest_anchors_at_or_before_the_oldest_sample():
    ring = Ring(0, max_samples=100, max_bytes=ENDLESS, can_wait=False)
    for start in range(0, 1000, 10):
        ring.mark(Anchor(start, start))
        ring.put(Samples(start, values(start, start + 10, N_CHANNELS)))
    assert ring.oldest == 900
    assert [a.sample for a in ring.anchors] == list(range(900 - 10 * 15, 901, 10))
    assert len(ring.anchors) == ANCHORS_KEPT


def test_a_full_ring_drops_by_bytes_too():
    block_bytes = 10 * PER_SAMPLE
    ring = Ring(0, max_samples=ENDLESS, max_bytes=3 * block_bytes, can_wait=False)
    for start in range(0, 100, 10):
        ring.put(Samples(start, values(start, start + 10, N_CHANNELS)))
    assert (ring.oldest, ring.newest, ring.n_dropped) == (70, 100, 7)
    assert (ring.lost.total, ring.lost.count) == (70, 1)


def test_a_device_gap_keeps_its_cause_between_what_was_dropped():
    ring = Ring(0, max_samples=15, max_bytes=ENDLESS, can_wait=False)
    ring.put(Samples(0, values(0, 10, N_CHANNELS)))
    ring.skip(Gap(10, 14, exact=False, cause="device"))
    for start in (14, 24):
        ring.put(Samples(start, values(start, start + 10, N_CHANNELS)))
    ring.want(3, ENDLESS)
    piece = ring.next()
    assert piece is not None
    assert piece.gaps == (Gap(3, 10), Gap(10, 14, exact=False, cause="device"), Gap(14, 24))
    assert piece.block.start == 24


def test_samples_that_do_not_follow_are_a_mistake_of_the_caller():
    ring = Ring(5, max_samples=10, max_bytes=ENDLESS, can_wait=False)
    with pytest.raises(ValueError, match="expected samples from 5, found 6"):
        ring.put(Samples(6, values(6, 8, N_CHANNELS)))
    with pytest.raises(ValueError, match="expected a gap from 5, found 4"):
        ring.skip(Gap(4, 8))
