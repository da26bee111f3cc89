"""Tc and the heat conductance, from the power that holds a TES at one resistance at many baths.

    P = K (T^n - Tb^n)          G = dP/dT = n K T^(n-1)

(Irwin and Hilton 2005, section 2.2). T is the sensor's temperature at a resistance, which the
current lowers by the Ginzburg-Landau law Tc(I) = Tc [1 - (I/Ic)^(2/3)]: colder baths need more
current, so this is fitted, too. Tc is the temperature of half the normal resistance without a
current; points at other resistances lie higher or lower by a constant each, and share the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from daq.errors import CheckError
from daq.readout.circuit import F64, Estimate
from daq.readout.iv import Iv

HALF = 0.5  # of Rn: where Tc is
SHARES = (0.35, 0.5, 0.65)
LEAST_BATHS = 4
LEAST_FALL = 0.2  # of the power, from the coldest bath to the warmest
N_LIMITS = (1.0, 8.0)
MOST_PULL = 0.5  # of Tc: what a current of the largest measured one may take away


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPoint:
    """The Joule power and current at a share of Rn, with the plate at `bath_k`."""

    share: float
    bath_k: float
    sigma_bath_k: float
    power_w: Estimate
    current_a: float
    heater_w: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conductance:
    """The fit. `covariance` is of (Tc [K], G at Tc [W/K], n, pull); chi2 has `ndf` of freedom.

    `critical_current_a` is infinite where no pull of the current is seen.
    """

    tc_k: Estimate
    g_w_per_k: Estimate
    n: Estimate
    critical_current_a: float
    covariance: tuple[tuple[float, ...], ...]
    chi2: float
    ndf: int
    residuals: tuple[float, ...]

    @property
    def k_w_per_kn(self) -> float:
        """K, in W per kelvin to the n."""
        n = self.n.value
        return float(self.g_w_per_k.value / (n * self.tc_k.value ** (n - 1)))

    def g_at(self, t_k: float) -> float:
        """G at a temperature, in W/K."""
        return float(self.g_w_per_k.value * (t_k / self.tc_k.value) ** (self.n.value - 1))

    def sensor_k(self, power_w: F64 | float, bath_k: float) -> F64:
        """The sensor's temperature while this power in all flows to the bath."""
        n = self.n.value
        return np.asarray((bath_k**n + np.asarray(power_w) / self.k_w_per_kn) ** (1 / n))

    def alpha(self, iv: Iv, bath_k: float, *, heater_w: float = 0.0, beta: float = 0.0) -> F64:
        """alpha at each point of an IV [point], NaN outside the transition: L G T/P."""
        t_k = self.sensor_k(iv.power_w + heater_w, bath_k)
        g = self.g_w_per_k.value * (t_k / self.tc_k.value) ** (self.n.value - 1)
        gain = _with_beta(iv.loop_gain, beta)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(gain * g * t_k / iv.power_w)


def power_points(
    ivs: Sequence[tuple[Estimate, Iv]], shares: Sequence[float] = SHARES, heater_w: float = 0.0
) -> list[PowerPoint]:
    """What IVs at (bath, IV) say at some shares of Rn; a share that an IV does not reach is left
    out there."""
    found = []
    for bath, iv in ivs:
        for share in shares:
            try:
                current, power = iv.at_share(share)
            except CheckError:
                continue
            found.append(
                PowerPoint(
                    share=share,
                    bath_k=bath.value,
                    sigma_bath_k=bath.sigma,
                    power_w=power,
                    current_a=abs(current.value),
                    heater_w=heater_w,
                )
            )
    return found


def fit(points: Sequence[PowerPoint]) -> Conductance:
    """Tc, G and n by all points; CheckError where they cannot say.

    Uncertainties are scaled with chi2 where the law does not describe the points as well as they
    were measured.
    """
    _refuse(points)
    fitted = _Fit(points)
    solution = least_squares(fitted.residuals, fitted.begin, x_scale=fitted.scale)
    ndf = len(points) - len(solution.x)
    chi2 = float(2 * solution.cost)
    slopes = np.asarray(solution.jac)
    unscaled = np.linalg.pinv(slopes.T @ slopes)
    covariance = unscaled * max(1.0, chi2 / ndf)
    _refuse_fit(solution.x, covariance)
    sigma = np.sqrt(np.diag(covariance))
    tc_k, g, n, pull = (float(value) for value in solution.x[:4])
    return Conductance(
        tc_k=Estimate(tc_k * fitted.unit_k, float(sigma[0]) * fitted.unit_k),
        g_w_per_k=Estimate(g * fitted.unit_g, float(sigma[1]) * fitted.unit_g),
        n=Estimate(n, float(sigma[2])),
        critical_current_a=fitted.unit_a * abs(pull) ** -1.5 if pull > 0 else np.inf,
        covariance=tuple(map(tuple, fitted.in_si(covariance).tolist())),
        chi2=chi2,
        ndf=ndf,
        residuals=tuple(solution.fun.tolist()),
    )


