"""Copies sealed files and drops old runs, in a thread of its own beside the folding."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daq.errors import ScheeliteError
from daq.settings.loader import Settings
from daq.settings.sections import Storage
from daq.store.copies import CommandPlace, Copies, FolderPlace, Place, Retention

logger = logging.getLogger(__name__)

PERIOD_S, RETRY_S = 2.0, 30.0  # between two looks; the longer one where something did not work


def copies_of(settings: Settings, now_ns: Callable[[], int] = time.time_ns) -> Copies | None:
    """The copies that a config asks for, if any."""
    wanted = settings.section(Storage).copies
    if wanted is None:
        return None
    place: Place = CommandPlace(wanted.command, wanted.proof)
    if wanted.to:
        place = FolderPlace(Path(wanted.to).absolute())
    retention = Retention(keep_days=wanted.keep_days, keep_bytes=wanted.keep_bytes)
    return Copies(settings.data_dir, place, retention, now_ns)


class Copying:
    """Runs `copies` until stopped; `body` is replaced, never changed, by its thread."""

    def __init__(self, copies: Copies | None) -> None:
        self._copies, self._stop = copies, threading.Event()
        # Any: JSON, documented beside the folder service
        self.body: dict[str, Any] = {"waiting": 0, "done": 0, "problem": ""}
        self._thread = threading.Thread(target=self._run, name="copies", daemon=True)

    def start(self) -> None:
        """Begin, where there is anything to do."""
        if self._copies is not None:
            self._thread.start()

    def stop(self) -> None:
        """End behind the file it is at; a command that does not end is not waited for."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._turn()):
            pass

    def _turn(self) -> float:
        """Do all that can be done: seconds until the next look."""
        copies = self._copies
        assert copies is not None  # else the thread was not started
        try:
            for done in copies.steps():
                logger.info("%s.", done)
                self._tell(copies, done=1)
                if self._stop.is_set():
                    return 0.0
            self._tell(copies, done=0)
        except (ScheeliteError, OSError) as error:  # a file may go while we look at it
            self.body = {**self.body, "problem": str(error)}
        for run, problem in copies.problems.items():
            logger.error("%s: %s", run, problem)
        return RETRY_S if self.body["problem"] else PERIOD_S

    def _tell(self, copies: Copies, done: int) -> None:
        self.body = {
            "waiting": copies.waiting(),
            "done": self.body["done"] + done,
            "problem": "; ".join(copies.problems.values()),
        }
