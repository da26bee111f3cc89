"""The complex impedance of a TES, fitted by models of one and two bodies.

A wave of the bias current of known amplitude is answered by the sensor's current; at a frequency

    dI/dIb = Rsh/Z          Z = RL + i w L + Ztes
    Ztes = R (1 + beta) + R LI (2 + beta)/(1 - LI + i w tau + g i w tau2/(1 + i w tau2))

with the loop gain LI and tau = C/G (Irwin and Hilton 2005, equation 42, for g = 0). The last term
is a second body, hanging or between sensor and bath (Maasilta 2012): g is its conductance to the
sensor in G, tau2 its time constant; G is the static conductance. A delay is fitted, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from daq.errors import CheckError
from daq.readout.circuit import C128, F64, BiasCircuit, Estimate
from daq.readout.waves import Response

SYSTEMATIC = 3e-3  # relative, of each point: what the model leaves out
BOUNDS = {  # in the units of the fit
    "loop_gain": (-0.999, 1e3),
    "tau_s": (1e-4, 1e4),
    "beta": (-0.5, 1e2),
    "g2": (0.0, 20.0),
    "tau2_s": (1e-2, 1e3),
}
LARGEST_EVEN = 0.05  # of the fundamental: beyond, the wave is too large for a small signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """A fit: loop gain, tau = C/G, beta, inductance, and the second body where there is one.

    `covariance` is of `names`, in SI units; chi2 has `ndf` degrees of freedom.
    """

    r_ohm: float
    r_load_ohm: float
    names: tuple[str, ...]
    values: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    chi2: float
    ndf: int

    def __getitem__(self, name: str) -> Estimate:
        """A fitted parameter by its name."""
        k = self.names.index(name)
        return Estimate(self.values[k], float(np.sqrt(self.covariance[k][k])))

    @property
    def loop_gain(self) -> Estimate:
        """LI = P alpha/(G T)."""
        return self["loop_gain"]

    @property
    def tau_s(self) -> Estimate:
        """C/G, without feedback."""
        return self["tau_s"]

    @property
    def beta(self) -> Estimate:
        """I/R dR/dI."""
        return self["beta"]

    @property
    def tau_i_s(self) -> Estimate:
        """tau/(1 - LI): how the sensor would run away, or not, at constant current."""
        return self._derived(lambda x: x.tau_s / (1 - x.loop_gain))

    @property
    def tau_eff_s(self) -> Estimate:
        """With electrothermal feedback, in the limit of a small inductance."""
        load = self.r_load_ohm / self.r_ohm
        return self._derived(
            lambda x: x.tau_s / (1 + x.loop_gain * (1 - load) / (1 + x.beta + load))
        )

    @property
    def tau_el_s(self) -> Estimate:
        """L/(RL + R(1 + beta))."""
        r, load = self.r_ohm, self.r_load_ohm
        return self._derived(lambda x: x.inductance_h / (load + r * (1 + x.beta)))

    def response(self, f_hz: F64, r_shunt_ohm: float) -> C128:
        """dI/dIb of the fit, with its delay."""
        known = dict(zip(self.names, self.values, strict=True))
        delay_s = known.pop("delay_s", 0.0)
        z_ohm = total_ohm(f_hz, r_ohm=self.r_ohm, r_load_ohm=self.r_load_ohm, **known)
        return np.asarray(r_shunt_ohm / z_ohm * np.exp(-2j * np.pi * f_hz * delay_s))

    def _derived(self, of: Callable[[_Core], float]) -> Estimate:
        """A function of the parameters, with what it inherits from their covariance."""
        at = [self.names.index(name) for name in _Core._fields]
        x = np.array([self.values[k] for k in at])
        covariance = np.array(self.covariance)[np.ix_(at, at)]
        steps = np.diag(np.maximum(np.abs(x), 1e-12) * 1e-6)
        slopes = np.array([of(_Core(*(x + e))) - of(_Core(*(x - e))) for e in steps])
        slopes /= 2 * np.diag(steps)
        return Estimate(float(of(_Core(*x))), float(np.sqrt(slopes @ covariance @ slopes)))


class _Core(NamedTuple):
    """What every fit has."""

    loop_gain: float
    tau_s: float
    beta: float
    inductance_h: float


def total_ohm(
    f_hz: F64,
    *,
    r_ohm: float,
    r_load_ohm: float,
    loop_gain: float,
    tau_s: float,
    beta: float,
    inductance_h: float,
    g2: float = 0.0,
    tau2_s: float = 1.0,
) -> C128:
    """Z of sensor, load and inductance."""
    iw = 2j * np.pi * np.asarray(f_hz, np.float64)
    body = g2 * iw * tau2_s / (1 + iw * tau2_s)
    thermal = r_ohm * loop_gain * (2 + beta) / (1 - loop_gain + iw * tau_s + body)
    return np.asarray(r_load_ohm + iw * inductance_h + r_ohm * (1 + beta) + thermal)


def fit(
    response: Response,
    circuit: BiasCircuit,
    *,
    r_ohm: float,
    r_load_ohm: float,
    inductance_h: float | None = None,
    two_bodies: bool = False,
    slope: float = 0.0,
) -> Bodies:
    """Loop gain, tau and beta of a sensor of known R, in the transition.

    `inductance_h`, where given, is not fitted: sines, and square waves at slow digitizers, cannot
    tell it. `slope` is that of the IV there, dI/dIb, where it is known: magnitudes alone leave two
    loop gains, and its sign is that of one. CheckError where the response is none of a small
    signal.
    """
    if response.even_share > LARGEST_EVEN:
        raise CheckError(
            f"wave too large: expected a second harmonic below {LARGEST_EVEN:.0%} of the "
            f"fundamental, found {response.even_share:.1%}: the answer is not linear"
        )
    free = _Free(response, circuit, r_ohm, r_load_ohm, inductance_h, two_bodies)
    _refuse_few(response, len(free.names))
    solutions = [
        least_squares(free.residuals, x, bounds=free.bounds, x_scale=free.scale)
        for x in free.begins()
    ]
    good = [each for each in solutions if free.at_rest(each.x) * slope >= 0]
    best = min(good or solutions, key=lambda each: float(each.cost))
    return _bodies(free, best.x, _statistics(np.asarray(best.jac), best.fun))


def fit_inductance(
    response: Response, circuit: BiasCircuit, *, r_total_ohm: float | None = None
) -> tuple[Estimate, Estimate]:
    """(total resistance, inductance) of a sensor that is normal or superconducting: R and L alone.

    The corner R/(2 pi L) should lie within the measured frequencies.
    """
    r_begin = r_total_ohm or float(circuit.r_shunt_ohm / response.lowest.value)

    def residuals(x: F64) -> F64:
        r, l_h, delay = r_begin * x[0], r_begin * 1e-5 * x[1], 1e-5 * x[2]
        z = r + 2j * np.pi * response.f_hz * l_h
        model = circuit.r_shunt_ohm / z * np.exp(-2j * np.pi * response.f_hz * delay)
        return _weighted(response, model)

    solution = least_squares(residuals, [1.0, 0.5, 0.0])
    _, covariance, _ = _statistics(np.asarray(solution.jac), solution.fun)
    r_sigma, l_sigma = np.sqrt(np.diag(covariance))[:2]
    return (
        Estimate(r_begin * float(solution.x[0]), r_begin * float(r_sigma)),
        Estimate(r_begin * 1e-5 * float(solution.x[1]), r_begin * 1e-5 * float(l_sigma)),
    )


class _Free:
    """What is fitted, each in a unit in which it is about 1."""

    def __init__(
        self,
        response: Response,
        circuit: BiasCircuit,
        r_ohm: float,
        r_load_ohm: float,
        inductance_h: float | None,
        two_bodies: bool,
    ) -> None:
        self.response, self.circuit = response, circuit
        self.r_ohm, self.r_load_ohm, self.inductance_h = r_ohm, r_load_ohm, inductance_h
        names = ["loop_gain", "tau_s", "beta"]
        names += [] if inductance_h is not None else ["inductance_h"]
        names += ["delay_s"] if response.phased else []
        self.names = names + (["g2", "tau2_s"] if two_bodies else [])
        self.units = {
            "tau_s": 1 / (2 * np.pi * float(np.sqrt(response.f_hz.min() * response.f_hz.max()))),
            "inductance_h": (r_ohm + r_load_ohm) / (2 * np.pi * float(response.f_hz.max())),
            "delay_s": 1 / (2 * np.pi * float(response.f_hz.max())),
        }
        self.units["tau2_s"] = self.units["tau_s"]

    def begins(self) -> list[F64]:
        """Where to start: the loop gain by the lowest frequency, several times constants."""
        z0 = self.circuit.r_shunt_ohm / self.response.lowest.value - self.r_load_ohm
        begins = []
        for sign in (1.0, -1.0):  # a magnitude does not say on which side Z0 is
            z = sign * (z0 + self.r_load_ohm) - self.r_load_ohm
            gain = (z - self.r_ohm) / (z + self.r_ohm) if z != -self.r_ohm else 1.0
            for tau in (0.3, 3.0, 30.0):
                first = {"loop_gain": gain, "tau_s": tau, "beta": 0.1, "inductance_h": 0.1}
                first |= {"delay_s": 0.0, "g2": 0.3, "tau2_s": 3 * tau}
                begins.append(np.array([first[name] for name in self.names]))
        low, high = self.bounds
        return [np.clip(x, np.array(low) + 1e-6, np.array(high) - 1e-6) for x in begins]

    @property
    def bounds(self) -> tuple[list[float], list[float]]:
        """Between which values a parameter may be; a body that is not there must stay small."""
        low, high = zip(*(BOUNDS.get(name, (-np.inf, np.inf)) for name in self.names), strict=True)
        return list(low), list(high)

    @property
    def scale(self) -> list[float]:
        """How far each parameter may be off at first."""
        return [0.1 if name in {"beta", "inductance_h", "g2"} else 1.0 for name in self.names]

    def in_si(self, x: F64) -> dict[str, float]:
        """The parameters by name."""
        return {n: float(v) * self.units.get(n, 1.0) for n, v in zip(self.names, x, strict=True)}

    def at_rest(self, x: F64) -> float:
        """dI/dIb of what changes slowly."""
        known = self.in_si(x)
        known.pop("delay_s", 0.0)
        known.setdefault("inductance_h", 0.0)
        z = total_ohm(np.zeros(1), r_ohm=self.r_ohm, r_load_ohm=self.r_load_ohm, **known)
        return float(self.circuit.r_shunt_ohm / z[0].real)

    def residuals(self, x: F64) -> F64:
        known = self.in_si(x)
        delay_s = known.pop("delay_s", 0.0)
        known.setdefault("inductance_h", self.inductance_h or 0.0)
        z = total_ohm(self.response.f_hz, r_ohm=self.r_ohm, r_load_ohm=self.r_load_ohm, **known)
        turned = np.exp(-2j * np.pi * self.response.f_hz * delay_s)
        return _weighted(self.response, self.circuit.r_shunt_ohm / z * turned)


def _bodies(free: _Free, x: F64, statistics: tuple[float, F64, int]) -> Bodies:
    chi2, covariance, ndf = statistics
    names, known = list(free.names), free.in_si(x)
    units = np.array([free.units.get(name, 1.0) for name in names])
    scaled = covariance * np.outer(units, units)
    if free.inductance_h is not None:  # known, so without uncertainty of its own
        names, known = [*names, "inductance_h"], known | {"inductance_h": free.inductance_h}
        scaled = np.pad(scaled, ((0, 1), (0, 1)))
    return Bodies(
        r_ohm=free.r_ohm,
        r_load_ohm=free.r_load_ohm,
        names=tuple(names),
        values=tuple(known[name] for name in names),
        covariance=tuple(map(tuple, scaled.tolist())),
        chi2=chi2,
        ndf=ndf,
    )


def _weighted(response: Response, model: C128) -> F64:
    """Residuals in sigma: of both parts where the phases are known, else of the magnitude."""
    sigma = np.hypot(response.sigma, SYSTEMATIC * np.abs(response.values))
    if not response.phased:
        return np.asarray((np.abs(response.values) - np.abs(model)) / sigma)
    off = (response.values - model) / sigma
    return np.concatenate([off.real, off.imag])


def _statistics(jacobian: F64, residuals: F64) -> tuple[float, F64, int]:
    """(chi2, covariance scaled where chi2 is more than it should be, degrees of freedom)."""
    chi2 = float(residuals @ residuals)
    ndf = max(1, residuals.size - jacobian.shape[1])
    covariance = np.linalg.pinv(jacobian.T @ jacobian)
    return chi2, np.asarray(covariance * max(1.0, chi2 / ndf)), ndf


def _refuse_few(response: Response, n_free: int) -> None:
    n = response.f_hz.size * (2 if response.phased else 1)
    if n <= n_free:
        raise CheckError(f"too few frequencies: expected more than {n_free} numbers, found {n}")
