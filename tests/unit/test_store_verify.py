"""Verification: a whole run passes, and whatever is wrong is named with file and place."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from daq.errors import FormatError
from daq.model.batch import Batch, Rows
from daq.store import names
from daq.store.check import Finding, check_file
from daq.store.checker import PACKAGES, Checker
from daq.store.consistency import problems_in
from daq.store.contents import Contents
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.logfile import parse
from daq.store.parts import LogPart
from daq.store.segment import read_segment, segment_image
from daq.store.verify import verify
from tests.store_runs import SIZES_CHECKED as SIZES
from tests.store_runs import SPAN, STARTS, T_NS, batch_of, record_run, start_payload

N = sum(SIZES)
SETTINGS = LogSettings(rotate_bytes=5000)


@cache
def whole_run() -> tuple[TemporaryDirectory[str], Path]:
    """A complete run that tests copy; the folder lives as long as this process."""
    parent = TemporaryDirectory()
    folder = Path(parent.name) / "run_000007"
    record_run(folder, SIZES, SETTINGS)
    Folder(folder.parent, time.time_ns).fold()
    return parent, folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(whole_run()[1], tmp_path / "run_000007")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


# --- whole runs ---


def test_a_whole_run_passes(folder: Path) -> None:
    assert len(names.segments(folder)) > 2
    for path in (folder, names.master_path(folder), names.manifest_path(folder)):
        report = verify(path)
        assert (report.ok, report.problems) == (True, [])
        assert report.records == {"C11": N, "SI": N}


def test_each_segment_passes_on_its_own(folder: Path, tmp_path: Path) -> None:
    reports = [verify(path) for path in names.segments(folder).values()]
    assert all(report.ok for report in reports)
    assert sum(report.records["SI"] for report in reports) == N
    alone = shutil.copy(names.segment_path(folder, 2), tmp_path / "segment_000002.h5")
    assert verify(Path(alone)).ok


def test_an_unfinished_run_is_said_to_be_unfinished(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES, SETTINGS)
    next(Folder(tmp_path, time.time_ns).steps())
    report = verify(folder)
    assert report.problems == ["run_000007: not complete: being recorded, or never finished"]
    assert report.records == {"C11": N, "SI": N}


# --- files ---


def test_a_changed_file_is_named(folder: Path) -> None:
    for path in (names.segment_path(folder, 2), names.master_path(folder)):
        flip(path, path.stat().st_size // 2)
        assert any(path.name in p and "SHA-256" in p for p in verify(folder).problems)
        flip(path, path.stat().st_size // 2)
    assert verify(folder).ok


def test_a_truncated_file_is_named(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    path.write_bytes(path.read_bytes()[:-1000])
    size = path.stat().st_size
    problems = verify(folder).problems
    assert f"segment_000002.h5: expected {size + 1000} bytes, found {size}" in problems
    assert any("cannot be read" in problem for problem in problems)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("segment_000002.h5", "segment_000002.h5: missing"),
        ("run_000007.h5", "run_000007.h5: missing"),
        ("manifest.json", "manifest.json: expected the manifest, found nothing"),
        ("complete", "not complete"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, words: str) -> None:
    (folder / name).unlink()
    assert any(words in problem for problem in verify(folder).problems)


def test_a_segment_too_many_is_named(folder: Path) -> None:
    last = max(names.segments(folder))
    shutil.copy(names.segment_path(folder, last), names.segment_path(folder, last + 1))
    problems = verify(folder).problems
    extra = f"segment_{last + 1:06d}.h5"
    assert f"{extra}: not in the manifest" in problems
    assert f"{extra}: expected segment {last + 1}, found {last}" in problems


def test_a_changed_manifest_is_named(folder: Path) -> None:
    path = names.manifest_path(folder)
    path.write_bytes(path.read_bytes().replace(b'"enough"', b'"other!"'))
    assert "manifest.json: expected SHA-256" in verify(folder).problems[0]


def test_wrong_totals_in_a_manifest_are_named(folder: Path) -> None:
    path, marker = names.manifest_path(folder), names.complete_path(folder)
    manifest = json.loads(path.read_bytes())
    manifest["channels"]["SI"]["records"] += 1
    path.write_text(json.dumps(manifest))
    remark(marker, path)
    (problem,) = verify(folder).problems
    assert problem == f"manifest.json: channels.SI.records: expected {N}, found {N + 1}"


def remark(marker: Path, manifest: Path) -> None:
    """Let the marker be of the manifest as it is now."""
    found = json.loads(marker.read_bytes())
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    marker.write_text(json.dumps(found | {"manifest_sha256": digest}))


def test_a_master_that_shows_other_rows_is_named(folder: Path) -> None:
    master = names.master_path(folder)
    with h5py.File(master, "a") as file:
        del file["records/SI/samples"]
        layout = h5py.VirtualLayout((1, 16), np.int16)
        layout[0:1] = h5py.VirtualSource("segment_000001.h5", "records/SI/samples", (1, 16))
        file.create_virtual_dataset("records/SI/samples", layout)
    problems = verify(folder).problems
    n_segments = sum(1 for part in names.segments(folder).values() if _rows_in(part, "SI"))
    words = f"master file: /records/SI/samples: expected {N} rows of {n_segments} segments, found 1"
    assert any(words in problem for problem in problems)


def _rows_in(path: Path, channel: str) -> int:
    with h5py.File(path) as file:
        return int(file[f"records/{channel}/table"].shape[0])


def test_a_damaged_log_that_waits_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES, SETTINGS)
    log = names.log_path(folder, 1)
    flip(log, parse(log.read_bytes(), 7, 1, followed=True).units[0].frames[0].start + 60)
    problems = verify(folder).problems
    assert any("log/000001.log: commit 1 is not whole" in problem for problem in problems)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a run, found nothing"):
        verify(tmp_path / "segment_000001.h5")
    path = tmp_path / "segment_000001.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(FormatError, match="expected a run file, found no HDF5 file"):
        verify(path)
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(FormatError, match="expected a scheelite-run file, found another kind"):
        verify(path)
    with pytest.raises(FormatError, match="expected a run folder such as run_000123"):
        verify(tmp_path)


# --- one file on its own ---


def damaged_segment(folder: Path, change: Callable[[Any], None]) -> Finding:
    path = names.segment_path(folder, 2)
    with h5py.File(path, "a") as file:
        change(file)
    return check_file(path)


def _wrong_crc(file: Any) -> None:  # Any: h5py has no types, here and below
    samples = file["records/C11/samples"][:]
    samples[1, 3] += 1
    file["records/C11/samples"][:] = samples


def _short_samples(file: Any) -> None:
    samples = file["records/C11/samples"][1:]
    del file["records/C11/samples"]
    file["records/C11/samples"] = samples


def _no_attribute(file: Any) -> None:
    del file.attrs["reason"]


def _no_meaning(file: Any) -> None:
    del file["gaps"].attrs["exact.meaning"]


def _no_table(file: Any) -> None:
    del file["livetime"]


def _other_number(file: Any) -> None:
    file.attrs["segment"] = 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_wrong_crc, r"channel C11: record \d+ has other samples than its CRC says"),
        (_short_samples, r"channel C11: expected \d+ records of 64 samples, found \(\d+, 64\) int"),
        (_no_attribute, "expected the attributes reason, found none"),
        (_no_meaning, "/gaps: expected the attribute exact.meaning, found none"),
        (_no_table, "/livetime: missing"),
        (_other_number, "expected segment 2, found 5"),
    ],
)
def test_a_segment_with_a_fault_is_named(
    folder: Path, change: Callable[[Any], None], words: str
) -> None:
    problems = damaged_segment(folder, change).problems
    assert all("segment_000002.h5: " in problem for problem in problems)
    assert any(re.search(words, problem) for problem in problems), problems


def is_whole(finding: Finding) -> bool:
    return not finding.problems and not finding.foreign and finding.start != b""


def test_a_file_that_cannot_be_read_is_foreign(tmp_path: Path) -> None:
    assert "No such file" in check_file(tmp_path / "gone.h5").foreign


def test_no_bit_flipped_in_the_data_of_a_segment_goes_unnoticed(folder: Path) -> None:
    """Without the manifest's sums: what a dataset holds is guarded by its own checksums."""
    path = names.segment_path(folder, 2)
    original, rng = path.read_bytes(), random.Random(5)
    spans = chunks(path)
    with Checker(20.0) as checker:
        for _ in range(40):
            start, length = rng.choice(spans)
            flip(path, start + rng.randrange(length))
            assert checker.check(path).problems
            path.write_bytes(original)
        assert is_whole(checker.check(path))


