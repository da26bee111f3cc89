"""Leiden and Janis: the one-shot bridge, the gas handling, and bridges composed into fridges."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from daq.errors import (
    InstrumentError,
    NoReplyError,
    NotConnectedError,
    OutOfRangeError,
    ReplyError,
    UsageError,
    WrongInstrumentError,
)
from drivers.fridge.composed import Janis, LeidenAvs
from drivers.fridge.fridge import view
from drivers.fridge.leiden import BridgeWire, GasState, LeidenBridge, LeidenGhs
from drivers.parameter import NoValueError
from tests.line_server import Deed, LineServer

FAILED = "error executing command, see server log"


class OneShot:
    """The community's bridge: one command per connection, an answer without an end, closed."""

    def __init__(self):
        self.answers = {"all_temperatures": "47000.0,700.5,12.3", "pressure1": "0.25"}
        self.heard, self.pieces, self.hang = [], 1, threading.Event()
        self.hang.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.resource = f"TCPIP::127.0.0.1::{self._listener.getsockname()[1]}::SOCKET"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self.hang.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _serve(self):
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                command = connection.recv(4096).decode().rstrip().lower()
                self.heard.append(command)
                answer = self.answers.get(command, FAILED).encode()
                half = len(answer) // self.pieces
                connection.sendall(answer[:half])
                self.hang.wait(5)
                connection.sendall(answer[half:])


@pytest.fixture
def server():
    with contextlib.closing(OneShot()) as server:
        yield server


@pytest.fixture
def bridge(server):
    with contextlib.closing(LeidenBridge(server.resource)) as bridge:
        yield bridge


def named(fridge, name):
    (bound,) = [b for b in fridge.parameters() if b.name == name]
    return bound


def test_the_bridge_is_asked_over_a_connection_for_each_question(bridge, server):
    seen = view(bridge.readings(lambda: 0), now_ns=0, good_for_s=1.0)
    assert seen.temperature["mxc"].value == pytest.approx(0.0123)
    assert seen.temperature["still"].value == pytest.approx(0.7005)
    assert (seen.pressure["p1"].value, seen.pressure["p1"].unit) == (0.25, "")
    assert list(seen.pressure) == ["p1"]
    assert "stop" not in server.heard


def test_an_answer_in_pieces_is_one_answer(bridge, server):
    server.pieces = 2
    assert named(bridge, "temperature.mxc").read() == pytest.approx(0.0123)


def test_what_the_bridge_cannot_do_is_told(bridge, server):
    server.answers["all_temperatures"] = FAILED
    with pytest.raises(InstrumentError, match="could not do 'all_temperatures': error executing"):
        named(bridge, "temperature.mxc").read()


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        ("47000.0,700.5", ReplyError, "expected at least 3 numbers, found 2 in '47000.0,700.5'"),
        ("47000.0,700.5,nan", NoValueError, "no number for it now"),
        ("47000.0,700.5,None", NoValueError, "no number for it now"),
        ("", (ReplyError, WrongInstrumentError), "expected a line of ASCII from"),
        ("1,2,3e", ReplyError, "expected a number, found '3e'"),
    ],
)
def test_answers_without_a_value_are_none(bridge, server, answer, kind, sentence):
    server.answers["all_temperatures"] = answer
    with pytest.raises(kind, match=sentence):
        named(bridge, "temperature.mxc").read()


def test_another_server_is_no_bridge(bridge, server):
    server.answers["all_temperatures"] = "LSCI,MODEL372"
    with pytest.raises(
        WrongInstrumentError, match=r"expected LeidenBridge .* found 'LSCI,MODEL372'"
    ):
        named(bridge, "temperature.mxc").read()


def test_a_bridge_that_hangs_is_no_answer(server):
    server.pieces = 2
    server.hang.clear()
    with pytest.raises(NoReplyError, match=r"within 0.2 s, found no end of it"):
        BridgeWire(server.resource, timeout_s=0.2).ask("all_temperatures")


