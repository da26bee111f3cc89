"""The servo of a working point: how far it moves a bias, and when it lets go."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from daq.errors import CheckError
from daq.readout import servo
from daq.readout.servo import Course, Seen
from daq.settings.sections import Servo, Stability

RULES = Servo(slope=-3.0, gain=0.5, dead_band=0.02, max_step=0.02, max_total=0.1)
BEGIN_A = 1e-6


def course(relative=1.0, **more):
    return Course(BEGIN_A, BEGIN_A * relative, 0.0, **more)


class Plant:
    """A sensor whose height over bias follows the bias with a slope, and drifts."""

    def __init__(self, slope, noise=0.0, code_a=0.0, seed=1):
        self.slope, self.noise, self.code_a = slope, noise, code_a
        self.drift, self.rng = 0.0, random.Random(seed)

    def seen(self, a: Course, n=8) -> Seen:
        quotient = (1 + self.drift) * a.relative**self.slope
        noisy = [quotient * self.rng.gauss(1, self.noise) for _ in range(n)]
        return servo.seen([each * a.relative for each in noisy], a.relative)

    def held(self, asked_a: float) -> float:
        return round(asked_a / self.code_a) * self.code_a if self.code_a else asked_a

    def turn(self, a: Course, rules) -> float:
        found = self.seen(a)
        servo.judge(a, rules, found)
        wanted = servo.step(a, rules, found)
        if wanted:
            held_a = self.held(a.bias_a * (1 + wanted))
            servo.took(a, rules, held_a=held_a, wanted=wanted, found=found, at_s=0.0)
        return wanted


def turned(plant: Plant, a: Course, n: int) -> list[float]:
    return [plant.turn(a, RULES) for _ in range(n)]


def test_height_over_bias_is_what_is_held():
    assert servo.seen([0.98] * 8, 0.98).deviation == pytest.approx(0.0)
    found = servo.seen([1.08, 1.10, 1.12, 1.10], 1.0)
    assert found.deviation == pytest.approx(0.10)
    assert found.sigma == pytest.approx(1.2533 * 0.01633 / 2, rel=1e-3)


def test_a_deviation_within_the_dead_band_or_its_own_uncertainty_is_left_alone():
    assert servo.step(course(), RULES, Seen(0.019, 0.0)) == 0.0
    assert servo.step(course(), RULES, Seen(0.05, 0.011)) == 0.0
    assert servo.step(course(), RULES, Seen(0.05, 0.009)) != 0.0


def test_a_height_that_is_too_small_lowers_the_bias_where_the_slope_is_negative():
    assert servo.step(course(), RULES, Seen(-0.04, 0.0)) == pytest.approx(-0.0068, abs=1e-4)
    rising = RULES.model_copy(update={"slope": 3.0})
    assert servo.step(course(), rising, Seen(-0.04, 0.0)) == pytest.approx(0.0068, abs=1e-4)


def test_one_step_is_never_larger_than_it_may_be():
    assert servo.step(course(), RULES, Seen(0.25, 0.0)) == 0.02
    assert servo.step(course(), RULES, Seen(-0.25, 0.0)) == -0.02


def test_what_no_drift_does_is_not_acted_on():
    assert servo.step(course(), RULES, Seen(-0.31, 0.0)) == 0.0
    assert not servo.reachable(RULES, Seen(-0.31, 0.0))


def test_a_step_too_far_from_the_beginning_is_refused():
    with pytest.raises(CheckError, match=r"within 10.0%.*asks for \+10.98%"):
        servo.step(course(1.088), RULES, Seen(0.2, 0.0))
    assert servo.step(course(1.088), RULES, Seen(-0.2, 0.0)) == -0.02  # back is always allowed


def test_steps_that_make_it_worse_end_it_before_they_lead_far():
    plant, a = Plant(slope=+3.0, noise=0.001), course()
    plant.drift = 0.05
    with pytest.raises(CheckError, match="expected steps with a slope of -3 to lessen"):
        turned(plant, a, 10)
    assert a.n_steps == servo.WORSE
    assert abs(a.moved) < 0.04


@pytest.mark.parametrize("held_a", [0.0, -BEGIN_A, 0.95 * BEGIN_A])
def test_electronics_that_hold_something_else_after_a_step_end_it(held_a):
    a = course()
    with pytest.raises(CheckError, match=r"expected a bias of about 9.9e-07 A after a step, found"):
        servo.took(a, RULES, held_a=held_a, wanted=-0.01, found=Seen(-0.05, 0.0), at_s=1.0)
    assert a.bias_a == held_a


def test_a_bias_of_coarse_codes_is_moved_by_whole_ones_and_does_not_hunt():
    plant, a = Plant(slope=-3.0, code_a=0.0164 * BEGIN_A), course()
    a.begin_a = a.bias_a = plant.held(BEGIN_A)
    codes = []
    for _ in range(400):
        plant.drift -= 0.0005
        plant.turn(a, RULES) if plant.drift > -0.2 else None
        codes.append(round(a.bias_a / plant.code_a))
    assert all(after in (code, code - 1) for code, after in itertools.pairwise(codes))
    assert codes[-1] < codes[0] - 2
    plant.drift = -0.1
    assert not any(turned(plant, a, 100)[-50:])  # what is rounded away is not asked for for ever


@settings(deadline=None, max_examples=200)
@given(
    slope=st.floats(-6.0, -1.6),
    drift=st.floats(-0.12, 0.12),
    noise=st.floats(0.0, 0.01),
    gain=st.floats(0.1, 0.5),
    code=st.sampled_from([0.0, 0.001, 0.0164]),
    seed=st.integers(0, 1000),
)
def test_a_sensor_that_drifted_comes_back_and_no_limit_is_passed(
    slope, drift, noise, gain, code, seed
):
    rules = RULES.model_copy(update={"gain": gain})
    plant, a = Plant(slope, noise, code * BEGIN_A, seed), course()
    a.begin_a = a.bias_a = plant.held(BEGIN_A)
    plant.drift = drift
    for _ in range(80):
        before = a.relative
        plant.turn(a, rules)
        assert abs(a.relative / before - 1) <= rules.max_step + code / 2 + 1e-9
        assert abs(a.moved) <= rules.max_total + code / 2 + 1e-9
    left = abs((1 + drift) * a.relative**slope - 1)
    half_code = 1.1 * 0.5 * code * 3.0 / gain  # what is rounded away before it is a whole one
    assert left < max(rules.dead_band + 6 * noise, half_code + 0.01)


@given(st.lists(st.tuples(st.floats(-0.9, 5.0), st.floats(0.0, 0.5)), max_size=60))
def test_whatever_is_seen_the_bias_stays_within_its_limits(many):
    a = course()
    for found in itertools.starmap(Seen, many):
        try:
            servo.judge(a, RULES, found)
            wanted = servo.step(a, RULES, found)
        except CheckError:
            return
        assert abs(wanted) <= RULES.max_step
        if wanted:
            held_a = a.bias_a * (1 + wanted)
            servo.took(a, RULES, held_a=held_a, wanted=wanted, found=found, at_s=0.0)
        assert abs(a.moved) <= RULES.max_total


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"slope": 0.1}, "expected a slope of 0.2 or more, or of -0.2 or less, found 0.1"),
        ({"gain": 0.6}, "less than or equal to 0.5"),
        ({"max_step": 0.05, "max_total": 0.04}, "expected max_step up to max_total 0.04"),
        ({"dead_band": 0.31}, "expected a dead_band below what max_total can correct, 0.3"),
        ({"pulses": 3}, "greater than or equal to 4"),
        ({"heater": True}, "Extra inputs are not permitted"),
    ],
)
def test_a_servo_that_contradicts_itself_is_refused(given, told):
    with pytest.raises(ValidationError, match=told):
        Servo.model_validate(given)


def test_a_servo_needs_control_pulses_and_as_many_between_two_steps_as_it_looks_at():
    with pytest.raises(ValidationError, match="expected a generator of the servo's control pulses"):
        Stability.model_validate({"servo": {}})
    with pytest.raises(ValidationError, match=r"expected servo.every_s of 82 or more.*found 60"):
        Stability.model_validate({"generator": "pulser.output 1", "servo": {"every_s": 60.0}})
