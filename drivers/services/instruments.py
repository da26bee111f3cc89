"""The instruments service: every instrument that is not a digitizer, each in its own thread."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from daq.services.authority import LeaseWatch, Notes
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.wire import sockets
from drivers.describe import unknown
from drivers.instrument import Instrument
from drivers.parameter import Bound, Reading, dated, to_plain
from drivers.services.delivery import Delivery
from drivers.services.poller import Polled, Poller, Readings, Report
from drivers.services.safety import Limits, News, Watch, check_orders
from drivers.settings import Safety
from drivers.squid.squid_channel import SquidChannel, squids_of

logger = logging.getLogger(__name__)

TICK_MS = 100
UNLIMITED = Safety.model_validate({})
JOIN_S = 3.0  # longer than an exchange that times out twice

Name = Annotated[str, Meta(min_length=1, max_length=64)]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the service's sockets are; `readings` is the core's `commands`."""

    readings: str
    state: str
    commands: str
    lease: str  # run control's state, which says who commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One instrument of the config."""

    model: str
    resource: str
    instrument: Instrument
    poll_s: float
    slow_poll_s: float


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "read"."""

    instrument: Name
    parameter: Name


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "write"; Any: the parameter's datatype refuses what it does not allow."""

    instrument: Name
    parameter: Name
    value: Any