class _Fit:
    """The law in units in which every parameter is about 1."""

    def __init__(self, points: Sequence[PowerPoint]) -> None:
        self.bath_k = np.array([p.bath_k for p in points])
        self.power_w = np.array([p.power_w.value + p.heater_w for p in points])
        self.sigma_w = np.array([p.power_w.sigma for p in points])
        self.sigma_bath_k = np.array([p.sigma_bath_k for p in points])
        self.current_a = np.array([p.current_a for p in points])
        shares = np.array([p.share for p in points])
        self.others = [s for s in sorted(set(shares.tolist())) if s != HALF]
        self.member = np.array([shares == s for s in self.others], float).reshape(-1, len(points))
        self.unit_a = float(self.current_a.max())
        self.unit_k = self._tc_guess_k()
        self.unit_g = float(self.power_w.max() / (self.unit_k - self.bath_k.min()))

    @property
    def begin(self) -> F64:
        return np.array([1.0, 1.5, 3.0, 0.01, *np.zeros(len(self.others))])

    @property
    def scale(self) -> F64:
        return np.array([0.1, 1.0, 1.0, 0.01, *np.full(len(self.others), 0.01)])

    def residuals(self, x: F64) -> F64:
        """How far each point is off, in its sigma, which the bath's own is part of."""
        tc, g, n, pull, *shifts = x.tolist()
        t = tc * (1 - pull * (self.current_a / self.unit_a) ** (2 / 3))
        t = t + np.asarray(shifts) @ self.member
        bath = self.bath_k / self.unit_k
        unit_w = self.unit_g * self.unit_k
        expected = g * tc / n * (np.maximum(t / tc, 1e-3) ** n - (bath / tc) ** n) * unit_w
        by_bath = g * self.unit_g * (bath / tc) ** (n - 1) * self.sigma_bath_k
        return np.asarray((self.power_w - expected) / np.hypot(self.sigma_w, by_bath))

    def in_si(self, covariance: F64) -> F64:
        """The first four parameters' covariance, in K, W/K, 1, 1."""
        units = np.array([self.unit_k, self.unit_g, 1.0, 1.0])
        return np.asarray(covariance[:4, :4] * np.outer(units, units))

    def _tc_guess_k(self) -> float:
        """Where P against Tb², which is nearly a line, would reach zero."""
        slope, constant = np.polyfit(self.bath_k**2, self.power_w, 1)
        return float(max(np.sqrt(max(0.0, -constant / slope)), self.bath_k.max() * 1.01))


def _with_beta(gain: F64, beta: float) -> F64:
    """The loop gain for a beta, given that for beta = 0 (both have the same Z0)."""
    z0_per_r = (1 + gain) / (1 - gain)
    return np.asarray((z0_per_r - 1 - beta) / (z0_per_r + 1))


def _refuse(points: Sequence[PowerPoint]) -> None:
    baths = sorted({p.bath_k for p in points})
    if len(baths) < LEAST_BATHS:
        raise CheckError(
            f"too few baths: expected IVs with a transition at {LEAST_BATHS} temperatures or more, "
            f"found {', '.join(f'{k * 1e3:.4g} mK' for k in baths) or 'none'}"
        )
    shares = sorted({p.share for p in points})
    if HALF not in shares:
        raise CheckError(f"expected points at {HALF:g} Rn, where Tc is, found {shares}")
    needed = 3 + len(shares) + 1
    if len(points) < needed:
        raise CheckError(f"too few points: expected at least {needed}, found {len(points)}")
    halves = sorted((p.bath_k, p.power_w.value) for p in points if p.share == HALF)
    first, last = halves[0][1], halves[-1][1]
    if not last < (1 - LEAST_FALL) * first:
        raise CheckError(
            f"expected the power to fall by {LEAST_FALL:.0%} from the coldest bath to the warmest, "
            f"found {first:.4g} W at {halves[0][0] * 1e3:.4g} mK and {last:.4g} W at "
            f"{halves[-1][0] * 1e3:.4g} mK: is the thermometer that of the sensors' plate?"
        )


def _refuse_fit(x: F64, covariance: F64) -> None:
    n, pull = float(x[2]), float(x[3])
    if not np.isfinite(covariance).all() or not N_LIMITS[0] <= n <= N_LIMITS[1]:
        raise CheckError(f"expected n from {N_LIMITS[0]:g} to {N_LIMITS[1]:g}, found {n:.3g}")
    if abs(pull) > MOST_PULL:
        raise CheckError(f"expected the current to lower Tc by less than half, found {pull:.2g} Tc")
