"""Locks anew what the guard finds lost, proves it, and says so; gives up loudly.

A thread of run control, which must not wait for instruments. For each channel whose SQUID the
config names: what stands for long enough, or too many quanta that were slipped, is marked dead as
unlocked, the loop is reset through the instruments service, and marked alive only when the
electronics say that it is locked, the next samples are faultless by the guard's own rules, and a
test flux comes out as it must where [detectors] tells the wires.
Otherwise it stays dead and is tried again, after waits that double.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from daq.errors import CheckError, RefusedError, ScheeliteError
from daq.model.operator import NOBODY, Operator
from daq.services import processes
from daq.services.service import Result
from daq.services.watching import Watching
from daq.settings.detectors import Detectors
from daq.settings.loader import Settings, runtime_dir
from daq.settings.sections import Channels, Kinds, Relock
from daq.wire import sockets

if TYPE_CHECKING:
    from daq.services.detectorwires import Command

logger = logging.getLogger(__name__)

LOOK_S = 0.2
SOON_S = 60.0  # a lock that is lost within this time did not last
LATE_S = 60.0  # a stream may be behind by what digitizers and their processes hold
TEST_S, TEST_SETTLE_NS = 0.2, 50_000_000  # of each of the three outputs of a test flux
MEMORY = "relock.json"  # in the runtime folder
LOCKED = "LOCKED"
OVERLOAD_S = 10.0  # for so long after an overload a hit of the guard need not last
# of the part that locks a SQUID
MODE, RESET, OVERLOADS = "mode", "reset_loop", "overloads.overload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the lock of a channel stands: "locked", "unlocked" (being tried) or "given up"."""

    state: str = "locked"
    tries: int = 0
    why: str = ""  # what the guard found
    problem: str = ""  # of the last try
    next_s: float = 0.0  # no try before, by our clock
    n_relocks: int = 0  # in this run, that were proven
    proven_s: float = -math.inf  # when the last one was
    n_soon: int = 0  # locks that were lost soon, one after the other


class Memory(msgspec.Struct):
    """What a restart of run control must know."""

    run: int | None
    unlocked: list[str]


