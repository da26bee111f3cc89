"""Tc and G of several sensors that share a bath: it waits for all, and goes back for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from daq.errors import UsageError
from daq.readout import deep_steps, guide
from daq.readout.procedures import Outcome, run, together, undone_if_failed
from daq.readout.requests import (
    All,
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Done,
    Get,
    Held,
    Offer,
    Offered,
    Offers,
    Procedure,
    Put,
    Several,
    Silence,
    WaitStable,
)
from daq.settings.detectors import Detector
from sim_hardware.world.tes import TesParameters
from tests.unit.test_characterize_procedures import BEGUN, SENSOR, Paper

P = TesParameters()
BATH = {"thermometer": "fridge:input 6.temperature", "setpoint": "fridge:setpoint"}
PLAN = Detector.model_validate({"squid": "squids:1", "heater": "pulser:1", **BATH})
READ_K = 9.837e-3


class Cryostat:
    """Sensors on paper on one bath; `biased` has how many were biased at each wait for it."""

    def __init__(self, *names: str, coldest_k: float = 9e-3) -> None:
        self.sensors = {at: Paper() for at in names}
        for sensor in self.sensors.values():
            sensor.coldest_k = coldest_k
        self.setpoints = [BEGUN["setpoint"]]
        self.biased: list[int] = []

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, All):
            return Several(tuple(self._one(each) for each in request.requests))
        return self._one(request)

    def _one(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, WaitStable):
            biases = [sensor.held["tes_bias"] for sensor in self.sensors.values()]
            self.biased.append(sum(1 for bias_a in biases if bias_a))
            return [sensor(request) for sensor in self.sensors.values()].pop()
        if getattr(request, "at", "") == "fridge":
            return self._fridge(request)
        return self.sensors[getattr(request, "at", "")](request)

    def _fridge(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, Put):
            self.setpoints.append(request.value)
        assert isinstance(request, Put | Get)
        return Held(READ_K if request.name != "setpoint" else self.setpoints[-1])


def measured(bench: Cryostat, plans: Mapping[str, Detector]) -> dict[str, Outcome[None]]:
    shared = deep_steps.shared_bath(plans)
    assert shared is not None
    lanes = {at: undone_if_failed(_lane(at, shared, plans[at])) for at in bench.sensors}
    return run(together(lanes | {"": shared.lane()}), bench)


def _lane(at: str, shared: deep_steps.SharedBath, plan: Detector) -> Procedure[None]:
    return deep_steps.conductance(replace(SENSOR, at=at), plan, shared)


def test_two_sensors_on_one_bath_both_find_tc_and_g_and_all_is_put_back() -> None:
    bench = Cryostat("C11", "C12")
    found = measured(bench, {"C11": PLAN, "C12": PLAN})
    assert [each.error for each in found.values()] == [None, None, None]
    g_at_tc = 2 * P.k_eb_w_per_k2 * P.tc_k + 5 * P.k_ea_w_per_k5 * P.tc_k**4
    for sensor in bench.sensors.values():
        (end,) = sensor.ended
        assert (end.step, end.passed) == ("Tc and G", True)
        assert end.values["tc_k"] == pytest.approx(P.tc_k, abs=0.1e-3)
        assert end.values["g_w_per_k"] == pytest.approx(g_at_tc, rel=0.05)
    assert bench.setpoints == [BEGUN["setpoint"], *PLAN.baths_k, BEGUN["setpoint"]]
    assert bench.biased[:-1] == [0] * len(PLAN.baths_k)
    assert all(sensor.as_it_was for sensor in bench.sensors.values())


def test_a_sensor_that_fails_at_a_bath_does_not_change_it_for_the_others() -> None:
    bench = Cryostat("C11", "C12")

    def railed(request: AnyRequest, turn: int) -> AnyAnswer | None:
        return Averaged(9.99, 0.0, 100) if isinstance(request, Average) and turn > 300 else None

    bench.sensors["C12"] = Paper(railed)
    found = measured(bench, {"C11": PLAN, "C12": PLAN})
    assert found["C11"].error is None
    assert "C12, Tc and G: expected Tc known within" in str(found["C12"].error)
    assert bench.setpoints == [BEGUN["setpoint"], *PLAN.baths_k, BEGUN["setpoint"]]
    assert all(sensor.as_it_was for sensor in bench.sensors.values())


def test_a_fridge_that_never_gets_cold_is_named_by_every_channel() -> None:
    bench = Cryostat("C11", "C12", coldest_k=12e-3)
    found = measured(bench, {"C11": PLAN, "C12": PLAN})
    for at in ("C11", "C12"):
        text = str(found[at].error)
        assert text.startswith(f"{at}, Tc and G: expected Tc known within 0.2 mK")
        assert "expected 10 mK within 20 uK for 200 s, found 12 mK as the last reading" in text
    assert bench.setpoints == [BEGUN["setpoint"], 10e-3, BEGUN["setpoint"]]
    assert all(sensor.as_it_was for sensor in bench.sensors.values())


def test_sensors_on_different_baths_are_not_measured_at_once() -> None:
    other = PLAN.model_copy(update={"bath_max_k": 0.05})
    with pytest.raises(UsageError, match=r"expected one bath .* found that of C12 to differ from"):
        deep_steps.shared_bath({"C11": PLAN, "C12": other})


def test_a_deep_tuning_says_what_it_may_warm() -> None:
    steps = dict(guide.expected_steps(PLAN, deep=True))
    assert steps["Tc and G"] == "fridge.setpoint up to 0.0142 K and back; TES bias as in iv"
    assert steps["working point"].startswith("pulser:1: pulses of 300 eV")
    assert "Tc and G" not in dict(guide.expected_steps(PLAN))


class Restored:
    """Holds one channel and a bath; notes in what order it was asked."""

    def __init__(self) -> None:
        self.asked: list[AnyRequest] = []

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        if isinstance(request, All):
            return Several(tuple(self._one(each) for each in request.requests))
        return self._one(request)

    def _one(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        if isinstance(request, Offers):
            return Offered({"mode": Offer()})
        if isinstance(request, Put):
            return Held(request.value)
        if isinstance(request, Get):
            return Held(READ_K if request.at == "fridge" else "OPEN")
        return Done()


def test_the_setpoint_of_before_is_asked_once_for_all_and_restored_with_heaters_off() -> None:
    bench = Restored()
    baths = run(guide.baths({"C11": PLAN, "C12": PLAN}), bench)
    assert baths == {("fridge", "setpoint"): READ_K}
    assert bench.asked == [Get("fridge", "setpoint")]
    wanted = {"C11": {"mode": "OPEN"}}
    found = run(guide.restore(wanted, {"C11": PLAN}, deep=True, baths=baths), bench)
    assert [each.error for each in found.values()] == [None, None]
    assert Put("fridge", "setpoint", READ_K) in bench.asked
    assert Silence("C11", "heater") in bench.asked


def test_what_was_not_deep_touches_neither_bath_nor_heater() -> None:
    bench = Restored()
    run(guide.restore({"C11": {"mode": "OPEN"}}, {"C11": PLAN}), bench)
    assert not [r for r in bench.asked if isinstance(r, Silence) or r.at == "fridge"]
