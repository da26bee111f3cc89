"""The digitizer's stream, and what is made of it on the way to the core."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import zlib

import numpy as np
import pytest

from daq.errors import NotConnectedError, ReplyError, SilentError, WrongInstrumentError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.backoff import Backoff
from drivers.digitizer.digitizer import End, Samples
from drivers.digitizer.stream import MAX_PAYLOAD, StreamDigitizer
from drivers.services.merger import Merger
from tests.digitizer_server import T0_NS, DigitizerServer, packet, values

WAIT_S = 5.0


@pytest.fixture
def server():
    server = DigitizerServer()
    yield server
    server.close()


@pytest.fixture
def digitizer(server):
    digitizer = StreamDigitizer("targets", server.resource)
    yield digitizer
    digitizer.close()


@pytest.fixture
def played(request):
    """A digitizer that sends a hello and then literal bytes; the client has been started."""
    listener = socket.create_server(("127.0.0.1", 0))
    hello = json.dumps(DigitizerServer.hello(_Facts())).encode() + b"\n"

    def play(*packets: bytes, first: bytes = hello, start: int = 0) -> StreamDigitizer:
        def serve() -> None:
            client = listener.accept()[0]
            with client, contextlib.suppress(OSError):
                client.sendall(first)
                client.makefile("rb").readline()
                client.sendall(b"".join(packets))
                client.makefile("rb").read()

        thread = threading.Thread(target=serve)
        thread.start()
        resource = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        digitizer = StreamDigitizer("targets", resource, timeout_s=1.0)
        request.addfinalizer(thread.join)
        request.addfinalizer(digitizer.close)
        digitizer.connect()
        digitizer.start(start)
        return digitizer

    yield play
    listener.close()


class _Facts:
    """What DigitizerServer.hello tells, without a server."""

    name, n_channels, rate_hz, can_wait = "targets", 2, 1000.0, False
    stream, oldest, next = "stream-1", 0, 100
    anchor_at = DigitizerServer.anchor_at


def changed(header: bytes, at: int, form: str, value: object) -> bytes:
    """A packet with one field changed, and its header's CRC right again."""
    buffer = bytearray(header)
    struct.pack_into(form, buffer, at, value)
    struct.pack_into("<I", buffer, 36, zlib.crc32(bytes(buffer[:36])))
    return bytes(buffer)


SAMPLES = packet(1, 0, 0, samples=values(0, 10, 2))


def test_the_hello_is_understood(server, digitizer):
    server.forget_before(1500)
    server.produce(2000)
    facts = digitizer.connect()
    assert (facts.name, facts.channels, facts.rate_hz) == ("targets", ("C0", "C1"), 1000.0)
    assert (facts.oldest, facts.next, facts.can_wait) == (1500, 2000, False)
    assert facts.anchor == Anchor(1000, T0_NS + 1_000_000_000)


def test_samples_and_anchors_come_as_they_were_sent(server, digitizer):
    server.produce(15)
    digitizer.connect()
    digitizer.start(0)
    assert digitizer.read(WAIT_S) == Anchor(0, T0_NS)
    first, second = digitizer.read(WAIT_S), digitizer.read(WAIT_S)
    assert (first.start, first.stop, second.start, second.stop) == (0, 10, 10, 15)
    np.testing.assert_array_equal(first.samples, values(0, 10, 2))
    np.testing.assert_array_equal(second.samples, values(10, 15, 2))
    assert not first.samples.flags.writeable
    assert first.samples.flags.c_contiguous


def test_what_memory_has_lost_since_the_start_is_an_exact_gap(server, digitizer):
    server.produce(100)
    digitizer.connect()
    server.forget_before(30)
    digitizer.start(10)
    assert digitizer.read(WAIT_S) == Gap(10, 30, exact=True)
    assert digitizer.read(WAIT_S).start == 30


def test_a_gap_packet_is_a_gap_and_the_end_the_end(played):
    digitizer = played(
        packet(3, 0, 0, 20), packet(1, 1, 20, samples=values(20, 30, 2)), packet(4, 2, 30)
    )
    assert digitizer.read(WAIT_S) == Gap(0, 20)
    assert digitizer.read(WAIT_S).start == 20
    assert digitizer.read(WAIT_S) == End(30)


def test_the_beginning_from_now_on_has_no_gap(played):
    digitizer = played(packet(1, 0, 70, samples=values(70, 80, 2)), start=-1)
    assert digitizer.read(WAIT_S).start == 70


def test_nothing_is_silence_and_half_a_packet_is_continued(request):
    ours, theirs = socket.socketpair()
    request.addfinalizer(ours.close)
    digitizer = StreamDigitizer("targets", "tcp://127.0.0.1:1")
    request.addfinalizer(digitizer.close)
    digitizer._socket, digitizer._n_channels = theirs, 2
    for part in (SAMPLES[:20], SAMPLES[20:60], b""):
        with pytest.raises(SilentError, match="sends nothing"):
            digitizer.read(0.01)
        ours.sendall(part)
    ours.sendall(SAMPLES[60:])
    np.testing.assert_array_equal(digitizer.read(WAIT_S).samples, values(0, 10, 2))


def test_a_closed_connection_is_not_connected(server, digitizer):
    digitizer.connect()
    digitizer.start(0)
    server.drop()
    with pytest.raises(NotConnectedError, match="closed the connection"):
        digitizer.read(WAIT_S)


def test_a_refused_connection_is_not_connected(server):
    server.close()
    with pytest.raises(NotConnectedError, match=r"cannot reach tcp://127.0.0.1:\d+: .*refused"):
        StreamDigitizer("targets", server.resource).connect()


