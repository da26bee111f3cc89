"""A digitizer that speaks the digitizer stream (docs/wire/digitizer-stream.md), over any source."""

from __future__ import annotations

import json
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Protocol
from zlib import crc32

from sim_hardware.face import Chunk
from sim_hardware.holes import Holes
from sim_hardware.source import Source

PROTOCOL, VERSION = "scheelite-digitizer", 1
HEADER = struct.Struct("<4sBBHIIQqI")  # and then its CRC-32 and the packet number
TRAILER = struct.Struct("<IQ")
SAMPLES, ANCHOR, GAP, END = 1, 2, 3, 4
PACKET_S, PACKET_BYTES = 0.02, 8 << 20
LARGEST = 2**63 - 1
START = re.compile(r"START (-1|\d{1,19})(?: (\d{1,19}))?")
STOP = "STOP"
LONGEST_LINE = 100  # bytes
LONGEST_SAID = 40  # characters of it in a complaint
NS = 10**9


class Memory(Protocol):
    """Which samples a digitizer has, at a time."""

    can_wait: bool

    def oldest(self, now_s: float) -> int:
        """The oldest sample that can still be had."""

    def next(self, now_s: float) -> int:
        """The next sample that will be converted."""

    def wait_s(self, stop: int, now_s: float) -> float:
        """Seconds until all samples before `stop` can be had; 0 where they can."""

    def sent(self, stop: int) -> None:
        """Take note that the samples before `stop` were sent."""

    def converted(self) -> Callable[[float], int]:
        """What tells `next` to another thread."""


class ClockMemory:
    """Samples exist when their time has come, and are overwritten after `memory_s`."""

    can_wait = False

    def __init__(self, source: Source, memory_s: float) -> None:
        self._source, self._memory_s = source, memory_s
        self._samples = max(1, round(memory_s * source.rate_hz))
        self._length = LARGEST if source.length is None else source.length
        self._next = 0  # everything before it was converted

    def oldest(self, now_s: float) -> int:
        """One memory's length before the next sample."""
        return max(0, self.next(now_s) - self._samples)

    def next(self, now_s: float) -> int:
        """The first sample whose time has not come."""
        least, step = self._next, ceil(self._source.rate_hz)
        while least + step < self._length and self._due_s(least + step) <= now_s:
            step *= 2
        among = range(least, min(least + step, self._length))
        self._next += bisect_right(among, now_s, key=self._due_s)
        return self._next

    def wait_s(self, stop: int, now_s: float) -> float:
        """The time until the last of them is converted."""
        if stop <= self.next(now_s):
            return 0.0
        return max(1e-6, self._due_s(stop - 1) - now_s)

    def sent(self, stop: int) -> None:
        """What was sent is overwritten all the same."""

    def converted(self) -> Callable[[float], int]:
        """A memory of its own: what it remembers is not to be shared."""
        return ClockMemory(self._source, self._memory_s).next

    def _due_s(self, sample: int) -> float:
        return (self._source.t_ns(sample) - self._source.t_ns(0)) / NS


class WaitingMemory:
    """The digitizer's clock stands still while nobody reads, so nothing is ever lost."""

    can_wait = True

    def __init__(self, source: Source, memory_s: float) -> None:
        del source, memory_s  # all there is can be had at all times
        self._next = 0

    def oldest(self, now_s: float) -> int:
        """The first sample there ever was."""
        del now_s
        return 0

    def next(self, now_s: float) -> int:
        """One past the latest sample that was read."""
        del now_s
        return self._next

    def wait_s(self, stop: int, now_s: float) -> float:
        """Nothing is waited for."""
        del stop, now_s
        return 0.0

    def sent(self, stop: int) -> None:
        """The clock goes on with what is read."""
        self._next = max(self._next, stop)

    def converted(self) -> Callable[[float], int]:
        """This one, which changes at once."""
        return self.next


