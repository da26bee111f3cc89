"""A Lake Shore 336, or its sibling the 350, on a cryostat: four inputs and four outputs.

Confirmed by other people's drivers and their simulators: the commands, their fields, RDGST bits,
`KRDG? 0` for all inputs. Not confirmed on a device: the width of numbers in replies to OUTMODE?,
FILTER? and PID?, how HTRSET? writes its user current (qcodes has `+1.7320E+00`), the 350's fields
where they differ.

Input A is on the 50 K stage, B on the 4 K stage, C on the still; D has no sensor. Outputs 1 and 2
heat the still where they control from C or are open loop; 3 and 4 only hold settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

from sim_hardware.face import Conversation
from sim_hardware.faces.lakeshore import (
    STALE_S,
    SWITCH,
    Label,
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
)
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.heaters import Gains
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

INPUTS, OUTPUTS, HEATED = ("A", "B", "C", "D"), ("1", "2", "3", "4"), ("1", "2")
UNITS_OVER = 128  # bit of a reading's status, which differ from the 372's
CLOSED_LOOP, OPEN_LOOP = "1", "3"  # of OUTMODE
NO_FAULT, OPEN = "0", "1"  # of HTRST
TUNED_P = 50.0  # the unit of P is not published in watts
STILL_INPUT = "3"  # C, as OUTMODE counts
OHM = {"1": 25.0, "2": 50.0}  # of HTRSET
LARGEST_A = {"1": 0.707, "2": 1.0, "3": 1.141, "4": 2.0}  # of HTRSET; 0 is the user's
IN_POWER = "2"  # unit of HTRSET
HEATERS = frozenset({"OUTMODE", "RANGE", "SETP", "MOUT", "HTRSET", "TLIMIT", "PID"})


@dataclass(frozen=True, slots=True)
class Variant:
    """What tells the two instruments apart: `ranges` are parts of full power, from range 1 on."""

    model: str
    identity: str
    ranges: tuple[float, ...]


MODEL336 = Variant("lakeshore336", "LSCI,MODEL336,SIM0336/SIM0336,1.0", (0.01, 0.1, 1.0))
MODEL350 = Variant(
    "lakeshore350", "LSCI,MODEL350,SIM0350/SIM0350,1.0", (1e-4, 1e-3, 0.01, 0.1, 1.0)
)


@dataclass(frozen=True, slots=True)
class Sensor:
    """A thermometer on a stage of the cryostat."""

    stage: str
    thermometer: Thermometer


SENSORS = {
    "A": Sensor("50K", SEMICONDUCTOR),
    "B": Sensor("4K", SEMICONDUCTOR),
    "C": Sensor("still", RUTHENIUM_OXIDE),
}


def kelvin(value: float) -> str:
    """A sign and six digits with a moving point, without an exponent."""
    decimals = 6 - len(str(int(abs(value))))
    return f"{value:+.{decimals}f}"


def _ampere(value: float) -> str:
    return f"{value:+.4E}"


def settings_table(n_ranges: int) -> dict[str, Setting]:
    """What can be set, given how many heater ranges there are."""
    gains = (Real(0.1, 1000, gain), Real(0.1, 1000, gain), Real(0, 200, gain))
    return {
        "INNAME": Setting((Label(15),), "", INPUTS),
        "INCRV": Setting((Whole(0, 59, 2),), "00", INPUTS),
        "INTYPE": Setting(
            (Whole(0, 5), SWITCH, Whole(0, 8), SWITCH, Whole(1, 3)), "0,0,0,0,1", INPUTS
        ),
        "FILTER": Setting((SWITCH, Whole(2, 64, 2), Whole(1, 10, 2)), "0,08,02", INPUTS),
        "TLIMIT": Setting((Real(0, 9999, fixed(5, 0)),), "+0000", INPUTS),
        "OUTMODE": Setting((Whole(0, 5), Whole(0, 8), SWITCH), "0,0,0", OUTPUTS),
        "RANGE": Setting((Whole(0, n_ranges),), "0", OUTPUTS),
        "SETP": Setting((Real(0, 9999, kelvin),), kelvin(0.0), OUTPUTS),
        "PID": Setting(gains, "+0050.0,+0020.0,+0000.0", HEATED),
        "MOUT": Setting((Real(0, 100, fixed(6, 2)),), "+00.00", OUTPUTS),
        "HTRSET": Setting(
            (Whole(1, 2), Whole(0, 4), Real(0, 2, _ampere), Whole(1, 2)),
            "1,0,+2.0000E-02,1",
            HEATED,
        ),
    }


# what a laboratory has set: three thermometers, output 1 on the still
PRESET = {("INNAME", n): f"Input {n}" for n in INPUTS} | {
    ("INCRV", "A"): "21",
    ("INCRV", "B"): "22",
    ("INCRV", "C"): "23",
    ("INTYPE", "A"): "3,1,0,1,1",
    ("INTYPE", "B"): "3,1,0,1,1",
    ("INTYPE", "C"): "3,1,0,1,1",
    ("OUTMODE", "1"): "1,3,0",
}


class Lakeshore336:
    """The instrument; its text is ASCII, messages end with LF, replies with CRLF."""

    max_clients = 2
    refusal = b""
    message_end = b"\n"

    def __init__(
        self,
        cryostat: Cryostat,
        variant: Variant = MODEL336,
        *,
        gap_s: float = 0.0,
        stale_s: float = STALE_S,
    ) -> None:
        """`gap_s` after a message it obeys the next one; setpoints read as before for `stale_s`."""
        self.model, self.complaints = variant.model, list[str]()
        self._cryostat, self._variant, self._pace = cryostat, variant, Pace(gap_s)
        self._settings = Settings(settings_table(len(variant.ranges)), PRESET)
        self._faults = dict.fromkeys(HEATED, NO_FAULT)
        self._language = Language(
            variant.identity,
            self._settings,
            self._readings(),
            complain=lambda text: self.complaints.append(text),
            told=self._told,
            stale_s=stale_s,
        )

    def connect(self, now_s: float) -> Conversation:
        """Talk with a new client."""
        del now_s
        return PacedConversation(self, self._pace)

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; none to commands or nonsense."""
        self._shut_down_above_limits(now_s)
        return self._language.answer(message, now_s)

    def open_heater(self, output: str, now_s: float) -> None:
        """Break the wires of a heater: its output goes off, and HTRST? tells it once."""
        self._faults[output] = OPEN
        self._settings.put("RANGE", output, "0")
        self._heat(output, now_s)

    # --- inputs

    def _readings(self) -> dict[str, Reading]:
        return {
            "KRDG": Reading(("0", *INPUTS), self._each(self._kelvin)),
            "SRDG": Reading(("0", *INPUTS), self._each(self._ohm)),
            "RDGST": Reading(INPUTS, self._status),
            "HTR": Reading(HEATED, self._output),
            "HTRST": Reading(HEATED, self._heater_fault),
        }

    def _each(self, reading: Callable[[str, float], str]) -> Callable[[str, float], str]:
        """A reading that for input 0 is a list of all of them."""
        return lambda channel, now_s: ",".join(
            reading(each, now_s) for each in (INPUTS if channel == "0" else (channel,))
        )

    def _connected(self, channel: str) -> bool:
        """Whether there is a sensor, and its input is switched on."""
        return channel in SENSORS and self._settings.parts("INTYPE", channel)[0] != "0"

    def _kelvin(self, channel: str, now_s: float) -> str:
        """Zero where there is no sensor or no curve."""
        if not self._connected(channel) or int(self._settings.text("INCRV", channel)) == 0:
            return kelvin(0.0)
        return kelvin(self._cryostat.temperature_k(SENSORS[channel].stage, now_s))

    def _ohm(self, channel: str, now_s: float) -> str:
        if not self._connected(channel):
            return kelvin(0.0)
        sensor = SENSORS[channel]
        measured_k = self._cryostat.temperature_k(sensor.stage, now_s)
        return kelvin(sensor.thermometer.resistance_ohm(measured_k))

    def _status(self, channel: str, now_s: float) -> str:
        del now_s
        return "000" if self._connected(channel) else f"{UNITS_OVER:03d}"

    # --- outputs

    def _told(self, name: str, now_s: float) -> None:
        if name in HEATERS:
            for output in HEATED:
                self._heat(output, now_s)

    def _heat(self, output: str, now_s: float) -> None:
        """Let an output act on the still."""
        by = f"{self.model}.{output}"
        mode, control, _ = self._settings.parts("OUTMODE", output)
        full_w = self._full_w(output)
        if mode == CLOSED_LOOP and control == STILL_INPUT:
            setpoint_k = float(self._settings.text("SETP", output))
            gains = self._gains(output, setpoint_k)
            self._cryostat.hold_still(setpoint_k, full_w, now_s, by=by, gains=gains)
        else:
            manual = float(self._settings.text("MOUT", output)) if mode == OPEN_LOOP else 0.0
            share = manual / 100 if self._in_power(output) else (manual / 100) ** 2
            self._cryostat.heat_still(share * full_w, now_s, by=by)

    def _gains(self, output: str, setpoint_k: float) -> Gains:
        """By the manual, I is the number of resets in 1000 s, and D percent of a quarter reset."""
        proportional, resets, derivative = map(float, self._settings.parts("PID", output))
        integral_s = 1000 / resets
        tuned = self._cryostat.tuned("still", setpoint_k)
        return tuned.set_to(proportional / TUNED_P, integral_s, derivative / 100 * integral_s / 4)

    def _output(self, output: str, now_s: float) -> str:
        """Percent of full scale: of the current, or of the power where that is displayed."""
        full_w, by = self._full_w(output), f"{self.model}.{output}"
        share = self._cryostat.driven_w("still", by, now_s) / full_w if full_w else 0
        return f"{100 * (share if self._in_power(output) else sqrt(share)):+06.1f}"

    def _heater_fault(self, output: str, now_s: float) -> str:
        """A fault is told once."""
        del now_s
        fault, self._faults[output] = self._faults[output], NO_FAULT
        return fault

    def _full_w(self, output: str) -> float:
        """What an output gives at the end of its range."""
        range_ = int(self._settings.text("RANGE", output))
        ohm, largest, user, _ = self._settings.parts("HTRSET", output)
        current_a = LARGEST_A.get(largest) or float(user)
        return OHM[ohm] * current_a**2 * (self._variant.ranges[range_ - 1] if range_ else 0.0)

    def _in_power(self, output: str) -> bool:
        return self._settings.parts("HTRSET", output)[3] == IN_POWER

    def _shut_down_above_limits(self, now_s: float) -> None:
        """Switch every output off where an input is above its temperature limit; 0 is none."""
        limits = {channel: float(self._settings.text("TLIMIT", channel)) for channel in SENSORS}
        if any(
            0 < limit < self._cryostat.temperature_k(SENSORS[of].stage, now_s)
            for of, limit in limits.items()
        ):
            for output in OUTPUTS:
                self._settings.put("RANGE", output, "0")
            self._told("RANGE", now_s)
