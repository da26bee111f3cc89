"""What a run file looks like: its datasets and attributes, what they mean and in which unit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from daq.model.channel import Channel
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
    described,
    titles,
)
from daq.store.frames import Kind

FORMAT, FORMAT_VERSION = "scheelite-run", 2
UNIT = re.compile(r"(?P<meaning>.*\S)\s*\[(?P<units>[^\]]+)\]")

CHANNEL = described(
    [
        ("name", "S64", "name of the channel, also of its group under /records"),
        ("digitizer", "S64", "name of the digitizer that reads it"),
        ("row", "<u2", "which of the digitizer's inputs, from 0"),
        ("sample_rate_hz", "<f8", "rate of the digitizer [Hz]"),
        ("decimation", "<u4", "digitizer samples per sample of a record"),
        ("record_rate_hz", "<f8", "rate of the samples in a record [Hz]"),
        ("record_length", "<u4", "samples of a record"),
        ("pretrigger", "<u4", "samples of a record before its trigger"),
        ("volts_per_count", "<f8", "what an ADC count stands for [V]"),
        ("counts_offset", "<i4", "add it to a sample for the counts of the source [ADC counts]"),
        ("mass_g", "<f8", "mass of the crystal, 0 where there is none [g]"),
        ("recorded", "<u1", "0: its triggers count for others alone, without records"),
        ("triggers", "S4096", "its triggers, as JSON"),
    ]
)

DIGITIZER = described(
    [
        ("name", "S64", "name of the digitizer"),
        ("rate_hz", "<f8", "samples per second, nominally [Hz]"),
        ("epoch", "S64", "names the uninterrupted numbering of its samples"),
        ("start", "<i8", "first digitizer sample of the run"),
        ("stop", "<i8", "one past the last digitizer sample of the run, -1 while it is not known"),
    ]
)

WINDOW = described(
    [
        ("name", "S64", "name of the window; its row here is its bit in every mask of tags"),
        (
            "kind",
            "S8",
            "veto: what it tags is vetoed; gate, heater: it lies in one",
        ),
        ("sources", "<u8", "bit i: the triggers of the run's i-th channel count"),
        ("tagged", "<u8", "bit i: records of the run's i-th channel are tagged"),
        ("before_s", "<f8", "tags so long before a trigger of a source [s]"),
        ("after_s", "<f8", "tags so long after it [s]"),
        ("widen_s_counts", "<f8", "wider on both sides by this over a record's height [s counts]"),
    ]
)

INPUT_BYTES = 1000
INPUT = described(
    [
        ("seq", "<i8", "number of the input in the run's log; rows with the same belong together"),
        ("part", "<u4", "which piece of the text, from 0"),
        ("text", f"S{INPUT_BYTES}", "what entered, with its clock samples: a piece of JSON text"),
    ]
)

RAW_PIECE = described(
    [
        ("start", "<i8", "digitizer sample of the first sample"),
        ("stop", "<i8", "one past the digitizer sample of the last one"),
        ("crc", "<u4", "CRC-32 of the samples as little-endian bytes"),
    ]
)

ATTRIBUTES = {
    "format": f'always "{FORMAT}"',
    "format_version": f"version of this layout, {FORMAT_VERSION}",
    "run": "number of the run",
    "segment": "number of the segment from 1; 0 in the master file",
    "name": "name of the experiment",
    "comment": "what the operator wrote at the start",
    "software": "name and version of what recorded the run",
    "host": "machine that recorded it",
    "user": "account that recorded it",
    "started": "UTC of the run's start, ISO 8601",
    "stopped": "UTC of the run's end, ISO 8601; empty in a segment that is not the last",
    "reason": "why the run ended; empty in a segment that is not the last",
    "created": "UTC at which the file was made, ISO 8601",
    "first_commit": "number of the first commit of the log in this file",
    "last_commit": "number of the last one; less than the first where there is none",
    "recovered": "1 where it begins, or in the master anything began or ended, after a crash",
    "compression": "of the datasets with rows: gzip, bitshuffle-lz4 or none",
    "thresholds": "what salts and noise say of each channel's triggers, a line a channel, at the "
    "end; not there where they say nothing",
}
OPTIONAL = ("thresholds",)

TEXTS = {
    "settings/toml": "the configuration as the operator wrote it",
    "settings/json": "the same validated, with every default, as JSON",
    "run_start": "all that was known when the run began, as JSON",
    "run_end": "reason, time and last samples as JSON; a space in a segment that is not the last",
}


@dataclass(frozen=True, slots=True)
class TableLayout:
    """One table: its columns, and what a row stands for."""

    dtype: np.dtype[np.void]
    meaning: str


FIXED_TABLES = {
    "channels": TableLayout(CHANNEL, "the channels; other tables name them by their row here"),
    "windows": TableLayout(WINDOW, "what tags records; named by their row here"),
    "digitizers": TableLayout(DIGITIZER, "the sample clocks; named by their row here"),
}
TABLES = {
    "events": TableLayout(EVENT, "records of several channels that belong together"),
    "event_members": TableLayout(MEMBER, "which records belong to which event"),
    "gaps": TableLayout(GAP, "samples lost at the digitizers"),
    "livetime": TableLayout(LEDGER, "the ledger of live time, without holes, in samples"),
    "anchors": TableLayout(ANCHOR, "what relates sample numbers to UTC"),
    "salts": TableLayout(
        SALT, "pulses of known energy that software added, and what became of them"
    ),
    "guard": TableLayout(GUARD, "what the guard found in the streams"),
    "readings": TableLayout(READING, "what the instruments said"),
    "messages": TableLayout(MESSAGE, "what happened"),
    "inputs": TableLayout(INPUT, "everything that entered the acquisition and is no sample"),
}
TABLE_OF = {
    Kind.EVENTS: "events",
    Kind.MEMBERS: "event_members",
    Kind.GAPS: "gaps",
    Kind.LEDGER: "livetime",
    Kind.ANCHORS: "anchors",
    Kind.SALTS: "salts",
    Kind.GUARD: "guard",
    Kind.READINGS: "readings",
    Kind.MESSAGES: "messages",
}
RECORDS = TableLayout(RECORD, "one row for each record of the channel")
RAW_PIECES = TableLayout(RAW_PIECE, "stretches of the raw stream, in the order of its samples")
RAW_SAMPLES = "the samples of all pieces, one after the other, as the digitizer sent them"
SAMPLES = "the records' samples, [record, sample], after decimation"


def table_path(channel: str) -> str:
    """Where the rows of a channel's records lie."""
    return f"records/{channel}/table"


