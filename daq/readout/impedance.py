"""dI/dV and complex impedance of a TES: measured by square wave or sines, fitted by body models.

A wave of the bias current of known amplitude is answered by the sensor's current; at a frequency

    dI/dIb = Rsh/Z          Z = RL + i w L + Ztes
    Ztes = R (1 + beta) + R LI (2 + beta)/(1 - LI + i w tau + g i w tau2/(1 + i w tau2))

with the loop gain LI and tau = C/G (Irwin and Hilton 2005, equation 42, for g = 0). The last term
is a second body, hanging or between sensor and bath (Maasilta 2012): g is its conductance to the
sensor in G, tau2 its time constant; G is the static conductance. A square wave has all odd
harmonics at once. When its edges come is not known, so a delay is fitted, too; sines of different
frequencies have phases of their own, so that of them the magnitudes alone are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from daq.errors import CheckError, UsageError
from daq.readout.circuit import C128, F64, BiasCircuit, Estimate

LEAST_BLOCKS = 4
LEAST_SNR = 5.0  # of the fundamental
HIGHEST_PER_RATE = 1 / 20  # beyond, what folds back at the digitizer is more than 1 %
MOST_HARMONICS = 100  # of a square wave
SYSTEMATIC = 3e-3  # relative, of each point: what the model leaves out
WRONG_SCALE = 0.10
BOUNDS = {  # in the units of the fit
    "loop_gain": (-0.999, 1e3),
    "tau_s": (1e-4, 1e4),
    "beta": (-0.5, 1e2),
    "g2": (0.0, 20.0),
    "tau2_s": (1e-2, 1e3),
}
LARGEST_EVEN = 0.05  # of the fundamental: beyond, the wave is too large for a small signal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Response:
    """dI/dIb [frequency], complex128, and the standard deviation of its real or imaginary part.

    `phased` says whether the phases are those of one wave; `even_share` is the second harmonic in
    the fundamental, which a small signal does not have.
    """

    f_hz: F64
    values: C128
    sigma: F64
    phased: bool
    even_share: float = 0.0

    @property
    def lowest(self) -> Estimate:
        """The magnitude at the lowest frequency."""
        k = int(np.argmin(self.f_hz))
        return Estimate(float(abs(self.values[k])), float(self.sigma[k]))


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


# --- measuring


def by_square_wave(
    current_a: F64,
    rate_hz: float,
    *,
    frequency_hz: float,
    bias_pp_a: float,
    highest_hz: float | None = None,
) -> Response:
    """dI/dIb at the odd harmonics of a square wave of `bias_pp_a` of bias, peak to peak.

    The frequency is taken from the samples where the generator's clock is a little off theirs.
    """
    highest_hz = min(highest_hz or np.inf, rate_hz * HIGHEST_PER_RATE)
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    orders = _odd_orders(int(highest_hz / f_hz))
    found, sigma = _amplitudes(current_a, rate_hz, f_hz, orders)
    even, _ = _amplitudes(current_a, rate_hz, f_hz, np.array([2]))
    _refuse_silence(found[0], sigma[0], bias_pp_a, frequency_hz)
    told = 2 * bias_pp_a / (1j * np.pi * orders)
    at_hz = np.asarray(orders * f_hz, np.float64)
    values = _without_delay(at_hz, found / told, 1 / f_hz)
    return Response(
        f_hz=at_hz,
        values=values,
        sigma=sigma / np.abs(told),
        phased=True,
        even_share=float(abs(even[0]) / abs(found[0])),
    )


def by_sine(
    current_a: F64, rate_hz: float, *, frequency_hz: float, bias_pp_a: float
) -> tuple[float, complex, float, float]:
    """(frequency, dI/dIb, its sigma, share of the second harmonic) of one sine."""
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    found, sigma = _amplitudes(current_a, rate_hz, f_hz, np.array([1, 2]))
    _refuse_silence(found[0], sigma[0], bias_pp_a, frequency_hz)
    scale = bias_pp_a / 2
    return f_hz, complex(found[0] / scale), float(sigma[0] / scale), float(abs(found[1] / found[0]))


def of_sines(measured: list[tuple[float, complex, float, float]]) -> Response:
    """The response by sines of different frequencies, measured one after the other."""
    if not measured:
        raise UsageError("expected sines at some frequencies, found none")
    f_hz, values, sigma, even = zip(*sorted(measured, key=lambda one: one[0]), strict=True)
    return Response(
        f_hz=np.array(f_hz),
        values=np.abs(np.array(values)).astype(np.complex128),
        sigma=np.array(sigma),
        phased=False,
        even_share=max(even),
    )


def refined_hz(current_a: F64, rate_hz: float, frequency_hz: float) -> float:
    """The wave's frequency by the digitizer's clock: from the phase's drift over the samples."""
    blocks, length = _blocks(len(current_a), rate_hz, frequency_hz)
    turns = np.arange(blocks * length) * (frequency_hz / rate_hz)
    tone = np.exp(-2j * np.pi * turns) * (current_a[: len(turns)] - current_a.mean())
    phases = np.unwrap(np.angle(tone.reshape(blocks, length).mean(1)))
    slope = np.polyfit(np.arange(blocks) * length / rate_hz, phases, 1)[0]
    off_hz = float(slope / (2 * np.pi))
    # a block's own scatter looks like a drift, too: believe what is beyond it
    scatter = float(np.std(phases - np.poly1d(np.polyfit(range(blocks), phases, 1))(range(blocks))))
    sure_hz = scatter / (2 * np.pi) * np.sqrt(12 / blocks**3) * rate_hz / length
    return frequency_hz + off_hz if abs(off_hz) > 3 * sure_hz else frequency_hz


