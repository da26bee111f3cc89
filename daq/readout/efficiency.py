"""How many pulses of an energy a trigger finds, from pulses that were added by software."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.6827  # of the intervals: one sigma
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Of `placed` pulses of an energy `found` were found; the interval of Clopper and Pearson."""

    energy_ev: float
    placed: int
    found: int
    low: float
    high: float


def share(energy_ev: float, placed: int, found: int, level: float = LEVEL) -> Share:
    """The exact binomial interval (Clopper & Pearson 1934); all of [0, 1] where none was placed."""
    from scipy.special import betaincinv  # here: a quarter of a second

    tail = (1 - level) / 2
    low = betaincinv(found, placed - found + 1, tail) if found else 0.0
    high = betaincinv(found + 1, placed - found, 1 - tail) if found < placed else 1.0
    return Share(energy_ev=energy_ev, placed=placed, found=found, low=float(low), high=float(high))


def half_point_ev(shares: Sequence[Share]) -> float | None:
    """Energy at which half are found: that of the most likely normal cumulative curve.

    None where the shares do not say: where fewer or more than half are found at every energy.
    """
    known = [s for s in shares if s.placed]
    rates = [s.found / s.placed for s in known]
    if not rates or min(rates) >= 0.5 or max(rates) < 0.5:
        return None
    from scipy.optimize import minimize  # here: it takes half a second
    from scipy.special import log_ndtr

    energies = np.array([s.energy_ev for s in known])
    placed = np.array([s.placed for s in known], np.float64)
    found = np.array([s.found for s in known], np.float64)
    middle = float(np.interp(0.5, np.maximum.accumulate(rates), energies))
    width = max(float(np.ptp(energies)) / 4, middle / 100)

    def unlikely(x: F64) -> float:
        z = (energies - x[0]) / math.exp(min(x[1], 50.0))
        ways = found * log_ndtr(z) + (placed - found) * log_ndtr(-z)
        return -float(ways.sum())

    start = np.array([middle, math.log(width)])
    best = minimize(unlikely, start, method="Nelder-Mead").x
    return float(best[0])