MEMORIES: dict[str, Callable[[Source, float], Memory]] = {
    "clock": ClockMemory,
    "flat-out": WaitingMemory,
}


def resumed(memory: Memory, lost: Holes, position: int, now_s: float) -> int:
    """Where reading can go on that has come to a position: after what is lost, once it is over."""
    after = lost.after(max(position, memory.oldest(now_s)))
    return after if memory.wait_s(after, now_s) <= 0 else position


def reading_wait_s(memory: Memory, lost: Holes, position: int, stop: int, now_s: float) -> float:
    """Seconds until the samples [position, stop) can be had, or a loss can be told."""
    if resumed(memory, lost, position, now_s) > position:
        return 0.0
    after = lost.after(max(position, memory.oldest(now_s)))
    return memory.wait_s(max(stop, after) if after == position else after, now_s)


class DigitizerFace:
    """One digitizer; `stream` names the numbering of its samples since it was switched on.

    What is `lost` is told as a gap, like samples that were overwritten. A clock that waits for its
    samples is up to `ahead_s` ahead of them.
    """

    model = "scheelite-stream"
    max_clients = 1
    refusal = b'{"error": "busy"}\n'

    def __init__(
        self,
        source: Source,
        *,
        pace: str,
        memory_s: float,
        stream: str,
        lost: Holes | None = None,
        packet_s: float = PACKET_S,
        ahead_s: float | None = None,
    ) -> None:
        self._ahead_s = ahead_s
        self.source, self.stream, self.lost = source, stream, lost or Holes()
        self.memory: Memory = MEMORIES[pace](source, memory_s)
        by_bytes = PACKET_BYTES // (2 * len(source.channels))
        self.packet = max(1, min(round(packet_s * source.rate_hz), by_bytes))
        self.complaints: list[str] = []

    def connect(self, now_s: float) -> DigitizerConversation:
        """Greet a client."""
        return DigitizerConversation(self, now_s)

    def hello(self, now_s: float) -> bytes:
        """What a client is told first."""
        source, oldest = self.source, self.memory.oldest(now_s)
        anchor = _anchor(floor(oldest / source.rate_hz), source)
        said = {
            "protocol": PROTOCOL,
            "version": VERSION,
            "name": source.name,
            "channels": list(source.channels),
            "rate_hz": source.rate_hz,
            "volts_per_count": source.volts_per_count,
            "stream": self.stream,
            "can_wait": self.memory.can_wait,
            "oldest": oldest,
            "next": self.memory.next(now_s),
            "anchor": [anchor, source.t_ns(anchor)],
        }
        if self._ahead_s is not None:
            said["ahead_s"] = self._ahead_s
        return json.dumps(said).encode() + b"\n"


