"""From samples to UTC: causal, continuous, and close to the truth of a drifting clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.acquire.clocks import Clock
from daq.model.clock import Anchor

RATE = 250e3


def anchors(seed: int, n: int, ppm: float, jitter_ns: float) -> list[Anchor]:
    rng = np.random.default_rng(seed)
    period = 1e9 / (RATE * (1 + ppm * 1e-6))
    samples = np.arange(n) * int(RATE)
    return [Anchor(int(s), 10**18 + round(s * period + rng.normal(0, jitter_ns))) for s in samples]


@given(st.integers(0, 999), st.floats(-50, 50), st.lists(st.integers(0, 20 * 250_000), max_size=50))
def test_time_increases_with_the_sample_and_does_not_depend_on_when_it_is_asked(seed, ppm, asked):
    told = anchors(seed, 20, ppm, 100.0)
    early, samples = Clock.at_rate(RATE, told[:1]), sorted(asked)
    at_once = []
    rest = told[1:]
    for sample in samples:
        while rest and rest[0].sample <= sample:
            early.take(rest.pop(0))
        at_once.append(early.t_ns(sample))
    late = Clock.at_rate(RATE, told)
    assert [late.t_ns(s) for s in samples] == at_once
    assert at_once == sorted(at_once)


def test_a_drifting_clock_is_followed_within_its_jitter():
    told = anchors(1, 60, ppm=20.0, jitter_ns=100.0)
    clock = Clock.at_rate(RATE, told)
    period = 1e9 / (RATE * (1 + 20e-6))
    for second in range(30, 59):
        sample = int(RATE * (second + 0.5))
        truth = 10**18 + sample * period
        # three times the stamps' own jitter: the clock slews to the last two stamps
        assert abs(clock.t_ns(sample) - truth) < 600


def test_two_clocks_agree_on_one_moment():
    a, b = (
        Clock.at_rate(RATE, anchors(1, 30, 0.0, 0.0)),
        Clock.at_rate(RATE, anchors(2, 30, 5.0, 0.0)),
    )
    moment = 10**18 + 25_300_000_000
    assert abs(a.t_ns(a.sample_at(moment)) - moment) <= 1e9 / RATE
    assert abs(b.t_ns(b.sample_at(moment)) - moment) <= 1e9 / RATE


def test_an_anchor_told_twice_changes_nothing():
    told = anchors(3, 5, 1.0, 50.0)
    clock = Clock.at_rate(RATE, told)
    before = clock.t_ns(10**6)
    assert not clock.take(told[-1])
    assert not clock.take(told[0])
    assert clock.t_ns(10**6) == before


def test_a_step_of_the_source_is_followed_at_the_slew_limit_only():
    told = anchors(4, 10, 0.0, 0.0)
    clock = Clock.at_rate(RATE, told)
    clock.take(Anchor(told[-1].sample + int(RATE), told[-1].t_ns + 3 * 10**9))
    assert clock.state.error_ns == pytest.approx(2 * 10**9)
    s = told[-1].sample + int(RATE)
    elapsed = clock.t_ns(s + int(RATE)) - clock.t_ns(s)
    assert elapsed < 1.3 * 10**9
