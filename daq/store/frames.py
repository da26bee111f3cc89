"""The frames of the write-ahead log: bytes that know whether they are whole.

A frame is a header of 32 bytes, its payload, and zeros up to a multiple of eight. The header's
CRC covers the header, the payload's CRC the payload with its padding; the key says which file of
which run the frame was written for, so that a frame can never be taken for another file's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from daq.store.disk import Buffer

MAGIC = b"SLOG"
ALIGNMENT = 8
MAX_PAYLOAD = 1 << 30
# magic, kind, flags, reserved, payload length, payload CRC, seq, key, CRC of the bytes before
HEADER = struct.Struct("<4sBBHIIQII")
CHECKED = HEADER.size - 4


class Kind(IntEnum):
    """What a frame holds."""

    HEAD = 1
    SEAL = 2
    COMMIT = 3
    RECORDS = 16
    EVENTS = 17
    MEMBERS = 18
    GAPS = 19
    LEDGER = 20
    ANCHORS = 21
    RAW = 22
    SALTS = 23
    GUARD = 24
    BLINDED = 25  # records, events and members of the restricted file
    BLINDED_EVENTS = 26
    BLINDED_MEMBERS = 27
    RUN_START = 32
    INPUT = 33
    READINGS = 34
    MESSAGES = 35
    RUN_END = 36


KINDS = frozenset(Kind)
RESTRICTED = {  # what each of these is in the restricted file
    Kind.BLINDED: Kind.RECORDS,
    Kind.BLINDED_EVENTS: Kind.EVENTS,
    Kind.BLINDED_MEMBERS: Kind.MEMBERS,
}
DERIVED = frozenset(kind for kind in Kind if 16 <= kind < 32)  # of the samples, by the pipeline
EXTERNAL = frozenset(kind for kind in Kind if kind >= 32)  # from outside; cannot be made again


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame; `start` and `stop` are its bytes in the file."""

    kind: Kind
    seq: int
    payload: memoryview
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes [start, stop) of a log that are no frame."""

    start: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return f"bytes {self.start} to {self.stop}: {self.reason}"


def file_key(run: int, index: int) -> int:
    """What the frames of one file have in common."""
    return zlib.crc32(struct.pack("<QQ", run, index))


def encode(kind: Kind, seq: int, key: int, payload: Sequence[Buffer]) -> list[Buffer]:
    """A frame as buffers to be written one after the other; the payload is not copied."""
    length = sum(len(piece) for piece in payload)
    padding = bytes(-length % ALIGNMENT)
    crc = 0
    for piece in (*payload, padding):
        crc = zlib.crc32(piece, crc)
    head = HEADER.pack(MAGIC, kind, 0, 0, length, crc, seq, key, 0)[:CHECKED]
    return [head + zlib.crc32(head).to_bytes(4, "little"), *payload, padding]


def scan(content: bytes, key: int) -> Iterator[Frame | Damage]:
    """All that stands in a log file, in order; the zeros of its unused end are left out."""
    view, at = memoryview(content), 0
    while at < len(content) and not _blank(view, at):
        found = _frame_at(view, at, key)
        if isinstance(found, str):
            found = Damage(at, _next_frame(content, at + ALIGNMENT), found)
        at = found.stop
        yield found


def _frame_at(view: memoryview, at: int, key: int) -> Frame | Damage | str:
    """The frame at `at`, its damage where the header still tells its length, or what is wrong."""
    header = view[at : at + HEADER.size]
    wrong = _wrong_header(header, key)
    if wrong:
        return wrong
    _, kind, _, _, length, crc, seq, _, _ = HEADER.unpack(header)
    start = at + HEADER.size
    stop = start + length + -length % ALIGNMENT
    name = f"{Kind(kind).name} frame {seq}"
    if stop > len(view):
        return Damage(at, len(view), f"{name} is cut off, expected {stop - at} bytes")
    if zlib.crc32(view[start:stop]) != crc:
        return Damage(at, stop, f"{name} has a wrong checksum")
    return Frame(Kind(kind), seq, view[start : start + length], at, stop)


def _wrong_header(header: memoryview, key: int) -> str:
    if len(header) < HEADER.size:
        return f"expected a header of {HEADER.size} bytes, found {len(header)} bytes"
    magic, kind, _, _, length, _, _, found_key, crc = HEADER.unpack(header)
    if magic != MAGIC or zlib.crc32(header[:CHECKED]) != crc:
        return "expected the header of a frame"
    if found_key != key:
        return "a frame of another file or run"
    if kind not in KINDS or length > MAX_PAYLOAD:
        return f"a frame of an unknown kind ({kind}, {length} bytes)"
    return ""


def _next_frame(content: bytes, at: int) -> int:
    """Where the next thing begins that has a frame's header, or the end."""
    while 0 <= (at := content.find(MAGIC, at)) < len(content):
        header = content[at : at + HEADER.size]
        if at % ALIGNMENT == 0 and zlib.crc32(header[:CHECKED]) == _stored_crc(header):
            return at
        at += 1
    return len(content)


def _stored_crc(header: bytes) -> int:
    return int.from_bytes(header[CHECKED:], "little")


def _blank(view: memoryview, at: int) -> bool:
    """True where only zeros follow; the first bytes decide nearly always."""
    if any(view[at : at + HEADER.size]):
        return False
    return not np.frombuffer(view[at:], np.uint8).any()
