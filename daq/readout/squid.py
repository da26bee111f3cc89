"""From a cold SQUID to a locked one, with proof: identify, V-phi, lock point, lock, proof.

Each procedure works over any electronics that offers what it needs under the common names (SI
units); what it only can use (a heater, the second stage) it asks for first. A step that does not
pass is a StepFailedError that says what was expected and what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from daq.errors import CheckError, ScheeliteError
from daq.readout import vphi
from daq.readout.procedures import (
    average,
    begin,
    do,
    end,
    get,
    offers,
    put,
    say,
    take,
    wait,
)
from daq.readout.requests import Offered, Picture, Procedure, Taken, Value
from daq.readout.vphi import VPhi

Floats = npt.NDArray[np.float64]

NEEDED = ("mode", "bias", "flux", "offset", "feedback")
KEPT_ORDER = (  # as they are put back: with the loop open, ranges before what is in them
    "array_bias", "array_flux", "bias", "flux", "offset", "feedback", "integrator", "tes_range",
    "tes_bias",
)  # fmt: skip
OPEN, LOCKED = "OPEN", "LOCKED"

POINT_S, POINT_SETTLE_S = 0.005, 0.002  # of a point of V-phi
N_COARSE, N_FINER, N_CURVE, N_FINE = 5, 2, 16, 41  # bias currents; points of a curve
LEAST_EXPLAINED = 0.98  # of the variance, by a periodic curve
LEAST_EXPLAINED_COARSE = 0.8  # by few harmonics of a period that is not yet known
LEAST_DEPTH_V = 1e-6  # at the SQUID: below any SQUID that could be locked
PERIOD_TOLERANCE = 0.2  # of the design's
OFFSET_STEP_V = 20e-6  # that the gain of the open output is measured with
COOLING_S = 12.0  # after heating
N_RETRIES = 2  # before a SQUID is given up; each after heating, where it can be
NOISE_S, NOISE_BAND = 1.0, (0.1, 0.4)  # of the sampling rate: the band that is taken for white
RANGE_V, NEAR_RANGE = 10.0, 0.9  # of the digitizer
SETTLE_S = 0.5  # of a locked loop with its TES
TEST_STEPS_PHI0 = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN_TOLERANCE, STRAIGHT_PHI0, RETURN_PHI0 = 0.05, 0.02, 0.05
N_LOCKS = 3  # attempts
LEAST_CODES = 3  # different values that a living output shows


class StepFailedError(CheckError):
    """A step of tuning did not pass; the message says what was expected and what was found."""


class Chain(Protocol):
    """What a procedure must know of a detector's wiring; [detectors] of the config has it."""

    @property
    def feedback_a_per_phi0(self) -> float:
        """Current of the flux line that is one quantum, by design."""

    @property
    def squid_bias_a(self) -> tuple[float, float]:
        """Bias currents that may be tried."""

    @property
    def feedback_ohm(self) -> float | None:
        """Feedback resistor to tune with; None for the one that stands."""


@dataclass(frozen=True, slots=True)
class Identified:
    """The electronics of a channel, and what it held when we came."""

    offered: Offered
    held: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One V-phi curve: bias, the currents in the flux line that were held, the open output."""

    bias_a: float
    flux_a: Floats
    volts: Floats
    fit: VPhi


@dataclass(frozen=True, slots=True)
class Characterized:
    """V-phi at several bias currents and, at the best, in full."""

    coarse: Sequence[Sweep]
    best: Sweep
    gain: float  # of the open output, volts per volt at the SQUID
    heated: int = 0

    @property
    def period_a(self) -> float:
        """One quantum in the flux line."""
        return self.best.fit.period_a

    @property
    def depth_v(self) -> float:
        """Modulation at the SQUID itself."""
        return self.best.fit.depth_v / self.gain


@dataclass(frozen=True, slots=True)
class LockPoint:
    """Where to lock: flux on either slope, and the voltage at the SQUID that is subtracted."""

    flux_a: tuple[float, float]  # rising, falling
    offset_v: float
    slope_v_per_phi0: tuple[float, float]  # at the SQUID
    flux_noise_phi0_rthz: float


@dataclass(frozen=True, slots=True)
class Locked:
    """The loop as it was proven: volts at the output for one quantum, and its noise."""

    flux_a: float
    volts_per_phi0: float
    output_v: float
    std_v: float
    noise_v_rthz: float
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A SQUID that is locked, with everything that was found on the way."""

    identified: Identified
    curve: Characterized
    point: LockPoint
    locked: Locked


