"""The heat capacity of copper from 1 mK to room temperature: electrons and Debye lattice."""

from __future__ import annotations

from functools import cache
from math import exp

import numpy as np

DEBYE_K, GAS_CONSTANT, KG_PER_MOL = 343.0, 8.314462618, 0.063546
ELECTRONS_J_PER_KG_K2 = 0.693e-3 / KG_PER_MOL  # gamma = 0.693 mJ/(mol K²)
LOWEST, HIGHEST, N = np.log(1e-3), np.log(500.0), 800


def _lattice_j_per_kg_k(temperature_k: float) -> float:
    """Debye's integral."""
    x = np.linspace(1e-6, min(DEBYE_K / temperature_k, 60.0), 2000)
    integral = np.trapezoid(x**4 * np.exp(-x) / np.expm1(-x) ** 2, x)
    atom = 9 * GAS_CONSTANT * (temperature_k / DEBYE_K) ** 3 * integral
    return float(atom) / KG_PER_MOL


_STEP = float((HIGHEST - LOWEST) / (N - 1))


@cache  # made at the first use: a tenth of a second that whoever reads a config can do without
def _logs() -> list[float]:
    return [float(np.log(_lattice_j_per_kg_k(np.exp(LOWEST + n * _STEP)))) for n in range(N)]


def heat_capacity_j_per_kg_k(log_k: float) -> float:
    """At exp(`log_k`) K, from 1 mK to 500 K, of 1 kg."""
    place = min(max((log_k - float(LOWEST)) / _STEP, 0.0), N - 1.001)
    n = int(place)
    logs = _logs()
    lattice = exp(logs[n] + (place - n) * (logs[n + 1] - logs[n]))
    return lattice + ELECTRONS_J_PER_KG_K2 * exp(log_k)
