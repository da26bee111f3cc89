"""The procedures of a TES, answered by a sensor on paper: no sockets, no time, little noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from daq.errors import CheckError, ScheeliteError
from daq.readout import characterize
from daq.readout.characterize import Bath, NotColdError, Sensor
from daq.readout.circuit import Estimate
from daq.readout.iv import State
from daq.readout.procedures import run
from daq.readout.requests import (
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Begin,
    Done,
    End,
    Generate,
    Get,
    Held,
    Meet,
    Put,
    Say,
    Settled,
    Silence,
    StoppedError,
    WaitStable,
)
from daq.readout.resolution import Heater
from sim_hardware.world.tes import BATH_K, TesParameters, operating_point

P = TesParameters()
SENSOR = Sensor(
    at="C11",
    r_shunt_ohm=P.r_shunt_ohm,
    a_per_phi0=0.3e-6,
    volts_per_phi0_per_ohm=40e-6,
    feedback_ohm=3e3,
    bias_ohm=1e6,
    heater=Heater(ohm=10e3, attenuation_db=80.0),
    bias_max_a=40e-6,
    normal_bias_a=30e-6,
)
BATH = Bath(
    setpoint=("fridge", "setpoint"),
    thermometer=("fridge", "input 6.temperature"),
    most_k=0.05,
    timeout_s=60.0,
)
BEGUN = {"tes_bias": 0.93e-6, "mode": "OPEN", "feedback": 30e3, "setpoint": 9.8e-3}


Trouble = Callable[[AnyRequest, int], AnyAnswer | None]


class Paper:
    """A sensor that settles at once; `trouble` is raised or answered at a request, by its turn."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        self.held: dict[str, float | str] = dict(BEGUN)
        self.sent: set[str] = set()
        self.asked: list[AnyRequest] = []
        self.ended: list[End] = []
        self.coldest_k = 9e-3
        self.trouble, self._rng = trouble, np.random.default_rng(1)
        self._t_e_k, self.bath_k = 10e-3, BATH_K

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, Begin | End):
            self.ended += [request] if isinstance(request, End) else []
            return Done()
        self.asked.append(request)
        if self.trouble and (answer := self.trouble(request, len(self.asked))) is not None:
            return answer
        match request:
            case Put(_, name, value):
                assert isinstance(value, float | str)
                self.held[name] = value
                return Held(value)
            case Get(_, name):
                return Held(self.held[name])
            case Average(_, seconds):
                return Averaged(self._volts(), 2e-5, max(2, round(seconds * 1e4)))
            case WaitStable(_, target, _, _, timeout_s):
                stable = target >= self.coldest_k
                self.bath_k = max(target, self.coldest_k)
                return Settled(stable, self.bath_k, 10.0 if stable else timeout_s)
            case Generate():
                self.sent.add(request.line)
            case Silence():
                self.sent.discard(request.line)
            case _:
                assert isinstance(request, Say | Meet)
        return Done()

    @property
    def as_it_was(self) -> bool:
        return self.held == BEGUN and not self.sent

    def _volts(self) -> float:
        bias_a, feedback_ohm = self.held["tes_bias"], self.held["feedback"]
        assert isinstance(bias_a, float)
        assert isinstance(feedback_ohm, float)
        op = operating_point(P, bias_a=bias_a, bath_k=self.bath_k, from_k=self._t_e_k)
        self._t_e_k = op.t_e_k
        noise_v = self._rng.normal(0, 2e-6)
        return -op.current_a * feedback_ohm * 40e-6 / 0.3e-6 + noise_v


def test_an_iv_goes_down_from_normal_and_puts_everything_back() -> None:
    bench = Paper()
    found = run(characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6)), bench)
    assert found.r_normal_ohm.value == pytest.approx(P.r_normal_ohm, rel=2e-3)
    assert found.r_load_ohm.value == pytest.approx(P.r_load_ohm, rel=2e-3)
    first = next(r for r in bench.asked if isinstance(r, Put) and r.name == "tes_bias")
    assert first.value == SENSOR.normal_bias_a
    assert bench.as_it_was


def test_where_it_is_superconducting_for_sure_the_steps_are_coarser() -> None:
    bench = Paper()
    biases = np.linspace(9e-6, 0.0, 120).tolist()
    found = run(characterize.measure_iv(SENSOR, biases), bench)
    n_super = int(found.within(State.SUPERCONDUCTING).sum())
    below = sum(bias_a < 2.25e-6 for bias_a in biases)
    assert n_super < 0.6 * below
    assert found.bias_a[-1] == 0.0


def test_a_sweep_may_end_at_a_share_of_rn() -> None:
    bench = Paper()
    load = Estimate(P.r_load_ohm, 1e-6)
    found = run(
        characterize.measure_iv(
            SENSOR,
            characterize.falling_biases(9e-6, 0.5e-6, to_zero=0),
            r_load_ohm=load,
            until_share=0.4,
        ),
        bench,
    )
    assert 0.3 < found.r_ohm[-1] / P.r_normal_ohm < 0.4
    assert bench.as_it_was


