"""Parameters, channels and instruments, and the two instruments there are drivers for."""

from __future__ import annotations

import dataclasses
from importlib.metadata import EntryPoint

import pytest

from daq.datatypes import Integer, Number
from daq.errors import (
    NoReplyError,
    NotConnectedError,
    OutOfRangeError,
    ReplyError,
    UsageError,
    WrongInstrumentError,
)
from drivers import catalogue
from drivers.digitizer.stream import StreamDigitizer
from drivers.instrument import Channel, Channels, Instrument
from drivers.parameter import NoValueError, Parameter, action
from drivers.squid.magnicon import LoopMode, Magnicon, checked, checksum, framed
from drivers.temperature.lakeshore372 import Fault, HeaterRange, Lakeshore372
from drivers.transport import Line, SerialPort
from tests.line_server import Deed, LineServer

SERIAL = SerialPort(baud=9600, data_bits=8, parity="none")


class Part(Channel):
    label = "part"

    size = Parameter("SIZE? {ch}", Integer(0, 9), "How big.", "SIZE {ch},{value}")
    hidden = Parameter(None, Integer(0, 9), "What cannot be asked.", "HIDE {ch},{value}")


class Thing(Instrument):
    identity = r"THING,"
    line = Line(send_end="\n", reply_end="\n", timeout_s=2.0, serial=SERIAL)
    settle_s = 0.1

    parts = Channels(Part, (1, 2, 3))
    heat = Parameter("HEAT?", Number(0, 2, "K"), "How hot.", "HEAT {value}")
    age = Parameter("AGE?", Number(unit="s"), "How old.", slow=True)

    @action("Forget everything.")
    def forget(self) -> None:
        self.tell("FORGET")


class Device:
    """A device of the tests: what it holds, by question; `deeds` come first, one per question."""

    def __init__(self, identity: str = "THING,1", **held: str) -> None:
        self.held, self.deeds = {"*IDN?": identity, **held}, {}

    def __call__(self, line: str) -> bytes | Deed:
        waiting = self.deeds.get(line)
        if waiting:
            return waiting.pop(0)
        command, _, value = line.partition(" ")
        if not line.endswith("?") and "?" not in command:
            self.held[f"{command}?"] = value
            return Deed.SILENCE
        return f"{self.held[line]}\n".encode() if line in self.held else Deed.SILENCE


@pytest.fixture
def serve(request):
    """Starts a server for a device, and closes it at the end."""

    def start(answer, **options):
        server = LineServer(answer, **options)
        request.addfinalizer(server.close)
        return server

    return start


@pytest.fixture
def connect(request):
    """Makes instruments that do not wait, and closes them at the end."""

    def made(kind, resource, **options):
        instrument = kind(resource, **{"sleep": lambda _: None, **options})
        request.addfinalizer(instrument.close)
        return instrument

    return made


@pytest.fixture
def device():
    return Device(**{"HEAT?": "0.5", "AGE?": "3", "SIZE? 1": "4"})


@pytest.fixture
def server(serve, device):
    return serve(device)


@pytest.fixture
def thing(connect, server):
    return connect(Thing, server.tcp)


def quick(kind: type[Instrument]) -> type[Instrument]:
    """The same instrument, with less patience."""
    line = dataclasses.replace(kind.line, timeout_s=0.1, drain_s=0.0)
    return type(kind.__name__, (kind,), {"line": line})


# --- parameters ------------------------------------------------------------------------------


def test_reading_asks_the_instrument(thing):
    assert thing.heat.read() == 0.5
    assert thing.parts[1].size.read() == 4


def test_writing_tells_settles_asks_and_returns_what_is_held_then(connect, server, device):
    slept = []
    thing = connect(Thing, server.tcp, sleep=slept.append)
    device.deeds["HEAT?"] = [b"0.999\n"]  # what the instrument made of it
    assert thing.heat.write(1.0) == 0.999
    assert server.heard == ["*IDN?", "HEAT 1", "HEAT?"]
    assert slept == [0.1]


