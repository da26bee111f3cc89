"""The data port of a Red Pitaya's streaming server, over any source.

Of the server's published sources: the 16 bytes that begin a packet, the fields of the header, one
packet per channel with the number of its pack, sizes in bytes, and the two lengths of the header:
56 bytes in older versions, 57 in later ones, where a longer kind of header sets the length. Not
confirmed on a device: that `lostFPGA` counts the samples lost since the pack before, per channel.
The stream begins when a client connects: the port where streaming is started is not here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from sim_hardware.face import Chunk
from sim_hardware.faces.digitizer import MEMORIES, Memory, reading_wait_s, resumed
from sim_hardware.holes import Holes
from sim_hardware.source import Source

ID = bytes.fromhex("FFFFFFFFA0A0A0A0" * 2)
HEADER = struct.Struct("<16sQQQQIBBBB")  # 56 bytes
BASE_HZ, BITS, ADC_MODE = 125_000_000, 16, 0
PACK_S, PACK_BYTES = 0.02, 2 << 20


class RedPitaya:
    """One digitizer; what a client does not fetch in time is counted as lost."""

    model = "redpitaya"
    max_clients = 1
    refusal = b""

    def __init__(
        self,
        source: Source,
        *,
        pace: str,
        memory_s: float,
        header_bytes: int,
        lost: Holes | None = None,
    ) -> None:
        self.source, self.header_bytes, self.lost = source, header_bytes, lost or Holes()
        self.memory: Memory = MEMORIES[pace](source, memory_s)
        self.complaints: list[str] = []

    def connect(self, now_s: float) -> Packs:
        """Stream to a client from now on."""
        return Packs(self, self.memory.next(now_s))


class Packs:
    """The packs that one client gets, from a sample on."""

    def __init__(self, face: RedPitaya, start: int) -> None:
        self._face, self._position = face, start
        by_time = round(PACK_S * face.source.rate_hz)
        self._size = max(1, min(by_time, PACK_BYTES // 2))
        self._number, self._lost = 0, 0

    @property
    def over(self) -> bool:
        """True at the end of the source."""
        length = self._face.source.length
        return length is not None and self._position >= length

    def receive(self, received: bytes, now_s: float) -> None:
        """Nothing is to be said to a data port."""
        del now_s
        if received:
            self._face.complaints.append(f"expected nothing, found {len(received)} bytes")

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The next pack, a packet per channel, once its samples exist."""
        self._skip(resumed(self._face.memory, self._face.lost, self._position, now_s))
        stop = self._stop()
        if self.over or self._until(stop, now_s) > 0:
            return []
        self._face.memory.sent(stop)
        samples = self._face.source.samples(self._position, stop)
        chunks: list[Chunk] = []
        for channel, row in enumerate(samples):
            chunks += [self._header(channel, row.nbytes, samples.nbytes), row.data.cast("B")]
        self._position, self._lost, self._number = stop, 0, self._number + 1
        return chunks

    def wait_s(self, now_s: float) -> float | None:
        """Until the next pack's last sample is converted."""
        return None if self.over else self._until(self._stop(), now_s)

    def _until(self, stop: int, now_s: float) -> float:
        return reading_wait_s(self._face.memory, self._face.lost, self._position, stop, now_s)

    def _stop(self) -> int:
        length = self._face.source.length
        stop = self._face.lost.before(self._position, self._position + self._size)
        return stop if length is None else min(stop, length)

    def _skip(self, resumed_at: int) -> None:
        """Leave out what was overwritten or lost."""
        lost = max(0, resumed_at - self._position)
        self._position += lost
        self._lost += lost

    def _header(self, channel: int, n_bytes: int, n_all: int) -> bytes:
        length = self._face.header_bytes
        head = HEADER.pack(
            ID, length + n_bytes, self._number, self._lost, n_all,
            BASE_HZ, BITS, channel, BITS, ADC_MODE,
        )  # fmt: skip
        return head.ljust(length, b"\0")
