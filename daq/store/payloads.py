"""What the log's frames hold: batches and what comes from outside, as bytes and back."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daq.errors import FormatError, UsageError
from daq.model.batch import Batch, RawBatch, RecordBatch, Rows
from daq.model.record import (
    ANCHOR,
    EVENT,
    GAP,
    GUARD,
    LEDGER,
    MEMBER,
    MESSAGE,
    READING,
    RECORD,
    SALT,
    plain,
)
from daq.store.disk import Buffer
from daq.store.frames import EXTERNAL, MAX_PAYLOAD, Kind
from daq.store.start import decode_end, decode_start

ROWS = {
    Kind.EVENTS: plain(EVENT),
    Kind.MEMBERS: plain(MEMBER),
    Kind.GAPS: plain(GAP),
    Kind.LEDGER: plain(LEDGER),
    Kind.ANCHORS: plain(ANCHOR),
    Kind.SALTS: plain(SALT),
    Kind.BLINDED_EVENTS: plain(EVENT),
    Kind.BLINDED_MEMBERS: plain(MEMBER),
    Kind.GUARD: plain(GUARD),
    Kind.READINGS: plain(READING),
    Kind.MESSAGES: plain(MESSAGE),
}
RECORD_ROW = plain(RECORD)
SAMPLE = np.dtype("<i2")
# channel, reserved, number of records, record length, reserved: then all rows, then all samples
RECORDS_HEAD = struct.Struct("<HHIII")

# channel, reserved, CRC of the samples, number of the first one: then the samples
RAW_HEAD = struct.Struct("<HHIQ")

Payload = tuple[Kind, list[Buffer]]


def payloads(batch: Batch, lengths: Sequence[int]) -> list[Payload]:
    """The frames of a batch, empty ones left out; `lengths` are of the records, by channel.

    UsageError for an array of the wrong dtype or shape.
    """
    found = [_records(records, lengths) for records in batch.records if len(records.table)]
    for records in batch.blinded:
        found += [(Kind.BLINDED, _records(records, lengths)[1])] if len(records.table) else []
    found += [_raw(raw, len(lengths)) for raw in batch.raw if len(raw.samples)]
    tables = {
        Kind.EVENTS: batch.events,
        Kind.MEMBERS: batch.members,
        Kind.GAPS: batch.gaps,
        Kind.LEDGER: batch.ledger,
        Kind.ANCHORS: batch.anchors,
        Kind.SALTS: batch.salts,
        Kind.BLINDED_EVENTS: batch.blinded_events,
        Kind.BLINDED_MEMBERS: batch.blinded_members,
        Kind.GUARD: batch.guard,
    }
    for kind, rows in tables.items():
        _expect(kind.name.lower(), rows, ROWS[kind], (len(rows),))
        if len(rows):
            found.append((kind, [_bytes(rows)]))
    return found


def decode_records(payload: Buffer) -> RecordBatch:
    """The records in the payload of a RECORDS frame."""
    if len(payload) < RECORDS_HEAD.size:
        raise FormatError(f"expected records, found {len(payload)} bytes")
    channel, _, n_records, length, _ = RECORDS_HEAD.unpack(payload[: RECORDS_HEAD.size])
    rows_stop = RECORDS_HEAD.size + n_records * RECORD_ROW.itemsize
    expected = rows_stop + n_records * length * SAMPLE.itemsize
    if len(payload) != expected:
        raise FormatError(f"expected {expected} bytes of records, found {len(payload)}")
    table = np.frombuffer(payload[RECORDS_HEAD.size : rows_stop], RECORD_ROW)
    samples = np.frombuffer(payload[rows_stop:], SAMPLE).reshape(n_records, length)
    return RecordBatch(channel, table, samples)


@dataclass(frozen=True, slots=True)
class RawPiece(RawBatch):
    """Raw samples with the CRC that they had when they were taken in."""

    crc: int


def decode_raw(payload: Buffer) -> RawPiece:
    """The samples in the payload of a RAW frame."""
    if len(payload) < RAW_HEAD.size or (len(payload) - RAW_HEAD.size) % SAMPLE.itemsize:
        raise FormatError(f"expected raw samples, found {len(payload)} bytes")
    channel, _, crc, start = RAW_HEAD.unpack(payload[: RAW_HEAD.size])
    return RawPiece(channel, start, np.frombuffer(payload[RAW_HEAD.size :], SAMPLE), crc)


def decode_rows(kind: Kind, payload: Buffer) -> Rows:
    """The rows in the payload of a frame that holds a table."""
    size = ROWS[kind].itemsize
    if len(payload) % size:
        raise FormatError(f"expected rows of {size} bytes, found {len(payload)} bytes")
    return np.frombuffer(payload, ROWS[kind])


def check_external(kind: Kind, payload: bytes) -> None:
    """UsageError where `payload` is not what an external frame of this kind holds."""
    if kind not in EXTERNAL:
        raise UsageError(f"expected an external frame, found {kind.name}")
    if len(payload) > MAX_PAYLOAD:
        raise UsageError(f"expected at most {MAX_PAYLOAD} bytes, found {len(payload)}")
    try:
        CHECKS[kind](payload)
    except FormatError as error:
        raise UsageError(f"{kind.name}: {error}") from error


def json_object(payload: Buffer) -> dict[str, Any]:  # Any: each input has its own few fields
    """The JSON object that `payload` is; FormatError where it is none."""
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"expected a JSON object: {error}") from error


CHECKS: dict[Kind, Callable[[bytes], object]] = {
    Kind.RUN_START: decode_start,
    Kind.INPUT: json_object,
    Kind.READINGS: partial(decode_rows, Kind.READINGS),
    Kind.MESSAGES: partial(decode_rows, Kind.MESSAGES),
    Kind.RUN_END: decode_end,
}


def _records(batch: RecordBatch, lengths: Sequence[int]) -> Payload:
    channel, n_records = batch.channel, len(batch.table)
    if not 0 <= channel < len(lengths):
        raise UsageError(f"records: expected a channel below {len(lengths)}, found {channel}")
    length = lengths[channel]
    _expect(f"records of channel {channel}", batch.table, RECORD_ROW, (n_records,))
    _expect(f"samples of channel {channel}", batch.samples, SAMPLE, (n_records, length))
    head = RECORDS_HEAD.pack(channel, 0, n_records, length, 0)
    pieces: list[Buffer] = [head, _bytes(batch.table), _bytes(batch.samples)]
    if (found := sum(map(len, pieces))) > MAX_PAYLOAD:
        raise UsageError(
            f"records of channel {channel}: expected at most {MAX_PAYLOAD} bytes, found {found}"
        )
    return Kind.RECORDS, pieces


def _raw(raw: RawBatch, n_channels: int) -> Payload:
    if not 0 <= raw.channel < n_channels:
        raise UsageError(f"raw: expected a channel below {n_channels}, found {raw.channel}")
    _expect(f"raw samples of channel {raw.channel}", raw.samples, SAMPLE, (len(raw.samples),))
    samples = _bytes(raw.samples)
    if len(samples) + RAW_HEAD.size > MAX_PAYLOAD:
        raise UsageError(f"raw: expected at most {MAX_PAYLOAD} bytes, found {len(samples)}")
    head = RAW_HEAD.pack(raw.channel, 0, zlib.crc32(samples), raw.start)
    return Kind.RAW, [head, samples]


def _expect(
    what: str, array: npt.NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise UsageError(
            f"{what}: expected {dtype} {list(shape)}, found {array.dtype} {list(array.shape)}"
        )


def _bytes(array: npt.NDArray[np.generic]) -> memoryview:
    """The array's memory, without a copy where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
