"""A thread's work for an instrument that writes files: to write what is due, until stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Writer(Protocol):
    """An instrument without a wire."""

    def wait_s(self, now_s: float) -> float:
        """Seconds until `write` has something to do."""

    def write(self, now_s: float) -> None:
        """Write what is due."""


class Recorder:
    """Runs a writer as a loop runs faces."""

    def __init__(
        self,
        writer: Writer,
        now_s: Callable[[], float],
        wall_wait_s: Callable[[float], float] = float,
    ) -> None:
        """`wall_wait_s` turns a wait in the time of `now_s` into one on the wall."""
        self._writer, self._now_s, self._wall_wait_s = writer, now_s, wall_wait_s
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write until `stop` is called; raises what the writer raises."""
        while not self._stopped.wait(self._wall_wait_s(self._writer.wait_s(self._now_s()))):
            self._writer.write(self._now_s())

    def stop(self) -> None:
        """End `run`; from any thread."""
        self._stopped.set()
