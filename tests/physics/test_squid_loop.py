"""The SQUID and its loop: V-phi, gain, bandwidth, steps, slipping, rails, noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import pi

import numpy as np
import pytest
from scipy import signal
from scipy.integrate import solve_ivp

from sim_hardware.world.squid_loop import (
    FluxJump,
    LoopSettings,
    LoopState,
    SquidParameters,
    bandwidth_hz,
    flux_noise,
    follow,
)

SQUID = SquidParameters(polarity=1)
BIAS_A = 21e-6
LOCKED = LoopSettings(locked=True, squid_bias_a=BIAS_A, lock_v=SQUID.middle_v(BIAS_A))
OPEN = replace(LOCKED, locked=False)
DT_S = 1e-6
PHI0_V = 1.2


def output(
    flux_phi0,
    settings: LoopSettings = LOCKED,
    *,
    squid: SquidParameters = SQUID,
    dt_s: float = DT_S,
    jumps=(),
) -> tuple[np.ndarray, LoopState]:
    """The output for a flux, from an empty integrator on at the first of it."""
    current_a = np.asarray(flux_phi0, float) * squid.input_a_per_phi0
    state = LoopState.without_feedback(squid, settings, float(current_a[0]))
    return follow(squid, settings, state, current_a, dt_s=dt_s, jumps=jumps)


def test_v_phi_has_the_period_of_the_flux_quantum():
    flux = np.arange(-3, 3, 1e-3)
    v = SQUID.v_phi(flux, BIAS_A)
    assert np.abs(SQUID.v_phi(flux + 1, BIAS_A) - v).max() < 1e-15
    spectrum = np.abs(np.fft.rfft(v - v.mean()))
    assert spectrum.argmax() == 6  # six periods in six quanta


def test_the_modulation_is_58_microvolts():
    assert SQUID.depth_v(BIAS_A) == pytest.approx(58e-6, rel=0.01)


def test_v_phi_is_that_of_two_junctions():
    """(R/2) sqrt(Ib² - 4 Ic² cos²(pi phi)), with the origin on the rising side; Tinkham 6.5.

    The rounding changes it by at most 1 % of the depth where Ib is 5 % above 2 Ic.
    """
    flux = np.linspace(0, 1, 101)
    cosine = np.cos(pi * (flux + 0.25))
    plain = 4.0 * np.sqrt(BIAS_A**2 - (20e-6 * cosine) ** 2)
    assert np.abs(SQUID.v_phi(flux, BIAS_A) - plain).max() < 0.6e-6


def test_modulation_is_deepest_where_the_critical_current_is_just_exceeded():
    bias_a = np.linspace(1e-6, 60e-6, 591)
    depth = np.array([SQUID.depth_v(b) for b in bias_a])
    assert bias_a[depth.argmax()] == pytest.approx(20e-6, rel=0.05)
    assert depth[0] == pytest.approx(1e-6 * 4.0, rel=0.1)  # both junctions normal, or none
    assert depth[-1] < 0.2 * depth.max()
    assert SQUID.depth_v(0.0) == 0


def test_open_loop_shows_v_phi():
    flux = np.linspace(0, 2, 400)
    volts, _ = output(flux, OPEN)
    wanted = SQUID.open_gain * (SQUID.v_phi(flux, BIAS_A) - OPEN.lock_v)
    assert volts == pytest.approx(wanted, abs=1e-12)
    # on the other side of V-phi the same current has the opposite gain
    assert np.interp(0.05, flux, np.gradient(volts)) * np.interp(0.5, flux, np.gradient(volts)) < 0


def test_a_wrong_lock_point_drives_the_open_output_to_its_limit():
    volts, _ = output(np.linspace(0, 2, 400), replace(OPEN, lock_v=OPEN.lock_v + 10e-3))
    assert (volts == -SQUID.limit_v).all()


def test_locked_the_output_is_linear_in_the_current():
    """Within the linear branch's 1e-6 phi0 and the lag of a slow ramp."""
    flux = 5 * np.sin(2 * pi * np.arange(100_000) / 50_000)
    volts, _ = output(flux)
    assert volts == pytest.approx(PHI0_V * flux, abs=PHI0_V * 2e-4)
    gain = np.polyfit(flux * SQUID.input_a_per_phi0, volts, 1)[0]
    assert gain == pytest.approx(4.0e6, rel=5e-3)
    assert gain == pytest.approx(SQUID.volts_per_a(30e3), rel=1e-6)


@pytest.mark.parametrize(("feedback_ohm", "phi0_v"), [(30e3, 1.2), (10e3, 0.4), (100e3, 4.0)])
def test_the_flux_quantum_in_volts(feedback_ohm, phi0_v):
    settings = replace(LOCKED, feedback_ohm=feedback_ohm)
    volts, _ = output(np.zeros(300), settings, jumps=[FluxJump(100, quanta=1)])
    assert volts[99] - volts[-1] == pytest.approx(phi0_v, rel=1e-9)


