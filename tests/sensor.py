"""A sensor at its working point, and plain ways to let it run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sim_hardware.world.tes import (
    BATH_K,
    BIAS_A,
    HEATER_W,
    OperatingPoint,
    TesParameters,
    operating_point,
)
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from sim_hardware.world.tes_linear import Linear

Floats = npt.NDArray[np.float64]

P = TesParameters()
OP = operating_point(P, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W)
LINEAR = Linear(P, OP)
STEP_S = 1e-6


def run(
    n: int,
    *deposits: Deposit,
    dt_s: float = STEP_S,
    p: TesParameters = P,
    op: OperatingPoint = OP,
    bias_a: Floats | None = None,
    key: int | None = None,
) -> tuple[Floats, TesState]:
    """n samples from rest, all as at the operating point but what is given."""
    return advance(
        p,
        TesState.at(op),
        dt_s=dt_s,
        bias_a=np.full(n, op.bias_a) if bias_a is None else bias_a,
        heater_w=np.full(n, op.heater_w),
        bath_k=np.full(n, op.bath_k),
        deposits=deposits,
        noise_key=key,
    )


def pulse(energy_ev: float, n: int, position: float = 0.0) -> Floats:
    """How far an energy lowers the current, in A, at every microsecond."""
    current_a, _ = run(n, Deposit(position, energy_ev))
    return OP.current_a - current_a


def derivatives(x: Sequence[float], p: TesParameters, to_e_w: float, to_a_w: float) -> list[float]:
    """The three equations, written once more, at the working point's bias and plate."""
    i, t, ta = x
    tc = p.tc_k * (1 - (abs(i) / p.critical_current_a) ** (2 / 3))
    r = p.r_normal_ohm / 2 * (1 + np.tanh((t - tc) / p.width_k))
    link = p.k_ea_w_per_k5 * (t**5 - ta**5)
    to_plate = p.k_ab_w_per_k4 * (ta**4 - BATH_K**4)
    power = i**2 * r + to_e_w - p.k_eb_w_per_k2 * (t**2 - BATH_K**2) - link
    return [
        (BIAS_A * p.r_shunt_ohm - i * (p.r_shunt_ohm + p.r_parasitic_ohm + r)) / p.inductance_h,
        power / (p.c_e_j_per_k * t / p.t_reference_k),
        (to_a_w + link - to_plate) / (p.crystal_a_j_per_k4 * ta**3),
    ]