@pytest.mark.parametrize("at", [1, 2, 8, 30, 60])
def test_whenever_it_is_stopped_nothing_is_left_biased(at: int) -> None:
    def stop(_: AnyRequest, turn: int) -> None:
        if turn == at:
            raise StoppedError("stopped by the operator")

    bench = Paper(stop)
    sweep = characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6))
    with pytest.raises(StoppedError):
        run(characterize.heated(SENSOR, 1e-15, sweep), bench)
    assert bench.as_it_was


def test_baths_are_waited_for_without_bias_and_give_tc_and_g() -> None:
    bench = Paper()
    baths = [11.5e-3, 10e-3, 12.5e-3, 13.5e-3, 14.2e-3]
    measure = characterize.measure_conductance(SENSOR, BATH, baths, top_a=9e-6, bottom_a=1.8e-6)
    found, curves = run(measure, bench)
    assert [bath.value for bath, _ in curves] == sorted(baths)
    assert found.tc_k.value == pytest.approx(P.tc_k, abs=0.1e-3)
    g_at_tc = 2 * P.k_eb_w_per_k2 * P.tc_k + 5 * P.k_ea_w_per_k5 * P.tc_k**4
    assert found.g_w_per_k.value == pytest.approx(g_at_tc, rel=0.05)
    waits = [k for k, request in enumerate(bench.asked) if isinstance(request, WaitStable)]
    for k in waits:
        biases = [r for r in bench.asked[:k] if isinstance(r, Put) and r.name == "tes_bias"]
        assert biases[-1].value == 0.0
    assert bench.as_it_was


def test_a_known_leak_into_the_plate_is_allowed_for() -> None:
    bench = Paper()
    warmer = Bath(
        setpoint=BATH.setpoint, thermometer=BATH.thermometer, most_k=0.05, warmer_k2=5.5e-6
    )
    held = run(characterize.settle_bath("C11", warmer, 10e-3), bench)
    assert held.value == pytest.approx(np.sqrt(10e-3**2 + 5.5e-6))


def test_a_fridge_that_never_gets_cold_is_named_with_its_last_reading() -> None:
    bench = Paper()
    bench.coldest_k = 12e-3
    measure = characterize.measure_conductance(
        SENSOR, BATH, [10e-3, 11e-3], top_a=9e-6, bottom_a=1.8e-6
    )
    with pytest.raises(
        NotColdError,
        match=r"expected 10 mK within 20 uK for 200 s, found 12 mK as the last reading of "
        r"fridge\.input 6\.temperature after 60 s",
    ):
        run(measure, bench)
    assert bench.as_it_was


def test_what_is_beyond_the_limits_is_refused_before_anything_is_told() -> None:
    bench = Paper()
    with pytest.raises(CheckError, match=r"C11: expected biases up to 4e-05 A, found 5e-05 A"):
        run(characterize.measure_iv(SENSOR, [50e-6 - k * 1e-6 for k in range(9)]), bench)
    with pytest.raises(CheckError, match=r"expected a bath up to 0\.05 K, found 0\.2 K"):
        run(characterize.settle_bath("C11", BATH, 0.2), bench)
    assert not [r for r in bench.asked if isinstance(r, Put) and r.name in {"tes_bias", "setpoint"}]


def test_an_output_at_its_rail_is_named() -> None:
    def railed(request: AnyRequest, _: int) -> AnyAnswer | None:
        return Averaged(9.99, 0.0, 100) if isinstance(request, Average) else None

    bench = Paper(railed)
    with pytest.raises(CheckError, match=r"within 9\.5 V, found it at its rail"):
        run(characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6)), bench)
    assert bench.as_it_was


def test_what_cannot_be_put_back_is_said() -> None:
    def refusing(request: AnyRequest, turn: int) -> None:
        if turn == 20:
            raise StoppedError("stopped")
        if turn > 20 and isinstance(request, Put) and request.name == "tes_bias":
            raise ScheeliteError("the line is cut")

    bench = Paper(refusing)
    with pytest.raises(StoppedError) as raised:
        run(characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6)), bench)
    assert raised.value.__notes__ == ["not put back: the line is cut"]


def test_r_and_current_between_points() -> None:
    bench = Paper()
    curve = run(characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6)), bench)
    op = operating_point(P, bias_a=3e-6, bath_k=BATH_K)
    assert characterize.resistance_at(curve, 3e-6) == pytest.approx(op.r_ohm, rel=5e-3)
    assert characterize.current_at(curve, 3e-6) == pytest.approx(op.current_a, rel=5e-3)
    with pytest.raises(CheckError, match=r"in the IV's transition, .* found 8e-06 A"):
        characterize.resistance_at(curve, 8e-6)