def test_a_bridge_that_is_not_there_is_not_connected(server):
    resource = server.resource
    server._listener.shutdown(socket.SHUT_RDWR)
    server._thread.join(5)
    server._listener.close()
    with pytest.raises(
        NotConnectedError, match=r"cannot reach TCPIP::127.0.0.1::.*: Connection ref"
    ):
        BridgeWire(resource).ask("all_temperatures")
    server._listener = socket.create_server(("127.0.0.1", 0))


def test_the_bridge_is_never_told_anything(server, bridge):
    with pytest.raises(UsageError, match="the bridge is only asked"):
        BridgeWire(server.resource).tell("stop")
    with pytest.raises(UsageError, match="cannot be written"):
        named(bridge, "temperature.mxc").write(1)
    with pytest.raises(OutOfRangeError, match="stage mxc: expected a whole number, found 'MC'"):
        LeidenBridge(server.resource, stages={"mxc": "MC"})


# --- the gas handling ----------------------------------------------------------------------------

LIGHTS = ["1"] * 64
LIGHTS[31 - 1] = LIGHTS[12 - 1] = LIGHTS[1 - 1] = "2"  # valves 1 and 9, the compressor
GHS = {
    "ID?": "0\tGHS-2T-1T-700",
    "STATUS?": "0\t4",
    "LEDS?": "0\t" + ",".join(LIGHTS),
    "ADC?": "0\t1,2,3,4,5,6,7,24300",
    "SETTINGS?": "0\t200,600,201,601",
}


@pytest.fixture
def ghs_answers():
    return dict(GHS)


@pytest.fixture
def ghs(ghs_answers):
    def answer(line):
        return f"{ghs_answers[line]}\n".encode() if line in ghs_answers else Deed.SILENCE

    with (
        contextlib.closing(LineServer(answer)) as server,
        contextlib.closing(LeidenGhs(server.serial)) as ghs,
    ):
        ghs.server = server
        yield ghs


def test_the_gas_handling_is_a_fridge(ghs):
    seen = view(ghs.readings(lambda: 0), now_ns=0, good_for_s=1.0)
    assert {name for name, q in seen.valve.items() if q.value} == {"v1", "v9"}
    assert len(seen.valve) == 18 + 11
    assert seen.pump["compressor"].value is True
    assert (seen.pressure["p7"].value, seen.pressure["p7"].unit) == (7.0, "counts")
    assert seen.flow["circulation"].value == 24300.0
    assert seen.status["state"].value == "NORMAL"
    assert seen.status["limits.p7_high"].value == 601
    assert dict(seen.temperature) == {}


def test_one_answer_serves_for_all_lights(ghs):
    list(ghs.readings(lambda: 0))
    assert ghs.server.heard.count("LEDS?") == 1
    assert not any(line.startswith("DEVMAN") for line in ghs.server.heard)


@pytest.mark.parametrize(
    ("reply", "kind", "sentence"),
    [
        ("1\t", InstrumentError, "refused 'STATUS.': it does not know the command"),
        ("4\t", InstrumentError, "refused 'STATUS.': it does not accept it now"),
        ("4", InstrumentError, "it does not accept it now"),
        ("0 4", ReplyError, "expected 0, a tab and data after 'STATUS.', found '0 4'"),
        ("0\t9", ReplyError, "expected one of the codes 1, 2, 3, 4, 5, found '9'"),
    ],
)
def test_what_the_gas_handling_refuses_is_told(ghs, ghs_answers, reply, kind, sentence):
    ghs_answers["STATUS?"] = reply
    with pytest.raises(kind, match=sentence):
        named(ghs, "status.state").read()


def test_too_few_lights_are_refused(ghs, ghs_answers):
    ghs_answers["LEDS?"] = "0\t1,2"
    with pytest.raises(ReplyError, match="expected 64 lights, found 2"):
        named(ghs, "valve.v1").read()


def test_the_state_has_a_name(ghs):
    assert named(ghs, "status.state").read() is GasState.NORMAL


