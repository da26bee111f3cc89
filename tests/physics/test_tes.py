"""Where the sensor settles, and its small-signal model: known figures of the reference note.

The note gives three or four digits; where nothing else is said, tolerances are their rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import (
    BATH_K,
    BIAS_A,
    HEATER_W,
    TesParameters,
    crystal_k,
    heater_for,
    operating_point,
    sweep,
)
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from sim_hardware.world.tes_linear import HIGHEST_HZ, LOWEST_HZ, Linear
from tests.sensor import LINEAR, OP, P, derivatives, run

SQUID = SquidParameters()
DOWN_A = np.arange(120, 0, -1) * 0.05e-6


def approx(value: float, rel: float) -> object:
    return pytest.approx(value, rel=rel)


def test_the_working_point():
    assert OP.current_a == approx(0.200e-6, 5e-3)
    assert OP.t_e_k == approx(14.749e-3, 1e-4)
    assert OP.t_a_k == approx(10.000e-3, 1e-4)
    assert OP.r_ohm == approx(0.070, 1e-3)
    assert OP.alpha == approx(59.0, 1e-3)
    assert OP.beta == approx(0.40, 2e-3)
    assert OP.loop_gain == approx(1.71, 3e-3)
    assert OP.joule_w == approx(2.80e-15, 2e-3)


def test_the_time_constants():
    assert LINEAR.tau_s == approx(6.01e-3, 1e-3)
    assert LINEAR.tau_eff_s == approx(3.61e-3, 1e-3)
    assert LINEAR.tau_el_s == approx(3.31e-6, 2e-3)
    # the coupled system's: the slowest is the crystal's
    assert LINEAR.taus_s.real == approx(np.array([3.31e-6, 3.607e-3, 28.2e-3]), 1e-3)
    assert LINEAR.stable


def test_a_steady_state_stands_still():
    """An own copy of the equations: what moves within a time constant is below 1e-9."""
    for bias_a, branch in ((0.93e-6, "normal"), (3e-6, "normal"), (2e-6, "superconducting")):
        op = operating_point(P, bias_a=bias_a, bath_k=BATH_K, heater_w=1e-15, branch=branch)
        x = [op.current_a, op.t_e_k, op.t_a_k]
        rates = derivatives(x, P, op.heater_w, 0.0)
        rates[0] += (bias_a - BIAS_A) * P.r_shunt_ohm / P.inductance_h
        assert np.abs(np.multiply(rates, [1e-6, 1e-2, 1e-1]) / x).max() < 1e-9


def test_the_crystal_lies_between_electrons_and_plate():
    t_e = np.array([2e-3, 9.837e-3, 14.749e-3, 0.1, 1.0])
    t_a = crystal_k(P, t_e, BATH_K)
    flow = P.k_ea_w_per_k5 * (t_e**5 - t_a**5) - P.k_ab_w_per_k4 * (t_a**4 - BATH_K**4)
    assert np.abs(flow).max() < 1e-12 * P.k_ea_w_per_k5
    one_way = replace(P, k_ea_w_per_k5=1.0, k_ab_w_per_k4=1e-12)
    assert crystal_k(one_way, t_e, BATH_K) == approx(np.maximum(t_e, 0), 1e-6)
    assert ((t_a - BATH_K) * (t_e - t_a) >= 0).all()


def test_iv_has_three_slopes_and_snaps_where_the_resistance_is_that_of_the_load():
    points = sweep(P, DOWN_A, bath_k=BATH_K)
    current_a = np.array([op.current_a for op in points])
    normal, superconducting = DOWN_A > 5e-6, DOWN_A < 2.26e-6
    slope = np.polyfit(DOWN_A[normal], current_a[normal], 1)[0]
    assert slope == approx(P.r_shunt_ohm / (P.r_normal_ohm + P.r_load_ohm), 1e-3)
    slope = np.polyfit(DOWN_A[superconducting], current_a[superconducting], 1)[0]
    assert slope == approx(P.r_shunt_ohm / P.r_load_ohm, 1e-9)
    transition = (DOWN_A < 4.2e-6) & ~superconducting
    assert (np.diff(current_a[transition]) > 0).all()  # falling bias, rising current
    snap = int(np.argmax(np.diff(current_a)))
    assert DOWN_A[snap] == pytest.approx(2.30e-6)
    assert points[snap].r_ohm == approx(23.2e-3, 1e-3)
    assert points[snap].r_ohm == approx(P.r_load_ohm, 0.01)  # the next 0.05 uA would be below
    assert current_a[snap : snap + 2] == approx(np.array([0.996e-6, 1.957e-6]), 1e-3)
    jump_phi0 = (current_a[snap + 1] - current_a[snap]) / SQUID.input_a_per_phi0
    assert jump_phi0 == approx(3.20, 2e-3)


def test_iv_has_hysteresis():
    """The note's sweep finds 22.5 uA, in coarse steps; its current before, 19 uA, is the fold's."""
    up_a = np.arange(20e-6, 24e-6, 0.05e-6)
    points = sweep(P, up_a, bath_k=BATH_K, branch="superconducting")
    leaves = next(k for k, op in enumerate(points) if op.r_ohm > P.r_normal_ohm / 2)
    assert 21.5e-6 < up_a[leaves] <= 22.5e-6
    assert points[leaves - 1].current_a == approx(19e-6, 5e-3)
    down = sweep(P, up_a[::-1], bath_k=BATH_K)
    assert min(op.r_ohm for op in down) > 0.999 * P.r_normal_ohm


def test_a_heater_removes_the_snap():
    """No step exceeds what a superconductor would make of the bias's; the snap is 22 times that."""
    current_a = [op.current_a for op in sweep(P, DOWN_A, bath_k=BATH_K, heater_w=HEATER_W)]
    assert max(np.abs(np.diff(current_a))) < 0.05e-6 * P.r_shunt_ohm / P.r_load_ohm


