"""However a client reads, the digitizer stream accounts for every sample once."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from sim_hardware.faces.digitizer import DigitizerFace

HEADER = struct.Struct("<4sBBHIIQqIIQ")


@dataclass(frozen=True)
class Counting:
    """A source whose samples are their numbers."""

    rate_hz: float
    length: int | None
    name: str = "counter"
    channels: tuple[str, ...] = ("a",)
    volts_per_count: float = 1.0

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        return (np.arange(start, stop) % 2**15).astype(np.int16)[np.newaxis]

    def t_ns(self, sample: int) -> int:
        return int(sample * 1e9 / self.rate_hz)


@given(
    st.sampled_from([1000.0, 1000.5, 333.25]),
    st.one_of(st.none(), st.integers(0, 5000)),
    st.sampled_from(["clock", "flat-out"]),
    st.floats(0.05, 3.0),
    st.integers(-1, 4000),
    st.lists(st.floats(0, 2.0), min_size=1, max_size=40),
)
def test_every_sample_is_sent_or_in_a_gap(
    rate_hz: float, length: int | None, pace: str, memory_s: float, start: int, steps: list[float]
) -> None:
    source = Counting(rate_hz, length)
    face = DigitizerFace(source, pace=pace, memory_s=memory_s, stream="s")
    now_s = 0.5
    conversation = face.connect(now_s)
    conversation.send(now_s)
    begin = face.memory.next(now_s) if start < 0 else start
    conversation.receive(f"START {start}\n".encode(), now_s)
    begin = begin if length is None else min(begin, length)
    reader = Reader(source, begin)
    for step in steps:
        now_s += step
        reader.read(b"".join(bytes(chunk) for chunk in conversation.send(now_s)))
        assert pace == "flat-out" or (reader.at - 1) / rate_hz <= now_s or reader.at == begin
    assert conversation.over == reader.ended
    assert not reader.ended or reader.at == length
    assert not reader.lost or pace == "clock"


class Reader:
    """A client that accounts for every sample from `at` on."""

    def __init__(self, source: Counting, at: int) -> None:
        self.at, self.lost, self.ended = at, 0, False
        self._source, self._number, self._anchor = source, 0, -1

    def read(self, stream: bytes) -> None:
        while stream:
            _, _, kind, _, _, n_bytes, start, value, _, _, number = HEADER.unpack(stream[:48])
            assert number == self._number
            self._number += 1
            payload, stream = stream[48 : 48 + n_bytes], stream[48 + n_bytes :]
            (self._samples, self._take_anchor, self._gap, self._end)[kind - 1](
                start, value, payload
            )

    def _samples(self, start: int, value: int, payload: bytes) -> None:
        samples = np.frombuffer(payload, np.int16)
        assert start == self.at
        assert np.array_equal(samples, self._source.samples(start, start + len(samples))[0])
        # no anchor was left out
        if self._anchor >= 0:
            assert self._anchor > start + len(samples) - 1 - self._source.rate_hz
        self.at += len(samples)

    def _take_anchor(self, start: int, value: int, payload: bytes) -> None:
        assert start >= self.at
        assert start > self._anchor
        assert value == self._source.t_ns(start)
        self._anchor = start

    def _gap(self, start: int, value: int, payload: bytes) -> None:
        assert start == self.at < value
        self.lost, self.at, self._anchor = self.lost + value - start, value, -1

    def _end(self, start: int, value: int, payload: bytes) -> None:
        assert start == self.at
        self.ended = True
