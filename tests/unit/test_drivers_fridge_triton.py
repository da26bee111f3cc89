"""The Triton driver against a server that plays the literal lines of public sources."""

from __future__ import annotations

import contextlib

import pytest

from daq.errors import OutOfRangeError, ReplyError, UsageError, WrongInstrumentError
from drivers.fridge.fridge import view
from drivers.fridge.triton import KELVIN, Prefixed, Triton
from drivers.parameter import AbsentError, NoValueError
from tests.line_server import LineServer

HELD = {
    "*IDN?": "IDN:OXFORD INSTRUMENTS:TRITON:1234:1.0",
    "READ:SYS:DR:CHAN:MC": "STAT:SYS:DR:CHAN:MC:T5",
    "READ:DEV:T5:TEMP:SIG:TEMP": "STAT:DEV:T5:TEMP:SIG:TEMP:0.0123K",
    "READ:DEV:T1:TEMP:SIG:TEMP": "STAT:DEV:T1:TEMP:SIG:TEMP:12.3mK",
    "READ:DEV:T5:TEMP:LOOP:TSET": "STAT:DEV:T5:TEMP:LOOP:TSET:0.1K",
    "SET:DEV:T5:TEMP:LOOP:TSET:0.1": "STAT:SET:DEV:T5:TEMP:LOOP:TSET:0.1K:VALID",
    "READ:DEV:T5:TEMP:LOOP:P:I:D": "STAT:DEV:T5:TEMP:LOOP:P:5:I:2:D:0",
    "SET:DEV:T5:TEMP:LOOP:P:5:I:2:D:0": "STAT:SET:DEV:T5:TEMP:LOOP:P:5.0:I:2.0:D:0.0:VALID",
    "READ:DEV:T5:TEMP:LOOP:RANGE": "STAT:DEV:T5:TEMP:LOOP:RANGE:3.16mA",
    "SET:DEV:T5:TEMP:LOOP:RANGE:3.16": "STAT:SET:DEV:T5:TEMP:LOOP:RANGE:3.16mA:VALID",
    "READ:DEV:H1:HTR:SIG:POWR": "STAT:DEV:H1:HTR:SIG:POWR:31.6uW",
    "SET:DEV:H1:HTR:SIG:POWR:31.6": "STAT:SET:DEV:H1:HTR:SIG:POWR:31.6uW:VALID",
    "READ:DEV:P1:PRES:SIG:PRES": "STAT:DEV:P1:PRES:SIG:PRES:0.2mB",
    "READ:DEV:P2:PRES:SIG:PRES": "STAT:DEV:P2:PRES:SIG:PRES:1.5B",
    "READ:DEV:V1:VALV:SIG:STATE": "STAT:DEV:V1:VALV:SIG:STATE:CLOSE",
    "READ:DEV:TURB1:PUMP:SIG:SPD": "STAT:DEV:TURB1:PUMP:SIG:SPD:820Hz",
    "SET:DEV:T5:TEMP:LOOP:TSET:0.7": "STAT:SET:DEV:T5:TEMP:LOOP:TSET:0.7:INVALID",
    "READ:DEV:V9:VALV:SIG:STATE": "STAT:DEV:V9:NOT_FOUND",
}


class Player:
    """Answers as HELD; what stands in `before` is said in place of the next answers."""

    def __init__(self):
        self.before = []
        self.held = dict(HELD)

    def __call__(self, line):
        line = line.removesuffix("\r")
        lost = line.replace("READ:", "STAT:", 1) + ":NOT_FOUND"
        answer = self.before.pop(0) if self.before else self.held.get(line, lost)
        return f"{answer}\r\n".encode()


@pytest.fixture
def player():
    return Player()


@pytest.fixture
def server(player):
    with contextlib.closing(LineServer(player)) as server:
        yield server


@pytest.fixture
def triton(server):
    with contextlib.closing(Triton(server.tcp, stages={"4k": "T1"})) as triton:
        yield triton


def named(triton, name):
    (bound,) = [b for b in triton.parameters() if b.name == name]
    return bound


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature.mxc", 0.0123),
        ("temperature.4k", 0.0123),
        ("control.setpoint", 0.1),
        ("control.pid", {"proportional": 5.0, "integral": 2.0, "derivative": 0.0}),
        ("control.range", 0.00316),
        ("heater.mxc", 31.6e-6),
        ("pressure.p1", 0.2),
        ("pressure.p2", 1500.0),
        ("valve.v1", False),
        ("pump.turb1.speed", 820.0),
    ],
)
def test_values_are_read_with_their_prefixes(triton, name, value):
    assert named(triton, name).read() == pytest.approx(value)


