"""The sensor's non-linear equations in time: where calls are cut makes no difference.

Each step solves the equations linearized where it begins (an exponential Rosenbrock step whose
exponential is the L-stable Padé approximant (1, 2)) and adds what the noise sources give within
it, with the variance that makes the sampled current exact. The normals are a function of the
sample's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from sim_hardware.world.materials import EV_J
from sim_hardware.world.normals import normal
from sim_hardware.world.tes import OperatingPoint, TesParameters
from sim_hardware.world.tes_linear import BOLTZMANN_J_PER_K

COOL = 1e-7  # how far from rest, relative, a crystal counts as cool: 1 nK, or 1 meV
FAST_RISE = 0.05  # widths of the transition in a step, from where on the chord stands for R's slope
LONGEST_STEP_S = 2e-6  # samples that lie further apart are stepped through

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Deposit:
    """An energy left in the crystal at a sample number with its fraction."""

    position: float
    energy_ev: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TesState:
    """What the sensor is in at a sample; `pending_ev` is deposited but not yet heat."""

    sample: int
    current_a: float
    t_e_k: float
    t_a_k: float
    pending_ev: float = 0.0

    @classmethod
    def at(cls, op: OperatingPoint, sample: int = 0) -> TesState:
        """At rest."""
        return cls(sample=sample, current_a=op.current_a, t_e_k=op.t_e_k, t_a_k=op.t_a_k)


class Constants(NamedTuple):
    """The parameters as kernels take them."""

    r_normal_ohm: float
    r_shunt_ohm: float
    r_load_ohm: float
    per_henry: float
    tc_k: float
    per_width: float
    per_critical: float
    c_e_j_per_k2: float
    k_eb: float
    k_ea: float
    k_ab: float
    a_j_per_k4: float
    collection: float
    tau_n_s: float
    load_v2: float
    excess: float


def constants(p: TesParameters) -> Constants:
    """The parameters as kernels take them."""
    return Constants(
        r_normal_ohm=p.r_normal_ohm,
        r_shunt_ohm=p.r_shunt_ohm,
        r_load_ohm=p.r_load_ohm,
        per_henry=1 / p.inductance_h,
        tc_k=p.tc_k,
        per_width=1 / p.width_k,
        per_critical=1 / p.critical_current_a,
        c_e_j_per_k2=p.c_e_j_per_k / p.t_reference_k,
        k_eb=p.k_eb_w_per_k2,
        k_ea=p.k_ea_w_per_k5,
        k_ab=p.k_ab_w_per_k4,
        a_j_per_k4=p.crystal_a_j_per_k4,
        collection=p.collection,
        tau_n_s=p.tau_n_s,
        load_v2=2 * BOLTZMANN_J_PER_K * p.shunt_k * p.r_load_ohm,
        excess=1 + p.excess_noise**2,
    )


def advance(
    p: TesParameters,
    state: TesState,
    *,
    dt_s: float,
    bias_a: Floats,
    heater_w: Floats,
    bath_k: Floats,
    deposits: Sequence[Deposit] = (),
    noise_key: int | None = None,
) -> tuple[Floats, TesState]:
    """The current at each sample from the state's on, in A, and the state after the last.

    `bias_a`, `heater_w` and `bath_k` hold from each sample to the next; deposits before the
    state's sample or after the last one are left out. Without `noise_key` (see normals.key)
    nothing fluctuates.
    """
    surroundings = _alike(bias_a, heater_w, bath_k)
    start, stop = state.sample, state.sample + len(bias_a)
    inside = sorted(
        (each.position, each.energy_ev) for each in deposits if start <= each.position < stop
    )
    positions, energies = np.array(inside, float).reshape(-1, 2).T.copy()
    out = np.empty(len(bias_a))
    n_steps = ceil(dt_s / LONGEST_STEP_S - 1e-9)
    before = (state.current_a, state.t_e_k, state.t_a_k, state.pending_ev)
    noise_key_ = np.uint64(noise_key or 0)
    after = _advance(
        constants(p), before, start, dt_s / n_steps, n_steps, surroundings,
        positions, energies, noise_key is not None, noise_key_, out,
    )  # fmt: skip
    current_a, t_e_k, t_a_k, pending_ev = after
    return out, replace(
        state,
        sample=stop,
        current_a=current_a,
        t_e_k=t_e_k,
        t_a_k=t_a_k,
        pending_ev=pending_ev,
    )


def _alike(*arrays: Floats) -> tuple[Floats, ...]:
    """The arrays as the kernel takes them, if they have one length: it does not look."""
    lengths = [len(each) for each in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"expected bias_a, heater_w and bath_k of one length, found {lengths}")
    return tuple(np.ascontiguousarray(each, np.float64) for each in arrays)


@njit(nogil=True, cache=True, error_model="numpy")
def step(
    c: Constants,
    x: tuple[float, float, float],
    volts: float,
    to_e_w: float,
    to_a_w: float,
    bath_k: float,
    h: float,
    noise: tuple[float, float, float],
) -> tuple[float, float, float]:
    """(current, electrons, crystal) after h; `noise` are three normals, or zeros.

    `to_e_w` heats the electrons, `to_a_w` the crystal, during the step.
    """
    i, t, ta = x
    share = np.cbrt(abs(i) * c.per_critical)
    share *= share
    u = (t - c.tc_k * (1 - share)) * c.per_width
    below = 1 / (1 + np.exp(2 * u))  # of the normal resistance
    r = c.r_normal_ohm * (1 - below) if u > -15 else c.r_normal_ohm * np.exp(2 * u)
    r_t = 2 * r * below * c.per_width
    ir_i = r_t * c.tc_k * share * (2 / 3)
    t3, ta3 = t * t * t, ta * ta * ta
    t4, ta4 = t3 * t, ta3 * ta
    per_ce, per_ca = 1 / (c.c_e_j_per_k2 * t), 1 / (c.a_j_per_k4 * ta3)
    link = c.k_ea * (t4 * t - ta4 * ta)
    power = i * i * r + to_e_w - c.k_eb * (t * t - bath_k * bath_k) - link
    f_a = (to_a_w + link - c.k_ab * (ta4 - bath_k**4)) * per_ca
    f_i = (volts - i * (c.r_load_ohm + r)) * c.per_henry
    f_t = (power + 2.5 * h * c.k_ea * ta4 * f_a) * per_ce
    rise = h * f_t * c.per_width
    if abs(rise) > FAST_RISE:
        end = u + rise
        small = np.exp(2 * min(end, 0.0))
        r_end = c.r_normal_ohm * small / (small + np.exp(-2 * max(end, 0.0)))
        r_t = (r_end - r) / (h * f_t)
    # h times the derivatives
    z_ii = -h * (c.r_load_ohm + r + ir_i) * c.per_henry
    z_it = -h * i * r_t * c.per_henry
    z_ti = h * i * (2 * r + ir_i) * per_ce
    g_t = i * i * r_t - 2 * c.k_eb * t - 5 * c.k_ea * t4 - power / t
    # a runaway faster than the step would meet the zero of the approximant at z = 6 and stand still
    z_tt = min(h * g_t * per_ce, 1.0)
    # (1 - 2z/3 + z²/6) step = (1 - z/6) h f, where z² = trace z - determinant
    a = 1 - (z_ii * z_tt - z_it * z_ti) / 6
    b = (z_ii + z_tt) / 6 - 2 / 3
    right_i = h * (f_i - (z_ii * f_i + z_it * f_t) / 6)
    right_t = h * (f_t - (z_ti * f_i + z_tt * f_t) / 6)
    d_ii, d_it, d_ti, d_tt = a + b * z_ii, b * z_it, b * z_ti, a + b * z_tt
    per = 1 / (d_ii * d_tt - d_it * d_ti)
    di = (d_tt * right_i - d_it * right_t) * per
    dt = (d_ii * right_t - d_ti * right_i) * per
    z_aa = -h * ((5 * c.k_ea * ta4 + 4 * c.k_ab * ta3) * per_ca + 3 * f_a / ta)
    da = h * (f_a + 2.5 * c.k_ea * t4 * dt * per_ca) / (1 - 0.5 * z_aa)
    if noise[0] != 0.0 or noise[1] != 0.0:
        johnson = 2 * BOLTZMANN_J_PER_K * t * (r + 2 * ir_i) * c.excess
        link_w2 = 5 * BOLTZMANN_J_PER_K * c.k_ea * (t3 * t3 + ta3 * ta3)
        bath_w2 = 2 * BOLTZMANN_J_PER_K * c.k_eb * (t3 + bath_k**3)
        plate_w2 = 4 * BOLTZMANN_J_PER_K * c.k_ab * (ta4 * ta + bath_k**5)
        decay = (1 + z_ii / 3) / (1 - 2 * z_ii / 3 + z_ii * z_ii / 6)
        mean = (decay - 1) / z_ii * h
        v_ii = (johnson + c.load_v2) * c.per_henry**2 * mean * (1 + decay) / 2
        v_it = -i * johnson * c.per_henry * per_ce * mean
        v_tt = (i * i * johnson + bath_w2 + link_w2) * per_ce * per_ce * h
        v_ta = -link_w2 * per_ce * per_ca * h
        v_aa = (link_w2 + plate_w2) * per_ca * per_ca * h
        s_ii = np.sqrt(v_ii)
        s_it = v_it / s_ii
        s_tt = np.sqrt(v_tt - s_it * s_it)
        s_ta = v_ta / s_tt
        di += s_ii * noise[0]
        dt += s_it * noise[0] + s_tt * noise[1]
        da += s_ta * noise[1] + np.sqrt(v_aa - s_ta * s_ta) * noise[2]
    return i + di, t + dt, ta + da


@njit(nogil=True, cache=True, error_model="numpy")
def _advance(
    c: Constants,
    state: tuple[float, float, float, float],
    start: int,
    h: float,
    n_steps: int,
    surroundings: tuple[Floats, ...],
    positions: Floats,
    energies_ev: Floats,
    noisy: bool,
    key: np.uint64,
    out: Floats,
) -> tuple[float, float, float, float]:
    x, pending_ev = (state[0], state[1], state[2]), state[3]
    bias_a, heater_w, bath_k = surroundings
    kept = np.exp(-h / c.tau_n_s)
    noise = (0.0, 0.0, 0.0)
    next_deposit = 0
    for k in range(out.size):
        out[k] = x[0]
        volts = bias_a[k] * c.r_shunt_ohm
        for j in range(n_steps):
            released_ev = pending_ev * (1 - kept)
            pending_ev *= kept
            end = start + k + (j + 1) / n_steps
            while next_deposit < positions.size and positions[next_deposit] < end:
                left_s = (end - positions[next_deposit]) * n_steps * h
                left = np.exp(-left_s / c.tau_n_s)
                released_ev += energies_ev[next_deposit] * (1 - left)
                pending_ev += energies_ev[next_deposit] * left
                next_deposit += 1
            released_w = released_ev * (EV_J / h)
            if noisy:
                at = np.uint64(((start + k) * n_steps + j) * 3)
                noise = (
                    normal(key, at),
                    normal(key, at + np.uint64(1)),
                    normal(key, at + np.uint64(2)),
                )
            to_e_w = heater_w[k] + c.collection * released_w
            to_a_w = (1 - c.collection) * released_w
            x = step(c, x, volts, to_e_w, to_a_w, bath_k[k], h, noise)
    return x[0], x[1], x[2], pending_ev


@njit(nogil=True, cache=True, error_model="numpy")
def relax(
    c: Constants,
    rest: tuple[float, float, float],
    bias_a: float,
    heater_w: float,
    bath_k: float,
    energy_ev: float,
    steps_s: Floats,
    least_a: float,
    out: npt.NDArray[np.float32],
) -> None:
    """The current's deviation from rest after each of the steps, where an energy comes first.

    It is zero from where it is below `least_a` and the crystal is as cool as before.

    It stands here, not where it is used: numba's cache sees changes of a kernel's own file only.
    """
    x, pending_j = rest, energy_ev * EV_J
    out[0] = 0.0
    for k in range(steps_s.size):
        h = steps_s[k]
        released_w = pending_j * -np.expm1(-h / c.tau_n_s) / h
        pending_j *= np.exp(-h / c.tau_n_s)
        to_e_w = heater_w + c.collection * released_w
        to_a_w = (1 - c.collection) * released_w
        x = step(c, x, bias_a * c.r_shunt_ohm, to_e_w, to_a_w, bath_k, h, (0.0, 0.0, 0.0))
        out[k + 1] = x[0] - rest[0]
        over = abs(out[k + 1]) < least_a and pending_j < 1e-9 * EV_J
        if over and abs(x[2] - rest[2]) < COOL * rest[2]:
            out[k + 2 :] = 0.0
            return
