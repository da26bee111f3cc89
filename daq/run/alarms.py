"""Alarms: rules on quantities, and what stands of them; time is an argument, nothing is sent.

A rule's condition must hold for its grace period before the alarm is raised, and must be over,
beyond the hysteresis, before it clears. A latching alarm stays until somebody has acknowledged it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from daq.errors import UsageError
from daq.run.quantities import Quantity

NS = 10**9
Severity = Literal["info", "warning", "critical"]
KEPT = ("state", "since_ns", "value", "unit", "acknowledged_by", "escalated", "silent_until_ns")
WORST = {"critical": 0, "warning": 1, "info": 2}
What = Literal["raised", "cleared", "escalated", "acknowledged", "silenced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When an alarm stands: `watch` is above, below, or stale, for longer than the grace period.

    With `over_s` it is the change of the quantity per second over that time that is judged.
    """

    name: str
    watch: str
    above: float | None = None
    below: float | None = None
    stale: bool = False
    hysteresis: float = 0.0
    over_s: float = 0.0
    grace_s: float = 0.0
    severity: Severity = "warning"
    latching: bool = True
    escalate_after_s: float | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became of an alarm: who did it ("" for itself), and the sentence that says it.

    A `silent` one is told to nobody and nothing is done because of it.
    """

    rule: Rule
    what: What
    sentence: str
    silent: bool = False


@dataclass(slots=True)
class Standing:
    """What is known of one rule; times are UTC [ns]."""

    state: Literal["well", "waiting", "standing", "over"] = "well"
    since_ns: int = 0
    value: float | None = None
    acknowledged_by: str = ""
    escalated: bool = False
    silent_until_ns: int = 0
    unit: str = ""
    history: deque[tuple[int, float]] = field(default_factory=deque)


class Alarms:
    """All rules of a config and their standing. For one thread."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = dict(rules)
        self._standing = {name: Standing() for name in rules}

    def update(self, quantities: Mapping[str, Quantity], now_ns: int) -> list[Event]:
        """Judge every rule; what has become of which."""
        events = []
        for name, rule in self.rules.items():
            events += self._judge(rule, self._standing[name], quantities.get(rule.watch), now_ns)
        return events

    def acknowledge(self, name: str, who: str) -> Event:
        """Somebody has seen it; UsageError where there is nothing to see."""
        rule, standing = self._named(name)
        if standing.state not in ("standing", "over"):
            raise UsageError(f"{name} is well: expected an alarm that stands, found none")
        standing.acknowledged_by = who
        if standing.state == "over":
            self._standing[name] = _well(standing)
        return Event(rule, "acknowledged", f"alarm {name}: acknowledged by {who}")

    def silence(self, name: str, until_ns: int, who: str) -> Event:
        """Tell nobody of it, and do nothing, until then; a time that is over ends a silence."""
        rule, standing = self._named(name)
        standing.silent_until_ns = until_ns
        return Event(rule, "silenced", f"alarm {name}: silenced by {who}", silent=True)

    # Any of these is JSON-able: state messages and the memory of a restarted service
    def table(self, now_ns: int) -> list[dict[str, object]]:
        """One row per alarm that stands, is over unseen, or is silenced; the worst first."""
        rows = [self._row(n, s, now_ns) for n, s in self._standing.items() if _told(s, now_ns)]
        return sorted(rows, key=lambda r: (r["state"] != "standing", WORST[str(r["severity"])]))

    def memory(self) -> dict[str, dict[str, object]]:
        """What a service that is started again must know."""
        return {n: {key: getattr(s, key) for key in KEPT} for n, s in self._standing.items()}

    def remember(self, memory: Mapping[str, Mapping[str, object]]) -> None:
        """Take up where `memory` was made, for the rules that still are."""
        for name in self.rules.keys() & memory.keys():
            for key, value in memory[name].items():
                setattr(self._standing[name], key, value)

    # --- one rule -----------------------------------------------------------------------------

    def _judge(
        self, rule: Rule, standing: Standing, quantity: Quantity | None, now_ns: int
    ) -> list[Event]:
        value = _judged(rule, standing, quantity, now_ns)
        bad = _is_bad(rule, standing, quantity, value)
        if value is not None:
            standing.value = value
            standing.unit = (quantity.unit if quantity else "") + ("/s" if rule.over_s else "")
        if bad is None:
            return self._escalated(rule, standing, now_ns)  # nobody knows: it stays as it is
        return self._turned(rule, standing, bad, now_ns) + self._escalated(rule, standing, now_ns)

    def _turned(self, rule: Rule, standing: Standing, bad: bool, now_ns: int) -> list[Event]:
        silent = now_ns < standing.silent_until_ns
        if bad and standing.state in ("well", "over"):
            if standing.state == "over":  # it comes back before anybody looked: no grace
                standing.state = "standing"
                return [Event(rule, "raised", f"again, {_sentence(rule, standing)}", silent=True)]
            standing.state, standing.since_ns = "waiting", now_ns
        if bad and standing.state == "waiting" and _age_s(standing, now_ns) >= rule.grace_s:
            standing.state = "standing"
            return [Event(rule, "raised", _sentence(rule, standing), silent)]
        if not bad and standing.state == "waiting":
            standing.state = "well"
        if not bad and standing.state == "standing":
            event = Event(rule, "cleared", f"alarm {rule.name}: over, {_shown(standing)}", silent)
            if rule.latching and not standing.acknowledged_by:
                standing.state = "over"
            else:
                self._standing[rule.name] = _well(standing)
            return [event]
        return []

    def _escalated(self, rule: Rule, standing: Standing, now_ns: int) -> list[Event]:
        due = (
            rule.escalate_after_s is not None
            and standing.state == "standing"
            and not standing.acknowledged_by
            and not standing.escalated
            and now_ns >= standing.silent_until_ns
            and _age_s(standing, now_ns) >= rule.grace_s + rule.escalate_after_s
        )
        if not due:
            return []
        standing.escalated = True
        return [Event(rule, "escalated", f"nobody acknowledged {_sentence(rule, standing)}")]

    def _named(self, name: str) -> tuple[Rule, Standing]:
        if name not in self.rules:
            known = ", ".join(self.rules) or "none"
            raise UsageError(f"expected one of the alarms {known}, found {name!r}")
        return self.rules[name], self._standing[name]

    def _row(self, name: str, standing: Standing, now_ns: int) -> dict[str, object]:
        rule, silent = self.rules[name], standing.silent_until_ns > now_ns
        return {
            "name": name,
            "severity": rule.severity,
            "state": standing.state,
            "watch": rule.watch,
            "value": standing.value,
            "unit": standing.unit,
            "since_ns": standing.since_ns,
            "acknowledged_by": standing.acknowledged_by,
            "silent_until_ns": standing.silent_until_ns if silent else 0,
            "sentence": _sentence(rule, standing),
        }