class Relocker(Watching):
    """One try at a time, of the channel that has waited longest."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        own: Operator = NOBODY,
    ) -> None:
        # instruments obey who holds the lease; that a lock is lost is so whoever holds it
        super().__init__("relock", settings, stop, own=own, elsewhere=NOBODY)
        self._clock, self._now_ns = clock, now_ns
        self._how = settings.section(Relock)
        entries, kinds = settings.section(Channels).root, settings.section(Kinds).root
        self._squids = {
            name: entry.squid
            for name, entry in entries.items()
            if entry.squid and entry.enabled and kinds[entry.kind].guard
        }
        self._orders: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._run: int | None = None
        self._memory = runtime_dir() / MEMORY
        self._counted: dict[str, float] = {}  # overloads, by channel, as the electronics count
        self._overloaded_s: dict[str, float] = {}  # when they rose last, by our clock
        # only this thread puts another mapping in its place; who reads sees one or the other
        self.table: MappingProxyType[str, Standing] = MappingProxyType({})

    def run(self) -> None:
        """Look and act until told to stop."""
        if not self._squids:
            return
        heard = [
            name for name in ("core", "instruments") if name in ("core", *self._settings.sections)
        ]
        self._memory.parent.mkdir(0o700, parents=True, exist_ok=True)
        self._watch(heard, LOOK_S)

    # Any: a part of run control's state, as the conductor's module says
    def told(self) -> dict[str, dict[str, Any]]:
        """How the channels stand that are not as they were at the start of the run."""
        now = self._clock()
        return {
            name: {
                "state": one.state,
                "tries": one.tries,
                "why": one.why,
                "problem": one.problem,
                "next_try_s": max(one.next_s - now, 0.0) if one.state == "unlocked" else 0.0,
                "relocks": one.n_relocks,
            }
            for name, one in self.table.items()
        }

    @property
    def problem(self) -> str:
        """Channels that were given up; empty where none was."""
        if self._squids and self.ident and not self.is_alive() and not self._stop_asked.is_set():
            return "nobody locks SQUIDs any more: its thread has ended; see the log"
        lost = {n: one.problem for n, one in self.table.items() if one.state == "given up"}
        return "; ".join(f"{name} could not be locked: {why}" for name, why in lost.items())

    def order(self, name: str, why: str) -> None:
        """Have a channel locked anew at the next look, whatever the guard says; from any thread."""
        self._orders.put((name, why))

    # --- looking ---

    def _obey(self) -> None:
        while not self._orders.empty():
            name, why = self._orders.get()
            self._put(name, replace(self._of(name), state="locked", why=why, next_s=0.0))
            self._try(name)

    def _look(self) -> None:
        core = self._neighbors.state("core")
        if core is None or core.state != "running":
            return
        if core.body.get("run") != self._run:
            self._run = core.body.get("run")
            self.table = MappingProxyType(self._remembered())
        self._obey()
        self._count_overloads()
        due = [name for name in self._squids if self._is_due(name, core.body)]
        if due:
            self._try(min(due, key=lambda name: self._of(name).next_s))

    def _is_due(self, name: str, body: dict[str, Any]) -> bool:
        one = self._of(name)
        if one.state == "given up" or self._clock() < one.next_s:
            return False
        if one.state == "unlocked":
            return True
        guard = body.get("channels", {}).get(name, {}).get("guard")
        why = "" if guard is None else self._reason(name, guard)
        if why:
            self._put(name, replace(one, why=why))
        return bool(why)

    def _reason(self, name: str, guard: dict[str, Any]) -> str:
        overloaded = self._clock() - self._overloaded_s.get(name, -math.inf) < OVERLOAD_S
        if guard["standing"] and (overloaded or guard["for_s"] >= self._how.after_s):
            counted = ", and an overload of the electronics" if overloaded else ""
            return f"{guard['standing']} for {guard['for_s']:.1f} s{counted}"
        if abs(guard["quanta"]) >= self._how.most_phi0:
            return f"{guard['quanta']:+d} flux quanta slipped"
        return ""

    def _count_overloads(self) -> None:
        """Note where the electronics, if they count, have counted more overloads than before."""
        instruments = self._neighbors.state("instruments")
        readings = {} if instruments is None else instruments.body.get("readings", {})
        for name, squid in self._squids.items():
            parts = [f"{squid}.{OVERLOADS}_{side}" for side in ("up", "down")]
            values = [readings[part]["value"] for part in parts if part in readings]
            if not values or any(isinstance(v, str) or v is None for v in values):
                continue
            n, before = sum(values), self._counted.get(name)
            if before is not None and n > before:
                self._overloaded_s[name] = self._clock()
                self._notes.tell(
                    f"{name}: {n - before:.0f} overloads of the electronics", "warning"
                )
            self._counted[name] = n

    def _of(self, name: str) -> Standing:
        return self.table.get(name, Standing())

    def _put(self, name: str, one: Standing) -> None:
        before = _unlocked(self.table)
        self.table = MappingProxyType({**self.table, name: one})
        if _unlocked(self.table) != before:
            processes.write_json(
                self._memory, {"run": self._run, "unlocked": _unlocked(self.table)}
            )

    def _remembered(self) -> dict[str, Standing]:
        """What a run control before us marked dead in this run and nobody else would end."""
        try:
            held = msgspec.json.decode(self._memory.read_bytes(), type=Memory)
        except (OSError, msgspec.DecodeError):
            return {}  # as at the first start
        names = held.unlocked if held.run == self._run else []
        again = Standing(state="unlocked", why="run control was restarted")
        return {name: again for name in names if name in self._squids}

    # --- acting ---

    def _try(self, name: str) -> None:
        one = self._of(name)
        try:
            if one.state == "locked":
                self._ask("core", "mark_dead", cause="unlocked", channels=[name])
                one = replace(one, state="unlocked", tries=0)
                self._put(name, one)
                self._notes.tell(f"{name} is unlocked: {one.why}", "warning")
            self._relock(name)
            self._prove(name, self._now_ns())
            self._ask("core", "mark_alive", cause="unlocked", channels=[name])
        except RefusedError as error:  # somebody else commands, or the run is over: no fault of it
            wait_s = self._how.first_wait_s
            self._put(name, replace(one, problem=str(error), next_s=self._clock() + wait_s))
        except ScheeliteError as error:
            self._failed(name, str(error))
        else:
            self._proven(name)

    def _proven(self, name: str) -> None:
        """A lock that does not last is not made again at once."""
        one, now = self._of(name), self._clock()
        n_soon = one.n_soon + 1 if now - one.proven_s < SOON_S else 0
        done = replace(
            one,
            state="locked",
            tries=one.tries + 1,
            problem="",
            next_s=now + (self._wait_s(n_soon) if n_soon else 0.0),
            n_relocks=one.n_relocks + 1,
            proven_s=now,
            n_soon=n_soon,
        )
        self._put(name, done)
        self._notes.tell(f"{name} is locked again and proven, at try {done.tries}", "warning")

    def _wait_s(self, n: int) -> float:
        """The n-th wait, from 0."""
        return min(self._how.first_wait_s * 2.0 ** min(n, 60), self._how.longest_wait_s)

    def _failed(self, name: str, problem: str) -> None:
        one, wait_s = self._of(name), self._wait_s(self._of(name).tries)
        next_s = self._clock() + wait_s
        if one.state == "locked":  # the core could not even be told: nothing has begun
            self._put(name, replace(one, problem=problem, next_s=next_s))
            return
        tries = one.tries + 1
        state = "given up" if tries >= self._how.tries else "unlocked"
        self._put(name, replace(one, state=state, tries=tries, problem=problem, next_s=next_s))
        what = "is given up" if state == "given up" else f"is tried again in {wait_s:g} s"
        level = "error" if state == "given up" else "warning"
        self._notes.tell(f"{name} {what}, after {tries} tries to lock it: {problem}", level)

    def _relock(self, name: str) -> None:
        instrument, _, part = self._squids[name].partition(".")
        self._ask("instruments", "act", instrument=instrument, action=f"{part}.{RESET}")
        held = self._ask("instruments", "read", instrument=instrument, parameter=f"{part}.{MODE}")
        if held["value"] != LOCKED:
            raise CheckError(
                f"expected {part}.{MODE} {LOCKED} after a reset, found {held['value']}"
            )

    def _prove(self, name: str, since_ns: int) -> None:
        """CheckError with all that speaks against a lock in the samples converted since then."""
        # here: they take half a second of every start of run control, and most nights need none
        from daq.acquire.lockproof import doubts
        from daq.services.guarding import guarding_of

        entry = self._settings.section(Channels).root[name]
        kind = self._settings.section(Kinds).root[entry.kind]
        assert kind.guard is not None  # or it were not one of ours
        endpoint = self._settings.endpoint("core.raw")
        first, _ = sockets.raw_samples(endpoint, name, 1, LATE_S, since_ns)
        guarding = guarding_of(kind.guard, first, kind.decimation)
        n = max(round(self._how.prove_s * first.rate_hz), 2 * guarding.window)
        _, data = sockets.raw_samples(endpoint, name, n, LATE_S + n / first.rate_hz)
        found = doubts(np.frombuffer(data, "<i2").astype(np.int16), guarding, first.rate_hz)
        found = found or [each for each in [self._test_loop(name)] if each]
        if found:
            raise CheckError(f"expected a faultless lock, found that {' and that '.join(found)}")

    def _test_loop(self, name: str) -> str:
        """What a test flux says against the lock of a detector whose wires the config tells."""
        detectors = self._settings.sections.get("detectors")
        if not isinstance(detectors, Detectors) or name not in detectors.root:
            return ""
        from daq.services import looptest  # as in _prove
        from daq.services.detectorwires import DetectorWires

        wires = DetectorWires({name: detectors.root[name]}, self._ask("instruments", "list"))

        def call(command: Command) -> Result:
            return self._ask("instruments", command.verb, **command.arguments)

        return looptest.doubt(name, wires, call, lambda: self._output_v(name))

    def _output_v(self, name: str) -> float:
        """The output from now on: the middle of what it is, which pulses move least."""
        since_ns, endpoint = self._now_ns() + TEST_SETTLE_NS, self._settings.endpoint("core.raw")
        first, _ = sockets.raw_samples(endpoint, name, 1, LATE_S, since_ns)
        n = max(1, round(TEST_S * first.rate_hz))
        _, data = sockets.raw_samples(endpoint, name, n, LATE_S)
        return float(np.median(np.frombuffer(data, "<i2"))) * first.volts_per_count


def _unlocked(table: Mapping[str, Standing]) -> list[str]:
    """The channels that are marked dead."""
    return sorted(name for name, one in table.items() if one.state != "locked")
