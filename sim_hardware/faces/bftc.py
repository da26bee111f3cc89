"""A Bluefors temperature controller, asked in JSON over HTTP.

Of several independent clients: the endpoints, `status` OK and `datetime` in every reply, that the
latest measurement is of whichever channel was measured last, temperatures that are null, power 0
while a heater regulates and no history while it is off, settings in `heater/update`. Not confirmed
on a device: how errors are worded and which HTTP status they have, the flags of a channel without
a thermometer, the names of `system`, that the most values of a history are 1000. WebSocket and MQTT
are not here, since no literal exchange is known, nor are relays and calibration curves; the
coupling of channels and heaters is kept without effect: heater 4 is at the mixing chamber, heater 3
at the still.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus

from sim_hardware.faces.bftc_heater import HeaterSettingError, algorithm, changed, shown
from sim_hardware.http import HttpConversation, Reply, Request
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.controller import (
    CHANNELS,
    HEATERS,
    SAMPLE_HEATER,
    STILL_HEATER,
    Measurement,
    TemperatureController,
)

SYSTEM = {
    "api_version": "2.0",
    "type": "BFTC",
    "serial": "SIM0001",
    "label": "",
    "addinfo": "",
    "software_version": "tc-0.12.1",
}
NAMES = {1: "50K", 2: "4K", 5: "STILL", 6: "MXC"}
HEATER_NAMES = {STILL_HEATER: "STILL", SAMPLE_HEATER: "MXC"}
HISTORY_S = 5.0  # from power to power
MOST = 1000  # values of a history
NO_SENSOR = "MEASUREMENT_OVERRANGE"

Json = dict[str, object]


class RefusalError(Exception):
    """A request that cannot be answered."""


class Bftc:
    """The controller box; `null_share` of its measurements have no temperature."""

    model = "bftc"
    max_clients = 8
    refusal = b""

    def __init__(
        self, controller: TemperatureController, calendar: Calendar, *, null_share: float = 0.0
    ) -> None:
        self.complaints: list[str] = []
        self._controller, self._calendar, self._null_share = controller, calendar, null_share
        self._coupled = {6: SAMPLE_HEATER, 5: STILL_HEATER}
        self._endpoints: dict[str, Callable[[Json, float], Json]] = {
            "system": lambda *_: dict(SYSTEM),
            "channels": lambda *_: {"data": [self._channel(n) for n in CHANNELS]},
            "channel": lambda asked, _: self._channel(_among(asked, "channel_nr", CHANNELS)),
            "channel/update": self._update_channel,
            "channel/measurement/latest": self._latest,
            "channel/historical-data": self._channel_history,
            "channel/heater/update": self._couple,
            "heaters": lambda *_: {"data": [self._heater(n) for n in HEATERS]},
            "heater": lambda asked, _: self._heater(_among(asked, "heater_nr", HEATERS)),
            "heater/update": self._update_heater,
            "heater/historical-data": self._heater_history,
            "statemachine": lambda *_: self._scan(),
            "statemachine/update": self._update_scan,
        }

    def connect(self, now_s: float) -> HttpConversation:
        """Talk with a new client."""
        del now_s
        return HttpConversation(self)

    def respond(self, request: Request, now_s: float) -> Reply:
        """The endpoint's reply, or an error that says what was expected."""
        endpoint = self._endpoints.get(request.path.strip("/"))
        if endpoint is None:
            return self._refused(f"expected an endpoint, found {request.path}", now_s)
        try:
            content = endpoint(_asked(request), now_s)
        except (RefusalError, HeaterSettingError) as error:
            return self._refused(f"{request.path}: {error}", now_s)
        return Reply(HTTPStatus.OK, content | {"status": "OK", "datetime": self._date(now_s)})

    def _refused(self, complaint: str, now_s: float) -> Reply:
        self.complaints.append(complaint)
        said = {"status": "ERROR", "error": complaint, "datetime": self._date(now_s)}
        return Reply(HTTPStatus.NOT_FOUND, said)

    def _date(self, now_s: float) -> str:
        return f"{self._calendar.utc(now_s):%Y-%m-%dT%H:%M:%S.%fZ}"

    # --- channels

    def _channel(self, number: int) -> Json:
        return {
            "channel_nr": number,
            "active": number in self._controller.active,
            "name": NAMES.get(number, ""),
            "coupled_heater_nr": self._coupled.get(number, 0),
            "wait_time": self._controller.wait_s,
            "meas_time": self._controller.measure_s,
        }

    def _update_channel(self, asked: Json, now_s: float) -> Json:
        """Measure a channel from now on, or no longer."""
        number, active = _among(asked, "channel_nr", CHANNELS), asked.get("active")
        if not isinstance(active, bool):
            raise RefusalError(f"expected active true or false, found {active!r}")
        measured = self._controller.active - {number} | ({number} if active else set())
        self._rescan(measured, self._controller.wait_s, self._controller.measure_s, now_s)
        return self._channel(number)

    def _couple(self, asked: Json, now_s: float) -> Json:
        del now_s
        number = _among(asked, "channel_nr", CHANNELS)
        self._coupled[number] = _among(asked, "heater_nr", range(len(HEATERS) + 1))
        return self._channel(number)

    def _latest(self, asked: Json, now_s: float) -> Json:
        del asked
        return self._shown(self._controller.latest(now_s))

    def _channel_history(self, asked: Json, now_s: float) -> Json:
        """What was measured between two dates, by the fields that are asked for."""
        number = _among(asked, "channel_nr", CHANNELS)
        start_s, stop_s = self._within(asked, now_s)
        found = self._controller.measured(number, start_s, stop_s)
        rows = [self._shown(each) for each in found[:MOST]]
        return {"channel_nr": number, "over_limit": len(found) > MOST} | _columns(asked, rows)

    def _shown(self, measurement: Measurement) -> Json:
        kelvin, ohm = self._kelvin(measurement), measurement.ohm
        return {
            "channel_nr": measurement.channel,
            "resistance": ohm,
            "reactance": None if ohm is None else 0.0,
            "temperature": kelvin,
            "rez": ohm,
            "imz": None if ohm is None else 0.0,
            "magnitude": ohm,
            "angle": None if ohm is None else 0.0,
            "settings_nr": 5,
            "timestamp": self._calendar.unix_s(measurement.at_s),
            "status_flags": [] if ohm is not None else [NO_SENSOR],
        }

    def _kelvin(self, measurement: Measurement) -> float | None:
        """Null for a share of the measurements, always the same ones."""
        lot = random.Random(round(measurement.at_s * 1e3)).random()
        return None if lot < self._null_share else measurement.kelvin

    # --- scanning

    def _scan(self) -> Json:
        return {"wait_time": self._controller.wait_s, "meas_time": self._controller.measure_s}

    def _update_scan(self, asked: Json, now_s: float) -> Json:
        wait_s = _number(asked, "wait_time", 1.0, 100.0, self._controller.wait_s)
        measure_s = _number(asked, "meas_time", 5.0, 100.0, self._controller.measure_s)
        self._rescan(self._controller.active, wait_s, measure_s, now_s)
        return self._scan()

    def _rescan(self, active: set[int], wait_s: float, measure_s: float, now_s: float) -> None:
        now = (self._controller.active, self._controller.wait_s, self._controller.measure_s)
        if (active, wait_s, measure_s) != now:
            self._controller.scan(active, wait_s, measure_s, now_s)

    # --- heaters

    def _heater(self, number: int) -> Json:
        heater = self._controller.heaters[number]
        named = {"heater_nr": number, "name": HEATER_NAMES.get(number, "")}
        return {**named, **shown(heater), "control_algorithm_settings": algorithm(heater)}

    def _update_heater(self, asked: Json, now_s: float) -> Json:
        """Change what is named and nothing else."""
        number = _among(asked, "heater_nr", HEATERS)
        nested = asked.get("control_algorithm_settings", {})
        if not isinstance(nested, dict):
            raise RefusalError(f"expected control_algorithm_settings by name, found {nested!r}")
        names = asked.keys() - {"heater_nr", "control_algorithm_settings"}
        settings = {name: asked[name] for name in names} | nested
        heater = changed(self._controller.heaters[number], settings)
        self._controller.set_heater(number, heater, now_s)
        return self._heater(number)

    def _heater_history(self, asked: Json, now_s: float) -> Json:
        """The power while the heater was on, which is the only way to know that of a regulation."""
        number = _among(asked, "heater_nr", HEATERS)
        start_s, stop_s = self._within(asked, now_s)
        first = max(0, int(start_s // HISTORY_S) + 1)
        times = [n * HISTORY_S for n in range(first, int(stop_s // HISTORY_S) + 1)]
        powers = [(at_s, self._controller.power_w(number, at_s)) for at_s in times]
        rows: list[Json] = [
            {"timestamp": self._calendar.unix_s(at_s), "power": power_w}
            for at_s, power_w in powers
            if power_w is not None
        ]
        limited = {"heater_nr": number, "over_limit": len(rows) > MOST}
        return limited | _columns(asked, rows[:MOST])

    def _within(self, asked: Json, now_s: float) -> tuple[float, float]:
        """The bench's time from start_time to stop_time, and no later than now."""
        start, stop = (_instant(asked, name) for name in ("start_time", "stop_time"))
        return self._calendar.now_s(start), min(now_s, self._calendar.now_s(stop))


def _asked(request: Request) -> Json:
    """The body's object; nothing where there is no body."""
    if not request.body:
        return {}
    try:
        asked = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise RefusalError(f"expected JSON, found {request.body[:40]!r}") from error
    if not isinstance(asked, dict):
        raise RefusalError(f"expected an object, found {asked!r}")
    return asked


def _among(asked: Json, name: str, numbers: range) -> int:
    value = asked.get(name)
    if isinstance(value, int) and value in numbers:
        return value
    raise RefusalError(f"expected {name} from {numbers[0]} to {numbers[-1]}, found {value!r}")


def _number(asked: Json, name: str, smallest: float, largest: float, now: float) -> float:
    value = asked.get(name, now)
    if isinstance(value, int | float) and smallest <= value <= largest:
        return float(value)
    raise RefusalError(f"expected {name} from {smallest:g} to {largest:g}, found {value!r}")


def _instant(asked: Json, name: str) -> datetime:
    """A date and time, UTC where it has no zone."""
    value = asked.get(name)
    try:
        instant = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise RefusalError(f"expected {name} as YYYY-MM-DDTHH:MM:SSZ, found {value!r}") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _columns(asked: Json, rows: list[Json]) -> Json:
    """The fields that are asked for, each as a list; with timestamps always."""
    fields = asked.get("fields", [])
    if not isinstance(fields, list):
        raise RefusalError(f"expected fields as a list, found {fields!r}")
    names = ["timestamp", *(name for name in fields if name != "timestamp")]
    unknown = [name for row in rows[:1] for name in names if name not in row]
    if unknown:
        raise RefusalError(f"expected fields there are, found {unknown}")
    measurements = {name: [row[name] for row in rows] for name in names}
    return {"fields": names, "measurements": measurements}
