"""Checks run files one by one in a process that may die of them: `python -m daq.store.check`.

Each line of standard input is a path; each line of the answer is the JSON of a Finding.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from daq.errors import FormatError
from daq.store import names
from daq.store.contents import Facts
from daq.store.h5file import (
    Group,
    raw_attributes,
    samples_attributes,
    table_attributes,
    told_attributes,
    told_tables,
    told_texts,
)
from daq.store.layout import (
    ATTRIBUTES,
    FIXED_TABLES,
    OPTIONAL,
    RAW_PIECES,
    RECORDS,
    TABLES,
    TEXTS,
    dataset_paths,
    raw_pieces_path,
    raw_samples_path,
    samples_path,
    table_path,
)
from daq.store.payloads import SAMPLE
from daq.store.segment import (
    ForeignError,
    opened,
    read_facts,
    read_raw,
    read_records,
    read_table,
    wrong_crcs,
    wrong_pieces,
)

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with one file; `foreign` says why it is no run file at all.

    Of a master file, `views` says for each dataset which segments it shows with how many rows, and
    `told` what it says of the run that only all segments together can confirm. `start` is the text
    of the run's start in the file, empty where it cannot be read, and `last_commit` the last one
    that the file says it holds.
    """

    foreign: str = ""
    problems: list[str] = []
    views: dict[str, list[tuple[str, int]]] = {}
    told: dict[str, object] = {}
    start: bytes = b""
    last_commit: int = 0


def check_file(path: Path) -> Finding:
    """Everything that one file alone can tell: structure, checksums, records against CRCs."""
    finding = _checked(path)
    try:
        with opened(path) as file:
            facts = read_facts(file)
    except FormatError:
        return finding
    replace = msgspec.structs.replace
    return replace(finding, start=facts.start_text, last_commit=facts.last_commit)


def _checked(path: Path) -> Finding:
    try:
        if path.read_bytes()[: len(SIGNATURE)] != SIGNATURE:
            return Finding(foreign=f"{path}: expected a run file, found no HDF5 file")
        with opened(path) as file:
            problems = [f"{path.name}: {problem}" for problem in _problems(path, file)]
            if names.SEGMENT.fullmatch(path.name):
                return Finding(problems=problems)
            return Finding(problems=problems, views=_views(file), told=_told(file))
    except ForeignError as error:
        return Finding(foreign=str(error))
    except FormatError as error:
        return Finding(problems=[str(error)])
    except OSError as error:
        return Finding(foreign=f"{path}: expected a run file, {error.strerror}")


def _problems(path: Path, file: Group) -> Iterator[str]:
    missing = [name for name in ATTRIBUTES if name not in {*file.attrs, *OPTIONAL}]
    if missing:
        yield f"expected the attributes {', '.join(missing)}, found none"
        return
    expected = _number(path, int(file.attrs["segment"]))
    if expected != file.attrs["segment"]:
        yield f"expected segment {expected}, found {file.attrs['segment']}"
    facts = read_facts(file)
    yield from _said_otherwise(file, facts)
    yield from _undescribed(file, facts)
    yield from _unknown(file, facts)
    if file.attrs["segment"]:
        yield from _segment(file, facts)


def _number(path: Path, otherwise: int) -> int:
    """The segment that a file is by its name; a master file is 0."""
    if named := names.SEGMENT.fullmatch(path.name):
        return int(named[1])
    return 0 if names.RUN.fullmatch(path.stem) else otherwise


# --- what the file says of itself, more than once ---


def _said_otherwise(file: Group, facts: Facts) -> Iterator[str]:
    """Attributes, texts and fixed tables must say what the run's start and end say."""
    for name, expected in told_attributes(facts).items():
        found = file.attrs[name]
        if found != expected:
            yield f"attribute {name}: expected {expected!r}, found {found!r}"
    for name, text in told_texts(facts).items():
        if name in file and bytes(file[name][()]) != text:
            yield f"/{name}: not what the run's start says"
    stops = {} if facts.end is None else facts.end.stops
    for name, rows in told_tables(facts.start, stops).items():
        if name not in file:
            continue  # it is named as missing
        found = file[name][:].astype(rows.dtype)
        # where an abandoned run stops is known to the master alone: the whole run's check sees it
        columns = [c for c in rows.dtype.names or () if c != "stop" or file.attrs["segment"]]
        wrong = [c for c in columns if found[c].tobytes() != rows[c].tobytes()]
        if wrong:
            yield f"/{name}: {', '.join(wrong)}: not what the run's start says"


