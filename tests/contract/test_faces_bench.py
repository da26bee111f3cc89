"""The text instruments behind the sockets of one bench: each answers, all share one cryostat."""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sim_hardware.bench import OpenBench
from sim_hardware.settings import Bench
from tests.bench_control import BenchControl

DEADLINE_S = 20.0
MODELS = (
    "lakeshore372", "lakeshore370", "lakeshore336", "lakeshore350", "avs47b", "keysight33500b",
    "starcryo-pfl102", "magnicon-xxf1",
)  # fmt: skip


@pytest.fixture(scope="module")
def at() -> Iterator[dict[str, str]]:
    """A bench with one instrument of each model, by that name; gives the resources."""
    instruments = {model: {"model": model, "port": 0} for model in MODELS}
    opened = OpenBench(Bench.model_validate({"instruments": instruments, "control_port": 0}))
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield {each.name: each.resource for each in opened.served}
        assert [each.face.complaints for each in opened.served] == [[]] * (len(MODELS) + 1)
    finally:
        opened.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


class Line:
    """A client of one instrument."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def tell(self, message: bytes) -> None:
        self._socket.sendall(message)

    def ask(self, message: bytes, end: bytes = b"\r\n") -> bytes:
        self.tell(message)
        received = b""
        while not received.endswith(end):
            more = self._socket.recv(4096)
            assert more, f"closed after {received!r}"
            received += more
        return received.removesuffix(end)

    def silent(self) -> bool:
        """Whether nothing has come, nor an end."""
        ready, _, _ = select.select([self._socket], [], [], 0.0)
        return not ready


@contextmanager
def talking(resource: str) -> Iterator[Line]:
    (port,) = re.findall(r":(\d{4,5})\b", resource)
    with socket.create_connection(("127.0.0.1", int(port)), DEADLINE_S) as connected:
        yield Line(connected)


@pytest.mark.parametrize(
    ("model", "resource", "query", "end", "reply"),
    [
        ("lakeshore372", "TCPIP::", b"*IDN?\n", b"\r\n", b"LSCI,MODEL372,SIM0372,1.3"),
        ("lakeshore370", "ASRLsocket://", b"*IDN?\r\n", b"\r\n",
         b"LSCI,MODEL370,SIM0370,05302003"),
        ("lakeshore336", "TCPIP::", b"*IDN?\n", b"\r\n", b"LSCI,MODEL336,SIM0336/SIM0336,1.0"),
        ("lakeshore350", "TCPIP::", b"*IDN?\n", b"\r\n", b"LSCI,MODEL350,SIM0350/SIM0350,1.0"),
        ("avs47b", "TCPIP::", b"*IDN?\r\n", b"\r\n", b"*IDN PICOWATT,AVS47-IB,0,1.4"),
        ("keysight33500b", "TCPIP::", b"SYST:ERR?\n", b"\n", b'+0,"No error"'),
        ("magnicon-xxf1", "ASRLsocket://", b"<01b837\r", b"\r", b">06E"),
    ],
)  # fmt: skip
def test_each_answers_on_its_wire(
    at: dict[str, str], model: str, resource: str, query: bytes, end: bytes, reply: bytes
) -> None:
    assert at[model].startswith(resource)
    with talking(at[model]) as line:
        assert line.ask(query, end) == reply


def test_star_cryo_stays_silent_on_its_wire(at: dict[str, str]) -> None:
    assert at["starcryo-pfl102"].startswith("ASRLsocket://")
    with talking(at["starcryo-pfl102"]) as line, talking(at["magnicon-xxf1"]) as other:
        line.tell(b"01500408;01E08000;")
        # the bench serves them one after the other: the frames above were heard by now
        assert other.ask(b"<01b837\r", b"\r") == b">06E"
        assert line.silent()


def test_what_one_heats_the_others_see(at: dict[str, str]) -> None:
    with (
        talking(at["lakeshore336"]) as controller,
        talking(at["avs47b"]) as picowatt,
    ):
        controller.tell(b"HTRSET 1,2,4,0,1;SETP 1,300;RANGE 1,3\n")  # 200 W on the still
        picowatt.tell(b"REM 1;MUX 2;ARN 1\r\n")
        deadline_s, ohm = time.monotonic() + DEADLINE_S, 1e9
        while ohm > 2200 * 5.0**-0.5 and time.monotonic() < deadline_s:
            ohm = float(picowatt.ask(b"RES?\r\n").removeprefix(b"RES "))
        assert float(controller.ask(b"KRDG? C\n")) > 5.0
        assert ohm < 2200 * 5.0**-0.5
        controller.tell(b"RANGE 1,0\n")
        assert controller.ask(b"RANGE? 1\n") == b"0"


def test_twenty_messages_a_second_and_no_more(at: dict[str, str]) -> None:
    with talking(at["lakeshore350"]) as line:
        line.ask(b"*OPC?\n")
        begun_s = time.monotonic()
        line.tell(b"SETP 1,0.8\n" * 9)
        assert line.ask(b"*OPC?\n") == b"1"
        assert time.monotonic() - begun_s >= 9 * 0.05


@pytest.mark.parametrize("model", ["lakeshore370", "keysight33500b", "avs47b"])
def test_every_wire_can_be_made_faulty(at: dict[str, str], model: str) -> None:
    with BenchControl(at["control"]) as control, talking(at[model]) as line:
        line.ask(b"*OPC?\r\n", b"\n")
        control.order(model, "garbled", count=1)
        assert not line.ask(b"*OPC?\r\n", b"\n").isascii()
        assert line.ask(b"*OPC?\r\n", b"\n").strip().endswith(b"1")
