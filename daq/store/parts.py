"""The parts of a run in order: sealed segments, and log files that are not folded yet."""

from __future__ import annotations

from functools import cache, cached_property
from pathlib import Path
from typing import Protocol

from daq.errors import FormatError, StorageError
from daq.model.batch import Rows
from daq.store import names
from daq.store.contents import Contents, Facts, Samples, contents_of
from daq.store.layout import samples_path, table_path
from daq.store.logfile import parse
from daq.store.segment import (
    opened,
    read_facts,
    read_raw,
    read_raw_pieces,
    read_record_table,
    read_table,
)

ATTEMPTS = 100  # to list a run whose log is being folded meanwhile


class Part(Protocol):
    """A stretch of a run; `name` is that of its file."""

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> Facts: ...

    def n_records(self, channel: str) -> int:
        """Records of a channel in it."""
        ...

    def record_table(self, channel: str) -> Rows:
        """Their rows."""
        ...

    def samples(self, channel: str, records: slice) -> Samples:
        """The samples of some of them."""
        ...

    def table(self, name: str) -> Rows:
        """One of the other tables, by its dataset."""
        ...

    def raw_pieces(self, channel: str) -> Rows:
        """The pieces of a channel's raw stream."""
        ...

    def raw_samples(self, channel: str) -> Samples:
        """The samples of all of them, one after the other."""
        ...


class SegmentPart:
    """A sealed segment; its file is open only while something is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name

    @cached_property
    def facts(self) -> Facts:
        """What it says of itself."""
        with opened(self._path) as file:
            return read_facts(file)

    @cached_property
    def _counts(self) -> dict[str, int]:
        channels = [channel.name for channel in self.facts.start.channels]
        with opened(self._path) as file:
            return {name: int(file[table_path(name)].shape[0]) for name in channels}

    def n_records(self, channel: str) -> int:
        """Records of a channel in it."""
        return self._counts[channel]

    def record_table(self, channel: str) -> Rows:
        """Their rows."""
        with opened(self._path) as file:
            return read_record_table(file, channel)

    def samples(self, channel: str, records: slice) -> Samples:
        """The samples of some of them."""
        with opened(self._path) as file:
            found: Samples = file[samples_path(channel)][records]
            return found

    def table(self, name: str) -> Rows:
        """One of the other tables, by its dataset."""
        with opened(self._path) as file:
            return read_table(file, name)

    def raw_pieces(self, channel: str) -> Rows:
        """The pieces of a channel's raw stream."""
        with opened(self._path) as file:
            return read_raw_pieces(file, channel)

    def raw_samples(self, channel: str) -> Samples:
        """The samples of all of them."""
        with opened(self._path) as file:
            return read_raw(file, channel)[1]


class LogPart:
    """What is committed in a log file, as it was when the run was opened."""

    def __init__(self, name: str, contents: Contents) -> None:
        self.name, self._contents = name, contents
        channels = [channel.name for channel in contents.facts.start.channels]
        self._records = dict(zip(channels, contents.records, strict=True))

    @property
    def facts(self) -> Facts:
        """What it says of itself."""
        return self._contents.facts

    def n_records(self, channel: str) -> int:
        """Records of a channel in it."""
        return len(self._records[channel][0])

    def record_table(self, channel: str) -> Rows:
        """Their rows."""
        return self._records[channel][0]

    def samples(self, channel: str, records: slice) -> Samples:
        """The samples of some of them."""
        return self._records[channel][1][records]

    def table(self, name: str) -> Rows:
        """One of the other tables, by its dataset."""
        return self._contents.tables[name]

    def raw_pieces(self, channel: str) -> Rows:
        """The pieces of a channel's raw stream."""
        return self._contents.raw[channel][0]

    def raw_samples(self, channel: str) -> Samples:
        """The samples of all of them."""
        return self._contents.raw[channel][1]


def restricted_part(part: Part) -> Part | None:
    """What a log file that is not folded yet has for the restricted file; None for a segment."""
    hidden = part._contents.restricted if isinstance(part, LogPart) else None
    return LogPart(part.name, hidden) if hidden else None


class KeptPart:
    """A part whose tables are read once; its records stay where they are."""

    def __init__(self, part: Part) -> None:
        self.name, self.facts = part.name, part.facts
        self.n_records, self.record_table = part.n_records, part.record_table
        self.samples, self.table = part.samples, cache(part.table)
        self.raw_pieces, self.raw_samples = cache(part.raw_pieces), part.raw_samples


def parts_of(folder: Path) -> list[Part]:
    """All parts of a run, in order; FormatError where there are none, or one is missing."""
    for _ in range(ATTEMPTS):
        try:
            return _listed(folder)
        except FileNotFoundError:
            continue  # a log file was folded between listing and reading: its segment is there now
    raise StorageError(
        f"{folder}: expected log files that can be read, they vanish again and again"
    )


def _listed(folder: Path) -> list[Part]:
    logs, segments = names.logs(folder), names.segments(folder)  # in this order: see above
    last = max([*logs, *segments], default=0)
    if not last:
        raise FormatError(f"{folder}: expected a run, found neither log nor segments")
    parts: list[Part] = []
    for index in range(1, last + 1):
        if index in segments:
            parts.append(SegmentPart(segments[index]))
        elif index in logs:
            fallback = parts[0].facts.start_text if parts else None
            parts.append(_log_part(folder, index, logs[index], index < last, fallback))
        else:
            raise FormatError(f"{names.segment_path(folder, index)}: missing")
    return parts


def _log_part(
    folder: Path, index: int, path: Path, followed: bool, start_text: bytes | None
) -> LogPart:
    content = path.read_bytes()
    try:
        file = parse(content, names.run_number(folder), index, followed)
        return LogPart(f"log/{path.name}", contents_of(file, followed, start_text))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