def _undescribed(file: Group, facts: Facts) -> Iterator[str]:
    """Every dataset must say what it holds, in the words of the layout."""
    for path, expected in _descriptions(facts).items():
        if path not in file:
            yield f"/{path}: missing"
            continue
        found = dict(file[path].attrs)
        for name in [name for name in expected if name not in found]:
            yield f"/{path}: expected the attribute {name}, found none"
        for name, value in found.items():
            if name not in expected:
                yield f"/{path}: expected no attribute {name}, found {value!r}"
            elif value != expected[name]:
                yield f"/{path}: attribute {name}: expected {expected[name]!r}, found {value!r}"


def _descriptions(facts: Facts) -> dict[str, dict[str, str | float]]:
    """The attributes of every dataset."""
    tables = {**FIXED_TABLES, **TABLES}
    found = {name: table_attributes(layout) for name, layout in tables.items()}
    found |= {name: {"meaning": text} for name, text in TEXTS.items()}
    for channel in facts.start.channels:
        found[table_path(channel.name)] = table_attributes(RECORDS)
        found[samples_path(channel.name)] = samples_attributes(channel.volts_per_count)
        if channel.name in facts.start.raw:
            found[raw_pieces_path(channel.name)] = table_attributes(RAW_PIECES)
            found[raw_samples_path(channel.name)] = raw_attributes(channel.volts_per_count)
    return found


def _unknown(file: Group, facts: Facts) -> Iterator[str]:
    """What the layout does not know does not belong into the file."""
    known = set(_descriptions(facts))
    found: list[str] = []
    file.visititems(lambda name, what: found.append(name) if hasattr(what, "dtype") else None)
    yield from (f"/{name}: not in the layout" for name in found if name not in known)
    yield from (
        f"expected no attribute {name}, found one" for name in file.attrs if name not in ATTRIBUTES
    )


# --- what it holds ---


def _segment(file: Group, facts: Facts) -> Iterator[str]:
    """Every byte is read, and its checksum with it."""
    channels = facts.start.channels
    unreadable = [*_unreadable(file, dataset_paths(channels, facts.start.raw))]
    yield from unreadable
    for channel in [] if unreadable else channels:
        table, samples = read_records(file, channel.name)
        if samples.shape != (len(table), channel.record_length) or samples.dtype != SAMPLE:
            yield (
                f"channel {channel.name}: expected {len(table)} records of "
                f"{channel.record_length} samples, found {samples.shape} {samples.dtype}"
            )
        else:
            for number in wrong_crcs(table, samples):
                yield f"channel {channel.name}: record {number} has other samples than its CRC says"
    for name in [] if unreadable else facts.start.raw:
        yield from _raw(file, name)


def _raw(file: Group, name: str) -> Iterator[str]:
    """A raw stream must have the samples that its pieces promise."""
    pieces, samples = read_raw(file, name)
    expected = int((pieces["stop"] - pieces["start"]).sum())
    if samples.shape != (expected,) or samples.dtype != SAMPLE:
        yield (
            f"/{raw_samples_path(name)}: expected {expected} samples, "
            f"found {samples.shape} {samples.dtype}"
        )
        return
    for start in wrong_pieces(pieces, samples):
        yield f"/{raw_samples_path(name)}: from {start} on other samples than the CRC says"


def _unreadable(file: Group, paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        try:
            if path in TABLES:
                read_table(file, path)
            else:
                file[path][:]
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            yield f"/{path}: damaged: {error}"


def _told(file: Group) -> dict[str, object]:
    """What a master file says of the run, for whoever has all segments to compare."""
    if "digitizers" not in file:
        return {}  # it is named as missing
    facts = read_facts(file)
    stops = {row["name"].decode(): int(row["stop"]) for row in file["digitizers"][:]}
    return {**told_of_run(facts), "stops": stops}


def told_of_run(facts: Facts) -> dict[str, object]:
    """The part of a file's facts that another file can confirm."""
    return {
        "first_commit": facts.first_commit,
        "last_commit": facts.last_commit,
        "recovered": bool(facts.resumed),
        "run_start": zlib.crc32(facts.start_text),
        "run_end": zlib.crc32(facts.end_text),
    }


def _views(file: Group) -> dict[str, list[tuple[str, int]]]:
    """Dataset of a master file -> the segments that it shows, with the rows of each."""
    found = {}
    start = read_facts(file).start
    for name in dataset_paths(start.channels, start.raw):
        if name not in file:
            continue
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
