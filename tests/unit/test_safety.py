"""The laboratory's limits and its safe state: who is refused what, and when it is taken."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from daq.errors import OutOfRangeError, UsageError
from daq.run.lease import Held
from daq.settings.detectors import Detector
from drivers import catalogue
from drivers.services.detectorlimits import with_detectors
from drivers.services.safety import Limits, News, Watch, check_orders
from drivers.settings import Safety

NS = 10**9
T0 = 10**18


@pytest.fixture
def instruments():
    driver = catalogue.instrument("lakeshore372")
    return {"fridge": driver("TCPIP::127.0.0.1::1::SOCKET")}


def safety(**given) -> Safety:
    return Safety.model_validate(given)


ORDER = {"instrument": "fridge", "parameter": "heater_range", "value": "OFF"}
LIMITS = {"fridge.setpoint": {"least": 0.0, "most": 0.05}}


def test_inside_the_limits_nothing_is_said(instruments):
    limits = Limits(safety(limits=LIMITS).limits, instruments)
    limits.check("fridge", "setpoint", 0.05)
    limits.check("fridge", "heater_range", "OFF")
    limits.check("squids", "setpoint", 300.0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            0.3,
            r"fridge.setpoint: 0.3 is outside 0 to 0.05, which \[safety\] or \[detectors\] allow",
        ),
        (-1, "outside"),
        (float("nan"), "outside"),
        (True, "expected a number"),
        ("0.01", "expected a number"),
    ],
)
def test_outside_it_is_refused(instruments, value, said):
    limits = Limits(safety(limits=LIMITS).limits, instruments)
    with pytest.raises(OutOfRangeError, match=said):
        limits.check("fridge", "setpoint", value)


@pytest.mark.parametrize("value", [40.0, {"current": 40.0}, {"current": 40.0, "range": "UA_125"}])
def test_a_limit_on_a_field_holds_however_the_field_is_written(value):
    squids = {"squids": catalogue.instrument("magnicon-xxf1")("ASRLsocket://127.0.0.1:1::INSTR")}
    name = "squids.squid 1.tes_bias.current"
    limits = Limits(safety(limits={name: {"least": 0.0, "most": 30.0}}).limits, squids)
    with pytest.raises(OutOfRangeError, match=f"{name}: 40 is outside 0 to 30"):
        limits.check("squids", "squid 1.tes_bias", value)
    limits.check("squids", "squid 1.tes_bias", {"range": "UA_125"})
    limits.check("squids", "squid 1.tes_bias", 30.0)


def detector(**given) -> Detector:
    return Detector.model_validate({"squid": "squids:1", "setpoint": "fridge:setpoint"} | given)


def test_what_a_detector_bears_is_a_limit_whoever_asks(instruments):
    instruments["squids"] = catalogue.instrument("magnicon-xxf1")("ASRLsocket://127.0.0.1:1::INSTR")
    own = safety(limits={"fridge.setpoint": {"least": 0.01, "most": 2.0}})
    both = with_detectors(own, {"C11": detector(bath_max_k=0.05)}, instruments)
    limits = Limits(both.limits, instruments)
    limits.check("squids", "squid 1.ib", 39.9)
    limits.check("squids", "squid 1.tes_bias", {"current": -40.0, "range": "UA_125"})
    limits.check("squids", "squid 2.ib", 100.0)  # nobody's
    for parameter, value in (
        ("squid 1.ib", 40.1), ("squid 1.tes_bias", 41.0), ("squid 1.tes_bias", {"current": -41}),
    ):  # fmt: skip
        with pytest.raises(OutOfRangeError, match="is outside"):
            limits.check("squids", parameter, value)
    for setpoint in (0.005, 0.06):
        with pytest.raises(OutOfRangeError, match=r"is outside 0.01 to 0.05"):
            limits.check("fridge", "setpoint", setpoint)


def test_detectors_that_hang_on_nothing_are_refused_before_anything_is_written(instruments):
    with pytest.raises(UsageError, match="expected a SQUID 1 of squids, found no SQUID electr"):
        with_detectors(safety(), {"C11": detector()}, instruments)
    instruments["squids"] = catalogue.instrument("magnicon-xxf1")("ASRLsocket://127.0.0.1:1::INSTR")
    with pytest.raises(UsageError, match="expected a SQUID 7 of squids, found 1, 2"):
        with_detectors(safety(), {"C11": detector(squid="squids:7")}, instruments)
    own = safety(limits={"fridge.setpoint": {"least": 1.0, "most": 2.0}})
    with pytest.raises(UsageError, match=r"that overlap, found 1 to 2 and 0 to 0\.1"):
        with_detectors(own, {"C11": detector()}, instruments)


@pytest.mark.parametrize("name", ["fridge.setpiont", "fridge.heater_range", "cryo.setpoint", "x"])
def test_a_limit_that_would_protect_nothing_is_refused(instruments, name):
    limits = safety(limits={name: {"least": 0.0, "most": 1.0}}).limits
    with pytest.raises(UsageError, match="expected a number to write"):
        Limits(limits, instruments)


@pytest.mark.parametrize(
    "order",
    [
        {**ORDER, "instrument": "cryo"},
        {**ORDER, "parameter": "heater"},
        {**ORDER, "value": "PERHAPS"},
        {**ORDER, "parameter": "input 1.temperature"},
    ],
)
def test_an_order_that_nobody_could_obey_is_refused_before_the_night(instruments, order):
    with pytest.raises(UsageError, match=r"safety\.orders"):
        check_orders(safety(orders=[order]).orders, instruments)
    check_orders(safety(orders=[ORDER]).orders, instruments)


@pytest.mark.parametrize(
    "given",
    [
        {"limits": {"a.b": {"least": 2.0, "most": 1.0}}},
        {"without_run_control_s": 60.0},
        {"without_operator_s": 0.0, "orders": [ORDER]},
    ],
)
def test_settings_that_make_no_sense_are_refused(given):
    with pytest.raises(ValidationError, match=r"expected|greater"):
        safety(**given)


class Clock:
    def __init__(self) -> None:
        self.now_ns = T0

    def __call__(self) -> int:
        return self.now_ns


def test_without_run_control_it_is_due_once_and_again_after_it_came_back():
    watch = Watch(safety(without_run_control_s=60.0, orders=[ORDER]), Clock())
    assert watch.due(News(None, 60.0)) == ""
    assert "said nothing for 61 s" in watch.due(News(None, 61.0))
    assert watch.due(News(None, 62.0)) == ""
    assert watch.due(News(None, 0.0)) == ""
    assert watch.due(News(None, 99.0)) != ""


def test_a_lease_that_ran_out_is_an_operator_lost_and_one_given_back_is_not():
    clock = Clock()
    watch = Watch(safety(without_operator_s=10.0, orders=[ORDER]), clock)
    held = Held("anna", T0, T0 + 5 * NS, "seal")
    assert watch.due(News(held, 0.0)) == ""
    clock.now_ns = T0 + 4 * NS
    assert watch.due(News(None, 0.0)) == ""  # given back a second early
    clock.now_ns = T0 + 60 * NS
    assert watch.due(News(None, 0.0)) == ""
    again = Held("anna", clock.now_ns, clock.now_ns + 5 * NS, "seal")
    assert watch.due(News(again, 0.0)) == ""
    clock.now_ns += 15 * NS
    assert watch.due(News(None, 0.0)) == ""
    clock.now_ns += NS
    assert "the lease of anna ran out 11 s ago" in watch.due(News(None, 0.0))
    assert watch.due(News(None, 0.0)) == ""


def test_without_a_policy_nothing_is_ever_due():
    watch = Watch(safety(), Clock())
    assert watch.due(News(None, 1e9)) == ""
