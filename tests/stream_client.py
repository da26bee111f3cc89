"""Reads a digitizer stream by docs/wire/digitizer-stream.md, without the drivers' code."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

SAMPLES, ANCHOR, GAP, END = 1, 2, 3, 4
PATIENCE_S = 60.0


@dataclass(slots=True)
class Stream:
    """What was read: samples from `start` on, with 0 where a gap is."""

    hello: dict[str, Any]
    start: int
    samples: npt.NDArray[np.int16]
    gaps: list[tuple[int, int]] = field(default_factory=list)
    anchors: list[tuple[int, int]] = field(default_factory=list)

    def row(self, channel: str) -> npt.NDArray[np.int64]:
        """The samples of a channel."""
        return self.samples[self.hello["channels"].index(channel)].astype(np.int64)


def read_stream(resource: str, start: int, stop: int, *, exactly: bool = False) -> Stream:
    """The samples [start, stop) of a digitizer, with what it told on the way.

    With `exactly`, a digitizer that waits for its reader converts none beyond them.
    """
    port = int(resource.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connected:
        wire = connected.makefile("rb")
        hello = dict(json.loads(wire.readline()))
        connected.sendall(f"START {start}{f' {stop}' if exactly else ''}\n".encode())
        samples = np.zeros((len(hello["channels"]), stop - start), np.int16)
        stream = Stream(hello, start, samples)
        at = start
        while at < stop:
            at = _packet(wire, stream, at)
    return stream


def _packet(wire: BinaryIO, stream: Stream, at: int) -> int:
    header = struct.unpack("<4sBBHIIQqIIQ", wire.read(48))
    _, _, kind, rows, columns, n_bytes, first, value, *_ = header
    payload = wire.read(n_bytes)
    if kind == ANCHOR:
        stream.anchors.append((first, value))
    if kind == GAP:
        assert first == at
        stream.gaps.append((first, value))
        return int(value)
    if kind == SAMPLES:
        assert first == at
        room = stream.samples[:, at - stream.start :]
        block = np.frombuffer(payload, "<i2").reshape(rows, columns)[:, : room.shape[1]]
        room[:, : block.shape[1]] = block
        return int(first) + int(columns)
    assert kind != END
    return at
