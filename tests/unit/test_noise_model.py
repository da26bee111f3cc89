"""The noise model against the world's, its NEP, and densities of known noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from daq.errors import CheckError
from daq.readout import noise_model, resolution
from daq.readout.impedance import Bodies
from daq.readout.noise_model import NoiseModel, SquidNoise
from daq.readout.thermal import Conductance, Estimate
from sim_hardware.world.materials import EV_J
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BATH_K, BIAS_A, HEATER_W, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear

P, SQUID = TesParameters(), SquidParameters()
F_HZ = np.geomspace(1, 1e5, 60)


def linear(p: TesParameters = P) -> Linear:
    return Linear(p, operating_point(p, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W))


def model_of(of: Linear) -> NoiseModel:
    p, op = of.p, of.op
    return NoiseModel(
        current_a=op.current_a,
        r_ohm=op.r_ohm,
        r_load_ohm=p.r_load_ohm,
        inductance_h=p.inductance_h,
        loop_gain=op.loop_gain,
        tau_s=of.tau_s,
        beta=op.beta,
        g_w_per_k=of.g_w_per_k,
        n=2.0,
        sensor_k=op.t_e_k,
        bath_k=op.bath_k,
        load_k=p.shunt_k,
        squid=SquidNoise(white_a_rthz=0.45e-12, knee_hz=10.0),
        excess=p.excess_noise,
    )


@pytest.mark.parametrize("excess", [0.0, 1.5])
def test_every_source_is_that_of_the_world_where_it_is_one_body(excess: float) -> None:
    of = linear(replace(P, k_ea_w_per_k5=0.0, excess_noise=excess))
    model, budget = model_of(of), of.noise_budget(F_HZ)
    sources = model.sources(F_HZ)
    np.testing.assert_allclose(sources["thermal"], budget["electrons-plate"], rtol=1e-3)
    np.testing.assert_allclose(sources["Johnson"], budget["Johnson"], rtol=1e-3)
    np.testing.assert_allclose(sources["load"], budget["load"], rtol=1e-3)
    np.testing.assert_allclose(sources["SQUID"], SQUID.current_psd(F_HZ), rtol=1e-9)
    response = np.abs(of.heater_response(F_HZ))
    np.testing.assert_allclose(np.abs(model.responsivity(F_HZ)), response, rtol=1e-3)


def test_the_nep_of_the_real_world_is_within_two_percent() -> None:
    of, f_hz = linear(), np.geomspace(5, 1e3, 30)
    truth = np.sqrt(of.current_psd(f_hz) + SQUID.current_psd(f_hz))
    truth /= np.abs(of.heater_response(f_hz))
    np.testing.assert_allclose(model_of(of).nep_w_rthz(f_hz), truth, rtol=0.02)


@pytest.mark.parametrize("rate_hz", [100e3, 250e3, 1e6])
def test_samples_without_filter_show_what_folds_back(rate_hz: float) -> None:
    of, f_hz = linear(replace(P, k_ea_w_per_k5=0.0)), np.geomspace(5, 40e3, 20)
    model = model_of(of)
    expected = of.sampled_psd(f_hz, rate_hz) + SQUID.current_psd(f_hz)
    np.testing.assert_allclose(model.sampled_psd(f_hz, rate_hz), expected, rtol=0.02)
    back = model.unfolded(f_hz, model.sampled_psd(f_hz, rate_hz), rate_hz)
    np.testing.assert_allclose(back, model.psd(f_hz), rtol=1e-9)


def test_a_model_of_what_was_fitted() -> None:
    of = linear()
    names = ("loop_gain", "tau_s", "beta", "inductance_h")
    values = (of.op.loop_gain, of.tau_s, of.op.beta, P.inductance_h)
    bodies = Bodies(
        r_ohm=of.op.r_ohm, r_load_ohm=P.r_load_ohm, names=names, values=values,
        covariance=((0.0,) * 4,) * 4, chi2=0.0, ndf=1,
    )  # fmt: skip
    conductance = Conductance(
        tc_k=Estimate(15e-3, 0.0), g_w_per_k=Estimate(6.65e-12, 0.0), n=Estimate(2.05, 0.0),
        critical_current_a=np.inf, covariance=(), chi2=0.0, ndf=1, residuals=(),
    )  # fmt: skip
    model = NoiseModel.of(
        bodies, conductance, SquidNoise(white_a_rthz=0.45e-12, knee_hz=10.0),
        current_a=of.op.current_a, bath_k=BATH_K, load_k=P.shunt_k, heater_w=HEATER_W,
    )  # fmt: skip
    assert model.sensor_k == pytest.approx(of.op.t_e_k, abs=0.1e-3)
    f_hz = np.geomspace(5, 1e3, 30)
    np.testing.assert_allclose(model.psd(f_hz), model_of(of).psd(f_hz), rtol=0.05)
    nep = noise_model.nep_of_bodies(bodies, of.op.current_a, f_hz, model.psd(f_hz))
    np.testing.assert_allclose(nep, model.nep_w_rthz(f_hz), rtol=1e-9)


def test_the_density_of_white_noise_is_its_variance_over_the_band() -> None:
    rng, rate_hz = np.random.default_rng(1), 10e3
    f_hz, psd, averages = noise_model.density(rng.normal(1.0, 2e-9, 400_000), rate_hz, lowest_hz=10)
    assert psd.mean() == pytest.approx(2 * 2e-9**2 / rate_hz, rel=0.02)
    assert f_hz[0] > 0
    assert averages == 200
    bands = ((20, 100), (100, 1000))
    expected = [2 * 2e-9**2 / rate_hz] * 2
    assert noise_model.in_bands(f_hz, psd, bands) == pytest.approx(expected, rel=0.05)


def test_too_few_samples_and_empty_bands_are_refused() -> None:
    with pytest.raises(CheckError, match=r"expected 4 times 0\.2 s for noise from 10 Hz on"):
        noise_model.density(np.zeros(7000), 10e3, lowest_hz=10)
    with pytest.raises(CheckError, match="expected frequencies from 1 to 2 Hz, found none"):
        noise_model.in_bands(np.array([5.0]), np.array([1.0]), ((1, 2),))


# --- resolution


def test_the_sigma_by_nep_is_that_of_the_world() -> None:
    of = linear(replace(P, k_ea_w_per_k5=0.0, collection=1.0, tau_n_s=1e-6))
    f_hz = np.geomspace(1, 25e3, 4000)
    found = resolution.sigma_by_nep(f_hz, model_of(of).nep_w_rthz(f_hz))
    assert found == pytest.approx(
        of.resolution_ev(SQUID.current_psd, low_hz=1, high_hz=25e3), rel=5e-3
    )


def pulses(n: int, noise_a: float, period: int = 10_000, shift: int = 3_210) -> np.ndarray:
    """Periods with a pulse of 100 eV each, of which 1 eV is 25 pA high."""
    t = np.arange(period) / 50e3
    shape = np.exp(-t / 4e-3) - np.exp(-t / 0.3e-3)
    one = np.roll(-100 * 25e-12 * shape / shape.max(), shift)
    return 0.2e-6 + np.tile(one, n) + np.random.default_rng(2).normal(0, noise_a, n * period)


def test_a_template_is_found_wherever_its_pulses_are() -> None:
    template = resolution.template_of(pulses(20, 1e-10), 50e3, frequency_hz=5.0, energy_ev=100.0)
    assert np.abs(template.a_per_ev).max() == pytest.approx(25e-12, rel=0.03)
    peak = int(np.argmax(np.abs(template.a_per_ev)))
    assert template.before <= peak <= template.before + 100
    assert template.n_pulses == 19


def test_the_sigma_by_template_and_white_noise_is_the_closed_form() -> None:
    clean = resolution.template_of(pulses(20, 0.0), 50e3, frequency_hz=5.0, energy_ev=100.0)
    f_hz, noise = np.geomspace(1, 25e3, 50), np.full(50, 1e-24)
    found = resolution.sigma_by_template(clean, f_hz, noise)
    shape = clean.a_per_ev - clean.a_per_ev.mean()
    expected = np.sqrt(1e-24 * 50e3 / 2 / np.sum(shape**2))  # sigma² of a sample over the sum
    assert found == pytest.approx(expected, rel=0.01)


def test_noise_in_the_template_does_not_count_as_signal() -> None:
    noise_a, f_hz = 3e-10, np.geomspace(1, 25e3, 50)
    psd = np.full(50, 2 * noise_a**2 / 50e3)
    clean, noisy = (
        resolution.template_of(pulses(20, a), 50e3, frequency_hz=5.0, energy_ev=100.0)
        for a in (0.0, noise_a)
    )
    expected = resolution.sigma_by_template(clean, f_hz, psd)
    assert resolution.sigma_by_template(noisy, f_hz, psd) == pytest.approx(expected, rel=0.05)


def test_pulses_that_are_not_seen_are_refused() -> None:
    silent = np.random.default_rng(3).normal(0, 1e-10, 200_000)
    with pytest.raises(CheckError, match=r"no pulses seen: expected one of 100 eV every 0\.2 s"):
        resolution.template_of(silent, 50e3, frequency_hz=5.0, energy_ev=100.0)
    with pytest.raises(CheckError, match="too few pulses: expected 4 periods, found 2"):
        resolution.template_of(silent[:20_000], 50e3, frequency_hz=5.0, energy_ev=100.0)


def test_a_heater_gives_the_energy_that_is_asked_for() -> None:
    heater = resolution.Heater(ohm=10e3, attenuation_db=80.0)
    rest_v = heater.volts_for(23.5e-15)
    assert heater.power_w(rest_v) == pytest.approx(23.5e-15)
    height_v = heater.height_for(300.0, rest_v=rest_v, width_s=20e-6)
    assert heater.pulse_ev(rest_v=rest_v, height_v=height_v, width_s=20e-6) == pytest.approx(300.0)
    alone = heater.height_for(300.0, rest_v=0.0, width_s=20e-6)
    assert (alone * 1e-4) ** 2 / 10e3 * 20e-6 / EV_J == pytest.approx(300.0)


def test_pulses_do_not_count_as_noise() -> None:
    rng, rate_hz = np.random.default_rng(5), 10e3
    noise = rng.normal(0.0, 1e-9, 80_000)
    pulses = np.zeros(80_000)
    for at in rng.integers(0, 75_000, 12):
        pulses[at:] += 50e-9 * np.exp(-np.arange(80_000 - at) / 280)
    f_hz, psd, averages = noise_model.quiet_density(noise + pulses, rate_hz, lowest_hz=5.0)
    assert averages >= 4
    low = (f_hz > 8) & (f_hz < 14)
    assert np.median(psd[low]) == pytest.approx(1e-18 / (rate_hz / 2), rel=0.5)
    spoiled = noise_model.density(noise + pulses, rate_hz, lowest_hz=5.0)
    assert np.median(spoiled[1][low]) > 100 * np.median(psd[low])


def test_too_few_samples_for_quiet_stretches_are_refused() -> None:
    with pytest.raises(CheckError, match=r"too few samples: expected 4 times 0\.4 s"):
        noise_model.quiet_density(np.zeros(1000), 1e3, lowest_hz=5.0)