def mean_period(current_a: F64, rate_hz: float, frequency_hz: float) -> tuple[F64, F64]:
    """(time in s, current) of the mean period, for eyes; begins at the steepest rise."""
    f_hz = refined_hz(current_a, rate_hz, frequency_hz)
    n = max(8, int(rate_hz / f_hz))
    at = np.minimum(
        (np.mod(np.arange(len(current_a)) * (f_hz / rate_hz), 1.0) * n).astype(int), n - 1
    )
    sums = np.bincount(at, weights=current_a, minlength=n)
    mean = sums / np.maximum(1, np.bincount(at, minlength=n))
    rise = int(np.argmax(np.roll(mean, -1) - mean))
    return np.arange(n) / (n * f_hz), np.roll(mean, -rise - 1)


# --- fitting


def fit(
    response: Response,
    circuit: BiasCircuit,
    *,
    r_ohm: float,
    r_load_ohm: float,
    inductance_h: float | None = None,
    two_bodies: bool = False,
) -> Bodies:
    """Loop gain, tau and beta of a sensor of known R, in the transition.

    `inductance_h`, where given, is not fitted: sines, and square waves at slow digitizers, cannot
    tell it. CheckError where the response is none of a small signal.
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
    best = min(solutions, key=lambda each: float(each.cost))
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


def refuse_wrong_scale(response: Response, slope: float) -> None:
    """CheckError where the wave's answer at low frequency is not what an IV's slope promises."""
    found = response.lowest
    ratio = found.value / abs(slope)
    if abs(ratio - 1) < WRONG_SCALE + 3 * found.sigma / abs(slope):
        return
    reasons = {2.0: "50 ohm but drives high impedance", 0.5: "high impedance but drives 50 ohm"}
    near = [text for factor, text in reasons.items() if abs(ratio / factor - 1) < WRONG_SCALE]
    why = f": the generator is told of {near[0]}" if near else ": is the bias resistor another one?"
    raise CheckError(
        f"wrong size of the test wave: expected dI/dIb = {abs(slope):.4g} as in the IV, found "
        f"{found.value:.4g}, {ratio:.2f} times that{why}"
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


def _blocks(n: int, rate_hz: float, frequency_hz: float) -> tuple[int, int]:
    """(number, length) of blocks of whole periods, as nearly as samples allow."""
    periods = n * frequency_hz / rate_hz
    if periods < LEAST_BLOCKS or frequency_hz > rate_hz / 2:
        raise CheckError(
            f"too few samples: expected {LEAST_BLOCKS} periods of {frequency_hz:g} Hz below half "
            f"the rate of {rate_hz:g} Hz, found {periods:.3g}"
        )
    each = max(1, int(periods) // 16)
    length = round(each * rate_hz / frequency_hz)
    return n // length, length


def _amplitudes(
    current_a: F64, rate_hz: float, f_hz: float, orders: npt.NDArray[np.int64]
) -> tuple[C128, F64]:
    """The phasors at orders of a frequency, and how far blocks scatter about them."""
    blocks, length = _blocks(len(current_a), rate_hz, f_hz)
    rows = current_a[: blocks * length].reshape(blocks, length)
    rows = rows - rows.mean()
    turns, begins = (
        np.arange(length) * (f_hz / rate_hz),
        np.arange(blocks) * length * f_hz / rate_hz,
    )
    each = np.array(
        [
            rows @ np.exp(-2j * np.pi * k * turns) * np.exp(-2j * np.pi * k * begins)
            for k in orders.tolist()
        ]
    ) * (2 / length)
    scatter = np.sqrt((np.var(each.real, axis=1, ddof=1) + np.var(each.imag, axis=1, ddof=1)) / 2)
    return each.mean(1), scatter / np.sqrt(blocks)


def _odd_orders(most: int) -> npt.NDArray[np.int64]:
    """Odd harmonics up to one: all of the first ones, then about evenly on a logarithmic scale."""
    spread = np.geomspace(1, max(1, most), MOST_HARMONICS).astype(np.int64) // 2 * 2 + 1
    return np.unique(np.concatenate([[1], spread[spread <= most]]))


def _without_delay(f_hz: F64, values: C128, period_s: float) -> C128:
    """The values as if the wave began with an edge: with the delay that leaves least phase.

    A wave that began half a period off would change sign; that the sensor answers a faster wave
    in phase (as R (1 + beta) does) says which. What remains of the delay is fitted.
    """
    delays = np.linspace(0, period_s, 64 * f_hz.size, endpoint=False)
    turned = np.exp(2j * np.pi * np.outer(delays, f_hz)) * (values / np.abs(values))
    weight = np.abs(f_hz / f_hz.max()) ** 0.5  # the fast ones, which feedback does not turn
    best = delays[int(np.argmax((turned.real * weight).sum(1)))]
    return np.asarray(values * np.exp(2j * np.pi * f_hz * best))


def _statistics(jacobian: F64, residuals: F64) -> tuple[float, F64, int]:
    """(chi2, covariance scaled where chi2 is more than it should be, degrees of freedom)."""
    chi2 = float(residuals @ residuals)
    ndf = max(1, residuals.size - jacobian.shape[1])
    covariance = np.linalg.pinv(jacobian.T @ jacobian)
    return chi2, np.asarray(covariance * max(1.0, chi2 / ndf)), ndf


def _refuse_silence(found: complex, sigma: float, bias_pp_a: float, frequency_hz: float) -> None:
    if abs(found) < LEAST_SNR * sigma or not np.isfinite(sigma):
        raise CheckError(
            f"no answer: expected the current to follow {bias_pp_a:.3g} A of bias at "
            f"{frequency_hz:g} Hz, found {abs(found):.3g} A +- {sigma:.2g} A: is the wave's output "
            f"on and connected, the loop locked, the sensor there?"
        )


def _refuse_few(response: Response, n_free: int) -> None:
    n = response.f_hz.size * (2 if response.phased else 1)
    if n <= n_free:
        raise CheckError(f"too few frequencies: expected more than {n_free} numbers, found {n}")