def _judged(rule: Rule, standing: Standing, quantity: Quantity | None, now_ns: int) -> float | None:
    """The number that is compared; None while there is none."""
    if quantity is None or quantity.stale or quantity.value is None:
        return None
    if not rule.over_s:
        return quantity.value
    history = standing.history
    history.append((now_ns, quantity.value))
    while len(history) > 2 and now_ns - history[1][0] >= rule.over_s * NS:
        history.popleft()
    elapsed_s = (now_ns - history[0][0]) / NS
    return (quantity.value - history[0][1]) / elapsed_s if elapsed_s >= rule.over_s else None


def _is_bad(
    rule: Rule, standing: Standing, quantity: Quantity | None, value: float | None
) -> bool | None:
    """Whether the condition holds; None where a number is missing that would say it."""
    if rule.stale:
        return quantity is None or quantity.stale or quantity.value is None
    if value is None:
        return None
    give = rule.hysteresis if standing.state == "standing" else 0.0
    above = rule.above is not None and value > rule.above - give
    return above or (rule.below is not None and value < rule.below + give)


def _well(standing: Standing) -> Standing:
    """As before the alarm; a silence stays."""
    return Standing(silent_until_ns=standing.silent_until_ns, history=standing.history)


def _told(standing: Standing, now_ns: int) -> bool:
    return standing.state in ("standing", "over") or standing.silent_until_ns > now_ns


def _age_s(standing: Standing, now_ns: int) -> float:
    return (now_ns - standing.since_ns) / NS


def _sentence(rule: Rule, standing: Standing) -> str:
    advice = f"; {rule.advice}" if rule.advice else ""
    return f"alarm {rule.name} ({rule.severity}): {rule.watch} {_why(rule, standing)}{advice}"


def _why(rule: Rule, standing: Standing) -> str:
    if rule.stale:
        return "is stale"
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("above", rule.above), ("below", rule.below))
        if limit is not None
    ]
    changes = "changes by" if rule.over_s else "is"
    return f"{changes} {_shown(standing)}, expected not {' nor '.join(limits)}"


def _shown(standing: Standing) -> str:
    if standing.value is None:
        return "without a value"
    return f"{standing.value:.4g} {standing.unit}".rstrip()
