"""A transition-edge sensor on a crystal: its parameters and where it settles.

Three nodes: the crystal, the sensor's electrons, the plate (a bath of given temperature). The
sensor is biased by a shunt and read by the input coil of a SQUID:

    L dI/dt    = Ib Rsh - I (Rsh + Rpar) - I R(T, I)
    Ce dT/dt   = I² R + heater + collected power - Keb (T² - Tb²) - Kea (T⁵ - Ta⁵)
    Ca dTa/dt  = the other power + Kea (T⁵ - Ta⁵) - Kab (Ta⁴ - Tb⁴)

with R = Rn/2 [1 + tanh((T - Tc(I))/w)], Tc(I) = Tc [1 - (|I|/Ic)^(2/3)], Ce ∝ T, Ca = a Ta³.
Symbols as in Irwin and Hilton 2005. docs/physics.md has the parameters and what is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import MATERIALS, Crystal
from sim_hardware.world.physical import UnphysicalError, within

CRYSTAL = Crystal(material=MATERIALS["CaWO4"], mass_g=0.75)
# the working point that the parameters below are made for
BIAS_A, BATH_K, HEATER_W = 0.930e-6, 9.837e-3, 23.51e-15

Floats = npt.NDArray[np.float64]
Branch = Literal["superconducting", "normal"]

_LIMITS = {
    "r_normal_ohm": (1e-4, 100.0, ""),
    "r_shunt_ohm": (1e-6, 10.0, "the shunt is what biases by voltage"),
    "r_parasitic_ohm": (0.0, 1.0, ""),
    "inductance_h": (1e-10, 1e-4, ""),
    "tc_k": (1e-3, 1.0, "K"),
    "width_k": (1e-6, 0.1, "K"),
    "critical_current_a": (1e-8, 1.0, ""),
    "c_e_j_per_k": (1e-18, 1e-8, ""),
    "t_reference_k": (1e-3, 1.0, "K"),
    "k_eb_w_per_k2": (1e-14, 1e-3, "what leads no heat away has no working point"),
    "k_ea_w_per_k5": (0.0, 1.0, ""),
    "k_ab_w_per_k4": (1e-12, 1.0, "what leads no heat away has no working point"),
    "crystal_a_j_per_k4": (1e-14, 1.0, ""),
    "collection": (0.0, 1.0, "a share of the energy"),
    "tau_n_s": (1e-6, 1.0, ""),
    "shunt_k": (1e-3, 10.0, "K"),
    "excess_noise": (0.0, 10.0, "M, relative to the Johnson noise"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TesParameters:
    """What does not change with the bias: circuit, transition, heat capacities, links.

    `c_e_j_per_k` is the electrons' heat capacity at `t_reference_k`. `collection` is the share of
    an energy that reaches the electrons directly, within `tau_n_s`. The defaults are design
    choices inside published ranges (docs/physics.md).
    """

    r_normal_ohm: float = 0.200
    r_shunt_ohm: float = 0.020
    r_parasitic_ohm: float = 0.003
    inductance_h: float = 400e-9
    tc_k: float = 15.0e-3
    width_k: float = 0.325e-3
    critical_current_a: float = 200e-6
    c_e_j_per_k: float = 3.933e-14
    t_reference_k: float = 14.749e-3
    k_eb_w_per_k2: float = 2.1164e-10
    k_ea_w_per_k5: float = 1.25416e-6
    k_ab_w_per_k4: float = 1.17851e-6
    crystal_a_j_per_k4: float = CRYSTAL.a_j_per_k4
    collection: float = 0.016851
    tau_n_s: float = 0.30e-3
    shunt_k: float = 10e-3
    excess_noise: float = 0.0

    def __post_init__(self) -> None:
        reasons = [*self._out_of_limits(), *self._contradictions()]
        if reasons:
            raise UnphysicalError("; ".join(reasons))

    @property
    def r_load_ohm(self) -> float:
        """Shunt and parasitic resistance: what the sensor sees in series."""
        return self.r_shunt_ohm + self.r_parasitic_ohm

    def tc_at_k(self, current_a: npt.ArrayLike) -> Floats:
        """The middle of the transition at a current."""
        share = np.abs(current_a) / self.critical_current_a
        return np.asarray(self.tc_k * (1 - share ** (2 / 3)))

    def r_ohm(self, t_e_k: npt.ArrayLike, current_a: npt.ArrayLike) -> Floats:
        """R(T, I)."""
        return self._r_of((np.asarray(t_e_k) - self.tc_at_k(current_a)) / self.width_k)

    def _r_of(self, u: npt.ArrayLike) -> Floats:
        """Rn/2 [1 + tanh u], exact also where it is next to nothing."""
        half = np.asarray(u, float)
        small = np.exp(2 * np.minimum(half, 0.0))
        return np.asarray(self.r_normal_ohm * small / (small + np.exp(-2 * np.maximum(half, 0.0))))

    def _out_of_limits(self) -> Iterator[str]:
        for name in (each.name for each in fields(self)):
            try:
                within(name, getattr(self, name), *_LIMITS[name])
            except UnphysicalError as error:
                yield str(error)

    def _contradictions(self) -> Iterator[str]:
        if self.width_k > self.tc_k / 2:
            yield (
                f"width_k: expected at most half of tc_k {self.tc_k:g} (a wider transition has "
                f"resistance at zero temperature), found {self.width_k:g}"
            )
        if self.r_load_ohm >= self.r_normal_ohm:
            yield (
                f"r_shunt_ohm + r_parasitic_ohm: expected less than r_normal_ohm "
                f"{self.r_normal_ohm:g} (else the bias is a current and runs away), "
                f"found {self.r_load_ohm:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A steady state, and how steep R is there: alpha = T/R dR/dT, beta = I/R dR/dI."""

    bias_a: float
    bath_k: float
    heater_w: float
    current_a: float
    t_e_k: float
    t_a_k: float
    r_ohm: float
    alpha: float
    beta: float
    loop_gain: float

    @property
    def joule_w(self) -> float:
        """The power that the current leaves in the sensor."""
        return self.current_a**2 * self.r_ohm


