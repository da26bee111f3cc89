"""Drivers of text instruments against faces: two readings of one manual, on real sockets."""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import sys

import pytest

from daq.errors import OutOfRangeError, WrongInstrumentError
from drivers import catalogue
from drivers.parameter import NoValueError
from drivers.source.keysight33500b import CoercedError
from drivers.squid.squid_channel import LoopMode, squid_channels

MODELS = (
    "lakeshore370",
    "lakeshore336",
    "lakeshore350",
    "keysight33500b",
    "avs47b",
    "starcryo-pfl102",
    "magnicon-xxf1",
)
CHANNELS = {"lakeshore370": [1, 6], "magnicon-xxf1": [1], "starcryo-pfl102": [1, 8]}
WRITES = [
    ("lakeshore370", "setpoint", 0.0123),
    ("lakeshore370", "heater_range", "MA_1"),
    ("lakeshore370", "heater_range", "OFF"),
    ("lakeshore370", "control", {"proportional": 12.5, "integral": 30.0}),
    ("lakeshore370", "control_mode", "OPEN_LOOP"),
    ("lakeshore370", "manual_output", 2.0),
    ("lakeshore370", "still_output", 12.5),
    ("lakeshore370", "scan", {"input": 6, "auto": False}),
    ("lakeshore370", "output", {"input": 6, "delay": 10}),
    ("lakeshore370", "input 6.scanning", {"dwell": 5}),
    ("lakeshore370", "input 6.measuring", {"autorange": False, "range": 12}),
    ("lakeshore370", "input 6.filter", {"on": True, "settle": 3}),
    ("lakeshore336", "output 1.setpoint", 4.2),
    ("lakeshore336", "output 1.range", "HIGH"),
    ("lakeshore336", "output 1.range", "OFF"),
    ("lakeshore336", "output 1.control", {"proportional": 40.0}),
    ("lakeshore336", "output 1.mode", {"mode": "OPEN_LOOP"}),
    ("lakeshore336", "output 1.manual_output", 5.0),
    ("lakeshore336", "output 1.heater", {"resistance": "OHM_50"}),
    ("lakeshore336", "input B.name", "4 K plate"),
    ("lakeshore336", "input B.curve", 22),
    ("lakeshore336", "input B.measuring", {"autorange": False, "range": 3}),
    ("lakeshore336", "input B.filter", {"on": True, "points": 16}),
    ("lakeshore350", "output 2.range", "RANGE_5"),
    ("lakeshore350", "output 2.range", "OFF"),
    ("lakeshore350", "output 2.setpoint", 1.5),
    ("keysight33500b", "output 1.load", "INF"),
    ("keysight33500b", "output 1.load", 50.0),
    ("keysight33500b", "output 1.amplitude", 0.25),
    ("keysight33500b", "output 1.unit", "VPP"),
    ("keysight33500b", "output 1.offset", -0.1),
    ("keysight33500b", "output 1.high", 0.5),
    ("keysight33500b", "output 1.low", -0.5),
    ("keysight33500b", "output 1.frequency", 73.0),
    ("keysight33500b", "output 1.phase", 90.0),
    ("keysight33500b", "output 1.pulse_width", 2e-5),
    ("keysight33500b", "output 1.on", True),
    ("keysight33500b", "output 2.function", "SQUARE"),
    ("avs47b", "remote", True),
    ("avs47b", "sensor", 2),
    ("avs47b", "range", "KOHM_20"),
    ("avs47b", "excitation", "UV_100"),
    ("avs47b", "input", "CALIBRATE"),
    ("avs47b", "autorange", 10),
    ("avs47b", "reference", 1234),
    ("avs47b", "display", "EXCITATION"),
    ("avs47b", "display", "RESISTANCE"),
    ("avs47b", "input", "MEASURE"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A bench with one of each in a process of its own; name -> resource."""
    table = {"seed": 1, "start_utc": "now", "digitizers": {}, "instruments": {}}
    table["instruments"] = {model: {"model": model, "port": 0} for model in MODELS}
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    path.write_text(json.dumps(table))
    command = [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [json.loads(process.stdout.readline()) for _ in MODELS]
        yield {line["name"]: line["resource"] for line in lines}
        process.terminate()


@pytest.fixture(scope="module")
def instruments(bench):
    """Our driver of each of them."""
    with contextlib.ExitStack() as stack:
        yield {
            model: stack.enter_context(contextlib.closing(connected(model, bench)))
            for model in MODELS
        }


def connected(model, bench):
    return catalogue.instrument(model)(bench[model], channels=CHANNELS.get(model))


def named(instrument, name):
    (bound,) = [bound for bound in instrument.parameters() if bound.name == name]
    return bound


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_is_answered_or_a_shadow(instruments, model):
    for bound in instruments[model].parameters():
        try:
            for reading in bound.as_readings(bound.read(), 0):
                assert isinstance(reading.value, str) or math.isfinite(reading.value)
        except NoValueError:
            assert bound.source == "shadow" or bound.name.endswith("temperature")


@pytest.mark.parametrize(("model", "name", "value"), WRITES)
def test_what_is_written_is_held(instruments, model, name, value):
    held = named(instruments[model], name).write(value)
    parts, expected = (held, value) if isinstance(value, dict) else ({"": held}, {"": value})
    for part, each in expected.items():
        found = getattr(parts[part], "name", parts[part])
        assert found == (pytest.approx(each, rel=1e-3) if isinstance(each, float) else each)


def test_every_parameter_that_can_be_written_is(instruments):
    """The list above is complete: channels of one kind and models of one family count once."""
    walked = {
        (model.replace("350", "336"), re.sub(r" \w+\.", ".", name)) for model, name, _ in WRITES
    }
    for model in MODELS[:5]:
        for bound in instruments[model].parameters():
            if bound.parameter.tell is not None:
                name = re.sub(r" \w+\.", ".", bound.name)
                assert (model.replace("350", "336"), name) in walked


def test_keysight_a_conflict_is_reported_with_what_is_held(instruments):
    output = instruments["keysight33500b"].outputs[2]
    output.heater_pulse(height_v=0.1, width_s=1e-3, period_s=1.0, load=50)
    with pytest.raises(CoercedError, match="-221 Settings conflict") as conflict:
        output.pulse_width.write(5.0)
    held = output.pulse_width.read()
    assert held <= 1.0
    assert re.search(r"found (\S+) held", str(conflict.value))
    assert float(re.search(r"found (\S+) held", str(conflict.value))[1]) == pytest.approx(held)


@pytest.mark.parametrize(("load", "open_circuit"), [(50, 0.2), ("INF", 0.1)])
def test_keysight_a_heater_pulse_is_made_from_whatever_was_there(instruments, load, open_circuit):
    output = instruments["keysight33500b"].outputs[1]
    output.square_wave(amplitude_vpp=5.0, frequency_hz=1e5, offset_v=0.0, load=50)
    output.on.write(True)
    level = output.heater_pulse(height_v=0.1, width_s=0.01, period_s=20.0, load=load)
    assert level.open_circuit_vpp == pytest.approx(open_circuit)
    assert output.on.read() is False
    assert output.pulse_width.read() == pytest.approx(0.01)
    assert output.frequency.read() == pytest.approx(0.05)


def test_keysight_a_square_wave_is_made_from_a_pulse(instruments):
    output = instruments["keysight33500b"].outputs[1]
    output.heater_pulse(height_v=1.0, width_s=5.0, period_s=20.0, load="INF")
    level = output.square_wave(amplitude_vpp=0.02, frequency_hz=1e4, offset_v=0.5, load=50)
    assert (level.load, level.amplitude_vpp, level.offset_v) == (50.0, 0.02, 0.5)


def test_avs_there_is_no_resistance_while_something_else_is_shown_or_it_settles(instruments):
    bridge = instruments["avs47b"]
    bridge.remote.write(True)
    bridge.display.write("REFERENCE")
    with pytest.raises(NoValueError, match="to show RESISTANCE, found REFERENCE"):
        bridge.resistance.read()
    bridge.display.write("RESISTANCE")
    bridge.sensor.write(2)
    with pytest.raises(NoValueError, match="the bridge settles for another"):
        bridge.resistance.read()


def test_avs_obeys_in_remote_mode_only(instruments):
    bridge = instruments["avs47b"]
    bridge.remote.write(True)
    bridge.sensor.write(3)
    bridge.remote.write(False)
    assert bridge.sensor.write(5) == 3
    bridge.remote.write(True)


def test_star_cryo_listens_and_never_answers(instruments):
    starcryo = instruments["starcryo-pfl102"]
    channel = squid_channels(starcryo)[8]
    channel.initialize()
    channel.bias.write(20e-6)
    channel.mode.write(LoopMode.LOCKED)
    channel.reset_loop()
    starcryo.resend()
    assert starcryo.link.is_in_step()  # nothing has come
    assert channel.mode.read().value is LoopMode.LOCKED
    assert channel.bias.read().source == "shadow"


@pytest.mark.parametrize(("asked", "there"), [("lakeshore336", "lakeshore350")])
def test_another_model_of_the_family_is_noticed(bench, asked, there):
    wrong = catalogue.instrument(asked)(bench[there])
    with (
        contextlib.closing(wrong),
        pytest.raises(WrongInstrumentError, match=r"MODEL336.*found 'LSCI,MODEL350"),
    ):
        wrong.inputs[1].temperature.read()


@pytest.fixture
def squid(instruments):
    return squid_channels(instruments["magnicon-xxf1"])[1]


def test_every_offer_of_a_squid_channel_is_answered(squid):
    for name, offer in squid.offers().items():
        held = getattr(squid, name).read()
        assert (held.unit, held.source) == (offer.unit, "read")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", LoopMode.OPEN),
        ("bias", 20e-6),
        ("flux", -10e-6),
        ("offset", 500e-6),
        ("feedback", 30e3),
        ("tes_range", 500e-6),
        ("tes_bias", 100e-6),
        ("tes_range", 125e-6),
        ("test_height", 5e-6),
        ("test_signal", True),
        ("test_signal", False),
    ],
)
def test_a_squid_channel_holds_what_is_written_in_si(squid, name, value):
    held = getattr(squid, name).write(value)
    assert held.value == (pytest.approx(value, rel=0.01) if isinstance(value, float) else value)


def test_a_squid_channel_locks_anew(squid):
    squid.mode.write(LoopMode.OPEN)
    squid.reset_loop()
    assert squid.mode.read().value is LoopMode.LOCKED


def test_a_squid_channel_refuses_in_words(squid):
    with pytest.raises(OutOfRangeError, match=r"200 uA is outside 0 to 180 uA"):
        squid.bias.write(200e-6)
