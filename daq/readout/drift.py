"""The gain of a channel followed by heater pulses: how much higher they are than they were.

Pulses of each rung of a ladder have a reference height of their own, the mean of the first. The
logarithm of the gain is a random walk that their heights measure (a Kalman filter of one number),
so that an estimate has an uncertainty, and a pulse that lies far off is not believed at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

REFERENCES = 12  # pulses of a rung whose mean is its reference
KEPT = 9  # of them: the nearest to their median; the others may have been disturbed
CLOSER = 1.75  # times as close as all of them are the nearest three quarters, of a Gaussian
OUTLIER_SIGMAS = 5.0
BELIEVED = 4  # outliers to the same side in a row are a step of the gain
LEAST_SPREAD = 1e-4  # relative: less is a height that does not change


class Gain(NamedTuple):
    """What heights are to be divided by, and its standard uncertainty; 1 at the reference."""

    value: float = 1.0
    sigma: float = 0.0


class Rung(msgspec.Struct):
    """The first heights of a rung; then their mean, and the relative spread of single ones."""

    first: list[float] = []
    reference: float = 0.0
    spread: float = 0.0


class Drift(msgspec.Struct):
    """Follows one channel; feed it pulses in the order of their times.

    `wander_per_rth` is how far the gain goes in an hour as a random walk, relative.
    """

    wander_per_rth: float
    rungs: dict[float, Rung] = {}
    log: float = 0.0
    variance: float = 0.0
    at_s: float | None = None  # of the last pulse that was believed
    outliers: int = 0  # in a row, with the sign of their side

    @property
    def gain(self) -> Gain:
        """As of the last pulse that was believed; the references are as good as they are."""
        value = math.exp(self.log)
        known = sum(KEPT / rung.spread**2 for rung in self.rungs.values() if rung.reference)
        return Gain(value, value * math.sqrt(self.variance + (1 / known if known else 0.0)))

    def take(self, at_s: float, rung: float, height: float) -> bool:
        """Take a pulse's height in; whether the gain is better known by it."""
        if not (math.isfinite(height) and height > 0):
            return False
        one = self.rungs.setdefault(rung, Rung())
        if not one.reference or self.at_s is None:
            self._refer(one, height, at_s)
            return False
        variance = self.variance + self.wander_per_rth**2 * max(at_s - self.at_s, 0.0) / 3600
        away = math.log(height / one.reference) - self.log
        if self._is_outlier(away, variance + one.spread**2):
            if abs(self.outliers) < BELIEVED:
                return False
            self.outliers, variance = 0, away**2  # it has stepped: believe what is seen
        weight = variance / (variance + one.spread**2)
        self.log += weight * away
        self.variance, self.at_s = (1 - weight) * variance, at_s
        return True

    def _refer(self, one: Rung, height: float, at_s: float) -> None:
        """One of the first of its rung; a rung that comes late has the gain of the others."""
        one.first.append(height / math.exp(self.log))
        if len(one.first) < REFERENCES:
            return
        middle = sorted(one.first)[REFERENCES // 2]
        near = sorted(one.first, key=lambda value: abs(value - middle))[:KEPT]
        one.reference, one.first = sum(near) / KEPT, []
        spread = math.sqrt(sum((v / one.reference - 1) ** 2 for v in near) / (KEPT - 1))
        one.spread = max(CLOSER * spread, LEAST_SPREAD)
        if self.at_s is None:
            self.at_s, self.variance = at_s, one.spread**2 / KEPT

    def _is_outlier(self, away: float, variance: float) -> bool:
        if away**2 <= OUTLIER_SIGMAS**2 * variance:
            self.outliers = 0
            return False
        side = 1 if away > 0 else -1
        self.outliers = self.outliers + side if self.outliers * side > 0 else side
        return True
