"""What one file of the log, or the segment made of it, holds: in memory, in the file's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from daq.errors import FormatError
from daq.model.batch import Rows, together
from daq.model.channel import Channel
from daq.model.record import plain
from daq.store.frames import RESTRICTED, Frame, Kind
from daq.store.layout import INPUT, INPUT_BYTES, RAW_PIECE, TABLE_OF, TABLES
from daq.store.logfile import External, LogFile
from daq.store.payloads import RECORD_ROW, ROWS, SAMPLE, decode_raw, decode_records, decode_rows
from daq.store.start import RunEnd, RunStart, decode_end, decode_start

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a stretch of a run says of itself; the texts are the JSON of start and end."""

    start: RunStart
    start_text: bytes
    end: RunEnd | None
    end_text: bytes
    first_commit: int
    last_commit: int
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A stretch of a run: `records` by channel as (rows, samples), `tables` by dataset.

    `raw` is by name of channel, as (pieces, samples of all pieces one after the other).
    """

    facts: Facts
    records: Sequence[tuple[Rows, Samples]]
    tables: dict[str, Rows]
    raw: dict[str, tuple[Rows, Samples]] = field(default_factory=dict)
    restricted: Contents | None = None  # what is kept from everybody; None without


def facts_of(start_text: bytes, end_text: bytes, commits: tuple[int, int], resumed: bool) -> Facts:
    """Facts with the texts understood; FormatError where they cannot be."""
    text, start = _shared_start(start_text)
    return Facts(
        start=start,
        start_text=text,
        end=decode_end(end_text) if end_text.strip() else None,
        end_text=end_text,
        first_commit=commits[0],
        last_commit=commits[1],
        resumed=resumed,
    )


@lru_cache(maxsize=8)
def _shared_start(text: bytes) -> tuple[bytes, RunStart]:
    """The start and its text, the same objects for all files of a run: there are thousands."""
    return text, decode_start(text)


def contents_of(file: LogFile, followed: bool, start_text: bytes | None = None) -> Contents:
    """What is committed in a log file; `start_text` stands in where its own start is damaged.

    What came from outside behind the last commit belongs to the next file, where there is one.
    """
    text = file.run_start.payload if file.run_start else start_text
    if text is None:
        raise FormatError("expected the start of a run, found it damaged")
    end_text = file.run_end.payload if file.run_end else b" "
    resumed = file.head is not None and file.head.resumed
    facts = facts_of(text, end_text, (_first_commit(file), file.last_commit), resumed)
    frames = [frame for unit in file.units for frame in unit.frames]
    external = [item for item in file.external if not followed or item.seq < file.last_seq]
    records = _records(facts.start.channels, frames)
    raw = _raw(facts.start, frames)
    return Contents(
        facts=facts,
        records=records,
        tables=_tables([frame for frame in frames if frame.kind not in RESTRICTED], external),
        raw=raw,
        restricted=_restricted(facts, frames),
    )


def _restricted(facts: Facts, frames: list[Frame]) -> Contents | None:
    """What is for the restricted file, which is like a segment: its other tables are empty."""
    hidden = [replace(f, kind=RESTRICTED[f.kind]) for f in frames if f.kind in RESTRICTED]
    if not hidden:
        return None
    return Contents(
        facts=facts,
        records=_records(facts.start.channels, hidden),
        tables=_tables(hidden, []),
        raw=_raw(facts.start, []),
    )


def pieces_of(seq: int, text: bytes) -> Rows:
    """The rows of /inputs that hold one input."""
    pieces = [text[at : at + INPUT_BYTES] for at in range(0, len(text), INPUT_BYTES)]
    rows = np.zeros(len(pieces), plain(INPUT))
    rows["seq"], rows["part"], rows["text"] = seq, np.arange(len(pieces)), pieces
    return rows


def texts_of(rows: Rows) -> list[bytes]:
    """The inputs in rows of /inputs, put together again."""
    texts: dict[int, bytes] = {}
    for row in rows:
        seq = int(row["seq"])
        texts[seq] = texts.get(seq, b"") + bytes(row["text"])
    return list(texts.values())


def _first_commit(file: LogFile) -> int:
    if file.head is not None:
        return file.head.commit + 1
    return file.units[0].number if file.units else 1


def _records(channels: Sequence[Channel], frames: list[Frame]) -> list[tuple[Rows, Samples]]:
    tables: list[list[Rows]] = [[] for _ in channels]
    samples = [[np.empty((0, channel.record_length), SAMPLE)] for channel in channels]
    for frame in frames:
        if frame.kind is Kind.RECORDS:
            batch = decode_records(frame.payload)
            check_length(channels, batch.channel, batch.samples.shape[1])
            tables[batch.channel].append(batch.table)
            samples[batch.channel].append(batch.samples)
    pairs = zip(tables, samples, strict=True)
    return [(together(t, RECORD_ROW), np.concatenate(s)) for t, s in pairs]


def _raw(start: RunStart, frames: list[Frame]) -> dict[str, tuple[Rows, Samples]]:
    pieces: dict[str, list[tuple[int, int, int]]] = {name: [] for name in start.raw}
    samples = {name: [np.empty(0, SAMPLE)] for name in start.raw}
    for frame in frames:
        if frame.kind is Kind.RAW:
            found = decode_raw(frame.payload)
            name = _raw_name(start, found.channel)
            pieces[name].append((found.start, found.start + len(found.samples), found.crc))
            samples[name].append(found.samples)
    rows = {name: np.array(found, plain(RAW_PIECE)) for name, found in pieces.items()}
    return {name: (rows[name], np.concatenate(samples[name])) for name in start.raw}


def _raw_name(start: RunStart, index: int) -> str:
    name = start.channels[index].name if index < len(start.channels) else ""
    if name not in start.raw:
        raise FormatError(f"expected raw samples of {', '.join(start.raw)}, found channel {index}")
    return name


def check_length(channels: Sequence[Channel], index: int, length: int) -> None:
    """FormatError where the run has no such channel, or one with other records."""
    if index >= len(channels):
        raise FormatError(f"expected a channel below {len(channels)}, found {index}")
    if length != channels[index].record_length:
        raise FormatError(
            f"channel {channels[index].name}: expected records of "
            f"{channels[index].record_length} samples, found {length}"
        )


def _tables(frames: list[Frame], external: list[External]) -> dict[str, Rows]:
    found: dict[str, list[Rows]] = {name: [] for name in TABLES}
    held: list[Frame | External] = [*frames, *external]
    for item in held:
        if item.kind in ROWS:
            found[TABLE_OF[item.kind]].append(decode_rows(item.kind, item.payload))
        elif item.kind is Kind.INPUT:
            found["inputs"].append(pieces_of(item.seq, bytes(item.payload)))
    return {name: together(rows, plain(TABLES[name].dtype)) for name, rows in found.items()}
