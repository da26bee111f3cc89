"""What a run consists of, counted: the summary of each segment and the manifest of them all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from daq.errors import FormatError
from daq.model.batch import Rows
from daq.model.record import DEAD_CAUSES
from daq.store import disk
from daq.store.contents import Facts
from daq.store.h5file import rfc3339
from daq.store.layout import TABLES, dataset_paths, table_path
from daq.store.segment import opened, read_facts, read_table

MANIFEST, MANIFEST_VERSION = "scheelite-manifest", 3
LISTS_FILTERS = 3  # the first version that does
READABLE = (2, MANIFEST_VERSION)
LEDGER_COLUMNS = ("live", *DEAD_CAUSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSum:
    """A file as it must be: its name in the run folder, length, and sum."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSum(FileSum):
    """A segment, with the records it holds of each channel."""

    records: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTotal:
    """A channel over the whole run; samples are the digitizer's, by where they count."""

    records: int
    livetime_s: float
    exposure_g_d: float
    samples: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a complete run consists of."""

    format: str
    version: int
    run: int
    name: str
    comment: str
    software: str
    started: str
    stopped: str | None
    reason: str
    recovered: bool
    problems: list[str]
    channels: dict[str, ChannelTotal]
    rows: dict[str, int]
    digitizers: dict[str, dict[str, int]]
    segments: list[SegmentSum]
    master: FileSum
    restricted: list[SegmentSum] = field(default_factory=list)
    filters: list[FileSum] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One segment: its sum, what it says of itself, rows by dataset, and its ledger."""

    file: SegmentSum
    facts: Facts
    rows: dict[str, int]
    ledger: Rows


def summarize(path: Path) -> Summary:
    """A segment's summary, from the file itself; reads none of its samples."""
    with opened(path) as file:
        facts = read_facts(file)
        channels = facts.start.channels
        paths = dataset_paths(channels, facts.start.raw)
        rows = {dataset: int(file[dataset].shape[0]) for dataset in paths}
        records = {channel.name: rows[table_path(channel.name)] for channel in channels}
        total = SegmentSum(**file_sum(path), records=records)
        return Summary(file=total, facts=facts, rows=rows, ledger=read_table(file, "livetime"))


def restricted_sum(path: Path) -> SegmentSum:
    """The sum of a restricted file, with the records it holds of each channel."""
    with opened(path) as file:
        channels = [channel.name for channel in read_facts(file).start.channels]
        records = {name: int(file[table_path(name)].shape[0]) for name in channels}
    return SegmentSum(**file_sum(path), records=records)


def file_sum(path: Path) -> dict[str, Any]:  # Any: the fields of a FileSum
    """Name, length and SHA-256 of a file."""
    with disk.naming("read", path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def manifest_of(
    parts: Sequence[Summary],
    master: FileSum,
    problems: Sequence[str],
    restricted: Sequence[SegmentSum] = (),
    filters: Sequence[FileSum] = (),
) -> Manifest:
    """The manifest of a run made of `parts`, in order."""
    start, end = parts[-1].facts.start, parts[-1].facts.end
    stops = run_stops(parts)
    return Manifest(
        format=MANIFEST,
        version=MANIFEST_VERSION,
        run=start.run,
        name=start.name,
        comment=start.comment,
        software=start.software,
        started=rfc3339(start.t_ns),
        stopped=rfc3339(end.t_ns) if end else None,
        reason=end.reason if end else "abandoned",
        recovered=is_recovered(parts),
        problems=list(problems),
        channels=_channel_totals(parts),
        rows={name: sum(part.rows[name] for part in parts) for name in TABLES},
        digitizers={d.name: {"start": d.start, "stop": stops[d.name]} for d in start.digitizers},
        segments=[part.file for part in parts],
        master=master,
        restricted=list(restricted),
        filters=list(filters),
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as JSON that people can read."""
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; FormatError where it is none."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: expected the manifest, found nothing") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path}: expected a manifest: {error}") from error
    if manifest.format != MANIFEST or manifest.version not in READABLE:
        raise FormatError(
            f"{path}: expected {MANIFEST} {' or '.join(map(str, READABLE))}, "
            f"found {manifest.format} {manifest.version}"
        )
    return manifest


def is_recovered(parts: Sequence[Summary]) -> bool:
    """Whether the run was taken up after a crash, or ended without its core."""
    return any(part.facts.resumed for part in parts) or parts[-1].facts.end is None


def run_facts(parts: Sequence[Summary]) -> Facts:
    """What a run says of itself as a whole."""
    first, last = parts[0].facts, parts[-1].facts
    return replace(last, first_commit=first.first_commit, resumed=is_recovered(parts))


def run_stops(parts: Sequence[Summary]) -> dict[str, int]:
    """One past each digitizer's last sample; without an end, how far the ledger goes."""
    start, end = parts[-1].facts.start, parts[-1].facts.end
    if end is not None:
        return {d.name: end.stops.get(d.name, -1) for d in start.digitizers}
    stops = {d.name: d.start for d in start.digitizers}
    for part in parts:
        for i, channel in enumerate(start.channels):
            rows = part.ledger[part.ledger["channel"] == i]
            latest = max(rows["stop"].tolist(), default=0)
            stops[channel.digitizer] = max(stops[channel.digitizer], latest)
    return stops


def ledger_totals(ledger: Rows, channel: int) -> dict[str, int]:
    """Samples of a channel by where they count: live, or the cause why not."""
    rows = ledger[ledger["channel"] == channel]
    return {name: int(rows[name].sum(dtype=np.int64)) for name in LEDGER_COLUMNS}


def summed(totals: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of ledger totals."""
    found = dict.fromkeys(LEDGER_COLUMNS, 0)
    for total in totals:
        found = {name: found[name] + total[name] for name in found}
    return found


def _channel_totals(parts: Sequence[Summary]) -> dict[str, ChannelTotal]:
    found = {}
    for i, channel in enumerate(parts[-1].facts.start.channels):
        samples = summed(ledger_totals(part.ledger, i) for part in parts)
        live_s = samples["live"] / channel.sample_rate_hz
        found[channel.name] = ChannelTotal(
            records=sum(part.file.records[channel.name] for part in parts),
            livetime_s=live_s,
            exposure_g_d=live_s * channel.mass_g / 86_400,
            samples=samples,
        )
    return found