@pytest.mark.parametrize(
    ("feedback_ohm", "bias_a", "gain"),
    [(30e3, 21e-6, 1.0), (100e3, 21e-6, 2.0), (30e3, 30e-6, 1.0)],
)
def test_the_bandwidth(feedback_ohm, bias_a, gain):
    """|H| = 1/sqrt(1 + (f/f1)²): .995 at a tenth of f1; from ten samples a period of 0.1 f1 on."""
    settings = LoopSettings(
        locked=True,
        squid_bias_a=bias_a,
        lock_v=SQUID.middle_v(bias_a),
        feedback_ohm=feedback_ohm,
        gain=gain,
    )
    f1_hz = bandwidth_hz(SQUID, settings)
    depth = SQUID.depth_v(bias_a) / SQUID.depth_v(21e-6)
    assert f1_hz == pytest.approx(1e6 * depth * 30e3 / feedback_ohm * gain)
    for f_hz in (0.1 * f1_hz, f1_hz):
        period = 200
        dt_s = 1 / (f_hz * period)
        flux = 1e-3 * np.sin(2 * pi * np.arange(40 * period) / period)
        volts, _ = output(flux, settings, dt_s=dt_s)
        h = np.abs(np.fft.rfft(volts)[40]) / np.abs(np.fft.rfft(flux)[40])
        h /= SQUID.volts_per_phi0(feedback_ohm)
        assert h == pytest.approx(1 / np.hypot(1, f_hz / f1_hz), rel=2e-3)


@pytest.mark.parametrize(
    ("step_phi0", "lost"),
    [(0.49, 0), (0.51, 1), (0.6, 1), (1.0, 1), (1.4, 1), (1.6, 2), (2.3, 2), (-0.6, -1)],
)
def test_a_step_relocks_at_the_nearest_quantum(step_phi0, lost):
    jumps = [FluxJump(20, step_phi0=step_phi0)]
    volts, _ = output(np.zeros(200), jumps=jumps)
    assert volts[-1] / PHI0_V == pytest.approx(step_phi0 - lost, abs=1e-6)


@pytest.mark.parametrize("ratio", [1.02, 1.1, 1.5, 3.0, -1.5])
@pytest.mark.parametrize("dt_s", [1e-7, 1e-6, 4e-6])
def test_beyond_the_slew_limit_the_loop_slips(ratio, dt_s):
    """sqrt(s² - f1²) phi0/s; the range is widened so that no rail is met. One turn of many."""
    wide = replace(SQUID, limit_v=100.0, feedback_a_per_phi0=1e-7)
    n = round(2e-3 / dt_s)
    _, state = output(np.arange(n) * dt_s * ratio * 1e6, squid=wide, dt_s=dt_s)
    rate_hz = state.error_phi0 / (n * dt_s)
    assert rate_hz == pytest.approx(np.sign(ratio) * 1e6 * np.sqrt(ratio**2 - 1), rel=0.01)


def test_below_the_slew_limit_it_holds():
    n = 1000
    _, state = output(np.arange(n) * 0.98e-3, dt_s=1e-9)
    assert abs(state.error_phi0) < 0.25


def test_the_loop_is_that_of_a_plain_solver():
    """Jumps of the slope from zero to seven times the slew limit, to 1e-9 phi0."""
    rng = np.random.default_rng(3)
    flux = np.cumsum(rng.normal(0, 1, 80) * rng.choice([0.003, 0.3, 3], 80))
    flux = np.concatenate([[0.0], flux])
    settings = replace(LOCKED, lock_v=LOCKED.lock_v + 5e-6)
    squid = replace(SQUID, limit_v=100.0)
    volts, _ = output(flux, settings, squid=squid)
    pull = 5e-6 / (SQUID.depth_v(BIAS_A) / 2)
    error, wanted = flux[0], []
    for before, now in zip(np.concatenate([[flux[0]], flux[:-1]]), flux, strict=True):
        slope = (now - before) / DT_S
        error = solve_ivp(
            lambda t, y, slope=slope: slope - 1e6 * (np.sin(2 * pi * y) - pull),
            (0, DT_S), [error], "DOP853", rtol=1e-11, atol=1e-12,
        ).y[0, -1]  # fmt: skip
        wanted.append((now - error) * PHI0_V)
    assert volts == pytest.approx(np.array(wanted), abs=1e-8)


def test_both_sides_of_v_phi_lock_half_a_quantum_apart():
    rising, _ = output(np.full(50, 0.1))
    falling, _ = output(np.full(50, 0.1), replace(LOCKED, slope=-1))
    assert rising[-1] == pytest.approx(0.1 * PHI0_V)
    assert falling[-1] == pytest.approx((0.1 - 0.5) * PHI0_V)


def test_a_lock_point_off_the_middle_shifts_the_flux():
    settings = replace(LOCKED, lock_v=LOCKED.lock_v + SQUID.depth_v(BIAS_A) / 4)
    volts, _ = output(np.zeros(50), settings)
    assert volts[-1] == pytest.approx(-PHI0_V / 12, rel=1e-6)  # asin(1/2)/2 pi


@pytest.mark.parametrize("side", [1, -1])
def test_a_lock_point_outside_v_phi_runs_to_the_rail(side):
    settings = replace(LOCKED, lock_v=LOCKED.lock_v + side * SQUID.depth_v(BIAS_A))
    volts, _ = output(np.zeros(2000), settings)
    assert volts[-1] == -side * SQUID.limit_v


