"""Checks run files one by one in a process that may die of them: `python -m daq.store.check`.

Each line of standard input is a path; each line of the answer is the JSON of a Finding.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from daq.errors import FormatError
from daq.store import names
from daq.store.h5file import Group
from daq.store.layout import (
    ATTRIBUTES,
    TABLES,
    dataset_paths,
    field_attributes,
)
from daq.store.payloads import SAMPLE
from daq.store.segment import (
    ForeignError,
    opened,
    read_facts,
    read_records,
    read_table,
    wrong_crcs,
)

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with one file; `foreign` says why it is no run file at all.

    `views` says what a master file shows: for each dataset, segments with their rows.
    """

    foreign: str = ""
    problems: list[str] = []
    views: dict[str, list[tuple[str, int]]] = {}


def check_file(path: Path) -> Finding:
    """Everything that one file alone can tell: structure, checksums, records against CRCs."""
    try:
        if path.read_bytes()[: len(SIGNATURE)] != SIGNATURE:
            return Finding(foreign=f"{path}: expected a run file, found no HDF5 file")
        with opened(path) as file:
            problems = [f"{path.name}: {problem}" for problem in _problems(path, file)]
            views = {} if problems or file.attrs["segment"] else _views(file)
            return Finding(problems=problems, views=views)
    except ForeignError as error:
        return Finding(foreign=str(error))
    except FormatError as error:
        return Finding(problems=[str(error)])
    except OSError as error:
        return Finding(foreign=f"{path}: expected a run file, {error.strerror}")


def _problems(path: Path, file: Group) -> Iterator[str]:
    missing = [name for name in ATTRIBUTES if name not in file.attrs]
    if missing:
        yield f"expected the attributes {', '.join(missing)}, found none"
        return
    named = names.SEGMENT.fullmatch(path.name)
    if named and int(named[1]) != file.attrs["segment"]:
        yield f"expected segment {int(named[1])}, found {file.attrs['segment']}"
    if file.attrs["segment"]:
        yield from _segment(file)


def _segment(file: Group) -> Iterator[str]:
    for name in TABLES:
        read_table(file, name)  # every byte is read, and its checksum with it
        yield from _undescribed(file, name)
    for channel in read_facts(file).start.channels:
        table, samples = read_records(file, channel.name)
        if samples.shape != (len(table), channel.record_length) or samples.dtype != SAMPLE:
            yield (
                f"channel {channel.name}: expected {len(table)} records of "
                f"{channel.record_length} samples, found {samples.shape} {samples.dtype}"
            )
        else:
            for number in wrong_crcs(table, samples):
                yield f"channel {channel.name}: record {number} has other samples than its CRC says"


def _undescribed(file: Group, name: str) -> Iterator[str]:
    for attribute in field_attributes(TABLES[name].dtype):
        if attribute not in file[name].attrs:
            yield f"/{name}: expected the attribute {attribute}, found none"


def _views(file: Group) -> dict[str, list[tuple[str, int]]]:
    """Dataset of a master file -> the segments that it shows, with the rows of each."""
    found = {}
    for name in dataset_paths(read_facts(file).start.channels):
        dataset = file[name]
        sources = dataset.virtual_sources() if dataset.is_virtual else []
        spans = [(source.vspace.get_select_bounds(), source.file_name) for source in sources]
        found[name] = [(name, int(last[0] - first[0]) + 1) for (first, last), name in sorted(spans)]
    return found


def main() -> None:
    """Answer each line of standard input until it ends."""
    for line in sys.stdin:
        finding = check_file(Path(line.rstrip("\n")))
        sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
