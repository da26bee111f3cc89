"""Refrigerators whose only wire is that of their resistance bridge: Janis, and older Leiden ones.

Neither has a public protocol of its own. So the bridge's driver is used as it is: the parameters of
the inputs that are stages get the names of the view, all others keep theirs behind them. What an
AVS-47B measures is a resistance; the temperature is made from it elsewhere, and absent here. It
measures one sensor at a time, whichever was chosen: the others have no value meanwhile.

Nothing here is confirmed on a device of ours; that 5 and 6 are still and mixing chamber at a Lake
Shore is the custom of others, and a stage that is wired otherwise is named in the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from daq.errors import OutOfRangeError, UsageError
from drivers import catalogue
from drivers.fridge.fridge import Fridge, Row
from drivers.parameter import Bound, BoundAction, NoValueError
from drivers.transport import check_resource

T = TypeVar("T")
LETTERS = ("A", "B", "C", "D")  # what a 336 and a 350 call their inputs
# a bridge's parameters by their last words, and where they stand in the view
OF_A_STAGE = {"temperature": "temperature", "resistance": "resistance", "faults": "alarm"}
OF_ALL = {
    "heater_output": "heater.mxc",
    "still_output": "heater.still",
    "setpoint": "control.setpoint",
    "heater_range": "control.range",
    "heater_fault": "alarm.heater",
}


class Renamed(Bound[T]):
    """A parameter of the bridge under a name of the view."""

    def __init__(self, inner: Bound[T], name: str) -> None:
        super().__init__(inner.parameter, inner._owner)
        self._name = name

    @property
    def name(self) -> str:
        return self._name


class OfSensor(Renamed[T]):
    """What a bridge with one input says of its sensors, under the name of one of them."""

    def __init__(self, inner: Bound[T], name: str, sensor: Bound[int], number: int) -> None:
        super().__init__(inner, name)
        self._sensor, self._number = sensor, number

    def read(self) -> T:
        """The value, where this sensor is the one that is measured, before and after."""
        with self._owner.alone():
            self._check()
            value = super().read()
            self._check()
            return value

    def _check(self) -> None:
        found = self._sensor.read()
        if found != self._number:
            raise NoValueError(
                f"{self.name} is of sensor {self._number}: the bridge measures {found}"
            )


class Composed(Fridge):
    """A refrigerator that is spoken to through the driver of its bridge."""

    extras = frozenset({"stages", "bridge"})
    bridges: ClassVar[tuple[str, ...]]
    stages: ClassVar[Mapping[str, int]]

    # Any: what every instrument takes, see Instrument
    def __init__(
        self,
        resource: str,
        *,
        bridge: str | None = None,
        stages: Mapping[str, int | str] | None = None,
        channels: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        model = bridge or self.bridges[0]
        if model not in self.bridges:
            raise UsageError(
                f"expected one of the bridges {', '.join(self.bridges)}, found {model!r}"
            )
        self._by_number = {_input(at): name for name, at in (stages or self.stages).items()}
        inputs = self._inputs(channels)
        self.bridge = catalogue.instrument(model)(resource, channels=inputs, **options)
        super().__init__(resource, wire=self.bridge.link, **options)

    @classmethod
    def check_resource(cls, resource: str) -> str:
        return check_resource(resource)

    def rows(self) -> Sequence[Row]:
        return ()

    def parameters(self) -> Iterator[Bound[Any]]:
        for bound in self.bridge.parameters():
            name = self._name_of(bound.name)
            yield Renamed(bound, name) if name else bound

    def actions(self) -> Iterator[BoundAction]:
        return self.bridge.actions()

    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        return self.bridge.ask(text, parse)

    def tell(self, text: str) -> None:
        self.bridge.tell(text)

    def close(self) -> None:
        self.bridge.close()

    def _inputs(self, channels: Sequence[int] | None) -> list[int] | None:
        """The channels that the bridge's driver is to have: the stages and others of the config."""
        return sorted({*self._by_number, *(channels or ())})

    def _name_of(self, name: str) -> str:
        """The name in the view of a parameter such as "input 6.temperature"; "" for none."""
        head, _, last = name.rpartition(".")
        if head.startswith("input ") and last in OF_A_STAGE:
            stage = self._by_number.get(_input(head.removeprefix("input ")))
            return f"{OF_A_STAGE[last]}.{stage}" if stage else ""
        return OF_ALL.get(name, "")


class Janis(Composed):
    """A Janis refrigerator by its Lake Shore bridge; its gas handling is worked by hand."""

    identity = r"LSCI,"
    bridges = ("lakeshore372", "lakeshore370", "lakeshore336", "lakeshore350")
    stages: ClassVar[Mapping[str, int]] = {"50k": 1, "4k": 2, "still": 5, "mxc": 6}


class LeidenAvs(Composed):
    """An older Leiden refrigerator by its AVS-47B bridge, which gives resistances."""

    identity = r""
    bridges = ("avs47b",)
    stages: ClassVar[Mapping[str, int]] = {"still": 1, "mxc": 2}

    def parameters(self) -> Iterator[Bound[Any]]:
        parts = {bound.name: bound for bound in self.bridge.parameters()}
        resistance, sensor = parts.pop("resistance"), parts["sensor"]
        yield from parts.values()
        for number, name in self._by_number.items():
            yield OfSensor(resistance, f"resistance.{name}", sensor, number)

    def _inputs(self, _channels: Sequence[int] | None) -> list[int] | None:
        return None


def _input(at: int | str) -> int:
    """The number of an input, or of its letter; the bridge's driver knows which there are."""
    if isinstance(at, int):
        return at
    if at.isascii() and at.isdecimal():
        return int(at)
    if at in LETTERS:
        return LETTERS.index(at) + 1
    raise OutOfRangeError(f"expected the number or letter of an input as a stage, found {at!r}")
