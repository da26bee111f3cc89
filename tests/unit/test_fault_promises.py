"""What is made of a night's measurements: promises that are not kept, and memory that grows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.faults.course import Outcome, growths, late
from tests.faults.faults import KILLS
from tests.faults.night import Watch

WATCHED_S, BEGUN_S = 200.0, 60.0


def watch_of(per_hour: float) -> SimpleNamespace:
    """A night with a process whose buffers come and go, with one that died, and another's start."""
    t = np.arange(0.0, BEGUN_S + WATCHED_S, 0.25)
    dice = np.random.default_rng(7)
    sawtooth = 60e6 * (t % 9.0) / 9.0 + dice.uniform(0, 1e6, len(t))
    rss = 200e6 + sawtooth + per_hour * t / 3600.0
    rss[t < 30.0] -= 50e6  # it warms up
    rows = list(zip(t.tolist(), rss.astype(int).tolist(), strict=True))
    memory = {("core", 1): rows, ("folder", 2): rows[:300], ("folder", 3): rows[300:]}
    watch = SimpleNamespace(memory=memory, last_s=Watch.last_s.fget(SimpleNamespace(memory=memory)))
    return SimpleNamespace(watch=watch)


@pytest.mark.parametrize(("per_hour", "flat"), [(0.0, True), (-300e6, True), (150e6, False)])
def test_buffers_that_come_and_go_are_no_growth_and_a_leak_is(per_hour, flat):
    (found,) = growths(watch_of(per_hour), BEGUN_S)  # of what lived all the time
    assert (found.service, found.flat) == ("core", flat)
    assert found.per_hour == pytest.approx(per_hour, abs=30e6)
    assert found.watched_s == pytest.approx(WATCHED_S, abs=1.0)


def test_a_service_that_is_away_for_too_long_as_a_rule_is_named():
    kill, other = KILLS[:2]
    once = [Outcome(kill, respawned_s=0.1, worked_s=t) for t in (2.0, 3.0, 60.0)]
    often = [Outcome(other, respawned_s=t, worked_s=1.0) for t in (0.1, 2.5, 3.0)]
    assert late(once) == []
    assert late([*once, *often]) == [f"{other.name}: respawned_s 2.5, promised 2"]
