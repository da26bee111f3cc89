"""Segments: the sealed HDF5 files that the log is folded into, one for each of its files."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from daq.errors import FormatError
from daq.model.batch import Rows
from daq.model.record import plain
from daq.store.compression import Array, needs, write_dataset
from daq.store.contents import Contents, Facts, Samples, facts_of
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
    FORMAT,
    FORMAT_VERSION,
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


def all_of(dataset: Group) -> Samples:
    """The samples of a dataset, as HDF5 reads them."""
    samples: Samples = dataset[:]
    return samples


def segment_image(contents: Contents, index: int, t_ns: int) -> bytes:
    """The HDF5 file that holds `contents`; `t_ns` is when it is made."""
    return image(partial(_fill, contents=contents, index=index, t_ns=t_ns))


class ForeignError(FormatError):
    """A file that is whole for all we know, and no run file that we can read."""


@contextmanager
def opened(path: Path) -> Iterator[Group]:
    """A run file, open for reading; FormatError where it is none, or none that we know."""
    with h5file(path) as file:
        try:
            _check_format(path, file)
            yield file
        except ForeignError:
            raise
        except (FormatError, OSError, KeyError, RuntimeError, ValueError) as error:
            raise FormatError(f"{path}: damaged: {error}") from error


def h5file(path: Path) -> Group:
    """An HDF5 file, open for reading; FormatError where it is none."""
    try:
        return h5py.File(path, "r", locking=False)
    except FileNotFoundError as error:
        raise FormatError(f"{path}: expected a run file, found nothing") from error
    except OSError as error:
        reason = str(error).split("(", 1)[-1].split(": time =")[0].rstrip(")")
        raise FormatError(f"{path}: expected a run file, cannot be read: {reason}") from error


def read_facts(file: Group) -> Facts:
    """What a run file says of itself."""
    texts = bytes(file["run_start"][()]), bytes(file["run_end"][()])
    commits = int(file.attrs["first_commit"]), int(file.attrs["last_commit"])
    return facts_of(*texts, commits, bool(file.attrs["recovered"]))


def read_segment(path: Path, samples: Callable[[Group], Samples] = all_of) -> Contents:
    """All of a segment; `samples` reads a dataset of samples."""
    with opened(path) as file:
        facts = read_facts(file)
        return Contents(
            facts=facts,
            records=[read_records(file, c.name, samples) for c in facts.start.channels],
            tables={name: read_table(file, name) for name in TABLES},
            raw={name: read_raw(file, name, samples) for name in facts.start.raw},
        )


def read_table(file: Group, name: str) -> Rows:
    """One table, in the plain dtype of its layout."""
    return _rows(file, name, TABLES[name])


def read_record_table(file: Group, channel: str) -> Rows:
    """The rows of a channel's records."""
    return _rows(file, table_path(channel), RECORDS)


def read_records(
    file: Group, channel: str, samples: Callable[[Group], Samples] = all_of
) -> tuple[Rows, Samples]:
    """The records of a channel."""
    return read_record_table(file, channel), samples(file[samples_path(channel)])


def read_raw_pieces(file: Group, channel: str) -> Rows:
    """The pieces of a channel's raw stream."""
    return _rows(file, raw_pieces_path(channel), RAW_PIECES)


def read_raw(
    file: Group, channel: str, samples: Callable[[Group], Samples] = all_of
) -> tuple[Rows, Samples]:
    """A channel's raw stream: its pieces, and the samples of all of them."""
    return read_raw_pieces(file, channel), samples(file[raw_samples_path(channel)])


def wrong_pieces(pieces: Rows, samples: Samples) -> list[int]:
    """First samples of the pieces whose samples are not what their CRC says."""
    little, at, wrong = np.ascontiguousarray(samples, "<i2"), 0, []
    for row in pieces:
        stop = at + int(row["stop"] - row["start"])
        if zlib.crc32(little[at:stop].view(np.uint8).data) != row["crc"]:
            wrong.append(int(row["start"]))
        at = stop
    return wrong


def wrong_crcs(table: Rows, samples: Samples) -> list[int]:
    """Numbers of the records whose samples are not what their CRC says."""
    little = np.ascontiguousarray(samples, "<i2")
    return [
        int(row["record"])
        for row, record in zip(table, little, strict=True)
        if zlib.crc32(record.view(np.uint8).data) != row["crc"]
    ]


def _rows(file: Group, path: str, layout: TableLayout) -> Rows:
    found = file[path]
    if found.dtype != plain(layout.dtype):
        raise ValueError(f"/{path}: expected columns {plain(layout.dtype)}, found {found.dtype}")
    rows: Rows = found[:].astype(plain(layout.dtype), copy=False)
    return rows


def _check_format(path: Path, file: Group) -> None:
    found = (file.attrs.get("format"), file.attrs.get("format_version"))
    if found[0] != FORMAT:
        raise ForeignError(f"{path}: expected a {FORMAT} file, found another kind of HDF5 file")
    if found[1] != FORMAT_VERSION:
        raise ForeignError(f"{path}: expected format version {FORMAT_VERSION}, found {found[1]}")
    needs(str(file.attrs.get("compression", "gzip")))


def _fill(file: Group, contents: Contents, index: int, t_ns: int) -> None:
    facts, end = contents.facts, contents.facts.end
    write = partial(write_dataset, file, compression=facts.start.compression)
    write_facts(file, facts, {"segment": index, "created": rfc3339(t_ns)})
    write_fixed_tables(file, facts.start, end.stops if end else {})
    for name, layout in TABLES.items():
        _write_table(write, name, layout, contents.tables[name])
    for channel, (table, samples) in zip(facts.start.channels, contents.records, strict=True):
        _write_table(write, table_path(channel.name), RECORDS, table)
        dataset = write(samples_path(channel.name), samples)
        describe_samples(dataset, channel.volts_per_count)
        if channel.name in contents.raw:
            pieces, stream = contents.raw[channel.name]
            _write_table(write, raw_pieces_path(channel.name), RAW_PIECES, pieces)
            dataset = write(raw_samples_path(channel.name), stream)
            dataset.attrs.update(raw_attributes(channel.volts_per_count))


def _write_table(
    write: Callable[[str, Array], Group], path: str, layout: TableLayout, rows: Rows
) -> None:
    describe_table(write(path, rows.astype(file_dtype(layout.dtype))), layout)
