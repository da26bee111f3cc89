"""What `scheelite characterize` makes of a config and of what it measured."""

from __future__ import annotations

import json

import pytest

from daq.errors import UsageError
from daq.readout.procedures import run
from daq.services import characterize
from daq.services.characterize import Wanted
from daq.settings.detectors import Detector
from sim_hardware.world.tes import TesParameters
from tests.unit.test_characterize_procedures import Paper

P = TesParameters()


def detector(**more: object) -> Detector:
    return Detector.model_validate({"squid": "squids1:1", **more})


BATH = {"thermometer": "fridge:input 6.temperature", "setpoint": "fridge:setpoint"}


def test_an_iv_and_baths_become_json_and_lines_and_all_is_put_back() -> None:
    bench, of = Paper(), detector(**BATH)
    wanted = Wanted(baths_k=(10e-3, 11.5e-3, 12.5e-3, 13.5e-3, 14.2e-3))
    procedure = characterize.portrait(characterize.sensor_of("C11", of), of, wanted)
    found = run(procedure, bench)
    assert bench.as_it_was
    document = json.loads(json.dumps(characterize.as_json("C11", found), allow_nan=False))
    assert document["channel"] == "C11"
    assert document["iv"]["r_normal_ohm"][0] == pytest.approx(P.r_normal_ohm, rel=5e-3)
    assert {"normal", "transition", "superconducting"} == set(document["iv"]["state"])
    assert document["conductance"]["tc_k"][0] == pytest.approx(P.tc_k, abs=0.1e-3)
    first, second = characterize.lines("C11", found)
    assert first.startswith("C11: Rn 200")
    assert second.startswith("Tc 1")


def test_several_baths_need_a_thermometer_and_a_setpoint() -> None:
    bench, of = Paper(), detector()
    procedure = characterize.portrait(
        characterize.sensor_of("C11", of), of, Wanted(baths_k=(10e-3, 11e-3))
    )
    with pytest.raises(UsageError, match=r"expected \[detectors\] to name a thermometer"):
        run(procedure, bench)
    assert bench.asked == []


def test_the_config_says_what_procedures_need() -> None:
    sensor = characterize.sensor_of("C11", detector(shunt_ohm=0.03, tes_bias_max_a=35e-6))
    assert (sensor.r_shunt_ohm, sensor.bias_max_a) == (0.03, 35e-6)
    assert sensor.circuit(30e3).volts_per_phi0 == pytest.approx(1.2)
