"""[detectors]: what each hangs on, with every mistake said with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.errors import SettingsError
from daq.settings.detectors import Detectors, Place, Plug
from daq.settings.loader import parse
from tests.unit.test_settings import GOOD

INSTRUMENTS = """
[instruments.squids]
model = "magnicon-xxf1"
resource = "ASRLsocket://127.0.0.1:1::INSTR"
"""
BASE = GOOD + INSTRUMENTS


def detectors(text: str) -> Detectors:
    return parse(BASE + text, Path("x.toml")).section(Detectors)


def problem(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(BASE + text, Path("x.toml"))
    (only,) = caught.value.problems
    return only.partition(": ")[2]


def test_what_is_said_of_all_holds_for_each_that_says_nothing_else():
    found = detectors('[detectors.all]\nshunt = "10 mohm"\n[detectors.A]\nsquid = "squids:1"\n')
    assert found.root["A"].shunt_ohm == 0.01
    assert found.root["A"].squid == Plug("squids", 1)
    own = detectors(
        "[detectors.all]\nshunt_ohm = 0.01\nsquid_bias_a = [1e-6, 2e-6]\n"
        '[detectors.A]\nsquid = "squids:1"\nshunt_ohm = 0.02\nsetpoint = "squids:box 3.coil"\n'
    ).root["A"]
    assert (own.shunt_ohm, own.squid_bias_a) == (0.02, (1e-6, 2e-6))
    assert own.setpoint == Place("squids", "box 3.coil")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[detectors.A]\nsquid = "squids"\n', 'expected "instrument:number" such as "squids1:2"'),
        ('[detectors.A]\nsquid = "other:1"\n', "expected one of the instruments squids, found"),
        ('[detectors.B]\nsquid = "squids:1"\n', "expected one of the channels A"),
        ('[detectors.A]\nsquid = "squids:1"\nbais = "x:1"\n', "unknown key"),
        ('[detectors.A]\nsquid = "squids:1"\nthermometer = "x"\n', "such as"),
        (
            '[detectors.A]\nsquid = "squids:1"\nsquid_bias_a = [2e-6, 1e-6]\n',
            "expected squid_bias_a as [least, most] above 0",
        ),
        ("[detectors]\nall = 3\n[detectors.A]\nsquid='squids:1'\n", "expected a table all"),
    ],
)
def test_each_mistake_is_said(text: str, said: str):
    assert said in problem(text)


def test_two_detectors_cannot_have_one_squid():
    two = BASE.replace("[channels]", '[channels]\nB = { kind = "k", digitizer = "d", input = 1 }')
    with pytest.raises(SettingsError, match="squids:1 is already A's"):
        parse(
            two + '[detectors.A]\nsquid = "squids:1"\n[detectors.B]\nsquid = "squids:1"\n',
            Path("x.toml"),
        )
