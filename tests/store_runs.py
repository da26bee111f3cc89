"""Runs that make sense, in pieces: what a core would hand to the store, without a core."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from daq.model.batch import Batch, RawBatch, RecordBatch, Rows
from daq.model.channel import Channel, TriggerSettings
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
    HitKind,
    plain,
)
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter

SPAN = 10_000  # samples of both digitizers in each batch
STARTS = {"targets": 1000, "vetoes": 50}
LENGTHS = {"C11": 64, "SI": 16}
T_NS = 1_790_000_000_000_000_000
SIZES_CHECKED = [3, 10, 0, 20, 5, 12]
SMALL = LogSettings(sync_s=0.005, rotate_s=3600.0, rotate_bytes=1 << 16)
TRIGGER = TriggerSettings(kind="edge", threshold=40.0, rearm=20.0, edge_span=24, holdoff=16)

WINDOW = {
    "name": "inner",
    "kind": "veto",
    "sources": ["SI"],
    "tagged": ["C11"],
    "before_ns": 1_000_000,
    "after_ns": 2_000_000,
}


def start_payload(run: int, **storage: object) -> bytes:
    """The RUN_START of such a run; `storage` are settings of that section, and `raw` channels."""
    channels = [
        Channel(
            name=name,
            digitizer=digitizer,
            row=0,
            sample_rate_hz=1e4,
            decimation=1,
            record_length=LENGTHS[name],
            pretrigger=4,
            volts_per_count=3e-4,
            triggers=(TRIGGER,),
            mass_g=0.75 if name == "C11" else 0.0,
        )
        for name, digitizer in zip(LENGTHS, STARTS, strict=True)
    ]
    digitizers = [
        {"name": name, "rate_hz": 1e4, "epoch": "e1", "start": start, "anchors": [[start, T_NS]]}
        for name, start in STARTS.items()
    ]
    raw = list(storage.pop("raw", []))  # type: ignore[call-overload]
    start = {
        "run": run,
        "raw": raw,
        "name": "bench",
        "comment": "tungstate, 10 µK",
        "settings_toml": '[experiment]\nname = "bench"  # µ\n',
        "settings": {"experiment": {"name": "bench"}} | ({"storage": storage} if storage else {}),
        "channels": channels,
        "digitizers": digitizers,
        "software": "scheelite 0.1.0",
        "host": "daq1",
        "user": "night",
        "t_ns": T_NS,
        "plan": {"window_ns": 2_000_000, "windows": [WINDOW]},
    }
    return msgspec.json.encode(start)


def end_payload(n_batches: int) -> bytes:
    """The RUN_END of a run of so many batches."""
    stops = {name: start + n_batches * SPAN for name, start in STARTS.items()}
    told = {"C11": "50 % at 14.6 eV, by 420 salts"}
    end = {"reason": "enough", "t_ns": T_NS + 10**9, "stops": stops, "thresholds": told}
    return msgspec.json.encode(end)


def batch_of(sizes: Sequence[int], k: int, raw: bool = False) -> Batch:
    """Batch `k` of a run with sizes[i] events in batch i, each with a record of both channels.

    With `raw` also the raw stream of C11.
    """
    first, n = sum(sizes[:k]), sizes[k]
    records = tuple(_records(channel, first, n, k) for channel in range(2)) if n else ()
    gaps = _gaps(k)
    return Batch(
        records=records,
        raw=raw_of(k) if raw else (),
        events=_events(first, n, k),
        members=_members(first, n),
        gaps=gaps,
        ledger=_ledger(k, int((gaps["stop"] - gaps["start"]).sum())),
        anchors=_anchors(k),
        salts=_salts(k),
        guard=_hits(k),
    )


def raw_of(k: int) -> tuple[RawBatch, ...]:
    """The raw stream of C11 in batch `k`, around its gap."""
    samples = np.random.default_rng(k).normal(0, 20, SPAN).astype("<i2")
    edges = [(0, 6000), (6700, SPAN)] if len(_gaps(k)) else [(0, SPAN)]
    first = STARTS["targets"] + k * SPAN
    return tuple(RawBatch(0, first + start, samples[start:stop]) for start, stop in edges)


def readings(n: int, at: int = 0) -> bytes:
    """The payload of so many readings."""
    rows = np.zeros(n, plain(READING))
    rows["t_ns"], rows["instrument"] = T_NS + at + np.arange(n), b"fridge"
    rows["value"], rows["unit"], rows["text"] = np.nan, b"K", "zu heiß".encode()
    return rows.tobytes()


def message(text: str) -> bytes:
    """The payload of one message."""
    row = np.zeros(1, plain(MESSAGE))
    row["t_ns"], row["level"], row["text"] = T_NS, b"info", text.encode()
    return row.tobytes()


def record_run(
    folder: Path, sizes: Sequence[int], settings: LogSettings = SMALL, **storage: object
) -> None:
    """A whole run in its log, closed; each batch is a commit whose checkpoint is its number."""
    folder.mkdir(parents=True)
    with LogWriter(folder, settings, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(int(folder.name[4:]), **storage))
        for k in range(len(sizes)):
            writer.external(Kind.READINGS, readings(2, at=2 * k))
            writer.commit(batch_of(sizes, k, "raw" in storage), str(k).encode())
        writer.external(Kind.INPUT, b'{"input": "stop"}')
        writer.external(Kind.MESSAGES, message("über und aus"))
        writer.external(Kind.RUN_END, end_payload(len(sizes)))
        writer.commit(Batch(), b"end")


def _records(channel: int, first: int, n: int, k: int) -> RecordBatch:
    rng = np.random.default_rng([channel, first, n])
    length = list(LENGTHS.values())[channel]
    samples = rng.normal(0, 20, (n, length)).astype("<i2")
    table = np.zeros(n, plain(RECORD))
    table["record"] = np.arange(first, first + n)
    table["trigger"] = _triggers(channel, n, k)
    table["start"], table["t_ns"] = table["trigger"] - 4, _t_ns(n, k)
    table["cause"], table["baseline"] = 2, samples[:, :4].mean(1)
    table["crc"] = [zlib.crc32(record.tobytes()) for record in samples]
    return RecordBatch(channel, table, samples)


def _triggers(channel: int, n: int, k: int) -> Rows:
    return list(STARTS.values())[channel] + k * SPAN + 100 + np.arange(n) * (SPAN // 2 // max(1, n))


def _t_ns(n: int, k: int) -> Rows:
    return T_NS + (_triggers(0, n, k) - STARTS["targets"]) * 100_000


def _events(first: int, n: int, k: int) -> Rows:
    rows = np.zeros(n, plain(EVENT))
    rows["event"], rows["t_ns"] = np.arange(first, first + n), _t_ns(n, k)
    rows["n_records"], rows["channels"] = 2, 3
    return rows


def _members(first: int, n: int) -> Rows:
    rows = np.zeros(2 * n, plain(MEMBER))
    rows["event"] = rows["record"] = np.repeat(np.arange(first, first + n), 2)
    rows["channel"] = np.tile([0, 1], n)
    return rows


def _gaps(k: int) -> Rows:
    rows = np.zeros(1 if k % 3 == 1 else 0, plain(GAP))
    rows["start"] = STARTS["targets"] + k * SPAN + 6000
    rows["stop"], rows["exact"], rows["cause"] = rows["start"] + 700, 1, b"overflow"
    return rows


def _ledger(k: int, lost: int) -> Rows:
    rows = np.zeros(2, plain(LEDGER))
    rows["channel"] = [0, 1]
    rows["start"] = [start + k * SPAN for start in STARTS.values()]
    rows["stop"], rows["gap"], rows["holdoff"] = rows["start"] + SPAN, [lost, 0], [160, 16]
    rows["live"] = SPAN - rows["gap"] - rows["holdoff"]
    return rows


def _salts(k: int) -> Rows:
    rows = np.zeros(2, plain(SALT))
    rows["sample"] = STARTS["targets"] + k * SPAN + np.array([100, 9000])
    rows["t_ns"] = T_NS + k * 10**9 + np.array([1, 2])
    rows["energy_ev"], rows["height"] = 20.0, 6.8
    rows["found"], rows["counts"] = [1, 0], 1
    return rows


def _hits(k: int) -> Rows:
    """A jump in a holdoff."""
    rows = np.zeros(1, plain(GUARD))
    rows["kind"], rows["quanta"], rows["size"] = HitKind.JUMP, -2, -2.01
    rows["start"] = STARTS["targets"] + k * SPAN + 300
    rows["stop"] = rows["start"] + 60
    rows["t_ns"] = T_NS + k * 10**9 + 3
    return rows


def _anchors(k: int) -> Rows:
    rows = np.zeros(2, plain(ANCHOR))
    rows["digitizer"] = [0, 1]
    rows["sample"] = [start + k * SPAN for start in STARTS.values()]
    rows["t_ns"] = T_NS + k * 10**9
    return rows
