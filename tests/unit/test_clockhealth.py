"""Steps of the wall clock are found; slewing and waiting are none."""

from __future__ import annotations

import pytest

from daq.services.clockhealth import EVERY_S, STEP_S, ClockHealth, ntp_synchronized


class World:
    def __init__(self) -> None:
        self.now_ns, self.clock_s, self.ntp = 10**18, 5.0, True

    def pass_s(self, seconds: float, step_s: float = 0.0) -> None:
        self.clock_s += seconds
        self.now_ns += round((seconds + step_s) * 1e9)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def health(world):
    return ClockHealth(lambda: world.now_ns, lambda: world.clock_s, lambda: world.ntp)


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 2 * STEP_S, -2 * STEP_S])
def test_a_step_is_found_once_with_its_size(world, health, by_s):
    world.pass_s(EVERY_S, by_s)
    step = health.look()
    assert step is not None
    assert step.by_s == pytest.approx(by_s, abs=1e-6)
    assert ("ahead" if by_s > 0 else "back") in str(step)
    world.pass_s(EVERY_S)
    assert health.look() is None
    assert health.table() == {
        "synchronized": True,
        "steps": 1,
        "last_step_s": pytest.approx(by_s, abs=1e-6),
    }


def test_slewing_and_a_long_stall_are_no_steps(world, health):
    world.pass_s(300.0, 300.0 * 1e-4)  # as fast as the kernel slews, looked at late
    assert health.look() is None
    for _ in range(100):
        world.pass_s(EVERY_S, EVERY_S * 5e-4)
        assert health.look() is None


def test_it_looks_once_a_second(world, health):
    world.pass_s(EVERY_S / 2, 10.0)
    assert health.look() is None
    world.pass_s(EVERY_S / 2)
    assert health.look() is not None


def test_what_ntp_says_is_told(world, health):
    world.ntp = None
    world.pass_s(EVERY_S)
    health.look()
    assert health.table()["synchronized"] is None
    assert ntp_synchronized() in (True, False, None)
