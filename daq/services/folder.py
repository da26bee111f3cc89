"""The folder service: makes run files of the write-ahead log while sockets are answered.

State body: {"runs": {number: {"segments", "bytes", "complete"}} of the last few, "last_complete":
number or null, "copies": {"waiting", "done", "problem"}, "problem"}; state is "folding" or "idle".
Verbs: "status" {}; "finish" {run, abandoned} -> {"folder", "manifest"} when the run is complete.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated, Any

import msgspec

from daq.errors import ScheeliteError, StorageError
from daq.services import heap
from daq.services.copying import Copying
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.store.copies import Copies
from daq.store.folder import Folder
from daq.store.owner import HeldError
from daq.wire import sockets

logger = logging.getLogger(__name__)

POLL_MS = 250
PERIOD_S, RETRY_S = 1.0, 2.0  # between two looks; the longer one where something did not work
SOON_S = 0.2  # to look again for who waits
PATIENCE_S = 30.0  # for a core that is about to let go of its run
LAST_FEW = 5


class Finish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "finish"; `abandoned` also finishes a run that has no end."""

    run: Annotated[int, msgspec.Meta(ge=1)]
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """Somebody waits for a run to be complete."""

    asked: Finish
    deadline: float
    answer: Future[Result] = field(default_factory=Future)


class Work:
    """Folds in a thread of its own, for HDF5 takes its time; the rest of it may be called by any.

    `state`, `progress` and `body` are replaced, never changed, by that thread, which then wakes
    who tells them.
    """

    def __init__(
        self, folder: Folder, clock: Callable[[], float], wake: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._clock, self._wake = folder, clock, wake
        self._new: SimpleQueue[_Request] = SimpleQueue()
        self._requests: list[_Request] = []
        self._wanted, self._stop = threading.Event(), threading.Event()
        self.state, self.progress = "idle", 0
        self.body: Result = self._told()

    def finish(self, asked: Finish) -> Future[Result]:
        """The run as soon as it is complete, or why it cannot be."""
        request = _Request(asked, self._clock() + PATIENCE_S)
        self._new.put(request)
        self._wanted.set()
        return request.answer

    def stop(self) -> None:
        """Let `run` return after the file it is at."""
        self._stop.set()
        self._wanted.set()

    def run(self) -> None:
        """Fold until stopped."""
        while not self._stop.is_set():
            self._wanted.clear()
            self._fold()
            self._answer()
            self._tell("idle")
            self._wanted.wait(self._pause_s())
        for request in self._waiting():
            request.answer.set_exception(StorageError("the folder service was stopped"))

    def _tell(self, state: str) -> None:
        self.state, self.body = state, self._told()
        self._wake()

    def _pause_s(self) -> float:
        if self._requests:
            return SOON_S
        return RETRY_S if self._folder.problems else PERIOD_S

    def _fold(self) -> None:
        for path in self._folder.steps():
            logger.info("Made %s.", path)
            heap.give_back()
            self.progress += 1
            self._tell("folding")
            if self._stop.is_set():
                return
        for run, problem in self._folder.problems.items():
            logger.error("Run %d waits: %s", run, problem)

    def _answer(self) -> None:
        self._requests = [request for request in self._waiting() if not self._answered(request)]

    def _waiting(self) -> list[_Request]:
        while True:
            try:
                self._requests.append(self._new.get_nowait())
            except Empty:
                return self._requests

    def _answered(self, request: _Request) -> bool:
        """Whether the request is done with; a run that is still written may yet be let go."""
        asked = request.asked
        try:
            manifest = self._folder.finish(asked.run, abandoned=asked.abandoned)
        except HeldError as error:
            if self._clock() < request.deadline:
                return False
            request.answer.set_exception(error)
        except ScheeliteError as error:
            request.answer.set_exception(error)
        else:
            request.answer.set_result({"folder": str(manifest.parent), "manifest": str(manifest)})
        return True

    def _told(self) -> Result:
        try:
            runs = self._folder.states(LAST_FEW)
        except StorageError as error:
            return {"runs": {}, "last_complete": None, "problem": str(error)}
        return {
            "runs": {str(run): asdict(state) for run, state in runs.items()},
            "last_complete": self._folder.last_complete,
            "problem": "; ".join(self._folder.problems.values()),
        }


def serve(
    data_dir: Path,
    state_endpoint: str,
    commands_endpoint: str,
    stop: threading.Event,
    waker: Waker,
    *,
    copies: Copies | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Fold every run below `data_dir` until `stop` is set; `waker` wakes the loop at once."""
    work, copying = Work(Folder(data_dir, now_ns), clock, waker.wake), Copying(copies)

    def body() -> Result:
        return {**work.body, "copies": copying.body}

    verbs: dict[str, Verb[Any]] = {  # Any: each verb has its own arguments
        "status": Verb(Nothing, lambda _: {"state": work.state, **body()}),
        "finish": Verb(Finish, work.finish),
    }
    commands = CommandServer(commands_endpoint, verbs)
    beat = Beat(state_endpoint, "folder")
    poller = sockets.poller(commands.socket, beat.socket, waker)
    try:
        with ThreadPoolExecutor(1, "folding") as threads:
            done = threads.submit(work.run)
            copying.start()
            try:
                while not stop.is_set() and not done.done():
                    poller.poll(POLL_MS)
                    waker.clear()
                    commands.serve()
                    beat.serve()
                    if beat.due(work.state):
                        beat.publish(work.state, progress=work.progress, body=body())
            finally:
                work.stop()
                copying.stop()
            done.result()  # what went wrong in a way that nobody foresaw ends the service
    finally:
        commands.close()
        beat.close()