def operating_point(
    p: TesParameters,
    *,
    bias_a: float,
    bath_k: float,
    heater_w: float = 0.0,
    branch: Branch = "normal",
    from_k: float | None = None,
) -> OperatingPoint:
    """Where the sensor settles.

    Where there are several steady states, `branch` says which: of highest or of lowest
    resistance. With `from_k`, the electrons' temperature when bias, bath and heater were set,
    it is the one into whose basin that temperature falls (hysteresis).
    """
    _refuse_surroundings(bias_a, bath_k, heater_w)
    balance = _Balance(p, abs(bias_a), bath_k, heater_w)
    if from_k is not None:
        u = balance.settled(from_k)
    else:
        u = balance.highest() if branch == "normal" else balance.lowest()
    return balance.point(u, -1.0 if bias_a < 0 else 1.0)


def sweep(
    p: TesParameters,
    biases_a: Iterable[float],
    *,
    bath_k: float,
    heater_w: float = 0.0,
    branch: Branch = "normal",
) -> list[OperatingPoint]:
    """An IV: the points at these biases, one after the other, so that hysteresis shows."""
    points: list[OperatingPoint] = []
    for bias_a in biases_a:
        from_k = points[-1].t_e_k if points else None
        points.append(
            operating_point(
                p, bias_a=bias_a, bath_k=bath_k, heater_w=heater_w, branch=branch, from_k=from_k
            )
        )
    return points


def heater_for(p: TesParameters, *, r_ohm: float, bias_a: float, bath_k: float) -> float:
    """The heater's power that holds the sensor at a resistance; negative if none does, in W."""
    within("r_ohm", r_ohm, 1e-6 * p.r_normal_ohm, (1 - 1e-6) * p.r_normal_ohm, "in the transition")
    _refuse_surroundings(bias_a, bath_k, 0.0)
    balance = _Balance(p, abs(bias_a), bath_k, 0.0)
    return float(-balance.excess_w(np.arctanh(2 * r_ohm / p.r_normal_ohm - 1)))


def crystal_k(p: TesParameters, t_e_k: npt.ArrayLike, bath_k: float) -> Floats:
    """The crystal's steady temperature between electrons and bath."""
    to_plate, from_e = p.k_ab_w_per_k4, p.k_ea_w_per_k5
    flow_w = to_plate * bath_k**4 + from_e * np.asarray(t_e_k, float) ** 5
    t_a = (flow_w / to_plate) ** 0.25  # were the link to the electrons one way
    if from_e:
        t_a = np.minimum(t_a, (flow_w / from_e) ** 0.2)
    for _ in range(_NEWTON_STEPS):  # from at most 2^¼ above, on a convex function
        surplus_w = to_plate * t_a**4 + from_e * t_a**5 - flow_w
        t_a = t_a - surplus_w / (4 * to_plate * t_a**3 + 5 * from_e * t_a**4)
    return np.asarray(t_a)


_NEWTON_STEPS = 6
_FINE, _COARSE, _EDGE = 2000, 200, 30.0  # steps of u in the transition, above it; where it ends


