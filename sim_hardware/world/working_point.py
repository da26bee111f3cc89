"""What a sensor that stays near one working point streams: baseline, pulses and noise.

Everything is prepared for one reference; next to it, the baseline follows the exact steady state
and pulses and noise are scaled by the responsivity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from sim_hardware.world.noise import ComputedNoise, Lines, Pool, pools
from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.template_bank import TemplateBank
from sim_hardware.world.tes import OperatingPoint, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear

TOLERANCE = 0.1  # of the responsivity: what deviates more is not streamed but integrated
RESPONSIVITY_HZ = 100.0  # where it is compared: pulses last for milliseconds
BATH_STEP_K, BATH_STEPS = 15e-6, 10  # to both sides of the bath; straight lines miss 5 pA
SILENT = 1e-40  # of a pool that has lines alone, in A²/Hz

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Near:
    """Steady states of one bias and heater at baths [low_k, high_k] that may be streamed.

    `scale` is the responsivity relative to the reference's.
    """

    bath_k: Floats
    current_a: Floats
    t_e_k: Floats
    scale: Floats

    def holds(self, bath_k: float) -> bool:
        """Whether this bath is among them."""
        return len(self.bath_k) > 1 and bool(self.bath_k[0] <= bath_k <= self.bath_k[-1])

    def at(self, bath_k: float) -> tuple[float, float, float]:
        """(current, electrons' temperature, scale) at a bath."""
        values = (self.current_a, self.t_e_k, self.scale)
        current_a, t_e_k, scale = (float(np.interp(bath_k, self.bath_k, v)) for v in values)
        return current_a, t_e_k, scale


class WorkingPoint:
    """The reference of some chains of the same parameters, and what lies near it."""

    def __init__(
        self,
        p: TesParameters,
        squid: SquidParameters,
        op: OperatingPoint,
        rate_hz: float,
        rng: np.random.Generator,
    ) -> None:
        """Takes a second: templates are integrated and noise is synthesized."""
        self.p, self.op = p, op
        linear = Linear(p, op)
        if not linear.stable:
            raise UnphysicalError(f"working point: expected a stable one, found {op}")
        self.bank = TemplateBank(p, op, rate_hz)
        self.noise = pools(readout_noise(linear, squid, rate_hz), rate_hz, rng)
        self._responsivity = _responsivity(p, op)
        self.near: Callable[[float, float], Near] = lru_cache(maxsize=256)(self._near)

    def _near(self, bias_a: float, heater_w: float) -> Near:
        """The streamable steady states of a bias and a heater's power."""
        steps = np.arange(-BATH_STEPS, BATH_STEPS + 1) * BATH_STEP_K
        around = [self._steady(bias_a, heater_w, self.op.bath_k + step) for step in steps]
        scales = [_responsivity(self.p, op) / self._responsivity if op else 0.0 for op in around]
        fits = [abs(scale - 1) < TOLERANCE for scale in scales]
        low, high = _run_around(fits, BATH_STEPS)
        kept = [op for op in around[low:high] if op is not None]
        return Near(
            np.array([op.bath_k for op in kept]),
            np.array([op.current_a for op in kept]),
            np.array([op.t_e_k for op in kept]),
            np.array(scales[low:high]),
        )

    def _steady(self, bias_a: float, heater_w: float, bath_k: float) -> OperatingPoint | None:
        try:
            op = operating_point(
                self.p,
                bias_a=bias_a,
                bath_k=bath_k,
                heater_w=heater_w,
                from_k=self.op.t_e_k,
            )
        except UnphysicalError:
            return None
        return op if Linear(self.p, op).stable else None


def readout_noise(linear: Linear, squid: SquidParameters, rate_hz: float) -> ComputedNoise:
    """What samples show without lines: the sensor's noise folded, the SQUID's to half the rate."""
    return ComputedNoise(
        density=lambda f_hz: linear.sampled_psd(f_hz, rate_hz) + squid.current_psd(f_hz)
    )


def lines_pool(lines: Lines, rate_hz: float, rng: np.random.Generator) -> Pool:
    """The sines over one period that they have in common."""
    silent = ComputedNoise(density=lambda f_hz: np.full(f_hz.shape, SILENT), lines=lines)
    return pools(silent, rate_hz, rng)[0]


def _responsivity(p: TesParameters, op: OperatingPoint) -> float:
    return float(np.abs(Linear(p, op).response(np.array([RESPONSIVITY_HZ])))[0])


def _run_around(fits: list[bool], place: int) -> tuple[int, int]:
    """[low, high) of the run of true ones around a place; empty where there is none."""
    if not fits[place]:
        close = [i for i, fit in enumerate(fits) if fit]
        if not close:
            return 0, 0
        place = min(close, key=lambda i: abs(i - place))
    low, high = place, place + 1
    while low > 0 and fits[low - 1]:
        low -= 1
    while high < len(fits) and fits[high]:
        high += 1
    return low, high
