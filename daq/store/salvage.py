"""What can still be read of a damaged segment, and by name what cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.errors import FormatError
from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.record import plain
from daq.store.compression import needs
from daq.store.contents import Contents, Facts, Samples, facts_of
from daq.store.h5file import Group
from daq.store.layout import (
    RAW_PIECES,
    RECORDS,
    TABLES,
    raw_pieces_path,
    raw_samples_path,
    samples_path,
    table_path,
)
from daq.store.payloads import SAMPLE
from daq.store.segment import h5file, read_facts, wrong_crcs, wrong_pieces

Bools = npt.NDArray[np.bool_]
UNREADABLE = (OSError, KeyError, RuntimeError, ValueError)  # what h5py says of damage


@dataclass(frozen=True, slots=True)
class Salvage:
    """What was saved, and a sentence for each thing that was not."""

    contents: Contents
    problems: list[str]


def salvage(path: Path, start_text: bytes, last_commit: int) -> Salvage:
    """All of a segment that its checksums vouch for.

    Where it does not tell its own facts, it is of the run `start_text` and holds no commit behind
    `last_commit`, so that whoever verifies finds the hole. None of its texts among the attributes
    is read: they lie on one heap, on whose damage HDF5 can hang. To be called through `salvaging`.
    """
    nothing = facts_of(start_text, b" ", (last_commit + 1, last_commit), resumed=True)
    needs(nothing.start.compression)
    try:
        with h5file(path) as file:
            return _salvaged(file, path.name, nothing)
    except FormatError as error:
        why = str(error).replace(f"{path}: ", "")
        return Salvage(empty(nothing), [lost(path, why)])


def lost(path: Path, why: str) -> str:
    """What is said of a segment of which nothing can be read."""
    return f"{path.name}: all of it is lost: {why}"


def empty(facts: Facts) -> Contents:
    """A segment without anything in it."""
    records = [(_none(RECORDS.dtype), _no_samples(channel)) for channel in facts.start.channels]
    tables = {name: _none(layout.dtype) for name, layout in TABLES.items()}
    raw = {name: (_none(RAW_PIECES.dtype), np.empty(0, SAMPLE)) for name in facts.start.raw}
    return Contents(facts=facts, records=records, tables=tables, raw=raw)


def _salvaged(file: Group, name: str, otherwise: Facts) -> Salvage:
    problems: list[str] = []
    facts = _facts(file, name, otherwise, problems)
    records = [_records(file, channel, name, problems) for channel in facts.start.channels]
    tables = {}
    for table, layout in TABLES.items():
        rows, good = _read(file, name, table, plain(layout.dtype), (), problems)
        problems += _lost(f"{name}: /{table}", "rows", good)
        tables[table] = rows[good]
    raw = {channel: _raw(file, channel, name, problems) for channel in facts.start.raw}
    contents = Contents(facts=facts, records=records, tables=tables, raw=raw)
    return Salvage(contents, problems)


def _facts(file: Group, name: str, otherwise: Facts, problems: list[str]) -> Facts:
    """The file's own facts, if they are of this run."""
    try:
        found = read_facts(file)
    except (*UNREADABLE, FormatError) as error:
        problems.append(f"{name}: what it says of itself cannot be read: {error}")
        return otherwise
    if found.start_text != otherwise.start_text:
        problems.append(f"{name}: /run_start is not that of the run")
        return replace(found, start=otherwise.start, start_text=otherwise.start_text)
    return found


def _records(file: Group, channel: Channel, name: str, problems: list[str]) -> tuple[Rows, Samples]:
    """The records whose row and samples can be read and agree by CRC."""
    row, tail = plain(RECORDS.dtype), (channel.record_length,)
    table, good_rows = _read(file, name, table_path(channel.name), row, (), problems)
    path = samples_path(channel.name)
    samples, good_samples = _read(file, name, path, SAMPLE, tail, problems)
    n = min(len(table), len(samples))
    good = np.zeros(max(len(table), len(samples)), np.bool_)
    good[:n] = good_rows[:n] & good_samples[:n]
    wrong = wrong_crcs(table[:n][good[:n]], samples[:n][good[:n]])
    good[:n] &= ~np.isin(table["record"][:n], wrong)
    problems += _lost(f"{name}: channel {channel.name}", "records", good)
    return table[:n][good[:n]], samples[:n][good[:n]]


def _raw(file: Group, channel: str, name: str, problems: list[str]) -> tuple[Rows, Samples]:
    """The pieces of a raw stream whose samples can be read and agree by CRC."""
    row, path = plain(RAW_PIECES.dtype), raw_samples_path(channel)
    pieces, good_pieces = _read(file, name, raw_pieces_path(channel), row, (), problems)
    samples, _ = _read(file, name, path, SAMPLE, (), problems)
    good = good_pieces & ~np.isin(pieces["start"], wrong_pieces(pieces, samples))
    problems += _lost(f"{name}: raw stream of channel {channel}", "pieces", good)
    lengths = pieces["stop"] - pieces["start"]
    return pieces[good], samples[: int(lengths.sum())][np.repeat(good, lengths)[: len(samples)]]


# Any: numpy cannot say "any dtype"
def _read(
    file: Group,
    name: str,
    path: str,
    dtype: np.dtype[Any],
    tail: tuple[int, ...],
    problems: list[str],
) -> tuple[npt.NDArray[Any], Bools]:
    """A dataset and which of its rows could be read; no rows where it is not what it must be."""
    try:
        dataset = file[path]
        if dataset.dtype != dtype or dataset.shape[1:] != tail:
            raise ValueError(f"expected {dtype} {tail}, found {dataset.dtype} {dataset.shape}")
    except UNREADABLE as error:
        problems.append(f"{name}: /{path}: all of it is lost: {error}")
        return np.empty((0, *tail), dtype), np.empty(0, np.bool_)
    array = np.zeros(dataset.shape, dtype)
    good = np.zeros(len(array), np.bool_)
    for part in _chunks(dataset):
        try:
            array[part] = dataset[part]
            good[part] = True
        except UNREADABLE:
            continue  # its rows stay marked as lost
    return array, good


def _chunks(dataset: Group) -> Iterator[slice]:
    n_rows = dataset.chunks[0] if dataset.chunks else max(1, len(dataset))
    return (slice(first, first + n_rows) for first in range(0, len(dataset), n_rows))


def _lost(what: str, noun: str, good: Bools) -> Iterator[str]:
    if not good.all():
        first = int(np.argmin(good))
        n_lost = int(np.count_nonzero(~good))
        yield f"{what}: {n_lost} of {len(good)} {noun} cannot be read, the first is row {first}"


def _none(dtype: np.dtype[np.void]) -> Rows:
    return np.empty(0, plain(dtype))


def _no_samples(channel: Channel) -> Samples:
    return np.empty((0, channel.record_length), SAMPLE)
