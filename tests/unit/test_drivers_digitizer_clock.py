"""Numbers and times for digitizers that give none: anchors by this computer's clock, and gaps."""

from __future__ import annotations

import numpy as np
import pytest

from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer.clock import HostClock
from drivers.digitizer.digitizer import Samples
from drivers.digitizer.numbering import Numbering

T0_NS = 1_789_000_000_000_000_000
MS = 1_000_000


class Now:
    """UTC, moved by hand."""

    def __init__(self):
        self.ns = T0_NS

    def __call__(self):
        return self.ns


@pytest.fixture
def now():
    return Now()


def test_the_first_anchor_is_now_or_as_long_ago_as_what_came_with_it(now):
    clock = HostClock(1000.0, now)
    assert clock.begin() == Anchor(0, T0_NS)
    assert clock.begin(250) == Anchor(0, T0_NS - 250 * MS)


def test_an_anchor_a_second_by_the_promptest_arrival(now):
    clock = HostClock(1000.0, now)
    clock.begin()
    for newest, late_ms in ((500, 7), (900, 2), (1100, 9)):
        now.ns = T0_NS + (newest + late_ms) * MS
        clock.seen(newest)
    assert clock.due(999) is None
    assert clock.due(1000) == Anchor(1000, T0_NS + 1002 * MS)
    assert clock.due(2000) is None  # nothing was seen since


def test_what_is_converted_now_counts_from_the_last_anchor(now):
    clock = HostClock(1000.0, now)
    clock.begin()
    now.ns += 1500 * MS
    assert clock.sample_now() == 1500
    clock.seen(1400)  # the digitizer runs slow, or came late
    assert clock.due(1000) == Anchor(1000, T0_NS + 1100 * MS)
    now.ns += 100 * MS
    assert clock.sample_now() == 1500


def test_anchors_follow_a_clock_that_runs_fast(now):
    """50 ppm for 100 s: the anchors carry the drift, each within 1 s of it, which is 50 µs."""
    clock = HostClock(1000.0, now)
    clock.begin()
    for newest in range(100, 100_100, 100):
        now.ns = T0_NS + round(newest * MS / 1.00005)
        clock.seen(newest)
        anchor = clock.due(newest)
        if anchor:
            assert abs(anchor.t_ns - now.ns) <= 50_000
    assert now.ns < T0_NS + 100_000 * MS - 4_900_000


def test_packets_are_numbered_and_read_only(now):
    numbering = Numbering(1000.0, now)
    numbering.begin()
    (first,) = numbering.take(np.zeros((2, 30), np.int16))
    (second,) = numbering.take(np.zeros((2, 10), np.int16))
    assert isinstance(first, Samples)
    assert (first.start, first.stop, second.start, second.stop) == (0, 30, 30, 40)
    assert not second.samples.flags.writeable


def test_an_anchor_comes_before_the_samples_it_is_in(now):
    numbering = Numbering(1000.0, now)
    numbering.begin()
    for _ in range(10):
        numbering.take(np.zeros((1, 100), np.int16))
    now.ns += 1100 * MS
    anchor, packet = numbering.take(np.zeros((1, 100), np.int16), 0)
    assert anchor.sample == packet.start == 1000


def test_counted_losses_are_exact_and_the_rest_is_estimated(now):
    numbering = Numbering(1000.0, now)
    numbering.begin()
    assert numbering.skip(25, exact=True) == Gap(0, 25)
    now.ns += 400 * MS
    assert numbering.broken("overflow") == Gap(25, 400, exact=False, cause="overflow")
    assert numbering.broken("device") == Gap(400, 401, exact=False, cause="device")


def test_every_start_is_a_stream_of_its_own(now):
    assert Numbering(1.0, now).stream != Numbering(1.0, now).stream