def test_what_is_not_allowed_is_never_told(thing, server):
    with pytest.raises(OutOfRangeError, match="300 K is outside 0 to 2 K"):
        thing.heat.write(300)
    assert server.heard == []


def test_what_is_only_read_cannot_be_written(thing):
    with pytest.raises(UsageError, match="age cannot be written: it is only read"):
        thing.age.write(1)


def test_what_cannot_be_asked_is_a_shadow_of_what_was_written(thing):
    assert thing.parts[2].hidden.write(7) == 7
    assert thing.parts[2].hidden.read() == 7
    assert thing.parts[2].hidden.source == "shadow"
    assert thing.heat.source == "read"


def test_a_shadow_is_unknown_before_the_first_write_and_after_a_lost_line(thing):
    with pytest.raises(NoValueError, match=r"part 2.hidden is unknown: it cannot be read and was"):
        thing.parts[2].hidden.read()
    thing.parts[2].hidden.write(7)
    thing.close()
    thing.heat.read()
    with pytest.raises(NoValueError):
        thing.parts[2].hidden.read()


def test_an_action_is_done(thing, server):
    thing.forget()
    thing.heat.read()
    assert server.heard == ["*IDN?", "FORGET", "HEAT?"]


def test_the_walk_finds_every_parameter_and_action(thing):
    names = [bound.name for bound in thing.parameters()]
    parts = [f"part {n}.{name}" for n in (1, 2, 3) for name in ("size", "hidden")]
    assert names == ["heat", "age", *parts]
    assert [each.name for each in thing.actions()] == ["forget"]


def test_only_the_channels_of_the_config_are_there(connect):
    thing = connect(Thing, "TCPIP::127.0.0.1::1::SOCKET", channels=[3])
    assert list(thing.parts) == [3]


def test_a_channel_that_the_instrument_has_not_is_refused():
    with pytest.raises(OutOfRangeError, match=r"channels among \[1, 2, 3\], found \[4\]"):
        Thing("TCPIP::127.0.0.1::1::SOCKET", channels=[4])


def test_readings_have_value_unit_source_and_time(thing):
    (reading,) = thing.heat.as_readings(0.5, 77)
    assert (reading.name, reading.value, reading.unit) == ("heat", 0.5, "K")
    assert (reading.source, reading.t_ns) == ("read", 77)


# --- the line, as an instrument uses it -------------------------------------------------------


def test_another_instrument_at_the_address_is_named(connect, serve):
    thing = connect(Thing, serve(Device("OTHER,5")).tcp)
    with pytest.raises(WrongInstrumentError, match=r"expected Thing \(THING,\) .* found 'OTHER,5'"):
        thing.heat.read()


def test_a_question_that_failed_is_asked_again_on_a_new_line(thing, server, device):
    device.deeds["HEAT?"] = [Deed.CLOSE]
    assert thing.heat.read() == 0.5
    assert server.heard == ["*IDN?", "HEAT?", "*IDN?", "HEAT?"]
    assert server.connections == 2


def test_a_reply_without_a_value_is_asked_for_again_then_named(thing, server, device):
    device.deeds["HEAT?"] = [b"garbage\n"]
    assert thing.heat.read() == 0.5
    device.deeds["HEAT?"] = [b"garbage\n", b"rubbish\n"]
    with pytest.raises(ReplyError, match="expected a number of K, found 'rubbish'"):
        thing.heat.read()
    assert server.connections == 3


def test_a_command_is_never_told_twice(connect, serve):
    device = Device("LSCI,MODEL372,SIM,1.3", **{"SETP? 0": "0.01"})
    device.deeds["SETP 0,0.02;*ESR?"] = [Deed.CLOSE]
    server = serve(device, end=b"\n")
    device.held["*IDN?"] += "\r"
    lakeshore = connect(Lakeshore372, server.tcp)
    with pytest.raises(NotConnectedError):
        lakeshore.setpoint.write(0.02)
    assert [line for line in server.heard if line.startswith("SETP 0")] == ["SETP 0,0.02;*ESR?"]


