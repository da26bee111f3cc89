"""One SQUID channel under the same names and in SI units, whatever the vendor.

A vendor's channel is a `SquidElectronics` with a table of routes from our names to its own
parameters, and with actions that are named as ours. What a vendor has not is absent: asking for
it is an NotOfferedError that names what there is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, overload

from daq.datatypes import Description, Number
from daq.errors import OutOfRangeError, UsageError
from drivers.instrument import Channel, Instrument
from drivers.parameter import Action, Bound, BoundAction

T = TypeVar("T")
Value = float | str | bool


class LoopMode(enum.IntEnum):
    """The flux-locked loop: open (the vendors' AMP or tune) or locked (FLL or lock)."""

    OPEN = 0
    LOCKED = 1


class NotOfferedError(UsageError):
    """This SQUID electronics has nothing of that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The parameter of a vendor, or a part of its value, that stands behind one of our names.

    A number is `to_si` times the vendor's; where it stands for a member of an enumeration,
    `members` says for which. With neither, the value is no number and passes as it is.
    """

    parameter: str
    part: str = ""
    to_si: float | None = None
    members: Mapping[enum.Enum, float] = field(default_factory=dict)


class SquidElectronics(Channel):
    """A channel of a vendor's instrument that can be offered as a `SquidChannel`."""

    routes: ClassVar[Mapping[str, Route]]


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """What the electronics holds; `source` is "read", or "shadow" where it cannot be asked."""

    value: T
    unit: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One thing that can be read and written: where it is, its range or choices in `unit`.

    Who speaks to the instruments service writes value / `to_si`, or the member that `members`
    names for the value, to `part` of `parameter`.
    """

    parameter: str
    part: str
    unit: str
    to_si: float | None
    members: Mapping[str, float]
    minimum: float | None
    maximum: float | None
    choices: tuple[Value, ...]
    source: str


class Knob(Generic[T]):
    """One thing of one channel that can be read and written, in SI units."""

    def __init__(self, bound: Bound[Any], route: Route, unit: str) -> None:
        self._bound, self._route, self._unit = bound, route, unit

    def read(self) -> Held[T]:
        """Ask the electronics; for one that cannot be asked, what was last written."""
        return self._held(self._bound.read())

    def write(self, value: T) -> Held[T]:
        """Done when it returns, with what the electronics then holds."""
        told = self._told(value)
        whole = {self._route.part: told} if self._route.part else told
        return self._held(self._bound.write(whole))

    def offer(self) -> Offer:
        """Where it is, and what may be written."""
        described, scale = self._described(), self._route.to_si or 1.0
        return Offer(
            parameter=self._bound.name,
            part=self._route.part,
            unit=self._unit,
            to_si=self._route.to_si,
            members={member.name: value for member, value in self._route.members.items()},
            minimum=None if described.minimum is None else _clean(described.minimum * scale),
            maximum=None if described.maximum is None else _clean(described.maximum * scale),
            choices=self._choices(described),
            source=self._bound.source,
        )

    def _held(self, value: Any) -> Held[T]:
        """Any: the value of a vendor's parameter, which may have parts."""
        part = value[self._route.part] if self._route.part else value
        return Held(self._in_si(part), self._unit, self._bound.source)

    def _in_si(self, part: Any) -> Any:
        """Any: T, which the route's vendor promises for this name."""
        if self._route.members:
            return self._route.members[part]
        return part if self._route.to_si is None else _clean(part * self._route.to_si)

    def _told(self, value: object) -> object:
        if self._route.members:
            return self._member(Number(unit=self._unit).refuse(value))
        if self._route.to_si is None:
            return value
        return _clean(Number(unit=self._unit).refuse(value) / self._route.to_si)

    def _member(self, value: float) -> enum.Enum:
        for member, known in self._route.members.items():
            if _clean(value) == _clean(known):
                return member
        allowed = ", ".join(f"{each:g}" for each in self._route.members.values())
        raise OutOfRangeError(f"expected one of {allowed} {self._unit}, found {value:g}")

    def _described(self) -> Description:
        described = self._bound.parameter.datatype.describe()
        if not self._route.part:
            return described
        assert described.fields is not None  # a route names a part only where there are parts
        return described.fields[self._route.part]

    def _choices(self, described: Description) -> tuple[Value, ...]:
        if self._route.members:
            return tuple(self._route.members.values())
        if self._route.to_si is None:
            return described.choices
        return tuple(_clean(float(each) * self._route.to_si) for each in described.choices)


class Offered(Generic[T]):
    """Declares a thing that a SQUID channel may have, and the SI unit of its value."""

    def __init__(self, title: str, unit: str = "") -> None:
        self.title, self.unit, self.name = title, unit, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, channel: None, kind: type) -> Offered[T]: ...
    @overload
    def __get__(self, channel: SquidChannel, kind: type) -> Knob[T]: ...
    def __get__(self, channel: SquidChannel | None, kind: type) -> Offered[T] | Knob[T]:
        return self if channel is None else Knob(*channel.route(self.name), self.unit)


