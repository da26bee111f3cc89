"""Pulses from the bank against the equations of motion that made its templates."""

from __future__ import annotations

import numpy as np
import pytest

from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.template_bank import LEAST_HEIGHT_A, LONGEST_S, MOST_EV, TemplateBank
from sim_hardware.world.tes import BATH_K, BIAS_A, operating_point
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from tests.sensor import OP, P, pulse

RATE_HZ = 1e6
BANK = TemplateBank(P, OP, RATE_HZ)
POSITION = 100.3


def rendered(energy_ev: float, n: int, rate_hz: float = RATE_HZ) -> np.ndarray:
    signal_a = np.zeros(n, np.float32)
    bank = BANK if rate_hz == RATE_HZ else TemplateBank(P, OP, rate_hz)
    bank.add(signal_a, 0, POSITION, energy_ev)
    return -signal_a


@pytest.mark.parametrize(
    ("energy_ev", "anywhere", "after_onset"),
    [
        # of the height. Below 100 eV what is missing is the tail, cut at half a picoampere
        (10, 3e-3, 3e-3),
        (137, 3e-4, 3e-4),
        (1000, 2e-4, 1e-4),
        (5900, 2e-4, 1e-4),
        # the first microseconds: both are half a step late, where the sensor is normal at once
        (3.3e4, 2e-3, 1e-4),
        (1.07e6, 0.05, 5e-4),
        (1e7, 0.05, 2e-3),
    ],
)
def test_a_pulse_is_that_of_the_equations_of_motion(energy_ev, anywhere, after_onset):
    wanted = pulse(energy_ev, 600_000, POSITION)
    error = np.abs(rendered(energy_ev, 600_000) - wanted) / wanted.max()
    assert error.max() < anywhere
    assert error[120:].max() < after_onset


@pytest.mark.parametrize("energy_ev", [20, 100, 1000, 5900])
def test_heights_are_right_to_a_tenth_of_a_percent(energy_ev):
    assert rendered(energy_ev, 3000).max() == pytest.approx(pulse(energy_ev, 3000).max(), rel=1e-3)


def test_a_small_energy_is_a_scaled_template():
    """Between 0 and 10 eV the sensor is linear to 6e-4; only the tail's end differs."""
    error = rendered(1, 100_000) - pulse(1, 100_000, POSITION)
    assert np.abs(error).max() < 1.2e-3 * 25.8e-12


def test_height_rises_with_energy_without_steps():
    heights = [rendered(e, 2000).max() for e in np.geomspace(5, 5000, 200)]
    slopes = np.diff(np.log(heights))
    assert (slopes > 0).all()
    assert np.abs(np.diff(slopes)).max() < 1e-3


def test_another_rate_has_the_same_pulse():
    slow = rendered(1000, 2000, rate_hz=50e3)
    fine = pulse(1000, 40_000, POSITION * 20)[::20]
    assert np.abs(slow - fine).max() < 2e-4 * fine.max()


def test_after_its_length_a_pulse_is_negligible():
    for energy_ev in (1.0, 100.0, 1e4, 1e6):
        n = BANK.length(energy_ev)
        assert n < LONGEST_S * RATE_HZ
        wanted = pulse(energy_ev, n + 50_000)
        assert np.abs(wanted[n:]).max() < 1.01 * LEAST_HEIGHT_A
        signal_a = rendered(energy_ev, n + 1000)
        assert signal_a[int(POSITION + n) + 1 :].max() == 0


def test_no_energy_is_no_pulse():
    assert rendered(0.0, 1000).max() == 0


def test_the_full_swing():
    """From the current at rest to that of the normal sensor."""
    normal_a = BIAS_A * P.r_shunt_ohm / (P.r_normal_ohm + P.r_load_ohm)
    assert BANK.full_swing_a == pytest.approx(OP.current_a - normal_a, rel=1e-4)


@pytest.mark.parametrize("energy_ev", [-1.0, 2 * MOST_EV, float("nan")])
def test_an_energy_without_a_template_is_refused(energy_ev):
    with pytest.raises(UnphysicalError, match=r"energy_ev: expected 0 to 1e\+08.*, found"):
        BANK.add(np.zeros(10, np.float32), 0, 0.0, energy_ev)


def test_a_superconducting_sensor_shows_no_pulse():
    op = operating_point(P, bias_a=1e-6, bath_k=BATH_K, branch="superconducting")
    bank, signal_a = TemplateBank(P, op, RATE_HZ), np.zeros(3000, np.float32)
    bank.add(signal_a, 0, 0.0, 100.0)
    assert np.abs(signal_a).max() < 1e-15


def test_what_drives_the_sensor_normal_for_good_is_not_rendered():
    """Without a heater, at 5 uA, superconducting and normal state are both stable."""
    op = operating_point(P, bias_a=5e-6, bath_k=BATH_K, branch="superconducting")
    bank = TemplateBank(P, op, RATE_HZ)
    assert 10 < bank.most_ev < 1e6

    def remains_normal(energy_ev: float) -> bool:
        one = np.ones(500_000)
        _, state = advance(
            P, TesState.at(op), dt_s=2e-6, bias_a=5e-6 * one, heater_w=0 * one,
            bath_k=BATH_K * one, deposits=[Deposit(0.0, energy_ev)],
        )  # fmt: skip
        return state.current_a < op.current_a / 2

    assert not remains_normal(bank.most_ev)
    assert remains_normal(1.6 * bank.most_ev)
    with pytest.raises(UnphysicalError, match="returns to its operating point"):
        bank.add(np.zeros(10, np.float32), 0, 0.0, 1.2 * bank.most_ev)


def test_the_bank_is_of_its_operating_point():
    op = operating_point(P, bias_a=2 * BIAS_A, bath_k=BATH_K, heater_w=OP.heater_w)
    other, signal_a = TemplateBank(P, op, RATE_HZ), np.zeros(3000, np.float32)
    other.add(signal_a, 0, 0.0, 20.0)
    one = np.ones(3000)
    current_a, _ = advance(
        P, TesState.at(op), dt_s=1e-6, bias_a=op.bias_a * one, heater_w=op.heater_w * one,
        bath_k=BATH_K * one, deposits=[Deposit(0.0, 20.0)],
    )  # fmt: skip
    assert signal_a.min() == pytest.approx(current_a.min() - op.current_a, rel=1e-3)