def test_the_equations_of_motion_snap_where_the_steady_states_do():
    """Bias falls through 2.30 to 2.25 uA, 0.1 s each: 25 time constants."""
    op = sweep(P, DOWN_A[DOWN_A > 2.31e-6], bath_k=BATH_K)[-1]
    state, found = TesState.at(op), []
    for bias_a in (2.30e-6, 2.25e-6):
        one = np.ones(50_000)
        _, state = advance(
            P, state, dt_s=2e-6, bias_a=bias_a * one, heater_w=0 * one, bath_k=BATH_K * one
        )
        found.append(state.current_a)
    assert found == approx([0.996e-6, 1.957e-6], 2e-3)  # 2.30 lies next to the fold, and creeps


def test_where_a_sensor_comes_from_decides_where_it_goes():
    cold, warm = (
        operating_point(P, bias_a=5e-6, bath_k=BATH_K, from_k=t_k) for t_k in (10e-3, 20e-3)
    )
    assert cold.r_ohm < 1e-9
    assert warm.r_ohm > 0.9 * P.r_normal_ohm


def test_a_reversed_bias_reverses_the_current_alone():
    there, back = (operating_point(P, bias_a=b, bath_k=BATH_K) for b in (3e-6, -3e-6))
    assert (back.current_a, back.t_e_k, back.alpha) == (-there.current_a, there.t_e_k, there.alpha)


def test_without_bias_the_sensor_has_the_temperature_that_the_heater_gives():
    op = operating_point(P, bias_a=0.0, bath_k=BATH_K)
    assert (op.current_a, op.t_e_k) == (0.0, approx(BATH_K, 1e-9))


def test_the_heater_for_a_resistance_holds_it():
    heater_w = heater_for(P, r_ohm=0.1, bias_a=BIAS_A, bath_k=BATH_K)
    op = operating_point(P, bias_a=BIAS_A, bath_k=BATH_K, heater_w=heater_w)
    assert op.r_ohm == approx(0.1, 1e-9)
    found = heater_for(P, r_ohm=0.35 * P.r_normal_ohm, bias_a=BIAS_A, bath_k=BATH_K)
    assert found == approx(HEATER_W, 1e-3)


