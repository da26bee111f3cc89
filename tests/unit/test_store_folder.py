"""Folding: when a log becomes a segment, when a run becomes complete, and what is kept."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from daq.errors import FormatError, StorageError
from daq.model.batch import Batch
from daq.model.record import DEAD_CAUSES
from daq.store import disk, names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter, recover
from daq.store.logfile import parse
from daq.store.owner import HeldError, Owner
from daq.store.reader import open_run
from daq.store.segment import read_segment
from daq.store.summary import read_manifest
from daq.store.verify import verify
from tests.store_runs import SMALL, SPAN, STARTS, T_NS, batch_of, record_run, start_payload

SIZES = [3, 10, 0, 20, 5, 12]
MANY_FILES = LogSettings(rotate_bytes=5000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that has ended, in several log files."""
    path = tmp_path / "run_000007"
    record_run(path, SIZES, MANY_FILES)
    assert len(names.logs(path)) > 2
    return path


@pytest.fixture
def folding(tmp_path: Path) -> Folder:
    return Folder(tmp_path, lambda: T_NS)


def begun(path: Path, n_commits: int, settings: LogSettings = SMALL) -> LogWriter:
    """A run being written."""
    path.mkdir()
    writer = LogWriter(path, settings, lambda _: None, time.monotonic)
    writer.external(Kind.RUN_START, start_payload(int(path.name[4:])))
    for k in range(n_commits):
        writer.commit(batch_of(SIZES, k), b"%d" % k)
    writer.external(Kind.READINGS, b"")
    writer.sync()  # behind the last commit: no new file is begun any more
    return writer


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


# --- becoming complete ---


def test_an_ended_run_becomes_complete(folder: Path, folding: Folder) -> None:
    n_logs = len(names.logs(folder))
    made = folding.fold()
    assert [path.name for path in made] == [
        *(f"segment_{i + 1:06d}.h5" for i in range(n_logs)),
        "run_000007.h5",
        "manifest.json",
        "complete",
    ]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made)
    assert folding.problems == {}
    assert folding.fold() == []


def test_the_manifest_counts_and_sums_everything(folder: Path, folding: Folder) -> None:
    folding.fold()
    manifest = read_manifest(names.manifest_path(folder))
    assert {name: total.records for name, total in manifest.channels.items()} == {
        "C11": sum(SIZES),
        "SI": sum(SIZES),
    }
    assert manifest.channels["C11"].samples == {
        **dict.fromkeys(DEAD_CAUSES, 0),
        "live": 6 * (SPAN - 160) - 2 * 700,
        "gap": 2 * 700,
        "holdoff": 6 * 160,
    }
    live_s = (6 * (SPAN - 160) - 2 * 700) / 1e4
    assert manifest.channels["C11"].exposure_g_d == pytest.approx(live_s * 0.75 / 86_400)
    assert manifest.channels["SI"].livetime_s == pytest.approx(6 * (SPAN - 16) / 1e4)
    assert manifest.rows["events"] == sum(SIZES)
    assert manifest.digitizers == {
        name: {"start": start, "stop": start + 6 * SPAN} for name, start in STARTS.items()
    }
    assert (manifest.reason, manifest.recovered, manifest.problems) == ("enough", False, [])
    for file in [*manifest.segments, manifest.master]:
        content = (folder / file.name).read_bytes()
        assert file.bytes == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()


def test_the_marker_says_when_and_of_which_manifest(folder: Path, folding: Folder) -> None:
    folding.fold()
    marker = json.loads(names.complete_path(folder).read_bytes())
    assert marker == {
        "complete": "2026-09-21T14:13:20.000000Z",
        "recovered": False,
        "manifest_sha256": hashlib.sha256(names.manifest_path(folder).read_bytes()).hexdigest(),
    }


def test_the_folder_tells_how_runs_stand(folder: Path, folding: Folder, tmp_path: Path) -> None:
    record_run(tmp_path / "run_000008", [1])
    assert folding.last_complete is None
    assert [state.complete for state in folding.states(5).values()] == [False, False]
    folding.fold()
    states = folding.states(1)
    (segment,) = names.segments(tmp_path / "run_000008").values()
    assert list(states) == [8]
    assert (states[8].segments, states[8].bytes) == (1, segment.stat().st_size)
    assert states[8].complete
    assert folding.last_complete == 8


# --- while a run is being written ---


