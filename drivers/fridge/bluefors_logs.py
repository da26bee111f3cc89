"""Bluefors by its log files, which every generation of its software writes: read-only.

Confirmed by two independent public readers of such logs: the folders and names, the line
"dd-mm-yy,HH:MM:SS,value" with a leading space in older versions, local time without a zone, the
lines of maxigauge (six gauges, state 1 is on, mbar) and the pairs of Channels, Status and heaters.

Not confirmed on a device of ours: the units of the pairs in heaters and Status, which are given
as they are written, and which thermometer is which stage: 1, 2, 5 and 6 are the usual ones. The
zone is that of this computer unless given. The hour that autumn repeats is taken as the one that is
nearer to now.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from daq.datatypes import Datatype, Description, Integer, Number, Switch
from daq.errors import InstrumentError, OutOfRangeError, ReplyError, UsageError
from drivers.fridge.fridge import Fridge, Kind, Row
from drivers.fridge.log_folder import LogFolder, check_folder
from drivers.parameter import Dated, NoValueError

V = TypeVar("V")
STAGES = {"50k": 1, "4k": 2, "still": 5, "mxc": 6}
SEARCH_S = 60.0  # how often the logs of pairs are searched for new names
_GAUGE = re.compile(r"CH([1-6]),([^,]*),\s*([0-9]+),\s*([^,]+)")
_NAME = re.compile(r"\A[a-z][a-z0-9_-]{0,31}\Z")
_PLAIN = re.compile(r"\A[+-]?[0-9.]+([eE][+-]?[0-9]+)?\Z")
# which kind a name in Channels is; heat switches and everything else are switches
KINDS: tuple[tuple[str, Kind, str], ...] = (
    (r"v[0-9]+[a-z]?", "valve", "Whether {} is open."),
    (r"turbo[0-9]*|scroll[0-9]*|compressor|pulsetube|pump[0-9a-z]*", "pump", "Whether {} is on."),
    (r".*", "switch", "Whether {} is on."),
)


@dataclass(frozen=True, slots=True)
class Kelvin(Number):
    """A temperature; logged as 0 or nan where there is none."""

    def parse(self, text: str) -> float:
        if text.strip().lower() == "nan" or (value := Number.parse(self, text)) == 0.0:
            raise NoValueError(f"the temperature was logged as {text.strip()}: there is none")
        return value


@dataclass(frozen=True, slots=True)
class Gauge(Number):
    """The pressure of one of the six gauges in a line of maxigauge."""

    channel: int = 1

    def parse(self, text: str) -> float:
        states = {int(found[1]): (found[3], found[4]) for found in _GAUGE.finditer(text)}
        if self.channel not in states:
            raise ReplyError(f"expected gauge CH{self.channel} in the line, found {text[:80]!r}")
        state, value = states[self.channel]
        if state != "1":
            raise NoValueError(f"gauge CH{self.channel} is not on: its state is {state}")
        return Number.parse(self, value)


@dataclass(frozen=True, slots=True)
class Paired(Datatype[V]):
    """The value behind one name in a line of name,value pairs."""

    key: str
    value: Datatype[V]

    def parse(self, text: str) -> V:
        pairs = pairs_of(text)
        if self.key not in pairs:
            raise NoValueError(f"the newest line has no {self.key}")
        return self.value.parse(pairs[self.key])

    def refuse(self, value: object) -> V:
        return self.value.refuse(value)

    def format(self, value: V) -> str:
        return self.value.format(value)

    def describe(self) -> Description:
        return self.value.describe()


@dataclass(frozen=True, slots=True)
class Logged(Datatype[Dated[V]]):
    """A value behind its local date and time."""

    value: Datatype[V]
    zone: tzinfo | None
    now: Callable[[], float]

    def parse(self, text: str) -> Dated[V]:
        parts = text.strip().split(",", 2)
        if len(parts) != 3:
            raise ReplyError(f"expected date, time and value, found {text[:80]!r}")
        date, clock, value = parts
        return Dated(self.value.parse(value), self._t_ns(f"{date},{clock}"))

    def refuse(self, value: object) -> Dated[V]:
        return Dated(self.value.refuse(value), 0)

    def format(self, value: Dated[V]) -> str:
        return self.value.format(value.value)

    def describe(self) -> Description:
        return self.value.describe()

    def _t_ns(self, text: str) -> int:
        try:
            local = datetime.strptime(text, "%d-%m-%y,%H:%M:%S").replace(tzinfo=self.zone)
        except ValueError as error:
            raise ReplyError(f"expected dd-mm-yy,HH:MM:SS, found {text[:80]!r}") from error
        twice = {local.replace(fold=fold).timestamp() for fold in (0, 1)}
        return int(min(twice, key=lambda t: abs(t - self.now()))) * 10**9


class BlueforsLogs(Fridge):
    """A Bluefors refrigerator by the folder that its software logs to."""

    identity = ""
    extras = frozenset({"stages", "zone"})
    lag_s = 120.0  # each scan of the thermometers is logged, and the other logs about once a minute

    # Any: what every instrument takes, see Instrument
    def __init__(
        self,
        resource: str,
        *,
        stages: Mapping[str, int | str] | None = None,
        zone: str | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(resource, wire=LogFolder(resource), clock=clock, **options)
        self._zone, self._now, self._clock = _zone(zone), now, clock
        self._rows = self._always({**STAGES, **(stages or {})})
        self._found: tuple[Row, ...] = ()
        self._search_at = clock()

    @classmethod
    def check_resource(cls, resource: str) -> str:
        return check_folder(resource)

    def rows(self) -> Sequence[Row]:
        return self._rows

    def found(self) -> Sequence[Row]:
        return self._found

    def _check_identity(self) -> None:
        """A folder that is there is the right one; there is nobody to ask."""

    def _connect(self) -> None:
        super()._connect()
        if self._clock() >= self._search_at:
            self._search_at = self._clock() + SEARCH_S
            self._found = tuple(self._pairs())

    def _always(self, stages: Mapping[str, int | str]) -> tuple[Row, ...]:
        numbers = {name: _channel(name, at) for name, at in stages.items()}
        ohm, flow = Number(unit="ohm"), Number(unit="mmol/s")
        return (
            *(
                self._row("temperature", name, f"CH{n} T", Kelvin(unit="K"), f"CH{n}.")
                for name, n in numbers.items()
            ),
            *(
                self._row("resistance", name, f"CH{n} R", ohm, f"CH{n}.")
                for name, n in numbers.items()
            ),
            self._row("flow", "circulation", "Flowmeter", flow, "Flow of the mixture."),
            *(
                self._row(
                    "pressure", f"p{n}", "maxigauge", Gauge(unit="mbar", channel=n), f"Gauge {n}."
                )
                for n in range(1, 7)
            ),
        )

    def _pairs(self) -> list[Row]:
        """The rows of what the newest lines of pairs name."""
        return [
            *(self._channel_row(key) for key in self._keys("Channels")),
            *(self._number_row("heater", "heaters", key) for key in self._keys("heaters")),
            *(self._number_row("status", "Status", key) for key in self._keys("Status")),
        ]

    def _keys(self, log: str) -> list[str]:
        try:
            pairs = pairs_of(self.link.ask(log).split(",", 2)[-1])
        except InstrumentError:  # its own row would say so; no row, no such log
            return []
        return [key for key, value in pairs.items() if _NAME.match(key) and _PLAIN.match(value)]

    def _channel_row(self, key: str) -> Row:
        kind, title = next((k, t) for p, k, t in KINDS if re.fullmatch(p, key))
        return self._row(kind, key, "Channels", Paired(key, Switch()), title.format(key))

    def _number_row(self, kind: Kind, log: str, key: str) -> Row:
        return self._row(kind, key, log, Paired(key, Number()), f"{key}, as logged.")

    # Any: each row has a datatype of its own
    def _row(self, kind: Kind, name: str, log: str, datatype: Datatype[Any], title: str) -> Row:
        logged: Logged[Any] = Logged(datatype, self._zone, self._now)
        return Row(kind=kind, name=name, ask=log, datatype=logged, title=title)


def pairs_of(text: str) -> dict[str, str]:
    """What a line of name,value,name,value says; some have a number of their own before them."""
    words = [word.strip() for word in text.rstrip(", ").split(",")]
    if len(words) % 2 and _PLAIN.match(words[0]):
        del words[0]
    if len(words) % 2:
        raise ReplyError(f"expected pairs of name and value, found {text[:80]!r}")
    return dict(zip(words[::2], words[1::2], strict=True))


def _channel(stage: str, at: int | str) -> int:
    try:
        return Integer(1, 16).refuse(int(at) if isinstance(at, str) and at.isdecimal() else at)
    except OutOfRangeError as error:
        raise OutOfRangeError(f"stage {stage}: {error}") from error


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"expected a time zone such as Europe/Vienna, found {name!r}") from error
