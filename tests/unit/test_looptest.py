"""A test flux through a loop: what is one passes, what only looks like one is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from daq.errors import RefusedError
from daq.services import looptest
from daq.services.detectorwires import Command, DetectorWires
from daq.settings.detectors import Detector

PERIOD_A, FEEDBACK_OHM = 40e-6, 30e3
SQUID = {
    "values": {
        name: {
            "parameter": name, "part": "", "unit": "", "to_si": 1.0, "members": {},
            "minimum": least, "maximum": most, "choices": [], "source": source,
        }
        for name, least, most, source in (
            ("flux", -50e-6, 50e-6, "read"), ("feedback", 0.0, 1e5, "read"),
        )
    },
    "actions": {},
}  # fmt: skip


class Loop:
    """Follows its flux by `gain`, and stays off by `left_v` once it was moved."""

    def __init__(self, gain: float = 1.0, left_v: float = 0.0, flux: float = 0.0) -> None:
        self.gain, self.left_v, self.rest_a = gain, left_v, flux
        self.held = {"flux": flux, "feedback": FEEDBACK_OHM}
        self.told: list[float] = []
        self.moved = False

    def call(self, command: Command) -> Mapping[str, Any]:
        name = command.arguments["parameter"]
        if command.verb == "write":
            self.held[name], self.moved = command.arguments["value"], True
            self.told.append(command.arguments["value"])
        return {"value": self.held[name], "source": "read"}

    def output_v(self) -> float:
        left_v = self.left_v if self.moved else 0.0
        return 0.1 - self.gain * FEEDBACK_OHM * (self.held["flux"] - self.rest_a) + left_v

    def doubt(self, squid: Mapping[str, Any] = SQUID) -> str:
        detector = Detector.model_validate({"squid": "s:1", "feedback_a_per_phi0": PERIOD_A})
        listed = {"instruments": {"s": {"squids": {"1": squid}}}}
        wires = DetectorWires({"A": detector}, listed)
        return looptest.doubt("A", wires, self.call, self.output_v)


def test_a_loop_that_follows_is_one_and_its_flux_is_as_it_was() -> None:
    loop = Loop()
    assert loop.doubt() == ""
    assert loop.told == [pytest.approx(10e-6), 0.0]


def test_a_flux_at_its_end_goes_the_other_way() -> None:
    loop = Loop(flux=45e-6)
    assert loop.doubt() == ""
    assert loop.told == [pytest.approx(35e-6), pytest.approx(45e-6)]


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        (Loop(gain=0.0), "moves by 0 V where a test flux makes it 0.3 V"),
        (Loop(gain=0.8), "moves by -0.24 V where a test flux makes it 0.3 V"),
        (Loop(left_v=1.2), "moves by 0.9 V where a test flux makes it 0.3 V"),
    ],
)
def test_what_does_not_follow_is_named(loop: Loop, said: str) -> None:
    assert said in loop.doubt()
    assert loop.held["flux"] == 0.0


def test_a_loop_that_comes_back_elsewhere_is_named() -> None:
    loop = Loop()
    outputs = iter([0.1, -0.2, 1.3])
    loop.output_v = lambda: next(outputs)
    assert loop.doubt() == "the output comes back 1.2 V away after a test flux"


def test_electronics_without_a_test_signal_have_none() -> None:
    values = {"feedback": SQUID["values"]["feedback"]}
    loop = Loop(gain=0.0)
    assert loop.doubt({"values": cast(dict[str, Any], values), "actions": {}}) == ""
    assert loop.told == []


def test_a_flux_is_put_back_although_the_samples_fail() -> None:
    loop = Loop()
    outputs = iter([0.1])

    def output_v() -> float:
        for each in outputs:
            return each
        raise RefusedError("no samples")

    loop.output_v = output_v
    with pytest.raises(RefusedError):
        loop.doubt()
    assert loop.held["flux"] == 0.0
