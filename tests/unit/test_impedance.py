"""dI/dV measured and fitted, on waves whose answer is known exactly."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.errors import CheckError, UsageError
from daq.readout import impedance, waves
from daq.readout.circuit import BiasCircuit
from daq.readout.impedance import total_ohm
from daq.readout.waves import Response
from sim_hardware.world.tes import BATH_K, BIAS_A, HEATER_W, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear

CIRCUIT = BiasCircuit(r_shunt_ohm=20e-3, volts_per_a=-4e6, a_per_phi0=0.3e-6)
R_OHM, LOAD_OHM, L_H = 70e-3, 23e-3, 400e-9
TRUE = {"loop_gain": 1.7, "tau_s": 6e-3, "beta": 0.4}
RATE_HZ, WAVE_HZ, PP_A = 250e3, 20.0, 20e-9


def dib(f_hz: np.ndarray, **changes: float) -> np.ndarray:
    """dI/dIb of a sensor whose parameters are known."""
    parameters = {**TRUE, "inductance_h": L_H, **changes}
    return CIRCUIT.r_shunt_ohm / total_ohm(f_hz, r_ohm=R_OHM, r_load_ohm=LOAD_OHM, **parameters)


@cache
def answered(
    delay_s: float = 1.2e-3, wave_hz: float = WAVE_HZ, seconds: float = 1.0, noise_a: float = 2e-10
) -> np.ndarray:
    """Samples of the current under a square wave, by its harmonics up to half the rate."""
    n = round(seconds * RATE_HZ)
    f_hz = wave_hz * np.arange(1, int(RATE_HZ / 2 / wave_hz), 2)
    told = 2 * PP_A / (1j * np.pi * np.arange(1, len(f_hz) * 2, 2))
    phasors = told * dib(f_hz) * np.exp(-2j * np.pi * f_hz * delay_s)
    length = round(RATE_HZ / wave_hz)
    spectrum = np.zeros(length // 2 + 1, np.complex128)
    spectrum[1 : 2 * len(f_hz) : 2] = phasors * length / 2
    period = np.fft.irfft(spectrum, length)
    noise = np.random.default_rng(4).normal(0, noise_a, n)
    return 0.2e-6 + np.resize(period, n) + noise


def by_square(current_a: np.ndarray, **changes: float) -> Response:
    told = {"frequency_hz": WAVE_HZ, "bias_pp_a": PP_A, **changes}
    return waves.by_square_wave(current_a, RATE_HZ, **told)


def fitted(response: Response, **changes: object) -> impedance.Bodies:
    known = {"r_ohm": R_OHM, "r_load_ohm": LOAD_OHM, "inductance_h": L_H, **changes}
    return impedance.fit(response, CIRCUIT, **known)  # type: ignore[arg-type]


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 0.05))
def test_when_the_waves_edges_come_makes_no_difference(delay_s: float) -> None:
    bodies = fitted(by_square(answered(round(delay_s * RATE_HZ) / RATE_HZ)))
    for name, value in TRUE.items():
        assert bodies[name].value == pytest.approx(value, rel=0.02)
        assert abs(bodies[name].value - value) < 5 * bodies[name].sigma


def test_each_harmonic_is_that_of_the_sensor() -> None:
    response = by_square(answered(0.0))
    assert len(response.f_hz) > 40
    assert response.f_hz[0] == pytest.approx(WAVE_HZ)
    assert response.f_hz[-1] <= RATE_HZ / 20
    off = np.abs(response.values) - np.abs(dib(response.f_hz))
    assert (np.abs(off) < 5 * response.sigma + 1e-3).all()
    assert response.sigma[0] < 1e-3  # 0.2 nA of noise in 250,000 samples of 10 nA
    assert response.even_share < 0.02


def test_the_generators_clock_may_be_off() -> None:
    true_hz = WAVE_HZ * (1 + 1e-4)
    n = np.arange(round(2.0 * RATE_HZ))
    wave = np.sign(np.sin(2 * np.pi * true_hz / RATE_HZ * n)) * 1e-9
    noise = np.random.default_rng(1).normal(0, 1e-10, len(n))
    assert waves.refined_hz(wave + noise, RATE_HZ, WAVE_HZ) == pytest.approx(true_hz, rel=5e-6)
    exact = np.sign(np.sin(2 * np.pi * WAVE_HZ / RATE_HZ * n)) * 1e-9
    assert waves.refined_hz(exact + noise, RATE_HZ, WAVE_HZ) == pytest.approx(WAVE_HZ, rel=5e-6)


def of_model(two: bool, n: int = 60) -> Response:
    """A response with noise of 0.3 %."""
    f_hz = np.geomspace(2, 20e3, n)
    values = dib(f_hz, **({"g2": 0.5, "tau2_s": 30e-3} if two else {}))
    rng, sigma = np.random.default_rng(5), 3e-3 * np.abs(values)
    values = values + sigma * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
    return Response(f_hz=f_hz, values=values, sigma=sigma, phased=True)


def test_two_bodies_are_told_from_one() -> None:
    response = of_model(two=True)
    one, two = fitted(response), fitted(response, two_bodies=True)
    assert one.chi2 > 3 * two.chi2
    assert two.chi2 < 1.5 * two.ndf
    expected = {**TRUE, "g2": 0.5, "tau2_s": 30e-3}
    for name, value in expected.items():
        assert two[name].value == pytest.approx(value, rel=0.06)


def test_the_inductance_is_fitted_where_it_is_not_given() -> None:
    bodies = fitted(of_model(two=False), inductance_h=None)
    assert bodies["inductance_h"].value == pytest.approx(L_H, rel=0.05)
    assert bodies.tau_el_s.value == pytest.approx(L_H / (LOAD_OHM + R_OHM * 1.4), rel=0.05)


def test_time_constants_follow_with_their_uncertainty() -> None:
    bodies = fitted(of_model(two=False))
    ratio = LOAD_OHM / R_OHM
    effective_s = 6e-3 / (1 + 1.7 * (1 - ratio) / (1.4 + ratio))
    assert bodies.tau_eff_s.value == pytest.approx(effective_s, rel=0.01)
    assert 0 < bodies.tau_eff_s.sigma < 0.02 * effective_s
    assert bodies.tau_i_s.value == pytest.approx(6e-3 / (1 - 1.7), rel=0.02)
    found = bodies.response(np.array([100.0]), CIRCUIT.r_shunt_ohm)
    assert abs(found[0]) == pytest.approx(abs(dib(np.array([100.0]))[0]), rel=0.01)


def test_sines_give_the_same_by_magnitudes_alone() -> None:
    measured, rng = [], np.random.default_rng(6)
    for f_hz in np.geomspace(3, 5e3, 14):
        t_s = np.arange(round(max(0.4, 12 / f_hz) * RATE_HZ)) / RATE_HZ
        answer = dib(np.array([f_hz]))[0] * PP_A / 2 * np.exp(1j * rng.uniform(0, 6))
        current_a = (answer * np.exp(2j * np.pi * f_hz * t_s)).real
        current_a += rng.normal(0, 2e-10, len(t_s))
        one = waves.by_sine(current_a, RATE_HZ, frequency_hz=float(f_hz), bias_pp_a=PP_A)
        measured.append(one)
    bodies = fitted(waves.of_sines(measured))
    for name, value in TRUE.items():
        assert bodies[name].value == pytest.approx(value, rel=0.05)


def test_the_worlds_sensor_is_one_body_to_a_percent() -> None:
    p = TesParameters()
    op = operating_point(p, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W)
    linear, f_hz = Linear(p, op), np.geomspace(1, 20e3, 50)
    values = linear.bias_response(f_hz)
    response = Response(f_hz=f_hz, values=values, sigma=1e-3 * np.abs(values), phased=True)
    bodies = fitted(response, r_ohm=op.r_ohm)
    assert bodies.loop_gain.value == pytest.approx(op.loop_gain, rel=0.01)
    assert bodies.tau_s.value == pytest.approx(linear.tau_s, rel=0.01)
    assert bodies.beta.value == pytest.approx(op.beta, rel=0.02)
    assert bodies.tau_eff_s.value == pytest.approx(linear.tau_eff_s, rel=0.01)


def test_the_inductance_by_a_superconducting_sensor() -> None:
    f_hz = np.geomspace(50, 50e3, 40)
    values = CIRCUIT.r_shunt_ohm / (LOAD_OHM + 2j * np.pi * f_hz * L_H)
    values = values * np.exp(-2j * np.pi * f_hz * 3e-6)  # and a delay
    response = Response(f_hz=f_hz, values=values, sigma=1e-3 * np.abs(values), phased=True)
    r_ohm, l_h = impedance.fit_inductance(response, CIRCUIT)
    assert r_ohm.value == pytest.approx(LOAD_OHM, rel=1e-3)
    assert l_h.value == pytest.approx(L_H, rel=1e-3)


def test_the_mean_period_begins_with_its_rise() -> None:
    t_s, mean = waves.mean_period(answered(), RATE_HZ, WAVE_HZ)
    assert t_s[-1] < 1 / WAVE_HZ
    assert mean[5] > mean[-5] + 0.5e-9  # up after the edge, down before it


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (2.0, r"found 0\.1794, 2\.00 times that: the generator is told of 50 ohm but drives high"),
        (0.5, r"0\.50 times that: the generator is told of high impedance but drives 50 ohm"),
        (1.3, r"1\.30 times that: is the bias resistor another one"),
    ],
)
def test_a_wave_of_the_wrong_size_is_named(factor: float, said: str) -> None:
    f_hz = np.array([20.0, 60.0])
    values = np.full(2, 0.0897 * factor, np.complex128)
    response = Response(f_hz=f_hz, values=values, sigma=np.full(2, 1e-4), phased=True)
    with pytest.raises(CheckError, match=said):
        waves.refuse_wrong_scale(response, 0.0897)
    waves.refuse_wrong_scale(response, 0.0897 * factor * 1.03)


def test_what_is_no_small_signal_is_named() -> None:
    silent = np.random.default_rng(1).normal(0, 2e-10, 250_000)
    with pytest.raises(CheckError, match="no answer: expected the current to follow 2e-08 A"):
        by_square(silent)
    with pytest.raises(CheckError, match=r"expected 4 periods of 20 Hz .* found 2"):
        by_square(answered()[:25_000])
    loud = of_model(two=False)
    loud = Response(
        f_hz=loud.f_hz, values=loud.values, sigma=loud.sigma, phased=True, even_share=0.2
    )
    with pytest.raises(CheckError, match=r"wave too large: .* found 20\.0%"):
        fitted(loud)
    few = Response(
        f_hz=np.array([20.0, 60.0]), values=dib(np.array([20.0, 60.0])), sigma=np.full(2, 1e-3),
        phased=True,
    )  # fmt: skip
    with pytest.raises(CheckError, match="too few frequencies: expected more than 4 numbers"):
        fitted(few)
    with pytest.raises(UsageError, match="found none"):
        waves.of_sines([])


@pytest.mark.parametrize("seed", range(6))
def test_pulses_in_half_of_the_blocks_do_not_move_the_answer_to_a_wave(seed: int) -> None:
    rng, rate_hz, n = np.random.default_rng(seed), 50e3, 150_000
    wave = 1e-9 * np.sign(np.sin(2 * np.pi * 20.0 * np.arange(n) / rate_hz + 0.3))
    current = wave + rng.normal(0.0, 0.5e-9, n)
    for at in rng.integers(0, n, 5):
        current[at:] -= 90e-9 * np.exp(-np.arange(n - at) / (0.028 * rate_hz))
    found = waves.by_square_wave(current, rate_hz, frequency_hz=20.0, bias_pp_a=20e-9)
    assert found.lowest.value == pytest.approx(0.1, rel=0.03)
    assert found.even_share < 0.05
