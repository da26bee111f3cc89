"""A bath is stable when readings stay near its target for all of the dwell, by the clock."""

from __future__ import annotations

from daq.readout.requests import Get, WaitStable
from daq.services.dwell import LEAST_LOOKS, Dwell

REQUEST = WaitStable(Get("fridge", "t"), 10e-3, 20e-6, dwell_s=200.0, timeout_s=3600.0)


def over_at(dwell: Dwell, times_s: list[float], value: float = 10.01e-3) -> float | None:
    return next((at_s for at_s in times_s if dwell.is_over(value, at_s)), None)


def test_it_is_over_when_the_time_has_passed_by_the_clock_and_not_by_the_number_of_looks() -> None:
    assert over_at(Dwell(REQUEST), [0.5 * k for k in range(1000)]) == 200.0
    assert over_at(Dwell(REQUEST), [5.0 + 2.0 * k for k in range(1000)]) == 205.0


def test_a_reading_that_is_off_begins_anew() -> None:
    dwell = Dwell(REQUEST)
    assert over_at(dwell, [float(k) for k in range(150)]) is None
    assert not dwell.is_over(10.03e-3, 150.0)
    assert over_at(dwell, [float(k) for k in range(151, 1000)]) == 351.0


def test_two_readings_far_apart_are_too_few() -> None:
    late = [1000.0 * k for k in range(LEAST_LOOKS)]
    assert over_at(Dwell(REQUEST), late) == late[-1]
