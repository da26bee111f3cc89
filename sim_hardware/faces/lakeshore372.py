"""A Lake Shore 372 on a cryostat: sixteen scanned inputs, a control input and three outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from sim_hardware.face import TextConversation
from sim_hardware.faces.lakeshore372_settings import (
    ALL_INPUTS,
    INPUTS,
    OUTPUTS,
    SETTINGS,
    WHOLE,
    CommandError,
    RefusalError,
    Settings,
    addressed,
    moving,
    none_left,
)
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.scanner import Scanner, Visit
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

IDENTITY = "LSCI,MODEL372,SIM0372,1.3"
POWER_ON = 128  # bit of the event status register, beside those of refusals
EVENT_SUMMARY, READING_VALID = 32, 4  # bits of the status byte
R_OVER = 16  # bit of a reading's status
STALE_S = 0.08  # for how long a setpoint is read back as it was
HEATER_RANGES_A = (0.0, 31.6e-6, 100e-6, 316e-6, 1e-3, 3.16e-3, 10e-3, 31.6e-3, 100e-3)
STILL_FULL_W = 0.01
VOLTAGE, CURRENT = "0", "1"  # mode of INTYPE
EXCITATIONS = {VOLTAGE: 2e-6, CURRENT: 1e-12}  # the lowest, in V and A; two steps are a decade
ZERO_K, OVER_OHM = "+00.0000E-03", "+000.000E+09"
IN_KELVIN, IN_POWER = "1", "2"  # units of INTYPE and of HTRSET
OPEN_LOOP, STILL_MODE, CLOSED_LOOP = "2", "4", "5"  # of OUTMODE
MIXING_INPUT = "6"

ARGUMENT = re.compile(r'"[^"]*"|[^,\s]+')  # some clients separate by spaces
HEATERS = frozenset({"STILL", "INTYPE", "OUTMODE", "RANGE", "SETP", "MOUT", "HTRSET"})
ROUNDS = frozenset({"SCAN", "INSET", "INTYPE", "FILTER"})  # these begin the scan anew


@dataclass(frozen=True, slots=True)
class Sensor:
    """A thermometer on a stage of the cryostat."""

    stage: str
    thermometer: Thermometer


SENSORS = {
    "1": Sensor("50K", SEMICONDUCTOR),
    "2": Sensor("4K", SEMICONDUCTOR),
    "5": Sensor("still", RUTHENIUM_OXIDE),
    "6": Sensor("mixing", RUTHENIUM_OXIDE),
}


class Lakeshore372:
    """The instrument; its text is ASCII, messages end with LF, replies with CRLF."""

    model = "lakeshore372"
    max_clients = 2
    refusal = b""
    message_end = b"\n"

    def __init__(self, cryostat: Cryostat) -> None:
        self.complaints: list[str] = []
        self._cryostat = cryostat
        self._settings = Settings()
        self._stale: dict[tuple[str, str], tuple[str, float]] = {}
        self._events = POWER_ON
        self._scanner = Scanner(self._round())
        self._readings: dict[str, tuple[tuple[str, ...], Callable[[str, float], str]]] = {
            "KRDG": (ALL_INPUTS, self._kelvin),
            "RDGK": (ALL_INPUTS, self._kelvin),
            "SRDG": (ALL_INPUTS, self._ohm),
            "RDGR": (ALL_INPUTS, self._ohm),
            "QRDG": (ALL_INPUTS, self._quadrature),
            "RDGPWR": (ALL_INPUTS, self._excitation_w),
            "RDGST": (ALL_INPUTS, self._status),
            "HTR": (WHOLE, self._heater),
            "HTRST": (OUTPUTS, self._heater_fault),
        }
        self._common: dict[str, Callable[[], str]] = {
            "*IDN?": lambda: IDENTITY, "*ESR?": self._event_status, "*STB?": self._status_byte,
            "*OPC?": lambda: "1", "*CLS": self._clear,
        }  # fmt: skip

    def connect(self, now_s: float) -> TextConversation:
        """Talk with a new client."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; none to commands or nonsense."""
        parts = [part.strip().removeprefix(":") for part in message.split(";")]
        replies = [self._part(part, now_s) for part in parts if part]
        text = ";".join(reply for reply in replies if reply)
        return f"{text}\r\n" if text else ""

    def _part(self, part: str, now_s: float) -> str:
        """The reply to one query or command; what is wrong shows in the event status alone."""
        try:
            return self._obey(part, now_s)
        except RefusalError as refusal:
            self._events |= refusal.event
            self.complaints.append(f"{part!r}: {refusal}")
            return ""

    def _obey(self, part: str, now_s: float) -> str:
        word, _, rest = part.partition(" ")
        word, arguments = word.upper(), ARGUMENT.findall(rest)
        name = word.removesuffix("?")
        if word in self._common and not arguments:
            return self._common[word]()
        if word.endswith("?") and name in self._readings:
            return self._reading(name, arguments, now_s)
        if name not in SETTINGS:
            raise CommandError("unknown")
        if word.endswith("?"):
            return self._query(name, arguments, now_s)
        self._set(name, arguments, now_s)
        return ""

    def _reading(self, name: str, arguments: list[str], now_s: float) -> str:
        among, reading = self._readings[name]
        where, rest = addressed(arguments, among)
        none_left(rest)
        return reading(where, now_s)

    def _query(self, name: str, arguments: list[str], now_s: float) -> str:
        """What is set; a setpoint is for a while what it was."""
        asked = self._settings.asked(name, arguments)
        if name == "SCAN":
            return f"{self._scanner.channel(now_s):0>2},{self._settings.parts(name)[1]}"
        was, until_s = self._stale.get(asked, ("", now_s))
        return was if now_s < until_s else self._settings.text(*asked)

    def _set(self, name: str, arguments: list[str], now_s: float) -> None:
        before = {where: self._settings.text("SETP", where) for where in OUTPUTS}
        self._settings.store(name, arguments)
        for where, was in before.items():
            if was != self._settings.text("SETP", where):
                self._stale["SETP", where] = (was, now_s + STALE_S)
        if name in ROUNDS:
            self._scanner.begin(self._round(), now_s)
        if name in HEATERS:
            self._heat(now_s)

    # --- inputs

    def _kelvin(self, channel: str, now_s: float) -> str:
        """Zero where there is no thermometer or no curve."""
        if channel not in SENSORS or self._settings.parts("INSET", channel)[3] == "00":
            return ZERO_K
        return moving(self._measured_k(channel, now_s))

    def _ohm(self, channel: str, now_s: float) -> str:
        if channel not in SENSORS:
            return OVER_OHM
        thermometer = SENSORS[channel].thermometer
        return moving(thermometer.resistance_ohm(self._measured_k(channel, now_s)))

    def _status(self, channel: str, now_s: float) -> str:
        del now_s
        return "000" if channel in SENSORS else f"{R_OVER:03d}"

    def _measured_k(self, channel: str, now_s: float) -> float:
        """The temperature when the scanner was last there."""
        measured_s = self._scanner.measured_s(channel, now_s)
        return self._cryostat.temperature_k(SENSORS[channel].stage, measured_s)

    def _round(self) -> list[Visit]:
        """Where the scanner goes from now on: through the enabled inputs, or to one for ever."""
        number, auto = self._settings.parts("SCAN")
        first = INPUTS.index(str(int(number)))
        onward = INPUTS[first:] + INPUTS[:first]
        enabled = [n for n in onward if auto == "1" and self._settings.parts("INSET", n)[0] == "1"]
        if not enabled:
            return [Visit(channel=onward[0], pause_s=self._pause_s(onward[0]))]
        return [
            Visit(channel=n, pause_s=self._pause_s(n), dwell_s=self._dwell_s(n)) for n in enabled
        ]

    def _dwell_s(self, channel: str) -> float:
        return float(self._settings.parts("INSET", channel)[1])

    def _pause_s(self, channel: str) -> float:
        """From the scanner's arrival to the first valid reading."""
        filtered, filter_s, _ = self._settings.parts("FILTER", channel)
        pause_s = float(self._settings.parts("INSET", channel)[2])
        return pause_s + int(filtered) * float(filter_s)

    def _quadrature(self, channel: str, now_s: float) -> str:
        """Nothing is out of phase here."""
        del channel, now_s
        return moving(0.0)

    def _excitation_w(self, channel: str, now_s: float) -> str:
        """The excitation's power in the thermometer."""
        if channel not in SENSORS:
            return moving(0.0)
        ohm = float(self._ohm(channel, now_s))
        mode, level, *_ = self._settings.parts("INTYPE", channel)
        excitation = EXCITATIONS[mode] * 10 ** ((int(level) - 1) / 2)
        power_w = excitation**2 * ohm if mode == CURRENT else excitation**2 / ohm
        return moving(power_w)

    # --- outputs

    def _heater(self, where: str, now_s: float) -> str:
        """The sample heater, in percent of full scale or in watts."""
        del where
        power_w = self._cryostat.heater_w(now_s)
        if self._in_power():
            return moving(power_w)
        full_w = self._full_w()
        return moving(100 * sqrt(power_w / full_w) if full_w else 0.0)

    def _heater_fault(self, where: str, now_s: float) -> str:
        """No heater is open here."""
        del where, now_s
        return "0"

    def _heat(self, now_s: float) -> None:
        """Let the outputs act on the cryostat."""
        mode, control, *_ = self._settings.parts("OUTMODE", "0")
        if mode == CLOSED_LOOP and control == MIXING_INPUT:
            self._cryostat.hold(self._setpoint_k(control), self._full_w(), now_s)
        else:
            self._cryostat.heat(self._manual_w() if mode == OPEN_LOOP else 0.0, now_s)
        still = self._settings.parts("OUTMODE", "2")[0] == STILL_MODE
        percent = float(self._settings.text("STILL")) if still else 0.0
        self._cryostat.heat_still(percent / 100 * STILL_FULL_W, now_s)

    def _setpoint_k(self, control: str) -> float:
        """The setpoint, which is in the units of the control input."""
        setpoint = float(self._settings.text("SETP", "0"))
        if self._settings.parts("INTYPE", control)[5] == IN_KELVIN or not setpoint:
            return setpoint
        return SENSORS[control].thermometer.temperature_k(setpoint)

    def _manual_w(self) -> float:
        """The manual output: watts or percent of full scale, and never more than that."""
        manual, full_w = float(self._settings.text("MOUT", "0")), self._full_w()
        return min(manual if self._in_power() else (manual / 100) ** 2 * full_w, full_w)

    def _full_w(self) -> float:
        """What the sample heater gives at the end of its range."""
        ohm = float(self._settings.parts("HTRSET", "0")[0])
        return ohm * HEATER_RANGES_A[int(self._settings.text("RANGE", "0"))] ** 2

    def _in_power(self) -> bool:
        return self._settings.parts("HTRSET", "0")[3] == IN_POWER

    # --- status

    def _event_status(self) -> str:
        """The events since it was last asked."""
        events, self._events = self._events, 0
        return str(events)

    def _status_byte(self) -> str:
        return str(READING_VALID | (EVENT_SUMMARY if self._events else 0))

    def _clear(self) -> str:
        self._events = 0
        return ""
