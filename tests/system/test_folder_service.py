"""The folder as a service: on real sockets, in a thread of the test, and once as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daq.errors import StorageError, UsageError
from daq.model.batch import Batch
from daq.services import folder as service
from daq.services.service import Waker
from daq.store import names
from daq.store.copies import CommandPlace, Copies, FolderPlace, Retention
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.verify import verify
from daq.wire import codec, sockets
from daq.wire.schemas import State
from tests.store_runs import (
    SIZES_CHECKED,
    SMALL,
    batch_of,
    end_payload,
    record_run,
    start_payload,
)

DEADLINE_S = 20.0
CONFIG = """
[experiment]
name = "t"
data_dir = "{data}"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 256
pretrigger = 64
trigger = {{ kind = "level", threshold = 100, rearm = 15, holdoff = 100 }}
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
"""


@dataclass
class Served:
    """A folder service that runs."""

    data_dir: Path
    endpoint: str

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:  # Any: each verb's own
        with sockets.calling(f"{self.endpoint}.commands", "folder") as caller:
            return caller.call(verb, DEADLINE_S, **arguments)

    def states(self) -> Iterator[State]:
        """What it publishes, until the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        socket = sockets.subscribe(f"{self.endpoint}.state")
        try:
            while time.monotonic() < deadline and socket.poll(DEADLINE_S * 1000):
                yield codec.decode(sockets.receive(socket, 2)[1], State)
        finally:
            socket.close(0)

    def wait_for(self, done: Callable[[State], bool]) -> State:
        for state in self.states():
            if done(state):
                return state
        raise AssertionError("the state waited for did not come")


@contextmanager
def serving(data_dir: Path, runtime: Path, copies: Copies | None = None) -> Iterator[Served]:
    endpoint, stop, waker = f"ipc://{runtime}/folder", threading.Event(), Waker()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            sockets = f"{endpoint}.state", f"{endpoint}.commands"
            service.serve(data_dir, *sockets, stop, waker, copies=copies)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield Served(data_dir, endpoint)
    finally:
        stop.set()
        waker.wake()
        thread.join(DEADLINE_S)
        waker.close()
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def begun(folder: Path, settings: LogSettings = SMALL) -> LogWriter:
    folder.mkdir()
    writer = LogWriter(folder, settings, lambda _: None, time.monotonic)
    writer.external(Kind.RUN_START, start_payload(names.run_number(folder)))
    writer.commit(batch_of(SIZES_CHECKED, 0), b"0")
    writer.sync()
    return writer


def test_an_ended_run_becomes_complete_by_itself_and_everybody_is_told(
    tmp_path: Path, runtime: Path
) -> None:
    with serving(tmp_path, runtime) as served:
        assert served.ask("status")["runs"] == {}
        record_run(tmp_path / "run_000007", SIZES_CHECKED, LogSettings(rotate_bytes=5000))
        state = served.wait_for(lambda state: state.body["last_complete"] == 7)
        segments = names.segments(tmp_path / "run_000007").values()
        told = {
            "segments": len(segments),
            "bytes": sum(path.stat().st_size for path in segments),
            "complete": True,
        }
        copies = {"waiting": 0, "done": 0, "problem": ""}
        body = {"runs": {"7": told}, "last_complete": 7, "copies": copies, "problem": ""}
        assert state.body == body
        assert state.progress == len(segments) + 3
        assert served.ask("status") == {"state": "idle", **state.body}
    assert verify(tmp_path / "run_000007").ok


