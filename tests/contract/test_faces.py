"""The simulated instruments against the literals and rules of their manuals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim_hardware.faces.lakeshore import moving
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1, checked
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.squid import SquidElectronics


@pytest.fixture
def bridge() -> Iterator[Lakeshore372]:
    """A bridge that has been on for a while: its event status was read."""
    face = Lakeshore372(Cryostat(1))
    assert face.answer("*ESR?", 0.0) == "128\r\n"
    yield face
    assert face.complaints == []


@pytest.fixture
def squid() -> Iterator[MagniconXxf1]:
    face = MagniconXxf1(SquidElectronics())
    yield face
    assert face.complaints == []


def complaints(face: Lakeshore372 | MagniconXxf1) -> list[str]:
    """What a face did not understand, which is thereby expected."""
    said, face.complaints = face.complaints, []
    return said


def kelvin(face: Lakeshore372, channel: str, now_s: float) -> float:
    return float(face.answer(f"KRDG? {channel}", now_s))


# --- Lake Shore 372


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (293.873, "+293.873E+00"),
        (108.278, "+108.278E+00"),
        (0.0100123, "+10.0123E-03"),
        (-5e3, "-5.00000E+03"),
        (999.9999, "+1.00000E+03"),
        (1e-7, "+100.000E-09"),
        (0.0, "+0.00000E+00"),
    ],
)
def test_readings_have_six_digits_and_a_moving_point(value: float, text: str) -> None:
    assert moving(value) == text
    assert float(moving(value)) == pytest.approx(value, rel=5e-6)


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("SCAN?", "01,1"),
        ("RANGE? 0", "0"),
        ("INSET? A", "0,010,003,00,1"),
        ("INSET? 1", "1,007,003,21,1"),
        ("INTYPE? A", "1,04,0,15,0,2"),
        ("INTYPE? 1", "0,07,1,10,0,1"),
        ("OUTMODE? 2", "4,16,1,0,0,001"),
        ("PID? 0", "+0010.0,+0020.0,+0000.0"),
        ("INNAME? 1", "Channel 01"),
        ("KRDG? A", "+00.0000E-03"),
        ("SRDG? 3", "+000.000E+09"),
        ("RDGST? 6", "000"),
        ("RDGST? 3", "016"),
        ("EMUL?", "0"),
        ("HTRST? 0", "0"),
        ("*OPC?", "1"),
    ],
)
def test_queries_are_answered_in_the_manual_s_form(
    bridge: Lakeshore372, query: str, reply: str
) -> None:
    assert bridge.answer(query, 0.0) == f"{reply}\r\n"


def test_the_official_client_s_bytes_are_answered(bridge: Lakeshore372) -> None:
    assert bridge.answer("", 0.0) == ""
    assert bridge.answer("*IDN?\r", 0.1) == "LSCI,MODEL372,SIM0372,1.3\r\n"
    assert bridge.answer("EMUL 0;*ESR?", 0.2) == "0\r\n"
    reading, status = bridge.answer("KRDG? 6;*ESR?", 0.3).removesuffix("\r\n").split(";")
    assert float(reading) == pytest.approx(0.008, abs=1e-4)
    assert status == "0"
    assert bridge.answer("SCAN 6,0;*ESR?", 0.4) == "0\r\n"
    assert bridge.answer("RANGE 0,4;:PID 0,10,20,0;*ESR?", 0.5) == "0\r\n"
    pid_and_range = bridge.answer("PID? 0;:RANGE? 0;*ESR?", 0.6)
    assert pid_and_range == "+0010.0,+0020.0,+0000.0;4;0\r\n"
    for query in ("KRDG? 6", "RDGR? 6", "RDGPWR? 6", "QRDG? 6"):
        assert bridge.answer(f"{query};*ESR?", 0.7).endswith(";0\r\n")
    assert bridge.answer("INTYPE 6,0,3,1,15,0,1;*ESR?", 0.8) == "0\r\n"
    assert bridge.answer("INTYPE? 6;*ESR?", 0.9) == "0,03,1,15,0,1;0\r\n"
    assert bridge.answer("SETP 0,0.012;*ESR?", 1.0) == "0\r\n"


def test_commands_are_not_answered(bridge: Lakeshore372) -> None:
    for command in ("RANGE 0,3", "range 0,3", "MOUT 0 5", 'INNAME 6,"MXC plate"', "*CLS"):
        assert bridge.answer(command, 0.0) == ""
    assert bridge.answer("RANGE? 0;INNAME? 6;MOUT? 0", 0.0) == "3;MXC plate;+5.00000E+00\r\n"


@pytest.mark.parametrize(
    ("nonsense", "event", "said"),
    [
        ("VOLT?", 32, "unknown"),
        ("*RCL 1", 32, "unknown"),
        ("KRDG?", 32, "expected one of A, 1, 2"),
        ("KRDG? 1 2", 32, "expected no more arguments, found 2"),
        ("HTR? 0 1", 32, "expected no more arguments, found 1"),
        ("KRDG? 17", 16, "found 17"),
        ("RANGE?", 32, "expected one of 0, 1, 2, found nothing"),
        ("RANGE? 0,1", 32, "expected no more arguments, found 1"),
        ("RANGE 0,9", 16, "expected 0 to 8, found 9"),
        ("RANGE 0,1.5", 16, "found 1.5"),
        ("RANGE 0", 32, "expected 1 values, found 0"),
        ("SETP 0,warm", 32, "expected a number, found warm"),
        ("SETP 0,nan", 32, "expected a number, found nan"),
        ("SETP 0,-1", 16, "expected 0 to 1e+06, found -1"),
        ("PID 0,10,20", 32, "expected 3 values, found 2"),
        ("OUTMODE 0,5,17,1,0,0,1", 16, "found 17"),
        ("INSET 1,1,0,3,21,1", 16, "expected 1 to 200, found 0"),
        ("HTRSET 1,120,0,0,1", 16, "expected one of 0, found 1"),
        ("FILTER 0", 16, "found 0"),
        ("\x00\ufffd", 32, "unknown"),
        ('INNAME 1,"\ufffd"', 32, "expected printable ASCII"),
    ],
)
def test_nonsense_meets_silence_and_shows_in_the_event_status(
    bridge: Lakeshore372, nonsense: str, event: int, said: str
) -> None:
    before = bridge.answer("RANGE? 0;SETP? 0;PID? 0;OUTMODE? 0;INSET? 1", 0.0)
    assert bridge.answer(nonsense, 0.0) == ""
    assert said in " ".join(complaints(bridge))
    assert bridge.answer("*STB?", 0.0) == "36\r\n"
    assert bridge.answer("*ESR?", 0.0) == f"{event}\r\n"
    assert bridge.answer("*ESR?;*STB?", 0.0) == "0;4\r\n"
    assert bridge.answer("RANGE? 0;SETP? 0;PID? 0;OUTMODE? 0;INSET? 1", 0.0) == before


def test_a_setpoint_is_read_back_as_it_was_for_eighty_milliseconds(bridge: Lakeshore372) -> None:
    bridge.answer("SETP 0,0.012", 10.0)
    bridge.answer("SETP 0,0.013", 20.0)
    assert float(bridge.answer("SETP? 0", 20.0)) == 0.012
    assert float(bridge.answer("SETP? 0", 20.079)) == 0.012
    assert float(bridge.answer("SETP? 0", 20.081)) == 0.013


def test_every_channel_reads_its_stage(bridge: Lakeshore372) -> None:
    found = [kelvin(bridge, channel, 0.0) for channel in ("1", "2", "5", "6", "7")]
    assert found == [
        pytest.approx(47.0, abs=0.5),
        pytest.approx(3.6, abs=0.03),
        pytest.approx(0.7, abs=0.01),
        pytest.approx(0.008, abs=1e-4),
        0.0,
    ]


def test_excitation_power_is_that_of_the_excitation(bridge: Lakeshore372) -> None:
    # 20 uV across 24.6 kOhm; 10 nA through them
    assert float(bridge.answer("RDGPWR? 6", 0.0)) == pytest.approx(4e-10 / 24.6e3, rel=0.01)
    bridge.answer("INTYPE 6,1,9,1,15,0,1", 0.0)
    assert float(bridge.answer("RDGPWR? 6", 0.0)) == pytest.approx(1e-16 * 24.6e3, rel=0.01)
    assert float(bridge.answer("RDGPWR? 3;", 0.0)) == 0.0


def test_a_channel_without_a_curve_reads_no_temperature(bridge: Lakeshore372) -> None:
    bridge.answer("INSET 6,1,7,3,0,1", 0.0)
    assert kelvin(bridge, "6", 0.0) == 0.0
    assert float(bridge.answer("RDGR? 6", 0.0)) == pytest.approx(24.6e3, rel=0.01)


def test_the_heater_moves_the_mixing_chamber(bridge: Lakeshore372) -> None:
    bridge.answer("SCAN 6,0;SETP 0,0.030;RANGE 0,5", 100.0)
    assert 0.020 < kelvin(bridge, "6", 105.0) < 0.030
    assert kelvin(bridge, "6", 1000.0) == pytest.approx(0.030, abs=1e-4)
    # 34.4 uW in 120 ohm are 0.535 mA, of 3.16 mA
    assert float(bridge.answer("HTR?", 1000.0)) == pytest.approx(16.93, abs=0.08)
    bridge.answer("HTRSET 0,120,0,0,2", 1000.0)
    assert float(bridge.answer("HTR?", 1000.0)) == pytest.approx(34.36e-6, rel=6e-3)
    bridge.answer("RANGE 0,0", 1000.0)
    assert float(bridge.answer("HTR?", 1000.0)) == 0.0
    assert kelvin(bridge, "6", 2000.0) == pytest.approx(0.008, abs=1e-4)


def test_a_setpoint_in_ohms_is_one_of_the_sensor(bridge: Lakeshore372) -> None:
    bridge.answer("SCAN 6,0;INTYPE 6,0,7,1,10,0,2;RANGE 0,5", 0.0)
    ohms = 2200 * 0.020**-0.5
    bridge.answer(f"SETP 0,{ohms:.3f}", 0.0)
    assert kelvin(bridge, "6", 1000.0) == pytest.approx(0.020, abs=1e-4)


def test_the_heater_gives_no_more_than_its_range(bridge: Lakeshore372) -> None:
    bridge.answer("SETP 0,0.100;RANGE 0,1", 0.0)
    assert float(bridge.answer("HTR?", 1000.0)) == pytest.approx(100.0)


def test_open_loop_gives_a_part_of_full_scale(bridge: Lakeshore372) -> None:
    bridge.answer("SCAN 6,0;OUTMODE 0,2,6,1,0,0,1;RANGE 0,3;MOUT 0,50", 0.0)
    assert float(bridge.answer("HTR?", 0.0)) == pytest.approx(50.0)
    # (0.158 mA)² · 120 ohm = 3.0 uW
    assert kelvin(bridge, "6", 1000.0) == pytest.approx(0.01170, abs=1e-4)


def test_the_still_heater_warms_the_still(bridge: Lakeshore372) -> None:
    bridge.answer("SCAN 5,0;STILL 10.6", 0.0)
    assert bridge.answer("STILL?", 0.0) == "+10.60\r\n"
    assert kelvin(bridge, "5", 1000.0) == pytest.approx(0.725, abs=0.008)


def test_a_channel_not_scanned_holds_its_reading(bridge: Lakeshore372) -> None:
    bridge.answer("SCAN 1,0", 5.0)
    held = kelvin(bridge, "6", 5.0)
    bridge.answer("SETP 0,0.100;RANGE 0,8", 5.0)
    assert kelvin(bridge, "6", 500.0) == held
    bridge.answer("SCAN 6,0", 500.0)
    assert bridge.answer("SCAN?", 500.0) == "06,0\r\n"
    assert kelvin(bridge, "6", 502.9) == held
    assert kelvin(bridge, "6", 503.1) == pytest.approx(0.100, abs=1e-3)


def test_the_scanner_goes_round_the_enabled_channels(bridge: Lakeshore372) -> None:
    seen = [bridge.answer("SCAN?", t).removesuffix(",1\r\n") for t in range(0, 50, 10)]
    assert seen == ["01", "02", "05", "06", "01"]
    bridge.answer("INSET 2,0,7,3,22,1;SCAN 5,1", 100.0)
    seen = [bridge.answer("SCAN?", t).removesuffix(",1\r\n") for t in range(100, 140, 10)]
    assert seen == ["05", "06", "01", "05"]


def test_a_filter_delays_the_first_reading(bridge: Lakeshore372) -> None:
    bridge.answer("FILTER 0,1,10,5;SCAN 6,0;SETP 0,0.1;RANGE 0,8", 0.0)
    assert bridge.answer("FILTER? A;FILTER? 16", 0.0) == "1,010,05;1,010,05\r\n"
    assert kelvin(bridge, "6", 12.9) == kelvin(bridge, "6", 0.0)
    assert kelvin(bridge, "6", 13.1) > 0.015


def test_gains_are_given_back_as_set(bridge: Lakeshore372) -> None:
    bridge.answer("PID 0,0.05,10,0", 0.0)
    assert [float(v) for v in bridge.answer("PID? 0", 0.0).split(",")] == [0.05, 10.0, 0.0]


# --- Magnicon XXF-1

FRAMES = [
    ("<01b005F", "|0AC"),
    ("<01b0160", "|0AC"),
    ("<01q02000131", "|0AC"),
    ("<01j0800CF", "|0AC"),
    ("<01j08A4E4", "|0AC"),
    ("<01j075CE6", "|0AC"),
    ("<01n1C7F", "|0AC"),
    ("<01Z027", "|0AC"),
    ("<01w145", "|0AC"),
    ("<01w700101010012F", "|0AC"),
    ("<03q02000032", "|0AC"),
    ("<03q0214803F", "|0AC"),
    ("<03q02CCC06B", "|0AC"),
    ("<01b837", ">06E"),
    ("<01q846", ">2000131"),
    ("<01j83F", ">800D6"),
]


@pytest.mark.parametrize(("frame", "reply"), FRAMES)
def test_published_frames_are_answered_as_published(
    squid: MagniconXxf1, frame: str, reply: str
) -> None:
    assert squid.answer(frame, 0.0) == f"{reply}\r"


@pytest.mark.parametrize(
    "frame", ["<01c838", "<01f83B", "<01n944", "<01P825", "<01r847", "<01T829", "<01w94D",
              "<03a838", "<03q848"],
)  # fmt: skip
def test_published_reads_are_answered_with_a_check_sum(squid: MagniconXxf1, frame: str) -> None:
    reply = squid.answer(frame, 0.0)
    assert reply[0] == ">"
    assert reply == checked(reply[:-3]) + "\r"


@pytest.mark.parametrize(
    ("write", "read", "data"),
    [
        ("<02b01", "<02b8", "1"),
        ("<01q0228D0", "<01q8", "228D0"),
        ("<01c0071C", "<01c8", "071C"),
        ("<01f03E8", "<01f8", "3E8"),
        ("<01n05", "<01n8", "5"),
        ("<01n1F", "<01n9", "F"),
        ("<01P0202000A00011", "<01P8", "202000A00011"),
        ("<01r0FFF", "<01r8", "FFF"),
        ("<01w727D1001001", "<01wF", "27D1001001"),
        ("<03a0FEFF", "<03a8", "FEFF"),
        ("<03q02CCC0", "<03q8", "2CCC0"),
    ],
)
def test_what_was_written_is_read(squid: MagniconXxf1, write: str, read: str, data: str) -> None:
    assert squid.answer(checked(write), 0.0) == "|0AC\r"
    assert squid.answer(checked(read), 0.0) == checked(f">{data}") + "\r"


def test_channels_are_told_apart(squid: MagniconXxf1) -> None:
    squid.answer("<01b0160", 0.0)
    assert squid.answer(checked("<01b8"), 0.0) == ">16F\r"
    assert squid.answer(checked("<02b8"), 0.0) == ">06E\r"


def test_a_restart_opens_the_loop(squid: MagniconXxf1) -> None:
    squid.answer("<01b0160", 0.0)
    squid.answer("<01Z027", 0.0)
    assert squid.answer("<01b837", 0.0) == ">06E\r"


@pytest.mark.parametrize(
    "frame",
    [
        checked("<01q020002"),  # no such range
        checked("<01c0FFFF"),  # more than 14 bits
        checked("<01q03FE7"),  # a digit too few
        checked("<01b81"),  # a read with data
        checked("<01x8"),
        checked("<04b8"),
        checked("<03b8"),
        checked("<03w1"),
        "<01b838",  # a wrong check sum
    ],
)
def test_a_frame_that_makes_no_sense_is_refused(squid: MagniconXxf1, frame: str) -> None:
    assert squid.answer(frame, 0.0) == "|1AD\r"
    (complaint,) = complaints(squid)
    assert frame in complaint
    assert squid.answer("<01b837", 0.0) == ">06E\r"
    assert squid.answer("<01q846", 0.0) == ">2000131\r"


@pytest.mark.parametrize("text", ["", "b8", "<01b8", "<01b837 ", "01b837", "<01b\ufffd837"])
def test_what_is_no_frame_meets_silence(squid: MagniconXxf1, text: str) -> None:
    assert squid.answer(text, 0.0) == ""
    assert complaints(squid) == [f"expected a frame, found {text!r}"]
