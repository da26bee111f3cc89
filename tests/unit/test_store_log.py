"""The write-ahead log: what it promises, refuses, and does when the disk fails."""

from __future__ import annotations

import dataclasses
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from daq.errors import FormatError, RefusedError, StorageError, UsageError
from daq.model.batch import Batch, RecordBatch
from daq.model.record import EVENT
from daq.store import disk, names
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter, recover
from daq.store.logfile import LogFile, parse
from daq.store.owner import HeldError, Owner
from daq.store.reader import open_run
from tests.store_runs import SMALL, batch_of, end_payload, message, readings, start_payload

NEVER = dataclasses.replace(SMALL, sync_s=3600.0)
SIZES = [1, 2, 3, 4]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run_000007"
    path.mkdir()
    return path


class Durable:
    """Collects what the log says is durable, and waits for it."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._changed = threading.Condition()

    def __call__(self, number: int) -> None:
        with self._changed:
            self.numbers.append(number)
            self._changed.notify_all()

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: number in self.numbers, timeout=10)


def writer_of(
    folder: Path,
    settings: LogSettings = SMALL,
    on_durable: Callable[[int], None] = lambda _: None,
    now: Callable[[], float] = time.monotonic,
) -> LogWriter:
    """A writer of a run that has begun."""
    writer = LogWriter(folder, settings, on_durable, now)
    writer.external(Kind.RUN_START, start_payload(7))
    return writer


def last_file(folder: Path) -> LogFile:
    index, path = max(names.logs(folder).items())
    return parse(path.read_bytes(), 7, index, followed=False)


def inputs(folder: Path) -> list[int]:
    return [int(entry["n"]) for entry in open_run(folder).inputs()]


def put(writer: LogWriter, n: int) -> None:
    writer.external(Kind.INPUT, b'{"n": %d}' % n)


# --- what it promises ---


def test_commits_become_durable_by_themselves(folder: Path) -> None:
    durable = Durable()
    with writer_of(folder, on_durable=durable) as writer:
        assert [writer.commit(batch_of(SIZES, k), b"") for k in range(4)] == [1, 2, 3, 4]
        durable.wait_for(4)
    assert durable.numbers == sorted(durable.numbers)


def test_what_sync_returned_from_is_in_the_file(folder: Path) -> None:
    with writer_of(folder, NEVER) as writer:
        for n in range(3):
            put(writer, n)
            writer.sync()
            assert inputs(folder) == list(range(n + 1))


def test_the_first_file_has_the_start_of_the_run_from_its_first_moment(folder: Path) -> None:
    writer = LogWriter(folder, NEVER, lambda _: None, time.monotonic)
    assert names.logs(folder) == {}
    writer.external(Kind.RUN_START, start_payload(7))
    writer.sync()
    assert recover(folder).run_start == start_payload(7)
    writer.close()


def test_a_run_that_never_began_leaves_an_empty_log_folder(folder: Path) -> None:
    LogWriter(folder, SMALL, lambda _: None, time.monotonic).close()
    assert list(names.log_folder(folder).iterdir()) == []


def test_a_file_is_sealed_behind_the_first_commit_beyond_its_size(folder: Path) -> None:
    with writer_of(folder, dataclasses.replace(SMALL, rotate_bytes=14_000)) as writer:
        for k in range(4):
            writer.commit(batch_of([20] * 4, k), b"%d" % k)
            put(writer, k)
    assert list(names.logs(folder)) == [1, 2, 3]
    files = [parse(p.read_bytes(), 7, i, i < 3) for i, p in names.logs(folder).items()]
    assert [[unit.number for unit in file.units] for file in files] == [[1, 2], [3, 4], []]
    assert all(file.problems == [] for file in files)
    assert inputs(folder) == [0, 1, 2, 3]


def test_a_file_is_sealed_behind_the_first_commit_after_its_time(folder: Path) -> None:
    clock = [0.0]
    durable = Durable()
    settings = dataclasses.replace(SMALL, rotate_s=10.0)
    with writer_of(folder, settings, durable, lambda: clock[0]) as writer:
        writer.commit(Batch(), b"")
        writer.sync()
        clock[0] = 10.0
        put(writer, 1)
        writer.sync()
        assert list(names.logs(folder)) == [1]
        writer.commit(Batch(), b"")
        durable.wait_for(2)
    assert list(names.logs(folder)) == [1, 2]


def test_a_file_is_reserved_and_cut_to_its_length_when_sealed(folder: Path) -> None:
    with writer_of(folder) as writer:
        writer.sync()
        assert names.log_path(folder, 1).stat().st_size >= SMALL.rotate_bytes
    assert names.log_path(folder, 1).stat().st_size < 4096


def test_a_commit_larger_than_the_reserve_fits(folder: Path) -> None:
    settings = dataclasses.replace(SMALL, rotate_bytes=1)
    with writer_of(folder, settings) as writer:
        writer.commit(batch_of([300], 0), b"")
    assert open_run(folder).n_records() == {"C11": 300, "SI": 300}


def test_the_caller_waits_while_too_much_waits_for_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    settings = dataclasses.replace(NEVER, queue_bytes=10_000)
    with writer_of(folder, settings) as writer:
        writer.sync()
        append = disk.append
        monkeypatch.setattr(disk, "append", lambda *a: gate.wait(10) and append(*a))
        writer.commit(batch_of([300], 0), b"")  # larger than the bound, and first: taken
        done = threading.Event()
        blocked = threading.Thread(target=lambda: (put(writer, 1), done.set()))
        blocked.start()
        assert not done.wait(0.05)
        gate.set()
        assert done.wait(10)
        blocked.join()


def test_a_run_is_written_by_one_process_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daq.store.log.PATIENCE_S", 0.0)
    with writer_of(folder) as writer:
        writer.sync()
        with pytest.raises(HeldError, match=f"nobody to write it, found process {os.getpid()}"):
            resumed(folder)


def test_a_short_look_of_somebody_else_does_not_stop_a_writer(folder: Path) -> None:
    with writer_of(folder) as writer:
        writer.commit(Batch(), b"")
    owner = Owner(folder)
    looking = threading.Timer(0.1, owner.close)
    looking.start()
    LogWriter.resume(folder, SMALL, lambda _: None, time.monotonic)[0].close()
    looking.join()


# --- going on after a crash ---


def crashed(folder: Path, tail: Callable[[LogWriter], None] = lambda _: None) -> None:
    """A run whose writer was killed behind two commits and `tail`, all synced."""
    with writer_of(folder, NEVER) as writer:
        for k in range(2):
            writer.commit(batch_of(SIZES, k), b"%d" % k)
        tail(writer)
        writer.sync()
        content = names.log_path(folder, 1).read_bytes()
    names.log_path(folder, 1).write_bytes(content)


def resumed(folder: Path, settings: LogSettings = SMALL) -> LogWriter:
    return LogWriter.resume(folder, settings, lambda _: None, time.monotonic)[0]


def test_recovery_says_where_the_run_stands(folder: Path) -> None:
    crashed(folder, lambda writer: put(writer, 5))
    found = recover(folder)
    assert (found.run_start, found.checkpoint) == (start_payload(7), b"1")
    assert (found.next_commit, found.ended, found.problems) == (3, False, [])
    assert [(item.kind, item.payload) for item in found.external] == [(Kind.INPUT, b'{"n": 5}')]


def test_a_run_that_was_just_begun_has_no_checkpoint(folder: Path) -> None:
    writer_of(folder).close()
    found = recover(folder)
    assert (found.checkpoint, found.next_commit) == (None, 1)


def test_a_resumed_run_goes_on_in_a_new_file_without_hole_or_repetition(folder: Path) -> None:
    crashed(folder, lambda writer: put(writer, 5))
    for k in (2, 3):
        with resumed(folder) as writer:
            assert writer.commit(batch_of(SIZES, k), b"%d" % k) == k + 1
            put(writer, k + 10)
    assert list(names.logs(folder)) == [1, 2, 3]
    run = open_run(folder)
    assert run.records("C11")[0]["record"].tolist() == list(range(10))
    assert inputs(folder) == [5, 12, 13]
    assert run.recovered


def test_a_crash_during_recovery_changes_nothing(folder: Path) -> None:
    crashed(folder, lambda writer: put(writer, 5))
    for _ in range(3):
        resumed(folder).close()
        assert inputs(folder) == [5]
        assert recover(folder).next_commit == 3


def test_what_follows_the_last_commit_is_dropped_where_it_can_be_made_again(folder: Path) -> None:
    crashed(folder, lambda writer: writer.commit(batch_of(SIZES, 2), b"2"))
    path = names.log_path(folder, 1)
    content = bytearray(path.read_bytes())
    third = last_file(folder).units[2]
    content[third.stop - 8 : third.stop] = bytes(8)  # the commit itself never reached the disk
    path.write_bytes(content)
    found = recover(folder)
    assert (found.next_commit, found.checkpoint) == (3, b"1")
    assert "COMMIT frame" in found.problems[0]
    assert open_run(folder).n_records()["C11"] == 3
    with resumed(folder) as writer:
        writer.commit(batch_of(SIZES, 2), b"2")
    assert open_run(folder).records("C11")[0]["record"].tolist() == list(range(6))


def test_what_a_failed_sync_may_have_left_in_memory_only_is_written_anew(folder: Path) -> None:
    crashed(folder)
    before = names.log_path(folder, 1).stat().st_ino
    resumed(folder).close()
    assert names.log_path(folder, 1).stat().st_ino != before


def test_an_end_without_its_commit_has_to_come_again(folder: Path) -> None:
    crashed(folder, lambda writer: writer.external(Kind.RUN_END, end_payload(2)))
    found = recover(folder)
    assert [item.kind for item in found.external] == [Kind.RUN_END]
    assert not found.ended
    with resumed(folder) as writer:
        writer.commit(Batch(), b"")
        writer.sync()
        assert not recover(folder).ended
        writer.external(Kind.RUN_END, end_payload(2))
        writer.commit(Batch(), b"")
    assert recover(folder).ended


def test_nothing_is_begun_behind_an_end(folder: Path) -> None:
    with writer_of(folder, dataclasses.replace(SMALL, rotate_bytes=1)) as writer:
        writer.external(Kind.RUN_END, end_payload(0))
        writer.commit(Batch(), b"")
    assert recover(folder).ended
    assert list(names.logs(folder)) == [1]
    with pytest.raises(RefusedError, match="expected a run to go on with, found one that has end"):
        resumed(folder)


# --- what it refuses ---


def test_a_folder_with_a_run_is_refused(folder: Path) -> None:
    writer_of(folder).close()
    with pytest.raises(StorageError, match="expected an empty run folder, found a run"):
        LogWriter(folder, SMALL, lambda _: None, time.monotonic)


def test_a_folder_without_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a run folder such as run_000123"):
        LogWriter(tmp_path, SMALL, lambda _: None, time.monotonic)


def test_nothing_to_recover_is_refused(folder: Path) -> None:
    with pytest.raises(StorageError, match="expected a write-ahead log, found none"):
        recover(folder)
    with pytest.raises(StorageError, match="expected a write-ahead log, found none"):
        resumed(folder)
    assert list(folder.iterdir()) == []


def test_a_damaged_start_or_head_is_refused(folder: Path) -> None:
    writer_of(folder).close()
    path = names.log_path(folder, 1)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"bench"', b'"other"'))
    with pytest.raises(StorageError, match="expected the start of a run, found it damaged"):
        recover(folder)
    path.write_bytes(b"\0" + content[1:])
    with pytest.raises(StorageError, match="expected the last commit in its head, found it dam"):
        recover(folder)


def test_a_log_of_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer_of(folder).close()
    monkeypatch.setattr("daq.store.logfile.LAYOUT", 1)
    with pytest.raises(FormatError, match="expected a log of version 1, layout 1; found version"):
        recover(folder)


def test_the_start_comes_first_and_once(folder: Path) -> None:
    with LogWriter(folder, SMALL, lambda _: None, time.monotonic) as writer:
        with pytest.raises(UsageError, match="expected RUN_START first, found a commit"):
            writer.commit(Batch(), b"")
        with pytest.raises(UsageError, match="and that first; found INPUT"):
            put(writer, 1)
        writer.external(Kind.RUN_START, start_payload(7))
        with pytest.raises(UsageError, match="expected one RUN_START"):
            writer.external(Kind.RUN_START, start_payload(7))


def changed_start(**changes: Any) -> bytes:  # Any: whatever JSON holds
    return msgspec.json.encode(msgspec.json.decode(start_payload(7)) | changes)


def channel(**changes: Any) -> dict[str, Any]:  # Any: whatever JSON holds
    first: dict[str, Any] = msgspec.json.decode(start_payload(7))["channels"][0]
    return first | changes


@pytest.mark.parametrize(
    ("kind", "payload", "words"),
    [
        (Kind.RUN_START, b"{", "expected the JSON of a RunStart"),
        (Kind.RUN_START, b'{"run": 1}', "missing required field"),
        (Kind.RUN_START, changed_start(channels=[channel(name="a/b")]), "without /, found 'a/b'"),
        (Kind.RUN_START, changed_start(channels=[channel(name="")]), "1 to 64 bytes"),
        (Kind.RUN_START, changed_start(channels=[channel()] * 2), "expected every channel once"),
        (Kind.RUN_START, changed_start(channels=[channel(digitizer="x")]), "found 'x'"),
        (
            Kind.RUN_START,
            changed_start(channels=[channel(triggers=[{"kind": "e" * 4096}])]),
            "expected triggers of at most 4096 bytes",
        ),
        (Kind.RUN_END, b'{"reason": 1}', "expected the JSON of a RunEnd"),
        (Kind.INPUT, b"[1]", "INPUT: expected a JSON object"),
        (Kind.INPUT, b"\xff", "INPUT: expected a JSON object"),
        (Kind.READINGS, b"12345", "READINGS: expected rows of 232 bytes, found 5 bytes"),
        (Kind.MESSAGES, b"1", "MESSAGES: expected rows of 256 bytes, found 1 bytes"),
        (Kind.EVENTS, b"", "expected an external frame, found EVENTS"),
    ],
)
def test_a_payload_of_another_kind_is_refused(
    folder: Path, kind: Kind, payload: bytes, words: str
) -> None:
    with (
        LogWriter(folder, SMALL, lambda _: None, time.monotonic) as writer,
        pytest.raises(UsageError, match=words),
    ):
        writer.external(kind, payload)


def records(**changes: Any) -> Batch:  # Any: whatever is wrong with them
    batch = batch_of([1], 0).records[0]
    return Batch(records=(dataclasses.replace(batch, **changes),))


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (records(channel=2), "expected a channel below 2, found 2"),
        (
            records(channel=1),
            r"samples of channel 1: expected int16 \[1, 16\], found int16 \[1, 64",
        ),
        (records(samples=np.zeros((1, 64), np.int32)), "expected int16 .* found int32"),
        (records(table=np.zeros(1, np.int64)), "records of channel 0: expected"),
        (Batch(events=np.zeros(1, EVENT)), "events: expected"),
    ],
)
def test_arrays_of_another_kind_are_refused(folder: Path, batch: Batch, words: str) -> None:
    with writer_of(folder) as writer, pytest.raises(UsageError, match=words):
        writer.commit(batch, b"")


def test_too_much_at_once_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daq.store.payloads.MAX_PAYLOAD", 100)
    with writer_of_any(folder) as writer:
        with pytest.raises(UsageError, match="records of channel 0: expected at most 100 bytes"):
            writer.commit(records(), b"")
        with pytest.raises(UsageError, match="expected at most 100 bytes, found 232"):
            writer.external(Kind.READINGS, readings(1))


def writer_of_any(folder: Path) -> LogWriter:
    writer = LogWriter(folder, SMALL, lambda _: None, time.monotonic)
    writer._lengths = [64, 16]  # as if the start had been logged
    return writer


def test_a_closed_log_takes_nothing(folder: Path) -> None:
    writer = writer_of(folder)
    writer.close()
    with pytest.raises(StorageError, match="the log is closed"):
        put(writer, 1)
    writer.close()


# --- when the disk fails ---


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Lets a system call of the store fail from now on."""

    def fail(call: str, number: int) -> None:
        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(disk, call, refuse)

    return fail