def test_finish_answers_when_the_run_is_complete(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / "run_000007"
    record_run(folder, SIZES_CHECKED)
    with serving(tmp_path, runtime) as served:
        answer = served.ask("finish", run=7)
        assert names.complete_path(folder).exists()
        assert answer == {"folder": str(folder), "manifest": str(names.manifest_path(folder))}
        assert served.ask("finish", run=7) == answer


def test_finish_waits_for_a_core_that_is_about_to_let_go(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / "run_000007"
    with serving(tmp_path, runtime) as served, begun(folder) as writer:
        answers: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: answers.append(served.ask("finish", run=7)))
        asking.start()
        served.wait_for(lambda state: "7" in state.body["runs"])
        assert served.ask("status")["runs"]["7"]["complete"] is False
        writer.external(Kind.RUN_END, end_payload(1))
        writer.commit(Batch(), b"")
        writer.close()
        asking.join(DEADLINE_S)
    assert answers == [{"folder": str(folder), "manifest": str(names.manifest_path(folder))}]


def test_finish_gives_up_on_a_run_that_is_written_on_and_on(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PATIENCE_S", 0.1)
    with (
        serving(tmp_path, runtime) as served,
        begun(tmp_path / "run_000007"),
        pytest.raises(StorageError, match="expected nobody to write it, found process"),
    ):
        served.ask("finish", run=7, abandoned=True)


def test_an_abandoned_run_is_finished_only_when_that_is_said(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / "run_000007"
    begun(folder).close()
    with serving(tmp_path, runtime) as served:
        with pytest.raises(StorageError, match="found one without an end"):
            served.ask("finish", run=7)
        assert served.ask("status")["last_complete"] is None
        served.ask("finish", run=7, abandoned=True)
        assert served.wait_for(lambda state: state.body["last_complete"] == 7)
    assert verify(folder).ok


def test_a_finish_that_makes_no_sense_is_refused(tmp_path: Path, runtime: Path) -> None:
    with serving(tmp_path, runtime) as served:
        with pytest.raises(StorageError, match="run_000009: expected a run folder, found nothing"):
            served.ask("finish", run=9)
        with pytest.raises(UsageError, match="finish: "):
            served.ask("finish", run=0)
        with pytest.raises(UsageError, match="finish: "):
            served.ask("finish", run=7, now=True)


def test_a_run_that_cannot_be_folded_is_a_problem_and_stops_no_other(
    tmp_path: Path, runtime: Path
) -> None:
    record_run(tmp_path / "run_000007", SIZES_CHECKED, LogSettings(rotate_bytes=5000))
    names.log_path(tmp_path / "run_000007", 1).unlink()
    record_run(tmp_path / "run_000008", [2])
    with serving(tmp_path, runtime) as served:
        state = served.wait_for(
            lambda state: state.body["last_complete"] == 8 and bool(state.body["problem"])
        )
        assert "segment_000001.h5: missing" in state.body["problem"]


def test_who_waits_is_told_when_the_service_stops() -> None:
    work = service.Work(Folder(Path("nowhere"), time.time_ns), time.monotonic)
    answer = work.finish(service.Finish(run=1))
    work.stop()
    work.run()
    with pytest.raises(StorageError, match="the folder service was stopped"):
        answer.result(timeout=0)


def test_a_copy_that_never_ends_keeps_nobody_waiting(tmp_path: Path, runtime: Path) -> None:
    place = CommandPlace("sleep 600", "echo", timeout_s=2.0)
    copies = Copies(tmp_path, place, Retention(), time.time_ns)
    record_run(tmp_path / "run_000007", SIZES_CHECKED)
    with serving(tmp_path, runtime, copies) as served:
        served.wait_for(lambda state: state.body["copies"]["waiting"] == 0)
        assert served.ask("finish", run=7)["folder"] == str(tmp_path / "run_000007")
        state = served.wait_for(lambda state: bool(state.body["copies"]["problem"]))
        assert "no end within 2 s" in state.body["copies"]["problem"]
        assert state.body["last_complete"] == 7


def test_copies_are_made_beside_the_folding_and_told(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "there").mkdir()
    data_dir = tmp_path / "runs"
    copies = Copies(data_dir, FolderPlace(tmp_path / "there"), Retention(), time.time_ns)
    record_run(data_dir / "run_000007", SIZES_CHECKED)
    with serving(data_dir, runtime, copies) as served:
        served.wait_for(lambda state: state.body["copies"]["done"] == 4)
    assert verify(tmp_path / "there" / "run_000007").ok


def test_a_mistake_of_ours_ends_the_service_instead_of_hiding(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "steps", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError), serving(tmp_path, runtime):
        pass


def test_the_process_folds_what_it_finds_and_ends_on_sigterm(tmp_path: Path, runtime: Path) -> None:
    data_dir = tmp_path / "runs"
    record_run(data_dir / "run_000007", SIZES_CHECKED)
    config = tmp_path / "t.toml"
    config.write_text(CONFIG.format(data=data_dir), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "daq", "folder", str(config)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
    )
    try:
        served = Served(data_dir, f"ipc://{runtime}/folder")
        served.wait_for(lambda state: state.body["last_complete"] == 7)
        child.send_signal(signal.SIGTERM)
        assert child.wait(DEADLINE_S) == 0
    finally:
        child.kill()
        _, said = child.communicate()
    assert b"complete" in said
    assert verify(data_dir / "run_000007").ok