def test_a_question_nobody_answers_does_not_keep_the_others_from_being_asked(
    connect, serve, device
):
    del device.held["AGE?"]
    thing = connect(quick(Thing), serve(device).tcp)
    with pytest.raises(NoReplyError):
        thing.age.read()
    assert thing.heat.read() == 0.5


def test_an_instrument_that_is_away_is_not_tried_at_every_question(connect, serve, device):
    now = [0.0]
    server = serve(lambda _: Deed.CLOSE)
    thing = connect(Thing, server.tcp, clock=lambda: now[0])
    for _ in range(5):
        with pytest.raises(NotConnectedError):
            thing.heat.read()
    assert server.connections == 1
    with pytest.raises(NotConnectedError, match=r"lost .*'\*IDN\?': .*; next attempt in 0.5 s"):
        thing.heat.read()
    now[0] = 0.6
    server.answer = device
    assert thing.heat.read() == 0.5


# --- Lake Shore 372 ---------------------------------------------------------------------------

# literal replies that others' tests and drivers hold
LAKESHORE = {
    "*IDN?": "LSCI,MODEL372,LSA23JD,1.3",
    "KRDG? 1": "+293.873E+00",
    "KRDG? 2": "+000.000E+00",
    "SRDG? 1": "+108.278E+00",
    "RDGST? 1": "017",
    "SCAN?": "01,1",
    "RANGE? 0": "0",
    "HTR?": "+00.0005E+00",
    "STILL?": "+10.60",
    "INSET? 1": "1,007,003,21,1",
    "INTYPE? 1": "0,07,1,10,0,1",
    "OUTMODE? 0": "2,6,1,0,0,001",
    "SETP? 0": "+012.000E-03",
}


class Lakeshore:
    """Answers as above; a command with its *ESR? changes what is held, or is refused."""

    def __init__(self) -> None:
        self.held = dict(LAKESHORE)
        self.status = "0"

    def __call__(self, line: str) -> bytes | Deed:
        if line in self.held:
            return f"{self.held[line]}\r\n".encode()
        command, _, status = line.partition(";")
        if status != "*ESR?":
            return Deed.SILENCE
        verb, _, rest = command.partition(" ")
        number, _, value = rest.partition(",")
        if f"{verb}? {number}" in self.held:
            self.held[f"{verb}? {number}"] = value
        else:
            self.held[f"{verb}?"] = rest
        return f"{self.status}\r\n".encode()


@pytest.fixture
def cold():
    return Lakeshore()


@pytest.fixture
def lakeshore(connect, serve, cold):
    return connect(Lakeshore372, serve(cold).tcp)


def test_lakeshore_readings_are_understood(lakeshore):
    first = lakeshore.inputs[1]
    assert first.temperature.read() == 293.873
    assert first.resistance.read() == 108.278
    assert first.faults.read() == Fault.CURRENT_SOURCE_OVERLOAD | Fault.RESISTANCE_OVER
    assert lakeshore.scan.read() == {"input": 1, "auto": True}
    assert lakeshore.heater_range.read() == HeaterRange.OFF
    assert lakeshore.heater_output.read() == 0.0005
    assert lakeshore.still_output.read() == 10.6
    assert lakeshore.setpoint.read() == 0.012
    assert first.scanning.read()["dwell"] == 7
    assert first.measuring.read()["range"] == 10
    assert lakeshore.output.read()["input"] == 6


def test_lakeshore_zero_kelvin_is_no_temperature(lakeshore):
    with pytest.raises(NoValueError, match="no curve, or its resistance is outside of it"):
        lakeshore.inputs[2].temperature.read()