def samples_path(channel: str) -> str:
    """Where the samples of a channel's records lie."""
    return f"records/{channel}/samples"


def raw_pieces_path(channel: str) -> str:
    """Where the pieces of a channel's raw stream lie."""
    return f"raw/{channel}/pieces"


def raw_samples_path(channel: str) -> str:
    """Where the samples of a channel's raw stream lie."""
    return f"raw/{channel}/samples"


def dataset_paths(channels: Sequence[Channel], raw: Sequence[str]) -> list[str]:
    """All datasets that grow with a run; `raw` are the channels whose stream is recorded."""
    names = [channel.name for channel in channels]
    of_raw = [path(name) for name in raw for path in (raw_pieces_path, raw_samples_path)]
    return [*TABLES, *map(table_path, names), *map(samples_path, names), *of_raw]


def file_dtype(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """The same fields without titles, text as UTF-8 of fixed length."""
    assert dtype.names is not None
    return np.dtype([(name, _file_type(dtype[name])) for name in dtype.names])


def field_attributes(dtype: np.dtype[np.void]) -> dict[str, str]:
    """What a table's attributes say of its columns: NAME.meaning, and NAME.units where it has."""
    found = {}
    for name, title in titles(dtype).items():
        meaning, units = _split(title)
        found[f"{name}.meaning"] = meaning
        if units:
            found[f"{name}.units"] = units
    return found


def render() -> str:
    """The layout as Markdown, for the documentation."""
    return "\n".join([*_attribute_rows(), *_text_rows(), *_table_rows(), *_record_rows()])


def _file_type(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    if dtype.kind != "S":
        return dtype
    text: np.dtype[np.generic] = h5py.string_dtype("utf-8", dtype.itemsize)
    return text


def _split(title: str) -> tuple[str, str]:
    found = UNIT.fullmatch(title)
    return (found["meaning"], found["units"]) if found else (title, "")


def _attribute_rows() -> Iterator[str]:
    yield from ("### Attributes of the file", "", *_rows(("attribute", "meaning"), ATTRIBUTES))


def _text_rows() -> Iterator[str]:
    yield from ("### Texts (scalar, UTF-8 of fixed length)", "")
    yield from _rows(("dataset", "meaning"), {f"/{name}": text for name, text in TEXTS.items()})


def _table_rows() -> Iterator[str]:
    for name, table in {**FIXED_TABLES, **TABLES}.items():
        yield from _columns(f"/{name}", table)


def _record_rows() -> Iterator[str]:
    yield from _columns("/records/CHANNEL/table", RECORDS)
    yield from ("### `/records/CHANNEL/samples`", "")
    yield from (f"int16 [record, record_length]: {SAMPLES} [ADC counts]", "")
    yield from _columns("/raw/CHANNEL/pieces", RAW_PIECES)
    yield from ("### `/raw/CHANNEL/samples`", "")
    yield from (f"int16 [sample]: {RAW_SAMPLES} [ADC counts]", "")


def _columns(path: str, table: TableLayout) -> Iterator[str]:
    yield from (f"### `{path}`: {table.meaning}", "", "| column | type | meaning | unit |")
    yield "| --- | --- | --- | --- |"
    for name, title in titles(table.dtype).items():
        meaning, units = _split(title)
        yield f"| `{name}` | {table.dtype[name].str.lstrip('<|')} | {meaning} | {units} |"
    yield ""


def _rows(head: tuple[str, str], rows: Mapping[str, str]) -> Iterator[str]:
    yield from (f"| {head[0]} | {head[1]} |", "| --- | --- |")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in rows.items())
    yield ""
