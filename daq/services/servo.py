"""Holds the working points of sensors in a run by their TES bias; off unless the config has it.

A thread of run control, which must not wait for instruments. `daq.readout.servo` says what is done
for what the control pulses of a run say, this module when. Pulses count from `clean_s` on: the last
moment at which the bias moved or anything spoke against the channel (a pause, the guard, the
relock, time charged as unlocked or for temperature, a bath that is off, no news). A step is marked
dead as "heater", where everything is that stability costs: the lock holds, the bath is as it was,
and nobody else marks that cause, so that its end is ours. What is written goes through the
instruments service, with its hard limits and its lease; while somebody holds the lease nothing is
moved. A bias that somebody else moved, a step that is refused, one too far, or steps that make it
worse end it for the channel until the next run. At the end of a run a bias stays where it is.

Told in run control's state, per channel: {"state": "holding", "waiting" or "given up", "why",
"begin_a", "bias_a", "moved" and "deviation" (relative; null before the first), "sigma", "steps"}.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from daq.errors import CheckError, RefusedError, ScheeliteError, UsageError
from daq.model.operator import NOBODY, Operator
from daq.readout import servo
from daq.readout.servo import Course, Seen
from daq.services import processes
from daq.services.service import Result
from daq.services.watching import Watching
from daq.settings.detectors import Detector, Detectors
from daq.settings.loader import Settings, runtime_dir
from daq.settings.sections import Channels, Servo, Stability

if TYPE_CHECKING:
    from daq.services.detectorwires import Command, DetectorWires

logger = logging.getLogger(__name__)

LOOK_S = 1.0
RETRY_S = 30.0  # after what could not be done
LATE_S = 60.0  # a stream may be behind by what digitizers and their processes hold
MEMORY = "servo.json"  # in the runtime folder
RECORDS = ("running", "paused", "paused-by-disk")  # states of a core that has a run
OFF_POINT = ("unlocked", "temperature")  # causes of dead time in which pulses tell nothing
BIAS = "tes_bias"
OPERATOR = Operator("run control's servo")  # without the lease


class Memory(msgspec.Struct):
    """What a restart of run control must know."""

    run: int | None
    courses: dict[str, Course]


class BiasServo(Watching):
    """One channel after the other, each with a course of its own."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        now_s: Callable[[], float] = time.time,
        own: Operator = NOBODY,
    ) -> None:
        super().__init__("servo", settings, stop, own=own, elsewhere=OPERATOR)
        self._clock, self._now_s = clock, now_s
        self._stability = settings.section(Stability)
        self._detectors = held_of(settings)
        self._memory = runtime_dir() / MEMORY
        self._run: int | None = None
        self._courses: dict[str, Course] = {}
        self._wires: DetectorWires | None = None
        self._next_s: dict[str, float] = {}  # no step before, by our clock
        self._dead_s: dict[str, float] = {}  # charged so far for what speaks against a channel
        self._seen: dict[str, Seen] = {}
        self._why: dict[str, str] = {}
        self._begin_s, self._begin_problem = 0.0, ""
        # only this thread puts another mapping in its place; who reads sees one or the other
        self.told: Mapping[str, dict[str, Any]] = MappingProxyType({})  # Any: as the module says

    def run(self) -> None:
        """Look and act until told to stop."""
        if self._detectors:
            self._watch(("core", "instruments", "run"), LOOK_S)

    @property
    def problem(self) -> str:
        """Channels that are not held any more; empty where none is."""
        if self._detectors and self.ident and not self.is_alive() and not self._stop_asked.is_set():
            return "nobody holds working points any more: its thread has ended; see the log"
        lost = {n: one["why"] for n, one in self.told.items() if one["state"] == "given up"}
        each = [f"{name}'s working point is not held: {why}" for name, why in lost.items()]
        return "; ".join([self._begin_problem, *each] if self._begin_problem else each)

    # --- looking ---

    def _look(self) -> None:
        core = self._neighbors.state("core")
        if core is None:
            self._doubt_all("no news of the core")
        else:
            run = core.body.get("run") if core.state in RECORDS else None
            if run is None:
                self._end()
            elif run == self._run or self._begun(int(run)):
                for name in self._detectors:
                    self._look_at(name, core.state, core.body["channels"][name])
        self._tell()

    def _begun(self, run: int) -> bool:
        """Whether the biases are known from which this run began."""
        if self._clock() < self._begin_s:
            return False
        try:
            self._begin(run)
        except ScheeliteError as error:
            self._begin_s, problem = self._clock() + RETRY_S, f"no servo: {error}"
            if problem != self._begin_problem:
                self._notes.tell(problem, "warning")
            self._begin_problem = problem
            return False
        self._begin_problem = ""
        return True

    def _begin(self, run: int) -> None:
        from daq.services.detectorwires import DetectorWires  # half a second that most need not

        self._wires = DetectorWires(self._detectors, self._ask("instruments", "list"))
        self._run, self._courses = run, self._remembered(run)
        for table in (self._next_s, self._dead_s, self._seen, self._why):
            table.clear()

    def _course(self, name: str) -> Course:
        """Of a channel in this run, from here; what has nothing to move is given up at once."""
        if name not in self._courses:
            held_a, why = 0.0, "expected a bias to hold it by, found 0 A"
            try:
                held_a = self._held_a(name)
            except UsageError as error:
                why = str(error)
            self._courses[name] = Course(held_a, held_a, self._now_s(), begin_k=self._bath_k(name))
            if not held_a:
                raise CheckError(why)
            self._keep()
        return self._courses[name]

    def _end(self) -> None:
        """What was moved stays."""
        for name, course in self._courses.items() if self._run is not None else ():
            if course.n_steps:
                self._notes.tell(f"servo: {_journey(name, course)}, and stays there")
        self._run, self._courses = None, {}

    def _look_at(self, name: str, state: str, told: dict[str, Any]) -> None:  # Any: JSON
        known = self._courses.get(name)
        failed = known is None or known.moving  # to know its bias, and waits to try again
        waits = failed and self._clock() < self._next_s.get(name, 0.0)
        if waits or (known is not None and known.given_up):
            return
        try:
            course = self._course(name)
            if course.moving:
                self._recover(name, course)
            else:
                self._hold(name, course, state, told)
        except CheckError as error:
            self._give_up(name, str(error))
        except ScheeliteError as error:  # an instrument, or the core: it may come back
            self._next_s[name] = self._clock() + RETRY_S
            if self._why.get(name) != str(error):
                self._notes.tell(f"servo of {name}: {error}", "warning")
            self._why[name] = str(error)

    def _hold(self, name: str, course: Course, state: str, told: dict[str, Any]) -> None:
        doubt = self._doubt(name, course, state, told)
        if doubt:
            self._doubted(name, course, doubt)
            return
        found = self._found(name, course, told["gain"]["pulses"])
        if found is None or self._clock() < self._next_s.get(name, 0.0):
            return
        servo.judge(course, self._how, found)
        wanted = servo.step(course, self._how, found)
        self._why[name] = "" if servo.reachable(self._how, found) else "further off than a drift is"
        if wanted and not self._leased(name):
            self._step(name, course, wanted, found)

    def _found(self, name: str, course: Course, pulses: list[list[float]]) -> Seen | None:
        """What the last control pulses say of the bias that is; None while there are too few."""
        n = self._how.pulses
        heights = [height for t_s, height in pulses if t_s > course.clean_s][-n:]
        if len(heights) < n:
            self._why[name] = f"{len(heights)} of {n} control pulses so far"
            return None
        found = self._seen[name] = servo.seen(heights, course.relative)
        return found

    # --- what speaks against it ---

    # Any: JSON, as the core's module says
    def _doubt(self, name: str, course: Course, state: str, told: dict[str, Any]) -> str:
        """Why control pulses tell nothing of the working point now; "" where they do."""
        guard, gain = told.get("guard") or {}, told.get("gain") or {}
        if state != "running":
            return f"the run is {state}"
        if guard.get("standing"):
            return f"the guard finds {guard['standing']}"
        run = self._neighbors.body("run") or {}
        relock = run.get("relock", {}).get(name, {}).get("state", "locked")
        if relock != "locked":
            return f"its SQUID is {relock}"
        dead_s = sum(told["dead_s"][cause] for cause in OFF_POINT)
        before_s, self._dead_s[name] = self._dead_s.get(name, dead_s), dead_s
        if dead_s > before_s:
            return "time was charged as unlocked or for temperature"
        return self._bath_doubt(name, course) or self._stale(gain.get("pulses", []))

    def _bath_doubt(self, name: str, course: Course) -> str:
        thermometer = self._detectors[name].thermometer
        if thermometer is None:
            return ""
        bath_k = self._bath_k(name)
        if bath_k is None:
            return f"no fresh reading of {thermometer}"
        if course.begin_k is None:
            course.begin_k = bath_k
        if abs(bath_k - course.begin_k) > self._how.bath_within_k:
            return f"the bath is at {bath_k * 1e3:.2f} mK, it was at {course.begin_k * 1e3:.2f} mK"
        return ""

    def _bath_k(self, name: str) -> float | None:
        """The bath, where it can be trusted."""
        thermometer = self._detectors[name].thermometer
        readings = (self._neighbors.body("instruments") or {}).get("readings", {})
        reading = readings.get(".".join(thermometer)) if thermometer else None
        value = None if reading is None or reading["stale"] else reading["value"]
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    def _stale(self, pulses: list[list[float]]) -> str:
        turn_s = 2 * self._stability.pulses * self._stability.every_s  # control pulses and a rung
        if not pulses:
            return "no control pulses yet"
        quiet_s = self._now_s() - pulses[-1][0]
        return f"no control pulse for {quiet_s:.0f} s" if quiet_s > 2 * turn_s + LATE_S else ""

    def _doubted(self, name: str, course: Course, why: str) -> None:
        """Start anew: what comes from now on counts, and what the last step did is not known."""
        course.clean_s, course.before, self._why[name] = self._now_s(), 0.0, why
        self._seen.pop(name, None)

    def _doubt_all(self, why: str) -> None:
        for name, course in self._courses.items():
            if not course.given_up:
                self._doubted(name, course, why)

    def _leased(self, name: str) -> bool:
        """Somebody commands: his are the instruments. No news of ourselves is as bad."""
        run = self._neighbors.body("run")
        held = {"who": "run control knows not who"} if run is None else run.get("lease")
        if held is not None:
            self._why[name] = f"{held['who']} holds the control lease"
        return held is not None

    # --- acting ---

    def _step(self, name: str, course: Course, wanted: float, found: Seen) -> None:
        """Move it, and have the time it takes charged, whatever comes of it."""
        before_a = self._held_a(name)
        if not math.isclose(before_a, course.bias_a, rel_tol=servo.SAME):
            raise CheckError(
                f"somebody else moved its bias from {course.bias_a:g} to {before_a:g} A"
            )
        self._next_s[name] = self._clock() + self._how.every_s
        course.moving = True
        self._keep()
        refused: UsageError | None = None
        try:
            self._ask("core", "mark_dead", cause="heater", channels=[name])
            self._write(name, before_a * (1 + wanted))
        except UsageError as error:
            refused = error
        held_a = self._arrive(name, course)
        if isinstance(refused, RefusedError):  # somebody took the lease, or the run is over
            raise refused
        if refused is not None:
            raise CheckError(str(refused))
        now_s = self._now_s()
        servo.took(course, self._how, held_a=held_a, wanted=wanted, found=found, at_s=now_s)
        self._keep()
        self._say(name, course, before_a, found)

    def _arrive(self, name: str, course: Course) -> float:
        """Let it settle, and have the time count as live again; what the electronics hold."""
        self._stop_asked.wait(self._how.settle_s)
        self._ask("core", "mark_alive", cause="heater", channels=[name])
        held_a = self._held_a(name)
        course.moving = False
        return held_a

    def _recover(self, name: str, course: Course) -> None:
        """End a step that something broke off, ours or that of a run control before us."""
        held_a = self._arrive(name, course)
        course.bias_a, course.clean_s, course.before = held_a, self._now_s(), 0.0
        self._keep()
        self._notes.tell(f"servo: a step that was broken off is over: {_journey(name, course)}")
        if abs(course.moved) > self._how.max_total + self._how.max_step:
            raise CheckError(f"somebody else moved its bias, to {held_a:g} A")

    def _give_up(self, name: str, why: str) -> None:
        self._courses[name].given_up = why
        self._keep()
        self._notes.tell(f"servo of {name} is given up until the next run: {why}", "error")

    def _say(self, name: str, course: Course, before_a: float, found: Seen) -> None:
        off = f"its control pulse over bias is off by {found.deviation:+.2%} +- {found.sigma:.2%}"
        if course.bias_a == before_a:
            self._notes.tell(f"{name}: {off}, but its bias has no step so small")
            return
        self._notes.tell(
            f"run control's servo moved {name}'s TES bias from {before_a:.5g} to "
            f"{course.bias_a:.5g} A, for {off}; {course.moved:+.2%} since the run began"
        )

    def _held_a(self, name: str) -> float:
        """The bias that the electronics say they hold."""
        wire = self._wire.wire(name, BIAS)
        if wire.offer().source != "read":
            raise UsageError(f"expected electronics that can be asked for {BIAS}, found none")
        return wire.held(self._call(wire.read())).number

    def _write(self, name: str, value_a: float) -> None:
        self._call(self._wire.wire(name, BIAS).write(value_a))

    def _call(self, command: Command) -> Result:
        return self._ask("instruments", command.verb, **command.arguments)

    @property
    def _wire(self) -> DetectorWires:
        assert self._wires is not None  # or no run has begun
        return self._wires

    @property
    def _how(self) -> Servo:
        assert self._stability.servo is not None  # or there were no detectors
        return self._stability.servo

    # --- what is kept and told ---

    def _keep(self) -> None:
        courses = {name: msgspec.to_builtins(one) for name, one in self._courses.items()}
        processes.write_json(self._memory, {"run": self._run, "courses": courses})

    def _remembered(self, run: int) -> dict[str, Course]:
        """How a run control before us moved the biases in this run."""
        try:
            held = msgspec.json.decode(self._memory.read_bytes(), type=Memory)
        except (OSError, msgspec.DecodeError):
            return {}  # as at the first start
        courses = held.courses if held.run == run else {}
        return {name: one for name, one in courses.items() if name in self._detectors}

    def _tell(self) -> None:
        self.told = MappingProxyType({n: self._row(n, one) for n, one in self._courses.items()})

    def _row(self, name: str, course: Course) -> dict[str, Any]:  # Any: as the module says
        found, why = self._seen.get(name), course.given_up or self._why.get(name, "")
        return {
            "state": "given up" if course.given_up else "waiting" if why else "holding",
            "why": why,
            "begin_a": course.begin_a,
            "bias_a": course.bias_a,
            "moved": course.moved if course.begin_a else 0.0,
            "deviation": None if found is None else found.deviation,
            "sigma": None if found is None else found.sigma,
            "steps": course.n_steps,
        }


def held_of(settings: Settings) -> dict[str, Detector]:
    """The detectors whose working point is to be held; {} without a servo."""
    how, detectors = settings.section(Stability).servo, settings.sections.get("detectors")
    if how is None or not isinstance(detectors, Detectors):
        return {}
    entries = settings.section(Channels).root
    chosen = detectors.root if how.channels is None else how.channels
    return {name: detectors.root[name] for name in chosen if entries[name].enabled}


def _journey(name: str, course: Course) -> str:
    """Where a bias went in a run."""
    return (
        f"{name}'s TES bias went from {course.begin_a:.5g} to {course.bias_a:.5g} A "
        f"({course.moved:+.2%}) in {course.n_steps} steps"
    )
