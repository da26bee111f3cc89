"""Run control: applies an operator's verb to all services in order, and follows what happens.

State body: {"run": number or null, "folder", "verbs", "elapsed_s", "last": {"run", "folder",
"reason"} or null, "services": {name: {"pid", "state", "problem"}}, "lease": {"who", "since_ns",
"until_ns", "seal"} or null, "own_seal" of run control's own ticket, "clock": {"synchronized",
"steps", "last_step_s"}, "relock": {channel: {"state": "locked", "unlocked" or "given up", "tries",
"why", "problem", "next_try_s", "relocks"}}, "servo": {channel: as `daq.services.servo` says; none
without [stability.servo]}, "alarms": [{"name", "severity", "state", "watch",
"value", "unit", "since_ns", "acknowledged_by", "silent_until_ns", "sentence"}] of those that stand,
are over unseen or silenced, "night": {"name", "folder", "state", "part", "round", "began_ns",
"until_ns", "ended_ns", "outcome", "steps" so far, "report"} or null, "web" (address of the page, ""
without one), "problem"}.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from daq.errors import (
    NoNewsError,
    NotConnectedError,
    RefusedError,
    ScheeliteError,
    ServiceTimeoutError,
    UsageError,
)
from daq.model.operator import Operator
from daq.run.lease import Lease, seal
from daq.run.past import Past
from daq.run.quantities import Quantity, gathered
from daq.run.states import RunState
from daq.services import processes
from daq.services.alarming import Alarming
from daq.services.authority import Notes
from daq.services.cataloguing import Cataloguing
from daq.services.clockhealth import ClockHealth
from daq.services.marks import Comment, Label, SetLabel
from daq.services.neighbors import Neighbors, service_names
from daq.services.nightclock import night_clock, speed_of
from daq.services.nightkeeper import Deeds, NightKeeper
from daq.services.nightsteps import Facts, Start
from daq.services.progress import Relay
from daq.services.relock import Relocker
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.services.servo import BiasServo
from daq.services.stability import HeaterPulses
from daq.services.web import WebPage
from daq.settings.loader import Settings, runtime_dir
from daq.settings.sections import Channels
from daq.store import numbers
from daq.wire import sockets
from daq.wire.schemas import State

logger = logging.getLogger(__name__)

POLL_MS = 100
CORE_TIMEOUT_S = 20.0
# state of the core -> our own -> the move that makes ours follow
FOLLOWED: dict[str, dict[str, str]] = {
    "paused-by-disk": {"running": "no room", "paused": "no room"},
    "running": {"paused-by-disk": "room", "paused": "resume"},
    "paused": {"paused-by-disk": "room in a pause", "running": "pause"},
}
MOST_NAMES, MOST_ROWS = 24, 500  # of an answer of history, which is one message
JOIN_S = 3.0  # a try to lock that is under way ends with the process


class StartRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "start"; `samples` as the core takes them."""

    comment: str = ""
    duration_s: float | None = None
    samples: dict[str, int] | None = None
    label: Label | None = None


class TakeLease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "lease-take": for how long, and why where it is taken over from another."""

    who: str
    ticket: str
    for_s: float
    over: str = ""


class ReleaseLease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "lease-release"."""

    ticket: str


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "history": quantities as alarms name them."""

    names: Annotated[list[str], Meta(max_length=MOST_NAMES)]


class StopRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "stop"."""

    reason: str = "stopped by the operator"


