"""A recorded digitizer stream: the bytes that a digitizer sent (docs/wire/digitizer-stream.md).

Anything that can save what arrives on a connection makes one: the hello, and all packets after it.
Replayed, every sample keeps its number, and every anchor and gap its place. A packet whose samples
do not match their CRC is a gap, since nothing can be said of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from daq.errors import FormatError, InstrumentError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer import stream
from drivers.digitizer.digitizer import End, Event, Samples
from drivers.digitizer.recording import DAMAGED, Contents, Recording, opened, read_at, reopened


@dataclass(frozen=True, slots=True)
class _Packet:
    """A packet's header, and where in the file its payload begins."""

    header: stream.Header
    place: int

    @property
    def stop(self) -> int:
        """One past the last sample that it speaks of."""
        if self.header.kind == stream.GAP:
            return self.header.value
        return self.header.start + self.header.n_samples


class StreamRecording(Recording):
    """One such file; its headers were all checked when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with opened(path) as file:
                line = file.readline(stream.MAX_HELLO)
                hello = stream.decoded_hello(line, str(path))
                self._n_channels = len(hello.channels)
                self._packets = list(self._read_packets(file, path.stat().st_size))
        except InstrumentError as error:
            raise FormatError(str(error)) from error
        covered = [p for p in self._packets if p.header.kind in (stream.SAMPLES, stream.GAP)]
        if not any(p.header.kind == stream.SAMPLES for p in covered):
            raise FormatError(f"{path}: expected samples after the hello, found none")
        self.contents = Contents(
            name=hello.name,
            channels=tuple(hello.channels),
            rate_hz=hello.rate_hz,
            volts_per_count=hello.volts_per_count,
            stream=hello.stream,
            oldest=next(p.header.start for p in covered if p.header.kind == stream.SAMPLES),
            stop=covered[-1].stop,
            anchor=Anchor(*hello.anchor),
        )

    def events(self, sample: int) -> Iterator[Event]:
        at = max(sample, self.contents.oldest)
        with reopened(self._path) as file:
            for packet in self._packets:
                if packet.header.kind == stream.ANCHOR and packet.header.start >= at:
                    yield Anchor(packet.header.start, packet.header.value)
                elif packet.header.kind in (stream.SAMPLES, stream.GAP) and packet.stop > at:
                    if packet.header.start > at:
                        yield Gap(at, packet.header.start)
                    at = max(at, packet.header.start)
                    yield self._event(file, packet, at)
                    at = packet.stop
        yield End(at)

    def _event(self, file: BinaryIO, packet: _Packet, at: int) -> Event:
        """What a packet says from sample `at` on."""
        if packet.header.kind == stream.GAP:
            return Gap(at, packet.stop)
        payload = read_at(file, packet.place, packet.header.n_bytes)
        if zlib.crc32(payload) != packet.header.crc:
            return Gap(at, packet.stop, cause=DAMAGED)
        samples = np.frombuffer(payload, "<i2").reshape(self._n_channels, -1)
        return Samples(at, np.ascontiguousarray(samples[:, at - packet.header.start :]))

    def _read_packets(self, file: BinaryIO, size: int) -> Iterator[_Packet]:
        """Every packet's header, each checked; the payloads are passed over."""
        place, at, number = file.tell(), 0, 0
        while place < size:
            head = file.read(stream.HEADER.size)
            self._check_whole(place, len(head), stream.HEADER.size)
            header = stream.checked_header(head, number, str(self._path))
            stream.check_content(header, self._n_channels, str(self._path))
            packet = _Packet(header, place + len(head))
            self._check_whole(place, size - place, len(head) + header.n_bytes)
            if header.kind in (stream.SAMPLES, stream.GAP):
                self._check_order(packet, at)
                at = packet.stop
            yield packet
            place, number = packet.place + header.n_bytes, number + 1
            file.seek(place)

    def _check_whole(self, place: int, found: int, expected: int) -> None:
        if found < expected:
            raise FormatError(
                f"{self._path}: expected a packet of {expected} bytes at byte {place}, found "
                f"{found} bytes: the file is truncated (truncate -s {place} would end it there)"
            )

    def _check_order(self, packet: _Packet, at: int) -> None:
        if packet.header.start < at:
            raise FormatError(
                f"{self._path}: expected sample {at} or later in packet {packet.header.number}, "
                f"found sample {packet.header.start}"
            )
