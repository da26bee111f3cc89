"""A Lake Shore 370 on a cryostat: the older dialect of the resistance bridge, on a serial line.

Confirmed by pages of the manual and two other people's drivers: names and order of the arguments,
`n,nn,nn,n,n` of RDGRNG, the status bits. Not confirmed on a device: how CSET? and HTR? are written
(as on the 372 here), and that RDGPWR? is there.
"""

from __future__ import annotations

from math import sqrt

from sim_hardware.face import Conversation
from sim_hardware.faces.lakeshore import (
    STALE_S,
    SWITCH,
    WHOLE,
    Language,
    Pace,
    PacedConversation,
    Reading,
    Real,
    Setting,
    Settings,
    Whole,
    fixed,
    gain,
    moving,
)
from sim_hardware.faces.lakeshore_bridge import (
    HEATER_RANGES_A,
    INPUTS,
    MIXING_INPUT,
    BridgeInputs,
    Excitation,
    SampleHeater,
    input_settings,
)
from sim_hardware.world.cryostat import Cryostat

IDENTITY = "LSCI,MODEL370,SIM0370,05302003"
READING_VALID = 4  # bit of the status byte
STILL_FULL_W = 0.01
CLOSED_LOOP, OPEN_LOOP = "1", "3"  # of CMODE
IN_KELVIN, IN_POWER = "1", "2"  # units of the setpoint and of the heater
HEATERS = frozenset({"CSET", "CMODE", "HTRRNG", "SETP", "MOUT", "STILL", "PID"})

SETTINGS = input_settings(INPUTS, curves=20) | {
    "RDGRNG": Setting(
        (SWITCH, Whole(1, 22, 2), Whole(1, 22, 2), SWITCH, SWITCH), "0,07,10,1,0", INPUTS
    ),
    "CSET": Setting(
        (
            Whole(1, 16, 2),
            SWITCH,
            Whole(1, 2),
            Whole(1, 255, 3),
            Whole(1, 2),
            Whole(0, 8),
            Real(1, 100_000, fixed(8, 3)),
        ),
        "06,0,1,005,1,8,+120.000",
    ),
    "CMODE": Setting((Whole(1, 4),), "1"),
    "HTRRNG": Setting((Whole(0, 8),), "0"),
    "SETP": Setting((Real(0, 1e6, moving),), moving(0.0)),
    "PID": Setting(
        (Real(0.001, 1000, gain), Real(0, 10_000, gain), Real(0, 2500, gain)),
        "+0010.0,+0020.0,+0000.0",
    ),
    "MOUT": Setting((Real(0, 100, moving),), moving(0.0)),
    "STILL": Setting((Real(0, 100, fixed(6, 2)),), "+00.00"),
}

# what a laboratory has set: four thermometers with their curves
PRESET = {("INSET", n): f"1,007,003,{curve:02d},1" for curve, n in enumerate("1256", start=1)}


class Lakeshore370:
    """The instrument; its text is ASCII at 9600 baud 7O1, messages end with LF, replies CRLF."""

    model = "lakeshore370"
    max_clients = 1
    refusal = b""
    message_end = b"\n"

    def __init__(self, cryostat: Cryostat, *, gap_s: float = 0.0, stale_s: float = STALE_S) -> None:
        """`gap_s` after a message it obeys the next one; setpoints read as before for `stale_s`."""
        self.complaints: list[str] = []
        self._cryostat, self._pace = cryostat, Pace(gap_s)
        self._settings = Settings(SETTINGS, PRESET)
        self._heater = SampleHeater(cryostat, self.model)
        self._inputs = BridgeInputs(cryostat, self._settings, self._excitation)
        readings = {
            "HTR": Reading(WHOLE, self._output),
            "HTRST": Reading(WHOLE, lambda *_: "0"),  # no heater is open here
        }
        self._language = Language(
            IDENTITY,
            self._settings,
            self._inputs.readings(INPUTS) | readings,
            complain=lambda text: self.complaints.append(text),
            told=self._told,
            stale_s=stale_s,
            standing=READING_VALID,
        )

    def connect(self, now_s: float) -> Conversation:
        """Talk with who has the line now."""
        del now_s
        return PacedConversation(self, self._pace)

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; none to commands or nonsense."""
        return self._language.answer(message, now_s)

    def _told(self, name: str, now_s: float) -> None:
        self._inputs.told(name, now_s)
        if name in HEATERS:
            self._heat(now_s)

    def _excitation(self, channel: str) -> Excitation:
        mode, level, range_, auto, _ = self._settings.parts("RDGRNG", channel)
        return Excitation(mode, int(level), auto == "1", int(range_))

    def _output(self, where: str, now_s: float) -> str:
        """The heater, in percent of full scale or in watts."""
        del where
        power_w, full_w = self._heater.power_w(now_s), self._full_w()
        if self._in_power():
            return moving(power_w)
        return moving(100 * sqrt(power_w / full_w) if full_w else 0.0)

    def _heat(self, now_s: float) -> None:
        """Let the outputs act on the cryostat."""
        control, _, units, *_ = self._settings.parts("CSET")
        mode = self._settings.text("CMODE")
        if mode == CLOSED_LOOP and str(int(control)) == MIXING_INPUT:
            setpoint, in_kelvin = float(self._settings.text("SETP")), units == IN_KELVIN
            pid = self._settings.parts("PID")
            self._heater.regulate(setpoint, self._full_w(), now_s, in_kelvin=in_kelvin, pid=pid)
        else:
            self._heater.give(self._manual_w() if mode == OPEN_LOOP else 0.0, now_s)
        still_w = float(self._settings.text("STILL")) / 100 * STILL_FULL_W
        self._cryostat.heat_still(still_w, now_s, by=self.model)

    def _manual_w(self) -> float:
        """The manual output: watts or percent of full scale, and never more than that."""
        manual, full_w = float(self._settings.text("MOUT")), self._full_w()
        return min(manual if self._in_power() else (manual / 100) ** 2 * full_w, full_w)

    def _full_w(self) -> float:
        """What the heater gives at the end of its range, which CSET limits."""
        *_, limit, ohm = self._settings.parts("CSET")
        range_ = min(int(self._settings.text("HTRRNG")), int(limit))
        return float(ohm) * HEATER_RANGES_A[range_] ** 2

    def _in_power(self) -> bool:
        return self._settings.parts("CSET")[4] == IN_POWER
