"""Folding one run: its log files become segments, at its end it becomes complete."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path

import msgspec
import numpy as np

from daq.errors import FormatError, StorageError
from daq.store import disk, names
from daq.store.checker import TIMEOUT_S
from daq.store.compression import Array, read_samples
from daq.store.contents import Contents, contents_of
from daq.store.h5file import rfc3339
from daq.store.keptfilters import filter_sums
from daq.store.logfile import LogFile, parse
from daq.store.master import Source, master_image
from daq.store.owner import HeldError, Owner
from daq.store.salvaging import Order, salvaged
from daq.store.segment import read_segment, segment_image, wrong_crcs, wrong_pieces
from daq.store.summary import (
    FileSum,
    Manifest,
    Summary,
    encode_manifest,
    file_sum,
    manifest_of,
    restricted_sum,
    run_facts,
    run_stops,
    summarize,
)


class RunFold:
    """One run folder. Every step can be interrupted at any point and done again."""

    def __init__(self, folder: Path, now_ns: Callable[[], int]) -> None:
        self.folder = folder
        self._now_ns = now_ns
        self._summaries: dict[int, Summary] = {}
        self._sizes: dict[int, int] = {}
        self._unended: tuple[int, int, int] | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return names.complete_path(self.folder).exists()

    def sizes(self) -> list[int]:
        """Bytes of each segment."""
        for index, path in names.segments(self.folder).items():
            if index not in self._sizes:
                with disk.naming("look at", path):
                    self._sizes[index] = path.stat().st_size
        return list(self._sizes.values())

    def steps(self) -> Iterator[Path]:
        """Fold what can be folded, and finish a run that has ended; yields the files made."""
        yield from self._fold_followed()
        if not self._worth_a_look():
            return
        try:
            owner = Owner(self.folder)
        except HeldError:
            return  # it is being written
        with owner:
            if self._ended():
                yield from self._finish(owner)

    def finish(self, *, abandoned: bool) -> Iterator[Path]:
        """Fold all and finish the run, with `abandoned` also one that has no end.

        StorageError where somebody writes it, or where it has no end and must have one.
        """
        if self.complete:
            return
        if not names.logs(self.folder) and not names.segments(self.folder):
            raise StorageError(f"{self.folder}: expected a run, found neither log nor segments")
        yield from self._fold_followed()
        with Owner(self.folder) as owner:
            if not abandoned and not self._ended():
                raise StorageError(
                    f"{self.folder}: expected a run that has ended, found one without an end; "
                    "it can only be finished as abandoned"
                )
            yield from self._finish(owner)

    def _fold_followed(self) -> Iterator[Path]:
        for index, path in list(names.logs(self.folder).items())[:-1]:
            yield self._fold(index, path, followed=True)

    def _finish(self, owner: Owner) -> Iterator[Path]:
        for index, path in names.logs(self.folder).items():
            yield self._fold(index, path, followed=False)
        parts = self._parts()
        master = names.master_path(self.folder)
        disk.publish(master, self._master(parts))
        yield master
        restricted = [restricted_sum(p) for p in names.restricted(self.folder).values()]
        master_sum = FileSum(**file_sum(master))
        filters = filter_sums(self.folder)
        manifest = manifest_of(parts, master_sum, self._damages(), restricted, filters)
        disk.publish(names.manifest_path(self.folder), encode_manifest(manifest))
        yield names.manifest_path(self.folder)
        self._clear_log(owner)
        disk.publish(names.complete_path(self.folder), self._marker(manifest))
        yield names.complete_path(self.folder)

    # --- has it ended ---

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes whenever the last log file does."""
        logs = names.logs(self.folder)
        if not logs:
            return None
        with disk.naming("look at", logs[max(logs)]):
            stat = logs[max(logs)].stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _worth_a_look(self) -> bool:
        """False for a folder without a run, and where the log is as it was when it had no end."""
        signature = self._signature()
        if signature is None:
            return bool(names.segments(self.folder))
        return signature != self._unended

    def _ended(self) -> bool:
        """Whether the run's end is in its log, or all of it is folded already."""
        logs = names.logs(self.folder)
        if not logs:
            return bool(names.segments(self.folder))
        index = max(logs)
        signature = self._signature()
        ended = self._parse(index, logs[index], followed=False).run_end is not None
        self._unended = None if ended else signature
        return ended

    # --- one file ---

    def _parse(self, index: int, path: Path, followed: bool) -> LogFile:
        with disk.naming("read", path):
            content = path.read_bytes()
        try:
            return parse(content, names.run_number(self.folder), index, followed)
        except FormatError as error:
            raise StorageError(f"cannot fold {path}: {error}") from error

    def _fold(self, index: int, path: Path, followed: bool) -> Path:
        """Make the segment of a log file, prove that it holds the same, then drop the log."""
        file = self._parse(index, path, followed)
        try:
            contents = contents_of(file, followed, self._other_start(index, file))
        except FormatError as error:
            raise StorageError(f"cannot fold {path}: {error}") from error
        if contents.restricted is not None:
            self._seal(names.restricted_path(self.folder, index), contents.restricted, disk.OWNER)
        target = names.segment_path(self.folder, index)
        self._seal(target, contents, disk.EVERYBODY)
        self._summaries[index] = summarize(target)
        self._drop(path, bad=bool(_problems(file, contents)))
        return target

    def _seal(self, target: Path, contents: Contents, mode: int) -> None:
        """Write a file and prove that it holds what it is to hold, where it does not yet."""
        if _holds(target, contents):
            return
        index = int(target.stem.split("_")[1])
        disk.publish(target, segment_image(contents, index, self._now_ns()), mode=mode)
        if not _holds(target, contents):
            source = names.log_path(self.folder, index).name
            raise StorageError(f"{target}: expected what {source} holds, found something else")

    def _other_start(self, index: int, file: LogFile) -> bytes | None:
        """The run's start from another file of the run, where this one's is damaged."""
        if file.run_start is not None:
            return None
        for other in names.segments(self.folder).values():
            return read_segment(other).facts.start_text
        for i, path in names.logs(self.folder).items():
            found = self._parse(i, path, followed=True).run_start if i != index else None
            if found is not None:
                return found.payload
        return None

    def _drop(self, path: Path, bad: bool) -> None:
        """A log that was not whole is kept, under a name that says so."""
        with disk.naming("delete", path):
            if bad:
                disk.rename(path, path.with_suffix(".damaged"))
            else:
                disk.remove(path)

    # --- the whole run ---

    def _parts(self) -> list[Summary]:
        found = names.segments(self.folder)
        missing = sorted(set(range(1, max(found, default=1) + 1)) - set(found))
        if missing:
            raise StorageError(f"{names.segment_path(self.folder, missing[0])}: missing")
        for index, path in found.items():
            if index not in self._summaries:
                self._summaries[index] = summarize(path)
        return [self._summaries[index] for index in found]

    def _master(self, parts: list[Summary]) -> bytes:
        sources = [Source(part.file.name, part.rows) for part in parts]
        return master_image(run_facts(parts), sources, run_stops(parts), self._now_ns())

    def _damages(self) -> list[str]:
        """What was wrong with the logs and segments that were kept as they were found."""
        last, found = max(names.segments(self.folder)), []
        for index, path in names.damaged_logs(self.folder).items():
            file = self._parse(index, path, followed=index < last)
            contents = read_segment(names.segment_path(self.folder, index))
            found += [f"log/{path.name}: {problem}" for problem in _problems(file, contents)]
        for index, path in names.damaged_segments(self.folder).items():
            facts = read_segment(names.segment_path(self.folder, index)).facts
            order = Order(str(path), facts.start_text, facts.last_commit, index, self._now_ns())
            found += salvaged(order, TIMEOUT_S).problems
        return found

    def _clear_log(self, owner: Owner) -> None:
        """Take away what the log leaves: drafts, the lock, the folder unless a file was kept."""
        log = names.log_folder(self.folder)
        with disk.naming("clear", log):
            for draft in log.glob("*.part"):
                draft.unlink()
            owner.remove()
            if not any(log.iterdir()):
                log.rmdir()

    def _marker(self, manifest: Manifest) -> bytes:
        digest = hashlib.sha256(encode_manifest(manifest)).hexdigest()
        marker = {
            "complete": rfc3339(self._now_ns()),
            "recovered": manifest.recovered,
            "manifest_sha256": digest,
        }
        return msgspec.json.encode(marker) + b"\n"


