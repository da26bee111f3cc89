"""Parameters: what one line of an instrument's manual says, and how it is read and written."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from daq.datatypes import Datatype, Description, Patching
from daq.errors import InstrumentError, UsageError

T = TypeVar("T")
S = TypeVar("S")
Plain = float | int | str | bool


class NoValueError(InstrumentError):
    """The instrument is well, and has no value for this parameter at present."""


class AbsentError(NoValueError):
    """The instrument has no such thing: there is no reading of it at all, rather than a zero."""


@dataclass(frozen=True, slots=True)
class Dated(Generic[T]):
    """A value with its own time of measurement; `stale` says why it is old whatever that time."""

    value: T
    t_ns: int
    stale: str = ""


class Owner(ABC):
    """What parameters belong to: an instrument, or a channel of one."""

    @property
    @abstractmethod
    def prefix(self) -> str:
        """What stands before the names of its parameters, such as "input 6."."""

    @property
    @abstractmethod
    def number(self) -> int:
        """The number for {ch} in a parameter's messages."""

    @property
    @abstractmethod
    def shadows(self) -> dict[str, Any]:
        """What was last written, by name, to parameters that cannot be read; Any: any datatype."""

    @abstractmethod
    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        """What `parse` makes of the instrument's answer to a question."""

    @abstractmethod
    def tell(self, text: str) -> None:
        """Have the instrument do what a message says."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until a readback shows what was told."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[object]:
        """Nobody else speaks to the instrument inside this."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A parameter's value, or one field of it, at one time.

    `source` is "read" (from the instrument), "shadow" (what was last written, where the
    instrument cannot be asked) or "error"; then `value` is None and `text` says why. `stale`: the
    instrument itself says that the value is an old one, and `text` says how.
    """

    name: str
    value: Plain | None
    unit: str
    source: str
    t_ns: int
    text: str = ""
    stale: bool = False


class Parameter(Generic[T]):
    """How to ask, what comes back, what it means, and how to tell, where one can.

    `ask` None: the instrument cannot be asked, so that what was last written stands for it.
    `slow`: a setting that only changes when somebody writes it; read now and then.
    """

    def __init__(
        self,
        ask: str | None,
        datatype: Datatype[T],
        title: str,
        tell: str | None = None,
        *,
        slow: bool = False,
    ) -> None:
        self.ask, self.datatype, self.title, self.tell, self.slow = ask, datatype, title, tell, slow
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Parameter[T]: ...
    @overload
    def __get__(self, owner: Owner, kind: type) -> Bound[T]: ...
    def __get__(self, owner: Owner | None, kind: type) -> Parameter[T] | Bound[T]:
        return self if owner is None else Bound(self, owner)


class Bound(Generic[T]):
    """One parameter of one instrument."""

    def __init__(self, parameter: Parameter[T], owner: Owner) -> None:
        self.parameter, self._owner = parameter, owner

    @property
    def name(self) -> str:
        """Its name within the instrument, such as "input 6.temperature"."""
        return self._owner.prefix + self.parameter.name

    @property
    def source(self) -> str:
        """Where its value comes from: "read", or "shadow" where the instrument cannot be asked."""
        return "shadow" if self.parameter.ask is None else "read"

    def read(self) -> T:
        """Ask the instrument; for one that cannot be asked, what was last written."""
        if self.parameter.ask is None:
            return self._shadow()
        return self._asked(self.parameter.datatype.parse)

    def write(self, value: object) -> T:
        """Tell, let it settle, ask: done when it returns, with what the instrument now holds."""
        if self.parameter.tell is None:
            raise UsageError(f"{self.name} cannot be written: it is only read")
        with self._owner.alone():
            text = self._text_for(value)
            self._owner.tell(self.parameter.tell.format(ch=self._owner.number, value=text))
            if self.parameter.ask is None:
                self._owner.shadows[self.parameter.name] = self.parameter.datatype.refuse(value)
            else:
                self._owner.settle()
            return self.read()

    def as_readings(self, value: T, t_ns: int) -> list[Reading]:
        """A value that was read or written at `t_ns`, field by field; a Dated one has its own."""
        when = dated(value, t_ns)
        held, units = when.value, self._units()
        plain = _joined(self.name, held) if isinstance(held, Mapping) else {self.name: held}
        return [
            Reading(
                name,
                to_plain(part),
                units.get(name, ""),
                self.source,
                when.t_ns,
                when.stale,
                stale=bool(when.stale),
            )
            for name, part in plain.items()
        ]

    def failed_readings(self, error: InstrumentError, t_ns: int) -> list[Reading]:
        """The readings of a time at which there was no value, field by field."""
        return [
            Reading(name, None, unit, "error", t_ns, str(error))
            for name, unit in self._units().items()
        ]

    def _asked(self, parse: Callable[[str], S]) -> S:
        assert self.parameter.ask is not None
        return self._owner.ask(self.parameter.ask.format(ch=self._owner.number), parse)

    def _text_for(self, value: object) -> str:
        datatype = self.parameter.datatype
        if isinstance(datatype, Patching) and self.parameter.ask is not None:
            datatype.check(value)
            return datatype.patch(self._asked(str), value)
        return datatype.format(datatype.refuse(value))

    def _shadow(self) -> T:
        try:
            return self._owner.shadows[self.parameter.name]  # type: ignore[no-any-return]
        except KeyError as error:
            raise NoValueError(
                f"{self.name} is unknown: it cannot be read and was not written since we connected"
            ) from error

    def _units(self) -> dict[str, str]:
        description = self.parameter.datatype.describe()
        return dict(_unit_rows(self.name, description))


class Action:
    """Something an instrument does that has no value: a method on an instrument or a channel."""

    def __init__(self, act: Callable[[Any], None], title: str) -> None:
        self._act, self.title, self.name = act, title, ""  # Any: the class it is defined in

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Action: ...
    @overload
    def __get__(self, owner: Owner, kind: type) -> BoundAction: ...
    def __get__(self, owner: Owner | None, kind: type) -> Action | BoundAction:
        return self if owner is None else BoundAction(self, owner)

    def run(self, owner: Owner) -> None:
        """Do it to `owner`, while nobody else speaks to the instrument."""
        with owner.alone():
            self._act(owner)


@dataclass(frozen=True, slots=True)
class BoundAction:
    """One action of one instrument; call it to have it done."""

    action: Action
    owner: Owner

    @property
    def name(self) -> str:
        """Its name within the instrument, such as "squid 1.reset_loop"."""
        return self.owner.prefix + self.action.name

    def __call__(self) -> None:
        self.action.run(self.owner)


def action(title: str) -> Callable[[Callable[[Any], None]], Action]:
    """Make a method an action; Any: the class it is defined in."""
    return lambda act: Action(act, title)


def dated(value: object, t_ns: int) -> Dated[object]:
    """A value with its time, which is `t_ns` unless it brings its own."""
    return value if isinstance(value, Dated) else Dated(value, t_ns)


def to_plain(value: object) -> Plain:
    """A value as messages and files hold it: numbers stay, a member becomes its name."""
    if isinstance(value, enum.IntFlag):
        return value.name or "none"
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"expected a number, a text or a member, found {value!r}")


def _joined(name: str, fields: Mapping[str, object]) -> dict[str, object]:
    return {f"{name}.{field}": value for field, value in fields.items()}


def _unit_rows(name: str, description: Description) -> Iterator[tuple[str, str]]:
    if description.fields is None:
        yield name, description.unit
        return
    for field, part in description.fields.items():
        yield from _unit_rows(f"{name}.{field}", part)
