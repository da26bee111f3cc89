"""The digitizer's side of the digitizer stream: bytes and times, no sockets."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pytest

from sim_hardware.face import Chunk
from sim_hardware.faces.digitizer import DigitizerConversation, DigitizerFace

T0_NS = 1_789_000_000_000_000_000


@dataclass(frozen=True)
class Counting:
    """A source whose samples tell their channel and number."""

    rate_hz: float = 1000.0
    length: int | None = None
    ppm: float = 0.0
    name: str = "counter"
    channels: tuple[str, ...] = ("a", "b")
    volts_per_count: float = 0.5

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        numbers = np.arange(start, stop) % 10_000
        return np.array([numbers, -numbers], np.int16)

    def t_ns(self, sample: int) -> int:
        return T0_NS + int(sample * 1e9 / (self.rate_hz * (1 + self.ppm * 1e-6)))


@dataclass(frozen=True)
class Packet:
    kind: int
    start: int
    value: int
    samples: npt.NDArray[np.int16]


def packets(chunks: Iterable[Chunk], first: int = 0) -> list[Packet]:
    """What a stream says, with every check sum, length and number checked."""
    stream = b"".join(bytes(chunk) for chunk in chunks)
    found: list[Packet] = []
    while stream:
        magic, version, kind, rows, columns, n_bytes, start, value, check, own, number = (
            struct.unpack("<4sBBHIIQqIIQ", stream[:48])
        )
        payload, rest = stream[48 : 48 + n_bytes], stream[48 + n_bytes :]
        assert (magic, version, number) == (b"SCHD", 1, first + len(found))
        assert own == crc32(stream[:36])
        assert check == crc32(payload)
        assert len(payload) == n_bytes == 2 * rows * columns
        samples = np.frombuffer(payload, "<i2").reshape(rows, columns)
        found.append(Packet(kind, start, value, samples))
        stream = rest
    return found


def hello(conversation: DigitizerConversation, now_s: float) -> dict[str, object]:
    line = b"".join(bytes(chunk) for chunk in conversation.send(now_s))
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    return dict(json.loads(line))


def begun(
    source: Counting, start: str, now_s: float, *, pace: str = "clock", memory_s: float = 2.0
) -> DigitizerConversation:
    """A conversation with a client that said START."""
    face = DigitizerFace(source, pace=pace, memory_s=memory_s, stream="s")
    conversation = face.connect(now_s)
    hello(conversation, now_s)
    conversation.receive(f"START {start}\n".encode(), now_s)
    assert face.complaints == []
    return conversation


def everything(conversation: DigitizerConversation, now_s: float) -> list[Packet]:
    """All packets that there are at a time."""
    found: list[Packet] = []
    while not conversation.over and conversation.wait_s(now_s) == 0:
        found += packets(conversation.send(now_s), len(found))
    return found


def test_the_hello_says_what_there_is() -> None:
    face = DigitizerFace(Counting(), pace="clock", memory_s=2.0, stream="9f0c")
    assert hello(face.connect(5.5), 5.5) == {
        "protocol": "scheelite-digitizer",
        "version": 1,
        "name": "counter",
        "channels": ["a", "b"],
        "rate_hz": 1000.0,
        "volts_per_count": 0.5,
        "stream": "9f0c",
        "can_wait": False,
        "oldest": 3501,
        "next": 5501,
        "anchor": [3000, T0_NS + 3 * 10**9],
    }


def test_who_can_wait_has_everything_and_stands_where_it_was_read() -> None:
    face = DigitizerFace(Counting(), pace="flat-out", memory_s=2.0, stream="s")
    first = hello(face.connect(5.0), 5.0)
    assert (first["can_wait"], first["oldest"], first["next"]) == (True, 0, 0)
    conversation = face.connect(5.0)
    hello(conversation, 5.0)
    conversation.receive(b"START 100\n", 5.0)
    conversation.send(5.0)
    again = hello(face.connect(5.0), 5.0)
    assert (again["oldest"], again["next"], again["anchor"]) == (0, 120, [0, T0_NS])


def test_nothing_is_sent_before_start() -> None:
    conversation = DigitizerFace(Counting(), pace="clock", memory_s=2.0, stream="s").connect(0.0)
    assert conversation.wait_s(0.0) == 0.0
    hello(conversation, 0.0)
    assert conversation.wait_s(9.0) is None
    assert conversation.send(9.0) == []


def test_a_start_in_the_past_sends_what_is_in_memory() -> None:
    found = everything(begun(Counting(), "1234", 2.0), 2.0)
    samples = [packet for packet in found if packet.kind == 1]
    assert samples[0].start == 1234
    joined = np.concatenate([packet.samples for packet in samples], axis=1)
    assert np.array_equal(joined, Counting().samples(1234, 1234 + joined.shape[1]))
    assert [packet.samples.shape for packet in samples[:2]] == [(2, 20), (2, 20)]


def test_a_start_in_the_future_waits_for_it() -> None:
    conversation = begun(Counting(), "5000", 2.0)
    assert conversation.wait_s(2.0) == pytest.approx(3.019)
    assert conversation.send(5.018) == []
    found = everything(conversation, 5.0195)
    assert [(packet.kind, packet.start) for packet in found] == [(2, 5000), (1, 5000)]


def test_a_start_at_minus_one_is_the_next_sample() -> None:
    conversation = begun(Counting(), "-1", 2.0)
    found = everything(conversation, 2.5)
    assert next(packet.start for packet in found if packet.kind == 1) == 2001


def test_a_start_before_memory_begins_with_a_gap() -> None:
    found = everything(begun(Counting(), "100", 10.0), 10.0)
    assert (found[0].kind, found[0].start, found[0].value) == (3, 100, 8001)
    assert next(packet.start for packet in found if packet.kind == 1) == 8001


def test_anchors_come_once_a_second_before_their_samples() -> None:
    found = everything(begun(Counting(ppm=100.0), "0", 3.5, memory_s=10.0), 3.5)
    anchors = [(packet.start, packet.value) for packet in found if packet.kind == 2]
    assert anchors == [(k * 1000, Counting(ppm=100.0).t_ns(k * 1000)) for k in range(4)]
    seen = 0
    for packet in found:
        if packet.kind == 2:
            assert packet.start >= seen
        else:
            seen = packet.start + packet.samples.shape[1]


def test_what_is_read_too_slowly_becomes_a_gap_of_exactly_that() -> None:
    conversation = begun(Counting(), "0", 1.0, memory_s=0.5)
    before = everything(conversation, 1.0)
    after = packets(conversation.send(4.0), len(before))
    stop = before[-1].start + before[-1].samples.shape[1]
    assert (after[0].kind, after[0].start, after[0].value) == (3, stop, 3501)
    assert (after[1].kind, after[1].start) == (1, 3501)


def test_a_fast_clock_has_more_samples() -> None:
    face = DigitizerFace(Counting(ppm=500.0), pace="clock", memory_s=2.0, stream="s")
    assert hello(face.connect(1000.0), 1000.0)["next"] == 1_000_501


def test_a_source_that_ends_is_ended() -> None:
    for pace in ("clock", "flat-out"):
        conversation = begun(Counting(length=50), "0", 10.0, pace=pace, memory_s=20.0)
        found = everything(conversation, 10.0)
        shape = [(packet.kind, packet.start, packet.samples.shape[1]) for packet in found]
        assert shape == [(2, 0, 0), (1, 0, 20), (1, 20, 20), (1, 40, 10), (4, 50, 0)]
        assert conversation.over


def test_a_start_after_the_end_is_the_end() -> None:
    (end,) = everything(begun(Counting(length=50), "9999", 10.0), 10.0)
    assert (end.kind, end.start) == (4, 50)


def test_a_memory_of_a_source_that_ended_is_kept() -> None:
    face = DigitizerFace(Counting(length=1000), pace="clock", memory_s=0.5, stream="s")
    late = hello(face.connect(1e6), 1e6)
    assert (late["oldest"], late["next"]) == (500, 1000)


def test_stop_ends_the_stream_where_it_is() -> None:
    conversation = begun(Counting(), "0", 1.0)
    n = len(everything(conversation, 1.0))
    conversation.receive(b"STOP\r\n", 1.0)
    (end,) = packets(conversation.send(1.0), n)
    assert (end.kind, end.start) == (4, 1000)
    assert conversation.over


@pytest.mark.parametrize(
    "line",
    [
        b"GO",
        b"START",
        b"START x",
        b"START -2",
        b"START 9223372036854775808",
        b"STOP",
        b"\xff" * 200,
    ],
)
def test_what_is_no_start_is_refused(line: bytes) -> None:
    face = DigitizerFace(Counting(), pace="clock", memory_s=2.0, stream="s")
    conversation = face.connect(0.0)
    hello(conversation, 0.0)
    conversation.receive(line + b"\nSTART 0\n", 0.0)
    assert "expected START <sample> [<end>], found" in str(hello(conversation, 0.0)["error"])
    assert conversation.over
    assert len(face.complaints) == 1


def test_a_second_start_is_noted_and_changes_nothing() -> None:
    face = DigitizerFace(Counting(), pace="clock", memory_s=2.0, stream="s")
    conversation = face.connect(1.0)
    hello(conversation, 1.0)
    conversation.receive(b"START 0\nSTART 500\n", 1.0)
    assert everything(conversation, 1.0)[1].start == 0
    assert face.complaints == ["expected STOP, found 'START 500'"]


def test_packets_stay_below_eight_mebibytes() -> None:
    many = tuple(str(n) for n in range(64))
    source = Wide(rate_hz=50e6, channels=many)
    conversation = begun(source, "0", 0.0, pace="flat-out")
    sizes = [len(memoryview(chunk)) for chunk in conversation.send(0.0)]
    assert max(sizes) == 8 << 20


class Wide(Counting):
    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        return np.zeros((len(self.channels), stop - start), np.int16)