def _holds(path: Path, contents: Contents) -> bool:
    """Whether a segment is there, can be read, and holds exactly `contents`."""
    try:
        found = read_segment(path, read_samples)
    except FormatError:
        return False
    pairs = zip_longest(_arrays(found), _arrays(contents), fillvalue=np.empty(0))
    return found.facts == contents.facts and all(_alike(*pair) for pair in pairs)


def _arrays(contents: Contents) -> Iterator[Array]:
    for pair in (*contents.records, *contents.raw.values()):
        yield from pair
    yield from contents.tables.values()


def _alike(one: Array, other: Array) -> bool:
    """Whether they are the same byte for byte: not-a-number is not equal to itself."""
    a, b = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (one, other))
    return one.shape == other.shape and np.array_equal(a, b)


def _problems(file: LogFile, contents: Contents) -> list[str]:
    found = list(file.problems)
    for channel, (table, samples) in zip(
        contents.facts.start.channels, contents.records, strict=True
    ):
        found += [
            f"channel {channel.name}: record {number} has samples that its checksum denies"
            for number in wrong_crcs(table, samples)
        ]
    for name, (pieces, stream) in contents.raw.items():
        found += [
            f"channel {name}: raw samples from {start} on are not those of their checksum"
            for start in wrong_pieces(pieces, stream)
        ]
    return found
