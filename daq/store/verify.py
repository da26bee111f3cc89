"""Proving that a run is whole, or naming what is not."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from daq.errors import FormatError
from daq.store import names
from daq.store.check import Finding, told_of_run
from daq.store.checker import TIMEOUT_S, Checker
from daq.store.consistency import problems_in
from daq.store.keptfilters import wrong_filters
from daq.store.layout import TABLES, dataset_paths
from daq.store.logfile import parse
from daq.store.parts import KeptPart, Part, SegmentPart, parts_of
from daq.store.reader import read_marker, run_folder_of
from daq.store.segment import read_segment, wrong_crcs
from daq.store.summary import (
    LISTS_FILTERS,
    FileSum,
    Manifest,
    SegmentSum,
    Summary,
    file_sum,
    manifest_of,
    read_manifest,
    run_facts,
    run_stops,
)

Views = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: `records` are those that can be read, by channel."""

    ok: bool
    problems: list[str]
    records: dict[str, int]


def verify(path: Path, timeout_s: float = TIMEOUT_S) -> Report:
    """Check the run that `path` is or lies in; a segment's file is checked on its own.

    FormatError where there is neither.
    """
    if path.is_file() and names.SEGMENT.fullmatch(path.name):
        return _verify_segment(path, timeout_s)
    return _verify_run(run_folder_of(path), timeout_s)


def _verify_segment(path: Path, timeout_s: float) -> Report:
    with Checker(timeout_s) as checker:
        finding = checker.check(path)
    if finding.foreign:
        raise FormatError(finding.foreign)
    if finding.problems:
        return Report(False, finding.problems, {})
    parts = [KeptPart(SegmentPart(path))]
    return _report(problems_in(parts, whole=False), parts)


def _verify_run(folder: Path, timeout_s: float) -> Report:
    manifest, problems = _manifest(folder)
    problems += [*_sums(folder, manifest), *_logs(folder)]
    of_segments, master = _files(folder, timeout_s)
    problems += of_segments + _all_of(master)
    try:
        parts = [] if of_segments else [KeptPart(part) for part in parts_of(folder)]
    except FormatError as error:
        problems, parts = [*problems, str(error)], []
    if parts:
        problems += problems_in(parts, whole=True)
        problems += wrong_filters(folder, parts, manifest.filters if manifest else ())
        problems += [*_view_problems(parts, master.views), *_master_told(parts, master)]
        problems += _totals(parts, manifest) if manifest else []
    return _report(problems, parts)


def _report(problems: list[str], parts: Sequence[Part]) -> Report:
    channels = parts[0].facts.start.channels if parts else ()
    records = {c.name: sum(part.n_records(c.name) for part in parts) for c in channels}
    return Report(not problems, problems, records)


def _manifest(folder: Path) -> tuple[Manifest | None, list[str]]:
    """The manifest of a complete run, and what is wrong with it or the marker."""
    path = names.manifest_path(folder)
    try:
        marker = read_marker(folder)
        if marker is None:
            return None, [f"{folder.name}: not complete: being recorded, or never finished"]
        manifest = read_manifest(path)
    except FormatError as error:
        return None, [str(error)]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != marker.manifest_sha256:
        return None, [f"{path.name}: expected SHA-256 {marker.manifest_sha256}, found {found}"]
    problems = [f"{path.name}: {problem}" for problem in manifest.problems]
    if marker.recovered != manifest.recovered:
        said = f"expected recovered {manifest.recovered}, found {marker.recovered}"
        problems.append(f"complete: {said}")
    return manifest, problems


def _sums(folder: Path, manifest: Manifest | None) -> Iterator[str]:
    """Files that are not what the manifest says, are missing, or not in it."""
    if manifest is None:
        return
    listed = [*manifest.segments, *manifest.restricted, *manifest.filters, manifest.master]
    for expected in listed:
        yield from _sum(folder / expected.name, expected)
    known = {file.name for file in listed}
    found = [*names.segments(folder).values(), *names.restricted(folder).values()]
    found += names.filters(folder) if manifest.version >= LISTS_FILTERS else []
    for path in found:
        if path.name not in known:
            yield f"{path.name}: not in the manifest"


def _sum(path: Path, expected: FileSum) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name}: missing"
        return
    if not os.access(path, os.R_OK):
        yield f"{path.name}: unproven: it is for its owner alone"
        return
    found = FileSum(**file_sum(path))
    if found.bytes != expected.bytes:
        yield f"{path.name}: expected {expected.bytes} bytes, found {found.bytes}"
    elif found.sha256 != expected.sha256:
        yield f"{path.name}: expected SHA-256 {expected.sha256}, found {found.sha256}"