def test_without_modulation_nothing_locks():
    settings = LoopSettings(locked=True, squid_bias_a=0.0, lock_v=0.0)
    volts, _ = output(np.linspace(0, 3, 1000), settings)
    assert np.abs(volts).max() == 0


def test_the_output_ends_at_its_rail_and_comes_back_some_quanta_off():
    up = np.linspace(0, 12, 20_000)
    flux = np.concatenate([up, up[::-1]])
    volts, _ = output(flux)
    assert volts.max() == SQUID.limit_v
    lost = -volts[-1] / PHI0_V
    assert lost == pytest.approx(round(lost), abs=1e-3)
    assert 3 <= lost <= 4  # 12 - 10/1.2 = 3.67 quanta


def test_a_reset_locks_anew_near_zero():
    flux = np.linspace(0, 4, 20_000)
    volts, state = output(flux, replace(LOCKED, reset_v=2.5))
    assert volts.max() == pytest.approx(2.5, abs=1e-3)
    assert sum(state.overloads[2:]) == 1
    assert volts[-1] == pytest.approx(PHI0_V * (4 - 2), abs=0.01)


def test_a_held_integrator_shows_nothing_and_locks_when_let_go():
    held = replace(LOCKED, held=True)
    volts, state = output(np.full(20, 0.3), held)
    assert np.abs(volts).max() == 0
    volts, _ = follow(SQUID, LOCKED, state, np.full(20, 0.3 * 0.3e-6), dt_s=DT_S)
    assert volts[-1] == pytest.approx(0.3 * PHI0_V)


def test_a_flux_offset_is_seen_as_flux():
    volts, _ = output(np.zeros(20), replace(LOCKED, flux_offset_phi0=0.2))
    assert volts[-1] == pytest.approx(0.2 * PHI0_V)


def test_a_pulse_of_the_sensor_is_positive_as_it_is_wired():
    assert SquidParameters().volts_per_a(30e3) == pytest.approx(-4.0e6)
    wired = SquidParameters()
    current_a = np.array([0.0, 0.0, -1e-9, -1e-9, -1e-9])
    state = LoopState.without_feedback(wired, LOCKED, 0.0)
    volts, _ = follow(wired, LOCKED, state, current_a, dt_s=DT_S)
    assert volts[-1] == pytest.approx(4e-3, rel=1e-3)


def test_jumps_outside_are_left_out_and_several_add_up():
    jumps = [FluxJump(500, 1), FluxJump(-3, 1), FluxJump(10, 2), FluxJump(10, -1), FluxJump(20, 1)]
    volts, _ = output(np.zeros(50), jumps=jumps)
    assert volts[[5, 15, -1]] == pytest.approx([0, -PHI0_V, -2 * PHI0_V], abs=1e-9)


def test_flux_noise_is_white_with_a_knee():
    """84 s at 50 kS/s; in a band of N averaged bins four sigma is 4/sqrt(N), at least 2 %."""
    rate_hz, n = 50e3, 1 << 22
    noise = flux_noise(SQUID, seed=4, channel="C11", start=77, n=n, dt_s=1 / rate_hz)
    f_hz, density = signal.periodogram(noise, rate_hz)
    ratio = density[1:] / (1.5e-6**2 * (1 + 10 / f_hz[1:]))
    edges = (1.0, 3.0, 10.0, 30.0, 100.0, 1e3, 5e3, 25e3)
    for low, high in pairwise(edges):
        inside = ratio[(f_hz[1:] >= low) & (f_hz[1:] < high)]
        tolerance = max(0.02, 4 / np.sqrt(len(inside)))
        assert inside.mean() == pytest.approx(1, abs=tolerance), (low, high)


def test_flux_noise_in_the_output_is_half_a_picoampere_per_root_hertz():
    noise = flux_noise(SQUID, seed=4, channel="C11", start=0, n=500_000, dt_s=DT_S)
    state = LoopState.without_feedback(SQUID, LOCKED, 0.0)
    volts, _ = follow(SQUID, LOCKED, state, np.zeros(len(noise)), dt_s=DT_S, flux_noise_phi0=noise)
    f_hz, density = signal.welch(volts / 4e6, 1 / DT_S, nperseg=4096)
    inside = (f_hz > 1e3) & (f_hz < 50e3)
    assert np.sqrt(density[inside].mean()) == pytest.approx(0.45e-12, rel=0.02)
    f_hz = np.array([1.0, 10.0, 1e5])
    amplitude = np.sqrt(SQUID.current_psd(f_hz))
    assert amplitude == pytest.approx(0.45e-12 * np.sqrt([11, 2, 1.0001]))


def test_the_offset_wanders():
    squid = SquidParameters(offset_v=0.1, offset_drift_v=2e-3)
    t_s = np.arange(0, 86_400, 600.0)
    assert squid.offset_at_v(t_s).mean() == pytest.approx(0.1)
    assert np.ptp(squid.offset_at_v(t_s)) == pytest.approx(4e-3, rel=1e-2)
