"""What an IV says of a TES: its resistances, its state, and how steep its transition is.

A sweep begins with the sensor normal and ends at or near zero bias. In the normal and in the
superconducting state the current is a straight line through zero,

    dI/dIb = Rsh/(RL + Rn)          dI/dIb = Rsh/RL

so the two slopes give RL = Rsh + Rp and Rn, and zero current is where the lines meet. The locked
SQUID knows its flux up to whole quanta only: a step by whole quanta between two points on the same
branch is a flux jump and is undone, and so is what the lock lost where the sensor snapped.

In the transition the local slope gives the resistance at zero frequency Z0 = Rsh/(dI/dIb) - RL,
and with it the loop gain (Irwin and Hilton 2005, equation 46 at zero frequency):

    L = (Z0 - R (1 + beta))/(Z0 + R)          alpha = L G T/P
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from daq.errors import CheckError
from daq.readout.circuit import F64, BiasCircuit, Estimate

LEAST_POINTS = 8
LEAST_ON_BRANCH = 3
SAME_SLOPE = 0.1  # relative: what differs less is the same branch
SUPERCONDUCTING_SLOPE = 0.5  # of dI/dIb: Rp below Rsh; a heated sensor stays far below
OPEN_SLOPE = 1e-3  # of dI/dIb: no sensor in the circuit has 1000 Rsh
HALF_QUANTUM = 0.5
RESIDUE = 0.15  # phi0: how far from whole quanta the superconducting line may miss zero


class State(StrEnum):
    """Where a sensor is on its IV."""

    NORMAL = "normal"
    TRANSITION = "transition"
    SUPERCONDUCTING = "superconducting"


@dataclass(frozen=True, slots=True)
class Jump:
    """The lock slipped by `quanta` between point `at - 1` and point `at`."""

    at: int
    quanta: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Iv:
    """One sweep; all arrays are float64 [point] in the order of the sweep.

    `current_a` is absolute, without jumps. `loop_gain` is for beta = 0, NaN outside the
    transition; `r_ohm` is NaN where no bias flows. `r_load_ohm` is Rsh + Rp; `volts_per_a` is the
    gain of the output, with its sign, that the sweep was understood with.
    """

    bias_a: F64
    current_a: F64
    sigma_a: F64
    r_ohm: F64
    sigma_r_ohm: F64
    loop_gain: F64
    sigma_loop_gain: F64
    states: tuple[State, ...]
    jumps: tuple[Jump, ...]
    r_normal_ohm: Estimate
    r_load_ohm: Estimate
    offset_v: Estimate
    volts_per_a: float

    @property
    def power_w(self) -> F64:
        """What the current leaves in the sensor."""
        return np.asarray(self.current_a**2 * np.nan_to_num(self.r_ohm))

    @property
    def sigma_power_w(self) -> F64:
        """Standard deviation of the power, with what R inherits from the current left out."""
        by_r = self.current_a**2 * np.nan_to_num(self.sigma_r_ohm)
        by_i = 2 * np.abs(self.current_a) * np.nan_to_num(self.r_ohm) * self.sigma_a
        return np.hypot(by_r, by_i)

    def within(self, state: State) -> npt.NDArray[np.bool_]:
        """Which points are in a state."""
        return np.array([each is state for each in self.states])

    def at_share(self, share: float) -> tuple[Estimate, Estimate]:
        """(current, power) where R is this share of Rn, between the points of the transition.

        CheckError where the sweep has no two points around it.
        """
        wanted = share * self.r_normal_ohm.value
        chosen = ~self.within(State.SUPERCONDUCTING) & np.isfinite(self.r_ohm)
        above = np.flatnonzero(chosen & (self.r_ohm >= wanted))
        below = np.flatnonzero(chosen & (self.r_ohm < wanted))
        if not (above.size and below.size) or below[0] != above[-1] + 1:
            raise CheckError(
                f"expected points of the transition on both sides of {share:g} Rn = "
                f"{wanted * 1e3:.4g} mohm, found {above.size} above and {below.size} below"
            )
        high, low = int(above[-1]), int(below[0])
        part = (self.r_ohm[high] - wanted) / (self.r_ohm[high] - self.r_ohm[low])

        def between(values: F64, sigmas: F64) -> Estimate:
            value = values[high] + part * (values[low] - values[high])
            return Estimate(float(value), float(max(sigmas[high], sigmas[low])))

        current = between(self.current_a, self.sigma_a)
        return current, between(self.power_w, self.sigma_power_w)

    def near_bias(self, bias_a: float) -> int:
        """The point whose bias is nearest."""
        return int(np.argmin(np.abs(self.bias_a - bias_a)))


def state_of_slope(slope: float, normal_slope: float) -> State:
    """The state by the local dI/dIb, given that of the normal branch.

    For use while sweeping without heater; a heated sensor in the transition may seem normal.
    """
    if slope > SUPERCONDUCTING_SLOPE:
        return State.SUPERCONDUCTING
    if abs(slope / normal_slope - 1) < SAME_SLOPE:
        return State.NORMAL
    return State.TRANSITION


def analyse(
    bias_a: npt.ArrayLike,
    volts: npt.ArrayLike,
    sigma_v: npt.ArrayLike,
    circuit: BiasCircuit,
    *,
    r_load_ohm: Estimate | None = None,
    limit_v: float = np.inf,
) -> Iv:
    """The IV in a sweep of falling bias, from normal down.

    `volts` are means of the locked output, `sigma_v` how sure each is; `limit_v` is where the
    output is at its rail. `r_load_ohm`, where it is given, is taken instead of the superconducting
    slope, as it must be for a heated sensor. CheckError where the sweep shows no such sensor.
    """
    sweep = _Sweep(bias_a, volts, sigma_v, circuit, limit_v)
    jumps = sweep.undo_jumps()
    n_normal, n_super = sweep.branches()
    lost = sweep.undo_lost(n_normal, n_super)
    lines = _Lines.through(sweep, n_normal, n_super)
    load = r_load_ohm or (lines.r_load_ohm(circuit) if n_super else None)
    if load is None:
        raise CheckError(
            f"expected a superconducting branch (dI/dIb above {SUPERCONDUCTING_SLOPE:g}) or the "
            f"load's resistance from another IV, found a last slope of {sweep.slopes[-1]:.3g}"
        )
    return _iv(sweep, lines, load, (n_normal, n_super), (*jumps, *lost))


class _Sweep:
    """Bias and current of one sweep, as far as it is understood yet."""

    def __init__(
        self,
        bias_a: npt.ArrayLike,
        volts: npt.ArrayLike,
        sigma_v: npt.ArrayLike,
        circuit: BiasCircuit,
        limit_v: float,
    ) -> None:
        self.circuit = circuit
        self.bias_a = np.array(bias_a, np.float64)
        volts = np.array(volts, np.float64)
        _refuse_points(self.bias_a, volts, limit_v)
        self.current_a = circuit.current_a(volts)
        one = np.broadcast_to(np.asarray(sigma_v, np.float64), self.bias_a.shape)
        self.sigma_a = np.maximum(np.abs(one / circuit.volts_per_a), 1e-18)
        self._refuse_open()

    @property
    def steps_a(self) -> F64:
        """From each bias to the next one."""
        return np.diff(self.bias_a)

    @property
    def slopes(self) -> F64:
        """dI/dIb between neighbors."""
        return np.asarray(np.diff(self.current_a) / self.steps_a)

    def undo_jumps(self) -> tuple[Jump, ...]:
        """Take out whole quanta between points of one branch."""
        found = []
        for k in range(1, len(self.bias_a) - 2):
            quanta = self._quanta(k)
            if quanta:
                self.current_a[k + 1 :] -= quanta * self.circuit.a_per_phi0
                found.append(Jump(k + 1, quanta))
        return tuple(found)

    def branches(self) -> tuple[int, int]:
        """How many points lie on the normal line, from the first, and on the superconducting one,
        to the last; CheckError where there is no transition between."""
        n_normal = self._as_the_first(self.slopes)
        backward = self.slopes[::-1]
        steep = int(np.argmin(np.append(backward > SUPERCONDUCTING_SLOPE, False)))
        n_super = self._as_the_first(backward[:steep]) if steep else 0
        n_super = n_super if n_super >= LEAST_ON_BRANCH else 0
        self._refuse_branches(n_normal)
        guarded = n_normal - 1 if n_normal > LEAST_ON_BRANCH else n_normal
        return guarded, n_super

    def undo_lost(self, n_normal: int, n_super: int) -> tuple[Jump, ...]:
        """Take out what the lock lost while the sensor became superconducting."""
        if not n_super:
            return ()
        normal = _intercept(self.bias_a[:n_normal], self.current_a[:n_normal])
        below = _intercept(self.bias_a[-n_super:], self.current_a[-n_super:])
        off_phi0 = (below - normal) / self.circuit.a_per_phi0
        quanta = round(off_phi0)
        if abs(off_phi0 - quanta) > RESIDUE:
            raise CheckError(
                f"expected the normal and the superconducting line to meet at zero bias up to "
                f"whole flux quanta, found them {off_phi0:.2f} phi0 apart: is the gain of "
                f"{self.circuit.volts_per_a:.4g} V/A or {self.circuit.a_per_phi0:.4g} A/phi0 wrong?"
            )
        self.current_a[-n_super:] -= quanta * self.circuit.a_per_phi0
        return (Jump(len(self.bias_a) - n_super, quanta),) if quanta else ()

    def _quanta(self, k: int) -> int:
        """Whole quanta between points k and k + 1; none where the branch changes."""
        before, here, after = self.slopes[k - 1 : k + 2]
        expected = before if abs(before - here) < abs(after - here) else after
        off_a = (here - expected) * self.steps_a[k]
        quanta = round(off_a / self.circuit.a_per_phi0)
        if abs(off_a) < HALF_QUANTUM * self.circuit.a_per_phi0 or not quanta:
            return 0
        snapped = (before > SUPERCONDUCTING_SLOPE) != (after > SUPERCONDUCTING_SLOPE)
        return 0 if snapped else quanta

    def _as_the_first(self, slopes: F64) -> int:
        """Points from the first on that lie on one line."""
        few = max(LEAST_ON_BRANCH - 1, len(slopes) // 10)
        first = np.median(slopes[:few])
        other = np.flatnonzero(np.abs(slopes / first - 1) > SAME_SLOPE)
        return int(other[0]) + 1 if other.size else len(slopes) + 1

    def _refuse_open(self) -> None:
        """A sensor that is not there draws no current."""
        span_a = self.bias_a[0] - self.bias_a[-1]
        moved_a = float(np.ptp(self.current_a))
        if moved_a < OPEN_SLOPE * span_a:
            raise CheckError(
                f"open TES: expected more than {OPEN_SLOPE * span_a:.3g} A of current to change "
                f"over {span_a:.3g} A of bias, found {moved_a:.3g} A"
            )

    def _refuse_branches(self, n_normal: int) -> None:
        n = len(self.bias_a)
        if n_normal >= n:
            raise CheckError(
                f"no transition seen: expected the slope to change between {self.bias_a[0]:.4g} A "
                f"and {self.bias_a[-1]:.4g} A of bias, found {np.median(self.slopes):.4g} all the "
                f"way: start higher, or cool down"
            )
        if self.slopes[0] > SUPERCONDUCTING_SLOPE:
            raise CheckError(
                f"no normal branch: expected dI/dIb below {SUPERCONDUCTING_SLOPE:g} at the first "
                f"bias of {self.bias_a[0]:.4g} A, found {self.slopes[0]:.4g}: drive it normal first"
            )
        if n_normal < LEAST_ON_BRANCH or self.slopes[0] <= 0:
            raise CheckError(
                f"no normal branch: expected {LEAST_ON_BRANCH} points on a rising line from the "
                f"first bias of {self.bias_a[0]:.4g} A on, found {n_normal} with a first slope of "
                f"{self.slopes[0]:.4g}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """I = slope Ib + offset on both branches with one offset, and the covariance.

    `values` are (normal slope, superconducting slope, offset), without the second where there is
    no such branch.
    """

    values: F64
    covariance: F64

    @classmethod
    def through(cls, sweep: _Sweep, n_normal: int, n_super: int) -> _Lines:
        n = len(sweep.bias_a)
        normal, below = np.arange(n) < n_normal, np.arange(n) >= n - n_super
        columns = [sweep.bias_a * normal, sweep.bias_a * below, np.ones(n)]
        used = normal | below
        design = np.stack(columns[:1] + columns[1:2] * bool(n_super) + columns[2:], axis=1)[used]
        weights = 1 / sweep.sigma_a[used]
        wanted, weighted = sweep.current_a[used] * weights, design * weights[:, None]
        values, *_ = np.linalg.lstsq(weighted, wanted)
        chi2 = float(np.sum((wanted - weighted @ values) ** 2))
        excess = max(1.0, chi2 / max(1, int(used.sum()) - len(values)))
        covariance = excess * np.linalg.inv(weighted.T @ weighted)
        return cls(np.asarray(values, np.float64), np.asarray(covariance, np.float64))

    def r_load_ohm(self, circuit: BiasCircuit) -> Estimate:
        """Rsh + Rp by the superconducting slope."""
        return self._total(circuit, 1)

    def r_normal_ohm(self, circuit: BiasCircuit, load: Estimate) -> Estimate:
        """Rn by the normal slope."""
        total = self._total(circuit, 0)
        return Estimate(total.value - load.value, float(np.hypot(total.sigma, load.sigma)))

    @property
    def offset_a(self) -> Estimate:
        """What the output shows at zero current, as a current."""
        return Estimate(float(self.values[-1]), float(np.sqrt(self.covariance[-1, -1])))

    def _total(self, circuit: BiasCircuit, which: int) -> Estimate:
        slope = float(self.values[which])
        relative = float(np.sqrt(self.covariance[which, which])) / slope
        total = float(circuit.r_total_ohm(slope))
        return Estimate(total, total * relative)


def _iv(
    sweep: _Sweep,
    lines: _Lines,
    load: Estimate,
    branches: tuple[int, int],
    jumps: tuple[Jump, ...],
) -> Iv:
    circuit, offset = sweep.circuit, lines.offset_a
    current = sweep.current_a - offset.value
    sigma = np.hypot(sweep.sigma_a, offset.sigma)
    r_total = _ratio(circuit.r_shunt_ohm * sweep.bias_a, current, sweep.bias_a != 0)
    relative = _ratio(sigma, np.abs(current), sweep.bias_a != 0)
    r_ohm = r_total - load.value
    gain, sigma_gain = _loop_gain(sweep, r_ohm, load.value, branches)
    n, (n_normal, n_super) = len(current), branches
    states = [State.TRANSITION] * n
    states[:n_normal] = [State.NORMAL] * n_normal
    states[n - n_super :] = [State.SUPERCONDUCTING] * n_super
    return Iv(
        bias_a=sweep.bias_a,
        current_a=current,
        sigma_a=sigma,
        r_ohm=r_ohm,
        sigma_r_ohm=np.hypot(np.abs(r_total) * relative, load.sigma),
        loop_gain=gain,
        sigma_loop_gain=sigma_gain,
        states=tuple(states),
        jumps=jumps,
        r_normal_ohm=lines.r_normal_ohm(circuit, load),
        r_load_ohm=load,
        offset_v=Estimate(
            offset.value * circuit.volts_per_a, offset.sigma * abs(circuit.volts_per_a)
        ),
        volts_per_a=circuit.volts_per_a,
    )


def _loop_gain(
    sweep: _Sweep, r_ohm: F64, load_ohm: float, branches: tuple[int, int]
) -> tuple[F64, F64]:
    """By central differences, inside the transition alone."""
    n, (n_normal, n_super) = len(r_ohm), branches
    gain, sigma = np.full(n, np.nan), np.full(n, np.nan)
    for k in range(max(1, n_normal), n - max(1, n_super + 1)):
        step_a = sweep.bias_a[k + 1] - sweep.bias_a[k - 1]
        slope = (sweep.current_a[k + 1] - sweep.current_a[k - 1]) / step_a
        off = float(np.hypot(sweep.sigma_a[k + 1], sweep.sigma_a[k - 1]) / abs(step_a))
        z0 = sweep.circuit.r_shunt_ohm / slope - load_ohm
        gain[k] = (z0 - r_ohm[k]) / (z0 + r_ohm[k])
        per_slope = 2 * r_ohm[k] / (z0 + r_ohm[k]) ** 2 * sweep.circuit.r_shunt_ohm / slope**2
        sigma[k] = abs(per_slope) * off
    return gain, sigma


def _ratio(over: F64, under: F64, where: npt.NDArray[np.bool_]) -> F64:
    """NaN where there is nothing to divide."""
    out = np.full(len(over), np.nan)
    np.divide(over, under, out=out, where=where & (under != 0))
    return out


def _intercept(x: F64, y: F64) -> float:
    return float(np.polyfit(x, y, 1)[1])


def _refuse_points(bias_a: F64, volts: F64, limit_v: float) -> None:
    if bias_a.ndim != 1 or bias_a.shape != volts.shape:
        raise CheckError(f"expected as many volts as biases, found {volts.shape}, {bias_a.shape}")
    if len(bias_a) < LEAST_POINTS:
        raise CheckError(f"too few points: expected at least {LEAST_POINTS}, found {len(bias_a)}")
    if not (np.isfinite(bias_a).all() and np.isfinite(volts).all()):
        raise CheckError("expected finite biases and volts, found some that are not")
    if not (np.diff(bias_a) < 0).all() or bias_a[-1] < 0:
        raise CheckError(
            f"expected biases that fall from the normal state to zero, found {bias_a[0]:.4g} A to "
            f"{bias_a[-1]:.4g} A with steps from {np.diff(bias_a).min():.3g} A to "
            f"{np.diff(bias_a).max():.3g} A"
        )
    railed = np.flatnonzero(np.abs(volts) >= limit_v)
    if railed.size:
        raise CheckError(
            f"expected the output within {limit_v:g} V, found it at its rail at {railed.size} "
            f"points, first at {bias_a[railed[0]]:.4g} A: use a smaller feedback resistor"
        )
