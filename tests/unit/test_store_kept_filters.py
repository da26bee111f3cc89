"""The filters beside a run are proven by the run that names them, and by the manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daq.model.batch import Batch
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogWriter
from daq.store.recovery import recover_run
from daq.store.summary import read_manifest
from daq.store.verify import verify
from tests.store_runs import SIZES_CHECKED, SMALL, batch_of, end_payload, start_payload
from tests.unit.test_store_recovery import contents
from tests.unit.test_store_verify import flip, remark

BEGUN, LOADED = b"the filters it began with", b"those that were loaded"


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_of(folder: Path, content: bytes) -> Path:
    return names.filters_path(folder, sum_of(content))


def record(folder: Path) -> None:
    """A run that begins with filters and loads others, by an input longer than one row."""
    folder.mkdir(parents=True)
    for content in (BEGUN, LOADED):
        file_of(folder, content).write_bytes(content)
    start = json.loads(start_payload(7)) | {"filters": sum_of(BEGUN)}
    load = {"input": "filters", "thresholds": dict.fromkeys(map(str, range(300)), 1.0)}
    with LogWriter(folder, SMALL, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, json.dumps(start).encode())
        for k in range(len(SIZES_CHECKED)):
            writer.commit(batch_of(SIZES_CHECKED, k), b"")
        writer.external(Kind.INPUT, json.dumps(load | {"filters": sum_of(LOADED)}).encode())
        writer.external(Kind.RUN_END, end_payload(len(SIZES_CHECKED)))
        writer.commit(Batch(), b"end")


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    folder = tmp_path / "run_000007"
    record(folder)
    return folder


@pytest.fixture
def complete(logged: Path) -> Path:
    Folder(logged.parent, time.time_ns).fold()
    return logged


def test_all_filters_of_a_run_are_in_its_manifest(complete: Path) -> None:
    listed = read_manifest(names.manifest_path(complete)).filters
    assert {file.sha256 for file in listed} == {sum_of(BEGUN), sum_of(LOADED)}
    assert [complete / file.name for file in listed] == names.filters(complete)
    assert verify(complete).problems == []


@pytest.mark.parametrize("content", [BEGUN, LOADED])
def test_missing_and_changed_filters_are_named_once(complete: Path, content: bytes) -> None:
    path = file_of(complete, content)
    flip(path, 3)
    found = sum_of(path.read_bytes())
    expected = f"{path.name}: expected SHA-256 {sum_of(content)}, found {found}"
    assert verify(complete).problems == [expected]
    path.unlink()
    assert verify(complete).problems == [f"{path.name}: missing"]


def test_filters_that_nobody_knows_are_named(complete: Path) -> None:
    stranger = file_of(complete, b"of another run")
    stranger.write_bytes(b"of another run")
    assert verify(complete).problems == [f"{stranger.name}: not in the manifest"]


def test_a_run_that_is_not_folded_proves_its_filters_as_well(logged: Path) -> None:
    (incomplete,) = verify(logged).problems
    file_of(logged, BEGUN).unlink()
    flip(file_of(logged, LOADED), 3)
    first, *others = verify(logged).problems
    changed, missing = sorted(others, key=lambda told: "missing" in told)
    assert first == incomplete
    assert changed.startswith(f"{file_of(logged, LOADED).name}: expected SHA-256")
    assert missing == f"{file_of(logged, BEGUN).name}: missing, and the run names it"


def test_a_manifest_that_does_not_list_filters_is_read_and_they_are_proven(complete: Path) -> None:
    path = names.manifest_path(complete)
    older = json.loads(path.read_bytes()) | {"version": 2}
    del older["filters"]
    path.write_text(json.dumps(older))
    remark(names.complete_path(complete), path)
    assert verify(complete).problems == []
    assert recover_run(complete).done == []
    flip(file_of(complete, LOADED), 3)
    (problem,) = verify(complete).problems
    assert problem.startswith(f"{file_of(complete, LOADED).name}: expected SHA-256")


def test_a_wrong_sum_in_the_manifest_is_not_believed(complete: Path) -> None:
    path, changed = names.manifest_path(complete), file_of(complete, LOADED)
    flip(changed, 3)
    found = sum_of(changed.read_bytes())
    path.write_bytes(path.read_bytes().replace(sum_of(LOADED).encode(), found.encode()))
    remark(names.complete_path(complete), path)
    (problem,) = verify(complete).problems
    assert problem == f"{changed.name}: expected SHA-256 {sum_of(LOADED)}, found {found}"


def lost(folder: Path) -> None:
    file_of(folder, LOADED).unlink()


def changed(folder: Path) -> None:
    flip(file_of(folder, LOADED), 3)


@pytest.mark.parametrize("damage", [lost, changed])
@pytest.mark.parametrize("folded", [False, True])
def test_recovery_makes_the_run_whole_and_names_filters_that_nothing_brings_back(
    logged: Path, tmp_path: Path, damage: Callable[[Path], None], folded: bool
) -> None:
    damage(logged)
    if folded:
        Folder(logged.parent, time.time_ns).fold()
    twin = Path(shutil.copytree(logged, tmp_path / "twin" / logged.name))
    found = recover_run(logged)
    name = file_of(logged, LOADED).name
    assert [name in problem for problem in found.problems] == [True] * len(found.problems)
    assert found.problems
    assert found.records == {"C11": sum(SIZES_CHECKED), "SI": sum(SIZES_CHECKED)}
    assert recover_run(twin).problems == found.problems
    assert contents(twin) == contents(logged)
    again = recover_run(logged)
    assert (again.done, again.problems) == ([], found.problems)
    file_of(logged, LOADED).write_bytes(LOADED)  # as out of a copy
    assert recover_run(logged).problems == []
    assert verify(logged).problems == []


def test_what_is_lost_from_a_complete_run_may_come_back_as_it_was(complete: Path) -> None:
    before = contents(complete)
    lost(complete)
    found = recover_run(complete)
    assert (found.done, len(found.problems)) == ([], 1)
    file_of(complete, LOADED).write_bytes(LOADED)
    assert recover_run(complete).problems == []
    assert contents(complete) == before


def test_an_input_that_is_none_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    with LogWriter(folder, SMALL, lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, start_payload(7))
        writer.external(Kind.INPUT, b'{"input": 3}')
        writer.external(Kind.RUN_END, end_payload(0))
        writer.commit(Batch(), b"end")
    Folder(tmp_path, time.time_ns).fold()
    assert any("expected the JSON of an input" in problem for problem in verify(folder).problems)
