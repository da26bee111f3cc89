"""The simulated old valve server of Bluefors against the literals of its client."""

from __future__ import annotations

import pytest

from sim_hardware.faces.bluefors_valves import BlueforsValves, ValveTalk
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling


def greeted(server: BlueforsValves, now_s: float = 0.0) -> ValveTalk:
    talk = server.connect(now_s)
    assert talk.wait_s(now_s) == 0.0
    assert talk.send(now_s) == [b"\x0c"]
    return talk


def told(talk: ValveTalk, line: str, now_s: float = 0.0) -> str:
    talk.receive(line.encode() + b"\n", now_s)
    (reply,) = talk.send(now_s)
    text = bytes(reply).decode()
    assert text.endswith("\r\n")
    return text.removesuffix("\r\n")


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("status v1,v2", "S02: v1=1,v2=0"),
        ("remote", "S06: 0"),
        ("control", "S07: 0"),
        ("mgstatus 5", "S05: 3.700000e+00"),
        ("mgstatuscode 3", "S10: 0"),
        ("mgstatuscode", "S12: p1=0, p2=0, p3=0, p4=0, p5=0, p6=0"),
        ("exit", "S01: bye"),
    ],
)
def test_each_line_has_its_reply(line: str, reply: str) -> None:
    server = BlueforsValves(GasHandling(Cryostat(1)))
    assert told(greeted(server), line) == reply
    assert server.complaints == []


def test_lists_name_everything() -> None:
    talk = greeted(BlueforsValves(GasHandling(Cryostat(1))))
    names = told(talk, "names").removeprefix("S04: ").split(",")
    states = told(talk, "status").removeprefix("S03: ").split(",")
    assert [state.partition("=")[0] for state in states] == names
    assert told(talk, "mgstatus").startswith("S11: p1=1.83")
    assert float(told(talk, "fmstatus").removeprefix("S09: ")) == pytest.approx(0.541, rel=0.01)


def test_valves_obey_after_control_and_remote_alone() -> None:
    server = BlueforsValves(GasHandling(Cryostat(1)))
    talk = greeted(server)
    assert told(talk, "on v2") == "E10: permission denied"
    assert told(talk, "remote 1") == "E10: permission denied"
    assert told(talk, "control 1") == "S08: 1"
    assert told(talk, "on v2") == "E10: permission denied"
    assert told(talk, "remote 1") == "S06: 1"
    assert told(talk, "on v2,v3") == "S00: Ok"
    assert told(talk, "switch v3") == "S00: Ok"
    assert told(talk, "status v2,v3") == "S02: v2=1,v3=0"
    assert told(talk, "off v1,v99").startswith("E")
    assert told(talk, "status v1") == "S02: v1=1"


def test_one_client_has_control_until_its_connection_ends() -> None:
    server = BlueforsValves(GasHandling(Cryostat(1)))
    one, other = greeted(server), greeted(server)
    told(one, "control 1")
    told(one, "remote 1")
    assert told(other, "control 1") == "E10: permission denied"
    one.receive(b"", 1.0)
    assert one.over
    assert told(other, "remote") == "S06: 0"
    assert told(other, "control 1") == "S08: 1"
    assert told(other, "control 0") == "S08: 0"


def test_a_silent_client_is_dropped_and_an_empty_line_keeps_it() -> None:
    server = BlueforsValves(GasHandling(Cryostat(1)))
    talk = greeted(server)
    assert talk.wait_s(0.0) == 30.0
    talk.receive(b"\n", 29.0)
    assert talk.send(29.0) == []
    assert talk.wait_s(30.0) == 29.0
    alive = talk.over
    assert talk.send(59.0) == []
    assert (alive, talk.over) == (False, True)
    talk.receive(b"names\n", 60.0)
    assert talk.send(60.0) == []


@pytest.mark.parametrize(
    "line", ["hello", "status v99", "mgstatus 7", "mgstatus 1,2", "control 2", "remote x"]
)
def test_what_is_wrong_is_an_error(line: str) -> None:
    server = BlueforsValves(GasHandling(Cryostat(1)))
    assert told(greeted(server), line).startswith("E")
    assert len(server.complaints) == 1
