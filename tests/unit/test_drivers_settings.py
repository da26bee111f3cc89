"""The config's sections of instruments and digitizers: what they take, and what they refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from drivers.settings import Digitizers, Instruments

INSTRUMENT = {"model": "lakeshore372", "resource": "TCPIP::127.0.0.1::7777::SOCKET"}
DIGITIZER = {"model": "scheelite-stream", "resource": "tcp://127.0.0.1:5601"}


def test_the_shortest_sections_have_defaults():
    fridge = Instruments.model_validate({"fridge": INSTRUMENT}).root["fridge"]
    assert (fridge.poll_s, fridge.slow_poll_s, fridge.channels) == (1.0, 60.0, None)
    targets = Digitizers.model_validate({"targets": DIGITIZER}).root["targets"]
    assert (targets.buffer_s, targets.buffer_bytes, targets.device) == (30.0, 2e9, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "lakeshore"}, "expected one of the models .*, found 'lakeshore'"),
        ({"resource": "GPIB0::12::INSTR"}, "expected a resource like .*, found 'GPIB0::12::INSTR'"),
        ({"poll_s": 0.01}, "greater than or equal to 0.05"),
        ({"poll_s": "1"}, "valid number"),
        ({"channels": ["1"]}, "valid integer"),
        ({"poll": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_an_instrument_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Instruments.model_validate({"fridge": {**INSTRUMENT, **change}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "dastard"}, "expected one of the models .*, found 'dastard'"),
        ({"resource": "127.0.0.1:5601"}, "expected tcp://HOST:PORT, found '127.0.0.1:5601'"),
        ({"buffer_s": 0.5}, "greater than or equal to 1"),
        ({"buffer_bytes": 10.0}, "greater than or equal to 1000000"),
        ({"silent_after_s": 0.1}, "greater than or equal to 0.2"),
        ({"rate_hz": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_a_digitizer_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        Digitizers.model_validate({"targets": {**DIGITIZER, **change}})


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ValidationError, match="should match pattern"):
        Instruments.model_validate({"the fridge": INSTRUMENT})
