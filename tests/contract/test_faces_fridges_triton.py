"""The simulated Triton against the literals and rules of its clients."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from sim_hardware.faces.triton import Triton
from sim_hardware.faces.triton_tree import parsed, prefixed
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling

T0_NS = 1_782_864_000 * 10**9  # 2026-07-01T00:00:00Z


def triton(*, wrong_share: float = 0.0, stuck_share: float = 0.0) -> Triton:
    return Triton(
        Cryostat(1),
        GasHandling(Cryostat(1)),
        Calendar(T0_NS),
        rng=random.Random(1),
        wrong_share=wrong_share,
        stuck_share=stuck_share,
    )


@pytest.fixture
def face() -> Iterator[Triton]:
    made = triton()
    yield made
    assert made.complaints == []


def said(face: Triton, message: str, now_s: float = 0.0) -> str:
    reply = face.answer(message + "\r", now_s)
    assert reply.endswith("\n")
    assert reply.count("\n") == 1
    return reply.rstrip("\r\n")


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("*IDN?", "IDN:OXFORD INSTRUMENTS:TRITON 200:SIM0200:1.6"),
        ("READ:SYS:DR:ACTN", "STAT:SYS:DR:ACTN:NONE"),
        ("READ:SYS:DR:CHAN:MC", "STAT:SYS:DR:CHAN:MC:T5"),
        ("READ:SYS:DR:CHAN", "STAT:SYS:DR:CHAN:COOL:T5:STIL:T3:MC:T5"),
        ("READ:SYS:USER", "STAT:SYS:USER:GUEST"),
        ("READ:SYS:TIME", "STAT:SYS:TIME:00:01:05"),
        ("READ:DEV:T99:TEMP:SIG:TEMP", "STAT:DEV:T99:TEMP:SIG:TEMP:NOT_FOUND"),
        ("READ:DEV:T1:TEMP:LOOP:MODE", "STAT:DEV:T1:TEMP:LOOP:MODE:NOT_FOUND"),
        ("READ:DEV:P7:PRES:SIG:PRES", "STAT:DEV:P7:PRES:SIG:PRES:NOT_FOUND"),
        ("READ:DEV:T5:TEMP:LOOP:P:I:D", "STAT:DEV:T5:TEMP:LOOP:P:5:I:2:D:0"),
        ("READ:DEV:T5:TEMP:LOOP:RAMP:ENAB", "STAT:DEV:T5:TEMP:LOOP:RAMP:ENAB:OFF"),
        ("READ:DEV:V1:VALV:SIG:STATE", "STAT:DEV:V1:VALV:SIG:STATE:OPEN"),
        ("READ:DEV:V2:VALV:SIG:STATE", "STAT:DEV:V2:VALV:SIG:STATE:CLOSE"),
        ("READ:DEV:TURB1:PUMP:SIG:STATE", "STAT:DEV:TURB1:PUMP:SIG:STATE:ON"),
        ("READ:DEV:TURB1:PUMP:SIG:SPD", "STAT:DEV:TURB1:PUMP:SIG:SPD:820.0Hz"),
        ("READ:DEV:COMP:PUMP:SIG:STATE", "STAT:DEV:COMP:PUMP:SIG:STATE:OFF"),
        ("READ:DEV:H1:HTR:SIG:POWR", "STAT:DEV:H1:HTR:SIG:POWR:0uW"),
        ("READ:DEV:P5:PRES:SIG:PRES", "STAT:DEV:P5:PRES:SIG:PRES:3.7mB"),
        ("SET:DEV:T5:TEMP:LOOP:TSET:0.1", "STAT:SET:DEV:T5:TEMP:LOOP:TSET:0.1K:VALID"),
        ("SET:DEV:T5:TEMP:LOOP:TSET:15mK", "STAT:SET:DEV:T5:TEMP:LOOP:TSET:0.015K:VALID"),
        ("SET:DEV:T5:TEMP:LOOP:P:5:I:2:D:0", "STAT:SET:DEV:T5:TEMP:LOOP:P:5:I:2:D:0:VALID"),
        ("SET:DEV:T5:TEMP:LOOP:RANGE:0.0316", "STAT:SET:DEV:T5:TEMP:LOOP:RANGE:31.6uA:VALID"),
        ("SET:DEV:T5:TEMP:LOOP:RANGE:31.6", "STAT:SET:DEV:T5:TEMP:LOOP:RANGE:31.6mA:VALID"),
        ("SET:DEV:T5:TEMP:LOOP:HTR:H1", "STAT:SET:DEV:T5:TEMP:LOOP:HTR:H1:VALID"),
        ("SET:DEV:T5:TEMP:MEAS:ENAB:ON", "STAT:SET:DEV:T5:TEMP:MEAS:ENAB:ON:VALID"),
        ("SET:DEV:T5:TEMP:MEAS:DWEL:9", "STAT:SET:DEV:T5:TEMP:MEAS:DWEL:9S:VALID"),
    ],
)  # fmt: skip
def test_each_command_has_its_reply(face: Triton, message: str, reply: str) -> None:
    assert said(face, message, 65.0) == reply


@pytest.mark.parametrize(
    "message",
    [
        "",
        "HELLO",
        "READ",
        "READ:FOO",
        "READ:SYS:VRM:ACTN",
        "READ:SYS:DR:CHAN:T5",
        "READ:DEV:T5:TEMP:LOOP:Q",
        "READ:DEV:V1",
        "SET:SYS:TIME:12",
        "SET:SYS:DR:ACTN:NONE",
        "SET:DEV:T5:TEMP:LOOP",
        "SET:DEV:T5:TEMP:LOOP:TSET",
        "SET:DEV:T5:TEMP:LOOP:TSET:cold",
        "SET:DEV:T5:TEMP:LOOP:TSET:-1",
        "SET:DEV:T5:TEMP:LOOP:TSET:5mA",
        "SET:DEV:T5:TEMP:LOOP:MODE:on",
        "SET:DEV:T5:TEMP:LOOP:RANGE:5",
        "SET:DEV:V1:VALV:SIG:STATE:AJAR",
        "SET:DEV:T5:TEMP:MEAS:PAUS:long",
        "SET:DEV:H1:HTR:SIG:POWR:2W",
        "SET:DEV:H2:HTR:SIG:POWR:2W",
    ],
)
def test_what_makes_no_sense_is_invalid(message: str) -> None:
    face = triton()
    assert said(face, message).endswith("INVALID")
    assert len(face.complaints) == 1


def test_a_temperature_is_a_number_of_kelvin(face: Triton) -> None:
    reply = said(face, "READ:DEV:T5:TEMP:SIG:TEMP")
    found = re.fullmatch(r"STAT:DEV:T5:TEMP:SIG:TEMP:(0\.00[78]\d*)K", reply)
    assert found
    assert float(found[1]) == pytest.approx(0.008, abs=5e-5)
    assert re.fullmatch(r"STAT:DEV:T5:TEMP:SIG:RES:2\d{4}(\.\d+)?Ohm",
                        said(face, "READ:DEV:T5:TEMP:SIG:RES"))  # fmt: skip


def test_the_loop_heats_the_mixing_chamber_as_far_as_its_range_allows(face: Triton) -> None:
    said(face, "SET:DEV:T5:TEMP:LOOP:TSET:0.02:RANGE:1", 0.0)
    said(face, "SET:DEV:T5:TEMP:LOOP:MODE:ON", 0.0)
    assert kelvin(face, 600.0) == pytest.approx(0.02, abs=3e-5)
    power = said(face, "READ:DEV:H1:HTR:SIG:POWR", 600.0).rpartition(":")[2]
    assert parsed(power, "W") == pytest.approx(13.8e-6, rel=0.01)  # a (T² - T_base²)
    said(face, "SET:DEV:T5:TEMP:LOOP:RANGE:0.1", 600.0)  # 1.2 uW at most
    assert kelvin(face, 1200.0) == pytest.approx(0.00965, abs=5e-5)


def test_a_heater_can_be_set_while_nothing_regulates() -> None:
    face = triton()
    reply = "STAT:SET:DEV:H1:HTR:SIG:POWR:10uW:VALID"
    assert said(face, "SET:DEV:H1:HTR:SIG:POWR:10", 0.0) == reply
    assert kelvin(face, 600.0) == pytest.approx(0.01753, abs=6e-5)
    said(face, "SET:DEV:H2:HTR:SIG:POWR:2mW", 600.0)
    still = said(face, "READ:DEV:T3:TEMP:SIG:TEMP", 1800.0).rpartition(":")[2]
    assert parsed(still, "K") == pytest.approx(0.747, abs=5e-3)
    said(face, "SET:DEV:T5:TEMP:LOOP:MODE:ON", 1800.0)
    assert said(face, "SET:DEV:H1:HTR:SIG:POWR:10", 1800.0).endswith("INVALID")


def kelvin(face: Triton, now_s: float) -> float:
    return float(said(face, "READ:DEV:T5:TEMP:SIG:TEMP", now_s).rpartition(":")[2].rstrip("K"))


def test_collecting_the_mixture_stops_the_flow_and_fills_the_tank(face: Triton) -> None:
    assert said(face, "SET:SYS:DR:ACTN:COLL") == "STAT:SET:SYS:DR:ACTN:COLL:VALID"
    assert said(face, "READ:SYS:DR:ACTN", 1.0) == "STAT:SYS:DR:ACTN:COLL"
    assert said(face, "READ:DEV:V1:VALV:SIG:STATE", 1.0).endswith(":CLOSE")
    assert said(face, "READ:DEV:P5:PRES:SIG:PRES", 9000.0) == "STAT:DEV:P5:PRES:SIG:PRES:620mB"
    assert said(face, "READ:DEV:TURB1:PUMP:SIG:SPD", 3000.0).endswith(":0.0Hz")
    assert said(face, "SET:SYS:DR:ACTN:STOP", 3000.0) == "STAT:SET:SYS:DR:ACTN:STOP:VALID"
    assert said(face, "READ:SYS:DR:ACTN", 3000.0) == "STAT:SYS:DR:ACTN:NONE"


def test_a_share_of_the_replies_is_the_one_before_and_none_by_default() -> None:
    asked = [f"READ:DEV:P{n % 6 + 1}:PRES:SIG:PRES" for n in range(400)]
    heads = [message.replace("READ", "STAT") for message in asked]
    right, wrong = triton(), triton(wrong_share=0.1)
    assert all(said(right, m).startswith(h) for m, h in zip(asked, heads, strict=True))
    replies = [said(wrong, message) for message in asked]
    late = [n for n in range(400) if not replies[n].startswith(heads[n])]
    assert 20 <= len(late) <= 60  # 40 expected, 3 sigma is 18
    assert all(replies[n].startswith(heads[n - 1]) for n in late)


def test_a_valve_may_not_move_although_it_was_told() -> None:
    face = triton(stuck_share=0.5)
    tries = 0
    while said(face, "READ:DEV:V2:VALV:SIG:STATE").endswith(":CLOSE"):
        assert said(face, "SET:DEV:V2:VALV:SIG:STATE:OPEN").endswith(":OPEN:VALID")
        tries += 1
    assert 1 <= tries < 30


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("0.0123K", "K", 0.0123), ("12.3mK", "K", 0.0123), ("5uW", "W", 5e-6), ("31.6mA", "A", 0.0316),
     ("7", "K", 7.0), ("1e-3K", "K", 1e-3), ("7m", "K", None), ("K", "K", None),
     ("7kK", "K", None)],
)  # fmt: skip
def test_numbers_have_prefixes(text: str, unit: str, value: float | None) -> None:
    found = parsed(text, unit)
    assert found == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(("value", "text"), [(0.0, "0mA"), (31.6e-6, "31.6uA"), (0.1, "100mA")])
def test_prefixes_are_written(value: float, text: str) -> None:
    assert prefixed(value, "A") == text