class DigitizerConversation:
    """One client's talk with a digitizer: hello, START, packets until STOP or the end."""

    def __init__(self, face: DigitizerFace, now_s: float) -> None:
        self._face = face
        self._said: list[Chunk] = [face.hello(now_s)]
        self._heard = b""
        self._packets: Packets | None = None
        self.over = False

    def receive(self, received: bytes, now_s: float) -> None:
        """Take the client's lines."""
        *lines, self._heard = (self._heard + received).split(b"\n")
        if len(self._heard) > LONGEST_LINE:
            lines.append(self._heard)
        for line in lines:
            if not self.over:
                self._obey(line.decode("ascii", "replace").rstrip("\r"), now_s)

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The hello, or the next packets."""
        said, self._said = self._said, []
        if said or self._packets is None or self.over:
            return said
        packets = self._packets.due(now_s)
        self.over = self._packets.ended
        return packets

    def wait_s(self, now_s: float) -> float | None:
        """Seconds to the next packet; never before START."""
        if self._said:
            return 0.0
        return None if self._packets is None or self.over else self._packets.wait_s(now_s)

    def _obey(self, line: str, now_s: float) -> None:
        start = START.fullmatch(line)
        if line == STOP and self._packets is not None:
            self._said += self._packets.end()
            self.over = True
        elif start and self._packets is None and int(start[1]) <= LARGEST:
            at = int(start[1])
            at = self._face.memory.next(now_s) if at < 0 else at
            end = None if start[2] is None else int(start[2])
            self._packets = Packets(self._face, at, end)
        else:
            self._refuse(line)

    def _refuse(self, line: str) -> None:
        expected = "START <sample> [<end>]" if self._packets is None else STOP
        complaint = f"expected {expected}, found {line[:LONGEST_SAID]!r}"
        self._face.complaints.append(complaint)
        if self._packets is None:
            self._said.append(json.dumps({"error": complaint}).encode() + b"\n")
            self.over = True


class Packets:
    """The packets from one START on, up to the sample `end` where there is one."""

    def __init__(self, face: DigitizerFace, start: int, end: int | None = None) -> None:
        self._source, self._memory, self._lost = face.source, face.memory, face.lost
        ends = [each for each in (face.source.length, end) if each is not None]
        self._end = min(ends) if ends else None
        self._position = start if self._end is None else min(start, self._end)
        self._number = 0
        self._size = face.packet
        self.ended = False

    def wait_s(self, now_s: float) -> float:
        """Seconds until `due` has something."""
        stop = self._stop()
        return reading_wait_s(self._memory, self._lost, self._position, stop, now_s)

    def due(self, now_s: float) -> list[Chunk]:
        """A gap where samples were lost; then anchors and samples, where they exist."""
        gap = self._gap(resumed(self._memory, self._lost, self._position, now_s))
        if self._at_end():
            return gap + self.end()
        if self.wait_s(now_s) > 0:
            return gap
        stop = self._stop()
        self._memory.sent(stop)
        return gap + self._anchors(stop) + self._samples(stop)

    def end(self) -> list[Chunk]:
        """The last packet."""
        self.ended = True
        return [self._packet(END, self._position)]

    def _at_end(self) -> bool:
        return self._end is not None and self._position >= self._end

    def _stop(self) -> int:
        stop = self._lost.before(self._position, self._position + self._size)
        return stop if self._end is None else min(stop, self._end)

    def _gap(self, resumed_at: int) -> list[Chunk]:
        if self._position >= resumed_at:
            return []
        gap = self._packet(GAP, self._position, resumed_at)
        self._position = resumed_at
        return [gap]

    def _anchors(self, stop: int) -> list[Chunk]:
        among = range(*(_anchors_before(sample, self._source) for sample in (self._position, stop)))
        samples = [_anchor(number, self._source) for number in among]
        return [self._packet(ANCHOR, sample, self._source.t_ns(sample)) for sample in samples]

    def _samples(self, stop: int) -> list[Chunk]:
        samples = self._source.samples(self._position, stop)
        payload = samples.data.cast("B")
        header = self._packet(SAMPLES, self._position, shape=samples.shape, payload=payload)
        self._position = stop
        return [header, payload]

    def _packet(
        self,
        kind: int,
        start: int,
        value: int = 0,
        *,
        shape: tuple[int, ...] = (0, 0),
        payload: Chunk = b"",
    ) -> bytes:
        """A header, with the payload's check sum; `value` is the anchor's or the gap's."""
        n_bytes, check = len(payload), crc32(payload)
        head = HEADER.pack(b"SCHD", VERSION, kind, *shape, n_bytes, start, value, check)
        trailer = TRAILER.pack(crc32(head), self._number)
        self._number += 1
        return head + trailer


def _anchor(number: int, source: Source) -> int:
    """The sample of an anchor, of which there is one at every second of samples."""
    return ceil(number * source.rate_hz)


def _anchors_before(sample: int, source: Source) -> int:
    """How many anchors lie before a sample."""
    return floor((sample - 1) / source.rate_hz) + 1
