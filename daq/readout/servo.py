"""The slow servo of a sensor's working point: how far to move its bias for what was measured.

A control pulse drives the sensor normal, so that its height is the distance from the working point
to the normal state: at a bias I beside a shunt, with R0 the sensor's resistance and RL what is in
series, I Rsh (1/(R0 + RL) - 1/(Rn + RL)). Divided by the bias it depends on R0 alone, which makes
that quotient, and not the height, what is held: a warmer bath is answered by less bias, which
lowers the height again, and who held the height would go on beyond R0. (CRESST moves the heater at
a constant bias, where both are the same.) `slope` says how the quotient follows the bias,
d ln(quotient) / d ln(bias): negative in the transition, from -2 where the heater holds the sensor
there to -5 where its own Joule heat does.

All numbers are relative to the beginning of the run. Each step is a share `gain` of what the slope
makes of the deviation; with at most one half of it a bias that has coarse codes does not hunt: what
is asked for is rounded to a whole code where at least a whole one is needed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from daq.errors import CheckError

SURE = 3.0  # standard errors by which a deviation must be outside of the dead band
MEDIAN = 1.2533  # standard error of a median over that of a mean, of a Gaussian
WORSE = 2  # steps in a row after which the deviation is larger
SAME = 1e-9  # a relative change of the bias that is none
FURTHEST = 2.02  # times max_step: what codes can make of it
LARGER = 1.1  # than a step that was rounded away, for another try


class Rules(Protocol):
    """[stability.servo] of the config has it."""

    @property
    def slope(self) -> float:
        """d ln(height over bias) / d ln(bias)."""

    @property
    def gain(self) -> float:
        """Share of a deviation that one step corrects."""

    @property
    def dead_band(self) -> float:
        """Deviation that is left alone."""

    @property
    def max_step(self) -> float:
        """Of the bias, in one step."""

    @property
    def max_total(self) -> float:
        """Of the bias, from the beginning of the run."""


class Seen(NamedTuple):
    """Height over bias, away from the beginning of the run, and its standard error."""

    deviation: float
    sigma: float


class Course(msgspec.Struct):
    """How the bias of one channel went in a run."""

    begin_a: float
    bias_a: float  # what the electronics held when we last looked
    clean_s: float  # UTC from which on control pulses tell of this bias
    begin_k: float | None = None  # bath
    n_steps: int = 0
    n_worse: int = 0  # steps in a row that made it worse
    before: float = 0.0  # deviation that the last step was to correct; 0: none
    expected: float = 0.0  # by how much it was to change it
    least: float = 0.0  # the largest relative step that the electronics rounded away
    moving: bool = False  # marked dead, until what is held is known
    given_up: str = ""

    @property
    def relative(self) -> float:
        """The bias, of that at the beginning."""
        return self.bias_a / self.begin_a

    @property
    def moved(self) -> float:
        """How far, relative."""
        return self.relative - 1


def seen(heights: Sequence[float], relative_bias: float) -> Seen:
    """What control pulses say, their heights and the bias relative to the beginning."""
    spread = statistics.stdev(heights) / relative_bias
    deviation = statistics.median(heights) / relative_bias - 1
    return Seen(deviation, MEDIAN * spread / math.sqrt(len(heights)))


def outside(rules: Rules, found: Seen) -> bool:
    """Whether a deviation is to be acted on."""
    return abs(found.deviation) - rules.dead_band > SURE * found.sigma


def reachable(rules: Rules, found: Seen) -> bool:
    """Whether it is a drift at all: one that all of the way could correct."""
    return abs(found.deviation) <= rules.max_total * abs(rules.slope)


def judge(course: Course, rules: Rules, found: Seen) -> None:
    """See what the last step did; CheckError where steps make it worse again and again."""
    if not course.before:
        return
    further = abs(found.deviation) - abs(course.before)
    worse = further > max(course.expected / 2, SURE * found.sigma)
    course.n_worse = course.n_worse + 1 if worse else 0
    course.before = 0.0
    if course.n_worse >= WORSE:
        raise CheckError(
            f"expected steps with a slope of {rules.slope:g} to lessen the deviation, found "
            f"{found.deviation:+.2%} after {course.n_worse} that did not"
        )


def step(course: Course, rules: Rules, found: Seen) -> float:
    """By how much to change the bias, relative to what it is now; 0 where it is to stay.

    CheckError where that would lead further from the beginning than is allowed.
    """
    if not outside(rules, found) or not reachable(rules, found):
        return 0.0
    wanted = -rules.gain * math.log1p(found.deviation) / rules.slope
    wanted = max(-rules.max_step, min(wanted, rules.max_step))
    if abs(wanted) <= LARGER * course.least:
        return 0.0
    total = course.relative * (1 + wanted) - 1
    if abs(total) > rules.max_total:
        raise CheckError(
            f"expected to hold it within {rules.max_total:.1%} of the bias of the run's beginning, "
            f"found a deviation of {found.deviation:+.2%} that asks for {total:+.2%}"
        )
    return wanted


def took(
    course: Course, rules: Rules, *, held_a: float, wanted: float, found: Seen, at_s: float
) -> None:
    """What the electronics hold after a step; what they round away is not asked for again.

    CheckError where that is no step: a code is asked for from its half on, not beyond twice that.
    """
    before_a, course.bias_a, course.clean_s = course.bias_a, held_a, at_s
    if abs(held_a / before_a - 1) > FURTHEST * rules.max_step:
        asked_a = before_a * (1 + wanted)
        raise CheckError(f"expected a bias of about {asked_a:g} A after a step, found {held_a:g} A")
    change = math.log(held_a / before_a)
    if abs(change) < SAME:
        course.least = max(abs(wanted), course.least)
        return
    course.n_steps, course.before = course.n_steps + 1, found.deviation
    course.expected = abs(rules.slope * change)
