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
from tests.wired_bench import Wired, spec, wired

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


BANDS = ((13, 23), (27, 45), (55, 95), (105, 145), (160, 195), (305, 345))
