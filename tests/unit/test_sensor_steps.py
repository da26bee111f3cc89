"""The steps of a sensor name what is wrong with it, and leave nothing biased, heated or waving."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from daq.readout import characterize, sensor_steps, squid
from daq.readout.iv import Iv
from daq.readout.procedures import run, undone_if_failed
from daq.readout.requests import (
    AnyAnswer,
    AnyRequest,
    Average,
    Averaged,
    Generate,
    Offered,
    StoppedError,
    Take,
)
from daq.readout.sensor_steps import WorkingPoint
from daq.readout.steps import StepFailedError
from daq.settings.detectors import Detector
from tests.unit.test_characterize_procedures import SENSOR, Paper

PLAN = Detector.model_validate({"squid": "squids1:1", "bias": "pulser:2", "load_ohm": 23e-3})
TUNED = cast(
    squid.Tuned,
    SimpleNamespace(
        identified=SimpleNamespace(offered=Offered({}, ())),
        curve=SimpleNamespace(period_a=40e-6),
        locked=SimpleNamespace(volts_per_phi0=1.2),
    ),
)


def test_an_open_sensor_is_named_by_its_iv_and_left_as_it_was() -> None:
    def open_(request: AnyRequest, turn: int) -> AnyAnswer | None:
        return Averaged(1e-6 * (turn % 3), 2e-5, 1000) if isinstance(request, Average) else None

    bench = Paper(open_)
    steps = undone_if_failed(sensor_steps.measure_sensor("C11", PLAN, TUNED))
    with pytest.raises(StepFailedError, match=r"C11, iv: expected a normal.*open TES: expected"):
        run(steps, bench)
    assert bench.as_it_was
    assert [(end.step, end.passed) for end in bench.ended] == [("iv", False)]


def test_a_stop_in_the_middle_of_a_wave_leaves_none() -> None:
    bench = Paper()
    curve = run(characterize.measure_iv(SENSOR, characterize.falling_biases(9e-6, 1.5e-6)), bench)

    def stopped(request: AnyRequest, _: int) -> None:
        if isinstance(request, Take):
            assert bench.sent == {"bias"}
            raise StoppedError("stopped by the operator")

    bench.trouble = stopped
    with pytest.raises(StoppedError):
        run(undone_if_failed(waved(curve)), bench)
    assert [r.shape for r in bench.asked if isinstance(r, Generate)] == ["square"]
    assert bench.as_it_was


def waved(curve: Iv):
    sensor, bias_a = SENSOR.as_in(curve), 3e-6
    point = WorkingPoint(bias_a, characterize.current_at(curve, bias_a), 70e-3)
    return sensor_steps.didv(sensor, PLAN, curve, point)