def tune_squid(at: str, chain: Chain) -> Procedure[Tuned]:
    """All steps for one channel; StepFailedError for the first that does not pass."""
    identified = yield from identify(at)
    curve = yield from characterize(at, chain, identified)
    point = yield from find_lock_point(at, curve)
    locked = yield from lock(at, curve, point)
    proven = yield from prove(at, curve, locked)
    return Tuned(identified, curve, point, proven)


# --- identify


def identify(at: str) -> Procedure[Identified]:
    """Ask what is there and what it holds; bring what nobody knows into a known state."""
    expected = f"the electronics has {', '.join(NEEDED)} and its channel delivers samples"
    yield from begin(at, "identify", expected)
    offered = yield from offers(at)
    missing = [name for name in NEEDED if not offered.has(name)]
    if missing:
        yield from fail(at, "identify", f"the electronics to have {', '.join(missing)}", "none")
    held = yield from _known(at, offered)
    seen = yield from average(at, 0.02)
    shadows = sum(1 for offer in offered.values.values() if offer.source == "shadow")
    values = {"output_v": seen.mean_v, "n_values": float(len(held)), "n_shadows": float(shadows)}
    values |= {f"{name}_before": v for name, v in held.items() if isinstance(v, float)}
    yield from end(at, "identify", passed=True, values=values)
    return Identified(offered, held)


def _known(at: str, offered: Offered) -> Procedure[dict[str, Value]]:
    """What everything holds; after `initialize` where something was never written."""
    try:
        return (yield from hold(at, offered))
    except ScheeliteError:
        if not offered.has("initialize"):
            raise
    yield from do(at, "initialize")
    return (yield from hold(at, offered))


def hold(at: str, offered: Offered) -> Procedure[dict[str, Value]]:
    """What a channel holds of all that makes its working point."""
    names = [name for name in ("mode", *KEPT_ORDER) if name in offered.values]
    held: dict[str, Value] = {}
    for name in names:
        held[name] = (yield from get(at, name)).value
    return held


# --- V-phi


def characterize(at: str, chain: Chain, identified: Identified) -> Procedure[Characterized]:
    """V-phi at several bias currents, then in full at the best; heat and retry where it is flat."""
    expected = (
        f"a modulation above {LEAST_DEPTH_V:g} V whose period is {chain.feedback_a_per_phi0:g} A "
        f"within {PERIOD_TOLERANCE:.0%}"
    )
    yield from begin(at, "v-phi", expected)
    yield from put(at, "mode", OPEN)
    yield from put(at, "offset", 0.0)
    if chain.feedback_ohm is not None:
        yield from put(at, "feedback", chain.feedback_ohm)
    curve, problem = None, ""
    for heated in range(N_RETRIES + 1):
        if heated:
            yield from _warm(at, identified, f"{problem}; attempt {heated + 1}")
        curve, problem = yield from _try_curve(at, chain, identified, heated)
        if curve is not None and not problem:
            break
    else:
        yield from fail(at, "v-phi", expected, problem, _curve_pictures(curve))
    assert curve is not None
    values = _curve_values(curve)
    yield from end(at, "v-phi", passed=True, values=values, pictures=_curve_pictures(curve))
    return curve


def _warm(at: str, identified: Identified, why: str) -> Procedure[None]:
    """Heat the SQUID, where that can be done: flux that was trapped goes."""
    yield from say(at, why)
    if identified.offered.has("heat"):
        yield from do(at, "heat")
        yield from wait(COOLING_S)


def _try_curve(
    at: str, chain: Chain, identified: Identified, heated: int
) -> Procedure[tuple[Characterized | None, str]]:
    """One attempt; the sentence says what is wrong with it."""
    coarse = yield from _coarse(at, chain, identified)
    best = deepest(coarse)
    if best.fit.explained < LEAST_EXPLAINED_COARSE or best.fit.depth_v <= 3 * best.fit.noise_v:
        least, most = coarse[0].bias_a, coarse[-1].bias_a
        return None, (
            f"a modulation of {best.fit.depth_v:.3g} V at the open output with "
            f"{best.fit.noise_v:.2g} V of scatter, at best, for bias currents from "
            f"{least:.3g} to {most:.3g} A"
        )
    fine = yield from _full(at, chain, identified, coarse)
    gain = yield from _open_gain(at)
    curve = Characterized(coarse, fine, gain, heated)
    off = curve.period_a / chain.feedback_a_per_phi0 - 1
    if curve.depth_v < LEAST_DEPTH_V:
        return curve, f"a modulation of {curve.depth_v:.3g} V at the SQUID"
    if abs(off) > PERIOD_TOLERANCE or fine.fit.explained < LEAST_EXPLAINED:
        explained = fine.fit.explained
        return curve, f"a period of {curve.period_a:.4g} A that explains {explained:.1%} of V-phi"
    return curve, ""


