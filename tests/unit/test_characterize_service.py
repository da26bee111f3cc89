"""What `scheelite characterize` makes of a config and of what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daq.errors import UsageError
from daq.readout.procedures import run
from daq.services import characterize, tunefile
from daq.services.characterize import Gain, Wanted
from daq.services.tunefile import ChannelEntry, PlanFile, StepEntry, TuneFile
from daq.settings.detectors import Detector, Detectors
from daq.settings.loader import Settings
from daq.settings.sections import Experiment
from sim_hardware.world.tes import TesParameters
from tests.unit.test_characterize_procedures import Paper

P = TesParameters()


def detector(**more: object) -> Detector:
    return Detector.model_validate({"squid": "squids1:1", **more})


BY_DESIGN = Gain(40e-6, "config")
BATH = {"thermometer": "fridge:input 6.temperature", "setpoint": "fridge:setpoint"}


def test_an_iv_and_baths_become_json_and_lines_and_all_is_put_back() -> None:
    bench, of = Paper(), detector(**BATH)
    wanted = Wanted(baths_k=(10e-3, 11.5e-3, 12.5e-3, 13.5e-3, 14.2e-3))
    procedure = characterize.portrait("C11", of, BY_DESIGN, wanted)
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
    procedure = characterize.portrait("C11", of, BY_DESIGN, Wanted(baths_k=(10e-3, 11e-3)))
    with pytest.raises(UsageError, match=r"expected \[detectors\] to name a thermometer"):
        run(procedure, bench)
    assert bench.asked == []


def test_the_config_says_what_procedures_need() -> None:
    of = detector(shunt_ohm=0.03, tes_bias_max_a=35e-6, bath_warmer_k2=5.5e-6, **BATH)
    sensor = characterize.sensor_of("C11", of, BY_DESIGN)
    assert (sensor.r_shunt_ohm, sensor.bias_max_a) == (0.03, 35e-6)
    assert sensor.circuit(30e3).volts_per_phi0 == pytest.approx(1.2)
    assert characterize.bath_of(of).warmer_k2 == 5.5e-6


def test_the_gain_is_that_of_the_last_tune_and_the_designs_before(tmp_path: Path) -> None:
    sections = {"detectors": Detectors.model_validate({"C11": {"squid": "squids1:1"}})}
    run_ = Experiment.model_validate({"name": "x", "data_dir": str(tmp_path)})
    settings = Settings(tmp_path / "x.toml", "", sections | {"experiment": run_})
    assert characterize.gain_of(settings, "C11") == BY_DESIGN
    folder = tunefile.new_folder(tmp_path)
    tunefile.write(folder / tunefile.PLAN, PlanFile(["C11"], ""))
    steps = [StepEntry("v-phi", True, {"period_a": 39.5e-6})]
    channels = {"C11": ChannelEntry(True, {}, steps)}
    tunefile.write(folder / tunefile.TUNE, TuneFile(channels, "2026-07-01T00:00:00Z", "x.toml"))
    loaded = tunefile.new_folder(tmp_path)  # a tune that was loaded since measured nothing
    tunefile.write(loaded / tunefile.PLAN, PlanFile(["C11"], ""))
    restored = {"C11": ChannelEntry(True, {}, [StepEntry("restore", True, {"bias": 2e-5})])}
    tunefile.write(loaded / tunefile.TUNE, TuneFile(restored, "2026-07-02T00:00:00Z", "x.toml"))
    assert characterize.gain_of(settings, "C11") == Gain(39.5e-6, "tune")
