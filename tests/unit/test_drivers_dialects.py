"""Drivers of instruments that speak lines of text, against the literals of their manuals."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.errors import InstrumentError, OutOfRangeError, ReplyError, WrongInstrumentError
from drivers import catalogue
from drivers.instrument import Instrument
from drivers.parameter import NoValueError, to_plain
from drivers.source.keysight33500b import CoercedError, Keysight33500b, Shape
from drivers.squid.starcryo import StarCryo
from drivers.temperature import lakeshore336, lakeshore372
from drivers.temperature.avs47b import Avs47b, Excitation, Range
from drivers.temperature.lakeshore336 import HeaterFault, Lakeshore336, Lakeshore350
from drivers.temperature.lakeshore370 import ControlMode, Lakeshore370
from drivers.temperature.lakeshore372 import HeaterRange
from tests.line_server import Deed, LineServer

RESOURCE = "TCPIP::127.0.0.1::1::SOCKET"


@pytest.fixture
def connect(request):
    """Starts a server for a device and makes the instrument on it, which never waits."""

    def made(kind: type[Instrument], answer: Callable[[str], bytes | Deed], end: bytes = b"\n"):
        server = LineServer(answer, end=end)
        instrument = kind(server.tcp, sleep=lambda _: None)
        request.addfinalizer(server.close)
        request.addfinalizer(instrument.close)
        return instrument, server

    return made


class Table:
    """Answers questions from a table; a command changes it, with the words before its value.

    `numbered`: how many words of a command's arguments say what it is about.
    """

    def __init__(self, held: dict[str, str], numbered: Callable[[str], int]) -> None:
        self.held, self._numbered = dict(held), numbered
        self.status = "0"

    def __call__(self, line: str) -> bytes | Deed:
        if line in self.held:
            return f"{self.held[line]}\r\n".encode()
        command, _, status = line.partition(";")
        verb, _, rest = command.partition(" ")
        arguments = rest.split(",")
        about = ",".join(arguments[: self._numbered(verb)])
        value = ",".join(arguments[self._numbered(verb) :])
        self.held[f"{verb}? {about}".strip()] = value.strip('"')
        return f"{self.status}\r\n".encode() if status == "*ESR?" else Deed.SILENCE


# --- Lake Shore 370 -----------------------------------------------------------------------------

LAKESHORE_370 = {  # literal replies that others' drivers and simulators hold, where there are any
    "*IDN?": "LSCI,MODEL370,370184,05302003",
    "RDGK? 1": "+273.150E+00",
    "RDGK? 2": "+000.000E+00",
    "RDGR? 1": "+1.00000E+03",
    "RDGST? 1": "000",
    "SCAN?": "3,1",
    "INSET? 1": "1,005,005,00,1",
    "RDGRNG? 1": "0,05,05,0,0",
    "FILTER? 1": "1,005,80",
    "HTRRNG?": "0",
    "HTR?": "+00.0000E+00",
    "SETP?": "+00.0120E+00",
    "PID?": "+0010.0,+0020.0,+0000.0",
    "CMODE?": "4",
    "MOUT?": "+00.000E+00",
    "STILL?": "+10.60",
    "CSET?": "6,1,1,010,1,8,100.0",
}


@pytest.fixture
def bridge():
    numbered = {"INSET", "RDGRNG", "FILTER"}
    return Table(LAKESHORE_370, lambda verb: verb in numbered)


@pytest.fixture
def lakeshore370(connect, bridge):
    return connect(Lakeshore370, bridge, end=b"\r\n")


def test_370_readings_are_understood(lakeshore370):
    instrument, _ = lakeshore370
    first = instrument.inputs[1]
    assert first.temperature.read() == 273.15
    assert first.resistance.read() == 1000.0
    assert first.faults.read() == 0
    assert instrument.scan.read() == {"input": 3, "auto": True}
    assert first.scanning.read()["dwell"] == 5
    assert first.measuring.read()["excitation"] == 5
    assert first.filter.read() == {"on": True, "settle": 5, "window": 80}
    assert instrument.control.read()["integral"] == 20.0
    assert instrument.control_mode.read() is ControlMode.OFF
    assert instrument.output.read()["limit"] is HeaterRange.MA_100


def test_370_zero_kelvin_is_no_temperature(lakeshore370):
    with pytest.raises(NoValueError, match="no curve, or its resistance is outside of it"):
        lakeshore370[0].inputs[2].temperature.read()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("setpoint", 0.015, "SETP 0.015"),
        ("heater_range", "MA_1", "HTRRNG 4"),
        ("control", {"integral": 30.0}, "PID 10,30,0"),
        ("control_mode", "CLOSED_LOOP", "CMODE 1"),
        ("manual_output", 2.5, "MOUT 2.5"),
        ("still_output", 12.0, "STILL 12"),
        ("scan", {"input": 6}, "SCAN 6,1"),
        ("output", {"input": 5}, "CSET 5,1,1,10,1,8,100"),
        ("input 1.measuring", {"range": 12}, "RDGRNG 1,0,5,12,0,0"),
        ("input 1.scanning", {"dwell": 10}, "INSET 1,1,10,5,0,1"),
        ("input 1.filter", {"on": False}, "FILTER 1,0,5,80"),
    ],
)
def test_370_commands_have_no_output_number_and_no_status(lakeshore370, name, value, said):
    instrument, server = lakeshore370
    (bound,) = [b for b in instrument.parameters() if b.name == name]
    held = bound.write(value)
    assert said in server.heard
    if isinstance(value, dict):
        assert {field: held[field] for field in value} == value


def test_370_what_is_refused_in_silence_is_seen_in_the_readback(connect, bridge):
    def stubborn(line: str) -> bytes | Deed:
        return Deed.SILENCE if line.startswith("SETP ") else bridge(line)

    instrument, _ = connect(Lakeshore370, stubborn, end=b"\r\n")
    assert instrument.setpoint.write(0.5) == 0.012


# --- Lake Shore 336 and 350 ---------------------------------------------------------------------

LAKESHORE_336 = {
    "*IDN?": "LSCI,MODEL336,1234567/1234567,1.0",
    "KRDG? A": "+293.873",
    "KRDG? D": "+000.000",
    "SRDG? A": "+108.278",
    "RDGST? A": "016",
    "INNAME? B": "Stage 4 K",
    "INCRV? A": "06",
    "INTYPE? A": "3,1,0,1,1",
    "FILTER? A": "0,10,02",
    "SETP? 1": "+04.2000",
    "HTR? 1": "+022.5",
    "HTRST? 1": "0",
    "HTRST? 2": "2",
    "RANGE? 1": "0",
    "RANGE? 2": "3",
    "MOUT? 1": "+000.00",
    "PID? 1": "+0050.0,+0020.0,+000.0",
    "OUTMODE? 1": "1,1,0",
    "HTRSET? 1": "1,2,+1.000,1",
}


@pytest.fixture
def controller():
    return Table(LAKESHORE_336, lambda _verb: 1)


@pytest.fixture
def lakeshore336_(connect, controller):
    return connect(Lakeshore336, controller)


def test_336_readings_are_understood(lakeshore336_):
    instrument, _ = lakeshore336_
    first, output = instrument.inputs[1], instrument.outputs[11]
    assert first.temperature.read() == 293.873
    assert first.sensor.read() == 108.278
    assert first.faults.read() is lakeshore336.Fault.TEMPERATURE_UNDER
    assert first.curve.read() == 6
    assert first.filter.read() == {"on": False, "points": 10, "window": 2}
    assert instrument.inputs[2].name.read() == "Stage 4 K"
    assert output.setpoint.read() == 4.2
    assert output.heater_output.read() == 22.5
    assert output.heater.read()["limit"] is lakeshore336.CurrentLimit.A_1
    assert instrument.outputs[12].heater_fault.read() is HeaterFault.SHORT
    assert instrument.outputs[12].range.read() is lakeshore336.HeaterRange336.HIGH


def test_336_the_fault_bits_are_not_those_of_a_372():
    assert lakeshore336.Fault(16).name == "TEMPERATURE_UNDER"
    assert lakeshore372.Fault(16).name == "RESISTANCE_OVER"


def test_336_zero_kelvin_is_no_temperature(lakeshore336_):
    with pytest.raises(NoValueError, match="no curve"):
        lakeshore336_[0].inputs[4].temperature.read()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("output 1.setpoint", 3.5, "SETP 1,3.5;*ESR?"),
        ("output 1.range", "LOW", "RANGE 1,1;*ESR?"),
        ("output 1.control", {"integral": 30.0}, "PID 1,50,30,0;*ESR?"),
        ("output 1.mode", {"mode": "OFF"}, "OUTMODE 1,0,1,0;*ESR?"),
        ("output 1.heater", {"resistance": "OHM_50"}, "HTRSET 1,2,2,1,1;*ESR?"),
        ("output 1.manual_output", 5.0, "MOUT 1,5;*ESR?"),
        ("input A.curve", 21, "INCRV A,21;*ESR?"),
        ("input A.measuring", {"range": 3}, "INTYPE A,3,1,3,1,1;*ESR?"),
        ("input A.filter", {"on": True}, "FILTER A,1,10,2;*ESR?"),
        ("input B.name", "cold plate", 'INNAME B,"cold plate";*ESR?'),
    ],
)
def test_336_commands_name_the_input_by_letter_and_are_checked(lakeshore336_, name, value, said):
    instrument, server = lakeshore336_
    (bound,) = [b for b in instrument.parameters() if b.name == name]
    bound.write(value)
    assert said in server.heard


@pytest.mark.parametrize(
    ("status", "kind"), [("4", "QUERY"), ("16", "EXECUTION"), ("32", "COMMAND")]
)
def test_336_a_refused_command_is_an_error_by_its_kind(lakeshore336_, controller, status, kind):
    controller.status = status
    with pytest.raises(OutOfRangeError, match=f"the instrument refused 'SETP 1,5': {kind} error"):
        lakeshore336_[0].outputs[11].setpoint.write(5)


def test_336_a_status_that_is_none_is_a_reply_error(lakeshore336_, controller):
    controller.status = "+0.1"
    with pytest.raises(ReplyError, match=r"expected the status after 'SETP 1,5', found '\+0.1'"):
        lakeshore336_[0].outputs[11].setpoint.write(5)


def test_336_the_channels_of_a_config_are_inputs_and_outputs():
    instrument = Lakeshore336("TCPIP::127.0.0.1::1::SOCKET", channels=[2, 11])
    names = {bound.name.split(".")[0] for bound in instrument.parameters()}
    assert names == {"input B", "output 1"}
    with pytest.raises(OutOfRangeError, match=r"channels among \[1, 2, 3, 4, 11, 12\], found \[5"):
        Lakeshore336("TCPIP::127.0.0.1::1::SOCKET", channels=[5])


def test_350_has_more_ranges_and_another_name(connect):
    held = {**LAKESHORE_336, "*IDN?": "LSCI,MODEL350,1234567/1234567,1.0"}
    instrument, server = connect(Lakeshore350, Table(held, lambda _verb: 1))
    assert instrument.outputs[11].range.write("RANGE_5").value == 5
    assert "RANGE 1,5;*ESR?" in server.heard
    wrong, _ = connect(Lakeshore336, Table(held, lambda _verb: 1))
    with pytest.raises(
        WrongInstrumentError, match=r"expected Lakeshore336 \(LSCI,MODEL336,\) .* 'LSCI,MODEL350"
    ):
        wrong.inputs[1].temperature.read()


# --- Keysight 33500B ----------------------------------------------------------------------------

KEYSIGHT = {
    "*IDN?": "Agilent Technologies,33522B,MY52700000,2.03-1.19-2.00-52-00",
    "SOUR1:FUNC?": "SIN",
    "SOUR1:VOLT?": "+1.000000000000000E-01",
    "SOUR1:VOLT:UNIT?": "VPP",
    "SOUR1:VOLT:OFFS?": "+0.000000000000000E+00",
    "SOUR1:FREQ?": "+1.000000000000000E+03",
    "SOUR1:PHAS?": "+0.000000000000000E+00",
    "SOUR1:FUNC:PULS:WIDT?": "+1.000000000000000E-04",
    "OUTP1:LOAD?": "+5.000000000000000E+01",
    "OUTP1?": "0",
}


NO_ERROR = '+0,"No error"'


class Generator:
    """A 33500B of the tests; `faults` are the errors that a command meets, and what it does then.

    Before it was asked for them, errors wait in `errors`.
    """

    def __init__(self) -> None:
        self.held, self.errors = dict(KEYSIGHT), list[str]()
        self.faults: dict[str, tuple[str, str]] = {}

    def __call__(self, line: str) -> bytes | Deed:
        if line == "SYST:ERR?":
            return f"{self.errors.pop(0) if self.errors else NO_ERROR}\n".encode()
        if line in self.held:
            return f"{self.held[line]}\n".encode()
        header, _, value = line.partition(" ")
        if header in self.faults:
            error, value = self.faults[header]
            self.errors.append(error)
        if value:
            self.held[f"{header}?"] = "9.9E+37" if value == "INF" else value
        return Deed.SILENCE


@pytest.fixture
def generator():
    return Generator()


@pytest.fixture
def keysight(connect, generator):
    instrument, server = connect(Keysight33500b, generator)
    return instrument.outputs[1], server


def test_keysight_readings_are_understood(keysight):
    output, _ = keysight
    assert output.function.read() is Shape.SINE
    assert output.amplitude.read() == 0.1
    assert output.frequency.read() == 1000.0
    assert output.pulse_width.read() == 1e-4
    assert output.load.read() == 50.0
    assert output.on.read() is False


def test_keysight_begins_in_vpp_with_an_empty_queue(keysight, generator):
    output, server = keysight
    generator.errors.append('-113,"Undefined header"')  # of somebody before us
    assert output.on.write(True) is True
    assert server.heard == [
        "*IDN?",
        "SOUR1:VOLT:UNIT VPP",
        "SOUR2:VOLT:UNIT VPP",
        "SYST:ERR?",
        "SYST:ERR?",
        "OUTP1 1",
        "SYST:ERR?",
        "OUTP1?",
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("function", "PULSE", "SOUR1:FUNC PULS"),
        ("amplitude", 0.25, "SOUR1:VOLT 0.25"),
        ("offset", -0.125, "SOUR1:VOLT:OFFS -0.125"),
        ("frequency", 1e-6, "SOUR1:FREQ 0.000001"),
        ("phase", 90, "SOUR1:PHAS 90"),
        ("pulse_width", 2e-5, "SOUR1:FUNC:PULS:WIDT 0.00002"),
        ("load", "INF", "OUTP1:LOAD INF"),
        ("load", 50, "OUTP1:LOAD 50"),
    ],
)
def test_keysight_writes_are_read_back(keysight, name, value, said):
    output, server = keysight
    held = getattr(output, name).write(value)
    assert said in server.heard
    assert held in (value, Shape.PULSE)


def test_keysight_a_coerced_request_says_what_is_held_then(keysight, generator):
    generator.faults["SOUR1:FUNC:PULS:WIDT"] = ('-221,"Settings conflict"', "+9.99E-04")
    with pytest.raises(
        CoercedError,
        match=r"'SOUR1:FUNC:PULS:WIDT 0.5' to be done, found \+9.99E-04 held: "
        "-221 Settings conflict",
    ):
        keysight[0].pulse_width.write(0.5)
    assert keysight[0].pulse_width.read() == 9.99e-4


def test_keysight_any_other_error_is_a_refusal_and_the_queue_is_empty_then(keysight, generator):
    output, _ = keysight
    generator.faults["SOUR1:PHAS"] = ('-113,"Undefined header"', "")
    output.on.read()
    generator.errors = ['-221,"Settings conflict"']
    with pytest.raises(
        OutOfRangeError,
        match="refused 'SOUR1:PHAS 5': -221 Settings conflict; -113 Undefined header",
    ) as refused:
        output.phase.write(5)
    assert not isinstance(refused.value, CoercedError)
    assert generator.errors == []


def test_keysight_a_queue_without_end_is_no_queue(keysight, generator):
    keysight[0].on.read()
    generator.errors = ['-100,"Again"'] * 30
    with pytest.raises(InstrumentError, match="at most 20 errors in the queue, found more"):
        keysight[0].on.write(True)


def test_keysight_a_reply_that_is_no_error_is_refused(keysight, generator):
    keysight[0].on.read()
    generator.errors = ["yes"]
    with pytest.raises(ReplyError, match="of the error queue, found 'yes'"):
        keysight[0].on.write(True)


@pytest.mark.parametrize(("load", "open_circuit"), [(50.0, 0.2), ("INF", 0.1), (100.0, 0.15)])
def test_keysight_a_level_says_what_it_refers_to(keysight, load, open_circuit):
    output, _ = keysight
    output.load.write(load)
    output.offset.write(0.1)
    level = output.level()
    assert (level.load, level.amplitude_vpp) == (load, 0.1)
    assert level.open_circuit_vpp == pytest.approx(open_circuit)
    assert level.open_circuit_offset_v == pytest.approx(open_circuit)


def commands(server):
    return [line for line in server.heard if "?" not in line and "UNIT" not in line]


def test_keysight_a_heater_pulse_begins_off_and_small(keysight):
    output, server = keysight
    level = output.heater_pulse(height_v=0.5, width_s=1e-3, period_s=10.0, load="INF")
    assert commands(server) == [
        "OUTP1 0",
        "OUTP1:LOAD INF",
        "SOUR1:VOLT 0.002",
        "SOUR1:VOLT:OFFS 0",
        "SOUR1:FUNC:PULS:WIDT 0.000000016",
        "SOUR1:FUNC PULS",
        "SOUR1:FREQ 0.1",
        "SOUR1:VOLT:OFFS 0.25",
        "SOUR1:VOLT 0.5",
        "SOUR1:FUNC:PULS:WIDT 0.001",
    ]
    assert (level.amplitude_vpp, level.offset_v, level.open_circuit_vpp) == (0.5, 0.25, 0.5)


def test_keysight_a_square_wave_for_didv(keysight):
    output, server = keysight
    level = output.square_wave(amplitude_vpp=0.02, frequency_hz=73.0, offset_v=0.1, load=50)
    assert commands(server)[5:] == [
        "SOUR1:FUNC SQU",
        "SOUR1:FREQ 73",
        "SOUR1:VOLT:OFFS 0.1",
        "SOUR1:VOLT 0.02",
    ]
    assert (level.load, level.open_circuit_vpp) == (50.0, 0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width_s": 20.0}, "expected a pulse shorter than its period, found 20 s in 10 s"),
        ({"width_s": 1e-9}, "1e-09 s is outside 1.6e-08 to 1e\\+06 s"),
        ({"width_s": 0.0}, "expected a pulse shorter than its period, found 0 s"),
        ({"height_v": 30.0}, "30 Vpp is outside 0.001 to 20 Vpp"),
        ({"load": "50"}, "expected a number of ohm, found '50'"),
        ({"load": 0.1}, "0.1 ohm is outside 1 to 10000 ohm"),
    ],
)
def test_keysight_a_pulse_that_makes_no_sense_is_never_sent(keysight, change, message):
    output, server = keysight
    asked = {"height_v": 0.5, "width_s": 1e-3, "period_s": 10.0, "load": "INF", **change}
    with pytest.raises(OutOfRangeError, match=message):
        output.heater_pulse(**asked)
    assert server.heard == []


def test_keysight_functions_are_by_name(keysight, generator):
    output, _ = keysight
    with pytest.raises(OutOfRangeError, match=r"expected one of SINE, SQUARE, .*, found 'SIN'"):
        output.function.write("SIN")
    generator.held["SOUR1:FUNC?"] = "NOIS"
    with pytest.raises(ReplyError, match=r"expected one of SIN, .*, found 'NOIS'"):
        output.function.read()


# --- Picowatt AVS-47B -----------------------------------------------------------------------------

AVS = {
    "*IDN?": "PICOWATT,AVS47-IB,0,1.4",
    "AVE?": "123.45",
    "OVR?": "0",
    "MUX?": "3",
    "RAN?": "4",
    "EXC?": "2",
    "INP?": "1",
    "REM?": "1",
    "ARN?": "0",
    "DIS?": "0",
    "REF?": "10000",
    "MIN?": "123.40",
    "MAX?": "123.50",
    "STD?": "0.03",
}


class Avs:
    """An AVS47-IB of the tests: replies begin with the header of the question."""

    def __init__(self) -> None:
        self.held = dict(AVS)
        self.wrong_head = ""

    def __call__(self, line: str) -> bytes | Deed:
        if line in self.held:
            head = self.wrong_head or line.removesuffix("?")
            return f"{head} {self.held[line]}\r\n".encode()
        verb, _, value = line.partition(" ")
        if verb != "AVE":
            self.held[f"{verb}?"] = value
        return Deed.SILENCE


@pytest.fixture
def picowatt():
    return Avs()


@pytest.fixture
def avs47b(connect, picowatt):
    return connect(Avs47b, picowatt, end=b"\r\n")


def test_avs_readings_are_understood(avs47b):
    instrument, _ = avs47b
    assert instrument.sensor.read() == 3
    assert instrument.range.read() is Range.KOHM_2
    assert instrument.excitation.read() is Excitation.UV_10
    assert instrument.remote.read() is True
    assert instrument.over_range.read() is False
    assert instrument.spread.read() == 0.03


def test_avs_a_resistance_is_averaged_first_and_waited_for(picowatt):
    slept = []
    with contextlib.closing(LineServer(picowatt, end=b"\r\n")) as server:
        with contextlib.closing(Avs47b(server.tcp, sleep=slept.append)) as instrument:
            assert instrument.resistance.read() == 123.45
        assert server.heard == ["*IDN?", "DIS?", "AVE 1", "AVE?"]
    assert slept == [pytest.approx(0.6)]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sensor", 5, "MUX 5"),
        ("range", "KOHM_20", "RAN 5"),
        ("excitation", "UV_100", "EXC 4"),
        ("input", "GROUNDED", "INP 0"),
        ("remote", False, "REM 0"),
        ("autorange", 10, "ARN 10"),
        ("reference", 20000, "REF 20000"),
        ("display", "EXCITATION", "DIS 4"),
    ],
)
def test_avs_writes_are_read_back(avs47b, name, value, said):
    instrument, server = avs47b
    getattr(instrument, name).write(value)
    assert server.heard[-2:] == [said, f"{said.split()[0]}?"]


def test_avs_there_is_no_resistance_while_the_bridge_settles(picowatt):
    now = [0.0]
    with (
        contextlib.closing(LineServer(picowatt, end=b"\r\n")) as server,
        contextlib.closing(
            Avs47b(server.tcp, clock=lambda: now[0], sleep=lambda _: None)
        ) as instrument,
    ):
        for setting, value in (("sensor", 2), ("range", "NONE"), ("excitation", "MV_1")):
            getattr(instrument, setting).write(value)
            now[0] += 9.0
            with pytest.raises(NoValueError, match=r"settles for another 1.0 s"):
                instrument.resistance.read()
        instrument.reference.write(5)
        now[0] += 1.0
        assert instrument.resistance.read() == 123.45


def test_avs_there_is_no_resistance_while_the_panel_shows_another_thing(avs47b):
    instrument, server = avs47b
    instrument.display.write("DEVIATION")
    with pytest.raises(NoValueError, match="to show RESISTANCE, found DEVIATION"):
        instrument.resistance.read()
    assert "AVE 1" not in server.heard


def test_avs_the_answer_to_another_question_is_refused(avs47b, picowatt):
    instrument, server = avs47b
    instrument.sensor.read()
    picowatt.wrong_head = "RAN"
    with pytest.raises(ReplyError, match=r"expected a reply that begins with 'MUX', found 'RAN 3'"):
        instrument._in_step(lambda: instrument._question("MUX?"))
    picowatt.wrong_head = ""
    assert instrument.sensor.read() == 3
    assert server.connections == 2  # a new line, on which no late answer can come


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("lakeshore370", Lakeshore370),
        ("lakeshore336", Lakeshore336),
        ("lakeshore350", Lakeshore350),
        ("keysight33500b", Keysight33500b),
        ("avs47b", Avs47b),
    ],
)
def test_a_model_stands_for_its_driver(model, kind):
    assert catalogue.instrument(model) is kind


@pytest.mark.parametrize("kind", [Lakeshore370, Lakeshore336, Keysight33500b, Avs47b])
def test_what_is_out_of_range_is_never_sent(connect, kind):
    instrument, server = connect(kind, lambda _line: Deed.SILENCE)
    refused = 0
    for bound in instrument.parameters():
        described = bound.parameter.datatype.describe()
        if bound.parameter.tell is None or described.kind == "fields" or described.maximum is None:
            continue
        beyond = "x" * 100 if described.kind == "text" else described.maximum + 1
        with pytest.raises(OutOfRangeError):
            bound.write(int(beyond) if described.kind == "integer" else beyond)
        refused += 1
    assert refused >= 3
    assert server.heard == []


NOWHERE = "TCPIP::127.0.0.1::1::SOCKET"
BOUND = [
    *Lakeshore370(NOWHERE, channels=[1]).parameters(),
    *Lakeshore336(NOWHERE, channels=[1, 11]).parameters(),
    *Lakeshore350(NOWHERE, channels=[11]).parameters(),
    *Keysight33500b(NOWHERE, channels=[1]).parameters(),
    *Avs47b(NOWHERE).parameters(),
    *StarCryo(NOWHERE, channels=[1]).parameters(),
]
DATATYPES = [
    pytest.param(bound.parameter.datatype, id=f"{n}-{bound.name}") for n, bound in enumerate(BOUND)
]
WRITABLE = [
    case for case, bound in zip(DATATYPES, BOUND, strict=True) if bound.parameter.tell is not None
]
replies = st.one_of(
    st.text(max_size=30),
    st.text("0123456789ABCDEF", max_size=9),
    st.text("0123456789+-.eE,; ", max_size=40),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(["INF", "SINE", "OPEN", "MA_1", "OFF"]),
    st.dictionaries(st.sampled_from(["dwell", "on", "range", "x"]), st.integers(), max_size=2),
)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=25)
@given(reply=replies)
def test_a_reply_is_a_value_or_an_error_by_name(datatype, reply):
    try:
        value = datatype.parse(reply)
    except InstrumentError:
        return
    for part in value.values() if isinstance(value, dict) else [value]:
        plain = to_plain(part)
        assert isinstance(plain, str) or math.isfinite(plain)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=25)
@given(value=values)
def test_what_is_asked_for_is_written_or_refused(datatype, value):
    try:
        text = datatype.format(datatype.refuse(value))
    except OutOfRangeError:
        return
    assert text.isprintable()
    assert ";" not in text


@pytest.mark.parametrize("datatype", WRITABLE)
@settings(max_examples=25)
@given(value=values)
def test_what_is_written_is_understood_when_it_comes_back(datatype, value):
    try:
        held = datatype.refuse(value)
    except OutOfRangeError:
        return
    back = datatype.parse(datatype.format(held))
    assert back == (pytest.approx(held, abs=1e-6) if isinstance(held, float) else held)


def test_the_zones_of_a_372_are_no_inputs_that_a_config_chooses():
    with contextlib.closing(lakeshore372.Lakeshore372(RESOURCE, channels=[12])) as bridge:
        assert list(bridge.inputs) == [12]
        assert list(bridge.zones) == list(range(1, 11))
