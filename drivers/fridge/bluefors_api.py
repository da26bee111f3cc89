"""Bluefors by the HTTP interface of its control software: port 49099 plain, 49098 encrypted.

Confirmed by public clients of several laboratories and by copies of the maker's manual: the paths
of values, the samples latest_value and latest_valid_value with their dates in ms, values as
strings, the status words, the key, the self-signed certificate, the error object, and that a value
is written by one POST and passed to its device by a second one to the `.write` of what holds it.
The millibar of driver.maxigauge stand in one client; those of mapper.bf.pressures are inferred from
there.

Not confirmed on a device of ours: all of it. Which values there are differs from one refrigerator
to the next, so they are listed at every connection and those known here are read. Valves and pumps
are read and never written: a mistake there costs the mixture.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from daq.datatypes import Datatype, Description, Number, Text
from daq.errors import InstrumentError, NoReplyError, ReplyError, WrongInstrumentError
from drivers.fridge.bluefors_logs import Kelvin
from drivers.fridge.fridge import Fridge, Kind, Row
from drivers.fridge.words import Words
from drivers.http import HttpLink, Json, check_address, key_in
from drivers.parameter import AbsentError, Dated, NoValueError

V = TypeVar("V")
VALID = ("SYNCHRONIZED", "INDEPENDENT", "CHANGED", "QUEUED")
PENDING = ("CHANGED", "QUEUED")
TAKEN_S, AGAIN_S = 5.0, 0.2  # how long a write may be queued, and how often we look
ROLES = {"mixing": "mxc", "mc": "mxc"}  # the software's names of the stages, where ours differ


class Sample(msgspec.Struct, frozen=True):
    """One sample of a value, with its date in ms."""

    value: str | float
    date: float
    status: str
    outdated: bool = False

    @property
    def text(self) -> str:
        """The value as text; "" where there is none."""
        text = str(self.value).strip()
        return "" if text.lower() in ("", "nan", "null", "outdated") else text

    @property
    def t_ns(self) -> int:
        return round(self.date * 1000) * 1000  # by way of us, which a float holds exactly


class Content(msgspec.Struct, frozen=True):
    """A value of the tree: its latest sample, and its latest one that was valid."""

    latest_value: Sample
    latest_valid_value: Sample | None = None


@dataclass(frozen=True, slots=True)
class Sampled(Datatype[Dated[V]]):
    """A value in its samples; an earlier one, and one on its way to the device, are stale."""

    value: Datatype[V]

    def parse(self, text: str) -> Dated[V]:
        content = _content(text)
        latest, valid = content.latest_value, content.latest_valid_value
        if latest.status in VALID and latest.text:
            return Dated(self.value.parse(latest.text), latest.t_ns, _reserve(latest))
        if valid is None or not valid.text:
            raise NoValueError(f"there is no valid value: it is {latest.status}")
        stale = f"an earlier value: it is {latest.status} now"
        return Dated(self.value.parse(valid.text), valid.t_ns, stale)

    def refuse(self, value: object) -> Dated[V]:
        return Dated(self.value.refuse(value), 0)

    def format(self, value: Dated[V]) -> str:
        return self.value.format(value.value)

    def describe(self) -> Description:
        return self.value.describe()


@dataclass(frozen=True, slots=True)
class Known:
    """Values that we know: the pattern of their path, and what they are."""

    pattern: str
    kind: Kind
    name: str
    datatype: Datatype[Any]  # Any: each has a datatype of its own
    title: str
    writable: bool = False


ON = Words({"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False})
HEATER = r"driver\.bftc\.data\.heaters\.heater_([0-9]+)\."
SAMPLE = r"driver\.lakeshore\.settings\.outputs\.([a-z]+)\."
KELVIN, OHM, MILLIBAR = Kelvin(unit="K"), Number(unit="ohm"), Number(unit="mbar")
HELD_K, POWER_W = Number(0, 300, "K"), Number(0, 1, "W", decimals=9)
KNOWN = (
    Known(r"driver\.bftc\.data\.channels\.channel_([0-9]+)\.temperature", "temperature",
          "channel_{}", KELVIN, "Channel {} of the BFTC."),
    Known(r"driver\.bftc\.data\.channels\.channel_([0-9]+)\.resistance", "resistance",
          "channel_{}", OHM, "Channel {} of the BFTC."),
    Known(r"driver\.lakeshore\.status\.inputs\.channel([0-9A]+)\.temperature", "temperature",
          "channel_{}", KELVIN, "Input {} of the Lake Shore."),
    Known(r"mapper\.bf\.temperatures\.t([a-z0-9]+)", "temperature", "{}", KELVIN, "{}."),
    Known(r"mapper\.bf\.t(mc)", "temperature", "{}", KELVIN, "{}."),
    Known(HEATER + "power", "heater", "heater_{}", POWER_W, "Power of heater {}.", True),
    Known(HEATER + "active", "heater", "heater_{}.active", ON, "Whether heater {} is on.", True),
    Known(HEATER + "pid_mode", "control", "heater_{}.closed_loop", ON,
          "Whether heater {} holds its setpoint.", True),
    Known(HEATER + "setpoint", "control", "heater_{}.setpoint", HELD_K,
          "Temperature that heater {} holds.", True),
    Known(SAMPLE + "setpoint", "control", "{}.setpoint", HELD_K,
          "Temperature that the {} heater holds.", True),
    Known(SAMPLE + "enable_ramping", "control", "{}.ramping", ON,
          "Whether the {} setpoint is ramped.", True),
    Known(r"driver\.maxigauge\.pressures\.(p[1-6])", "pressure", "{}", MILLIBAR, "Gauge {}."),
    Known(r"mapper\.bf\.pressures\.(p[1-6])", "pressure", "{}", MILLIBAR, "Gauge {}."),
    Known(r"(?:driver\.vc|mapper\.bf)\.flow()", "flow", "circulation", Number(unit="mmol/s"),
          "Flow of the mixture."),
    Known(r"mapper\.bf\.valves\.(v[0-9]+[a-z]?)", "valve", "{}", ON, "Whether {} is open."),
    Known(r"mapper\.bf\.pumps\.([a-z]+[0-9]*)", "pump", "{}", ON, "Whether {} is on."),
    Known(r"mapper\.bf(?:legacy\.double)?\.cpaerr()", "alarm", "compressor", Number(),
          "Error bits of the compressor."),
)  # fmt: skip


class BlueforsApi(Fridge):
    """A Bluefors refrigerator by its control software; a question is the path of a value."""

    identity = r".+"
    extras = frozenset({"stages", "key_file", "self_signed"})
    lag_s = 30.0  # values that change slowly are sampled now and then

    # Any: what every instrument takes, see Instrument
    def __init__(
        self,
        resource: str,
        *,
        stages: Mapping[str, int | str] | None = None,
        key_file: str | None = None,
        self_signed: bool = False,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        key = key_in(key_file) if key_file else ""
        self._web = HttpLink(resource, key=key, self_signed=self_signed)
        super().__init__(resource, wire=self._web, clock=clock, **options)
        self._clock = clock
        self._stages = {str(at): name for name, at in (stages or {}).items()}
        self._paths: frozenset[str] = frozenset()
        self._found: tuple[Row, ...] = ()

    @classmethod
    def check_resource(cls, resource: str) -> str:
        return check_address(resource)

    def rows(self) -> Sequence[Row]:
        system = Row(
            kind="status",
            name="system",
            ask="system",
            datatype=Text(),
            title="What the system is called.",
            slow=True,
        )
        return (system,)

    def found(self) -> Sequence[Row]:
        return self._found

    def _check_identity(self) -> None:
        system = _answered(self._web.get("/system"), "/system")
        if not isinstance(system, dict) or "api_version" not in system:
            raise WrongInstrumentError(
                f"expected the control software of Bluefors at {self.link.resource}, "
                f"found {str(system)[:80]!r}"
            )
        listed = _answered(self._web.get("/values/"), "/values/")
        self._paths = frozenset(listed)
        self._found = tuple(_first_of_each_name(_rows(sorted(listed), self._stages)))

    def _question(self, text: str) -> str:
        if text == "system":
            system = _answered(self._web.get("/system"), "/system")
            return str(system.get("system_name", ""))
        return msgspec.json.encode(self._node(text)).decode()

    def _node(self, path: str) -> Json:
        """The content of one value; the reply holds it alone, or under its path."""
        if path not in self._paths:
            raise AbsentError(f"the control software has no {path}")
        where = f"/values/{path.replace('.', '/')}/"
        data = _answered(self._web.get(where), where)
        node = data.get(path, data)
        if not isinstance(node, dict) or "content" not in node:
            raise ReplyError(f"expected the content of {path}, found {str(data)[:80]!r}")
        return node["content"]

    def _command(self, text: str) -> None:
        path, _, value = text.partition("=")
        self._post(path, {"value": value})
        self._post(self._device_of(path) + ".write", {"call": 1})
        self._wait_until_taken(path)

    def _post(self, path: str, content: Mapping[str, Json]) -> None:
        _answered(self._web.post("/values/", {"data": {path: {"content": content}}}), path)

    def _device_of(self, path: str) -> str:
        """What holds a value and has a `.write`; the driver itself where none was listed."""
        parts = path.split(".")
        for length in range(len(parts) - 1, 0, -1):
            holder = ".".join(parts[:length])
            if f"{holder}.write" in self._paths:
                return holder
        return ".".join(parts[:2])

    def _wait_until_taken(self, path: str) -> None:
        deadline = self._clock() + TAKEN_S
        while True:
            latest = _content(msgspec.json.encode(self._node(path)).decode()).latest_value
            if latest.status not in PENDING:
                return
            if self._clock() >= deadline:
                raise NoReplyError(
                    f"expected {path} to reach its device within {TAKEN_S:g} s, "
                    f"found it {latest.status}"
                )
            self.pause(AGAIN_S)


def _answered(reply: Json, where: str) -> Json:
    """The data of a reply; InstrumentError with what it says where it is a refusal."""
    if isinstance(reply, dict) and isinstance(reply.get("data"), dict):
        return reply["data"]
    error = reply.get("error") if isinstance(reply, dict) else None
    if isinstance(error, dict):
        said = error.get("description") or error.get("name") or error.get("code")
        raise InstrumentError(f"the control software refused {where}: {said}")
    raise ReplyError(f"expected data from {where}, found {str(reply)[:80]!r}")


def _content(text: str) -> Content:
    try:
        content = msgspec.json.decode(text, type=Content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReplyError(f"expected a value with its samples, found {text[:120]!r}") from error
    if not 0 <= content.latest_value.date < math.inf:
        raise ReplyError(f"expected a date in ms, found {content.latest_value.date!r}")
    return content


def _reserve(sample: Sample) -> str:
    """Why a valid sample is stale all the same; "" where it is not."""
    if sample.outdated:
        return "the control software calls it outdated"
    return f"not yet at the device: it is {sample.status}" if sample.status in PENDING else ""


def _rows(paths: Sequence[str], stages: Mapping[str, str]) -> Iterator[Row]:
    """The rows of what is listed; a stage that was named in the settings comes first."""
    for known in KNOWN:
        for path in paths:
            match = re.fullmatch(known.pattern, path)
            if match:
                yield _row(known, path, match[1], stages)


def _row(known: Known, path: str, part: str, stages: Mapping[str, str]) -> Row:
    name = known.name.format(part)
    if known.kind in ("temperature", "resistance"):
        name = stages.get(path) or stages.get(part) or ROLES.get(part, name)
    return Row(
        kind=known.kind,
        name=name,
        ask=path,
        datatype=Sampled(known.datatype),
        title=known.title.format(part),
        tell=f"{path}={{value}}" if known.writable else None,
    )


def _first_of_each_name(rows: Iterator[Row]) -> Iterator[Row]:
    seen = set()
    for row in rows:
        if (row.kind, row.name) not in seen:
            seen.add((row.kind, row.name))
            yield row
