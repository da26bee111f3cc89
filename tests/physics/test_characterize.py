"""What the procedures learn of a sensor through the wires, against the bench's truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from daq.errors import CheckError
from daq.readout import characterize, impedance, sensor_steps, smallsignal
from daq.readout.characterize import Bath, NotColdError
from daq.readout.impedance import Bodies
from daq.readout.iv import Iv, State
from daq.readout.noise_model import NoiseModel, SquidNoise, in_bands
from daq.readout.procedures import putting_back
from daq.readout.requests import Procedure
from daq.readout.sensor_steps import WorkingPoint
from daq.readout.smallsignal import Pulses, SquareWave
from daq.readout.steps import StepFailedError
from daq.readout.waves import Response
from daq.settings.detectors import Detector
from drivers.temperature.lakeshore372 import HeaterRange, OutputMode
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BATH_K, OperatingPoint, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear
from sim_hardware.world.thermal import PLATE_W, PLATE_W_PER_K2
from tests.answering import RATE_HZ, SENSOR, WAVE, WORK_A, WORK_W, Answering
from tests.wired_bench import spec, wired

P, SQUID = TesParameters(), SquidParameters()
MIXING = 6
# the thermometer is on the mixing chamber; what leaks into the plate keeps it warmer by a known T²
BATH = Bath(
    setpoint=("fridge", "setpoint"),
    thermometer=("fridge", f"input {MIXING}.temperature"),
    most_k=0.05,
    tolerance_k=20e-6,
    dwell_s=150.0,
    timeout_s=3000.0,
    warmer_k2=2 * PLATE_W / PLATE_W_PER_K2,
)
LOWEST_HZ = 5.0
BANDS = ((13, 23), (27, 45), (55, 95), (105, 145), (160, 195), (305, 345))


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
def didv(answering: Answering, cold: Iv, warm: Iv) -> smallsignal.Didv:
    del cold
    measure = smallsignal.measure_didv(SENSOR, warm, [WORK_A], WAVE, feedback_ohm=30e3)
    return answering.run(characterize.heated(SENSOR, WORK_W, measure))


def test_didv_by_square_waves_gives_loop_gain_and_time_constants(
    answering: Answering, didv: smallsignal.Didv
) -> None:
    ((bias_a, _, bodies),) = didv.fits
    op = truth(bias_a, WORK_W)
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
    answering: Answering, warm: Iv, didv: smallsignal.Didv
) -> None:
    ((bias_a, _, bodies),) = didv.fits
    measure = smallsignal.measure_noise(
        SENSOR, [bias_a], feedback_ohm=30e3, seconds=20.0, lowest_hz=4.0
    )
    (noise,) = answering.run(characterize.heated(SENSOR, WORK_W, measure))
    model = noise_model(bodies, characterize.current_at(warm, bias_a))
    psd = model.unfolded(noise.f_hz, noise.psd, noise.rate_hz)
    middles = np.array([(low + high) / 2 for low, high in BANDS])
    found = in_bands(noise.f_hz, model.nep_of(noise.f_hz, psd), BANDS)
    assert found == pytest.approx(analytic_nep(linear(bias_a, WORK_W), middles), rel=0.05)
    assert left_as_it_was(answering)


def test_sines_give_the_same_loop_gain_as_the_square_wave(
    answering: Answering, warm: Iv, didv: smallsignal.Didv
) -> None:
    ((bias_a, _, square),) = didv.fits
    circuit = SENSOR.circuit(30e3)

    def sines() -> Procedure[Response]:
        yield from characterize.from_normal(SENSOR, bias_a, 0.5)
        return (
            yield from smallsignal.by_sines(
                SENSOR, circuit, [5.0, 20.0, 60.0, 200.0, 600.0, 2e3, 5e3], periods=8.0
            )
        )

    response = answering.run(characterize.heated(SENSOR, WORK_W, putting_back(sines())))
    found = impedance.fit(
        response,
        circuit,
        r_ohm=characterize.resistance_at(warm, bias_a),
        r_load_ohm=square.r_load_ohm,
        inductance_h=didv.inductance_h.value,
        slope=characterize.slope_at(warm, bias_a),
    )
    op = truth(bias_a, WORK_W)
    assert found.loop_gain.value == pytest.approx(op.loop_gain, rel=0.05)
    assert found.tau_eff_s.value == pytest.approx(Linear(P, op).tau_eff_s, rel=0.05)
    assert left_as_it_was(answering)


MAP_A, MAP_W = (0.6e-6, 0.93e-6, 1.5e-6), (20e-15, 23.5e-15, 26e-15)


@pytest.mark.soak  # too long for the gate
def test_the_working_point_found_is_as_good_as_the_best_of_the_map(
    answering: Answering, cold: Iv
) -> None:
    pulses = Pulses(frequency_hz=5.0, number=14, noise_s=3.0, settle_s=0.4)
    search = smallsignal.search_working_point(
        SENSOR, cold, MAP_A, MAP_W, feedback_ohm=30e3, pulses=pulses
    )
    choice, candidates = answering.run(search)
    usable = [each for each in candidates if each.usable]
    true_ev = {
        each: linear(each.bias_a, each.heater_w).resolution_ev(
            SQUID.current_psd, low_hz=LOWEST_HZ, high_hz=25e3
        )
        for each in usable
    }
    assert len(usable) >= 7
    for each in usable:
        op = truth(each.bias_a, each.heater_w)
        assert each.r_ohm == pytest.approx(op.r_ohm, rel=0.02)
        assert each.sigma_ev is not None
        if each.share < 0.6:  # nearer to normal, 300 eV are no small signal any more
            assert each.sigma_ev.value == pytest.approx(true_ev[each], rel=0.1)
    assert true_ev[choice.best] <= 1.05 * min(true_ev.values())
    assert choice.explanation.startswith(f"{choice.best.bias_a * 1e6:.4g} uA with")
    assert left_as_it_was(answering)


PLAN = Detector.model_validate({"squid": "squids1:1", "bias": "pulser:2"})


def at_work(warm: Iv, plan: Detector) -> Procedure[None]:
    """The steps of tuning that follow the bias point."""
    bias_a = yield from characterize.from_normal(SENSOR, WORK_A, 0.5)
    r_ohm = characterize.resistance_at(warm, bias_a)
    point = WorkingPoint(bias_a, characterize.current_at(warm, bias_a), r_ohm)
    sensor = SENSOR.as_in(warm)
    bodies = yield from sensor_steps.didv(sensor, plan, warm, point)
    yield from sensor_steps.noise(sensor, plan, point, bodies)


def test_tuning_measures_didv_and_the_nep_where_it_works(answering: Answering, warm: Iv) -> None:
    begun = len(answering.ended)
    answering.run(characterize.heated(SENSOR, WORK_W, putting_back(at_work(warm, PLAN))))
    step, noise = answering.ended[begun:]
    assert (step.step, step.passed, noise.step, noise.passed) == ("dI/dV", True, "noise", True)
    op, found = truth(WORK_A, WORK_W), step.values
    assert found["loop_gain"] == pytest.approx(op.loop_gain, rel=0.05)
    assert found["tau_s"] == pytest.approx(Linear(P, op).tau_s, rel=0.05)
    assert found["tau_eff_s"] == pytest.approx(Linear(P, op).tau_eff_s, rel=0.05)
    assert found["didb_low"] == pytest.approx(found["didb_iv"], rel=0.1)
    expected = analytic_nep(linear(WORK_A, WORK_W), np.array([100.0]))[0]
    assert noise.values["nep_100hz_w_rthz"] == pytest.approx(expected, rel=0.1)  # of 4 s
    assert left_as_it_was(answering)


def test_tuning_names_a_wrong_load_and_a_sensor_that_is_too_loud(
    answering: Answering, warm: Iv
) -> None:
    mistaken = Answering(answering.bench, load=50.0)
    found = r"found 0\.1\d+, (1\.9|2\.)\d+ times that: .*told of 50 ohm"
    with pytest.raises(StepFailedError, match=found):
        mistaken.run(characterize.heated(SENSOR, WORK_W, putting_back(at_work(warm, PLAN))))
    assert left_as_it_was(answering)
    strict = PLAN.model_copy(update={"nep_max_w_rthz": 1e-19})
    with pytest.raises(StepFailedError, match=r"of up to 1e-19 W/rtHz at 100 Hz, found \d\.\d+e-1"):
        answering.run(characterize.heated(SENSOR, WORK_W, putting_back(at_work(warm, strict))))
    assert left_as_it_was(answering)


def test_a_generator_with_the_wrong_load_is_named(answering: Answering, warm: Iv) -> None:
    mistaken = Answering(answering.bench, load=50.0)
    wave = SquareWave(seconds=0.5)
    measure = smallsignal.measure_didv(SENSOR, warm, [WORK_A], wave, feedback_ohm=30e3)
    with pytest.raises(
        CheckError, match=r"expected dI/dIb = 0\.0896.*(1\.9\d|2\.0\d) times that.*50 ohm"
    ):
        mistaken.run(characterize.heated(SENSOR, WORK_W, measure))
    assert left_as_it_was(answering)


def test_an_open_sensor_and_a_fridge_that_never_gets_cold_are_named() -> None:
    with wired(spec(20e3, tes={"all": {"heater_w": 0.0}})) as bench:
        answering = Answering(bench)
        broken = Answering(bench, squids={"C11": bench.squid(2)})  # whose wires end in nothing
        bench.bias(0.0)
        sweep = characterize.measure_iv(
            SENSOR,
            characterize.falling_biases(9e-6, 1.8e-6, share=0.2, to_zero=2),
            seconds=0.05,
            settle_s=0.05,
        )
        with pytest.raises(CheckError, match=r"open TES: expected more than 9\S* A .* found"):
            broken.run(sweep)
        assert float(str(bench.squid(2).tes_bias.read()["current"])) == 0.0
        before = bench.fridge.setpoint.read()
        measure = characterize.measure_conductance(
            SENSOR, replace(BATH, timeout_s=20.0), [12e-3], top_a=9e-6, bottom_a=1.8e-6
        )
        with pytest.raises(NotColdError, match=r"expected 12 mK .* found \S+ mK as the last read"):
            answering.run(measure)
        assert bench.fridge.setpoint.read() == before
        assert float(str(bench.squid(1).tes_bias.read()["current"])) == 0.0


@pytest.mark.soak
def test_ivs_at_several_baths_give_tc_and_the_conductance() -> None:
    tes, cryostat = {"all": {"heater_w": 0.0}}, {"plate_setpoint_k": 0.0}
    with wired(spec(10e3, tes=tes, cryostat=cryostat)) as bench:
        fridge = bench.fridge
        fridge.scan.write({"input": MIXING, "auto": False})
        fridge.output.write(
            {**fridge.output.read(), "mode": OutputMode.CLOSED_LOOP, "input": MIXING}
        )
        fridge.heater_range.write(HeaterRange.MA_1)
        answering = Answering(bench)
        baths = [10e-3, 11.5e-3, 12.5e-3, 13.5e-3, 14.2e-3]
        measure = characterize.measure_conductance(
            SENSOR, BATH, baths, top_a=9e-6, bottom_a=1.8e-6, seconds=0.05, settle_s=0.2
        )
        found, _ = answering.run(measure)
        assert left_as_it_was(answering)
    g_at_tc = 2 * P.k_eb_w_per_k2 * P.tc_k + 5 * P.k_ea_w_per_k5 * P.tc_k**4
    assert found.tc_k.value == pytest.approx(P.tc_k, abs=0.1e-3)
    assert found.g_w_per_k.value == pytest.approx(g_at_tc, rel=0.05)
