"""The bias circuit of a TES read by a locked SQUID: from volts and bias to current and resistance.

    Ib Rsh = I (Rsh + Rp + R)          RL = Rsh + Rp

The shunt turns the bias current Ib into a voltage; RL is what the sensor of resistance R sees in
series (Irwin and Hilton 2005, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from daq.errors import UsageError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


class Estimate(NamedTuple):
    """A measured value and its standard deviation, in the same unit."""

    value: float
    sigma: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasCircuit:
    """What does not change while a sensor is characterized.

    `volts_per_a` is the locked output per current in the sensor, with its sign; `a_per_phi0` the
    current that is one flux quantum in the SQUID.
    """

    r_shunt_ohm: float
    volts_per_a: float
    a_per_phi0: float

    def __post_init__(self) -> None:
        for name in ("r_shunt_ohm", "a_per_phi0"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"{name}: expected above 0, found {getattr(self, name):g}")
        if not (np.isfinite(self.volts_per_a) and self.volts_per_a):
            raise UsageError(f"volts_per_a: expected a gain with sign, found {self.volts_per_a:g}")

    @property
    def volts_per_phi0(self) -> float:
        """The locked output's step when the lock slips by one flux quantum."""
        return abs(self.volts_per_a) * self.a_per_phi0

    def current_a(self, volts: npt.ArrayLike) -> F64:
        """The sensor's current, up to the constant that the loop locked at."""
        return np.asarray(np.asarray(volts, np.float64) / self.volts_per_a)

    def r_total_ohm(self, slope: npt.ArrayLike) -> F64:
        """RL and the sensor's (static or dynamic) resistance, from dI/dIb or I/Ib."""
        return np.asarray(self.r_shunt_ohm / np.asarray(slope, np.float64))