def deepest(sweeps: Sequence[Sweep]) -> Sweep:
    """The one with the largest modulation."""
    return max(sweeps, key=lambda each: each.fit.depth_v)


def _full(
    at: str, chain: Chain, identified: Identified, coarse: Sequence[Sweep]
) -> Procedure[Sweep]:
    """The whole curve of the deepest; of the next higher currents, until it is even."""
    flux = _full_range(chain, identified.offered)
    least_a = deepest(coarse).bias_a
    for bias_a in (each.bias_a for each in coarse if each.bias_a >= least_a):
        held = yield from put(at, "bias", bias_a)
        swept = yield from _sweep(at, flux)
        full = Sweep(held.number, *swept, vphi.fit(*swept, chain.feedback_a_per_phi0))
        if full.fit.is_even:
            break
    return full


def _coarse(at: str, chain: Chain, identified: Identified) -> Procedure[list[Sweep]]:
    """Curves over a period at currents over the whole range, then at some between the best ones."""
    least, most = _bias_range(chain, identified.offered)
    flux = _one_period(chain, identified.offered)
    biases = np.linspace(least, most, N_COARSE)
    sweeps = yield from _sweeps(at, biases, flux, chain, 0.0)
    middle, step = deepest(sweeps).bias_a, float(biases[1] - biases[0])
    between = middle + step / (N_FINER + 1) * np.arange(-N_FINER, N_FINER + 1)
    more = [b for b in between if least <= b <= most and abs(b - middle) > step / 10]
    sweeps += yield from _sweeps(at, np.array(more), flux, chain, 0.5)
    return sorted(sweeps, key=lambda each: each.bias_a)


def _sweeps(
    at: str, biases: Floats, flux: Floats, chain: Chain, done: float
) -> Procedure[list[Sweep]]:
    found = []
    for i, bias in enumerate(biases.tolist()):
        text = f"V-phi at {bias * 1e6:.3g} uA"
        yield from say(at, text, done + 0.4 * i / len(biases))
        held = yield from put(at, "bias", bias)
        swept = yield from _sweep(at, flux)
        fit = vphi.fit_with(*swept, chain.feedback_a_per_phi0)
        found.append(Sweep(held.number, *swept, fit))
    return found


def _sweep(at: str, flux_a: Floats) -> Procedure[tuple[Floats, Floats]]:
    """(current held in the flux line, open output), point by point."""
    held, volts = [], []
    for current in flux_a.tolist():
        held.append((yield from put(at, "flux", current)).number)
        volts.append((yield from average(at, POINT_S, POINT_SETTLE_S)).mean_v)
    return np.array(held), np.array(volts)


def _open_gain(at: str) -> Procedure[float]:
    """Volts at the open output per volt that is subtracted at its input."""
    points = []
    for offset in (0.0, OFFSET_STEP_V):
        held = yield from put(at, "offset", offset)
        mean = yield from average(at, 4 * POINT_S, POINT_SETTLE_S)
        points.append((held.number, mean.mean_v))
    yield from put(at, "offset", 0.0)
    (a, v_a), (b, v_b) = points
    if a == b or v_a == v_b:
        raise StepFailedError(
            f"expected the open output to follow its offset, found {v_a:.4g} V with {a:g} V and "
            f"{v_b:.4g} V with {b:g} V"
        )
    return (v_a - v_b) / (b - a)


def _bias_range(chain: Chain, offered: Offered) -> tuple[float, float]:
    least, most = chain.squid_bias_a
    ceiling = offered.values["bias"].maximum
    return least, most if ceiling is None else min(most, ceiling)


def _flux_range(offered: Offered) -> tuple[float, float]:
    offer = offered.values["flux"]
    if offer.minimum is None or offer.maximum is None:
        raise StepFailedError("expected a range of the flux current, found none")
    return offer.minimum, offer.maximum


