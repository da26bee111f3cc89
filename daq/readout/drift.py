"""The gain of a channel followed by heater pulses: how much higher they are than they were.

Pulses of each rung of a ladder have a reference height of their own, the mean of the first. The
logarithm of the gain is a random walk that their heights measure (a Kalman filter of one number),
so that an estimate has an uncertainty, and a pulse that lies far off is not believed at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

REFERENCES = 12  # pulses of a rung whose mean is its reference
OUTLIER_SIGMAS = 5.0
BELIEVED = 4  # outliers to the same side in a row are a step of the gain
LEAST_SPREAD = 1e-4  # relative: less is a height that does not change


@dataclass(frozen=True, slots=True)
class Gain:
    """What heights are to be divided by, and its standard uncertainty; 1 at the reference."""

    value: float = 1.0
    sigma: float = 0.0


@dataclass(slots=True)
class _Rung:
    """The first heights of a rung; then their mean, and the relative spread about it."""

    first: list[float] = field(default_factory=list)
    reference: float = 0.0
    spread: float = 0.0


class Drift:
    """Follows one channel; feed it pulses in the order of their times."""

    def __init__(self, wander_per_rth: float) -> None:
        """`wander_per_rth`: how far the gain may go in an hour by a random walk, relative."""
        self._wander2_per_s = wander_per_rth**2 / 3600
        self._rungs: dict[float, _Rung] = {}
        self._log, self._variance, self._at_s = 0.0, 0.0, -math.inf
        self._outliers = 0  # in a row, signed by their side

    @property
    def gain(self) -> Gain:
        """As of the last pulse that was believed."""
        value = math.exp(self._log)
        return Gain(value, value * math.sqrt(self._variance))

    def take(self, at_s: float, rung: float, height: float) -> bool:
        """Take a pulse's height in; whether the gain is better known by it."""
        if not (math.isfinite(height) and height > 0):
            return False
        one = self._rungs.setdefault(rung, _Rung())
        if not one.reference:
            self._refer(one, height, at_s)
            return False
        variance = self._variance + self._wander2_per_s * max(at_s - self._at_s, 0.0)
        noise2 = one.spread**2 * (1 + 1 / REFERENCES)
        away = math.log(height / one.reference) - self._log
        if self._is_outlier(away, variance + noise2):
            return False
        weight = variance / (variance + noise2)
        self._log += weight * away
        self._variance, self._at_s = (1 - weight) * variance, at_s
        return True

    def _refer(self, one: _Rung, height: float, at_s: float) -> None:
        """Among the first of a rung; the gain of a rung that comes late is that of the others."""
        one.first.append(height / math.exp(self._log))
        if len(one.first) < REFERENCES:
            return
        middle = sorted(one.first)[len(one.first) // 2]
        near = sorted(one.first, key=lambda value: abs(value - middle))[: REFERENCES * 3 // 4]
        one.reference = sum(near) / len(near)
        # of the nearest three quarters; as wide again makes up for those that were left out
        spread = math.sqrt(sum((v / one.reference - 1) ** 2 for v in near) / (len(near) - 1))
        one.spread = max(2 * spread, LEAST_SPREAD)
        if self._at_s == -math.inf:
            self._at_s, self._variance = at_s, one.spread**2 / REFERENCES

    def _is_outlier(self, away: float, variance: float) -> bool:
        if away**2 <= OUTLIER_SIGMAS**2 * variance:
            self._outliers = 0
            return False
        side = 1 if away > 0 else -1
        self._outliers = self._outliers + side if self._outliers * side > 0 else side
        if abs(self._outliers) < BELIEVED:
            return True
        self._variance, self._outliers = away**2, 0  # the gain has stepped: believe what is seen
        return False