def test_lakeshore_writes_are_read_back(lakeshore, cold):
    assert lakeshore.setpoint.write(0.0125) == 0.0125
    assert lakeshore.heater_range.write("MA_1") == HeaterRange.MA_1
    assert cold.held["RANGE? 0"] == "4"


def test_lakeshore_writing_one_field_keeps_the_others(lakeshore, cold):
    held = lakeshore.inputs[1].scanning.write({"dwell": 10})
    assert held["dwell"] == 10
    assert held["pause"] == 3
    assert cold.held["INSET? 1"] == "1,10,3,21,1"


@pytest.mark.parametrize(("status", "kind"), [("16", "EXECUTION"), ("32", "COMMAND")])
def test_lakeshore_a_refused_command_is_an_error_by_its_kind(lakeshore, cold, status, kind):
    cold.status = status
    with pytest.raises(OutOfRangeError, match=f"refused 'SETP 0,0.02': {kind} error"):
        lakeshore.setpoint.write(0.02)


def test_lakeshore_just_switched_on_is_no_refusal(lakeshore, cold):
    cold.status = "128"
    assert lakeshore.setpoint.write(0.02) == 0.02


def test_lakeshore_a_status_that_is_none_is_a_reply_error(lakeshore, cold):
    cold.status = "+1.0"
    with pytest.raises(ReplyError, match=r"expected the status after 'SETP 0,0.02', found '\+1.0'"):
        lakeshore.setpoint.write(0.02)


# --- Magnicon ---------------------------------------------------------------------------------

# (parameter, value, data in the frame): encodings recomputed by hand from the sources' formulas
ENCODED = [
    ("tes_bias", {"current": 0.0, "range": "UA_500"}, "<01q02000131"),
    ("mode", "OPEN", "<01b005F"),
    ("mode", "LOCKED", "<01b0160"),
    ("phib", 0.0, "<01j0800CF"),
    ("phib", 10.0, "<01j08A4E4"),
    ("phib", -10.0, "<01j075CE6"),
    ("feedback", 10.0, "<01n1C7F"),
]


class Squids:
    """Holds what it is told, by channel and letter, in checked frames."""

    def __init__(self) -> None:
        self.held = {
            "1b": "0", "1q": "20001", "1c": "071C", "1f": "000", "1j": "800", "1n": "C",
            "1w": "000100020003000400050006", "1P": "10C0010ABC01", "1r": "800", "1T": "XXF-1",
            "3q": "20000", "3a": "0180",
        }  # fmt: skip
        self.acknowledgment = "|0"

    def __call__(self, line: str) -> bytes | Deed:
        text = checked(line)
        key, op, value = text[2:4], text[4], text[5:]
        if op in "89":
            return f"{framed('>' + self.held[key])}\r".encode()
        self.held[key] = value
        return f"{framed(self.acknowledgment)}\r".encode()


@pytest.fixture
def squids():
    return Squids()


@pytest.fixture
def frames(serve, squids):
    return serve(squids, end=b"\r")


@pytest.fixture
def magnicon(connect, frames):
    return connect(Magnicon, frames.tcp)  # a serial line takes 0.3 s to close


@pytest.mark.parametrize(
    ("text", "sum_"),
    [("<01b8", "37"), ("<01q8", "46"), ("|0", "AC"), (">0", "6E"), (">1", "6F"), ("<03q8", "48")],
)
def test_magnicon_checksums_are_those_of_the_literal_frames(text, sum_):
    assert checksum(text) == sum_


@pytest.mark.parametrize("reply", [">06F", ">0", "", "6E", ">06e"])
def test_magnicon_a_wrong_checksum_is_refused(reply):
    with pytest.raises(ReplyError, match="expected the checksum"):
        checked(reply)


@pytest.mark.parametrize(("name", "value", "frame"), ENCODED)
def test_magnicon_frames_are_the_literal_ones(magnicon, frames, name, value, frame):
    getattr(magnicon.squids[1], name).write(value)
    assert frame in frames.heard