def _one_period(chain: Chain, offered: Offered) -> Floats:
    """Currents over a bit more than a period, around 0 where it can be negative."""
    low, high = _flux_range(offered)
    span = min(1.1 * chain.feedback_a_per_phi0, high - low)
    begin_a = max(low, min(-span / 2, high - span))
    return np.linspace(begin_a, begin_a + span, N_CURVE)


def _full_range(chain: Chain, offered: Offered) -> Floats:
    """Currents over up to six periods: many make the period sure."""
    low, high = (0.98 * each for each in _flux_range(offered))
    reach = 3.05 * chain.feedback_a_per_phi0
    return np.linspace(max(low, -reach), min(high, reach if low < 0 else 2 * reach), N_FINE)


def _curve_values(curve: Characterized) -> dict[str, float]:
    fit = curve.best.fit
    return {
        "bias_a": curve.best.bias_a,
        "period_a": fit.period_a,
        "period_sigma_a": fit.period_sigma_a,
        "depth_v": curve.depth_v,
        "open_gain": curve.gain,
        "explained": fit.explained,
        "n_curves": float(len(curve.coarse)),
        "heated": float(curve.heated),
    }


def _curve_pictures(curve: Characterized | None) -> list[Picture]:
    if curve is None:
        return []
    best, grid = curve.best, np.linspace(*_ends(curve.best.flux_a), 300)
    full = Picture(
        f"V-phi at {best.bias_a * 1e6:.3g} uA",
        "current in the flux line [uA]",
        "open output [mV]",
        {
            "measured": xy(best.flux_a * 1e6, best.volts * 1e3),
            "fit": xy(grid * 1e6, best.fit.at(grid) * 1e3),
        },
        ("measured",),
    )
    depths = Picture(
        "depth against bias current",
        "bias current [uA]",
        "depth at the SQUID [uV]",
        {
            "depth": xy(
                np.array([s.bias_a for s in curve.coarse]) * 1e6,
                np.array([s.fit.depth_v for s in curve.coarse]) / curve.gain * 1e6,
            )
        },
        ("depth",),
    )
    return [full, depths]


# --- lock point


def find_lock_point(at: str, curve: Characterized) -> Procedure[LockPoint]:
    """The points of steepest slope, the offset that makes them zero, and the noise there."""
    expected = "the open output at the lock point within 10 % of the depth of what was meant"
    yield from begin(at, "lock point", expected)
    fit, gain = curve.best.fit, curve.gain
    rising, falling = fit.lock_points()
    meant_v = float(fit.at(rising)) / gain
    offset = yield from put(at, "offset", meant_v)
    yield from put(at, "flux", rising)
    open_ = yield from take(at, NOISE_S, SETTLE_S)
    # what the offset's converter cannot hold is left at the output
    left_v = (meant_v - offset.number) * gain
    off = abs(float(open_.volts.mean()) - left_v) / fit.depth_v
    slope = [float(each) for each in fit.slope_v_per_phi0(np.array([rising, falling]))]
    noise_v = white_noise(open_)
    noise_phi0 = noise_v / abs(slope[0])
    values = {
        "flux_rising_a": rising,
        "flux_falling_a": falling,
        "offset_v": offset.number,
        "slope_rising_v_per_phi0": slope[0] / gain,
        "slope_falling_v_per_phi0": slope[1] / gain,
        "off_depth": off,
        "flux_noise_phi0_rthz": noise_phi0,
    }
    if off > 0.1:
        mean = float(open_.volts.mean())
        found = f"{mean:.3g} V where {left_v:.3g} V was meant, of a depth of {fit.depth_v:.3g} V"
        yield from fail(at, "lock point", expected, found, values=values)
    yield from end(at, "lock point", passed=True, values=values)
    both = (slope[0] / gain, slope[1] / gain)
    return LockPoint((rising, falling), offset.number, both, noise_phi0)


def white_noise(taken: Taken) -> float:
    """Volts per root Hz in the band that is taken for white."""
    f_hz, psd = density(taken.volts, taken.rate_hz)
    low, high = (share * taken.rate_hz for share in NOISE_BAND)
    return float(np.sqrt(np.median(psd[(f_hz >= low) & (f_hz < high)])))