class Doable:
    """Declares something that a SQUID channel may be able to do."""

    def __init__(self, title: str) -> None:
        self.title, self.name = title, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, channel: None, kind: type) -> Doable: ...
    @overload
    def __get__(self, channel: SquidChannel, kind: type) -> BoundAction: ...
    def __get__(self, channel: SquidChannel | None, kind: type) -> Doable | BoundAction:
        return self if channel is None else channel.action(self.name)


class SquidChannel:
    """One SQUID with what reads it, as tuning knows it."""

    mode = Offered[LoopMode]("The flux-locked loop, open or locked.")
    bias = Offered[float]("Bias current of the SQUID.", "A")
    flux = Offered[float]("Current in the flux bias or feedback coil.", "A")
    offset = Offered[float]("Voltage that is subtracted before the amplifier.", "V")
    array_bias = Offered[float]("Bias current of the second stage.", "A")
    array_flux = Offered[float]("Current in the coil of the second stage.", "A")
    feedback = Offered[float]("Feedback resistor, which sets the sensitivity; 0 is none.", "ohm")
    integrator = Offered[float]("Capacitor of the integrator.", "F")
    tes_bias = Offered[float]("Bias current of the TES, in the range that holds.", "A")
    tes_range = Offered[float]("Full scale of the TES bias; the current is kept.", "A")
    test_signal = Offered[bool]("Whether the test signal reaches the SQUID's flux.")
    test_height = Offered[float]("Height of the test signal.", "A")
    reset_loop = Doable("Let the loop lock anew; it is locked afterwards.")
    heat = Doable("Drive the SQUID normal for a moment; the loop is open afterwards.")
    initialize = Doable("Open the loop with all currents zero, so that the whole state is known.")

    def __init__(self, part: SquidElectronics) -> None:
        self._part = part
        self._actions = _actions(part)

    @property
    def name(self) -> str:
        """Its name within the instrument, such as "squid 1"."""
        return self._part.prefix.removesuffix(".")

    @property
    def capabilities(self) -> frozenset[str]:
        """The names of ours that are there."""
        return frozenset(self._part.routes) | self.actions

    @property
    def actions(self) -> frozenset[str]:
        """What it can do, by our names."""
        return frozenset(self._actions)

    def offers(self) -> dict[str, Offer]:
        """Everything that can be read and written, by our name."""
        return {name: getattr(self, name).offer() for name in self._part.routes}

    def route(self, name: str) -> tuple[Bound[Any], Route]:
        """The vendor's parameter for a name of ours; Any: whatever datatype it has."""
        if name not in self._part.routes:
            raise self._absent(name)
        route = self._part.routes[name]
        return getattr(self._part, route.parameter), route

    def action(self, name: str) -> BoundAction:
        """What does the deed of that name."""
        if name not in self._actions:
            raise self._absent(name)
        return self._actions[name]

    def _absent(self, name: str) -> NotOfferedError:
        vendor = type(self._part.instrument).__name__
        known = ", ".join(sorted(self.capabilities))
        return NotOfferedError(f"{self.name} of {vendor} has no {name}: expected one of {known}")


def squid_channels(instrument: Instrument) -> dict[int, SquidChannel]:
    """The SQUID channels of an instrument, by number; UsageError where it has none."""
    found = squids_of(instrument)
    if not found:
        raise UsageError(f"expected SQUID electronics, found {type(instrument).__name__}")
    return found


def squids_of(instrument: Instrument) -> dict[int, SquidChannel]:
    """The SQUID channels of an instrument, by number; none where it has none."""
    parts = [part for group in instrument.channels.values() for part in group.items()]
    return {n: SquidChannel(part) for n, part in parts if isinstance(part, SquidElectronics)}


def _actions(part: SquidElectronics) -> dict[str, BoundAction]:
    ours = [name for name, kind in vars(SquidChannel).items() if isinstance(kind, Doable)]
    return {
        name: getattr(part, name)
        for name in ours
        if isinstance(getattr(type(part), name, None), Action)
    }


def _clean(value: float) -> float:
    """Twelve digits: a conversion of units leaves dust behind them."""
    return float(f"{value:.12g}")