def test_of_a_run_being_written_only_what_is_left_behind_is_folded(
    folding: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "run_000007"
    with begun(path, len(SIZES), MANY_FILES):
        last = max(names.logs(path))
        assert [made.name for made in folding.fold()] == [
            f"segment_{i:06d}.h5" for i in range(1, last)
        ]
        assert list(names.logs(path)) == [last]
        assert folding.fold() == []
        assert open_run(path).n_records() == {"C11": sum(SIZES), "SI": sum(SIZES)}


def test_a_folder_that_is_no_run_yet_is_left_alone(folding: Folder, tmp_path: Path) -> None:
    (tmp_path / "run_000007").mkdir()
    assert folding.fold() == []
    assert list((tmp_path / "run_000007").iterdir()) == []


def test_a_data_folder_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    assert Folder(tmp_path / "later", time.time_ns).fold() == []


def test_an_end_that_was_committed_counts_also_without_a_seal(
    folder: Path, folding: Folder
) -> None:
    path = max(names.logs(folder).values())
    content = path.read_bytes()
    head = parse(content, 7, int(path.stem), followed=False).head
    assert head is not None
    path.write_bytes(content[:-32].ljust(head.preallocated, b"\0"))  # the core died before sealing
    folding.fold()
    assert verify(folder).problems == []


# --- runs without an end ---


def test_a_run_without_an_end_waits_for_its_core(folding: Folder, tmp_path: Path) -> None:
    path = tmp_path / "run_000007"
    begun(path, 4).close()
    assert folding.fold() == []
    with pytest.raises(StorageError, match="expected a run that has ended, found one without"):
        folding.finish(7)
    assert recover(path).next_commit == 5


def test_a_run_is_looked_at_again_when_its_log_changed(folding: Folder, tmp_path: Path) -> None:
    path = tmp_path / "run_000007"
    begun(path, 4).close()
    folding.fold()
    writer, _ = LogWriter.resume(path, SMALL, lambda _: None, time.monotonic)
    with writer:
        writer.external(Kind.RUN_END, b'{"reason": "late", "t_ns": 1, "stops": {}}')
        writer.commit(Batch(), b"")
    folding.fold()
    assert names.complete_path(path).exists()
    assert open_run(path).reason == "late"
    assert open_run(path).recovered


def test_an_abandoned_run_is_finished_on_request_and_marked(
    folding: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "run_000007"
    with begun(path, 4) as writer:
        writer.external(Kind.INPUT, b'{"n": 1}')
    assert folding.finish(7, abandoned=True) == names.manifest_path(path)
    assert verify(path).problems == []
    with open_run(path) as run:
        assert (run.complete, run.recovered, run.reason) == (True, True, "abandoned")
        assert run.inputs() == [{"n": 1}]
        assert (run.stop_ns, run.stops) == (None, {})
    manifest = read_manifest(names.manifest_path(path))
    assert manifest.digitizers["targets"]["stop"] == STARTS["targets"] + 4 * SPAN
    assert manifest.stopped is None


def test_a_run_with_an_owner_is_never_finished(folding: Folder, tmp_path: Path) -> None:
    path = tmp_path / "run_000007"
    with (
        begun(path, 4),
        pytest.raises(HeldError, match=f"found process {os.getpid()}"),
    ):
        folding.finish(7, abandoned=True)


def test_finishing_needs_a_run(folding: Folder, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected a run folder, found nothing"):
        folding.finish(7)
    (tmp_path / "run_000007").mkdir()
    with pytest.raises(StorageError, match="expected a run, found neither log nor segments"):
        folding.finish(7, abandoned=True)


def test_finishing_twice_is_finishing_once(folder: Path, folding: Folder) -> None:
    assert folding.finish(7) == folding.finish(7)


def test_who_waited_for_a_run_that_was_finished_meanwhile_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finisher = Owner(folder)

    def finish_meanwhile(_: float) -> None:
        finisher.remove()
        finisher.close()

    monkeypatch.setattr("daq.store.owner.time.sleep", finish_meanwhile)
    with pytest.raises(HeldError, match="finished by somebody else just now"):
        Owner(folder, patience_s=10.0)


# --- what goes wrong ---


def test_a_full_disk_is_told_and_nothing_is_lost(
    folder: Path, folding: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(names.logs(folder))
    monkeypatch.setattr(disk, "append", full)
    assert folding.fold() == []
    assert "segment_000001.h5: No space left on device" in folding.problems[7]
    assert sorted(names.logs(folder)) == before
    assert not list(folder.glob("*.part"))
    monkeypatch.undo()
    folding.fold()
    assert folding.problems == {}
    assert verify(folder).ok


def test_one_run_that_cannot_be_folded_stops_no_other(
    folder: Path, folding: Folder, tmp_path: Path
) -> None:
    record_run(tmp_path / "run_000008", [1])
    names.log_path(folder, 1).unlink()
    folding.fold()
    assert "segment_000001.h5: missing" in folding.problems[7]
    assert folding.last_complete is None
    folding.states(1)
    assert folding.last_complete == 8


def test_a_segment_that_is_there_already_is_checked_and_its_log_dropped(
    folder: Path, folding: Folder
) -> None:
    log = names.log_path(folder, 1)
    content = log.read_bytes()
    next(folding.steps())
    inode = names.segment_path(folder, 1).stat().st_ino
    log.write_bytes(content)  # as if it had been killed before the log was deleted
    folding.fold()
    assert names.segment_path(folder, 1).stat().st_ino == inode
    assert verify(folder).ok


def test_a_segment_that_is_not_what_the_log_holds_is_made_again(
    folder: Path, folding: Folder
) -> None:
    names.segment_path(folder, 1).write_bytes(b"half of it")
    folding.fold()
    assert verify(folder).ok


def test_what_is_read_back_must_be_what_was_written(
    folder: Path, folding: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = read_segment_of_another(folding, folder)
    monkeypatch.setattr("daq.store.runfold.segment_image", lambda *_: other)
    folding.fold()
    assert "expected what 000001.log holds, found something else" in folding.problems[7]
    assert 1 in names.logs(folder)


def read_segment_of_another(folding: Folder, folder: Path) -> bytes:
    record_run(folder.parent / "run_000001", [2])
    folding.finish(1)
    return names.segment_path(folder.parent / "run_000001", 1).read_bytes()


def test_damage_costs_the_commit_it_hits_and_the_log_is_kept(folder: Path, folding: Folder) -> None:
    log = names.log_path(folder, 1)
    unit = parse(log.read_bytes(), 7, 1, followed=True).units[0]
    damage(log, unit.frames[0].start + 60)
    folding.fold()
    assert log.with_suffix(".damaged").exists()
    manifest = read_manifest(names.manifest_path(folder))
    assert [problem.split(":")[0] for problem in manifest.problems] == ["log/000001.damaged"] * 2
    assert "commit 1 is not whole: what it held is lost" in manifest.problems[1]
    report = verify(folder)
    assert not report.ok
    assert report.records["C11"] == sum(SIZES) - SIZES[0]


@pytest.mark.parametrize("index", [1, 2])
def test_a_damaged_start_is_replaced_by_that_of_another_file(
    folder: Path, folding: Folder, index: int
) -> None:
    log = names.log_path(folder, index)
    damage(log, log.read_bytes().index(b'"bench"') + 2)
    folding.fold()
    assert folding.problems == {}
    assert log.with_suffix(".damaged").exists()
    assert open_run(folder).n_records()["C11"] == sum(SIZES)


def test_the_only_start_of_a_run_cannot_be_replaced(folding: Folder, tmp_path: Path) -> None:
    path = tmp_path / "run_000007"
    begun(path, 1).close()
    log = names.log_path(path, 1)
    damage(log, log.read_bytes().index(b'"bench"') + 2)
    with pytest.raises(StorageError, match="expected the start of a run, found it damaged"):
        folding.finish(7, abandoned=True)
    assert log.exists()


def test_a_log_of_another_version_is_left_alone(
    folder: Path, folding: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(names.logs(folder))
    monkeypatch.setattr("daq.store.logfile.LAYOUT", 1)
    folding.fold()
    assert "cannot fold" in folding.problems[7]
    assert "expected a log of version 1, layout 1; found version 1" in folding.problems[7]
    assert sorted(names.logs(folder)) == before


def test_records_that_came_with_a_wrong_checksum_are_reported(
    folding: Folder, tmp_path: Path
) -> None:
    path = tmp_path / "run_000007"
    path.mkdir()
    batch = batch_of([2], 0)
    batch.records[1].table["crc"][1] += 1
    with LogWriter(path, SMALL, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        writer.commit(batch, b"")
    folding.finish(7, abandoned=True)
    assert folding.problems == {}
    (problem,) = read_manifest(names.manifest_path(path)).problems
    assert "channel SI: record 1 has samples that its checksum denies" in problem


def test_a_damaged_manifest_is_refused(folder: Path, folding: Folder) -> None:
    folding.fold()
    path = names.manifest_path(folder)
    manifest = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(manifest | {"version": 4}))
    with pytest.raises(FormatError, match=r"expected scheelite-manifest 2 or 3, found .* 4"):
        read_manifest(path)
    path.write_bytes(b"{}")
    with pytest.raises(FormatError, match=r"manifest\.json: expected a manifest"):
        read_manifest(path)
    path.unlink()
    with pytest.raises(FormatError, match="expected the manifest, found nothing"):
        read_manifest(path)


def test_a_segment_holds_what_its_log_file_held(folder: Path, folding: Folder) -> None:
    next(folding.steps())
    facts = read_segment(names.segment_path(folder, 1)).facts
    assert (facts.first_commit, facts.resumed, facts.end) == (1, False, None)
    assert facts.start_text == start_payload(7)
