"""Faces behind real sockets: who is let in, who is not, what a slow reader gets."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest

from sim_hardware.face import Face
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.faces.lakeshore372 import Lakeshore372
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1
from sim_hardware.serve import HOST, Loop, PortError, listen
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.squid import SquidElectronics

DEADLINE_S = 20.0
T0_NS = 1_789_000_000_000_000_000


Packet = tuple[int, int, int, npt.NDArray[np.int16]]  # kind, start, value, samples


class Counting:
    """A source of 8 MB/s whose samples are their numbers."""

    name, channels, rate_hz, volts_per_count = "counter", ("a", "b", "c", "d"), 1e6, 1.0
    length: int | None = None

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        numbers = (np.arange(start, stop) % 2**15).astype(np.int16)
        return np.ascontiguousarray(np.broadcast_to(numbers, (4, stop - start)))

    def t_ns(self, sample: int) -> int:
        return T0_NS + sample * 1000


class HandClock:
    """Time that a test sets."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def serving(face: Face, now_s: HandClock) -> Iterator[int]:
    """A face on a socket of its own; gives the port."""
    listener = listen("it", 0)
    loop = Loop([(listener, face)], now_s)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


@contextmanager
def client(port: int, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    with socket.socket() as connected:
        connected.settimeout(DEADLINE_S)
        if receive_buffer:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connected.connect((HOST, port))
        yield connected


def exactly(connected: socket.socket, n_bytes: int) -> bytes:
    received = b""
    while len(received) < n_bytes:
        more = connected.recv(n_bytes - len(received))
        assert more, f"closed after {len(received)} of {n_bytes} bytes"
        received += more
    return received


def line(connected: socket.socket, end: bytes = b"\n") -> bytes:
    received = b""
    while not received.endswith(end):
        received += exactly(connected, 1)
    return received


def packet(connected: socket.socket) -> Packet:
    """The next packet, its check sums being right."""
    header = exactly(connected, 48)
    _, _, kind, rows, columns, n_bytes, start, value, check, own, _ = struct.unpack(
        "<4sBBHIIQqIIQ", header
    )
    payload = exactly(connected, n_bytes)
    assert (own, check) == (crc32(header[:36]), crc32(payload))
    return kind, start, value, np.frombuffer(payload, "<i2").reshape(rows, columns)


def until(connected: socket.socket, kind: int) -> tuple[list[Packet], Packet]:
    """The samples packets before the next packet of a kind, and that."""
    before = []
    while (found := packet(connected))[0] != kind:
        before += [found] if found[0] == 1 else []
    return before, found


def closed(connected: socket.socket) -> bool:
    """True once the other side has gone, one way or the other."""
    try:
        return connected.recv(1) == b""
    except ConnectionResetError:
        return True


def turned_away(port: int) -> bool:
    """True where a client is dropped, which it may notice at once."""
    try:
        with client(port) as connected:
            return closed(connected)
    except ConnectionResetError:
        return True


def digitizer(
    *, pace: str = "clock", memory_s: float = 2.0, length: int | None = None
) -> DigitizerFace:
    source = Counting()
    source.length = length
    return DigitizerFace(source, pace=pace, memory_s=memory_s, stream="s")


def test_a_stream_over_a_socket_is_whole_and_ends() -> None:
    face = digitizer(length=70_000, pace="flat-out")
    with serving(face, HandClock(0.0)) as port, client(port) as connected:
        assert json.loads(line(connected))["can_wait"] is True
        connected.sendall(b"START 0\n")
        assert packet(connected)[:3] == (2, 0, T0_NS)
        for start in (0, 20_000, 40_000, 60_000):
            kind, found, _, samples = packet(connected)
            assert (kind, found) == (1, start)
            stop = min(start + 20_000, 70_000)
            assert np.array_equal(samples, Counting().samples(start, stop))
        assert packet(connected)[:2] == (4, 70_000)
        assert closed(connected)


def test_a_client_that_stalls_gets_a_gap_that_is_exact() -> None:
    clock = HandClock(2.0)
    with (
        serving(digitizer(memory_s=2.0), clock) as port,
        client(port, receive_buffer=1 << 16) as connected,
    ):
        assert json.loads(line(connected))["next"] == 2_000_001
        connected.sendall(b"START 0\n")
        assert packet(connected)[:3] == (3, 0, 1)
        # 16 MB are there and the sockets hold few of them: time passes while we do not read
        clock.now_s = 60.0
        before, gap = until(connected, kind=3)
        stop = 1
        for _, start, _, samples in before:
            assert start == stop
            stop += samples.shape[1]
        assert gap[1:3] == (stop, 60_000_001 - 2_000_000)
        _, (_, start, _, samples) = until(connected, kind=1)
        assert start == gap[2]
        assert np.array_equal(samples, Counting().samples(start, start + samples.shape[1]))


def test_samples_follow_the_clock() -> None:
    clock = HandClock(1.0)
    with serving(digitizer(), clock) as port, client(port) as connected:
        line(connected)
        connected.sendall(b"START 1000001\n")
        clock.now_s = 1.05
        assert packet(connected)[1] == 1_000_001
        assert packet(connected)[1] == 1_020_001
        clock.now_s = 1.07
        assert packet(connected)[1] == 1_040_001


def test_a_second_client_is_told_that_the_digitizer_is_busy() -> None:
    with serving(digitizer(), HandClock(0.0)) as port, client(port) as first:
        line(first)
        with client(port) as second:
            assert json.loads(line(second)) == {"error": "busy"}
            assert closed(second)
        first.sendall(b"START 0\nSTOP\n")
        assert packet(first)[:2] == (4, 0)
        assert closed(first)


def test_who_leaves_makes_room_at_once() -> None:
    clock = HandClock(10.0)
    with serving(digitizer(), clock) as port:
        for start in (b"START -1\n", b"START 0\n", b""):
            with client(port) as connected:
                assert b"scheelite-digitizer" in line(connected)
                connected.sendall(start)
        with client(port) as connected:
            assert b"scheelite-digitizer" in line(connected)


def test_who_spoke_and_left_makes_room_for_who_comes_at_the_same_moment() -> None:
    listener = listen("it", 0)
    loop = Loop([(listener, digitizer())], HandClock(10.0))
    port = listener.getsockname()[1]
    with client(port) as first:
        loop.turn()
        loop.turn()
        line(first)
        first.sendall(b"START -1\n")
    with client(port) as second:
        # the line, the farewell and the newcomer are all there at once
        loop.turn()
        loop.turn()
        assert b"scheelite-digitizer" in line(second)
    loop.stop()
    loop.run()


def test_an_instrument_answers_on_its_socket() -> None:
    face = Lakeshore372(Cryostat(1))
    with serving(face, HandClock(0.0)) as port, client(port) as connected:
        connected.sendall(b"\n*IDN?\r\nRANGE 0,4;RANGE? 0\n")
        assert line(connected) == b"LSCI,MODEL372,SIM0372,1.3\r\n"
        assert line(connected) == b"4\r\n"
    assert face.complaints == []


def test_the_bridge_lets_two_clients_in_and_drops_the_third() -> None:
    face = Lakeshore372(Cryostat(1))
    with serving(face, HandClock(0.0)) as port, client(port) as first, client(port) as second:
        for connected in (first, second):
            connected.sendall(b"*IDN?\n")
            assert line(connected).startswith(b"LSCI")
        assert turned_away(port)
        first.sendall(b"*OPC?\n")
        assert line(first) == b"1\r\n"


def test_the_squid_electronics_answers_frames() -> None:
    face = MagniconXxf1(SquidElectronics())
    with serving(face, HandClock(0.0)) as port, client(port) as connected:
        connected.sendall(b"<01b0160\r<01b837\r")
        assert line(connected, b"\r") + line(connected, b"\r") == b"|0AC\r>16F\r"
    assert face.complaints == []


def test_nonsense_without_an_end_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    face = Lakeshore372(Cryostat(1))
    with serving(face, HandClock(0.0)) as port, client(port) as connected:
        connected.sendall(b"x" * 5000)
        deadline = time.monotonic() + DEADLINE_S
        while not face.complaints and time.monotonic() < deadline:
            connected.sendall(b"y" * 5000)
        connected.sendall(b"\n*OPC?\n")
        assert line(connected) == b"1\r\n"
    assert "bytes without a message end" in face.complaints[0]
    assert face.complaints[0] in caplog.text


def test_clients_are_dropped_when_the_bench_stops() -> None:
    with client_of_stopped_loop() as connected:
        assert closed(connected)


@contextmanager
def client_of_stopped_loop() -> Iterator[socket.socket]:
    with serving(digitizer(), HandClock(0.0)) as port:
        connected = socket.create_connection((HOST, port), DEADLINE_S)
        line(connected)
    with connected:
        yield connected


def test_a_port_in_use_is_refused_by_name() -> None:
    with listen("first", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PortError) as refused:
            listen("fridge", port)
    assert (
        str(refused.value) == f"fridge: cannot listen on 127.0.0.1:{port}: Address already in use"
    )
