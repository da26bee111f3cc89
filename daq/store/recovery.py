"""Bringing a run back from whatever a crash or a bad disk left of it.

What is done here can be interrupted at any point and done again, and done twice it gives the same
bytes: a file that this makes says that it was made at the run's start. Nothing is deleted before
what was made of it is read back and holds the same; damaged files are kept under names that say so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from daq.errors import FormatError, StorageError
from daq.store import disk, names
from daq.store.check import Finding
from daq.store.checker import TIMEOUT_S, Checker
from daq.store.contents import facts_of
from daq.store.keptfilters import filter_sums
from daq.store.logfile import parse
from daq.store.owner import Owner
from daq.store.reader import read_marker, run_folder_of
from daq.store.runfold import RunFold
from daq.store.salvage import empty
from daq.store.salvaging import Order, salvaged
from daq.store.segment import opened, read_facts, segment_image
from daq.store.start import decode_start
from daq.store.summary import LISTS_FILTERS, FileSum, Manifest, file_sum, read_manifest
from daq.store.verify import verify


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was made and done, in order, and what verification says of the run then."""

    folder: Path
    done: list[str]
    problems: list[str]
    records: dict[str, int]


def recover_run(path: Path, timeout_s: float = TIMEOUT_S) -> Recovered:
    """Make a run complete out of what is left of it, as `abandoned` where it has no end.

    FormatError where there is no run; StorageError where somebody writes it, where nothing tells
    any more what its channels were, or where the disk refuses.
    """
    folder = run_folder_of(path)
    done = [] if _intact(folder) else list(_recovered(folder, timeout_s))
    report = verify(folder, timeout_s)
    return Recovered(folder, done, report.problems, report.records)


def _recovered(folder: Path, timeout_s: float) -> Iterator[str]:
    with Checker(timeout_s) as checker:
        findings = {i: checker.check(path) for i, path in names.segments(folder).items()}
        start_text = _start_text(folder, findings.values())
        t_ns = decode_start(start_text).t_ns
        with Owner(folder):
            yield from _unmarked(folder)
            yield from _drafts_adopted(folder, checker)
            mending = Mending(folder, checker, findings, start_text, t_ns, timeout_s)
            yield from mending.steps()
            yield from _holes_filled(folder, start_text, t_ns)
    made = RunFold(folder, lambda: t_ns).finish(abandoned=True)
    yield from (f"{path.name}: made" for path in made)
    for draft in [*names.drafts(folder).values(), *folder.glob("*.part")]:
        if draft.exists():
            with disk.naming("delete", draft):
                disk.remove(draft)
            yield f"{draft.name}: deleted, it was never finished"


def _intact(folder: Path) -> bool:
    """Whether the run is complete and every file is the one that the manifest means."""
    try:
        marker, path = read_marker(folder), names.manifest_path(folder)
        if marker is None or names.logs(folder):
            return False
        manifest = read_manifest(path)
        listed = [*manifest.segments, manifest.master]
        return (
            hashlib.sha256(path.read_bytes()).hexdigest() == marker.manifest_sha256
            and {path.name for path in names.segments(folder).values()}
            == {file.name for file in manifest.segments}
            and _lists_filters(manifest, folder)
            and all(_same(folder / file.name, file) for file in listed)
        )
    except FormatError:
        return False


def _lists_filters(manifest: Manifest, folder: Path) -> bool:
    """Whether no filters are there of which the manifest should know; a lost one stays in it."""
    found = {file.name for file in filter_sums(folder)}
    return manifest.version < LISTS_FILTERS or found <= {file.name for file in manifest.filters}


def _same(path: Path, expected: FileSum) -> bool:
    return path.is_file() and FileSum(**file_sum(path)).sha256 == expected.sha256


def _start_text(folder: Path, findings: Iterable[Finding]) -> bytes:
    """The start of the run as most of its files tell it: each of them repeats it."""
    told = Counter(finding.start for finding in findings if finding.start)
    for index, path in names.logs(folder).items():
        found = _start_in_log(folder, index, path)
        told.update([found] if found else [])
    if not told:
        raise StorageError(
            f"{folder}: expected the start of the run in a segment or log file, found it in none"
        )
    return told.most_common(1)[0][0]


def _start_in_log(folder: Path, index: int, path: Path) -> bytes | None:
    try:
        start = parse(path.read_bytes(), names.run_number(folder), index, followed=False).run_start
        return start.payload if start and decode_start(start.payload) else None
    except FormatError:
        return None


def _unmarked(folder: Path) -> Iterator[str]:
    """A run that is not what its marker says is not complete."""
    marker = names.complete_path(folder)
    if marker.exists():
        with disk.naming("delete", marker):
            disk.remove(marker)
        yield "complete: deleted, the run is not what it says"


def _drafts_adopted(folder: Path, checker: Checker) -> Iterator[str]:
    """A draft that nothing else holds any more, and that is whole, gets its name."""
    held = {*names.segments(folder), *names.logs(folder)}
    for index, draft in names.drafts(folder).items():
        finding = checker.check(draft)
        if index in held or finding.problems or finding.foreign:
            continue
        with disk.naming("rename", draft):
            disk.rename(draft, names.segment_path(folder, index))
        yield f"{draft.name}: whole, got its name"


@dataclass(frozen=True, slots=True)
class Mending:
    """What can be read of damaged segments takes their place; their logs, if any, do better."""

    folder: Path
    checker: Checker
    findings: dict[int, Finding]  # of the segments that were there at the beginning
    start_text: bytes
    t_ns: int
    timeout_s: float

    def steps(self) -> Iterator[str]:
        """Segment by segment; what was done."""
        last_commit, logs = 0, names.logs(self.folder)
        for index, path in names.segments(self.folder).items():
            if index in logs:
                continue  # it is folded again
            finding = self.findings.get(index) or self.checker.check(path)
            if finding.problems or finding.foreign or finding.start != self.start_text:
                yield from self._mended(index, path, last_commit)
                finding = self.checker.check(path)
            last_commit = finding.last_commit

    def _mended(self, index: int, path: Path, last_commit: int) -> Iterator[str]:
        order = Order(str(path), self.start_text, last_commit, index, self.t_ns)
        found = salvaged(order, self.timeout_s)
        _set_aside(path, path.with_suffix(".damaged"))
        disk.publish(path, found.image)
        yield from found.problems
        yield f"{path.name}: salvaged, what was found is {path.stem}.damaged"


def _set_aside(path: Path, target: Path) -> None:
    """Let a file have a second name; the first is given to another file later."""
    with disk.naming("keep", path):
        if not target.exists():
            disk.link(path, target)


def _holes_filled(folder: Path, start_text: bytes, t_ns: int) -> Iterator[str]:
    """Where a segment is gone for good, one without anything stands for it."""
    held = {*names.segments(folder), *names.logs(folder)}
    last_commit = 0
    for index in range(1, max(held, default=0) + 1):
        path = names.segment_path(folder, index)
        if index not in held:
            facts = facts_of(start_text, b" ", (last_commit + 1, last_commit), resumed=True)
            disk.publish(path, segment_image(empty(facts), index, t_ns))
            yield f"{path.name}: missing, all of it is lost; an empty one stands for it"
        last_commit = max(last_commit, _last_commit(path))


def _last_commit(path: Path) -> int:
    """The last commit of a segment that is whole; 0 where only its log is."""
    try:
        with opened(path) as file:
            return read_facts(file).last_commit
    except FormatError:
        return 0
