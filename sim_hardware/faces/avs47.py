"""A Picowatt AVS-47B resistance bridge behind its AVS47-IB computer interface.

Confirmed by four other people's drivers: the commands and their codes, that a reply repeats the
head of its query, `*IDN PICOWATT,AVS47-IB,0,1.4`, that commands may be separated by semicolons and
`?` by a space, the time an average takes, ADC? in 1/10000 V with an exact 0 when overranged, HDR 0.
Not confirmed on a device: how numbers are written, one line per reply where a message asks twice,
what ERR? says, that settings are refused in local mode, how fast a new input settles.

The real interface is GPIB alone; here it is a socket, as behind a GPIB gateway.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from statistics import fmean, pstdev

from sim_hardware.face import TextConversation
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

IDENTITY = "PICOWATT,AVS47-IB,0,1.4"
MESSAGE = re.compile(r"(\*?[A-Z]+) *(\?|[0-9]+)?")
CALIBRATION_OHM = 100.0
CONVERSION_S = 0.4
SETTLING_S = 0.5  # time constant after input, channel or range
COUNTS = 20_000  # at the end of a range, which is 2 V
GROUNDED, MEASURING = 0, 1  # of INP
RESISTANCE, DEVIATION, REFERENCE = 0, 1, 3  # of DIS
LINE_ENDS = ("", "\n", "\r", "\r\n")
SEPARATORS = (";", ",")
SWITCHING = frozenset(
    {"INP", "MUX", "RAN", "EXC", "ARN", "DIS"}
)  # after these a reading must settle

# the highest and first value of what can be set
SETTINGS = {
    "REM": (1, 0), "INP": (2, MEASURING), "MUX": (7, 3), "RAN": (7, 6), "EXC": (7, 3),
    "DIS": (4, RESISTANCE), "REF": (20_000, 0), "ARN": (30, 0), "DLY": (30, 1), "LIM": (1, 0),
    "TER": (3, 3), "HDR": (1, 1),
}  # fmt: skip
ALSO_LOCAL = frozenset({"REM", "LIM", "TER", "HDR"})


@dataclass(frozen=True, slots=True)
class Sensor:
    """A thermometer on a stage of the cryostat."""

    stage: str
    thermometer: Thermometer


SENSORS = {
    0: Sensor("50K", SEMICONDUCTOR),
    1: Sensor("4K", SEMICONDUCTOR),
    2: Sensor("still", RUTHENIUM_OXIDE),
    3: Sensor("mixing", RUTHENIUM_OXIDE),
}


@dataclass(frozen=True, slots=True)
class Series:
    """Conversions: `count` from a time on, in ohms; overranged where any of them was."""

    begun_s: float
    count: int

    @property
    def done_s(self) -> float:
        """When the last one is there."""
        return self.begun_s + self.count * CONVERSION_S

    @property
    def times_s(self) -> list[float]:
        """When each is taken."""
        return [self.begun_s + (i + 1) * CONVERSION_S for i in range(self.count)]


class Avs47:
    """The instrument; its text is ASCII, messages end with LF or CRLF, replies as TER says."""

    model = "avs47b"
    max_clients = 1
    refusal = b""
    message_end = b"\n"

    def __init__(self, cryostat: Cryostat) -> None:
        self.complaints: list[str] = []
        self._cryostat = cryostat
        self._set = {name: first for name, (_, first) in SETTINGS.items()}
        self._before, self._switched_s = 0.0, -1e9  # what was read before the last switching
        self._average = list[float]()
        self._running: Series | None = None
        self._error = 0
        self._queries: dict[str, Callable[[float], str]] = {
            "*IDN": lambda _: IDENTITY, "*OPC": lambda _: "1", "HW": lambda _: "1.4",
            "AL": lambda _: "1", "ERR": self._last_error, "RAN": lambda t: str(self._range(t)),
            "RFS": lambda _: "0", "MAG": lambda _: "0",
            "ADC": self._converted, "RES": self._resistance, "AVE": self._averaged,
            "OVR": self._overranged, "OVL": self._overranged,
            "MIN": lambda t: _number(min(self._averages(t))),
            "MAX": lambda t: _number(max(self._averages(t))),
            "STD": lambda t: _number(pstdev(self._averages(t))),
            "QRATIO": self._quality,
        }  # fmt: skip
        self._commands: dict[str, Callable[[int | None, float], None]] = {
            "ADC": self._convert, "RES": self._convert, "AVE": self._begin_average,
            "RST": self._reset, "*RST": self._reset, "*CLS": self._clear,
        }  # fmt: skip

    def connect(self, now_s: float) -> TextConversation:
        """Talk with who has the bus now."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """The replies, each with the head of its query and the line end that is set."""
        parts = message.strip().split(SEPARATORS[self._set["LIM"]])
        replies = [self._part(part.strip().upper(), now_s) for part in parts if part.strip()]
        return "".join(reply for reply in replies if reply)

    def _part(self, part: str, now_s: float) -> str:
        """The reply to a query; what is wrong shows in ERR? alone."""
        match = MESSAGE.fullmatch(part)
        head, argument = match.groups() if match else ("", None)
        if argument == "?":
            reply = self._ask(head, now_s)
            if reply:
                head_said = f"{head} " if self._set["HDR"] else ""
                return head_said + reply + LINE_ENDS[self._set["TER"]]
        elif self._told(head, None if argument is None else int(argument), now_s):
            return ""
        self._error = 1
        self.complaints.append(f"{part!r}: not understood, or out of range, or in local mode")
        return ""

    def _ask(self, head: str, now_s: float) -> str:
        if head in self._queries:
            return self._queries[head](now_s)
        return str(self._set[head]) if head in SETTINGS else ""

    def _told(self, head: str, number: int | None, now_s: float) -> bool:
        """Obey a command; False where that cannot be."""
        if head in self._commands:
            self._commands[head](number, now_s)
            return True
        if head not in SETTINGS or not (self._set["REM"] or head in ALSO_LOCAL):
            return False
        if number is None or number > SETTINGS[head][0]:
            return False
        self._put(head, number, now_s)
        return True

    def _put(self, head: str, number: int, now_s: float) -> None:
        if head in SWITCHING:
            self._averages(now_s)
            self._running = None  # an average of two inputs is none
            self._before, self._switched_s = self._settled_ohm(now_s), now_s
        self._set[head] = number

    # --- what is measured

    def _true_ohm(self, now_s: float) -> float | None:
        """What the input is connected to; None: nothing."""
        if self._set["INP"] != MEASURING:
            return 0.0 if self._set["INP"] == GROUNDED else CALIBRATION_OHM
        sensor = SENSORS.get(self._set["MUX"])
        if sensor is None:
            return None
        return sensor.thermometer.resistance_ohm(self._cryostat.temperature_k(sensor.stage, now_s))

    def _settled_ohm(self, now_s: float) -> float:
        """What the bridge has come to since it was switched."""
        ohm = self._true_ohm(now_s) or 0.0
        left = exp(-(now_s - self._switched_s) / SETTLING_S)
        return ohm + (self._before - ohm) * left

    def _range(self, now_s: float) -> int:
        """The range, which follows the resistance where it may."""
        if not self._set["ARN"]:
            return self._set["RAN"]
        ohm = self._true_ohm(now_s)
        fitting = [n for n in range(1, 8) if ohm is not None and ohm <= _full_ohm(n)]
        return fitting[0] if fitting else 7

    def _over(self, now_s: float) -> bool:
        """Whether the resistance is more than the range holds."""
        ohm, range_ = self._true_ohm(now_s), self._range(now_s)
        return range_ > 0 and (ohm is None or ohm > _full_ohm(range_))

    def _counts(self, now_s: float) -> int:
        """What the converter shows of the display's voltage."""
        range_ = self._range(now_s)
        if self._set["DIS"] == REFERENCE:
            return self._set["REF"]
        excited = range_ and self._set["EXC"] and not self._over(now_s)
        if not excited or self._set["DIS"] not in (RESISTANCE, DEVIATION):
            return 0
        counts = round(self._settled_ohm(now_s) / _full_ohm(range_) * COUNTS)
        return counts - (self._set["REF"] if self._set["DIS"] == DEVIATION else 0)

    def _ohm(self, now_s: float) -> float:
        """The resistance with the resolution of the converter."""
        range_ = self._range(now_s)
        return self._counts(now_s) / COUNTS * _full_ohm(range_) if range_ else 0.0

    # --- conversions and averages

    def _convert(self, count: int | None, now_s: float) -> None:
        """Conversions are made all the time; how many are averaged makes no difference here."""
        del count, now_s

    def _begin_average(self, count: int | None, now_s: float) -> None:
        self._running = Series(now_s, count or 1)

    def _averages(self, now_s: float) -> list[float]:
        """The conversions of the last average that is complete; 0 before there is one."""
        if self._running and now_s >= self._running.done_s:
            self._average = [self._ohm(at_s) for at_s in self._running.times_s]
            self._running = None
        return self._average or [0.0]

    def _converted(self, now_s: float) -> str:
        return f"{self._counts(now_s):d}"

    def _resistance(self, now_s: float) -> str:
        return _number(self._ohm(now_s))

    def _averaged(self, now_s: float) -> str:
        return _number(fmean(self._averages(now_s)))

    def _overranged(self, now_s: float) -> str:
        return str(int(self._over(now_s)))

    def _quality(self, now_s: float) -> str:
        """The spread of white noise against its standard deviation."""
        values = self._averages(now_s)
        deviation = pstdev(values)
        return _number((max(values) - min(values)) / deviation if deviation else 0.0)

    # --- the interface

    def _last_error(self, now_s: float) -> str:
        del now_s
        error, self._error = self._error, 0
        return str(error)

    def _reset(self, number: int | None, now_s: float) -> None:
        del number
        for name, (_, first) in SETTINGS.items():
            self._put(name, first, now_s)
        self._running, self._average = None, []

    def _clear(self, number: int | None, now_s: float) -> None:
        del number, now_s
        self._error = 0


def _full_ohm(range_: int) -> float:
    """The end of a range: 2 ohm for 1, and ten times that for each after it."""
    return 2.0 * 10.0 ** (range_ - 1)


def _number(value: float) -> str:
    return f"{value:.5E}"
