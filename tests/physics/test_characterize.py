"""What the procedures learn of a sensor through the wires, against the bench's truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from daq.readout import characterize
from daq.readout.characterize import Pulses, Sensor, SquareWave
from daq.readout.impedance import Bodies
from daq.readout.iv import Iv, State
from daq.readout.noise_model import NoiseModel, SquidNoise, in_bands
from daq.readout.resolution import Heater
from sim_hardware.world.squid_loop import SquidParameters
from sim_hardware.world.tes import BATH_K, OperatingPoint, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear
from tests.answering import Answering
from tests.wired_bench import spec, wired

P, SQUID = TesParameters(), SquidParameters()
RATE_HZ = 250e3
WORK_A, WORK_W = 0.93e-6, 23.5e-15
SENSOR = Sensor(
    at="C11",
    r_shunt_ohm=P.r_shunt_ohm,
    a_per_phi0=SQUID.input_a_per_phi0,
    volts_per_phi0_per_ohm=SQUID.feedback_a_per_phi0,
    feedback_ohm=3e3,
    bias_ohm=1e6,
    heater=Heater(ohm=10e3, attenuation_db=80.0),
    bias_max_a=40e-6,
    normal_bias_a=30e-6,
    polarity=SQUID.polarity,
)
BANDS = ((13, 23), (27, 45), (55, 95), (105, 145), (160, 195), (305, 345))
WAVE = SquareWave(frequency_hz=20.0, bias_pp_a=20e-9, seconds=3.0)


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    """A sensor that nothing heats but the generator."""
    with wired(spec(RATE_HZ, tes={"all": {"heater_w": 0.0}})) as bench:
        yield Answering(bench)


def truth(bias_a: float, heater_w: float = 0.0) -> OperatingPoint:
    return operating_point(P, bias_a=bias_a, bath_k=BATH_K, heater_w=heater_w)


@pytest.fixture(scope="module")
def cold(answering: Answering) -> Iv:
    biases = characterize.falling_biases(9e-6, 1.8e-6, share=0.05)
    return answering.run(characterize.measure_iv(SENSOR, biases, seconds=0.05, settle_s=0.2))


@pytest.fixture(scope="module")
def warm(answering: Answering, cold: Iv) -> Iv:
    """With the heater of the working point."""
    biases = characterize.falling_biases(6e-6, 0.4e-6, share=0.08, to_zero=0)
    sweep = characterize.measure_iv(
        SENSOR, biases, seconds=0.05, settle_s=0.2, r_load_ohm=cold.r_load_ohm
    )
    return answering.run(characterize.heated(SENSOR, WORK_W, sweep))


def left_as_it_was(answering: Answering) -> bool:
    """Biased and locked as in the beginning, and nothing sent."""
    bench = answering.bench
    outputs = [bench.pulser.outputs[k].on.read() for k in (1, 2)]
    held = bench.squid().tes_bias.read()["current"]
    return outputs == [False, False] and held == pytest.approx(0.9336895)


def test_an_iv_gives_both_resistances_and_r_at_every_point(answering: Answering, cold: Iv) -> None:
    assert cold.r_normal_ohm.value == pytest.approx(P.r_normal_ohm, rel=0.01)
    assert cold.r_load_ohm.value == pytest.approx(P.r_load_ohm, rel=0.01)
    inside = cold.within(State.TRANSITION)
    assert inside.sum() >= 8
    for bias_a, r_ohm in zip(cold.bias_a[inside], cold.r_ohm[inside], strict=True):
        assert r_ohm == pytest.approx(truth(bias_a).r_ohm, rel=0.02)
    assert left_as_it_was(answering)


def test_a_heated_iv_goes_through_the_working_point(answering: Answering, warm: Iv) -> None:
    at = characterize.resistance_at(warm, WORK_A)
    assert at == pytest.approx(truth(WORK_A, WORK_W).r_ohm, rel=0.02)
    assert left_as_it_was(answering)


@pytest.fixture(scope="module")
def didv(answering: Answering, cold: Iv, warm: Iv) -> characterize.Didv:
    del cold
    measure = characterize.measure_didv(SENSOR, warm, [WORK_A], WAVE, feedback_ohm=30e3)
    return answering.run(characterize.heated(SENSOR, WORK_W, measure))


def test_didv_by_square_waves_gives_loop_gain_and_time_constants(
    answering: Answering, didv: characterize.Didv
) -> None:
    ((bias_a, _, bodies),) = didv.fits
    op = truth(bias_a, WORK_W)
    print(
        op,
        bodies,
        bodies.loop_gain,
        bodies.tau_s,
        bodies.tau_eff_s,
        bodies.beta,
        didv.inductance_h,
        Linear(P, op).tau_s,
    )
    assert bodies.loop_gain.value == pytest.approx(op.loop_gain, rel=0.05)
    assert bodies.tau_s.value == pytest.approx(Linear(P, op).tau_s, rel=0.05)
    assert bodies.tau_eff_s.value == pytest.approx(Linear(P, op).tau_eff_s, rel=0.05)
    assert bodies.beta.value == pytest.approx(op.beta, abs=0.05)
    assert didv.inductance_h.value == pytest.approx(P.inductance_h, rel=0.05)
    assert left_as_it_was(answering)


def noise_model(bodies: Bodies, current_a: float) -> NoiseModel:
    """With the true conductance: another test measures it."""
    op = truth(WORK_A, WORK_W)
    return NoiseModel(
        current_a=current_a,
        r_ohm=bodies.r_ohm,
        r_load_ohm=bodies.r_load_ohm,
        inductance_h=bodies["inductance_h"].value,
        loop_gain=bodies.loop_gain.value,
        tau_s=bodies.tau_s.value,
        beta=bodies.beta.value,
        g_w_per_k=Linear(P, op).g_w_per_k,
        n=2.1,
        sensor_k=op.t_e_k,
        bath_k=BATH_K,
        load_k=P.shunt_k,
        squid=SquidNoise(white_a_rthz=0.45e-12, knee_hz=10.0),
    )


@cache
def linear(bias_a: float, heater_w: float) -> Linear:
    return Linear(P, truth(bias_a, heater_w))


def analytic_nep(of: Linear, f_hz: characterize.F64) -> characterize.F64:
    psd = of.current_psd(f_hz) + SQUID.current_psd(f_hz)
    return np.asarray(np.sqrt(psd) / np.abs(of.heater_response(f_hz)))


def test_noise_against_bias_gives_the_nep(
    answering: Answering, warm: Iv, didv: characterize.Didv
) -> None:
    ((bias_a, _, bodies),) = didv.fits
    measure = characterize.measure_noise(
        SENSOR, [bias_a], feedback_ohm=30e3, seconds=20.0, lowest_hz=4.0
    )
    (noise,) = answering.run(characterize.heated(SENSOR, WORK_W, measure))
    model = noise_model(bodies, characterize.current_at(warm, bias_a))
    psd = model.unfolded(noise.f_hz, noise.psd, noise.rate_hz)
    middles = np.array([(low + high) / 2 for low, high in BANDS])
    found = in_bands(noise.f_hz, model.nep_of(noise.f_hz, psd), BANDS)
    print(
        found / analytic_nep(linear(bias_a, WORK_W), middles),
        model.nep_w_rthz(middles) / analytic_nep(linear(bias_a, WORK_W), middles),
    )
    assert found == pytest.approx(analytic_nep(linear(bias_a, WORK_W), middles), rel=0.05)
    assert left_as_it_was(answering)


MAP_A, MAP_W = (0.6e-6, 0.93e-6, 1.5e-6), (20e-15, 23.5e-15, 26e-15)


def test_the_working_point_found_is_as_good_as_the_best_of_the_map(
    answering: Answering, cold: Iv
) -> None:
    pulses = Pulses(frequency_hz=5.0, number=12, noise_s=4.0, settle_s=0.4)
    search = characterize.search_working_point(
        SENSOR, cold, MAP_A, MAP_W, feedback_ohm=30e3, pulses=pulses
    )
    choice, candidates = answering.run(search)
    print(choice.explanation)
    for c in candidates:
        of = linear(c.bias_a, c.heater_w)
        print(
            c,
            of.op.r_ohm,
            of.resolution_ev(SQUID.current_psd, low_hz=4.0, high_hz=25e3)
            if of.op.r_ohm > 0.005
            else 0,
        )
    promised = {
        (c.bias_a, c.heater_w): linear(c.bias_a, c.heater_w).resolution_ev(
            SQUID.current_psd, low_hz=4.0, high_hz=25e3
        )
        for c in candidates
        if c.usable
    }
    best = promised[choice.best.bias_a, choice.best.heater_w]
    assert best <= 1.05 * min(promised.values())
    assert left_as_it_was(answering)
