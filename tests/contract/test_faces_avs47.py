"""The AVS-47B behind its interface: heads that are repeated, averages that take their time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sim_hardware.faces.avs47 import Avs47
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.world.cryostat import Cryostat


@pytest.fixture
def cryostat() -> Cryostat:
    return Cryostat(1)


@pytest.fixture
def bridge(cryostat: Cryostat) -> Iterator[Avs47]:
    """A bridge in remote mode."""
    face = Avs47(cryostat)
    tell(face, "REM 1")
    yield face
    assert face.complaints == []


def tell(face: Avs47, command: str, now_s: float = 0.0) -> None:
    assert face.answer(f"{command}\r", now_s) == ""


def value(face: Avs47, query: str, now_s: float) -> float:
    """The number after the head that must be there."""
    reply = face.answer(query, now_s)
    head = query.removesuffix("?").strip()
    assert reply.startswith(f"{head} ")
    assert reply.endswith("\r\n")
    return float(reply[len(head) :])


@pytest.mark.parametrize(
    ("query", "reply"),
    [
        ("*IDN?", "*IDN PICOWATT,AVS47-IB,0,1.4"),
        ("*OPC?", "*OPC 1"),
        ("REM?", "REM 1"),
        ("INP?", "INP 1"),
        ("MUX ?", "MUX 3"),
        ("RAN?", "RAN 6"),
        ("EXC?", "EXC 3"),
        ("DIS?", "DIS 0"),
        ("ARN?", "ARN 0"),
        ("OVR?", "OVR 0"),
        ("OVL?", "OVL 0"),
        ("ERR?", "ERR 0"),
        ("AL?", "AL 1"),
        ("HW?", "HW 1.4"),
    ],
)
def test_replies_repeat_the_head_of_the_query(bridge: Avs47, query: str, reply: str) -> None:
    assert bridge.answer(query, 0.0) == f"{reply}\r\n"


def test_the_identity_begins_after_five_characters(bridge: Avs47) -> None:
    assert bridge.answer("*IDN?", 0.0)[5:] == "PICOWATT,AVS47-IB,0,1.4\r\n"


def test_heads_and_line_ends_can_be_chosen(bridge: Avs47) -> None:
    tell(bridge, "HDR 0")
    assert bridge.answer("MUX?", 0.0) == "3\r\n"
    for code, end in enumerate(("", "\n", "\r", "\r\n")):
        tell(bridge, f"TER {code}")
        assert bridge.answer("MUX?", 0.0) == f"3{end}"
    tell(bridge, "LIM 1")
    tell(bridge, "INP 0,MUX 2")
    assert bridge.answer("MUX?,INP?", 0.0) == "2\r\n0\r\n"


def test_messages_may_hold_several_commands(bridge: Avs47) -> None:
    tell(bridge, "ARN 0;INP 0;ARN 0;RAN 7")
    tell(bridge, "dis 0;mux 2;EXC 5")
    assert bridge.answer("INP?;RAN?;MUX?;EXC?", 0.0) == "INP 0\r\nRAN 7\r\nMUX 2\r\nEXC 5\r\n"


def test_the_three_inputs(bridge: Avs47) -> None:
    assert value(bridge, "RES?", 100.0) == pytest.approx(24.6e3, rel=0.01)
    tell(bridge, "INP 0", 100.0)
    assert value(bridge, "RES?", 110.0) == 0.0
    tell(bridge, "INP 2;RAN 3", 110.0)
    assert value(bridge, "RES?", 120.0) == pytest.approx(100.0, rel=1e-3)
    assert value(bridge, "ADC?", 120.0) == 10_000


def test_every_channel_is_on_its_stage(bridge: Avs47) -> None:
    tell(bridge, "ARN 1")
    found = []
    for channel in range(4):
        tell(bridge, f"MUX {channel}", 100.0 * channel)
        found.append(value(bridge, "RES?", 100.0 * channel + 50))
    assert found == [
        pytest.approx(5000 * (47 / 4.2) ** -1.1, rel=0.02),
        pytest.approx(5000 * (3.6 / 4.2) ** -1.1, rel=0.02),
        pytest.approx(2200 * 0.7**-0.5, rel=0.01),
        pytest.approx(24.6e3, rel=0.01),
    ]
    tell(bridge, "MUX 5", 500.0)
    assert bridge.answer("OVR?;ADC?", 600.0) == "OVR 1\r\nADC 0\r\n"


def test_a_new_input_takes_time_to_settle(bridge: Avs47) -> None:
    tell(bridge, "INP 0;RAN 6", 0.0)
    tell(bridge, "INP 1", 100.0)
    settled = value(bridge, "RES?", 110.0)
    assert value(bridge, "RES?", 100.0) == 0.0
    assert value(bridge, "RES?", 100.5) == pytest.approx(0.632 * settled, rel=0.02)


def test_overranged_is_an_exact_zero(bridge: Avs47) -> None:
    tell(bridge, "RAN 5", 0.0)  # 20 kohm
    assert bridge.answer("OVR?;ADC?;RES?", 50.0) == "OVR 1\r\nADC 0\r\nRES 0.00000E+00\r\n"


@pytest.mark.parametrize("nothing", ["RAN 0", "EXC 0"])
def test_without_excitation_there_is_no_reading(bridge: Avs47, nothing: str) -> None:
    tell(bridge, nothing)
    assert bridge.answer("ADC?;OVR?", 50.0) == "ADC 0\r\nOVR 0\r\n"


def test_autoranging_finds_the_range_that_holds_the_resistance(bridge: Avs47) -> None:
    tell(bridge, "RAN 7;ARN 5")
    assert bridge.answer("RAN?", 50.0) == "RAN 6\r\n"
    tell(bridge, "MUX 2", 50.0)
    assert bridge.answer("RAN?", 100.0) == "RAN 5\r\n"
    tell(bridge, "MUX 6", 100.0)
    assert bridge.answer("RAN?;OVR?", 150.0) == "RAN 7\r\nOVR 1\r\n"


def test_the_display_shows_the_reference_and_the_deviation_from_it(bridge: Avs47) -> None:
    tell(bridge, "INP 2;RAN 3;REF 9000", 0.0)
    tell(bridge, "DIS 3", 0.0)
    assert value(bridge, "ADC?", 50.0) == 9000
    tell(bridge, "DIS 1", 50.0)
    assert value(bridge, "ADC?", 100.0) == 1000
    assert value(bridge, "RES?", 100.0) == pytest.approx(10.0)
    tell(bridge, "DIS 2", 100.0)
    assert value(bridge, "ADC?", 150.0) == 0


def test_an_average_is_there_when_it_is_done(bridge: Avs47) -> None:
    assert value(bridge, "AVE?", 100.0) == 0.0
    tell(bridge, "AVE 10", 100.0)
    assert value(bridge, "AVE?", 103.9) == 0.0
    mean = value(bridge, "AVE?", 104.2)
    assert mean == pytest.approx(24.6e3, rel=0.01)
    low, high = value(bridge, "MIN?", 104.2), value(bridge, "MAX?", 104.2)
    assert low <= mean <= high
    assert 0 < value(bridge, "STD?", 104.2) < high - low
    assert 1 < value(bridge, "QRATIO?", 104.2) < 5


def test_an_average_of_two_inputs_is_none(bridge: Avs47) -> None:
    tell(bridge, "AVE 1", 100.0)
    first = value(bridge, "AVE?", 101.0)
    tell(bridge, "AVE 10", 101.0)
    tell(bridge, "MUX 2", 102.0)
    assert value(bridge, "AVE?", 110.0) == first


@pytest.mark.parametrize(
    "nonsense",
    ["VOLT?", "MUX 8", "MUX", "MUX -1", "MUX two", "RAN 6 7", "REF 20001", "STD 1", "\x00\ufffd"],
)
def test_nonsense_meets_silence_and_shows_in_the_error(bridge: Avs47, nonsense: str) -> None:
    before = bridge.answer("MUX?;RAN?;INP?", 0.0)
    tell(bridge, nonsense)
    assert len(bridge.complaints) == 1
    bridge.complaints = []
    assert bridge.answer("ERR?;ERR?", 0.0) == "ERR 1\r\nERR 0\r\n"
    assert bridge.answer("MUX?;RAN?;INP?", 0.0) == before


def test_in_local_mode_nothing_can_be_set_and_everything_be_asked(cryostat: Cryostat) -> None:
    face = Avs47(cryostat)
    tell(face, "MUX 2")
    assert face.answer("MUX?;REM?;ERR?", 0.0) == "MUX 3\r\nREM 0\r\nERR 1\r\n"
    assert face.complaints == ["'MUX 2': not understood, or out of range, or in local mode"]


def test_a_reset_brings_local_mode_back(bridge: Avs47) -> None:
    tell(bridge, "MUX 2;AVE 1", 0.0)
    tell(bridge, "RST", 10.0)
    assert bridge.answer("MUX?;REM?;AVE?", 20.0) == "MUX 3\r\nREM 0\r\nAVE 0.00000E+00\r\n"


def test_it_sees_what_another_instrument_s_heater_does(cryostat: Cryostat, bridge: Avs47) -> None:
    Lakeshore372(cryostat).answer("SETP 0,0.040;RANGE 0,6", 0.0)
    assert value(bridge, "RES?", 1000.0) == pytest.approx(2200 * 0.040**-0.5, rel=0.005)