def density(volts: Floats, rate_hz: float) -> tuple[Floats, Floats]:
    """(frequency, one-sided density in V²/Hz) by Welch's method with a Hann window."""
    n = 1 << max(4, min(14, int(np.log2(max(16, len(volts) // 8)))))
    rows = volts[: len(volts) // n * n].reshape(-1, n)
    window = np.hanning(n)
    power = np.abs(np.fft.rfft((rows - rows.mean(1, keepdims=True)) * window)) ** 2
    scale = 2 / (rate_hz * float(np.sum(window**2)))
    f_hz = np.asarray(np.fft.rfftfreq(n, 1 / rate_hz), np.float64)
    return f_hz, np.asarray(power.mean(0) * scale, np.float64)


# --- lock


def lock(at: str, curve: Characterized, point: LockPoint) -> Procedure[float]:
    """Close the loop where its output is nearest to zero; the flux current it was closed at."""
    expected = f"a locked output within {NEAR_RANGE * RANGE_V:g} V that is not frozen"
    yield from begin(at, "lock", expected)
    feedback_ohm = (yield from get(at, "feedback")).number
    per_phi0 = feedback_ohm * curve.period_a
    found = "no attempt"
    for attempt in range(N_LOCKS):
        for flux in point.flux_a:
            yield from put(at, "flux", flux)
            yield from put(at, "mode", LOCKED)
            yield from do(at, "reset_loop")
            seen = yield from take(at, 0.1, SETTLE_S)
            problem = health(seen)
            off = abs(float(seen.volts.mean()))
            # on the other side of V-phi it falls half a quantum away
            if not problem and (off < 0.25 * per_phi0 or attempt == N_LOCKS - 1):
                values = {
                    "flux_a": flux,
                    "output_v": float(seen.volts.mean()),
                    "feedback_ohm": feedback_ohm,
                    "attempts": float(attempt + 1),
                }
                yield from end(at, "lock", passed=True, values=values)
                return flux
            found = problem or f"an output of {off:.3g} V, {off / per_phi0:.2g} quanta"
            yield from put(at, "mode", OPEN)
    yield from fail(at, "lock", expected, found)
    raise AssertionError  # `fail` raises


def health(seen: Taken) -> str:
    """What is wrong with a locked output, or "": out of range, or frozen."""
    volts = seen.volts
    if abs(volts).max() > NEAR_RANGE * RANGE_V:
        return f"an output that reaches {volts[np.argmax(abs(volts))]:.3g} V"
    if len(np.unique(seen.counts)) < LEAST_CODES:
        return f"an output that is frozen at {volts[0]:.4g} V"
    return ""


# --- proof of lock


def prove(at: str, curve: Characterized, flux_a: float) -> Procedure[Locked]:
    """A flux of up to one quantum through the loop: the output follows it, straight, and back."""
    feedback_ohm = (yield from get(at, "feedback")).number
    design_v = feedback_ohm * curve.period_a
    expected = (
        f"{design_v:.4g} V per quantum within {GAIN_TOLERANCE:.0%}, straight within "
        f"{STRAIGHT_PHI0:g} quanta, the same before and after within {RETURN_PHI0:g} quanta"
    )
    yield from begin(at, "proof", expected)
    currents, outputs = yield from _stepped(at, curve.period_a, flux_a)
    quanta = (currents - currents[0]) / curve.period_a
    gain_v, at_zero = np.polyfit(quanta[:-1], outputs[:-1], 1)
    left = outputs[:-1] - np.polyval([gain_v, at_zero], quanta[:-1])
    straight, returned = np.abs(left / gain_v).max(), abs((outputs[-1] - outputs[0]) / gain_v)
    before = outputs[0]
    yield from do(at, "reset_loop")
    seen = yield from take(at, NOISE_S, SETTLE_S)
    jumped = (float(seen.volts.mean()) - before) / abs(gain_v)
    values = {
        "volts_per_phi0": float(abs(gain_v)),
        "expected_volts_per_phi0": design_v,
        "straight_phi0": float(straight),
        "returned_phi0": float(returned),
        "reset_phi0": jumped,
        "output_v": float(seen.volts.mean()),
        "std_v": float(seen.volts.std()),
        "flux_noise_phi0_rthz": white_noise(seen) / float(abs(gain_v)),
    }
    problem = _unproven(values, health(seen))
    pictures = _proof_pictures(quanta, outputs, seen)
    if problem:
        yield from fail(at, "proof", expected, problem, pictures, values)
    yield from end(at, "proof", passed=True, values=values, pictures=pictures)
    return Locked(
        flux_a=flux_a,
        volts_per_phi0=float(abs(gain_v)),
        output_v=values["output_v"],
        std_v=values["std_v"],
        noise_v_rthz=white_noise(seen),
        values=values,
    )


def _stepped(at: str, period_a: float, flux_a: float) -> Procedure[tuple[Floats, Floats]]:
    """(flux current, output) at the test's steps and once more at the first."""
    direction = -1.0 if flux_a > 0 else 1.0  # towards where the range is
    currents, outputs = [], []
    for step in (*TEST_STEPS_PHI0, TEST_STEPS_PHI0[0]):
        held = yield from put(at, "flux", flux_a + direction * step * period_a)
        mean = yield from average(at, 0.1, SETTLE_S)
        currents.append(held.number)
        outputs.append(mean.mean_v)
    return np.array(currents), np.array(outputs)


def _unproven(values: Mapping[str, float], problem: str) -> str:
    ratio = values["volts_per_phi0"] / values["expected_volts_per_phi0"]
    if abs(ratio - 1) > GAIN_TOLERANCE:
        return f"{values['volts_per_phi0']:.4g} V per quantum"
    if values["straight_phi0"] > STRAIGHT_PHI0:
        return f"a bend of {values['straight_phi0']:.2g} quanta"
    if values["returned_phi0"] > RETURN_PHI0:
        return f"an output that came back {values['returned_phi0']:.2g} quanta away"
    off = abs(values["reset_phi0"] - round(values["reset_phi0"]))
    if off > RETURN_PHI0:
        return f"an output that a reset moved by {values['reset_phi0']:.2f} quanta"
    return problem


def _proof_pictures(quanta: Floats, outputs: Floats, seen: Taken) -> list[Picture]:
    f_hz, psd = density(seen.volts, seen.rate_hz)
    keep = f_hz > 0
    return [
        Picture(
            "proof of lock",
            "flux through the loop [quanta]",
            "output [V]",
            {"output": xy(quanta, outputs)},
            ("output",),
        ),
        Picture(
            "noise of the locked output",
            "frequency [Hz], log10",
            "density [V/rtHz], log10",
            {"noise": thinned(np.log10(f_hz[keep]), np.log10(np.sqrt(psd[keep]) + 1e-12))},
        ),
    ]


# --- verify, save, restore


def verify(at: str, locked: Locked, meant: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    """At the end: everything is held as it was set, and the output lives; what is held."""
    expected = "everything held as it was set, and a living output within its range"
    yield from begin(at, "verify", expected)
    offered = yield from offers(at)
    held = yield from hold(at, offered)
    seen = yield from take(at, NOISE_S, SETTLE_S)
    other = [name for name, value in meant.items() if held.get(name) != value]
    problem = health(seen)
    if held["mode"] != LOCKED:
        problem = "an open loop"
    if other:
        name = other[0]
        problem = f"{name} at {held.get(name)!r} where {meant[name]!r} was set"
    values = {
        "output_v": float(seen.volts.mean()),
        "std_v": float(seen.volts.std()),
        "flux_noise_phi0_rthz": white_noise(seen) / locked.volts_per_phi0,
    }
    if problem:
        yield from fail(at, "verify", expected, problem, values=values)
    yield from end(at, "verify", passed=True, values=values)
    return held


def restore(at: str, wanted: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    """Bring a channel back to what was held once, the loop open meanwhile; what is then held."""
    offered = yield from offers(at)
    unknown = [name for name in wanted if name not in offered.values]
    if unknown:
        raise ScheeliteError(f"{at} has no {unknown[0]}, which was kept")
    yield from _known(at, offered)
    yield from put(at, "mode", OPEN)
    for name in KEPT_ORDER:
        if name in wanted:
            yield from put(at, name, wanted[name])
    if wanted.get("mode") == LOCKED:
        yield from put(at, "mode", LOCKED)
        yield from do(at, "reset_loop")
    return (yield from hold(at, offered))


# --- all of it


def fail(
    at: str,
    step: str,
    expected: str,
    found: str,
    pictures: Sequence[Picture] = (),
    values: Mapping[str, float] | None = None,
) -> Procedure[None]:
    """End a step that did not pass, and raise StepFailedError."""
    yield from end(at, step, passed=False, values=values, found=found, pictures=pictures)
    raise StepFailedError(f"{at}, {step}: expected {expected}, found {found}")


def xy(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """A curve of a picture."""
    return x.tolist(), y.tolist()


def thinned(x: Floats, y: Floats, n: int = 400) -> tuple[list[float], list[float]]:
    """No more points than a picture can show."""
    step = max(1, len(x) // n)
    return xy(x[::step], y[::step])


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())
