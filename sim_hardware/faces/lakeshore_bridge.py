"""The inputs of a Lake Shore resistance bridge: sixteen thermometers, one of them measured now.

Shared by the 372 and the 370, which have the same scanner and the same tables of ranges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim_hardware.faces.lakeshore import SWITCH, Reading, Setting, Settings, Whole, moving
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.scanner import Scanner, Visit
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

INPUTS = tuple(str(n) for n in range(1, 17))
MIXING_INPUT = "6"
TUNED_P = 10.0  # the unit of P is not published in watts
HEATER_RANGES_A = (0.0, 31.6e-6, 100e-6, 316e-6, 1e-3, 3.16e-3, 10e-3, 31.6e-3, 100e-3)
VOLTAGE, CURRENT = "0", "1"  # modes of excitation
EXCITATIONS = {VOLTAGE: 2e-6, CURRENT: 1e-12}  # the lowest, in V and A; two steps are a decade
LOWEST_RANGE_OHM = 2e-3  # likewise
R_OVER = 16  # bit of a reading's status
ZERO_K, OVER_OHM = "+00.0000E-03", "+000.000E+09"
ROUNDS = frozenset({"SCAN", "INSET", "INTYPE", "RDGRNG", "FILTER"})  # these begin the scan anew


@dataclass(frozen=True, slots=True)
class Sensor:
    """A thermometer on a stage of the cryostat."""

    stage: str
    thermometer: Thermometer


SENSORS = {
    "1": Sensor("50K", SEMICONDUCTOR),
    "2": Sensor("4K", SEMICONDUCTOR),
    "5": Sensor("still", RUTHENIUM_OXIDE),
    MIXING_INPUT: Sensor("mixing", RUTHENIUM_OXIDE),
}


@dataclass(frozen=True, slots=True)
class Excitation:
    """How an input is measured: `level` and `range` are numbers of the manual's tables."""

    mode: str
    level: int
    autorange: bool
    range: int

    def power_w(self, ohm: float) -> float:
        """The power in a thermometer of a resistance."""
        excitation = EXCITATIONS[self.mode] * 10 ** ((self.level - 1) / 2)
        return float(excitation**2 * ohm if self.mode == CURRENT else excitation**2 / ohm)

    def holds(self, ohm: float) -> bool:
        """Whether a resistance is within the range, which follows it where it may."""
        return self.autorange or ohm <= LOWEST_RANGE_OHM * 10 ** ((self.range - 1) / 2)


def input_settings(inputs: tuple[str, ...], curves: int) -> dict[str, Setting]:
    """The settings that scan and describe the inputs; `curves` is the highest curve's number."""
    inset = (SWITCH, Whole(1, 200, 3), Whole(3, 200, 3), Whole(0, curves, 2), Whole(1, 2))
    filters = (SWITCH, Whole(1, 200, 3), Whole(1, 80, 2))
    return {
        "SCAN": Setting((Whole(1, 16, 2), SWITCH), "01,1"),
        "INSET": Setting(inset, "0,010,003,00,1", inputs),
        "FILTER": Setting(filters, "0,005,10", inputs, every="0"),
    }


class BridgeInputs:
    """What the inputs read, given what is set."""

    def __init__(
        self, cryostat: Cryostat, settings: Settings, excitation: Callable[[str], Excitation]
    ) -> None:
        self._cryostat, self._settings, self._excitation = cryostat, settings, excitation
        self._scanner = Scanner(self._round(self._settings.parts("SCAN")[0]))

    def readings(self, inputs: tuple[str, ...]) -> dict[str, Reading]:
        """What can be asked about the inputs."""
        return {
            "SCAN": Reading(("",), self._scan),
            "RDGK": Reading(inputs, self._kelvin),
            "RDGR": Reading(inputs, self._ohm),
            "RDGPWR": Reading(inputs, self._excitation_w),
            "RDGST": Reading(inputs, self._status),
        }

    def told(self, name: str, now_s: float) -> None:
        """Begin the scan anew where a command does that: the input must settle again."""
        if name in ROUNDS:
            number, _ = self._settings.parts("SCAN")
            first = number if name == "SCAN" else self._scanner.channel(now_s)
            self._scanner.begin(self._round(first), now_s)

    def measured_k(self, channel: str, now_s: float) -> float:
        """The temperature when the scanner was last there."""
        measured_s = self._scanner.measured_s(channel, now_s)
        return self._cryostat.temperature_k(SENSORS[channel].stage, measured_s)

    def _scan(self, where: str, now_s: float) -> str:
        del where
        return f"{self._scanner.channel(now_s):0>2},{self._settings.parts('SCAN')[1]}"

    def _measured_ohm(self, channel: str, now_s: float) -> float:
        thermometer = SENSORS[channel].thermometer
        return thermometer.resistance_ohm(self.measured_k(channel, now_s))

    def _valid(self, channel: str, now_s: float) -> bool:
        """Whether there is a thermometer, and within the range of measurement."""
        if channel not in SENSORS:
            return False
        return self._excitation(channel).holds(self._measured_ohm(channel, now_s))

    def _kelvin(self, channel: str, now_s: float) -> str:
        """Zero where there is no valid reading or no curve."""
        curve = self._settings.parts("INSET", channel)[3]
        if int(curve) == 0 or not self._valid(channel, now_s):
            return ZERO_K
        return moving(self.measured_k(channel, now_s))

    def _ohm(self, channel: str, now_s: float) -> str:
        valid = self._valid(channel, now_s)
        return moving(self._measured_ohm(channel, now_s)) if valid else OVER_OHM

    def _status(self, channel: str, now_s: float) -> str:
        """The last status: that of the last measurement."""
        return "000" if self._valid(channel, now_s) else f"{R_OVER:03d}"

    def _excitation_w(self, channel: str, now_s: float) -> str:
        """The excitation's power in the thermometer."""
        if channel not in SENSORS:
            return moving(0.0)
        return moving(self._excitation(channel).power_w(self._measured_ohm(channel, now_s)))

    def _round(self, number: str) -> list[Visit]:
        """Where the scanner goes from now on: through the enabled inputs, or to one for ever."""
        auto = self._settings.parts("SCAN")[1]
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


class SampleHeater:
    """The sample heater of a bridge, on the mixing chamber."""

    def __init__(self, cryostat: Cryostat, by: str) -> None:
        self._cryostat, self._by = cryostat, by

    def regulate(
        self,
        setpoint: float,
        full_w: float,
        now_s: float,
        *,
        in_kelvin: bool,
        pid: list[str],
    ) -> None:
        """Hold a setpoint, which may be the thermometer's resistance; P is 10 where it is tuned."""
        thermometer = SENSORS[MIXING_INPUT].thermometer
        kelvin = setpoint if in_kelvin or not setpoint else thermometer.temperature_k(setpoint)
        proportional, integral_s, derivative_s = map(float, pid)
        tuned = self._cryostat.tuned("mixing", kelvin)
        gains = tuned.set_to(proportional / TUNED_P, integral_s, derivative_s)
        self._cryostat.hold(kelvin, full_w, now_s, by=self._by, gains=gains)

    def give(self, power_w: float, now_s: float) -> None:
        """A constant power."""
        self._cryostat.heat(power_w, now_s, by=self._by)

    def power_w(self, now_s: float) -> float:
        """What it gives."""
        return self._cryostat.driven_w("mixing", self._by, now_s)
