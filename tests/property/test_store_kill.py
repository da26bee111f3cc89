"""Killed processes: a writer at random moments, a folder before every change it makes."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from daq.errors import StorageError
from daq.store import names
from daq.store.folder import Folder
from daq.store.log import LogSettings, recover
from daq.store.reader import open_run
from daq.store.recovery import recover_run
from daq.store.verify import verify
from tests import store_children
from tests.store_runs import batch_of, record_run

KILLS = 20
DEADLINE_S = 20.0
CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    CONTEXT.set_forkserver_preload(["tests.store_children"])


def messages(told: Connection) -> Iterator[tuple[str, object]]:
    """What the child says until it is gone."""
    try:
        while told.poll(DEADLINE_S):
            yield told.recv()
    except EOFError:
        return


def live_and_die(folder: Path, life: int, n_messages: int) -> list[tuple[str, object]]:
    """One life of the writer, killed in the middle of something: all that it told before."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(
        target=store_children.write_until_killed, args=(folder, life, theirs), daemon=True
    )
    child.start()
    theirs.close()
    told = []
    for message in messages(ours):
        told.append(message)
        if len(told) == n_messages:
            child.kill()
    child.join(DEADLINE_S)
    assert child.exitcode == -signal.SIGKILL
    ours.close()
    return told


def test_a_writer_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(11)
    folder = tmp_path / "run_000007"
    folder.mkdir()
    inputs: set[object] = set()
    for life in range(KILLS):
        told = live_and_die(folder, life, rng.randint(1, 40))
        inputs |= {what for kind, what in told if kind == "input"}
        acknowledged = max((int(str(n)) for kind, n in told if kind == "commit"), default=0)
        found = recover(folder)
        assert found.next_commit > acknowledged
        done = found.next_commit - 1
        assert found.checkpoint == (b"%d" % (done - 1) if done else None)
    check_records(folder, recover(folder).next_commit - 1)
    kept = [entry["id"] for entry in open_run(folder).inputs()]
    assert len(kept) == len(set(kept))
    assert inputs <= set(kept)
    finish(folder)
    check_records(folder, recover_commits(folder))


def check_records(folder: Path, n_batches: int) -> None:
    run = open_run(folder)
    table, samples = run.records("C11")
    assert table["record"].tolist() == list(range(sum(store_children.SIZES[:n_batches])))
    expected = [batch_of(store_children.SIZES, k) for k in range(n_batches)]
    assert samples[:].tobytes() == b"".join(
        batch.records[0].samples.tobytes() for batch in expected if batch.records
    )


def recover_commits(folder: Path) -> int:
    return int(open_run(folder)._parts[-1].facts.last_commit)


def finish(folder: Path) -> None:
    folding = Folder(folder.parent, time.time_ns)
    with pytest.raises(StorageError, match="found one without an end"):
        folding.finish(7)
    folding.finish(7, abandoned=True)
    report = verify(folder)
    assert report.problems == []
    assert open_run(folder).recovered


def test_a_folder_killed_before_any_change_of_the_disk_loses_nothing(tmp_path: Path) -> None:
    whole, copies = tmp_path / "whole" / "run_000007", tmp_path / "copies"
    record_run(whole, [20, 22], LogSettings(rotate_bytes=5000))
    expected = contents(whole)
    child = CONTEXT.Process(
        target=store_children.fold_and_die_everywhere, args=(whole.parent, copies)
    )
    child.start()
    child.join(DEADLINE_S * 3)
    assert child.exitcode == 0
    kills = sorted(int(path.name) for path in copies.iterdir())
    assert len(kills) > 30
    for call in kills:
        data_dir = copies / str(call)
        folder = data_dir / "run_000007"
        assert contents(folder) == expected
        folding = Folder(data_dir, time.time_ns)
        folding.fold()
        assert folding.problems == {}
        assert names.complete_path(folder).exists()
        assert not names.log_folder(folder).exists()
        assert contents(folder) == expected
        assert problems(folder, thorough=call % 8 == 0) == []


def contents(folder: Path) -> tuple[bytes, ...]:
    with open_run(folder) as run:
        tables = run.records("SI")[0], run.readings(), run.messages(), run.ledger(), run.events()
        return run.records("SI")[1][:].tobytes(), *(table.tobytes() for table in tables)


def problems(folder: Path, thorough: bool) -> list[str]:
    assert not open_run(folder).recovered
    return verify(folder).problems if thorough else []


def test_a_recovery_killed_before_any_change_of_the_disk_can_be_done_again(
    tmp_path: Path,
) -> None:
    whole, copies = tmp_path / "whole" / "run_000007", tmp_path / "copies"
    record_run(whole, [20, 22], LogSettings(rotate_bytes=5000))
    next(Folder(whole.parent, time.time_ns).steps())
    damaged = names.segment_path(whole, 1)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1  # within what describes an attribute
    damaged.write_bytes(content)
    child = CONTEXT.Process(
        target=store_children.recover_and_die_everywhere, args=(whole.parent, copies, 9)
    )
    child.start()
    child.join(DEADLINE_S * 3)
    assert child.exitcode == 0
    kills = sorted(int(path.name) for path in copies.iterdir())
    assert len(kills) > 3
    through = copies / str(kills.pop()) / "run_000007"
    for call in kills:
        again = copies / str(call) / "run_000007"
        recover_run(again)
        assert differences(tree(again), tree(through)) == {}


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> dict[str, object]:
    """What two folders do not have in common: by file, the first bytes that differ, of both."""
    found: dict[str, object] = {}
    for name in sorted({*one, *other}):
        a, b = one.get(name, b""), other.get(name, b"")
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), -1)
            found[name] = (len(a), len(b), at, a[at - 40 : at + 200], b[at - 40 : at + 200])
    return found