@pytest.mark.parametrize(
    ("call", "number", "words"),
    [
        ("append", errno.ENOSPC, "cannot write .*000001.log: No space left on device"),
        ("append", errno.EIO, "cannot write .*000001.log: Input/output error"),
        ("sync", errno.EIO, "cannot sync .*000001.log: Input/output error"),
        ("truncate", errno.EIO, "cannot seal .*000001.log: Input/output error"),
        ("allocate", errno.ENOSPC, "cannot make .*000002.log: No space left on device"),
        ("create", errno.EACCES, "cannot make .*000002.log: Permission denied"),
        ("rename", errno.EIO, "cannot make .*000002.log: Input/output error"),
    ],
)
def test_a_failing_disk_is_named_and_told_at_every_call(
    folder: Path, failing: Callable[[str, int], None], call: str, number: int, words: str
) -> None:
    durable = Durable()
    writer = writer_of(folder, dataclasses.replace(SMALL, rotate_bytes=1), durable)
    writer.sync()
    failing(call, number)
    writer.commit(batch_of([1], 0), b"")
    writer._thread._thread.join(10)
    for _ in range(2):
        with pytest.raises(StorageError, match=words):
            writer.sync()
    with pytest.raises(StorageError, match=words):
        put(writer, 1)
    with pytest.raises(StorageError, match=words):
        writer.commit(batch_of([1], 0), b"")
    with pytest.raises(StorageError, match=words):
        writer.close()
    writer.close()
    assert durable.numbers in ([], [1])
    assert len(recover(folder).problems) <= 1


