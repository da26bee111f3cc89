"""A temperature controller: channels measured in turn, and heaters of which two are connected."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count, takewhile

from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.heaters import Gains
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

CHANNELS, HEATERS = range(1, 13), range(1, 5)
STILL_HEATER, SAMPLE_HEATER = 3, 4
PID = 1  # of pid_mode; 0 is manual
BEFORE_S = 86_400.0  # for which it has been on at time 0


@dataclass(frozen=True, slots=True)
class Sensor:
    """A thermometer on a stage of the cryostat."""

    stage: str
    thermometer: Thermometer


SENSORS = {
    1: Sensor("50K", SEMICONDUCTOR),
    2: Sensor("4K", SEMICONDUCTOR),
    5: Sensor("still", RUTHENIUM_OXIDE),
    6: Sensor("mixing", RUTHENIUM_OXIDE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heater:
    """What is set of one heater: a manual one gives `power_w`, one that regulates what it needs.

    Gains are W/K, and s of integral and derivative.
    """

    active: bool = False
    power_w: float = 0.0
    max_power_w: float = 0.1
    setpoint_k: float = 0.0
    pid_mode: int = 0
    proportional: float = 0.01
    integral: float = 250.0
    derivative: float = 0.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """Which channel was measured, when, and as what; no kelvin where there is no thermometer."""

    channel: int
    at_s: float
    kelvin: float | None
    ohm: float | None


class Turns:
    """Channels measured one after another, each for the same time; also their past."""

    def __init__(self, channels: list[int], visit_s: float) -> None:
        self._rounds = [(-BEFORE_S, channels, visit_s)]

    def begin(self, channels: list[int], visit_s: float, now_s: float) -> None:
        """Begin another round with its first channel."""
        self._rounds.append((now_s, channels, visit_s))

    def ended(self, start_s: float, stop_s: float) -> list[tuple[float, int]]:
        """When which measurement ended, in (start, stop], in order."""
        stops = [since_s for since_s, _, _ in self._rounds[1:]] + [float("inf")]
        return [
            turn
            for (since_s, channels, visit_s), until_s in zip(self._rounds, stops, strict=True)
            for turn in _ends(since_s, channels, visit_s, (start_s, min(stop_s, until_s)))
        ]

    def latest(self, now_s: float) -> tuple[float, int]:
        """The last measurement that has ended."""
        for since_s, channels, visit_s in reversed(self._rounds):
            n = int((now_s - since_s) // visit_s)
            if channels and n > 0:
                break
            now_s = min(now_s, since_s)
        return since_s + n * visit_s, channels[(n - 1) % len(channels)]


def _ends(
    since_s: float, channels: list[int], visit_s: float, within: tuple[float, float]
) -> list[tuple[float, int]]:
    """The ends of one round's measurements within (start, stop]."""
    if not channels:
        return []
    start_s, stop_s = within
    first = max(1, int((start_s - since_s) // visit_s) + 1)
    ends = ((since_s + n * visit_s, channels[(n - 1) % len(channels)]) for n in count(first))
    return list(takewhile(lambda end: end[0] <= stop_s, ends))


class TemperatureController:
    """What a controller box knows and does, without its wires."""

    def __init__(self, cryostat: Cryostat) -> None:
        self._cryostat = cryostat
        self.heaters = {number: Heater() for number in HEATERS}
        self._switched: dict[int, list[tuple[float, bool]]] = {n: [(0.0, False)] for n in HEATERS}
        self.active = set(SENSORS)
        self.wait_s, self.measure_s = 2.0, 5.0
        self._turns = Turns(sorted(self.active), self.wait_s + self.measure_s)
        self._powers: dict[int, Callable[[float], float]] = {
            STILL_HEATER: cryostat.still_heater_w,
            SAMPLE_HEATER: cryostat.heater_w,
        }

    def scan(self, active: set[int], wait_s: float, measure_s: float, now_s: float) -> None:
        """Measure these channels from now on."""
        self.active, self.wait_s, self.measure_s = active, wait_s, measure_s
        self._turns.begin(sorted(active), wait_s + measure_s, now_s)

    def latest(self, now_s: float) -> Measurement:
        """The last measurement of any channel."""
        return self._measured(*self._turns.latest(now_s))

    def latest_of(self, channel: int, now_s: float) -> Measurement | None:
        """The last measurement of a channel, in the last hour."""
        found = self.measured(channel, now_s - 3600.0, now_s)
        return found[-1] if found else None

    def measured(self, channel: int, start_s: float, stop_s: float) -> list[Measurement]:
        """What was measured of a channel in (start, stop]."""
        turns = self._turns.ended(start_s, stop_s)
        return [self._measured(at_s, number) for at_s, number in turns if number == channel]

    def set_heater(self, number: int, heater: Heater, now_s: float) -> None:
        """Let a heater do something else; its power never exceeds its maximum."""
        heater = replace(heater, power_w=min(heater.power_w, heater.max_power_w))
        self.heaters[number] = heater
        self._switched[number].append((now_s, heater.active))
        if number == SAMPLE_HEATER:
            self._heat(heater, now_s)
        elif number == STILL_HEATER:
            self._cryostat.heat_still(heater.power_w * heater.active, now_s)

    def power_w(self, number: int, at_s: float) -> float | None:
        """What a heater gave at a time; None while it was off."""
        switched = self._switched[number]
        if not switched[max(0, bisect_right(switched, (at_s, True)) - 1)][1]:
            return None
        power = self._powers.get(number)
        return self.heaters[number].power_w if power is None else power(at_s)

    def _heat(self, heater: Heater, now_s: float) -> None:
        if heater.active and heater.pid_mode == PID:
            gains = Gains(
                w_per_k=heater.proportional,
                integral_s=heater.integral,
                derivative_s=heater.derivative,
            )
            self._cryostat.hold(heater.setpoint_k, heater.max_power_w, now_s, gains=gains)
        else:
            self._cryostat.heat(heater.power_w * heater.active, now_s)

    def _measured(self, at_s: float, channel: int) -> Measurement:
        if channel not in SENSORS:
            return Measurement(channel, at_s, None, None)
        sensor = SENSORS[channel]
        kelvin = self._cryostat.temperature_k(sensor.stage, at_s)
        return Measurement(channel, at_s, kelvin, sensor.thermometer.resistance_ohm(kelvin))
