"""Readings of the instruments on their way into the run: each kept once, answered when durable."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import msgspec
import numpy as np

from daq.model.batch import Rows
from daq.model.record import READING, plain
from daq.services.recording import Recording
from daq.services.service import Result


class Readings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "readings": rows [t_ns, instrument, parameter, value, unit, source, text],
    numbered from `first` since the sender's `boot`."""

    boot: str
    first: int
    rows: list[tuple[int, str, str, float | None, str, str, str]]


class ReadingInbox:
    """Takes readings for the run in progress, and remembers the latest of each for the next one."""

    def __init__(self) -> None:
        self._latest: dict[tuple[Any, Any], np.void] = {}  # Any: numpy gives fields no type
        self._taken: dict[str, int] = {}
        self._kept_already: frozenset[bytes] = frozenset()
        self._promised: list[tuple[int, Future[Result], Result]] = []

    def begin(self, recording: Recording) -> None:
        """A run begins: what every instrument said last is its first page."""
        self._kept_already = frozenset()
        if self._latest:
            recording.keep_readings(np.array(list(self._latest.values()), plain(READING)))

    def go_on(self, recording: Recording) -> None:
        """A run goes on after a crash: what the sender repeats may be in its log already."""
        self._kept_already = recording.readings_behind_commit

    def take(self, readings: Readings, recording: Recording | None) -> Result | Future[Result]:
        """Keep readings; answered when they are durable, at once where no run wants them."""
        expected = self._taken.get(readings.boot, 0)
        table = _table(readings.rows[max(expected - readings.first, 0) :])
        taken = max(expected, readings.first + len(readings.rows))
        for row in table:
            self._latest[row["instrument"], row["parameter"]] = row
        fresh = [row for row in table if row.tobytes() not in self._kept_already]
        if recording is not None and fresh:
            recording.keep_readings(np.array(fresh, table.dtype))
        self._taken[readings.boot] = taken
        if recording is None:
            return {"taken": taken}
        future: Future[Result] = Future()
        self._promised.append((recording.next_commit, future, {"taken": taken}))
        return future

    def settle(self, recording: Recording | None) -> None:
        """Answer those whose readings have become durable."""
        promised, self._promised = self._promised, []
        for number, future, answer in promised:
            if recording is None or recording.durable >= number:
                future.set_result(answer)
            else:
                self._promised.append((number, future, answer))


def _table(rows: list[tuple[int, str, str, float | None, str, str, str]]) -> Rows:
    """Rows of plain(READING); text that is too long for its field is cut there."""
    return np.array([_row(*row) for row in rows], plain(READING))


def _row(
    t_ns: int, instrument: str, parameter: str, value: float | None, unit: str, source: str,
    text: str,
) -> tuple[int, bytes, bytes, float, bytes, bytes, bytes]:  # fmt: skip
    number = float("nan") if value is None else value
    texts = [t.encode() for t in (instrument, parameter, unit, source, text)]
    return t_ns, texts[0], texts[1], number, texts[2], texts[3], texts[4]
