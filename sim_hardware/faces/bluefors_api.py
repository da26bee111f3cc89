"""The control software of a Bluefors refrigerator, asked in JSON over HTTP or HTTPS.

Of several independent clients: `/system` and `/values/` with dots or slashes, numbers as strings,
`latest_value` beside a `latest_valid_value` that may be stale, the status words, the two POSTs of a
write, the error object, the key in the query. Not confirmed on a device: whether `/system` has its
names under `data`, the words in `type` and in errors, which HTTP status an error has, when a
written value is CHANGED and when QUEUED, after how long a value is outdated, key permissions (here
a key may do everything), and other paths.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import inf

from sim_hardware.face import Conversation
from sim_hardware.faces.bftc_heater import HeaterSettingError, changed, shown
from sim_hardware.http import HttpConversation, Reply, Request, TlsConversation
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.controller import HEATERS, Heater, TemperatureController
from sim_hardware.world.gas import SIX_GAUGES, GasHandling

SYSTEM = {"system_name": "simulated", "system_version": "2.2.0", "api_version": "v2.2"}
SYNCHRONIZED, INDEPENDENT, CHANGED = "SYNCHRONIZED", "INDEPENDENT", "CHANGED"
QUEUED, INVALID = "QUEUED", "INVALID"
SHOWN_CHANNELS = range(1, 9)
MAPPED = {"t50k": 1, "t4k": 2, "tstill": 5, "tmixing": 6}
HEATER, WRITE = "driver.bftc.data.heaters.heater_{}.{}", "driver.bftc.write"
WRITABLE = ("active", "pid_mode", "power", "setpoint")
QUEUED_S = 0.5  # from the call that writes until the controller has it
OUTDATED_S = 120.0


@dataclass(frozen=True, slots=True)
class Value:
    """A value as text, when it was had, and its status; no text where there is no value."""

    text: str
    at_s: float
    status: str


@dataclass(slots=True)
class Written:
    """A value that was written but is not in the controller; from when on it is."""

    text: str
    there_s: float = inf

    @property
    def called(self) -> bool:
        """Whether it is on its way."""
        return self.there_s < inf


class ApiError(Exception):
    """A request that is answered by the error object."""

    def __init__(self, status: HTTPStatus, name: str, description: str) -> None:
        super().__init__(description)
        self.status, self.name = status, name


class BlueforsApi:
    """The software on the control unit; with `tls` over HTTPS, with `key` for who has it."""

    model = "bluefors-api"
    max_clients = 16
    refusal = b""

    def __init__(
        self,
        controller: TemperatureController,
        gas: GasHandling,
        calendar: Calendar,
        *,
        tls: ssl.SSLContext | None = None,
        key: str | None = None,
    ) -> None:
        self.complaints: list[str] = []
        self.scheme = "https" if tls else "http"
        self._controller, self._gas, self._calendar = controller, gas, calendar
        self._tls, self._key = tls, key
        self._written: dict[str, Written] = {}
        self._valid: dict[str, Value] = {}
        self._values = dict(self._tree())
        self._targets = {
            HEATER.format(number, name): (number, name) for number in HEATERS for name in WRITABLE
        }

    def connect(self, now_s: float) -> Conversation:
        """Talk with a new client."""
        del now_s
        inside = HttpConversation(self)
        return TlsConversation(inside, self._tls, self.complaints) if self._tls else inside

    def respond(self, request: Request, now_s: float) -> Reply:
        """Values, or the error object."""
        try:
            return Reply(HTTPStatus.OK, self._content(request, now_s))
        except ApiError as error:
            self.complaints.append(f"{request.method} {request.path}: {error}")
            return Reply(error.status, _error_object(error, request))

    def _content(self, request: Request, now_s: float) -> object:
        if self._key is not None and request.query.get("key") != self._key:
            raise ApiError(HTTPStatus.FORBIDDEN, "FORBIDDEN", "expected the API key")
        root, _, path = request.path.strip("/").partition("/")
        if root == "system" and request.method == "GET":
            return {"data": SYSTEM}
        if root == "values" and request.method == "GET":
            return {"data": self._read(path.replace("/", "."), now_s)}
        if root == "values" and request.method == "POST" and not path:
            return {"data": self._post(_posted(request.body), now_s)}
        raise ApiError(HTTPStatus.NOT_FOUND, "NOT_FOUND", "expected GET system or GET, POST values")

    # --- values

    def _tree(self) -> Iterator[tuple[str, Callable[[float], Value]]]:
        """Every path, and what its value is at a time."""
        for number in SHOWN_CHANNELS:
            for name in ("temperature", "resistance"):
                path = f"driver.bftc.data.channels.channel_{number}.{name}"
                yield path, partial(self._measured, number, name)
        for number in HEATERS:
            for name in WRITABLE:
                path = HEATER.format(number, name)
                yield path, partial(self._setting, path, number, name)
        for gauge in SIX_GAUGES:
            yield f"driver.maxigauge.pressures.{gauge}", partial(self._pressure, gauge)
        yield "driver.vc.flow", self._flow
        for name, number in MAPPED.items():
            path = f"mapper.bf.temperatures.{name}"
            yield path, partial(self._measured, number, "temperature")

    def _read(self, path: str, now_s: float) -> dict[str, object]:
        """The values at and below a path."""
        found = [p for p in self._values if not path or p == path or p.startswith(path + ".")]
        if not found:
            raise ApiError(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"expected a path, found {path!r}")
        return {p: self._shown(p, now_s) for p in found}

    def _shown(self, path: str, now_s: float) -> dict[str, object]:
        latest = self._values[path](now_s)
        if latest.text and latest.status in (SYNCHRONIZED, INDEPENDENT, CHANGED):
            self._valid[path] = latest
        valid = self._valid.get(path, Value("", now_s, INVALID))
        content = {"latest_value": self._dated(latest, now_s)}
        content["latest_valid_value"] = self._dated(valid, now_s)
        return {"name": path, "type": "Value.Number.Float", "content": content}

    def _dated(self, value: Value, now_s: float) -> dict[str, object]:
        return {
            "value": value.text,
            "date": round(self._calendar.unix_s(value.at_s) * 1e3),
            "outdated": now_s - value.at_s > OUTDATED_S,
            "status": value.status,
        }

    def _measured(self, number: int, name: str, now_s: float) -> Value:
        """What the controller measured last of a channel; nothing where it cannot."""
        found = self._controller.latest_of(number, now_s)
        if found is None:
            return Value("", now_s, INVALID)
        value = found.kelvin if name == "temperature" else found.ohm
        return Value("", found.at_s, INVALID) if value is None else _independent(value, found.at_s)

    def _setting(self, path: str, number: int, name: str, now_s: float) -> Value:
        """What is written, until the controller has it; then what that holds."""
        written = self._written.get(path)
        if written is not None and now_s < written.there_s:
            return Value(written.text, now_s, QUEUED if written.called else CHANGED)
        self._written.pop(path, None)
        return Value(_text(shown(self._controller.heaters[number])[name]), now_s, SYNCHRONIZED)

    def _pressure(self, gauge: str, now_s: float) -> Value:
        return _independent(self._gas.pressure_mbar(gauge, now_s), now_s)

    def _flow(self, now_s: float) -> Value:
        return _independent(self._gas.flow_mmol_s(now_s), now_s)

    # --- writing

    def _post(self, posted: dict[str, object], now_s: float) -> dict[str, object]:
        """The first POST names values, the second calls what writes them to the controller."""
        if WRITE in posted:
            return {WRITE: self._write(posted[WRITE], now_s)}
        for path, entry in posted.items():
            value = _within(entry, "value", path)
            if path not in self._targets:
                raise ApiError(HTTPStatus.NOT_FOUND, "NOT_FOUND", f"{path}: cannot be written")
            self._checked(path, value)
            self._written[path] = Written(_text(value))
        return {path: self._shown(path, now_s) for path in posted}

    def _write(self, entry: object, now_s: float) -> dict[str, object]:
        """Hand everything written to the controller, which has it a while later."""
        if _within(entry, "call", WRITE) not in (1, "1", True):
            raise ApiError(HTTPStatus.BAD_REQUEST, "INVALID", "expected call 1")
        for path, written in self._written.items():
            if not written.called:
                number, _ = self._targets[path]
                heater = self._checked(path, written.text)
                self._controller.set_heater(number, heater, now_s)
                written.there_s = now_s + QUEUED_S
        called = self._dated(Value("1", now_s, SYNCHRONIZED), now_s)
        content = {"latest_value": called, "latest_valid_value": called}
        return {"name": WRITE, "type": "Value.Method", "content": content}

    def _checked(self, path: str, value: object) -> Heater:
        """The heater as it would be with a value; ApiError where it cannot have it."""
        number, name = self._targets[path]
        try:
            return changed(self._controller.heaters[number], {name: _number(value)})
        except (HeaterSettingError, ValueError) as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, INVALID, f"{path}: {error}") from error


def _independent(value: float, at_s: float) -> Value:
    return Value(_text(value), at_s, INDEPENDENT)


def _text(value: object) -> str:
    """A number as text, true as 1."""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _number(value: object) -> float:
    if isinstance(value, str | int | float):
        return float(value)
    raise ValueError(f"expected a number, found {value!r}")


def _posted(body: bytes) -> dict[str, object]:
    """What is under `data`."""
    try:
        posted = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(HTTPStatus.BAD_REQUEST, INVALID, "expected JSON") from error
    data = posted.get("data") if isinstance(posted, dict) else None
    if not isinstance(data, dict):
        raise ApiError(HTTPStatus.BAD_REQUEST, INVALID, "expected an object with data by path")
    return data


def _within(entry: object, name: str, path: str) -> object:
    """What is under `content` of an entry."""
    content = entry.get("content") if isinstance(entry, dict) else None
    if not isinstance(content, dict) or name not in content:
        raise ApiError(HTTPStatus.BAD_REQUEST, INVALID, f"{path}: expected content with {name}")
    return content[name]


def _error_object(error: ApiError, request: Request) -> dict[str, object]:
    said: dict[str, object] = {
        "name": error.name,
        "description": str(error),
        "code": error.status.value,
        "details": [],
        "query": request.path,
    }
    return {"status": "ERROR", "error": said}
