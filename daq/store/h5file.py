"""HDF5 images of runs, made in memory: HDF5 itself never writes to a disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import h5py
import msgspec
import numpy as np

from daq.errors import StorageError
from daq.model.batch import Rows
from daq.model.record import plain
from daq.store.contents import Facts
from daq.store.layout import (
    CHANNEL,
    DIGITIZER,
    FIXED_TABLES,
    FORMAT,
    FORMAT_VERSION,
    RAW_SAMPLES,
    SAMPLES,
    TEXTS,
    WINDOW,
    TableLayout,
    field_attributes,
    file_dtype,
)
from daq.store.start import RunEnd, RunStart

GROWTH = 1 << 22  # bytes by which an image grows in memory
Group = Any  # Any: h5py has no types


def image(fill: Callable[[Group], None]) -> bytes:
    """The bytes of an HDF5 file with what `fill` puts into it; StorageError where it cannot be."""
    try:
        with h5py.File("image", "w", driver="core", backing_store=False, block_size=GROWTH) as file:
            fill(file)
            file.flush()
            made: bytes = file.id.get_file_image()
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"cannot make an HDF5 file: {error}") from error
    return made


def rfc3339(t_ns: int) -> str:
    """UTC as people write it, with a Z."""
    seconds, rest = divmod(t_ns, 10**9)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def write_facts(file: Group, facts: Facts, more: Mapping[str, str | int]) -> None:
    """The file's attributes and texts; `more` are attributes that the facts do not say."""
    file.attrs.update({**told_attributes(facts), **more})
    for name, text in told_texts(facts).items():
        kind = h5py.string_dtype("utf-8", max(1, len(text)))
        dataset = file.create_dataset(name, data=np.array(text, kind), dtype=kind)
        dataset.attrs["meaning"] = TEXTS[name]


def told_attributes(facts: Facts) -> dict[str, str | int]:
    """What the facts of a file say as attributes."""
    start, end = facts.start, facts.end
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run": start.run,
        "name": start.name,
        "comment": start.comment,
        "software": start.software,
        "host": start.host,
        "user": start.user,
        "started": rfc3339(start.t_ns),
        "stopped": rfc3339(end.t_ns) if end else "",
        "reason": end.reason if end else "",
        "first_commit": facts.first_commit,
        "last_commit": facts.last_commit,
        "recovered": int(facts.resumed),
        "compression": start.compression,
        **({"thresholds": _thresholds(end)} if end and end.thresholds else {}),
    }


def _thresholds(end: RunEnd) -> str:
    """One line a channel."""
    return "\n".join(f"{name}: {said}" for name, said in end.thresholds.items())


def told_texts(facts: Facts) -> dict[str, bytes]:
    """What they say as texts."""
    return {
        "settings/toml": facts.start.settings_toml.encode(),
        "settings/json": msgspec.json.encode(facts.start.settings),
        "run_start": facts.start_text,
        "run_end": facts.end_text,
    }


def write_fixed_tables(file: Group, start: RunStart, stops: Mapping[str, int]) -> None:
    """The tables of channels, windows and digitizers."""
    for name, rows in told_tables(start, stops).items():
        layout = FIXED_TABLES[name]
        dataset = file.create_dataset(name, data=rows.astype(file_dtype(layout.dtype)))
        describe_table(dataset, layout)


def told_tables(start: RunStart, stops: Mapping[str, int]) -> dict[str, Rows]:
    """The rows of the tables of channels, windows and digitizers."""
    return {
        "channels": _channels(start),
        "windows": _windows(start),
        "digitizers": _digitizers(start, stops),
    }


def describe_table(dataset: Group, layout: TableLayout) -> None:
    """Meaning and units of every column, as attributes."""
    dataset.attrs.update(table_attributes(layout))


def describe_samples(dataset: Group, volts_per_count: float) -> None:
    """Meaning and units of samples, as attributes."""
    dataset.attrs.update(samples_attributes(volts_per_count))


def raw_attributes(volts_per_count: float) -> dict[str, str | float]:
    """What the attributes of raw samples say."""
    return {"meaning": RAW_SAMPLES, "units": "ADC counts", "volts_per_count": volts_per_count}


def table_attributes(layout: TableLayout) -> dict[str, str | float]:
    """What a table's attributes say."""
    return {"meaning": layout.meaning, **field_attributes(layout.dtype)}


def samples_attributes(volts_per_count: float) -> dict[str, str | float]:
    """What the attributes of samples say."""
    return {"meaning": SAMPLES, "units": "ADC counts", "volts_per_count": volts_per_count}


def _channels(start: RunStart) -> Rows:
    rows = [
        (
            channel.name.encode(),
            channel.digitizer.encode(),
            channel.row,
            channel.sample_rate_hz,
            channel.decimation,
            channel.record_rate_hz,
            channel.record_length,
            channel.pretrigger,
            channel.volts_per_count,
            channel.counts_offset,
            channel.mass_g,
            channel.recorded,
            msgspec.json.encode(channel.triggers),
        )
        for channel in start.channels
    ]
    return np.array(rows, plain(CHANNEL))


def _windows(start: RunStart) -> Rows:
    names = [channel.name for channel in start.channels]

    def bits(of: Sequence[str]) -> int:
        return sum(1 << i for i, name in enumerate(names) if name in of)

    rows = [
        (
            window.name.encode(),
            window.kind.encode(),
            bits(window.sources),
            bits(window.tagged),
            window.before_ns / 1e9,
            window.after_ns / 1e9,
            window.widen_ns_counts / 1e9,
        )
        for window in start.plan.windows
    ]
    return np.array(rows, plain(WINDOW))


def _digitizers(start: RunStart, stops: Mapping[str, int]) -> Rows:
    rows = [
        (d.name.encode(), d.rate_hz, d.epoch.encode(), d.start, stops.get(d.name, -1))
        for d in start.digitizers
    ]
    return np.array(rows, plain(DIGITIZER))