# --- bridges composed ----------------------------------------------------------------------------


class LakeShore:
    """A 372 as far as these tests ask: temperatures, a setpoint, and *ESR?."""

    def __init__(self):
        self.held = {
            "*IDN?": "LSCI,MODEL372,1234567/1234567,1.3",
            "KRDG? 5": "+700.500E-03",
            "KRDG? 6": "+12.3000E-03",
            "RDGST? 6": "016",
            "SRDG? 6": "+21.9980E+03",
            "SETP? 0": "+0.020000",
        }

    def __call__(self, line):
        command, _, status = line.partition(";")
        if status:
            name, _, rest = command.partition(" ")
            self.held[f"{name}? 0"] = rest.partition(",")[2]
            return b"000\r\n"
        return f"{self.held[line]}\r\n".encode() if line in self.held else Deed.SILENCE


@pytest.fixture
def janis():
    with (
        contextlib.closing(LineServer(LakeShore())) as server,
        contextlib.closing(Janis(server.tcp, stages={"still": 5, "mxc": 6})) as janis,
    ):
        yield janis


def test_a_janis_is_its_lake_shore_with_stages(janis):
    assert named(janis, "temperature.mxc").read() == pytest.approx(0.0123)
    assert named(janis, "temperature.still").read() == pytest.approx(0.7005)
    (alarm,) = named(janis, "alarm.mxc").as_readings(named(janis, "alarm.mxc").read(), 0)
    assert (alarm.name, alarm.value) == ("alarm.mxc", "RESISTANCE_OVER")
    (held,) = named(janis, "temperature.mxc").as_readings(0.0123, 0)
    assert (held.name, held.unit) == ("temperature.mxc", "K")


def test_what_is_written_to_a_janis_is_held_by_its_lake_shore(janis):
    assert named(janis, "control.setpoint").write(0.015) == 0.015
    with pytest.raises(OutOfRangeError, match="3 K is outside 0 to 2 K"):
        named(janis, "control.setpoint").write(3)


def test_every_parameter_of_the_bridge_is_there_once(janis):
    names = [bound.name for bound in janis.parameters()]
    assert len(names) == len(set(names))
    assert {"temperature.still", "temperature.mxc", "heater.still", "input 6.scanning"} <= set(
        names
    )


@pytest.mark.parametrize("model", Janis.bridges)
def test_a_janis_has_any_of_the_lake_shores(model):
    janis = Janis("TCPIP::127.0.0.1::1::SOCKET", bridge=model, stages={"mxc": 1})
    names = [bound.name for bound in janis.parameters()]
    assert names.count("temperature.mxc") == 1
    assert len(names) == len(set(names))


def test_a_bridge_of_another_kind_is_refused():
    with pytest.raises(UsageError, match=r"expected one of the bridges lakeshore372, .*'avs47b'"):
        Janis("TCPIP::127.0.0.1::1::SOCKET", bridge="avs47b")
    with pytest.raises(OutOfRangeError, match="expected the number or letter of an input"):
        Janis("TCPIP::127.0.0.1::1::SOCKET", stages={"mxc": "T5"})
    with pytest.raises(OutOfRangeError, match="expected channels among"):
        Janis("TCPIP::127.0.0.1::1::SOCKET", stages={"mxc": 17})


def test_an_avs_gives_the_resistance_of_the_sensor_that_it_measures():
    fridge = LeidenAvs("TCPIP::127.0.0.1::1::SOCKET", stages={"still": 1, "mxc": 2})
    asked = {"MUX?": 2, "AVE?": 1234.5}
    fridge.bridge.ask = lambda text, _: asked[text]
    assert named(fridge, "resistance.mxc").read() == 1234.5
    with pytest.raises(
        NoValueError, match=r"resistance.still is of sensor 1: the bridge measures 2"
    ):
        named(fridge, "resistance.still").read()
    assert not any(bound.name.startswith("temperature") for bound in fridge.parameters())
