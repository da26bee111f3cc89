"""From a detector's names in SI units to the parameters of the instruments behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from daq.errors import OutOfRangeError, UsageError
from daq.readout.requests import Held, Offer, Offered, Value
from daq.settings.detectors import Detector, Plug


class _Route(msgspec.Struct, frozen=True):
    """What the instruments service says of one name of a SQUID channel."""

    parameter: str
    part: str
    unit: str
    to_si: float | None
    members: dict[str, float]
    minimum: float | None
    maximum: float | None
    choices: tuple[float | str | bool, ...]
    source: str


class _Squid(msgspec.Struct, frozen=True):
    values: dict[str, _Route]
    actions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Command:
    """One verb to the instruments service."""

    instrument: str
    verb: str
    arguments: dict[str, Any]  # Any: each verb has its own


class Wire:
    """One value of a SQUID channel: how it is asked for, told and understood."""

    def __init__(self, instrument: str, route: _Route) -> None:
        self._instrument, self._route = instrument, route

    def read(self) -> Command:
        """Ask for it."""
        return self._command("read")

    def write(self, value: Value) -> Command:
        """Tell it, in SI units."""
        told = self._told(value)
        return self._command("write", value={self._route.part: told} if self._route.part else told)

    # Any: the answer is JSON
    def held(self, answer: Mapping[str, Any]) -> Held:
        """What the answer of either says."""
        value = answer["value"]
        part = value[self._route.part] if self._route.part else value
        return Held(self._in_si(part), self._route.unit, str(answer["source"]))

    def offer(self) -> Offer:
        """What may be written."""
        r = self._route
        return Offer(r.minimum, r.maximum, r.choices, r.source)

    # Any: each verb has its own arguments
    def _command(self, verb: str, **more: Any) -> Command:
        arguments = {"instrument": self._instrument, "parameter": self._route.parameter, **more}
        return Command(self._instrument, verb, arguments)

    def _in_si(self, part: Any) -> Value:  # Any: a part of JSON
        if self._route.members:
            return self._route.members[part]
        if self._route.to_si is None:
            return _plain(part)
        return _clean(float(part) * self._route.to_si)

    def _told(self, value: Value) -> Value:
        if self._route.to_si is None and not self._route.members:
            return value
        if isinstance(value, bool | str | dict):
            raise OutOfRangeError(f"{self._route.parameter}: expected a number, found {value!r}")
        if self._route.to_si is not None:
            return _clean(value / self._route.to_si)
        for member, known in self._route.members.items():
            if _clean(value) == _clean(known):
                return member
        allowed = ", ".join(f"{each:g}" for each in self._route.members.values())
        raise OutOfRangeError(
            f"{self._route.parameter}: expected one of {allowed} {self._route.unit}, "
            f"found {value:g}"
        )


class DetectorWires:
    """The wires of all detectors, checked against what the instruments service has."""

    # Any: the answer is JSON
    def __init__(self, detectors: Mapping[str, Detector], listed: Mapping[str, Any]) -> None:
        """`listed` is the answer to "list"; UsageError for a detector that hangs on nothing."""
        self.detectors = detectors
        self._squids = {name: _squid(name, each, listed) for name, each in detectors.items()}

    def offered(self, at: str) -> Offered:
        """What the electronics of a detector have."""
        squid = self._squids[at]
        values = {name: self.wire(at, name).offer() for name in squid.values}
        return Offered(values, tuple(squid.actions))

    def wire(self, at: str, name: str) -> Wire:
        """One value of a detector."""
        routes = self._squids[at].values
        if name not in routes:
            raise _absent(at, name, routes)
        return Wire(self.detectors[at].squid.instrument, routes[name])

    def action(self, at: str, name: str) -> Command:
        """One deed of a detector."""
        actions, instrument = self._squids[at].actions, self.detectors[at].squid.instrument
        if name not in actions:
            raise _absent(at, name, actions)
        return Command(instrument, "act", {"instrument": instrument, "action": actions[name]})

    def output(self, at: str, line: str) -> Plug:
        """The generator's output on a line of a detector; UsageError where it has none."""
        plug: Plug | None = getattr(self.detectors[at], line)
        if plug is None:
            raise UsageError(
                f"{at}: expected detectors.{at}.{line} to name a generator, found none"
            )
        return plug


# Any: the answer is JSON
def _squid(name: str, detector: Detector, listed: Mapping[str, Any]) -> _Squid:
    plug = detector.squid
    squids = listed["instruments"].get(plug.instrument, {}).get("squids", {})
    if str(plug.number) not in squids:
        found = ", ".join(squids) or "no SQUID electronics"
        raise UsageError(
            f"detectors.{name}.squid: expected a SQUID {plug.number} of {plug.instrument}, "
            f"found {found}"
        )
    return msgspec.convert(squids[str(plug.number)], _Squid, strict=False)


def _plain(part: Any) -> float | str | bool:  # Any: a part of JSON
    found: float | str | bool = msgspec.convert(part, float | str | bool)
    return found


def _absent(at: str, name: str, known: Mapping[str, object]) -> UsageError:
    return UsageError(f"{at} has no {name}: expected one of {', '.join(sorted(known))}")


def _clean(value: float) -> float:
    """Twelve digits: a conversion of units leaves dust behind them."""
    return float(f"{value:.12g}")
