"""The master file of a run: one dataset each, as a view over all its segments.

It holds no data. Where a segment is missing, or cannot be opened because the process may not open
so many files, HDF5 shows fill values instead of failing: those are chosen to be noticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import h5py
import numpy as np

from daq.model.channel import Channel
from daq.store.contents import Facts
from daq.store.h5file import (
    Group,
    describe_samples,
    describe_table,
    image,
    raw_attributes,
    rfc3339,
    write_facts,
    write_fixed_tables,
)
from daq.store.layout import (
    RAW_PIECES,
    RECORDS,
    TABLES,
    TableLayout,
    file_dtype,
    raw_pieces_path,
    raw_samples_path,
    samples_path,
    table_path,
)
from daq.store.payloads import SAMPLE

MISSING_SAMPLE = -32768


@dataclass(frozen=True, slots=True)
class Source:
    """One segment: its file name beside the master, and how many rows each dataset has."""

    name: str
    rows: Mapping[str, int]


def master_image(
    facts: Facts, sources: Sequence[Source], stops: Mapping[str, int], t_ns: int
) -> bytes:
    """The HDF5 file over `sources` of a run with these facts; `t_ns` is when it is made."""
    return image(partial(_fill, facts=facts, sources=sources, stops=stops, t_ns=t_ns))


def _fill(
    file: Group, facts: Facts, sources: Sequence[Source], stops: Mapping[str, int], t_ns: int
) -> None:
    write_facts(file, facts, {"segment": 0, "created": rfc3339(t_ns)})
    write_fixed_tables(file, facts.start, stops)
    for name, layout in TABLES.items():
        _view_table(file, name, layout, sources)
    for channel in facts.start.channels:
        _view_table(file, table_path(channel.name), RECORDS, sources)
        _view_samples(file, channel, sources)
        if channel.name in facts.start.raw:
            _view_table(file, raw_pieces_path(channel.name), RAW_PIECES, sources)
            path = raw_samples_path(channel.name)
            dataset = _view(file, path, SAMPLE, (), sources, np.int16(MISSING_SAMPLE))
            dataset.attrs.update(raw_attributes(channel.volts_per_count))


def _view_table(file: Group, path: str, layout: TableLayout, sources: Sequence[Source]) -> None:
    dtype = file_dtype(layout.dtype)
    missing = np.frombuffer(b"\xff" * dtype.itemsize, dtype)[0]  # -1, not-a-number
    describe_table(_view(file, path, dtype, (), sources, missing), layout)


def _view_samples(file: Group, channel: Channel, sources: Sequence[Source]) -> None:
    path, tail = samples_path(channel.name), (channel.record_length,)
    dataset = _view(file, path, SAMPLE, tail, sources, np.int16(MISSING_SAMPLE))
    describe_samples(dataset, channel.volts_per_count)


def _view(
    file: Group,
    path: str,
    dtype: np.dtype[np.generic],
    tail: tuple[int, ...],
    sources: Sequence[Source],
    missing: np.generic,
) -> Group:
    total = sum(source.rows[path] for source in sources)
    if not total:
        return file.create_dataset(path, (0, *tail), dtype)
    layout, at = h5py.VirtualLayout((total, *tail), dtype), 0
    layout.dcpl.set_obj_track_times(False)  # the same run gives the same bytes at any time
    for source in sources:
        n_rows = source.rows[path]
        if n_rows:
            layout[at : at + n_rows] = h5py.VirtualSource(source.name, path, (n_rows, *tail), dtype)
        at += n_rows
    return file.create_virtual_dataset(path, layout, fillvalue=missing)