@pytest.mark.parametrize(
    ("name", "value", "held", "told"),
    [
        ("control.setpoint", 0.1, 0.1, "SET:DEV:T5:TEMP:LOOP:TSET:0.1"),
        ("heater.mxc", 31.6e-6, 31.6e-6, "SET:DEV:H1:HTR:SIG:POWR:31.6"),
        ("control.range", 0.00316, 0.00316, "SET:DEV:T5:TEMP:LOOP:RANGE:3.16"),
        ("control.pid", {"integral": 2}, {"proportional": 5.0, "integral": 2.0, "derivative": 0.0},
         "SET:DEV:T5:TEMP:LOOP:P:5:I:2:D:0"),
    ],
)  # fmt: skip
def test_what_is_set_is_read_back(triton, server, name, value, held, told):
    assert named(triton, name).write(value) == pytest.approx(held)
    assert f"{told}\r" in server.heard


def test_what_it_does_not_have_is_absent_and_asked_for_once(triton, server):
    readings = list(triton.readings(lambda: 0))
    list(triton.readings(lambda: 0))
    seen = view(readings, now_ns=0, good_for_s=1.0)
    assert set(seen.temperature) == {"mxc", "4k", "t5"}
    assert "v9" not in seen.valve
    assert server.heard.count("READ:DEV:T13:TEMP:SIG:TEMP\r") == 1
    with pytest.raises(AbsentError, match="has no DEV:T13:TEMP:SIG:TEMP: NOT_FOUND"):
        named(triton, "temperature.t13").read()


def test_a_reply_to_the_previous_command_is_never_taken(triton, player, server):
    assert named(triton, "temperature.4k").read() == pytest.approx(0.0123)
    player.before = [HELD["READ:DEV:P1:PRES:SIG:PRES"]] * 3
    assert named(triton, "pump.turb1.speed").read() == 820.0
    connections = server.connections
    assert named(triton, "pressure.p1").read() == pytest.approx(0.2)
    assert server.connections == connections + 1  # what may still be on its way is left behind


def test_a_reply_to_the_previous_command_does_not_hide_what_was_set(triton, player):
    setpoint = named(triton, "control.setpoint")
    setpoint.read()
    player.before = [HELD["READ:SYS:DR:CHAN:MC"], HELD["READ:DEV:P1:PRES:SIG:PRES"]]
    assert setpoint.write(0.1) == 0.1


def test_replies_that_never_fit_are_an_error(triton, player):
    named(triton, "temperature.4k").read()
    player.before = [HELD["READ:DEV:P1:PRES:SIG:PRES"]] * 100
    with pytest.raises((ReplyError, WrongInstrumentError)):
        named(triton, "pump.turb1.speed").read()


def test_what_the_instrument_refuses_is_said(triton):
    with pytest.raises(OutOfRangeError, match=r"refused SET:DEV:T5:TEMP:LOOP:TSET:0.7 with"):
        named(triton, "control.setpoint").write(0.7)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("control.setpoint", 51, "51 K is outside 0 to 50 K"),
        ("control.range", 0.002, "expected one of 0, 3.16e-05"),
        ("heater.mxc", -1e-6, "outside 0 to 0.3 W"),
        ("control.closed_loop", 1, "expected true or false, found 1"),
    ],
)
def test_what_is_out_of_range_is_refused_before_a_byte_is_sent(
    triton, server, name, value, sentence
):
    with pytest.raises(OutOfRangeError, match=sentence):
        named(triton, name).write(value)
    assert not any(line.startswith("SET") for line in server.heard)


def test_valves_cannot_be_written(triton):
    with pytest.raises(UsageError, match=r"valve.v1 cannot be written"):
        named(triton, "valve.v1").write(True)


def test_another_instrument_is_named(server, player):
    player.held["*IDN?"] = "Oxford Instruments, oi:DECS, decs-442a7b, 0.6.0.2338"
    wrong = contextlib.closing(Triton(server.tcp))
    with wrong as triton, pytest.raises(WrongInstrumentError, match=r"IDN:OXFORD.*oi:DECS"):
        named(triton, "pressure.p1").read()


def test_a_role_that_is_not_given_has_no_temperature(triton, player):
    player.held["READ:SYS:DR:CHAN:MC"] = "STAT:SYS:DR:CHAN:MC:NONE"
    with pytest.raises(AbsentError, match="no thermometer as MC, found 'NONE'"):
        named(triton, "temperature.mxc").read()


@pytest.mark.parametrize("text", ["12", "12xK", "mK", "1.2.3K", "1e9999K", "12mk"])
def test_a_number_without_its_unit_is_no_number(text):
    with pytest.raises(ReplyError, match="expected"):
        KELVIN.parse(text)


def test_a_number_that_is_none_is_a_gap():
    with pytest.raises(NoValueError):
        KELVIN.parse("nanK")


def test_prefixes_are_si():
    watt = Prefixed("W", "W")
    assert watt.parse("2uW") == pytest.approx(2e-6)
    assert watt.parse("2nW") == pytest.approx(2e-9)
    assert watt.parse("-2 W") == -2.0


def test_a_stage_that_is_no_thermometer_is_refused():
    with pytest.raises(OutOfRangeError, match="expected thermometers such as T5"):
        Triton("TCPIP::127.0.0.1::1::SOCKET", stages={"mxc": "T5:TEMP"})
