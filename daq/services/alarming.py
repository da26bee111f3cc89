"""The alarms in run control: judged twice a second, told to people, acted upon, kept in the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from daq.errors import ScheeliteError
from daq.model.operator import Operator
from daq.run.alarms import Alarms, Event, Rule
from daq.run.quantities import Quantity
from daq.services.authority import Notes
from daq.services.notices import Notice, Notices, Pulse
from daq.services.service import Result, Verb
from daq.settings.loader import Settings
from daq.settings.sections import Experiment
from daq.settings.watch import AlarmRule, AlarmRules, Heartbeat, Notifiers, Order, channel_of
from daq.store import disk
from daq.wire import sockets

logger = logging.getLogger(__name__)

NS = 10**9
LOOK_S = 0.5
SETTLE_S = 5.0  # after our start, until everybody has been heard
ORDER_S = 20.0
FILE = "alarms.json"
LEVELS = {"info": "info", "warning": "warning", "critical": "error"}
LONGEST_S = 30 * 86_400.0


class AcknowledgeAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "alarm-acknowledge"."""

    name: str
    who: str


class SilenceAlarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "alarm-silence": for so long from now, 0 to end it."""

    name: str
    for_s: float
    who: str


def rules_of(settings: Settings) -> dict[str, AlarmRule]:
    """The config's alarms."""
    section = settings.sections.get("alarms")
    return dict(section.root) if isinstance(section, AlarmRules) else {}


def engine_rule(name: str, rule: AlarmRule) -> Rule:
    """What the engine judges of a rule of the config."""
    return Rule(
        name=name,
        watch=rule.watch,
        above=rule.above,
        below=rule.below,
        stale=rule.stale,
        hysteresis=rule.hysteresis,
        over_s=rule.over_s,
        grace_s=rule.grace_s,
        severity=rule.severity,
        latching=rule.latching,
        escalate_after_s=rule.escalate_after_s if rule.escalate_to else None,
        advice=rule.advice,
    )


class Alarming:
    """For run control's thread. `act` does a move of the run, by name and reason."""

    def __init__(
        self,
        settings: Settings,
        runtime: Path,
        notes: Notes,
        *,
        act: Callable[[str, str], None],
        ticket: Callable[[], str],
        now_ns: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._notes, self._act, self._ticket = settings, notes, act, ticket
        self._now_ns, self._clock = now_ns, clock
        self._rules = rules_of(settings)
        self._alarms = Alarms({name: engine_rule(name, rule) for name, rule in self._rules.items()})
        self._memory = runtime / FILE
        people, heartbeat = settings.sections.get("notify"), settings.sections.get("heartbeat")
        known = people.root if isinstance(people, Notifiers) else {}
        self._notices = Notices(known, settings.path.absolute().parent)
        self._pulse = Pulse(heartbeat if isinstance(heartbeat, Heartbeat) else None)
        self._orders = ThreadPoolExecutor(1, "alarm-orders")
        self._ordered: list[tuple[str, Future[None]]] = []
        self._look_s = clock() + SETTLE_S
        self._remember()

    @property
    def verbs(self) -> dict[str, Verb[Any]]:  # Any: each verb has its own arguments
        """What an operator may do; neither needs the lease."""
        return {
            "alarm-acknowledge": Verb(AcknowledgeAlarm, self._acknowledge, "safe"),
            "alarm-silence": Verb(SilenceAlarm, self._silence, "safe"),
        }

    @property
    def table(self) -> list[dict[str, object]]:
        """Alarms that stand, are over unseen, or are silenced."""
        return self._alarms.table(self._now_ns())

    @property
    def problem(self) -> str:
        """What is wrong with the watching itself."""
        return self._pulse.problem

    def look(self, quantities: Callable[[], dict[str, Quantity]], *, well: bool) -> None:
        """Judge where it is time to; `well` where the heartbeat may be sent."""
        now_s = self._clock()
        self._tell_failures()
        if now_s < self._look_s:
            return
        self._look_s = now_s + LOOK_S
        self._pulse.beat(now_s, well=well)
        if self._rules:
            events = self._alarms.update(quantities(), self._now_ns())
            self._take(events)

    def close(self) -> None:
        """Wait for what is being written; give up what was not told yet."""
        self._orders.shutdown()
        self._notices.close()
        self._pulse.close()

    # --- what becomes of them -----------------------------------------------------------------

    def _take(self, events: Iterable[Event]) -> None:
        for event in events:
            self._notes.tell(event.sentence, _level(event))
            if not event.silent:
                self._tell(event)
                if event.what == "raised":
                    self._do(event)
        if events:
            self._keep()

    def _tell(self, event: Event) -> None:
        rule = self._rules[event.rule.name]
        people = {"raised": rule.tell, "cleared": rule.tell, "escalated": rule.escalate_to}
        experiment = self._settings.section(Experiment).name
        notice = Notice(
            subject=f"[{experiment}] {event.rule.name} {event.what}",
            text=event.sentence,
            severity=rule.severity,
            t_ns=self._now_ns(),
        )
        for who in people.get(event.what, []):
            self._notices.tell(who, notice)

    def _do(self, event: Event) -> None:
        rule = self._rules[event.rule.name]
        for order in rule.orders:
            what = f"alarm {event.rule.name}: {order.instrument}.{order.parameter} = {order.value}"
            job = partial(self._write, event.rule.name, self._ticket(), order)
            self._ordered.append((what, self._orders.submit(job)))
        for action in rule.do:
            of = f" {channel_of(rule.watch)}" if action == "relock" else ""
            self._act(action + of, event.sentence)

    def _write(self, alarm: str, ticket: str, order: Order) -> None:
        """In a thread of its own: an instrument may take its time."""
        endpoint, by = self._settings.endpoint("instruments.commands"), f"alarm {alarm}"
        with sockets.calling(endpoint, "instruments", Operator(by, ticket)) as instruments:
            instruments.call("write", ORDER_S, **order.model_dump())

    def _tell_failures(self) -> None:
        while not self._notices.failures.empty():
            self._notes.tell(self._notices.failures.get(), "error")
        for what, job in [each for each in self._ordered if each[1].done()]:
            self._ordered.remove((what, job))
            error = job.exception()
            if isinstance(error, ScheeliteError):
                self._notes.tell(f"{what} could not be written: {error}", "error")
            elif error is not None:
                raise error

    # --- verbs --------------------------------------------------------------------------------

    def _acknowledge(self, asked: AcknowledgeAlarm) -> Result:
        self._take([self._alarms.acknowledge(asked.name, asked.who)])
        return {"alarms": self.table}

    def _silence(self, asked: SilenceAlarm) -> Result:
        for_s = min(max(asked.for_s, 0.0), LONGEST_S)
        until_ns = self._now_ns() + round(for_s * NS) if for_s else 0
        self._take([self._alarms.silence(asked.name, until_ns, asked.who)])
        return {"alarms": self.table}

    # --- memory -------------------------------------------------------------------------------

    def _keep(self) -> None:
        disk.publish(self._memory, msgspec.json.encode(self._alarms.memory()))

    def _remember(self) -> None:
        try:
            kept = msgspec.json.decode(
                self._memory.read_bytes(),
                type=dict[str, dict[str, str | int | float | bool | None]],
            )
        except (OSError, msgspec.DecodeError):
            return  # a first start
        self._alarms.remember(kept)


def _level(event: Event) -> str:
    return LEVELS[event.rule.severity] if event.what in ("raised", "escalated") else "info"
