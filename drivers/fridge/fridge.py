"""The fridge view: what dilution refrigerators have in common, whoever made them.

A refrigerator's parameters are named KIND.NAME, such as "temperature.mxc", "heater.still",
"pressure.p1", "flow.circulation", "valve.v9", "pump.turbo1" and "alarm.mxc"; so the view can be
made from the readings alone, wherever they arrive. What a refrigerator does not have is absent
from its readings and from the view.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from daq.datatypes import Datatype
from daq.errors import InstrumentError
from drivers.instrument import Instrument
from drivers.parameter import AbsentError, Bound, Owner, Parameter, Plain, Reading

T = TypeVar("T")
Kind = Literal[
    "temperature",
    "resistance",
    "heater",
    "control",
    "pressure",
    "flow",
    "valve",
    "pump",
    "switch",
    "status",
    "alarm",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
NOTHING: Mapping[str, Quantity] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity of a refrigerator: where it stands in the view, and how it is asked for."""

    kind: Kind
    name: str
    ask: str
    datatype: Datatype[Any]  # Any: each row has a datatype of its own
    title: str
    tell: str | None = None
    slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One value of the view; None with source "error" where it could not be had, and why."""

    value: Plain | None
    unit: str
    source: str
    t_ns: int
    stale: bool
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One refrigerator at one time, by name: "mxc", "still", "4k", "50k" and whatever it has."""

    temperature: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    resistance: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    heater: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    control: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    pressure: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    flow: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    valve: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    pump: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    switch: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    status: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)
    alarm: Mapping[str, Quantity] = field(default_factory=lambda: NOTHING)


def view(readings: Iterable[Reading], *, now_ns: int, good_for_s: float) -> View:
    """The view that readings make, also of several instruments of one refrigerator.

    Of two readings of one name the first one counts; names outside the grammar are left out.
    """
    found: dict[str, dict[str, Quantity]] = {}
    for reading in readings:
        kind, _, name = reading.name.partition(".")
        if kind in KINDS and name:
            quantity = _quantity(reading, now_ns, good_for_s)
            found.setdefault(kind, {}).setdefault(name, quantity)
    return View(**{kind: MappingProxyType(found[kind]) for kind in found})


class Group(Owner):
    """All rows of one kind; what they are asked goes to the refrigerator."""

    def __init__(self, fridge: Fridge, kind: Kind) -> None:
        self._fridge, self._kind = fridge, kind
        self._shadows: dict[str, Any] = {}  # Any: any datatype; always empty, all can be read

    @property
    def prefix(self) -> str:
        return f"{self._kind}."

    @property
    def number(self) -> int:
        return 0

    @property
    def shadows(self) -> dict[str, Any]:
        return self._shadows

    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        return self._fridge.ask(text, parse)

    def tell(self, text: str) -> None:
        self._fridge.tell(text)

    def settle(self) -> None:
        self._fridge.settle()

    def alone(self) -> AbstractContextManager[object]:
        return self._fridge.alone()


class Fridge(Instrument):
    """An instrument whose parameters follow from rows, of which some are found once connected."""

    @abstractmethod
    def rows(self) -> Sequence[Row]:
        """What it is known to have, or may have, without asking it."""

    def found(self) -> Sequence[Row]:
        """What it said that it has when it was asked; nothing before."""
        return ()

    def parameters(self) -> Iterator[Bound[Any]]:
        yield from super().parameters()
        yield from map(self._bound, self.rows())
        # later, because reading the ones above connects, and that finds these
        yield from map(self._bound, self.found())

    def readings(self, now_ns: Callable[[], int]) -> Iterator[Reading]:
        """Everything read now, one after the other; what it does not have is left out."""
        for bound in self.parameters():
            try:
                yield from bound.as_readings(bound.read(), now_ns())
            except AbsentError:
                continue
            except InstrumentError as error:
                yield from bound.failed_readings(error, now_ns())

    def _bound(self, row: Row) -> Bound[Any]:
        parameter = Parameter(row.ask, row.datatype, row.title, row.tell, slow=row.slow)
        parameter.name = row.name
        return Bound(parameter, Group(self, row.kind))


def _quantity(reading: Reading, now_ns: int, good_for_s: float) -> Quantity:
    return Quantity(
        value=reading.value,
        unit=reading.unit,
        source=reading.source,
        t_ns=reading.t_ns,
        stale=reading.stale or abs(now_ns - reading.t_ns) > good_for_s * 1e9,
        text=reading.text,
    )