class _Balance:
    """The power balance along u = (T - Tc(I))/w, with the current settled at every u.

    T rises with u, so that each root where the excess of power falls through zero is stable.
    Unlike T, u resolves the superconducting branch, where R is exponentially small.
    """

    def __init__(self, p: TesParameters, bias_a: float, bath_k: float, heater_w: float) -> None:
        self._p, self._bias_a, self._bath_k, self._heater_w = p, bias_a, bath_k, heater_w
        self._volts = bias_a * p.r_shunt_ohm
        self._u = self._grid()
        self._excess = self.excess_w(self._u)

    def current_a(self, u: npt.ArrayLike) -> Floats:
        return np.asarray(self._volts / (self._p._r_of(u) + self._p.r_load_ohm))

    def t_e_k(self, u: npt.ArrayLike) -> Floats:
        return self._p.tc_at_k(self.current_a(u)) + self._p.width_k * np.asarray(u)

    def excess_w(self, u: npt.ArrayLike) -> Floats:
        """Heating minus cooling of the electrons."""
        p, t_e = self._p, self.t_e_k(u)
        t_a = crystal_k(p, t_e, self._bath_k)
        cooling = p.k_eb_w_per_k2 * (t_e**2 - self._bath_k**2) + p.k_ea_w_per_k5 * (t_e**5 - t_a**5)
        return np.asarray(self.current_a(u) ** 2 * p._r_of(u) + self._heater_w - cooling)

    def lowest(self) -> float:
        """The stable root of lowest temperature: the first where the excess falls through zero."""
        return self._root(self._u, self._excess > 0)

    def highest(self) -> float:
        """The stable root of highest temperature."""
        return self._root(self._u[::-1], self._excess[::-1] <= 0)

    def settled(self, from_k: float) -> float:
        """The stable root into whose basin a temperature falls."""
        within("from_k", from_k, 0.0, 1e3, "K")
        begin = float(np.interp(from_k, self.t_e_k(self._u), self._u))
        at = int(np.searchsorted(self._u, begin))
        if self.excess_w(begin) > 0:
            u, excess = np.append(begin, self._u[at:]), np.append(1.0, self._excess[at:])
            return self._root(u, excess > 0)
        u, excess = np.append(begin, self._u[:at][::-1]), np.append(0.0, self._excess[:at][::-1])
        return self._root(u, excess <= 0)

    def point(self, u: float, sign: float) -> OperatingPoint:
        p = self._p
        current_a, t_e_k, r_ohm = (float(f(u)) for f in (self.current_a, self.t_e_k, p._r_of))
        t_a_k = float(crystal_k(p, t_e_k, self._bath_k))
        alpha = 2 * t_e_k / p.width_k * (1 - r_ohm / p.r_normal_ohm)
        share = (current_a / p.critical_current_a) ** (2 / 3)
        conductance = 2 * p.k_eb_w_per_k2 * t_e_k + 5 * p.k_ea_w_per_k5 * t_e_k**4
        return OperatingPoint(
            bias_a=sign * self._bias_a,
            bath_k=self._bath_k,
            heater_w=self._heater_w,
            current_a=sign * current_a,
            t_e_k=t_e_k,
            t_a_k=t_a_k,
            r_ohm=r_ohm,
            alpha=alpha,
            beta=alpha * (2 / 3) * p.tc_k / t_e_k * share,
            loop_gain=current_a**2 * r_ohm * alpha / (conductance * t_e_k),
        )

    def _grid(self) -> Floats:
        """From next to T = 0 to where the cooling certainly wins."""
        p = self._p
        most_a = self._volts / p.r_load_ohm
        most_w = self._heater_w + self._volts**2 / (4 * p.r_load_ohm)
        hottest = np.hypot(self._bath_k, np.sqrt(most_w / p.k_eb_w_per_k2))
        last = (hottest - min(0.0, float(p.tc_at_k(most_a)))) / p.width_k + _EDGE
        first = -p.tc_k / p.width_k
        fine = np.linspace(first, _EDGE, _FINE, endpoint=False)
        u = np.concatenate([fine, np.geomspace(_EDGE, 2 * last, _COARSE)])
        return np.asarray(u[self.t_e_k(u) > self._bath_k / 100])

    def _root(self, u: Floats, before: npt.NDArray[np.bool_]) -> float:
        """Where the excess passes zero, next to the first u that is not `before` it."""
        from scipy.optimize import brentq  # here: it takes a second, and no crystal alone needs it

        i = max(1, int(np.argmin(before)))
        low, high = sorted((float(u[i - 1]), float(u[i])))
        return float(brentq(lambda x: float(self.excess_w(x)), low, high, xtol=1e-13, rtol=1e-14))


def _refuse_surroundings(bias_a: float, bath_k: float, heater_w: float) -> None:
    within("bias_a", bias_a, -0.1, 0.1)
    within("bath_k", bath_k, 1e-4, 300.0, "K")
    within("heater_w", heater_w, 0.0, 1e-3, "a heater cannot cool")