def targets_of(settings: Settings) -> tuple[str, ...]:
    """The channels with a crystal's mass."""
    entries = settings.section(Channels).root
    return tuple(name for name in settings.channel_names if entries[name].mass_g)


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
        self._told_ns = 0  # when the core did what we last asked; its older states are no news
        self._last: Result | None = None
        self._problem = ""
        self._progress = 0
        verbs = self._own_verbs()
        endpoint = settings.endpoint
        self._lease, self._clock_health = Lease(time.time_ns), ClockHealth()
        self._heard, self._targets = False, targets_of(settings)
        self._ticket = ""  # of who took the lease last
        self._notes = Notes(endpoint("core.commands"))
        runtime = processes.private_folder(runtime_dir())
        now_ns = self._now_ns = night_clock(speed_of(settings), runtime)
        self._alarming = Alarming(
            settings,
            runtime,
            self._notes,
            act=self._act,
            ticket=lambda: self._ticket,
            now_ns=now_ns,
        )
        deeds = Deeds(
            start=self._start_for_night,
            stop=lambda reason: self._stop_run(StopRun(reason)),
            ask_core=self._ask_core,
            ticket=lambda: self._ticket,
        )
        self._nights = NightKeeper(settings, self._notes, deeds, now_ns)
        self._relay, self._past = Relay(settings), Past()
        self._cataloguing, self._web = Cataloguing(settings.data_dir), WebPage(settings)
        verbs |= self._alarming.verbs | self._nights.verbs | self._relay.verbs
        self._commands = CommandServer(
            endpoint("run.commands"),
            verbs,
            guard=lambda request: self._lease.check(request.ticket),
            audit=self._notes.audit("run control"),
        )
        self._beat = Beat(endpoint("run.state"), "run")
        states = {name: endpoint(f"{name}.state") for name in service_names(settings)}
        self._neighbors = Neighbors(states)
        self._own = Operator("run control", secrets.token_hex(16))
        self._relocker = Relocker(settings, stop, own=self._own)
        self._pulses = HeaterPulses(settings, stop)
        self._servo = BiasServo(settings, stop, own=self._own)

    # Any: each verb has its own arguments
    def _own_verbs(self) -> dict[str, Verb[Any]]:
        return {
            "start": Verb(StartRun, self._start, "act"),
            "stop": Verb(StopRun, self._stop_run, "safe"),
            "pause": Verb(Nothing, lambda _: self._hold("pause"), "act"),
            "resume": Verb(Nothing, lambda _: self._hold("resume"), "act"),
            "comment": Verb(Comment, self._comment),
            "label": Verb(SetLabel, self._label, "act"),
            "lease-take": Verb(TakeLease, self._take_lease),
            "lease-release": Verb(ReleaseLease, self._release_lease),
            "history": Verb(History, self._history),
            "status": Verb(Nothing, lambda _: {"state": self._state.name, **self._body()}),
        }

    def run(self) -> None:
        """Serve until told to stop; a run in progress goes on in the core."""
        poller = sockets.poller(
            self._commands.socket,
            self._beat.socket,
            self._neighbors.socket,
            self._relay.socket,
            self._waker,
        )
        self._relocker.start()
        self._pulses.start()
        self._servo.start()
        try:
            while not self._stop.is_set():
                poller.poll(POLL_MS)
                self._waker.clear()
                self._neighbors.serve()
                self._follow()
                self._watch_clock()
                self._watch()
                self._commands.serve()
                self._beat.serve()
                self._relay.serve()
                self._tell()
        finally:
            self._stop.set()
            self._relocker.join(JOIN_S)
            self._pulses.join(JOIN_S)
            self._servo.join(JOIN_S)
            for watcher in (self._alarming, self._nights, self._cataloguing, self._web):
                watcher.close()
            for part in (
                self._commands, self._beat, self._neighbors, self._notes, self._relay,
            ):  # fmt: skip
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
            raise NoNewsError(f"expected all services to be up, no news from {', '.join(lost)}")
        folder = numbers.new_run(self._settings.data_dir)
        self._folder, self._run, self._boot = folder, numbers.run_number(folder), ""
        try:
            self._ask_core("start", run=self._run, folder=str(folder), **_given(arguments))
        except ScheeliteError as error:
            if not isinstance(error, ServiceTimeoutError):  # else it may be beginning just now
                _remove_empty(folder)
            self._run = self._folder = None
            raise

    def _hold(self, verb: str) -> Result:
        """Pause or resume; the state follows what the core has done."""
        self._state.check(verb)
        self._told_ns = int(self._ask_core(verb)["t_ns"])
        self._state.move(verb)
        return {"run": str(self._folder), "number": self._run}

    def _comment(self, said: Comment) -> Result:
        self._state.move("comment")
        self._ask_core("comment", **msgspec.to_builtins(said))
        return {"run": str(self._folder), "number": self._run}

    def _label(self, asked: SetLabel) -> Result:
        self._state.move("label")
        self._ask_core("label", label=asked.label)
        return {"run": str(self._folder), "number": self._run}

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
        self._ticket = arguments.ticket
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

    def _history(self, asked: History) -> Result:
        """{"series": {name: [[UTC [s], lowest, highest]]}} since this run control began."""
        return {"series": self._past.of(asked.names, MOST_ROWS)}

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
            if self._folder is not None:
                self._cataloguing.ended(self._folder)
            self._run = self._folder = None

    def _follow_core(self, core: State) -> None:
        run = core.body.get("run")
        last = core.body.get("last") or {}
        if run is not None and run == self._run:
            self._boot = core.boot
        if run is not None and self._run is None and self._state.allows("adopt"):
            self._adopt(int(run), Path(str(core.body["folder"])))
        elif run == self._run and run is not None and self._moved_by(core):
            self._state.move(FOLLOWED[core.state][self._state.name])
        elif last.get("run") == self._run and self._run is not None:
            self._last = last
            if core.state == "failed":
                self._fail(str(core.body.get("problem")))
            elif self._state.allows("end"):
                self._state.move("end")
        elif run is None and self._run is not None and self._boot not in ("", core.boot):
            self._end_unheard(core)

    def _moved_by(self, core: State) -> bool:
        """Whether the core's state is news of a pause, or of its end, that we do not know yet."""
        return core.t_ns >= self._told_ns and self._state.name in FOLLOWED.get(core.state, {})

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

    def _watch(self) -> None:
        """Judge the alarms; the heartbeat stops where a service is lost."""
        self._alarming.look(self._quantities, well=not self._neighbors.lost())
        if self._heard or self._neighbors.body("core") is not None:
            self._heard = True  # before that we would not know of a run in progress
            self._nights.tick(self._facts)

    def _facts(self) -> Facts:
        """What a night sees."""
        core = self._neighbors.body("core") or {}
        last = core.get("last") or self._last or {}
        return Facts(
            t_ns=self._now_ns(),
            quantities=self._quantities(),
            state=self._state.name,
            run=self._run,
            last_run=last.get("run"),
            last_reason=str(last.get("reason", "")),
            targets=self._targets,
            speed=speed_of(self._settings),
        )

    def _start_for_night(self, ask: Start) -> int:
        """The number of a run begun; a digitizer that does not stream yet is worth a wait."""
        self._refuse_silence()
        try:
            arguments = StartRun(
                ask.comment, ask.duration_s, label=msgspec.convert(ask.label, Label)
            )
            return int(self._start(arguments)["number"])
        except (RefusedError, UsageError) as error:
            raise NotConnectedError(str(error)) from error

    def _refuse_silence(self) -> None:
        """A try in vain uses up a run's number: none where a digitizer is known to send nothing."""
        rows = (self._neighbors.body("core") or {}).get("digitizers", {})
        silent = [name for name, row in rows.items() if row["state"] in ("absent", "silent")]
        if silent:
            raise NotConnectedError(f"no samples from {', '.join(silent)}")

    def _quantities(self) -> dict[str, Quantity]:
        core, instruments = self._neighbors.body("core"), self._neighbors.body("instruments")
        return gathered(core, instruments, self._neighbors.table())

    def _act(self, action: str, reason: str) -> None:
        """What an alarm does to the run; where it cannot, the run's log says so."""
        try:
            if action == "end-run" and self._state.allows("stop"):
                self._stop_run(StopRun(reason[:200]))
            if action == "pause" and self._state.allows("pause"):
                self._hold("pause")
            if action.startswith("relock "):
                self._relocker.order(action.removeprefix("relock "), reason)
        except ScheeliteError as error:
            self._notes.tell(f"{action} was not done: {error}", "error")

    # --- what is told ---

    def _tell(self) -> None:
        self._progress += 1
        if self._beat.due(self._state.name):
            body = self._body()
            self._beat.publish(self._state.name, progress=self._progress, body=body)
            told, quantities = {"state": self._state.name, **body}, self._quantities()
            self._past.add(time.time(), quantities)
            self._web.put(told, self._neighbors.body("core"), quantities)

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
            "own_seal": seal(self._own.ticket),
            "clock": self._clock_health.table(),
            "alarms": self._alarming.table,
            "night": self._nights.body,
            "web": self._web.url,
            "relock": self._relocker.told(),
            "servo": dict(self._servo.told),
            "problem": self._trouble(),
        }

    def _trouble(self) -> str:
        parts = (
            self._relocker, self._pulses, self._servo, self._alarming, self._nights,
            self._cataloguing,
        )  # fmt: skip
        return "; ".join(filter(None, [self._problem, *(part.problem for part in parts)]))

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
