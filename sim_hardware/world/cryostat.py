"""The cryostat: stages that drift, and answer heaters with one time constant each."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import exp, pi, sin, sqrt

import numpy as np

from sim_hardware.world.heaters import Heaters

COOLING_W_PER_K2 = 0.0411  # of the mixing chamber: P = a (T² - T_base²)
STILL_K_PER_W = 50.0
NOISE = 1 << 32  # of the generators: not one of the particles' keys
REMEMBERED = 1000  # changes of a target
TICK_S = 0.1  # thermometer noise is white down to this


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage: it drifts by ±`drift_k`, and its thermometer has noise of rms `noise_k`."""

    base_k: float
    drift_k: float
    drift_period_s: float
    noise_k: float
    time_constant_s: float


STAGES = {
    "50K": Stage(
        base_k=47.0, drift_k=0.4, drift_period_s=5400.0, noise_k=3e-3, time_constant_s=600.0
    ),
    "4K": Stage(
        base_k=3.6, drift_k=0.02, drift_period_s=3600.0, noise_k=5e-4, time_constant_s=300.0
    ),
    "still": Stage(
        base_k=0.7, drift_k=3e-3, drift_period_s=2400.0, noise_k=1e-4, time_constant_s=60.0
    ),
    "mixing": Stage(
        base_k=0.010, drift_k=2e-5, drift_period_s=1800.0, noise_k=2e-6, time_constant_s=30.0
    ),
}


class Response:
    """A quantity that follows its targets with one time constant; its past can be asked too."""

    def __init__(self, value: float, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._turns: list[tuple[float, float, float]] = [(-1e300, value, value)]

    def at(self, now_s: float) -> float:
        """The value at a time."""
        since_s, value, target = self._turn(now_s)
        return target + (value - target) * exp(-max(0.0, now_s - since_s) / self._time_constant_s)

    def target(self, now_s: float) -> float:
        """What it goes for at a time."""
        return self._turn(now_s)[2]

    def aim(self, target: float, now_s: float) -> None:
        """Go for a new target from now on."""
        if target != self.target(now_s):
            self._turns.append((now_s, self.at(now_s), target))
            del self._turns[:-REMEMBERED]

    def _turn(self, now_s: float) -> tuple[float, float, float]:
        found = bisect_right(self._turns, now_s, key=lambda turn: turn[0])
        return self._turns[max(0, found - 1)]


class Cryostat:
    """The stages' temperatures as functions of time, and the heaters that move two of them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bases = {
            name: Response(stage.base_k, stage.time_constant_s) for name, stage in STAGES.items()
        }
        self._heaters = {"mixing": Heaters(holding_w), "still": Heaters(still_holding_w)}

    def temperature_k(self, stage: str, now_s: float) -> float:
        """What a perfect but noisy thermometer shows on a stage."""
        return self.true_k(stage, now_s) + STAGES[stage].noise_k * self._noise(stage, now_s)

    def true_k(self, stage: str, now_s: float) -> float:
        """The temperature of a stage."""
        of = STAGES[stage]
        return self._bases[stage].at(now_s) + of.drift_k * sin(2 * pi * now_s / of.drift_period_s)

    def heat(self, power_w: float, now_s: float, *, by: str = "") -> None:
        """Put a constant power on the mixing chamber, with the heater that `by` drives."""
        self._heaters["mixing"].give(by, power_w)
        self._settle(now_s)

    def hold(self, setpoint_k: float, limit_w: float, now_s: float, *, by: str = "") -> None:
        """Regulate the mixing chamber, as far as a heater of that power can."""
        self._heaters["mixing"].hold(by, setpoint_k, limit_w)
        self._settle(now_s)

    def heat_still(self, power_w: float, now_s: float, *, by: str = "") -> None:
        """Put a constant power on the still."""
        self._heaters["still"].give(by, power_w)
        self._settle(now_s)

    def hold_still(self, setpoint_k: float, limit_w: float, now_s: float, *, by: str = "") -> None:
        """Regulate the still, as far as a heater of that power can."""
        self._heaters["still"].hold(by, setpoint_k, limit_w)
        self._settle(now_s)

    def driven_w(self, stage: str, by: str) -> float:
        """The power of one heater alone."""
        return self._heaters[stage].powers_w().get(by, 0.0)

    def heater_w(self, now_s: float) -> float:
        """The power on the mixing chamber."""
        return max(0.0, holding_w(self._bases["mixing"].target(now_s)))

    def still_heater_w(self, now_s: float) -> float:
        """The power on the still."""
        return (self._bases["still"].target(now_s) - STAGES["still"].base_k) / STILL_K_PER_W

    def _settle(self, now_s: float) -> None:
        """Let the heated stages go where the sum of their heaters takes them."""
        mixing_w, still_w = (
            sum(self._heaters[stage].powers_w().values()) for stage in ("mixing", "still")
        )
        base_k = STAGES["mixing"].base_k
        self._bases["mixing"].aim(sqrt(base_k**2 + mixing_w / COOLING_W_PER_K2), now_s)
        self._bases["still"].aim(STAGES["still"].base_k + STILL_K_PER_W * still_w, now_s)

    def _noise(self, stage: str, now_s: float) -> float:
        """A normal deviate for each stage and tick, whoever asks and however often."""
        tick = int(now_s / TICK_S) % 2**64  # there is a time before the bench's, too
        counter = np.array([0, 0, list(STAGES).index(stage), tick], np.uint64)
        philox = np.random.Philox(counter=counter, key=[self._seed, NOISE])
        return float(np.random.Generator(philox).standard_normal())


def holding_w(temperature_k: float) -> float:
    """The power that keeps the mixing chamber there; negative below its base."""
    return COOLING_W_PER_K2 * (temperature_k**2 - STAGES["mixing"].base_k ** 2)


def still_holding_w(temperature_k: float) -> float:
    """The power that keeps the still there; negative below its base."""
    return (temperature_k - STAGES["still"].base_k) / STILL_K_PER_W
