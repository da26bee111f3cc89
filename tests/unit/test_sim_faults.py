"""Wires that fail on command: each fault as bytes, then on sockets of a running bench."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from sim_hardware.bench import OpenBench
from sim_hardware.face import BrokenWireError, Chunk, TextConversation
from sim_hardware.faults import (
    ControlFace,
    Fault,
    FaultKind,
    FaultyConversation,
    FaultyFace,
    Wire,
)
from sim_hardware.settings import Bench
from tests.bench_control import BenchControl, OrderRefusedError

DEADLINE_S = 20.0


class Echo:
    """An instrument that answers each line with itself, and remembers what it obeyed."""

    model, max_clients, refusal, message_end = "echo", 2, b"", b"\n"

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.obeyed: list[str] = []

    def connect(self, now_s: float) -> TextConversation:
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        self.obeyed.append(message)
        return f"{message}\r\n"


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def talk(echo: Echo, wire: Wire) -> FaultyConversation:
    return FaultyFace(echo, wire).connect(0.0)


def ask(talk: FaultyConversation, message: bytes, now_s: float = 0.0) -> bytes:
    talk.receive(message, now_s)
    return b"".join(talk.send(now_s))


# --- each fault


def test_a_sound_wire_changes_nothing(talk: FaultyConversation) -> None:
    assert ask(talk, b"a\nb\n") == b"a\r\nb\r\n"
    assert talk.wait_s(0.0) is None
    assert not talk.over


def test_a_late_reply_comes_late_and_the_next_ones_after_it(
    talk: FaultyConversation, wire: Wire
) -> None:
    wire.order(Fault(FaultKind.LATE, 1.5), count=1)
    assert ask(talk, b"a\n", 10.0) == b""
    assert talk.wait_s(10.0) == 1.5
    assert ask(talk, b"b\n", 11.0) == b""
    assert ask(talk, b"", 11.5) == b"a\r\n"
    assert b"".join(talk.send(11.5)) == b"b\r\n"


def test_replies_made_together_stay_in_order(talk: FaultyConversation, wire: Wire) -> None:
    wire.order(Fault(FaultKind.LATE, 2.0), count=1)
    assert ask(talk, b"a\nb\n", 0.0) == b""
    assert ask(talk, b"", 2.0) == b"a\r\nb\r\n"


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (FaultKind.SILENT, b""),
        (FaultKind.HALF, b"hal"),
        (FaultKind.GARBLED, b"\xfdal\xf3\r\n"),
    ],
)
def test_what_spoils_replies_spoils_as_many_as_ordered_and_all_is_obeyed(
    talk: FaultyConversation, wire: Wire, echo: Echo, kind: FaultKind, first: bytes
) -> None:
    wire.order(Fault(kind), count=1)
    assert ask(talk, b"half\n") == first
    assert ask(talk, b"half\n") == b"half\r\n"
    assert echo.obeyed == ["half", "half"]


def test_garbled_ascii_is_never_ascii(talk: FaultyConversation, wire: Wire) -> None:
    wire.order(Fault(FaultKind.GARBLED))
    for text in (b"4", b"+293.873E+00", b"LSCI,MODEL372"):
        with pytest.raises(UnicodeDecodeError):
            ask(talk, text + b"\n").decode("ascii")


def test_a_farewell_comes_instead_of_obeying(
    talk: FaultyConversation, wire: Wire, echo: Echo
) -> None:
    wire.order(Fault(FaultKind.FIN), count=1)
    assert ask(talk, b"a\n") == b""
    assert talk.over
    assert echo.obeyed == []
    assert ask(FaultyFace(echo, wire).connect(0.0), b"a\n") == b"a\r\n"


def test_a_reset_breaks_the_wire(talk: FaultyConversation, wire: Wire, echo: Echo) -> None:
    wire.order(Fault(FaultKind.RST), count=1)
    with pytest.raises(BrokenWireError):
        ask(talk, b"a\n")
    assert echo.obeyed == []


def test_stuck_is_dead_until_the_client_comes_again(
    talk: FaultyConversation, wire: Wire, echo: Echo
) -> None:
    wire.order(Fault(FaultKind.STUCK), count=1)
    for message in (b"a\n", b"b\n"):
        assert ask(talk, message) == b""
    assert not talk.over
    assert echo.obeyed == []
    assert ask(FaultyFace(echo, wire).connect(0.0), b"c\n") == b"c\r\n"
    assert ask(talk, b"d\n") == b""


def test_stuck_until_cleared_takes_new_clients_too(
    talk: FaultyConversation, wire: Wire, echo: Echo
) -> None:
    wire.order(Fault(FaultKind.STUCK))
    again = FaultyFace(echo, wire).connect(0.0)
    assert ask(talk, b"a\n") + ask(again, b"a\n") == b""
    wire.order(None)
    assert ask(talk, b"b\n") + ask(again, b"c\n") == b"b\r\nc\r\n"
    assert echo.obeyed == ["b", "c"]


def test_a_fault_that_was_cleared_is_gone(talk: FaultyConversation, wire: Wire) -> None:
    wire.order(Fault(FaultKind.SILENT))
    assert ask(talk, b"a\n") + ask(talk, b"b\n") == b""
    wire.order(None)
    assert ask(talk, b"c\n") == b"c\r\n"


class Stream:
    """A conversation that speaks unasked."""

    over = False

    def receive(self, received: bytes, now_s: float) -> None:
        raise AssertionError

    def send(self, now_s: float) -> Sequence[Chunk]:
        return [b"head", memoryview(b"body")]

    def wait_s(self, now_s: float) -> float | None:
        return 0.25


@pytest.mark.parametrize(
    ("kind", "over", "wait_s"), [(FaultKind.FIN, True, None), (FaultKind.STUCK, False, None)]
)
def test_a_stream_breaks_when_it_speaks(kind: FaultKind, over: bool, wait_s: float | None) -> None:
    wire = Wire()
    talk = FaultyConversation(Stream(), wire)
    assert b"".join(talk.send(0.0)) == b"headbody"
    assert talk.wait_s(0.0) == 0.25
    wire.order(Fault(kind), count=1)
    assert talk.send(0.0) == []
    assert (talk.over, talk.wait_s(0.0)) == (over, wait_s)


# --- orders


def test_orders_are_lines_of_json() -> None:
    wire = Wire()
    control = ControlFace({"fridge": wire})
    order = '{"instrument": "fridge", "fault": "late", "seconds": 1.5, "count": 3}'
    assert json.loads(control.answer(order, 0.0)) == {"ok": True}
    late = frozenset({FaultKind.LATE})
    assert [wire.take(late) for _ in range(4)] == [Fault(FaultKind.LATE, 1.5)] * 3 + [None]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ('{"instrument": "oven", "fault": "fin"}', "expected one of fridge, found oven"),
        ('{"instrument": "fridge", "fault": "odd"}', "fault: Input should be 'none', 'late'"),
        ('{"instrument": "fridge"}', "fault: Field required"),
        ('{"instrument": "fridge", "fault": "late"}', "expected seconds for late alone, found N"),
        ('{"instrument": "fridge", "fault": "fin", "seconds": 1}', "for late alone, found 1"),
        ('{"instrument": "fridge", "fault": "late", "seconds": -1}', "seconds: Input should be gr"),
        ('{"instrument": "fridge", "fault": "late", "seconds": "1"}', "seconds: Input should be a"),
        ('{"instrument": "fridge", "fault": "fin", "count": 0}', "count: Input should be greater"),
        ('{"instrument": "fridge", "fault": "none", "count": 1}', "expected no count for none"),
        ('{"instrument": "fridge", "fault": "fin", "since": 0}', "since: Extra inputs are not"),
        ("fin", "request: Invalid JSON"),
        ("", "request: Invalid JSON"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_in_one_sentence(order: str, said: str) -> None:
    wire = Wire()
    answer = ControlFace({"fridge": wire}).answer(order, 0.0)
    assert said in json.loads(answer)["error"]
    assert answer.count("\n") == 1
    assert wire.take(frozenset(FaultKind)) is None


# --- a running bench


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """A bench of two instruments and its control; gives the resources by name."""
    bench = Bench.model_validate(
        {
            "instruments": {
                "fridge": {"model": "lakeshore372", "port": 0},
                "squids": {"model": "magnicon-xxf1", "port": 0},
            },
            "control_port": 0,
        }
    )
    opened = OpenBench(bench)
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield {each.name: each.resource for each in opened.served}
    finally:
        opened.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@contextmanager
def client(resource: str) -> Iterator[socket.socket]:
    (port,) = re.findall(r":(\d{4,5})\b", resource)
    with socket.create_connection(("127.0.0.1", int(port)), DEADLINE_S) as connected:
        yield connected


def line(connected: socket.socket, end: bytes = b"\r\n") -> bytes:
    received = b""
    while not received.endswith(end):
        more = connected.recv(1)
        assert more, f"closed after {received!r}"
        received += more
    return received.removesuffix(end)


def asked(connected: socket.socket, message: bytes) -> bytes:
    connected.sendall(message)
    return line(connected, b"\r" if message.endswith(b"\r") else b"\r\n")


def test_faults_of_one_instrument_leave_the_others_alone() -> None:
    with running() as at, BenchControl(at["control"]) as control, client(at["fridge"]) as fridge:
        control.order("fridge", "silent", count=1)
        fridge.sendall(b"*IDN?\n")
        assert asked(fridge, b"*OPC?\n") == b"1"
        control.order("fridge", "half", count=1)
        fridge.sendall(b"*IDN?\n")
        assert asked(fridge, b"*OPC?\n") == b"LSCI,MODEL3721"
        control.order("fridge", "late", seconds=0.05, count=1)
        with client(at["squids"]) as squids:
            fridge.sendall(b"*OPC?\n")
            assert asked(squids, b"<01b837\r") == b">06E"
        assert line(fridge) == b"1"


def test_a_farewell_and_a_reset_are_told_apart_on_the_socket() -> None:
    with running() as at, BenchControl(at["control"]) as control:
        control.order("fridge", "fin", count=1)
        with client(at["fridge"]) as fridge:
            fridge.sendall(b"*OPC?\n")
            assert fridge.recv(1) == b""
        control.order("fridge", "rst", count=1)
        with client(at["fridge"]) as fridge:
            fridge.sendall(b"*OPC?\n")
            with pytest.raises(ConnectionResetError):
                fridge.recv(1)
        with client(at["fridge"]) as fridge:
            assert asked(fridge, b"*OPC?\n") == b"1"


def test_a_stuck_instrument_lives_again_when_cleared() -> None:
    with running() as at, BenchControl(at["control"]) as control, client(at["fridge"]) as fridge:
        control.order("fridge", "stuck")
        fridge.sendall(b"RANGE 0,3\n")
        with client(at["squids"]) as squids:
            # the bench serves them one after the other: the command above was heard by now
            assert asked(squids, b"<01b837\r") == b">06E"
        control.clear("fridge")
        assert asked(fridge, b"RANGE? 0\n") == b"0"


def test_the_control_refuses_who_is_not_there() -> None:
    with running() as at, BenchControl(at["control"]) as control:
        assert at["control"].startswith("tcp://127.0.0.1:")
        with pytest.raises(OrderRefusedError, match="expected one of fridge, squids, found oven"):
            control.order("oven", "fin")


def test_without_a_control_port_there_is_no_control() -> None:
    opened = OpenBench(Bench.model_validate({"instruments": {}}))
    assert opened.served == []
    opened.stop()
    opened.run()


def test_the_name_of_the_control_is_taken() -> None:
    instruments = {"control": {"model": "lakeshore372", "port": 0}}
    assert Bench.model_validate({"instruments": instruments}).ports == {"control": 0}
    with pytest.raises(ValueError, match="expected each name once, found control twice"):
        Bench.model_validate({"instruments": instruments, "control_port": 0})
