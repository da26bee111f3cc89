"""The two ways to the instruments of a config: through their service, or on their own lines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from daq.errors import InstrumentError, UsageError
from daq.settings import operator
from daq.settings.loader import Settings
from daq.wire import sockets
from daq.wire.sockets import Caller
from drivers import catalogue
from drivers.describe import Described, described, units, unknown
from drivers.instrument import Instrument
from drivers.parameter import AbsentError, Bound, NoValueError, Reading, to_plain
from drivers.settings import Instruments

PATIENCE_S = 20.0  # a slow instrument has other things to do as well
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One instrument and what it has."""

    model: str
    resource: str
    parameters: tuple[Described, ...]

    def parameter(self, name: str) -> Described:
        """The one of this name; UsageError names those there are."""
        return chosen("parameter", {each.name: each for each in self.parameters}, name)


class Access(Protocol):
    """A way to instruments; a parameter of several fields gives a reading of each."""

    def instruments(self) -> Mapping[str, Listed]:
        """Every instrument of the config, by name."""

    def read(self, instrument: str, parameter: str) -> list[Reading]:
        """Ask it now."""

    def write(self, instrument: str, parameter: str, value: object) -> list[Reading]:
        """Tell it; what it then holds."""

    def latest(self, instrument: str, parameters: Sequence[str]) -> list[Reading]:
        """What is known now; where there is no value, a reading that says why."""


class Through:
    """Through the service, which goes on polling meanwhile."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def instruments(self) -> Mapping[str, Listed]:
        """As the service lists them."""
        found = self._caller.call("list", PATIENCE_S)["instruments"]
        return msgspec.convert(found, dict[str, Listed])

    def read(self, instrument: str, parameter: str) -> list[Reading]:
        """Ask it now, in between its polls."""
        return self._asked("read", instrument, parameter)

    def write(self, instrument: str, parameter: str, value: object) -> list[Reading]:
        """Tell it, in between its polls; what it then holds."""
        return self._asked("write", instrument, parameter, value=value)

    def latest(self, instrument: str, parameters: Sequence[str]) -> list[Reading]:
        """What the service has read last."""
        readings = self._caller.call("status", PATIENCE_S)["readings"]
        names = [f"{instrument}.{parameter}" for parameter in parameters]
        return [
            Reading(key.removeprefix(f"{instrument}."), **shown)
            for key, shown in readings.items()
            if any(key == name or key.startswith(f"{name}.") for name in names)
        ]

    # Any: the arguments of a verb
    def _asked(self, verb: str, instrument: str, parameter: str, **more: Any) -> list[Reading]:
        listed = chosen("instrument", self.instruments(), instrument).parameter(parameter)
        told = self._caller.call(
            verb, PATIENCE_S, instrument=instrument, parameter=parameter, **more
        )
        return _readings(listed, told["value"], told["source"], told["t_ns"])


class Direct:
    """On the instruments' own lines, which are opened when they are needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.section(Instruments).root
        self._opened: dict[str, Instrument] = {}

    def instruments(self) -> Mapping[str, Listed]:
        """As the config has them."""
        return {
            name: Listed(
                model=each.model,
                resource=each.resource,
                parameters=tuple(map(described, self._instrument(name).parameters())),
            )
            for name, each in self._settings.items()
        }

    def read(self, instrument: str, parameter: str) -> list[Reading]:
        """Ask it now."""
        bound = self._bound(instrument, parameter)
        return bound.as_readings(bound.read(), time.time_ns())

    def write(self, instrument: str, parameter: str, value: object) -> list[Reading]:
        """Tell it; what it then holds."""
        bound = self._bound(instrument, parameter)
        return bound.as_readings(bound.write(value), time.time_ns())

    def latest(self, instrument: str, parameters: Sequence[str]) -> list[Reading]:
        """Ask for each of them now."""
        bounds = [self._bound(instrument, parameter) for parameter in parameters]
        return [reading for bound in bounds for reading in _now(bound)]

    def close(self) -> None:
        """Give all lines back."""
        for instrument in self._opened.values():
            instrument.close()

    def _instrument(self, name: str) -> Instrument:
        if name not in self._opened:
            one = chosen("instrument", self._settings, name)
            driver = catalogue.instrument(one.model)
            self._opened[name] = driver(one.resource, channels=one.channels, **one.extras)
        return self._opened[name]

    # Any: of any datatype
    def _bound(self, instrument: str, parameter: str) -> Bound[Any]:
        bounds = {bound.name: bound for bound in self._instrument(instrument).parameters()}
        return chosen("parameter", bounds, parameter)


def access_to(settings: Settings | None, is_up: bool, on_exit: ExitStack) -> Access:
    """Through the service where the config is up, on the lines otherwise; given back on exit."""
    if settings is None:
        raise UsageError(
            "nothing is up: give --config CONFIG to speak to the instruments directly, or start "
            "the services with scheelite up CONFIG"
        )
    if is_up:
        endpoint = settings.endpoint("instruments.commands")
        return Through(
            on_exit.enter_context(sockets.calling(endpoint, "instruments", operator.current()))
        )
    direct = Direct(settings)
    on_exit.callback(direct.close)
    return direct


def chosen(kind: str, among: Mapping[str, T], name: str) -> T:
    """The one of this name; UsageError names those there are."""
    if name not in among:
        raise unknown(kind, among, name)
    return among[name]


# Any: of any datatype
def _now(bound: Bound[Any]) -> Iterable[Reading]:
    try:
        return bound.as_readings(bound.read(), time.time_ns())
    except AbsentError:
        return []
    except InstrumentError as error:
        if not error.retryable and not isinstance(error, NoValueError):
            raise
        return bound.failed_readings(error, time.time_ns())


# Any: what a verb answers
def _readings(listed: Described, value: Any, source: str, t_ns: int) -> list[Reading]:
    """The answer of the service, field by field."""
    values = value if isinstance(value, dict) else {"": value}
    unit = units(listed.datatype, listed.name)
    names = {f"{listed.name}.{field}".rstrip("."): part for field, part in values.items()}
    return [
        Reading(name, to_plain(part), unit.get(name, ""), source, t_ns)
        for name, part in names.items()
    ]
