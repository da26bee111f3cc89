"""The simulated Red Pitaya against the packets of its published sources."""

from __future__ import annotations

import socket
import struct
import threading

import numpy as np
import numpy.typing as npt
import pytest

from sim_hardware.faces.redpitaya import ID, RedPitaya
from sim_hardware.serve import HOST, Loop, listen

DEADLINE_S = 20.0
FIELDS = struct.Struct("<16sQQQQIBBBB")
Packet = tuple[dict[str, int], npt.NDArray[np.int16]]


class Counting:
    """Two inputs: the sample's number, and its negative."""

    name, channels, rate_hz, volts_per_count = "counter", ("a", "b"), 1e4, 1.0

    def __init__(self, length: int | None = None) -> None:
        self.length = length

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        numbers = (np.arange(start, stop) % 2**15).astype(np.int16)
        return np.stack([numbers, -numbers])

    def t_ns(self, sample: int) -> int:
        return sample * 100_000


def face(header_bytes: int = 57, pace: str = "clock", length: int | None = None) -> RedPitaya:
    return RedPitaya(Counting(length), pace=pace, memory_s=1.0, header_bytes=header_bytes)


def packets(sent: bytes, header_bytes: int) -> list[Packet]:
    """Each header's fields, and the samples after it."""
    found = []
    while sent:
        names = ("id", "size", "pack", "lost", "all", "base", "bits", "channel", "each", "mode")
        fields = dict(zip(names, FIELDS.unpack_from(sent), strict=True))
        assert fields.pop("id") == bytes.fromhex("FFFFFFFFA0A0A0A0FFFFFFFFA0A0A0A0") == ID
        found.append((fields, np.frombuffer(sent[header_bytes : fields["size"]], "<i2")))
        sent = sent[fields["size"] :]
    return found


def joined(chunks: object) -> bytes:
    assert isinstance(chunks, list)
    return b"".join(bytes(chunk) for chunk in chunks)


@pytest.mark.parametrize("header_bytes", [56, 57])
def test_a_pack_is_a_packet_per_channel(header_bytes: int) -> None:
    talk = face(header_bytes).connect(0.0)
    assert talk.send(0.0) == []
    assert talk.wait_s(0.0) == pytest.approx(0.02)
    (one, first), (other, second) = packets(joined(talk.send(0.02)), header_bytes)
    assert one == {
        "size": header_bytes + 400, "pack": 0, "lost": 0, "all": 800, "base": 125_000_000,
        "bits": 16, "channel": 0, "each": 16, "mode": 0,
    }  # fmt: skip
    assert other == one | {"channel": 1}
    assert first.tolist() == list(range(1, 201))  # 0 was converted when it came
    assert second.tolist() == [-n for n in range(1, 201)]


def test_packs_are_numbered_and_contiguous() -> None:
    talk = face().connect(0.0)
    sent = [packets(joined(talk.send(1.0)), 57) for _ in range(5)]
    assert [pack[0][0]["pack"] for pack in sent] == [0, 1, 2, 3, 4]
    assert np.concatenate([pack[0][1] for pack in sent]).tolist() == list(range(1, 1001))


def test_what_was_overwritten_is_counted_once() -> None:
    talk = face().connect(0.0)
    talk.send(0.02)
    late, later = (packets(joined(talk.send(3.0)), 57) for _ in range(2))
    assert {fields["lost"] for fields, _ in late} == {20_000 - 200}  # 3 s less 1 s of memory
    assert late[0][1][0] == 20_001
    assert {fields["lost"] for fields, _ in later} == {0}


def test_a_client_gets_what_is_converted_after_it_came() -> None:
    talk = face().connect(2.5)
    assert packets(joined(talk.send(2.6)), 57)[0][1][0] == 25_001


def test_flat_out_it_waits_for_the_reader_until_the_end() -> None:
    talk = face(pace="flat-out", length=500).connect(0.0)
    sent = b""
    while not talk.over:
        sent += joined(talk.send(0.0))
    found = packets(sent, 57)
    assert sum(len(samples) for _, samples in found) == 1000
    assert {fields["lost"] for fields, _ in found} == {0}


def test_the_data_port_listens_to_nothing() -> None:
    made = face()
    made.connect(0.0).receive(b"hello", 0.0)
    assert made.complaints == ["expected nothing, found 5 bytes"]


def test_the_stream_goes_over_a_socket_until_the_source_ends() -> None:
    listener = listen("it", 0)
    loop = Loop([(listener, face(pace="flat-out", length=1000))], lambda: 0.0)
    thread = threading.Thread(target=loop.run)
    thread.start()
    sent = b""
    try:
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port), DEADLINE_S) as client:
            while received := client.recv(1 << 16):
                sent += received
    finally:
        loop.stop()
        thread.join(DEADLINE_S)
    assert [len(samples) for _, samples in packets(sent, 57)] == [200] * 10