def chunks(path: Path) -> list[tuple[int, int]]:
    """Where the chunks of samples and rows lie in the file."""
    with h5py.File(path) as file:
        datasets = [file["records/C11/samples"], file["records/SI/table"], file["livetime"]]
        infos = [d.id.get_chunk_info(i) for d in datasets for i in range(d.id.get_num_chunks())]
    return [(info.byte_offset, info.size) for info in infos]


def test_any_truncation_of_a_segment_is_noticed(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    original = path.read_bytes()
    with Checker(20.0) as checker:
        for size in range(0, len(original), len(original) // 25):
            path.write_bytes(original[:size])
            finding = checker.check(path)
            assert finding.problems or finding.foreign


def test_random_damage_never_ends_the_verification(folder: Path) -> None:
    path = names.segment_path(folder, 2)
    original, rng = path.read_bytes(), random.Random(6)
    with Checker(20.0) as checker:
        for _ in range(40):
            content = bytearray(original)
            for _ in range(20):
                content[rng.randrange(4096)] = rng.randrange(256)
            path.write_bytes(content)
            checker.check(path)
        path.write_bytes(original)
        assert is_whole(checker.check(path))


# --- the child process ---


def fake_child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the process that reads files run `code` instead."""
    popen = subprocess.Popen

    def start(_command: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        return popen([sys.executable, "-c", code], **more)

    monkeypatch.setattr(subprocess, "Popen", start)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"import os; input(); os.kill(os.getpid(), {signal.SIGSEGV})", "died of signal 11"),
        ("input(); input()", "no answer within 1 s"),
        ("input(); raise SystemExit(3)", "exit code 3"),
        ("input(); print('{', flush=True); input()", "no answer that can be understood"),
    ],
)
def test_a_file_that_kills_or_stalls_its_reader_cannot_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    path = names.segment_path(folder, 1)
    with Checker(1.0) as checker:
        with monkeypatch.context() as patch:
            fake_child(patch, code)
            (problem,) = checker.check(path).problems
        assert problem.startswith("segment_000001.h5: cannot be read: ")
        assert words in problem
    with Checker(20.0) as checker:
        assert is_whole(checker.check(path))


def test_a_run_with_a_file_that_cannot_be_read_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_child(monkeypatch, f"import os; input(); os.kill(os.getpid(), {signal.SIGSEGV})")
    report = verify(folder)
    assert not report.ok
    assert any("died of signal 11" in problem for problem in report.problems)


def test_the_child_finds_our_packages_from_anywhere(folder: Path, tmp_path: Path) -> None:
    assert (PACKAGES / "daq" / "store").is_dir()
    answer = subprocess.run(
        [sys.executable, "-m", "daq.store.check"],
        input=os.fsencode(names.segment_path(folder, 1)) + b"\n",
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        cwd=tmp_path,
        check=True,
    )
    assert is_whole(msgspec.json.decode(answer.stdout, type=Finding))


# --- the run as a whole ---


@cache
def run_contents() -> tuple[Contents, ...]:
    return tuple(read_segment(path) for path in names.segments(whole_run()[1]).values())


def parts_with(table: str, change: Callable[[Rows], Rows | None], index: int = 1) -> list[LogPart]:
    """The run's parts with one table of part `index` changed; a channel's name is its records."""
    contents = list(run_contents())
    found = contents[index]
    channels = [channel.name for channel in found.facts.start.channels]
    if table in channels:
        records = list(found.records)
        rows, samples = records[channels.index(table)]
        records[channels.index(table)] = (changed(rows, change), samples)
        contents[index] = dataclasses.replace(found, records=records)
    else:
        tables = found.tables | {table: changed(found.tables[table], change)}
        contents[index] = dataclasses.replace(found, tables=tables)
    return [LogPart(f"part {i}", content) for i, content in enumerate(contents)]


def changed(rows: Rows, change: Callable[[Rows], Rows | None]) -> Rows:
    copy = rows.copy()
    found = change(copy)
    return copy if found is None else found


def setting(column: str, row: int, value: int) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[column][row] = value

    return change


def adding(column: str, row: int, value: int) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[column][row] += value

    return change


def without(row: int) -> Callable[[Rows], Rows]:
    return lambda rows: np.delete(rows, row)


def hit(kind: int, quanta: int, length: int = 100, channel: int = 0) -> Callable[[Rows], Rows]:
    """A hit of the guard where the channel was live."""

    def change(rows: Rows) -> Rows:
        live = run_contents()[1].tables["livetime"]
        first = live[(live["channel"] == channel) & (live["live"] > 0)][:1]
        start = int(first["start"][0]) if len(first) else 0
        row = (channel, kind, start, start + length, 0, quanta, 0.0)
        return np.concatenate([rows, np.array([row], rows.dtype)])

    return change


def test_the_untouched_parts_have_no_problems() -> None:
    assert problems_in(parts_with("gaps", lambda rows: rows), whole=True) == []


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("C11", adding("record", 2, 1), "part 1: row 2: expected channel C11, record 15, found 16"),
        ("C11", without(0), "expected channel C11, record 13, found 14"),
        ("SI", adding("trigger", 1, -10_000_000), "part 1: channel SI, record row 1 trigger runs"),
        ("SI", adding("t_ns", 1, -(10**12)), "part 1: channel SI, record row 1 t_ns runs back"),
        ("SI", adding("start", 1, 1000), "part 1: channel SI, record 14 starts after its trigger"),
        ("livetime", without(0), "part 1: livetime of channel C11: row 0: expected samples from"),
        ("livetime", adding("live", 1, 1), "livetime of channel SI: row 0: expected columns that"),
        ("livetime", setting("channel", 0, 9), "part 1: livetime: expected a channel below 2, fou"),
        ("events", adding("event", 0, 5), "part 1: row 0: expected event 13, found 18"),
        ("events", adding("t_ns", 1, -(10**12)), "part 1: event, row 1 t_ns runs back"),
        ("events", setting("n_records", 0, 3), "events: event 13 has more or fewer members"),
        ("events", setting("channels", 0, 1), "events: event 13 has other channels"),
        ("event_members", setting("event", 0, N), f"event_members: expected events below {N}"),
        ("event_members", setting("channel", 0, 2), "event_members: expected channels below 2"),
        ("event_members", setting("record", 0, N), "event 13 has a record that is not"),
        ("event_members", setting("record", 0, 0), "event_members: record 0 is in two events"),
        ("anchors", adding("sample", 1, -(10**9)), "part 1: anchor of vetoes, row 0 sample runs"),
        ("anchors", adding("t_ns", 0, -(10**12)), "part 1: anchor of targets, row 0 t_ns runs"),
        ("anchors", setting("digitizer", 0, 2), "part 1: anchors: expected a digitizer below 2"),
        ("gaps", adding("stop", 0, -700), "part 0: gap of targets at 17000 is empty or out of o"),
        (
            "gaps",
            adding("stop", 0, 1),
            "from sample 11000: expected 701 samples in gap, found 700",
        ),
        ("gaps", setting("digitizer", 0, 1), "livetime of channel C11, from sample 11000: expect"),
        ("gaps", setting("digitizer", 0, 7), "part 0: gaps: expected a digitizer below 2, found 7"),
        ("gaps", without(0), "expected 0 samples in gap, found 700"),
        ("guard", hit(99, 0), "is of no known kind"),
        ("guard", hit(4, 0, length=0), "is empty"),
        ("guard", hit(1, 0), "is no jump with quanta and nothing else"),
        ("guard", hit(4, 2), "is no jump with quanta and nothing else"),
        ("guard", hit(4, 0, channel=7), "part 1: guard: expected a channel below 2, found 7"),
        ("guard", hit(4, 0, length=10**7), "samples of the guard's hits not to be live, found"),
    ],
)
def test_what_does_not_make_sense_is_named(
    table: str, change: Callable[[Rows], Rows | None], words: str
) -> None:
    parts = parts_with(table, change, index=0 if table == "gaps" else 1)
    problems = problems_in(parts, whole=True)
    assert any(words in problem for problem in problems), problems


def test_parts_that_do_not_belong_together_are_named() -> None:
    parts = parts_with("gaps", lambda rows: rows)
    (problem,) = problems_in([parts[0], *parts[2:]], whole=True)
    assert problem.startswith("part 2: expected to begin with commit ")
    contents = run_contents()[1]
    facts = dataclasses.replace(contents.facts, start_text=start_payload(8))
    stranger = LogPart("stranger", dataclasses.replace(contents, facts=facts))
    (problem,) = problems_in([parts[0], stranger, *parts[2:]], whole=True)
    assert problem == "stranger: expected the same start of the run as part 0"


def test_a_ledger_that_does_not_reach_the_end_is_named() -> None:
    contents = list(run_contents())
    end = contents[-1].facts.end
    assert end is not None
    stops = {name: stop + 1 for name, stop in end.stops.items()}
    facts = dataclasses.replace(contents[-1].facts, end=dataclasses.replace(end, stops=stops))
    contents[-1] = dataclasses.replace(contents[-1], facts=facts)
    problems = problems_in([LogPart("part", c) for c in contents], whole=True)
    reached = STARTS["vetoes"] + len(SIZES) * SPAN
    assert f"livetime of channel SI: expected to reach {reached + 1}, found {reached}" in problems


def test_an_event_that_came_late_may_be_out_of_order(tmp_path: Path) -> None:
    def late(rows: Rows) -> None:
        rows["t_ns"][1] -= 10**12
        rows["late"][1] = 1

    assert problems_in(parts_with("events", late), whole=True) == []


def test_a_run_whose_records_were_wrong_from_the_start_is_not_whole(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    batch = batch_of([2], 0)
    batch.records[1].table["crc"][1] += 1
    with LogWriter(folder, SETTINGS, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        writer.commit(Batch(), b"")
        writer.commit(batch, b"")
    Folder(tmp_path, time.time_ns).finish(7, abandoned=True)
    problems = verify(folder).problems
    assert any("record 1 has other samples than its CRC says" in problem for problem in problems)
    assert any("record 1 has samples that its checksum denies" in problem for problem in problems)


def test_a_segment_image_is_the_same_for_the_same_contents() -> None:
    contents = run_contents()[0]
    assert segment_image(contents, 1, T_NS) == segment_image(contents, 1, T_NS)
