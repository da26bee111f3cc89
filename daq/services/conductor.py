"""Run control: applies an operator's verb to all services in order, and follows what happens.

State body: {"run": number or null, "folder", "verbs", "elapsed_s", "last": {"run", "folder",
"reason"} or null, "services": {name: {"pid", "state", "problem"}}, "lease": {"who", "since_ns",
"until_ns", "seal"} or null, "clock": {"synchronized", "steps", "last_step_s"}, "relock": {channel:
{"state": "locked", "unlocked" or "given up", "tries", "why", "problem", "next_try_s", "relocks"}},
"problem"}.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from daq.errors import NotConnectedError, ScheeliteError, ServiceTimeoutError
from daq.run.lease import Lease
from daq.run.states import RunState
from daq.services.authority import Notes
from daq.services.clockhealth import ClockHealth
from daq.services.neighbors import Neighbors
from daq.services.relock import Relocker
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.services.stability import HeaterPulses
from daq.settings.loader import Settings
from daq.store import numbers
from daq.wire import sockets
from daq.wire.schemas import State

logger = logging.getLogger(__name__)

POLL_MS = 100
CORE_TIMEOUT_S = 20.0
JOIN_S = 3.0  # a try to lock that is under way ends with the process


class StartRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "start"; `samples` as the core takes them."""

    comment: str = ""
    duration_s: float | None = None
    samples: dict[str, int] | None = None


class TakeLease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "lease-take": for how long, and why where it is taken over from another."""

    who: str
    ticket: str
    for_s: float
    over: str = ""


class ReleaseLease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "lease-release"."""

    ticket: str


class StopRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "stop"."""

    reason: str = "stopped by the operator"


def service_names(settings: Settings) -> list[str]:
    """All services of a config but run control, in the order they are started."""
    digitizers = [f"digitizer.{name}" for name in settings.digitizer_names]
    instruments = ["instruments"] if "instruments" in settings.sections else []
    return ["folder", "core", *instruments, *digitizers]


class Conductor:
    """The service."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        waker: Waker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._stop, self._waker, self._clock = settings, stop, waker, clock
        self._state = RunState()
        self._run: int | None = None
        self._folder: Path | None = None
        self._began = 0.0
        self._boot = ""  # of the core that was last heard to record our run
        self._last: Result | None = None
        self._problem = ""
        self._progress = 0
        verbs: dict[str, Verb[Any]] = {  # Any: each verb has its own arguments
            "start": Verb(StartRun, self._start, "act"),
            "stop": Verb(StopRun, self._stop_run, "safe"),
            "lease-take": Verb(TakeLease, self._take_lease),
            "lease-release": Verb(ReleaseLease, self._release_lease),
            "status": Verb(Nothing, lambda _: {"state": self._state.name, **self._body()}),
        }
        endpoint = settings.endpoint
        self._lease, self._clock_health = Lease(time.time_ns), ClockHealth()
        self._notes = Notes(endpoint("core.commands"))
        self._commands = CommandServer(
            endpoint("run.commands"),
            verbs,
            guard=lambda request: self._lease.check(request.ticket),
            audit=self._notes.audit("run control"),
        )
        self._beat = Beat(endpoint("run.state"), "run")
        states = {name: endpoint(f"{name}.state") for name in service_names(settings)}
        self._neighbors = Neighbors(states)
        self._relocker, self._pulses = Relocker(settings, stop), HeaterPulses(settings, stop)

    def run(self) -> None:
        """Serve until told to stop; a run in progress goes on in the core."""
        poller = sockets.poller(
            self._commands.socket, self._beat.socket, self._neighbors.socket, self._waker
        )
        self._relocker.start()
        self._pulses.start()
        try:
            while not self._stop.is_set():
                poller.poll(POLL_MS)
                self._waker.clear()
                self._neighbors.serve()
                self._follow()
                self._watch_clock()
                self._commands.serve()
                self._beat.serve()
                self._tell()
        finally:
            self._stop.set()
            self._relocker.join(JOIN_S)
            self._pulses.join(JOIN_S)
            for part in (self._commands, self._beat, self._neighbors, self._notes):
                part.close()

    # --- verbs ---

    def _start(self, arguments: StartRun) -> Result:
        self._state.move("start")
        try:
            self._begin(arguments)
        except ScheeliteError as error:
            self._state.move("fail")
            self._problem = str(error)
            raise
        self._state.move("begin")
        self._problem, self._began = "", self._clock()
        return {"run": str(self._folder), "number": self._run}

    def _begin(self, arguments: StartRun) -> None:
        """Writer, core, digitizer: each must be there before the next is asked."""
        needed = [name for name in self._neighbors.names if name != "instruments"]
        lost = self._neighbors.lost(needed)
        if lost:
            raise NotConnectedError(
                f"expected all services to be up, no news from {', '.join(lost)}"
            )
        folder = numbers.new_run(self._settings.data_dir)
        self._folder, self._run, self._boot = folder, numbers.run_number(folder), ""
        try:
            self._ask_core("start", run=self._run, folder=str(folder), **_given(arguments))
        except ScheeliteError as error:
            if not isinstance(error, ServiceTimeoutError):  # else it may be beginning just now
                _remove_empty(folder)
            self._run = self._folder = None
            raise

    def _stop_run(self, arguments: StopRun) -> Result:
        self._state.move("stop")
        try:
            self._ask_core("stop", reason=arguments.reason)
        except ScheeliteError as error:
            self._fail(str(error))
            raise
        return {"run": str(self._folder), "number": self._run}

    def _take_lease(self, arguments: TakeLease) -> Result:
        before = self._lease.held
        held = self._lease.take(
            arguments.who, arguments.ticket, arguments.for_s, over=arguments.over
        )
        if before is None or before.seal != held.seal:
            from_whom = f" over from {before.who}: {arguments.over}" if before else ""
            self._notes.tell(f"{held.who} takes the control lease{from_whom}")
        return {"lease": msgspec.to_builtins(held)}

    def _release_lease(self, arguments: ReleaseLease) -> Result:
        held = self._lease.held
        self._lease.release(arguments.ticket)
        if held is not None:
            self._notes.tell(f"{held.who} gives the control lease back")
        return {}

    def _ask_core(self, verb: str, **arguments: object) -> Result:
        with sockets.calling(self._settings.endpoint("core.commands"), "core") as core:
            return core.call(verb, CORE_TIMEOUT_S, **arguments)

    # --- what happens by itself ---

    def _follow(self) -> None:
        core, folder = self._neighbors.state("core"), self._neighbors.state("folder")
        if core is not None:
            self._follow_core(core)
        if folder is not None and self._state.name == "stopping" and _folded(folder, self._run):
            self._state.move("complete")
            self._run = self._folder = None

    def _follow_core(self, core: State) -> None:
        run = core.body.get("run")
        last = core.body.get("last") or {}
        if run is not None and run == self._run:
            self._boot = core.boot
        if run is not None and self._run is None and self._state.allows("adopt"):
            self._adopt(int(run), Path(str(core.body["folder"])))
        elif run == self._run and core.state == "paused-by-disk" and self._state.allows("pause"):
            self._state.move("pause")
        elif run == self._run and core.state == "running" and self._state.allows("go on"):
            self._state.move("go on")
        elif last.get("run") == self._run and self._run is not None:
            self._last = last
            if core.state == "failed":
                self._fail(str(core.body.get("problem")))
            elif self._state.allows("end"):
                self._state.move("end")
        elif run is None and self._run is not None and self._boot not in ("", core.boot):
            self._end_unheard(core)

    def _end_unheard(self, core: State) -> None:
        """The core that recorded our run is gone, and the next one has nothing to go on with."""
        if core.body.get("problem"):
            self._fail(str(core.body["problem"]))
        elif self._state.allows("end"):
            self._last = {"run": self._run, "folder": str(self._folder), "reason": "the core ended"}
            self._state.move("end")

    def _adopt(self, run: int, folder: Path) -> None:
        """The core is recording a run that we know nothing of: one of us was restarted."""
        logger.warning("Run %d was found in progress.", run)
        self._state.move("adopt")
        self._run, self._folder, self._began = run, folder, self._clock()

    def _fail(self, problem: str) -> None:
        if self._state.allows("fail"):
            self._state.move("fail")
        self._problem = problem
        self._run = self._folder = None
        logger.error(problem)

    def _watch_clock(self) -> None:
        step = self._clock_health.look()
        if step is not None:
            self._notes.tell(str(step), "warning")

    # --- what is told ---

    def _tell(self) -> None:
        self._progress += 1
        if self._beat.due(self._state.name):
            self._beat.publish(self._state.name, progress=self._progress, body=self._body())

    # Any: the body's shape is documented at the top of this module
    def _body(self) -> dict[str, Any]:
        running, held = self._run is not None, self._lease.held
        return {
            "run": self._run,
            "folder": str(self._folder) if self._folder else None,
            "verbs": self._state.verbs,
            "elapsed_s": self._clock() - self._began if running else 0.0,
            "last": self._last,
            "services": {**self._neighbors.table(), "run": self._own_row()},
            "lease": None if held is None else msgspec.to_builtins(held),
            "clock": self._clock_health.table(),
            "relock": self._relocker.told(),
            "problem": self._trouble(),
        }

    def _trouble(self) -> str:
        pulses = self._pulses.problem and f"heater pulses: {self._pulses.problem}"
        return "; ".join(filter(None, (self._problem, self._relocker.problem, pulses)))

    def _own_row(self) -> dict[str, Any]:
        return {"pid": os.getpid(), "state": self._state.name, "problem": self._trouble()}


def _given(arguments: StartRun) -> dict[str, object]:
    return {
        key: value for key, value in msgspec.to_builtins(arguments).items() if value is not None
    }


def _folded(folder: State, run: int | None) -> bool:
    return bool(folder.body.get("runs", {}).get(str(run), {}).get("complete"))


def _remove_empty(folder: Path) -> None:
    """A run that never began leaves nothing behind, but its number is used up."""
    log = folder / "log"
    if any(log.glob("*.log")):
        return  # something was written: it is not ours to remove
    with suppress(OSError):  # what cannot be removed stays and hurts nobody
        (log / "owner").unlink(missing_ok=True)
        for inner in (log, folder):
            if inner.is_dir():
                inner.rmdir()
