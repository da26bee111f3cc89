"""The poller: a thread that speaks to one instrument: reads what is due, obeys in between."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from daq.errors import InstrumentError, RefusedError, ServiceTimeoutError
from drivers.instrument import Instrument
from drivers.parameter import AbsentError, Bound, NoValueError, Reading

MAX_JOBS = 16
JOB_PATIENCE_S = 5.0  # who asked has given up by then, and must not be obeyed later

Result = dict[str, Any]  # Any: what a verb answers
Job = Callable[[], Result]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of one instrument, which are stale when they are older than `good_for_s`."""

    instrument: str
    readings: tuple[Reading, ...]
    good_for_s: float


@dataclass(frozen=True, slots=True)
class Polled:
    """A poll of one instrument is over; `problem` is the first thing that went wrong, or ""."""

    instrument: str
    problem: str


Report = Readings | Polled


@dataclass(frozen=True, slots=True)
class _Asked:
    job: Job
    future: Future[Result]
    deadline: float


class Poller(threading.Thread):
    """Polls one instrument at fixed times; a job is done before the next parameter is read.

    `report` is called from this thread.
    """

    def __init__(
        self,
        name: str,
        instrument: Instrument,
        report: Callable[[Report], None],
        *,
        poll_s: float,
        slow_poll_s: float,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(name=f"poller-{name}", daemon=True)
        self.instrument = instrument
        self._name, self._report = name, report
        self._poll_s, self._slow_poll_s = poll_s, slow_poll_s
        self._clock, self._now_ns = clock, now_ns
        self._jobs: queue.Queue[_Asked] = queue.Queue(MAX_JOBS)
        self._stopping = threading.Event()
        self._slow_at = 0.0

    def submit(self, job: Job) -> Future[Result]:
        """Have a job done by the instrument's thread; RefusedError where too many wait for it."""
        future: Future[Result] = Future()
        try:
            self._jobs.put_nowait(_Asked(job, future, self._clock() + JOB_PATIENCE_S))
        except queue.Full:
            raise RefusedError(
                f"{self._name} is busy: {MAX_JOBS} requests are waiting for it"
            ) from None
        return future

    def stop(self) -> None:
        """Have the thread end after the exchange it is in."""
        self._stopping.set()
        with suppress(queue.Full):  # a job that does nothing wakes it
            self._jobs.put_nowait(_Asked(dict, Future(), float("inf")))

    def run(self) -> None:
        """Poll and obey until told to stop; then give the line back."""
        poll_at = self._clock()
        try:
            while not self._stopping.is_set():
                self._obey_until(poll_at)
                poll_at += self._poll_s
                self._poll()
                if poll_at < self._clock():  # too slow: skip polls rather than chase them
                    poll_at = self._clock()
        finally:
            self.instrument.close()

    def take(self, bound: Bound[T], value: T) -> None:
        """Report what was read or written just now; in this thread."""
        period_s = self._slow_poll_s if bound.parameter.slow else self._poll_s
        readings = bound.as_readings(value, self._now_ns())
        good_for_s = 2 * period_s + self.instrument.lag_s
        self._report(Readings(self._name, tuple(readings), good_for_s))

    def _poll(self) -> None:
        slow = self._clock() >= self._slow_at
        if slow:
            self._slow_at = self._clock() + self._slow_poll_s
        problems = [
            self._read(bound)
            for bound in self.instrument.parameters()
            if slow or not bound.parameter.slow
        ]
        if not self.instrument.link.is_open:
            self._slow_at = 0.0  # settings are read as soon as it is back
        self._report(Polled(self._name, next(filter(None, problems), "")))

    def _read(self, bound: Bound[Any]) -> str:
        """Report a parameter, after what was asked meanwhile; the problem with it, or ""."""
        self._obey_until(self._clock())
        if self._stopping.is_set():
            return ""
        try:
            self.take(bound, bound.read())
        except AbsentError:
            return ""
        except InstrumentError as error:
            failed = bound.failed_readings(error, self._now_ns())
            self._report(Readings(self._name, tuple(failed), 2 * self._slow_poll_s))
            return "" if isinstance(error, NoValueError) else str(error)
        return ""

    def _obey_until(self, when: float) -> None:
        """Do jobs as they come until `when`; those that wait already in any case."""
        while not self._stopping.is_set():
            remaining_s = when - self._clock()
            try:
                asked = self._jobs.get(remaining_s > 0, max(remaining_s, 0.0) or None)
            except queue.Empty:
                return
            self._obey(asked)

    def _obey(self, asked: _Asked) -> None:
        try:
            if self._clock() > asked.deadline:
                raise ServiceTimeoutError(f"{self._name} was busy for {JOB_PATIENCE_S:g} s")
            asked.future.set_result(asked.job())
        except Exception as error:  # who asked is told; the polls must go on
            asked.future.set_exception(error)
