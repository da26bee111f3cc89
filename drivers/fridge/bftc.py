"""The Bluefors temperature controller (BFTC): twelve thermometers and four heaters, HTTP port 5001.

Confirmed by several public drivers and by copies of the maker's manual: the endpoints used here,
that the latest measurement is that of whichever channel came last, that a temperature may be null,
that a heater's power reads 0 while it is controlled and is then known from its history alone, and
that every reply has a status. The ranges of power (1 W) and setpoint (1000 K) are the manual's.

Not confirmed on a device of ours: all of it. The settings of the control loop are not covered, nor
are WebSocket (port 5002) and MQTT: their ports and the names of their endpoints are known, but no
literal exchange is, and HTTP gives the same values sooner than MQTT does. A heater whose relay
stands otherwise than its mode delivers nothing; that is read as the alarm of that heater.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from daq.datatypes import Datatype, Description, Integer, Number, Switch, Text
from daq.errors import InstrumentError, OutOfRangeError, ReplyError, WrongInstrumentError
from drivers.fridge.fridge import Fridge, Row
from drivers.fridge.recent import Recent
from drivers.http import HttpLink, Json, check_address
from drivers.parameter import AbsentError, Dated, NoValueError

V = TypeVar("V")
STAGES = {"50k": 1, "4k": 2, "still": 5, "mxc": 6}
LATEST, HEATERS = "/channel/measurement/latest", "/heaters"
WAIT_S, AGAIN_S = 1.0, 0.1  # how long we look for a channel's first measurement
HISTORY_S, SCAN_S = 60.0, 300.0  # how far back a heater's power and a channel are looked for
GOOD_FOR_S = 0.5  # one answer about all heaters serves for each of them


@dataclass(frozen=True, slots=True)
class Measured(Datatype[Dated[V]]):
    """One quantity of a measurement, at the time of that; null is a gap."""

    key: str
    value: Datatype[V]

    def parse(self, text: str) -> Dated[V]:
        measured = json.loads(text)
        raw, t = measured.get(self.key), measured.get("timestamp")
        if not isinstance(t, (int, float)) or not 0 <= t < 1e12:
            raise ReplyError(f"expected the time of a measurement, found {t!r}")
        if raw is None:
            flags = measured.get("status_flags")
            raise NoValueError(f"no {self.key} was measured; the flags are {flags}")
        return Dated(self.value.parse(_text(raw)), int(t * 1e9))

    def refuse(self, value: object) -> Dated[V]:
        return Dated(self.value.refuse(value), 0)

    def format(self, value: Dated[V]) -> str:
        return self.value.format(value.value)

    def describe(self) -> Description:
        return self.value.describe()


@dataclass(frozen=True, slots=True)
class Field(Datatype[V]):
    """One setting in what the box says of a heater."""

    key: str
    value: Datatype[V]

    def parse(self, text: str) -> V:
        fields = json.loads(text)
        if self.key not in fields:
            raise AbsentError(f"the heater has no {self.key}")
        return self.value.parse(_text(fields[self.key]))

    def refuse(self, value: object) -> V:
        return self.value.refuse(value)

    def format(self, value: V) -> str:
        return self.value.format(value)

    def describe(self) -> Description:
        return self.value.describe()


# the settings of a heater: kind, name, key, datatype, title, and what JSON wants when it is told
SETTINGS: tuple[tuple[Any, str, str, Datatype[Any], str, Callable[[str], Json]], ...] = (
    ("heater", ".active", "active", Switch(), "Whether it is on.", lambda text: text == "1"),
    ("control", ".closed_loop", "pid_mode", Switch(), "Whether it holds its setpoint.", int),
    ("control", ".setpoint", "setpoint", Number(0, 1000, "K"), "Temperature to hold.", float),
    ("control", ".max_power", "max_power", Number(0, 1, "W", 9), "Its limit.", float),
)
TOLD = {"power": float, **{key: told for _, _, key, _, _, told in SETTINGS}}


class Bftc(Fridge):
    """A BFTC box. A question is "channel N", "heater N" or "power N"; what is told, KEY N=VALUE.

    Only the channels in `stages` are read; name the others there to have them read.
    """

    identity = r".+"
    extras = frozenset({"stages"})
    settle_s = 0.1
    lag_s = 120.0  # each channel is measured in its turn

    # Any: what every instrument takes, see Instrument
    def __init__(
        self,
        resource: str,
        *,
        stages: Mapping[str, int | str] | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        self._web = HttpLink(resource)
        super().__init__(resource, wire=self._web, clock=clock, **options)
        self._now, self._clock = now, clock
        self._rows = (*_thermometry({**STAGES, **(stages or {})}), *_heating())
        self._measured: dict[str, Any] = {}  # the latest measurement of each channel
        self._missed: dict[str, Any] = {}  # channels that we waited for in vain
        self._heaters: Recent[Json] = Recent(GOOD_FOR_S, clock)
        for memory in (self._measured, self._missed):
            self.forget_with(memory)

    @classmethod
    def check_resource(cls, resource: str) -> str:
        return check_address(resource)

    def rows(self) -> Sequence[Row]:
        return self._rows

    def _check_identity(self) -> None:
        try:
            self._get("/system")
        except InstrumentError as error:
            if error.retryable and not isinstance(error, ReplyError):
                raise
            raise WrongInstrumentError(
                f"expected a Bluefors temperature controller at {self.link.resource}: {error}"
            ) from error
        self._heaters.forget()

    def _question(self, text: str) -> str:
        what, number = text.split(" ")
        asked = {"channel": self._channel, "heater": self._heater, "power": self._power}
        return json.dumps(asked[what](number))

    def _command(self, text: str) -> None:
        key, _, rest = text.partition(" ")
        number, _, value = rest.partition("=")
        self._heaters.forget()
        self._post("/heater/update", {"heater_nr": int(number), key: TOLD[key](value)})

    def _channel(self, number: str) -> Json:
        """Its latest measurement: the box shows that of one channel after the other."""
        newest_s = _time_s(self._look())
        known = self._measured.get(number)
        # polls that are far apart may miss it every time
        if number not in self._missed and newest_s - _time_s(known) > HISTORY_S:
            self._recall(number)
        deadline = self._clock() + (0.0 if number in self._missed else WAIT_S)
        while number not in self._measured:
            if self._clock() >= deadline:
                self._missed[number] = True
                raise NoValueError(f"channel {number} was not measured since we connected")
            self.pause(AGAIN_S)
            self._look()
        return self._measured[number]

    def _look(self) -> Json:
        latest = self._get(LATEST)
        number = latest.get("channel_nr")
        if not isinstance(number, int):
            raise ReplyError(f"expected the number of a channel, found {number!r}")
        self._measured[str(number)] = latest
        return latest

    def _recall(self, number: str) -> None:
        """What was measured before we came, so that nobody waits for a whole scan."""
        fields = ["timestamp", "temperature", "resistance", "status_flags"]
        asked = {"channel_nr": int(number), "fields": fields, **self._window(SCAN_S)}
        history = self._post("/channel/historical-data", asked).get("measurements") or {}
        times = history.get("timestamp") or []
        if times:
            whole = [key for key in fields if len(history.get(key) or ()) == len(times)]
            self._measured[number] = {key: history[key][-1] for key in whole}

    def _heater(self, number: str) -> Json:
        reply = self._heaters.get(HEATERS, lambda: self._get(HEATERS))
        for heater in reply.get("data") or ():
            if heater.get("heater_nr") == int(number):
                return heater
        raise AbsentError(f"the box has no heater {number}")

    def _power(self, number: str) -> Json:
        """The power that was set, or that which the control loop gave last."""
        heater = self._heater(number)
        if not heater.get("pid_mode"):
            return {"power": heater.get("power"), "timestamp": self._now()}
        which = {"heater_nr": int(number), "fields": ["timestamp", "power"]}
        asked = {**which, **self._window(HISTORY_S)}
        history = self._post("/heater/historical-data", asked).get("measurements")
        return _last(history or {}, number)

    def _window(self, length_s: float) -> dict[str, str]:
        stop = self._box_time()
        return {"start_time": _utc(stop - timedelta(seconds=length_s)), "stop_time": _utc(stop)}

    def _box_time(self) -> datetime:
        """Now by the clock of the box, which its history is asked by."""
        said = self._heaters.get(HEATERS, lambda: self._get(HEATERS)).get("datetime")
        try:
            return datetime.fromisoformat(said) + timedelta(seconds=1)
        except (TypeError, ValueError):
            return datetime.fromtimestamp(self._now(), UTC)

    def _get(self, path: str) -> Json:
        return _answered(self._web.get(path), path)

    def _post(self, path: str, body: Mapping[str, Json]) -> Json:
        return _answered(self._web.post(path, body), path)


def _answered(reply: Json, path: str) -> Json:
    if not isinstance(reply, dict) or "status" not in reply:
        raise ReplyError(f"expected a reply with its status from {path}, found {str(reply)[:80]!r}")
    if reply["status"] != "OK":
        found = {key: value for key, value in reply.items() if key not in ("datetime", "hash")}
        raise InstrumentError(f"the box refused {path}: {str(found)[:200]}")
    return reply


def _time_s(measured: Json) -> float:
    """When it was measured; 0 where nobody knows."""
    t = measured.get("timestamp") if measured else None
    return float(t) if isinstance(t, (int, float)) else 0.0


def _last(history: Mapping[str, Json], number: str) -> Json:
    times, powers = history.get("timestamp") or [], history.get("power") or []
    if len(times) != len(powers):
        raise ReplyError(f"expected as many powers as times, found {len(powers)} and {len(times)}")
    if not times:
        raise NoValueError(f"heater {number} is controlled and has no history of its power")
    return {"power": powers[-1], "timestamp": times[-1]}


def _text(raw: Json) -> str:
    """A JSON value as datatypes read it."""
    if isinstance(raw, bool):
        return str(int(raw))
    if isinstance(raw, float) and not math.isfinite(raw):
        raise NoValueError(f"the box gives {raw}")
    if isinstance(raw, list):
        return " ".join(str(part) for part in raw) or "none"
    return repr(raw) if isinstance(raw, (int, float)) else str(raw)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _thermometry(stages: Mapping[str, int | str]) -> list[Row]:
    quantities: tuple[tuple[Any, str, Datatype[Any], str], ...] = (
        ("temperature", "temperature", Number(unit="K"), "Temperature of {}."),
        ("resistance", "resistance", Number(unit="ohm"), "Resistance of {}."),
        ("alarm", "status_flags", Text(), "Flags of the latest measurement of {}."),
    )
    numbers = {name: _channel_number(name, at) for name, at in stages.items()}
    return [
        Row(
            kind=kind,
            name=name,
            ask=f"channel {number}",
            datatype=Measured(key, datatype),
            title=title.format(name),
        )
        for kind, key, datatype, title in quantities
        for name, number in numbers.items()
    ]


def _heating() -> list[Row]:
    rows = []
    for n in range(1, 5):
        power = Measured("power", Number(0, 1, "W", 9))
        rows.append(
            Row(
                kind="heater",
                name=f"heater_{n}",
                ask=f"power {n}",
                datatype=power,
                title=f"Power of heater {n}.",
                tell=f"power {n}={{value}}",
            )
        )
        rows += [
            Row(
                kind=kind,
                name=f"heater_{n}{ending}",
                ask=f"heater {n}",
                datatype=Field(key, datatype),
                title=f"Heater {n}. {title}",
                tell=f"{key} {n}={{value}}",
            )
            for kind, ending, key, datatype, title, _ in SETTINGS
        ]
        rows.append(
            Row(
                kind="alarm",
                name=f"heater_{n}",
                ask=f"heater {n}",
                datatype=Disconnected(),
                title=f"Whether heater {n} is on and its relay keeps it from delivering.",
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Disconnected(Datatype[bool]):
    """Whether a heater is on while its relay is not where its mode wants it."""

    def parse(self, text: str) -> bool:
        heater = json.loads(text)
        if "relay_mode" not in heater or "relay_status" not in heater:
            raise AbsentError("the box says nothing of this heater's relay")
        return bool(heater.get("active")) and heater["relay_mode"] != heater["relay_status"]

    def refuse(self, value: object) -> bool:
        return Switch().refuse(value)

    def format(self, value: bool) -> str:
        return Switch().format(value)

    def describe(self) -> Description:
        return Switch().describe()


def _channel_number(stage: str, at: int | str) -> int:
    try:
        return Integer(1, 12).refuse(int(at) if isinstance(at, str) and at.isdecimal() else at)
    except OutOfRangeError as error:
        raise OutOfRangeError(f"stage {stage}: {error}") from error