def test_a_full_disk_is_told_before_anything_is_accepted(
    folder: Path, failing: Callable[[str, int], None]
) -> None:
    failing("allocate", errno.ENOSPC)
    writer = writer_of(folder)
    with pytest.raises(StorageError, match=r"cannot make .*000001\.log: No space left on device"):
        writer.sync()
    with pytest.raises(StorageError, match="No space left"):
        writer.close()
    assert list(names.log_folder(folder).iterdir()) == []


def test_after_a_failed_sync_the_run_goes_on_in_another_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: Callable[[str, int], None]
) -> None:
    writer = writer_of(folder, NEVER)
    writer.commit(batch_of(SIZES, 0), b"0")
    writer.sync()
    failing("sync", errno.EIO)
    writer.commit(batch_of(SIZES, 1), b"1")
    with pytest.raises(StorageError):
        writer.sync()
    with pytest.raises(StorageError):
        writer.close()
    monkeypatch.undo()
    with resumed(folder) as again:
        assert again.commit(batch_of(SIZES, 2), b"2") == 3
    assert open_run(folder).records("C11")[0]["record"].tolist() == list(range(6))


def test_a_short_write_is_continued(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, pieces: writev(fd, [b"".join(pieces)[:1000]]))
    with writer_of(folder) as writer:
        writer.commit(batch_of([50], 0), b"")
        writer.external(Kind.MESSAGES, message("behind"))
    assert last_file(folder).problems == []
    assert open_run(folder).n_records()["C11"] == 50


def test_a_mistake_in_the_callback_is_not_silent(folder: Path) -> None:
    seen: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, seen.append
    try:
        writer = writer_of(folder, on_durable=lambda _: 1 / 0)  # type: ignore[arg-type]
        writer.commit(Batch(), b"")
        writer._thread._thread.join(10)
        with pytest.raises(StorageError, match="the thread that writes the log died"):
            writer.sync()
        with pytest.raises(StorageError, match="died"):
            writer.close()
    finally:
        threading.excepthook = before
    assert seen[0].exc_type is ZeroDivisionError


def test_records_of_no_length_are_left_out(folder: Path) -> None:
    empty = batch_of([1], 0).records[0]
    batch = Batch(records=(RecordBatch(0, empty.table[:0], empty.samples[:0]),))
    with writer_of(folder) as writer:
        writer.commit(batch, b"")
        writer.sync()
        assert last_file(folder).units[0].frames == []
