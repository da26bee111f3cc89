"""The Keysight generator: its language, its error queue, and settings that give way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim_hardware.faces.keysight33500b import Keysight33500B


@pytest.fixture
def generator() -> Iterator[Keysight33500B]:
    """A generator that makes no mistakes: what is wrong must be taken from its queue."""
    face = Keysight33500B()
    assert ask(face, "*ESR?") == "128"
    yield face
    assert face.complaints == []
    assert ask(face, "SYST:ERR?") == '+0,"No error"'


def ask(face: Keysight33500B, query: str) -> str:
    """The one line that is answered."""
    reply = face.answer(query, 0.0)
    assert reply.endswith("\n")
    assert reply.count("\n") == 1
    return reply.removesuffix("\n")


def tell(face: Keysight33500B, command: str) -> None:
    assert face.answer(command, 0.0) == ""


def number(face: Keysight33500B, query: str) -> float:
    return float(ask(face, query))


def complaints(face: Keysight33500B) -> list[str]:
    """What a face did not understand, which is thereby expected."""
    said, face.complaints = face.complaints, []
    return said


# --- the language


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("*IDN?", "Agilent Technologies,33512B,SIM33512,3.03-1.19-2.00-52-00"),
        ("*OPC?", "1"),
        ("SYST:ERR?", '+0,"No error"'),
        ("SYSTem:ERRor:NEXT?", '+0,"No error"'),
        ("SOURce1:FUNCtion?", "SIN"),
        ("FREQ?", "+1.000000000000000E+03"),
        ("SOURce2:FREQuency:MODE?", "CW"),
        ("SOUR1:VOLT:UNIT?", "VPP"),
        ("OUTPut1:LOAD?", "+5.000000000000000E+01"),
        ("OUTPut2?", "0"),
        ("OUTPut:SYNC?", "1"),
        ("OUTPut:SYNC:SOURce?", "CH1"),
        ("SOURce1:VOLTage:RANGe:AUTO?", "1"),
        ("TRIGger1:SOURce?", "IMM"),
        ("SOUR1:FUNC?;FREQ?;:OUTP1?", "SIN;+1.000000000000000E+03;0"),
    ],
)
def test_queries_are_answered(generator: Keysight33500B, query: str, reply: str) -> None:
    assert ask(generator, query) == reply


@pytest.mark.parametrize(
    ("command", "query", "reply"),
    [
        # what qcodes' driver sends, and asks
        ("SOURce1:FUNCtion SQU", "SOURce1:FUNCtion?", "SQU"),
        ("SOURce1:FREQuency:MODE SWEEP", "SOURce1:FREQuency:MODE?", "SWE"),
        ("SOURce1:FREQuency 2500.0", "SOURce1:FREQuency?", "+2.500000000000000E+03"),
        ("SOURce1:PHASe 90", "SOURce1:PHASe?", "+9.000000000000000E+01"),
        ("SOURce1:VOLTage 1.5", "SOURce1:VOLTage?", "+1.500000000000000E+00"),
        ("SOURce1:VOLTage:OFFSet -0.25", "SOURce1:VOLTage:OFFSet?", "-2.500000000000000E-01"),
        ("OUTPut1 1", "OUTPut1?", "1"),
        ("SOURce1:FUNCtion:RAMP:SYMMetry 50", "SOURce1:FUNCtion:RAMP:SYMMetry?", "5"),
        ("SOURce1:FUNCtion:PULSE:WIDTh 1e-5", "SOURce1:FUNCtion:PULSE:WIDTh?", "1"),
        ("TRIGger1:SOURce BUS", "TRIGger1:SOURce?", "BUS"),
        ("TRIGger1:SLOPe NEG", "TRIGger1:SLOPe?", "NEG"),
        ("TRIGger1:COUNt 7", "TRIGger1:COUNt?", "+7.000000000000000E+00"),
        ("TRIGger1:DELay 0.5", "TRIGger1:DELay?", "+5.000000000000000E-01"),
        ("TRIGger1:TIMer 2", "TRIGger1:TIMer?", "+2.000000000000000E+00"),
        ("OUTPut1:POLarity INV", "OUTPut1:POLarity?", "INV"),
        ("SOURce1:BURSt:STATe 1", "SOURce1:BURSt:STATe?", "1"),
        ("SOURce1:BURSt:MODE GAT", "SOURce1:BURSt:MODE?", "GAT"),
        ("SOURce1:BURSt:NCYCles INF", "SOURce1:BURSt:NCYCLes?", "+9.900000000000000E+37"),
        ("SOURce1:BURSt:PHASe -90", "SOURce1:BURSt:PHASe?", "-9.000000000000000E+01"),
        ("SOURce1:BURSt:GATE:POLarity INV", "SOURce1:BURSt:GATE:POLarity?", "INV"),
        ("SOURce1:BURSt:INTernal:PERiod 1", "SOURce1:BURSt:INTernal:PERiod?", "+1"),
        ("OUTPut:SYNC 0", "OUTPut:SYNC?", "0"),
        ("OUTPut:SYNC:SOURce CH2", "OUTPut:SYNC:SOURce?", "CH2"),
        # what other people's drivers send
        ("SOUR2:FUNC DC", "SOUR2:FUNC?", "DC"),
        ("OUTPUT1:LOAD INF", "OUTPUT1:LOAD?", "+9.900000000000000E+37"),
        ("SOURCE1:VOLTAGE:RANGE:AUTO OFF", "SOUR1:VOLT:RANG:AUTO?", "0"),
        ("OUTP1 ON", "OUTP1:STAT?", "1"),
        ("SOUR1:VOLT:HIGH 1;LOW -0.5", "SOUR1:VOLT:OFFS?", "+2.500000000000000E-01"),
        ("sour1:func:shap square", "FUNC?", "SQU"),
    ],
)
def test_what_was_set_is_read(
    generator: Keysight33500B, command: str, query: str, reply: str
) -> None:
    tell(generator, command)
    assert ask(generator, query).removeprefix("+").startswith(reply.removeprefix("+"))


def test_commands_without_an_argument_are_obeyed(generator: Keysight33500B) -> None:
    for command in ("PHAS:SYNC", "SOUR1:PHAS:SYNC", "*TRG", "*WAI", "*CLS", "*RST"):
        tell(generator, command)


def test_outputs_are_told_apart(generator: Keysight33500B) -> None:
    tell(generator, "SOUR2:VOLT 2;FUNC SQU;:OUTP2 ON")
    assert (number(generator, "SOUR1:VOLT?"), number(generator, "SOUR2:VOLT?")) == (0.1, 2.0)
    assert ask(generator, "SOUR1:FUNC?;:OUTP1?;:OUTP2?") == "SIN;0;1"


def test_a_reset_brings_back_what_was_at_first(generator: Keysight33500B) -> None:
    tell(generator, "SOUR1:VOLT 2;FREQ 5;:OUTP1 ON;:TRIG1:SOUR BUS;*RST")
    assert ask(generator, "OUTP1?;:TRIG1:SOUR?") == "0;IMM"
    assert number(generator, "SOUR1:VOLT?") == pytest.approx(0.1)


# --- the error queue


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("SOUR1:VOLTS 1", '-113,"Undefined header"'),
        ("MEAS:VOLT?", '-113,"Undefined header"'),
        ("VOL 1", '-113,"Undefined header"'),
        ("*TRG?", '-113,"Undefined header"'),
        ("*IDN", '-113,"Undefined header"'),
        ("SOUR3:VOLT 1", '-114,"Header suffix out of range"'),
        ("SOUR1:VOLT", '-109,"Missing parameter"'),
        ("SOUR1:VOLT 1,2", '-108,"Parameter not allowed"'),
        ("*RST 1", '-108,"Parameter not allowed"'),
        ("SOUR1:VOLT? MAX", '-108,"Parameter not allowed"'),
        ("SOUR1:VOLT much", '-104,"Data type error"'),
        ("SOUR1:VOLT nan", '-224,"Illegal parameter value"'),
        ("SOUR1:FUNC SINE", '-224,"Illegal parameter value"'),
        ("OUTP1 2", '-224,"Illegal parameter value"'),
        ("\x00\ufffd", '-113,"Undefined header"'),
    ],
)
def test_nonsense_is_not_answered_and_goes_to_the_queue(
    generator: Keysight33500B, message: str, error: str
) -> None:
    before = ask(generator, "SOUR1:VOLT?;FUNC?;:OUTP1?")
    tell(generator, message)
    assert len(complaints(generator)) == 1
    assert ask(generator, "*STB?") == "32"
    assert ask(generator, "*ESR?") == ("16" if error.startswith("-2") else "32")
    assert ask(generator, "SYST:ERR?") == error
    assert ask(generator, "SOUR1:VOLT?;FUNC?;:OUTP1?") == before


def test_the_queue_holds_twenty_errors_and_tells_when_it_is_full(
    generator: Keysight33500B,
) -> None:
    for _ in range(25):
        tell(generator, "NONSENSE")
    complaints(generator)
    errors = [ask(generator, "SYST:ERR?") for _ in range(20)]
    assert errors == ['-113,"Undefined header"'] * 19 + ['-350,"Queue overflow"']
    tell(generator, "NONSENSE;*CLS")
    complaints(generator)


# --- conflicts are coerced, not refused


@pytest.mark.parametrize(
    ("before", "command", "query", "held"),
    [
        ("SOUR1:VOLT:OFFS 4", "SOUR1:VOLT 4", "SOUR1:VOLT?", 2.0),
        ("SOUR1:VOLT 4", "SOUR1:VOLT:OFFS -4", "SOUR1:VOLT:OFFS?", -3.0),
        ("OUTP1:LOAD INF", "SOUR1:VOLT 30", "SOUR1:VOLT?", 20.0),
        ("*CLS", "SOUR1:VOLT 30", "SOUR1:VOLT?", 10.0),
        ("*CLS", "SOUR1:VOLT 0", "SOUR1:VOLT?", 1e-3),
        ("SOUR1:FREQ 1e6", "SOUR1:FUNC RAMP", "SOUR1:FREQ?", 200e3),
        ("SOUR1:FUNC TRI", "SOUR1:FREQ 1e6", "SOUR1:FREQ?", 200e3),
        ("SOUR1:FUNC PULS", "SOUR1:FREQ 1e5", "SOUR1:FUNC:PULS:WIDT?", 1e-5 - 16e-9),
        ("*CLS", "SOUR1:FUNC:PULS:WIDT 1", "SOUR1:FUNC:PULS:WIDT?", 1e-3 - 16e-9),
        ("SOUR1:VOLT:HIGH 1;LOW 0", "SOUR1:VOLT:LOW 2", "SOUR1:VOLT:LOW?", 2.0),
        ("SOUR1:VOLT:HIGH 1;LOW 0", "SOUR1:VOLT:LOW 2", "SOUR1:VOLT:HIGH?", 2.001),
        ("*CLS", "SOUR1:VOLT:HIGH 9", "SOUR1:VOLT:HIGH?", 5.0),
    ],
)
def test_a_conflict_is_coerced_and_told(
    generator: Keysight33500B, before: str, command: str, query: str, held: float
) -> None:
    tell(generator, before)
    assert ask(generator, "SYST:ERR?") == '+0,"No error"'
    tell(generator, command)
    assert ask(generator, "SYST:ERR?") == '-221,"Settings conflict"'
    assert number(generator, query) == pytest.approx(held, rel=1e-9)


@pytest.mark.parametrize(
    ("command", "query", "held"),
    [
        ("SOUR1:FREQ 1e9", "SOUR1:FREQ?", 20e6),
        ("SOUR1:PHAS 720", "SOUR1:PHAS?", 360.0),
        ("OUTP1:LOAD 0.1", "OUTP1:LOAD?", 1.0),
    ],
)
def test_what_is_out_of_range_is_clipped_and_told(
    generator: Keysight33500B, command: str, query: str, held: float
) -> None:
    tell(generator, command)
    assert ask(generator, "SYST:ERR?") == '-222,"Data out of range"'
    assert number(generator, query) == held


def test_limits_can_be_named(generator: Keysight33500B) -> None:
    tell(generator, "SOUR1:FREQ MAX")
    assert number(generator, "SOUR1:FREQ?") == 20e6
    tell(generator, "SOUR1:FREQ MIN")
    assert number(generator, "SOUR1:FREQ?") == 1e-6


# --- the load


def test_another_load_changes_what_volts_mean_by_a_factor_of_two(
    generator: Keysight33500B,
) -> None:
    tell(generator, "SOUR1:VOLT 2;VOLT:OFFS 0.5;:SOUR1:VOLT 2")
    tell(generator, "OUTP1:LOAD INF")
    assert number(generator, "SOUR1:VOLT?") == pytest.approx(4.0)
    assert number(generator, "SOUR1:VOLT:OFFS?") == pytest.approx(1.0)
    tell(generator, "SOUR1:VOLT 2;:OUTP1:LOAD 50")
    assert number(generator, "SOUR1:VOLT?") == pytest.approx(1.0)
    assert number(generator, "SOUR1:VOLT:HIGH?") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("function", "unit", "shown"),
    [("SIN", "VRMS", 0.70711), ("SQU", "VRMS", 1.0), ("RAMP", "VRMS", 0.57735), ("SIN", "DBM", 10)],
)
def test_amplitudes_have_units(
    generator: Keysight33500B, function: str, unit: str, shown: float
) -> None:
    tell(generator, f"SOUR1:FUNC {function};VOLT 2;VOLT:UNIT {unit}")
    assert number(generator, "SOUR1:VOLT?") == pytest.approx(shown, rel=1e-3)
    tell(generator, f"SOUR1:VOLT {shown}")
    tell(generator, "SOUR1:VOLT:UNIT VPP")
    assert number(generator, "SOUR1:VOLT?") == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("unit", "command"), [("DBM", "OUTP1:LOAD INF"), ("VRMS", "SOUR1:FUNC PULS")]
)
def test_a_unit_without_meaning_becomes_volts_peak_to_peak(
    generator: Keysight33500B, unit: str, command: str
) -> None:
    tell(generator, f"SOUR1:VOLT:UNIT {unit}")
    tell(generator, command)
    assert ask(generator, "SYST:ERR?") == '-221,"Settings conflict"'
    assert ask(generator, "SOUR1:VOLT:UNIT?") == "VPP"