def test_a_port_there_cannot_be_is_not_connected():
    with pytest.raises(NotConnectedError, match=r"cannot reach tcp://127.0.0.1:99999"):
        StreamDigitizer("targets", "tcp://127.0.0.1:99999").connect()


def test_a_digitizer_of_another_name_is_refused(server):
    digitizer = StreamDigitizer("vetoes", server.resource)
    with pytest.raises(WrongInstrumentError, match=r"expected digitizer 'vetoes' .* 'targets'"):
        digitizer.connect()
    digitizer.close()


@pytest.mark.parametrize(
    ("hello", "kind", "message"),
    [
        (b'{"error": "busy"}\n', NotConnectedError, "does not serve us: busy"),
        (b"SSH-2.0-OpenSSH\n", ReplyError, "expected the hello of a digitizer"),
        (b"\xff\n", ReplyError, "expected the hello of a digitizer"),
        (b'{"protocol": "scheelite-digitizer", "version": 2}\n', ReplyError, "version"),
        (b"x" * (1 << 20) + b"xx\n", ReplyError, "bytes that are no hello"),
    ],
)
def test_a_hello_that_is_none_is_refused(played, hello, kind, message):
    with pytest.raises(kind, match=message):
        played(first=hello)


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate_hz", 0), ("channels", []), ("oldest", -1), ("stream", ""), ("rate_hz", "1 kHz")],
)
def test_a_hello_with_an_impossible_value_is_refused(played, field, value):
    hello = {**DigitizerServer.hello(_Facts()), field: value}
    with pytest.raises(ReplyError, match=rf"expected the hello .*\$\.{field}"):
        played(first=json.dumps(hello).encode() + b"\n")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"XXXX" + SAMPLES[4:], r"expected b'SCHD' version 1 .* found b'XXXX' version 1"),
        (changed(SAMPLES, 4, "<B", 2), "found b'SCHD' version 2"),
        (SAMPLES[:16] + b"\x01" + SAMPLES[17:], "expected an intact header .* a wrong CRC"),
        (SAMPLES[:-1] + b"\x7f", "expected intact samples .* a wrong CRC in packet 0"),
        (changed(SAMPLES, 40, "<Q", 5), "expected packet 0 .* found packet 5"),
        (changed(SAMPLES, 6, "<H", 3), "expected samples of 2 channels.*found 3 channels"),
        (changed(SAMPLES, 8, "<I", 9), "found 2 channels, 9 samples, 40 bytes"),
        (changed(SAMPLES, 12, "<I", MAX_PAYLOAD + 4), "at most 8388608 bytes"),
        (packet(1, 0, 0, samples=values(0, 0, 2)), "found 2 channels, 0 samples, 0 bytes"),
        (changed(SAMPLES, 5, "<B", 3), "expected no payload .* found 40 bytes in kind 3"),
        (packet(9, 0, 0), "expected an anchor, a gap or the end .* found kind 9"),
        (packet(3, 0, 50, 50), "found kind 3 from 50 to 50"),
        (packet(2, 0, 0, -1), "found kind 2 from 0 to -1"),
        (packet(4, 0, 2**63), "expected numbers up to 4611686018427387904"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_packet_against_the_document_is_refused(played, bad, message):
    digitizer = played(bad)
    with pytest.raises(ReplyError, match=message):
        digitizer.read(WAIT_S)


def test_samples_that_come_twice_are_refused(played):
    digitizer = played(SAMPLES, packet(1, 1, 5, samples=values(5, 15, 2)))
    digitizer.read(WAIT_S)
    with pytest.raises(ReplyError, match=r"expected sample 10 or later .* found sample 5"):
        digitizer.read(WAIT_S)


def test_a_closed_digitizer_says_so():
    with pytest.raises(NotConnectedError, match="is closed"):
        StreamDigitizer("targets", "tcp://127.0.0.1:1").read(0.1)


# --- the merger -------------------------------------------------------------------------------


def test_small_packets_become_blocks_of_at_least_25_milliseconds():
    merger = Merger(rate_hz=1000.0, n_channels=2)
    packets = [Samples(at, values(at, at + 6, 2)) for at in range(0, 66, 6)]
    blocks = [block for packet in packets for block in merger.add(packet)] + merger.flush()
    assert [(b.start, b.stop) for b in blocks] == [(0, 30), (30, 60), (60, 66)]
    joined = np.concatenate([b.samples for b in blocks], axis=1)
    np.testing.assert_array_equal(joined, values(0, 66, 2))


def test_a_big_packet_passes_as_it_is_behind_what_waits():
    merger = Merger(rate_hz=1000.0, n_channels=2)
    small, big = Samples(0, values(0, 5, 2)), Samples(5, values(5, 45, 2))
    assert merger.add(small) == []
    first, second = merger.add(big)
    assert first.samples is small.samples
    assert second.samples is big.samples


def test_a_block_is_bounded_in_bytes():
    merger = Merger(rate_hz=1e9, n_channels=16)
    packets = [Samples(at, np.zeros((16, 1024), "<i2")) for at in range(0, 1 << 16, 1024)]
    blocks = [block for packet in packets for block in merger.add(packet)]
    assert {block.samples.nbytes for block in blocks} == {1 << 20}


# --- the back-off -----------------------------------------------------------------------------


def test_the_wait_doubles_up_to_the_longest_and_success_forgets_it():
    now = [0.0]
    backoff = Backoff(0.2, 5.0, lambda: now[0])
    assert backoff.remaining_s == 0.0
    waits = []
    for _ in range(7):
        backoff.failed()
        waits.append(round(backoff.remaining_s, 3))
        now[0] += backoff.remaining_s
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.succeeded()
    backoff.failed()
    assert backoff.remaining_s == pytest.approx(0.2)