def test_magnicon_speaks_over_a_serial_line(connect, frames):
    assert connect(Magnicon, frames.serial).squids[1].mode.write("LOCKED") is LoopMode.LOCKED


def test_magnicon_readings_are_understood(magnicon):
    squid = magnicon.squids[1]
    assert squid.mode.read() is LoopMode.OPEN
    assert squid.ib.read() == pytest.approx(20.0, abs=0.006)
    assert squid.phib.read() == 0.0
    assert squid.feedback.read() == 10.0
    assert squid.overloads.read()["compensation_down"] == 6
    assert squid.information.read() == "XXF-1"
    assert magnicon.boxes[3].coil_connected.read() is False


@pytest.mark.parametrize(
    ("current", "chosen", "code"),
    [(125.0, "UA_125", "3FE70"), (-125.0, "UA_125", "00190"), (500.0, "UA_500", "3FE31"),
     (-500.0, "UA_500", "001D1"), (10.0, "UA_125", "228D0")],
)  # fmt: skip
def test_magnicon_bias_is_written_as_the_sources_write_it(magnicon, squids, current, chosen, code):
    held = magnicon.squids[1].tes_bias.write({"current": current, "range": chosen})
    assert squids.held["1q"] == code
    assert held["current"] == pytest.approx(current, abs=0.031)


def test_magnicon_changing_the_range_keeps_the_current(magnicon):
    bias = magnicon.squids[1].tes_bias
    bias.write({"current": 100.0, "range": "UA_500"})
    held = bias.write({"range": "UA_125"})
    assert held["current"] == pytest.approx(100.0, abs=0.04)


def test_magnicon_a_current_alone_stays_in_its_range(magnicon, squids):
    bias = magnicon.squids[1].tes_bias
    assert bias.write(50)["range"].name == "UA_500"
    bias.write({"current": 50, "range": "UA_125"})
    with pytest.raises(OutOfRangeError, match="current: 200 uA is outside -125 to 125 uA"):
        bias.write(200)
    assert squids.held["1q"].endswith("0")


def test_magnicon_a_range_too_small_for_the_current_is_refused(magnicon):
    bias = magnicon.squids[1].tes_bias
    bias.write({"current": 300, "range": "UA_500"})
    with pytest.raises(OutOfRangeError, match="is outside -125 to 125 uA"):
        bias.write({"range": "UA_125"})


def test_magnicon_the_pulse_block_keeps_what_is_not_understood(magnicon, squids):
    pulse = magnicon.squids[1].pulse
    held = pulse.write({"width": 200, "on": True})
    assert held["width"] == pytest.approx(200, rel=0.03)
    assert squids.held["1P"] == "2" + f"{round(200 * 255 / (20000 / 9) + 2):02X}" + "0010ABC01"
    assert pulse.write({"interval": 100.0})["interval"] == pytest.approx(100, abs=0.05)
    assert pulse.write({"single": True, "on": False}) | {"width": 0, "interval": 0} == {
        "width": 0, "interval": 0, "single": True, "on": False,
    }  # fmt: skip
    assert squids.held["1P"][7:10] == "ABC"


def test_magnicon_a_switch_leaves_the_others_alone(magnicon, squids):
    assert magnicon.boxes[3].coil_connected.write(True) is True
    assert squids.held["3a"] == "0080"
    assert magnicon.boxes[3].coil_connected.write(False) is False
    assert squids.held["3a"] == "0180"


@pytest.mark.parametrize(
    ("milliamperes", "frame"),
    [(0, "<03q02000032"), (1, "<03q0214803F"), (10, "<03q02CCC06B")],
)
def test_magnicon_coil_currents_are_the_literal_frames(magnicon, frames, milliamperes, frame):
    magnicon.boxes[3].coil.write(milliamperes)
    assert frame in frames.heard


