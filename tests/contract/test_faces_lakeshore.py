"""The Lake Shore family against its manuals' literals, and on one cryostat."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim_hardware.faces.lakeshore import Pace, PacedConversation
from sim_hardware.faces.lakeshore336 import MODEL350, Lakeshore336
from sim_hardware.faces.lakeshore370 import Lakeshore370
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.world.cryostat import Cryostat

LakeShore = Lakeshore336 | Lakeshore370 | Lakeshore372


@pytest.fixture
def cryostat() -> Cryostat:
    return Cryostat(1)


def on(face: LakeShore) -> LakeShore:
    """An instrument that has been on for a while: its event status was read."""
    assert face.answer("*ESR?", 0.0) == "128\r\n"
    return face


@pytest.fixture
def bridge372(cryostat: Cryostat) -> Iterator[Lakeshore372]:
    face = Lakeshore372(cryostat)
    on(face)
    yield face
    assert face.complaints == []


@pytest.fixture
def bridge370(cryostat: Cryostat) -> Iterator[Lakeshore370]:
    face = Lakeshore370(cryostat)
    on(face)
    yield face
    assert face.complaints == []


@pytest.fixture
def controller(cryostat: Cryostat) -> Iterator[Lakeshore336]:
    face = Lakeshore336(cryostat)
    on(face)
    yield face
    assert face.complaints == []


def complaints(face: LakeShore) -> list[str]:
    """What a face did not understand, which is thereby expected."""
    said, face.complaints = face.complaints, []
    return said


def number(face: LakeShore, query: str, now_s: float) -> float:
    return float(face.answer(query, now_s))


# --- 372: ramps, zones, alarms, curves


def test_a_ramp_leads_the_setpoint_and_the_heater_follows(bridge372):
    bridge372.answer("RANGE 0,8;:RAMP 0,1,0.6;:SETP 0,0.05", 100.0)  # 10 mK a second
    assert bridge372.answer("RAMP? 0;RAMPST? 0", 101.0) == "1,+000.600;1\r\n"
    early = number(bridge372, "HTR?", 103.0)
    late = number(bridge372, "HTR?", 104.9)
    assert 0 < early < late
    assert bridge372.answer("RAMPST? 0", 105.1) == "0\r\n"
    assert late < number(bridge372, "HTR?", 105.1)


def test_a_ramp_that_is_switched_off_is_over(bridge372):
    bridge372.answer("RAMP 0,1,0.6;:SETP 0,1.5", 100.0)
    assert bridge372.answer("RAMPST? 0", 100.1) == "1\r\n"
    bridge372.answer("RAMP 0,0,0.6", 100.2)
    assert bridge372.answer("RAMPST? 0;RAMPST? 1", 100.3) == "0;0\r\n"


def test_a_zone_is_of_one_output(bridge372):
    bridge372.answer("ZONE 0,10,1.5,11,22,3,40,4,0.25,1,0", 0.0)
    assert bridge372.answer("ZONE? 0,10", 1.0) == (
        "+1.50000E+00,+0011.0,+0022.0,+0003.0,+40.0000E+00,4,+000.250,1,0\r\n"
    )
    assert bridge372.answer("ZONE? 1,10", 1.0).startswith("+0.00000E+00,+0010.0,")


def test_an_alarm_stands_where_an_input_is_beyond_its_limits(bridge372):
    bridge372.answer("ALARM 6,1,0,300,2,1,0,0,1", 0.0)
    assert bridge372.answer("ALARM? 6;ALARMST? 6", 1.0) == "1,0,300,2,1,0,0,1;0,1\r\n"
    bridge372.answer("ALARM 6,1,0,1e-6,0,0,0,0,1", 1.0)
    assert bridge372.answer("ALARMST? 6;ALARMST? 3", 2.0) == "1,0;0,0\r\n"


def test_a_curve_has_a_header(bridge372):
    bridge372.answer('CRVHDR 21,"CX-1050","X12345",4,40,1', 0.0)
    assert bridge372.answer("CRVHDR? 21", 1.0) == "CX-1050,X12345,4,+040.000,1\r\n"


@pytest.mark.parametrize(
    ("message", "bit"),
    [
        ("ZONE? 0,11", "16"),
        ("ZONE? 0", "32"),
        ("RAMP 2,1,1", "16"),
        ("RAMP 0,1,-1", "16"),
        ("CRVHDR? 20", "16"),
        ("CRVHDR 21,A,B,5,1,1", "16"),
        ("CRVPT? 21,1", "32"),
    ],
)
def test_what_they_do_not_take_shows_in_the_event_status(bridge372, message, bit):
    assert bridge372.answer(f"{message};*ESR?", 0.0) == f"{bit}\r\n"
    assert len(complaints(bridge372)) == 1


# --- 372: what the first tests of it leave out


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("HTRSET? 0", "+120.000,8,+0000.00,1"),
        ("TLIMIT? 3", "+0000"),
        ("FREQ? A", "2"),
        ("QRDG? 6", "+0.00000E+00"),
        ("AOUT? 2", "+0.00000E+00"),
        ("HTR?;HTR? 0", "+0.00000E+00;+0.00000E+00"),
        ("HTRST? 2", "0"),
    ],
)
def test_a_372_answers_in_the_manual_s_form(
    bridge372: Lakeshore372, query: str, reply: str
) -> None:
    assert bridge372.answer(query, 0.0) == f"{reply}\r\n"


def test_intype_restarts_the_settling_of_the_input_measured_now(bridge372: Lakeshore372) -> None:
    bridge372.answer("SCAN 6,0", 0.0)
    bridge372.answer("SETP 0,0.1;RANGE 0,8", 10.0)
    held = number(bridge372, "KRDG? 6", 100.0)
    bridge372.answer("INTYPE 6,0,3,1,15,0,1", 100.0)
    assert number(bridge372, "KRDG? 6", 102.9) == held
    assert number(bridge372, "KRDG? 6", 103.1) != held


def test_intype_in_a_scan_goes_on_from_the_input_measured_now(bridge372: Lakeshore372) -> None:
    assert bridge372.answer("SCAN?", 25.0) == "05,1\r\n"
    bridge372.answer("INTYPE 6,0,3,1,15,0,1", 25.0)
    assert bridge372.answer("SCAN?", 25.1) == "05,1\r\n"


def test_a_resistance_beyond_a_fixed_range_is_over_and_has_no_temperature(
    bridge372: Lakeshore372,
) -> None:
    assert number(bridge372, "RDGR? 6", 0.0) == pytest.approx(22e3, rel=0.01)
    bridge372.answer("INTYPE 6,0,3,0,15,0,1", 0.0)  # 20 kohm
    assert bridge372.answer("RDGST? 6;KRDG? 6;RDGR? 6", 0.0) == "016;+00.0000E-03;+000.000E+09\r\n"
    bridge372.answer("INTYPE 6,0,3,0,16,0,1", 0.0)  # 63.2 kohm
    assert bridge372.answer("RDGST? 6", 0.0) == "000\r\n"


def test_a_temperature_limit_switches_the_heater_off(bridge372: Lakeshore372) -> None:
    bridge372.answer("SCAN 5,0;TLIMIT 5,1;SETP 0,0.03;RANGE 0,5", 0.0)
    assert bridge372.answer("RANGE? 0;TLIMIT? 5", 10.0) == "5;+0001\r\n"
    bridge372.answer("STILL 100", 10.0)  # 0.5 K
    assert bridge372.answer("RANGE? 0", 1000.0) == "0\r\n"


def test_an_empty_name_is_an_empty_reply(bridge372: Lakeshore372) -> None:
    assert bridge372.answer('INNAME 3,"";INNAME? 3', 0.0) == "\r\n"


# --- 370


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("*IDN?", "LSCI,MODEL370,SIM0370,05302003"),
        ("SCAN?", "01,1"),
        ("INSET? 6", "1,007,003,04,1"),
        ("FILTER? 6", "0,005,10"),
        ("RDGRNG? 6", "0,07,10,1,0"),
        ("RDGST? 6", "000"),
        ("RDGST? 3", "016"),
        ("CSET?", "06,0,1,005,1,8,+120.000"),
        ("CMODE?", "1"),
        ("HTRRNG?", "0"),
        ("PID?", "+0010.0,+0020.0,+0000.0"),
        ("HTRST?", "0"),
        ("STILL?;*OPC?", "+00.00;1"),
    ],
)
def test_a_370_answers_in_the_manual_s_form(
    bridge370: Lakeshore370, query: str, reply: str
) -> None:
    assert bridge370.answer(query, 0.0) == f"{reply}\r\n"


@pytest.mark.parametrize(
    ("command", "event", "said"),
    [
        ("KRDG? 6", 32, "unknown"),
        ("INTYPE 6,0,3,1,15,0,1", 32, "unknown"),
        ("*WAI", 32, "unknown"),
        ("SETP 0,0.012", 32, "expected 1 values, found 2"),
        ("HTRRNG 9", 16, "expected 0 to 8, found 9"),
        ("CMODE 5", 16, "expected 1 to 4, found 5"),
        ("INSET 6,1,7,3,21,1", 16, "expected 0 to 20, found 21"),
        ("RDGR? A", 16, "found A"),
    ],
)
def test_a_370_is_silent_on_what_a_372_says(
    bridge370: Lakeshore370, command: str, event: int, said: str
) -> None:
    assert bridge370.answer(command, 0.0) == ""
    assert said in " ".join(complaints(bridge370))
    assert bridge370.answer("*ESR?", 0.0) == f"{event}\r\n"


def test_a_370_regulates_and_reads(bridge370: Lakeshore370) -> None:
    bridge370.answer("SCAN 6,0;SETP 0.03;HTRRNG 5", 0.0)
    assert number(bridge370, "RDGK? 6", 1000.0) == pytest.approx(0.030, abs=1e-4)
    assert number(bridge370, "HTR?", 1000.0) == pytest.approx(16.57, abs=0.05)
    bridge370.answer("CSET 6,0,1,5,2,8,120", 1000.0)
    assert number(bridge370, "HTR?", 1000.0) == pytest.approx(32.88e-6, rel=1e-3)
    bridge370.answer("CMODE 4", 1000.0)
    assert number(bridge370, "HTR?", 1000.0) == 0.0


def test_a_370_in_open_loop_gives_a_part_of_full_scale(bridge370: Lakeshore370) -> None:
    bridge370.answer("SCAN 6,0;CMODE 3;HTRRNG 3;MOUT 50", 0.0)
    assert number(bridge370, "HTR?", 0.0) == pytest.approx(50.0)
    assert number(bridge370, "RDGK? 6", 1000.0) == pytest.approx(0.01315, abs=1e-4)
    bridge370.answer("CSET 6,0,1,5,1,2,120", 1000.0)  # no more than 100 uA
    assert number(bridge370, "RDGK? 6", 2000.0) == pytest.approx(0.01035, abs=1e-4)


def test_a_370_regulates_on_ohms_too(bridge370: Lakeshore370) -> None:
    ohms = 2200 * 0.020**-0.5
    bridge370.answer(f"SCAN 6,0;CSET 6,0,2,5,1,8,120;SETP {ohms:.3f};HTRRNG 5", 0.0)
    assert number(bridge370, "RDGK? 6", 1000.0) == pytest.approx(0.020, abs=1e-4)


def test_a_setpoint_of_a_370_is_read_back_as_it_was(bridge370: Lakeshore370) -> None:
    bridge370.answer("SETP 0.012", 10.0)
    assert number(bridge370, "SETP?", 10.079) == 0.0
    assert number(bridge370, "SETP?", 10.081) == 0.012


# --- 336 and 350


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("*IDN?", "LSCI,MODEL336,SIM0336/SIM0336,1.0"),
        ("RDGST? A;RDGST? D", "000;128"),
        ("KRDG? D", "+0.00000"),
        ("HTR? 1", "+000.0"),
        ("RANGE? 3", "0"),
        ("HTRSET? 1", "1,0,+2.0000E-02,1"),
        ("INCRV? C", "23"),
        ("INTYPE? A", "3,1,0,1,1"),
        ("FILTER? B", "0,08,02"),
        ("OUTMODE? 1", "1,3,0"),
        ("PID? 2", "+0050.0,+0020.0,+0000.0"),
        ("INNAME? D", "Input D"),
        ("TLIMIT? A", "+0000"),
        ("*STB?", "0"),
    ],
)
def test_a_336_answers_in_the_manual_s_form(
    controller: Lakeshore336, query: str, reply: str
) -> None:
    assert controller.answer(query, 0.0) == f"{reply}\r\n"


def test_a_336_reads_all_inputs_at_once(controller: Lakeshore336) -> None:
    kelvins = [float(text) for text in controller.answer("KRDG? 0", 0.0).split(",")]
    assert kelvins == [
        pytest.approx(47.0, abs=0.5),
        pytest.approx(3.6, abs=0.03),
        pytest.approx(0.7, abs=0.01),
        0.0,
    ]
    assert controller.answer("KRDG? A", 0.0) == controller.answer("KRDG? 0", 0.0)[:8] + "\r\n"
    assert number(controller, "SRDG? C", 0.0) == pytest.approx(2200 * 0.7**-0.5, rel=0.01)


def test_an_input_of_a_336_without_curve_or_switched_off_reads_zero(
    controller: Lakeshore336,
) -> None:
    controller.answer("INCRV A,0;INTYPE B,0,0,0,0,1", 0.0)
    assert controller.answer("KRDG? A;KRDG? B;RDGST? A;RDGST? B", 0.0) == (
        "+0.00000;+0.00000;000;128\r\n"
    )


def test_a_336_regulates_the_still(controller: Lakeshore336) -> None:
    controller.answer("SETP 1,0.9;RANGE 1,3", 0.0)
    assert number(controller, "KRDG? C", 1000.0) == pytest.approx(0.9, abs=0.005)
    # 0.2 K are 4 mW of 10 mW
    assert controller.answer("HTR? 1", 1000.0) == "+063.2\r\n"
    controller.answer("HTRSET 1,1,0,0.02,2", 1000.0)
    assert controller.answer("HTR? 1", 1000.0) == "+040.0\r\n"
    controller.answer("RANGE 1,2", 1000.0)  # a tenth
    assert number(controller, "KRDG? C", 2000.0) == pytest.approx(0.75, abs=0.005)


def test_a_336_in_open_loop_adds_to_what_its_other_output_gives(controller: Lakeshore336) -> None:
    controller.answer("OUTMODE 2,3,0,0;RANGE 2,3;MOUT 2,50;SETP 1,0.8;RANGE 1,3", 0.0)
    # output 2: 25 ohm, half of 20 mA: 2.5 mW; output 1 has nothing to add
    assert number(controller, "KRDG? C", 1000.0) == pytest.approx(0.825, abs=0.005)
    assert controller.answer("HTR? 1;HTR? 2", 1000.0) == "+000.0;+050.0\r\n"


def test_a_heater_fault_of_a_336_is_told_once(controller: Lakeshore336) -> None:
    controller.answer("SETP 1,0.9;RANGE 1,3", 0.0)
    controller.open_heater("1", 10.0)
    assert controller.answer("HTRST? 1;HTRST? 1;RANGE? 1", 10.0) == "1;0;0\r\n"


def test_a_temperature_limit_of_a_336_switches_all_outputs_off(controller: Lakeshore336) -> None:
    controller.answer("TLIMIT C,1;RANGE 3,1;HTRSET 1,1,0,0.1,1;SETP 1,2;RANGE 1,3", 0.0)
    assert controller.answer("RANGE? 1;RANGE? 3", 10.0) == "3;1\r\n"
    assert controller.answer("RANGE? 1;RANGE? 3", 200.0) == "0;0\r\n"


@pytest.mark.parametrize(
    ("command", "event", "said"),
    [
        ("KRDG? 1", 16, "found 1"),
        ("RANGE 1,4", 16, "expected 0 to 3, found 4"),
        ("HTR? 3", 16, "expected one of 1, 2, found 3"),
        ("PID 1,0,20,0", 16, "expected 0.1 to 1000, found 0"),
        ("SCAN?", 32, "unknown"),
        ("HTR?", 32, "expected one of 1, 2, found nothing"),
    ],
)
def test_a_336_is_silent_on_nonsense(
    controller: Lakeshore336, command: str, event: int, said: str
) -> None:
    assert controller.answer(command, 0.0) == ""
    assert said in " ".join(complaints(controller))
    assert controller.answer("*ESR?", 0.0) == f"{event}\r\n"


def test_a_350_has_five_ranges_a_decade_apart(cryostat: Cryostat) -> None:
    face = Lakeshore336(cryostat, variant=MODEL350)
    assert face.model == "lakeshore350"
    assert face.answer("*IDN?", 0.0) == "LSCI,MODEL350,SIM0350/SIM0350,1.0\r\n"
    face.answer("OUTMODE 1,3,0,0;MOUT 1,100;RANGE 1,5", 0.0)
    assert number(face, "KRDG? C", 1000.0) == pytest.approx(1.2, abs=0.005)
    face.answer("RANGE 1,3", 1000.0)
    assert number(face, "KRDG? C", 2000.0) == pytest.approx(0.705, abs=0.005)
    assert face.complaints == []


# --- one world


def test_a_heater_set_through_one_instrument_is_seen_by_the_others(
    bridge372: Lakeshore372, bridge370: Lakeshore370, controller: Lakeshore336
) -> None:
    bridge372.answer("SCAN 6,0;SETP 0,0.030;RANGE 0,5", 0.0)
    bridge370.answer("SCAN 6,0", 0.0)
    controller.answer("SETP 1,0.9;RANGE 1,3", 0.0)
    assert number(bridge370, "RDGK? 6", 1000.0) == number(bridge372, "KRDG? 6", 1000.0)
    assert number(bridge370, "RDGK? 6", 1000.0) == pytest.approx(0.030, abs=1e-4)
    assert number(bridge370, "HTR?", 1000.0) == 0.0
    bridge370.answer("SCAN 5,0", 1000.0)
    assert number(bridge370, "RDGK? 5", 1010.0) == pytest.approx(0.9, abs=0.005)


def test_a_regulated_heater_gives_way_to_another_one(
    bridge372: Lakeshore372, bridge370: Lakeshore370
) -> None:
    bridge372.answer("SCAN 6,0;SETP 0,0.030;RANGE 0,5", 0.0)
    bridge370.answer("CMODE 3;HTRRNG 4;MOUT 40", 10.0)  # 19.2 uW of 32.9
    assert number(bridge372, "KRDG? 6", 1000.0) == pytest.approx(0.030, abs=1e-4)
    bridge372.answer("HTRSET 0,120,0,0,2", 1000.0)
    assert number(bridge372, "HTR?", 1000.0) == pytest.approx(13.68e-6, rel=0.01)


# --- twenty messages a second


def test_messages_that_come_too_fast_wait_and_are_all_answered(cryostat: Cryostat) -> None:
    face = Lakeshore372(cryostat, gap_s=0.05)
    talk = face.connect(0.0)
    talk.receive(b"RANGE 0,3\nRANGE? 0\n*OPC?\n", 1.0)
    assert b"".join(talk.send(1.0)) == b""
    assert talk.wait_s(1.0) == pytest.approx(0.05)
    assert b"".join(talk.send(1.0501)) == b"3\r\n"
    assert b"".join(talk.send(1.1001)) == b"1\r\n"
    assert talk.wait_s(1.2) is None


def test_two_clients_share_the_pace_and_empty_lines_take_no_time(cryostat: Cryostat) -> None:
    face = Lakeshore372(cryostat, gap_s=0.05)
    first, second = face.connect(0.0), face.connect(0.0)
    first.receive(b"\n\r\n*OPC?\n", 1.0)
    second.receive(b"*OPC?\n", 1.0)
    assert b"".join(first.send(1.0)) == b"1\r\n"
    assert b"".join(second.send(1.0)) == b""
    assert b"".join(second.send(1.0501)) == b"1\r\n"
    assert face.complaints == []


def test_a_slow_client_never_waits(cryostat: Cryostat) -> None:
    talk = Lakeshore372(cryostat, gap_s=0.05).connect(0.0)
    for now_s in (1.0, 1.06, 1.12):
        talk.receive(b"*OPC?\n", now_s)
        assert b"".join(talk.send(now_s)) == b"1\r\n"


def test_nonsense_without_an_end_is_forgotten_at_any_pace(cryostat: Cryostat) -> None:
    face = Lakeshore372(cryostat)
    talk = PacedConversation(face, Pace(0.05))
    talk.receive(b"x" * 5000, 0.0)
    talk.receive(b"*OPC?\n", 0.0)
    assert b"".join(talk.send(0.0)) == b"1\r\n"
    assert face.complaints == ["5000 bytes without a message end"]
