"""The servo against the steady states of a TES: what it holds when bath, heater or bias drift."""

from __future__ import annotations

import numpy as np
import pytest

from daq.readout import servo
from daq.readout.servo import Course, Seen
from daq.settings.sections import Servo
from sim_hardware.world.tes import OperatingPoint, TesParameters, heater_for, operating_point

P = TesParameters()
BATH_K, SHARE = 10e-3, 0.42
CODE_A = 10.934 / (16384 * 43600)  # of a Magnicon's bias in its range of 125 uA
BEGIN_A = 61 * CODE_A
HEATER_W = heater_for(P, r_ohm=SHARE * P.r_normal_ohm, bias_a=BEGIN_A, bath_k=BATH_K)
RULES = Servo(slope=-2.3, gain=0.5, dead_band=0.005)


def steady(bias_a: float, bath_k: float, heater_w: float = HEATER_W) -> OperatingPoint:
    return operating_point(P, bias_a=bias_a, bath_k=bath_k, heater_w=heater_w)


def height_a(op: OperatingPoint) -> float:
    """From the working point to the normal state."""
    return op.current_a - op.bias_a * P.r_shunt_ohm / (P.r_normal_ohm + P.r_load_ohm)


REFERENCE = steady(BEGIN_A, BATH_K)


def held(bath_k: float, heater_w: float, code_a: float) -> OperatingPoint:
    """Where the servo leads."""
    a = Course(BEGIN_A, BEGIN_A, 0.0)
    for _ in range(40):
        height = height_a(steady(a.bias_a, bath_k, heater_w)) / height_a(REFERENCE)
        found = servo.seen([height] * 8, a.relative)
        servo.judge(a, RULES, found)
        wanted = servo.step(a, RULES, found)
        if wanted:
            held_a = round(a.bias_a * (1 + wanted) / code_a) * code_a
            servo.took(a, RULES, held_a=held_a, wanted=wanted, found=found, at_s=0.0)
    return steady(a.bias_a, bath_k, heater_w)


@pytest.mark.parametrize("warmer_k", [-0.1e-3, 0.05e-3, 0.1e-3])
@pytest.mark.parametrize("code_a", [1e-12, CODE_A])
def test_a_bath_that_drifts_leaves_the_resistance_where_it_was(warmer_k, code_a):
    left = steady(BEGIN_A, BATH_K + warmer_k).r_ohm
    back = held(BATH_K + warmer_k, HEATER_W, code_a).r_ohm
    # a dead band of height over bias, or what of a code was never asked for
    fine = 0.005 if code_a < CODE_A else 0.02
    assert back == pytest.approx(REFERENCE.r_ohm, rel=fine)
    assert abs(back / REFERENCE.r_ohm - 1) < 0.5 * abs(left / REFERENCE.r_ohm - 1)


def test_a_heater_that_drifts_is_answered_as_well():
    back = held(BATH_K, HEATER_W + 4e-16, 1e-12)
    assert back.r_ohm == pytest.approx(REFERENCE.r_ohm, rel=0.005)


def test_who_held_the_height_would_go_beyond():
    bath_k = BATH_K + 0.1e-3
    biases = np.linspace(0.7, 1.0, 301) * BEGIN_A
    heights = [height_a(steady(bias_a, bath_k)) for bias_a in biases]
    same = biases[int(np.argmin(np.abs(np.array(heights) - height_a(REFERENCE))))]
    beyond = steady(float(same), bath_k).r_ohm / REFERENCE.r_ohm - 1
    assert beyond < -0.08  # and on the other side than without a servo
    assert steady(BEGIN_A, bath_k).r_ohm / REFERENCE.r_ohm - 1 > 0.1


def test_the_slope_is_that_of_the_documents():
    up = steady(BEGIN_A + CODE_A, BATH_K)
    quotient = height_a(up) / height_a(REFERENCE) / (up.bias_a / BEGIN_A)
    assert quotient - 1 == pytest.approx(-0.037, abs=0.002)  # docs/guard.md
    slope = np.log(quotient) / np.log(up.bias_a / BEGIN_A)
    assert slope == pytest.approx(-2.3, abs=0.1)
    cold = operating_point(P, bias_a=2.8e-6, bath_k=BATH_K)  # no heater: its own Joule heat does
    more = operating_point(P, bias_a=2.8e-6 * 1.005, bath_k=BATH_K)
    own = np.log(height_a(more) / height_a(cold) / 1.005) / np.log(1.005)
    assert own == pytest.approx(-4.4, abs=0.2)


def test_a_deviation_is_one_of_the_resistance_alone():
    other = steady(BEGIN_A * 0.95, BATH_K + 0.05e-3)
    same = heater_for(P, r_ohm=REFERENCE.r_ohm, bias_a=other.bias_a, bath_k=other.bath_k)
    op = steady(other.bias_a, other.bath_k, same)
    found: Seen = servo.seen([height_a(op) / height_a(REFERENCE)] * 4, 0.95)
    assert found.deviation == pytest.approx(0.0, abs=1e-6)