def test_magnicon_auto_reset_off_is_the_literal_frame_and_a_shadow(magnicon, frames):
    off = {"mode": "OFF", "overload": 0.08, "reset": 0.08, "compensation": 0.08}
    held = magnicon.squids[1].auto_reset.write({**off, "compensation_step": 1})
    assert framed("<01w70010101001") in frames.heard
    assert held["overload"] == 0.08
    assert magnicon.squids[1].auto_reset.source == "shadow"


def test_magnicon_resetting_the_loop_opens_and_closes_it(magnicon, frames):
    magnicon.squids[1].reset_loop()
    told = [line for line in frames.heard if line.startswith("<01b0")]
    assert told == ["<01b005F", "<01b0160"]


def test_magnicon_clearing_the_counters_is_the_literal_frame(magnicon, frames):
    magnicon.squids[1].clear_overloads()
    assert "<01w145" in frames.heard


def test_magnicon_what_is_not_acknowledged_is_an_error(magnicon, squids):
    squids.acknowledgment = "|1"
    with pytest.raises(ReplyError, match=r"expected the acknowledgment \|0 .* found '\|1'"):
        magnicon.squids[1].phib.write(1.0)


def test_magnicon_a_resistor_there_is_not_is_refused(magnicon):
    with pytest.raises(OutOfRangeError, match=r"expected one of 0, 0.7, .* kohm, found 5"):
        magnicon.squids[1].feedback.write(5)


@pytest.mark.parametrize(
    ("name", "reply", "message"),
    [
        ("ib", ">71C", "expected 4 upper-case hex digits, found '71C'"),
        ("ib", ">071c", "expected 4 upper-case hex digits"),
        ("tes_bias", ">20007", "expected one of the codes 0, 1, found '7'"),
        ("overloads", ">0001", "expected 24 characters, found '0001'"),
        ("pulse", ">30C0010ABC01", "expected 12 characters that begin with 1 or 2"),
        ("mode", "0", "expected a reply that begins with >, found '0'"),
    ],
)
def test_magnicon_a_reply_against_the_manual_is_refused(connect, serve, name, reply, message):
    identity = framed("<01b8")
    server = serve(
        lambda line: (
            framed(">0" if line == identity and name != "mode" else reply).encode() + b"\r"
        ),
        end=b"\r",
    )
    magnicon = connect(quick(Magnicon), server.tcp)
    with pytest.raises(ReplyError, match=message):
        getattr(magnicon.squids[1], name).read()


# --- the catalogue ----------------------------------------------------------------------------


def test_a_model_stands_for_its_driver():
    assert catalogue.instrument("lakeshore372") is Lakeshore372
    assert catalogue.instrument("magnicon-xxf1") is Magnicon
    assert catalogue.digitizer("scheelite-stream") is StreamDigitizer


def test_an_unknown_model_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"lakeshore372, .*magnicon-xxf1, .*, found 'lakeshore'"):
        catalogue.instrument("lakeshore")


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UsageError, match="expected the model of a digitizer, found 'lakeshore372'"):
        catalogue.digitizer("lakeshore372")
    with pytest.raises(UsageError, match="expected the model of an instrument"):
        catalogue.instrument("scheelite-stream")


def test_a_package_adds_models_and_replaces_none_of_ours():
    added = [
        EntryPoint("thing", f"{__name__}:Thing", catalogue.GROUP),
        EntryPoint("lakeshore372", f"{__name__}:Thing", catalogue.GROUP),
    ]
    assert catalogue.instrument("thing", added).__name__ == "Thing"
    assert catalogue.instrument("lakeshore372", added) is Lakeshore372


@pytest.mark.parametrize(
    ("value", "message"),
    [("no.such:Thing", "cannot be loaded"), (f"{__name__}:SERIAL", "expected a class for 'bad'")],
)
def test_a_driver_that_cannot_be_loaded_is_refused(value, message):
    with pytest.raises(UsageError, match=message):
        catalogue.instrument("bad", [EntryPoint("bad", value, catalogue.GROUP)])