class Act(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "act"."""

    instrument: Name
    action: Name


@dataclass(slots=True)
class _Known:
    """The latest reading of one parameter."""

    reading: Reading
    good_for_s: float


class InstrumentsService:
    """Polls, publishes, obeys and delivers; this thread owns all sockets, but speaks to nobody.

    Verbs: "status" and "list" answer at once; "read" and "write" answer {"value", "unit",
    "source", "t_ns"} of a parameter, where a value of several fields is a table; "act" answers {}.
    The body of the state is {"readings": {"fridge.input 6.temperature": {"value", "unit",
    "source", "t_ns", "stale", "text"}}, "instruments": {"fridge": {"state", "problem"}},
    "undelivered", "dropped", "problem"}; an instrument's state is connecting, ok, trouble or dead.
    "list" also answers, for SQUID electronics, which parameters and actions stand behind the names
    that tuning knows ("squids": {"1": {"values": {"bias": an Offer}, "actions": {ours: theirs}}}).
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        *,
        endpoints: Endpoints,
        stop: threading.Event,
        waker: Waker,
        safety: Safety = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._entries, self._stop, self._waker = entries, stop, waker
        self._now_ns = now_ns
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._readings: dict[str, _Known] = {}
        self._problems: dict[str, str] = {}  # of instruments that were polled
        self._progress = 0  # readings so far
        self._pollers = {name: self._poller(name, e, clock) for name, e in entries.items()}
        self._beat = Beat(endpoints.state, "instruments", clock=clock, now_ns=now_ns)
        self._delivery = Delivery(endpoints.readings, self._beat.boot, clock)
        self._safety, self._watch = safety, Watch(safety, now_ns)
        instruments = {name: entry.instrument for name, entry in entries.items()}
        self._limits = Limits(safety.limits, instruments)
        check_orders(safety.orders, instruments)
        self._lease, self._notes = LeaseWatch(endpoints.lease), Notes(endpoints.readings)
        self._commands = CommandServer(
            endpoints.commands,
            {
                "status": Verb(Nothing, lambda _: self.status()),
                "list": Verb(Nothing, lambda _: self._list()),
                "read": Verb(Read, self._read),
                "write": Verb(Write, self._write, "act"),
                "act": Verb(Act, self._act, "act"),
            },
            guard=self._lease.check,
            audit=self._notes.audit("instruments"),
        )

    def run(self) -> None:
        """Serve until `stop` is set; then give everything back."""
        sources = (self._waker, self._commands.socket, self._beat.socket, self._delivery.socket)
        poller = sockets.poller(*sources)
        for thread in self._pollers.values():
            thread.start()
        try:
            while not self._stop.is_set():
                poller.poll(TICK_MS)
                self._step()
        finally:
            self._end()

    def status(self) -> Result:
        """The body of the state."""
        now_ns = self._now_ns()
        return {
            "readings": {name: _shown(known, now_ns) for name, known in self._readings.items()},
            "instruments": {name: self._health(name) for name in self._entries},
            "undelivered": len(self._delivery.outbox),
            "dropped": self._delivery.outbox.n_dropped,
            "problem": self._delivery.problem,
        }

    def _step(self) -> None:
        self._waker.clear()
        while not self._reports.empty():
            self._take(self._reports.get_nowait())
        self._delivery.serve()
        self._commands.serve()
        self._be_safe()
        self._beat.serve()
        if self._beat.due("running"):
            self._beat.publish("running", progress=self._progress, body=self.status())

    def _be_safe(self) -> None:
        """Write the safe state where nobody is in command any more; every order is tried."""
        reason = self._watch.due(News(*self._lease.listen()))
        if not reason:
            return
        self._notes.tell(f"safe state: {reason}", "error")
        for order in self._safety.orders:
            asked = Write(order.instrument, order.parameter, order.value)
            self._write(asked).add_done_callback(partial(self._tell_order, asked))

    def _tell_order(self, asked: Write, done: Future[Result]) -> None:
        """In the instrument's thread, which must not touch our sockets: its log says it."""
        error, what = done.exception(), f"{asked.instrument}.{asked.parameter} = {asked.value}"
        if error is None:
            logger.warning("safe state: %s", what)
        else:
            logger.error("safe state: %s could not be written: %s", what, error)

    def _end(self) -> None:
        for thread in self._pollers.values():
            thread.stop()
        for thread in self._pollers.values():
            thread.join(JOIN_S)
        for part in (self._commands, self._beat, self._delivery, self._lease, self._notes):
            part.close()

    # --- from the instruments' threads --------------------------------------------------------

    def _poller(self, name: str, entry: Entry, clock: Callable[[], float]) -> Poller:
        return Poller(
            name,
            entry.instrument,
            self._report,
            poll_s=entry.poll_s,
            slow_poll_s=entry.slow_poll_s,
            clock=clock,
            now_ns=self._now_ns,
        )

    def _report(self, report: Report) -> None:
        """Called by the instruments' threads."""
        self._reports.put(report)
        self._waker.wake()

    def _take(self, report: Report) -> None:
        if isinstance(report, Polled):
            self._problems[report.instrument] = report.problem
            return
        self._progress += len(report.readings)
        self._delivery.add(report.instrument, self._news(report))
        for reading in report.readings:
            key = f"{report.instrument}.{reading.name}"
            self._readings[key] = _Known(reading, report.good_for_s)

    def _news(self, report: Readings) -> list[Reading]:
        """Without repetitions and errors that go on: a dead instrument is one row per parameter."""
        known = (self._readings.get(f"{report.instrument}.{r.name}") for r in report.readings)
        return [
            reading
            for reading, before in zip(report.readings, known, strict=True)
            if before is None or _is_news(reading, before.reading)
        ]

    def _health(self, name: str) -> dict[str, str]:
        if not self._pollers[name].is_alive():
            return {"state": "dead", "problem": "its thread has ended; see the log"}
        problem = self._problems.get(name)
        if problem is None:
            return {"state": "connecting", "problem": ""}
        return {"state": "trouble" if problem else "ok", "problem": problem}

    # --- verbs --------------------------------------------------------------------------------

    def _list(self) -> Result:
        return {"instruments": {name: _listed(entry) for name, entry in self._entries.items()}}

    def _read(self, asked: Read) -> Future[Result]:
        poller = self._poller_of(asked.instrument)
        bound = _named(asked.parameter, poller.instrument.parameters(), "parameter")

        def job() -> Result:
            return self._answered(poller, bound, bound.read())

        return self._submitted(poller, job)

    def _write(self, asked: Write) -> Future[Result]:
        poller = self._poller_of(asked.instrument)
        bound = _named(asked.parameter, poller.instrument.parameters(), "parameter")
        self._limits.check(asked.instrument, asked.parameter, asked.value)

        def job() -> Result:
            return self._answered(poller, bound, bound.write(asked.value))

        return self._submitted(poller, job)

    def _act(self, asked: Act) -> Future[Result]:
        poller = self._poller_of(asked.instrument)
        action = _named(asked.action, poller.instrument.actions(), "action")

        def job() -> Result:
            action()
            return {}

        return self._submitted(poller, job)

    def _answered(self, poller: Poller, bound: Bound[T], value: T) -> Result:
        """What a read or a write answers, in the instrument's thread; it is a reading as well."""
        poller.take(bound, value)
        unit = bound.parameter.datatype.describe().unit
        when = dated(value, self._now_ns())
        return {
            "value": _plain(when.value),
            "unit": unit,
            "source": bound.source,
            "t_ns": when.t_ns,
        }

    def _poller_of(self, instrument: str) -> Poller:
        try:
            return self._pollers[instrument]
        except KeyError as error:
            raise unknown("instrument", self._pollers, instrument) from error

    def _submitted(self, poller: Poller, job: Callable[[], Result]) -> Future[Result]:
        future = poller.submit(job)
        future.add_done_callback(lambda _: self._waker.wake())
        return future


N = TypeVar("N", bound=Any)  # what has a name: a Bound or a BoundAction


def _named(name: str, among: Any, kind: str) -> Any:
    known = {each.name: each for each in among}
    if name not in known:
        raise unknown(kind, known, name)
    return known[name]


def _plain(value: object) -> Any:
    """A value for a message; Any: a number, a text, a switch, or a table of these."""
    if isinstance(value, Mapping):
        return {name: to_plain(part) for name, part in value.items()}
    return to_plain(value)


def _is_news(reading: Reading, before: Reading) -> bool:
    """False for an error after an error, and for a value dated by the instrument that we had."""
    if reading.source == "error":
        return before.source != "error"
    return reading != before


def _shown(known: _Known, now_ns: int) -> dict[str, Any]:
    reading = known.reading
    return {
        "value": reading.value,
        "unit": reading.unit,
        "source": reading.source,
        "t_ns": reading.t_ns,
        # a time far ahead is as suspect as an old one: the instrument's clock is wrong
        "stale": reading.stale or abs(now_ns - reading.t_ns) > known.good_for_s * 1e9,
        "text": reading.text,
    }


def _listed(entry: Entry) -> dict[str, Any]:
    return {
        "model": entry.model,
        "resource": entry.resource,
        "parameters": [
            {
                "name": bound.name,
                "title": bound.parameter.title,
                "writable": bound.parameter.tell is not None,
                "slow": bound.parameter.slow,
                "shadow": bound.parameter.ask is None,
                "datatype": asdict(bound.parameter.datatype.describe()),
            }
            for bound in entry.instrument.parameters()
        ],
        "actions": [{"name": a.name, "title": a.action.title} for a in entry.instrument.actions()],
        "squids": {str(n): _offered(squid) for n, squid in squids_of(entry.instrument).items()},
    }


def _offered(squid: SquidChannel) -> dict[str, Any]:
    """A SQUID channel under the names that are the same for all vendors, and its actions' own."""
    return {
        "values": {name: asdict(offer) for name, offer in squid.offers().items()},
        "actions": {name: squid.action(name).name for name in squid.actions},
    }