def _logs(folder: Path) -> Iterator[str]:
    """Damage in log files that are not folded yet; a torn end is what a crash leaves."""
    logs = names.logs(folder)
    for index, path in logs.items():
        try:
            file = parse(
                path.read_bytes(), names.run_number(folder), index, followed=index < max(logs)
            )
        except FileNotFoundError:
            continue  # folded meanwhile
        except FormatError as error:
            yield f"log/{path.name}: {error}"
            continue
        yield from (f"log/{path.name}: {problem}" for problem in file.problems)


def _files(folder: Path, timeout_s: float) -> tuple[list[str], Finding]:
    """What is wrong with the segments on their own, and with the master, if there is one."""
    master = names.master_path(folder)
    with Checker(timeout_s) as checker:
        segments = [checker.check(path) for path in names.segments(folder).values()]
        found = checker.check(master) if master.exists() else Finding()
        restricted = _restricted(folder, checker)
    return [problem for each in segments for problem in _all_of(each)] + restricted, found


def _restricted(folder: Path, checker: Checker) -> list[str]:
    """What is wrong with the restricted files: damage, samples that were changed, a record lost."""
    found: list[str] = []
    counts: Counter[str] = Counter()
    for path in names.restricted(folder).values():
        if os.access(path, os.R_OK):  # else the sums say that it is unproven
            found += _all_of(checker.check(path)) or list(_records_of(path, counts))
    return found


def _records_of(path: Path, counts: Counter[str]) -> Iterator[str]:
    contents = read_segment(path)
    for channel, (table, samples) in zip(
        contents.facts.start.channels, contents.records, strict=True
    ):
        first = counts[channel.name]
        if table["record"].tolist() != list(range(first, first + len(table))):
            yield f"{path.name}: channel {channel.name}: expected the records from {first} on"
        counts[channel.name] += len(table)
        for number in wrong_crcs(table, samples):
            yield f"{path.name}: channel {channel.name}: record {number} has other samples"


def _all_of(finding: Finding) -> list[str]:
    return [finding.foreign] if finding.foreign else finding.problems


def _view_problems(parts: Sequence[Part], views: Views) -> Iterator[str]:
    """Datasets of the master file that do not show exactly the segments."""
    start = parts[0].facts.start
    for dataset in dataset_paths(start.channels, start.raw) if views else ():
        expected = [(part.name, n) for part in parts if (n := _n_rows(part, dataset))]
        if (shown := views.get(dataset, [])) != expected:
            yield (
                f"master file: /{dataset}: expected {sum(n for _, n in expected)} rows of "
                f"{len(expected)} segments, found {sum(n for _, n in shown)} of {len(shown)}"
            )


def _master_told(parts: Sequence[Part], master: Finding) -> Iterator[str]:
    """What the master says of the run as a whole, against the segments."""
    if not master.told:
        return
    summaries = [_summary(part, FileSum(name=part.name, bytes=0, sha256="")) for part in parts]
    expected = told_of_run(run_facts(summaries)) | {"stops": run_stops(summaries)}
    for key, value in expected.items():
        yield from _differences(f"master file: {key}", value, master.told[key])


def _n_rows(part: Part, dataset: str) -> int:
    if dataset in TABLES:
        return len(part.table(dataset))
    group, channel, kind = dataset.split("/")
    if group == "records":
        return part.n_records(channel)
    pieces = part.raw_pieces(channel)
    return len(pieces) if kind == "pieces" else int((pieces["stop"] - pieces["start"]).sum())


def _totals(parts: Sequence[Part], manifest: Manifest) -> Iterator[str]:
    """What the manifest says and the files do not bear out, key by key."""
    sums = {file.name: file for file in manifest.segments}
    if [part.name for part in parts] != list(sums):
        yield f"manifest.json: expected the segments {[part.name for part in parts]}"
        return
    summaries = [_summary(part, sums[part.name]) for part in parts]
    said = (manifest.master, manifest.problems, manifest.restricted, manifest.filters)
    made = msgspec.to_builtins(replace(manifest_of(summaries, *said), version=manifest.version))
    found = msgspec.to_builtins(manifest)
    for key, expected in made.items():
        yield from _differences(f"manifest.json: {key}", expected, found[key])


def _summary(part: Part, found: FileSum) -> Summary:
    """A segment as the manifest has it, with what the segment itself holds."""
    channels = part.facts.start.channels
    paths = dataset_paths(channels, part.facts.start.raw)
    rows = {dataset: _n_rows(part, dataset) for dataset in paths}
    records = {channel.name: part.n_records(channel.name) for channel in channels}
    file = SegmentSum(name=found.name, bytes=found.bytes, sha256=found.sha256, records=records)
    return Summary(file=file, facts=part.facts, rows=rows, ledger=part.table("livetime"))


def _differences(place: str, expected: object, found: object) -> Iterator[str]:
    """The places where two JSON values differ."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        for key in expected:
            yield from _differences(f"{place}.{key}", expected[key], found[key])
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, pair in enumerate(zip(expected, found, strict=True)):
            yield from _differences(f"{place}[{i}]", *pair)
    elif expected != found:
        yield f"{place}: expected {expected!r}, found {found!r}"
