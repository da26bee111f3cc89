"""A lane grows at once, shrinks after a while, and is always of round numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gui.model.lane import Lane, around
from gui.model.text import clock, count, duration, fixed, rate, si

volts = st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-9)


@given(a=volts, b=volts)
def test_a_range_holds_what_it_is_around_and_wastes_little(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    bottom, top = around(low, high)
    slack = 1e-12 * max(abs(bottom), abs(top))
    assert bottom <= low + slack
    assert top >= high - slack
    needed = max(high - low, 1e-9, 1e-6 * max(abs(low), abs(high)))
    assert top - bottom <= 5.01 * needed


@pytest.mark.parametrize(
    ("seen", "expected"),
    [((0, 1), (0, 1)), ((-0.01, 0.032), (-0.015, 0.035)), ((-3, 7.1), (-8, 12))],
)
def test_ranges_are_round(seen: tuple[float, float], expected: tuple[float, float]) -> None:
    assert around(*seen) == pytest.approx(expected)


def test_a_lane_grows_at_once() -> None:
    lane = Lane()
    lane.follow(0, 1, 0.0)
    lane.follow(0, 30, 0.1)
    assert lane.low <= 0
    assert lane.high >= 30


def test_a_lane_shrinks_only_after_the_room_was_unused_for_a_while() -> None:
    lane = Lane(hold_s=30)
    lane.follow(0, 30, 0.0)
    tall = lane.height
    lane.follow(0, 1, 29.0)
    assert lane.height == tall
    lane.follow(0, 1, 31.0)  # the big one was still in the last 30 s
    assert lane.height == tall
    lane.follow(0, 1, 62.0)
    assert lane.height < 3


def test_a_lane_does_not_move_for_less_than_a_step() -> None:
    lane = Lane(hold_s=1)
    lane.follow(0, 1, 0.0)
    before = lane.low, lane.high
    for second in range(1, 10):
        lane.follow(0.0, 0.8, float(second))
    assert (lane.low, lane.high) == before


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.05, "50 mV"),
        (1.234, "1.23 V"),
        (0.9999, "1 V"),
        (-2.5e-6, "-2.5 µV"),
        (250e3, "250 kV"),
        (0, "0 V"),
        (float("nan"), "\u2013"),
        (3e-15, "3 fV"),
    ],
)
def test_quantities_have_prefixes(value: float, expected: str) -> None:
    assert si(value, "V") == expected


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        (0.035, 0.005, "35 mV"),
        (0.0355, 0.0005, "35.5 mV"),
        (1.5, 0.001, "1.500 V"),
        (0.0, 0.01, "0 mV"),
        (-0.0, 0.01, "0 mV"),
        (1.0, 0.0, "\u2013"),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(
    value: float, step: float, expected: str
) -> None:
    assert fixed(value, "V", step) == expected


def test_counts_rates_durations_and_times_read_well() -> None:
    assert count(1234567) == "1\u202f234\u202f567"
    assert (rate(0.413), rate(12345.6)) == ("0.41", "12\u202f346")
    assert (duration(8049.9), duration(-1)) == ("2:14:09", "0:00:00")
    assert clock(1_789_000_000_123_456_789) == "00:26:40"
    assert clock(1_789_000_000_123_456_789, 3) == "00:26:40.123"


def test_a_channel_that_is_nothing_but_zero_has_a_range() -> None:
    lane = Lane()
    lane.follow(0.0, 0.0, 0.0)
    assert lane.low < 0.0 < lane.high