@pytest.mark.parametrize("bias_a", [0.0, 1e-9, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("bath_k", [1e-3, 9.837e-3, 0.0149, 0.1, 4.0, 300.0])
def test_every_bias_and_bath_has_a_stable_state(bias_a, bath_k):
    for branch in ("normal", "superconducting"):
        op = operating_point(P, bias_a=bias_a, bath_k=bath_k, heater_w=1e-13, branch=branch)
        assert 0 <= op.r_ohm <= P.r_normal_ohm
        assert op.t_e_k >= bath_k * (1 - 1e-9)


def test_the_baseline_moves_with_plate_heater_and_bias():
    dc = np.array([1e-4])
    per_ev = 25.78e-12
    assert LINEAR.bath_response(dc).real * 1e-6 == approx(-0.18e-9, 5e-3)
    assert LINEAR.bath_response(dc).real * 1e-6 / per_ev == approx(-7.0, 1e-2)
    assert LINEAR.heater_response(dc).real * 1e-17 / per_ev == approx(-16.5, 1e-2)
    # 2.75: the reference note cuts to 2.7. A rise of the bias heats, and the current falls.
    assert LINEAR.bias_response(dc).real * 1e-9 / per_ev == approx(-2.75, 1e-2)


def test_what_is_linear_at_zero_frequency_is_what_steady_states_do():
    """Differences of steady states, 1e-4 of each quantity wide: 2nd order leaves 1e-5."""
    dc = np.array([1e-5])
    for name, response in (
        ("bias_a", LINEAR.bias_response(dc)),
        ("bath_k", LINEAR.bath_response(dc)),
        ("heater_w", LINEAR.heater_response(dc)),
    ):
        at = {"bias_a": BIAS_A, "bath_k": BATH_K, "heater_w": HEATER_W}
        low, high = (operating_point(P, **{**at, name: at[name] * x}) for x in (0.9999, 1.0001))
        slope = (high.current_a - low.current_a) / (2e-4 * at[name])
        assert response[0].real == approx(slope, 1e-4), name


def test_the_admittance_at_both_ends():
    """Irwin and Hilton 2005: 1/(RL + R(1 + beta)) far above the thermal frequencies."""
    f_hz = np.array([1e-4, 3e3])
    low, high = LINEAR.admittance(f_hz)
    assert abs(high) == approx(1 / (P.r_load_ohm + OP.r_ohm * (1 + OP.beta)), 0.01)
    assert low.real < 0  # feedback: more voltage, more power, more resistance, less current


def test_one_body_is_that_of_irwin_and_hilton():
    """No crystal: their response, PSD of the Johnson noise and of the link, to rounding."""
    p = replace(P, k_ea_w_per_k5=0.0, collection=1.0, tau_n_s=1e-6)
    op = operating_point(p, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W)
    linear, f_hz = Linear(p, op), np.geomspace(1, 1e5, 60)
    w = 2j * np.pi * f_hz
    g = 2 * p.k_eb_w_per_k2 * op.t_e_k
    tau, tau_el = linear.c_e_j_per_k / g, linear.tau_el_s
    loop, r, r_load = op.loop_gain, op.r_ohm, p.r_load_ohm
    tau_i = tau / (1 - loop)
    # their equation for the current per power, s_I(w), with L as the inductance
    s_i = (
        -1
        / (op.current_a * r)
        / (
            p.inductance_h / (tau_el * r * loop)
            + (1 - r_load / r)
            + w * p.inductance_h * tau / (r * loop) * (1 / tau_i + 1 / tau_el)
            - w.imag**2 * tau / loop * p.inductance_h / r
        )
    )
    assert np.abs(linear.heater_response(f_hz) / s_i - 1).max() < 1e-3
    k_4 = 4 * 1.380649e-23
    johnson = k_4 * op.t_e_k * op.current_a**2 * r * (1 + 2 * op.beta) / loop**2
    johnson = johnson * (1 + (w.imag * tau) ** 2) * np.abs(s_i) ** 2
    budget = linear.noise_budget(f_hz)
    assert np.abs(budget["Johnson"] / johnson - 1).max() < 1e-3
    link = k_4 * p.k_eb_w_per_k2 * (op.t_e_k**3 + BATH_K**3) * np.abs(s_i) ** 2
    assert np.abs(budget["electrons-plate"] / link - 1).max() < 1e-3


def test_the_noise_budget():
    """Shares of the variance of the energy, in percent as the note rounds them."""
    shares = LINEAR.shares(SQUID.current_psd, low_hz=LOWEST_HZ, high_hz=HIGHEST_HZ)
    noted = {
        "electrons-plate": 59,
        "Johnson": 33,
        "load": 4,
        "electrons-crystal": 2.4,
        "SQUID": 1.2,
    }
    assert {n: 100 * shares[n] for n in noted} == pytest.approx(noted, abs=0.5)
    assert sum(shares.values()) == approx(1.0, 1e-9)


def test_the_resolution_of_an_optimum_filter():
    """3.000 eV is what the collection was chosen for; a start at 10 Hz costs 5 %."""
    found = [
        LINEAR.resolution_ev(SQUID.current_psd, low_hz=low_hz, high_hz=HIGHEST_HZ)
        for low_hz in (LOWEST_HZ, 10.0)
    ]
    assert found == approx([3.000, 3.16], 1e-3)


def test_the_resolution_in_a_record():
    """16384 samples at 50 kS/s without the mean, as a sum over the bins of the FFT.

    The note finds 3.016 from filtered samples of 1 MS/s, these are the analytic densities.
    """
    f_hz = np.fft.rfftfreq(16384, 1 / 50e3)[1:]
    density = LINEAR.current_psd(f_hz) + SQUID.current_psd(f_hz)
    information = (4 * np.abs(LINEAR.response(f_hz)) ** 2 / density).sum() * f_hz[0]
    assert information**-0.5 == approx(3.016, 3e-3)


def test_samples_show_what_folds_back():
    """Against 400 bands one by one, and what lies above them as 1/f²; see the note: 12 %, 0.8 %."""
    for rate_hz, excess in ((250e3, 0.12), (1e6, 0.008)):
        f_hz = np.geomspace(10, rate_hz / 2, 50)
        plain = LINEAR.current_psd(f_hz)
        for band in range(1, 400):
            for alias in (band * rate_hz - f_hz, band * rate_hz + f_hz):
                plain = plain + LINEAR.current_psd(alias)
        last = np.full_like(f_hz, 399.5 * rate_hz)
        plain = plain + 2 * 399.5 * LINEAR.current_psd(last)
        found = LINEAR.sampled_psd(f_hz, rate_hz)
        assert found == approx(plain, 1e-5)
        at = np.array([5e3])
        ratio = LINEAR.sampled_psd(at, rate_hz) / LINEAR.current_psd(at)
        assert ratio - 1 == approx(excess, 0.05)


def test_a_sensor_of_other_size_has_other_noise():
    noisy = replace(P, excess_noise=1.0)
    budget = Linear(noisy, OP).noise_budget(np.array([1e4]))
    assert budget["Johnson"] == approx(2 * LINEAR.noise_budget(np.array([1e4]))["Johnson"], 1e-12)


def test_adiabatic_temperature_rise_of_the_crystal():
    """20 eV in 0.75 g at 10 mK, all in the crystal and no link: (T⁴ + 4E/a)^¼ - T = 23.70 uK."""
    p = replace(P, collection=0.0, k_ea_w_per_k5=0.0, k_ab_w_per_k4=1e-12)
    op = operating_point(p, bias_a=BIAS_A, bath_k=10e-3, heater_w=HEATER_W)
    _, state = run(10_000, Deposit(0.0, 20.0), p=p, op=op)
    assert 1e6 * (state.t_a_k - op.t_a_k) == approx(23.70, 1e-3)


def test_temperature_rises_with_all_losses():
    """The note: the crystal 22.20 uK, the electrons 1.12 uK."""
    highest_a = highest_e = 0.0
    state, one = TesState.at(OP), np.ones(20)
    for _ in range(250):  # 10 ms, looked at every 40 us
        surroundings = (BIAS_A * one, HEATER_W * one, BATH_K * one)
        _, state = advance(
            P, state, dt_s=2e-6, bias_a=surroundings[0], heater_w=surroundings[1],
            bath_k=surroundings[2], deposits=[Deposit(0.0, 20.0)],
        )  # fmt: skip
        highest_a = max(highest_a, state.t_a_k - OP.t_a_k)
        highest_e = max(highest_e, state.t_e_k - OP.t_e_k)
    assert 1e6 * highest_a == approx(22.20, 1e-3)
    assert 1e6 * highest_e == approx(1.12, 6e-3)


def test_another_sensor_works_too():
    p = TesParameters(tc_k=0.1, width_k=1e-3, r_normal_ohm=1.0)
    op = operating_point(p, bias_a=2e-3, bath_k=0.05)
    assert 0 < op.r_ohm <= 1.0
    assert Linear(p, op).stable
