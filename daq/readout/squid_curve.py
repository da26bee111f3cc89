"""V-phi at several bias currents, in full at the best; heated and tried again where it is flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daq.readout import vphi
from daq.readout.electronics import OPEN, Chain, Identified
from daq.readout.procedures import average, begin, do, end, put, say, wait
from daq.readout.requests import Offered, Picture, Procedure
from daq.readout.steps import Floats, StepFailedError, fail, xy
from daq.readout.vphi import VPhi

POINT_S, POINT_SETTLE_S = 0.005, 0.002  # of a point of V-phi
FULL_POINT_S = 0.03  # where its slope must be known within 1 %, also by a slow digitizer
N_COARSE, N_FINER, N_CURVE, N_FINE = 5, 2, 16, 41  # bias currents; points of a curve
LEAST_EXPLAINED = 0.98  # of the variance, by a periodic curve
LEAST_EXPLAINED_COARSE = 0.8  # by few harmonics of a period that is not yet known
LEAST_DEPTH_V = 1e-6  # at the SQUID: below any SQUID that could be locked
PERIOD_TOLERANCE = 0.2  # of the design's
OFFSET_STEP_V = 20e-6  # that the gain of the open output is measured with
COOLING_S = 12.0  # after heating
N_RETRIES = 2  # before a SQUID is given up; each after heating, where it can be


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
    def flux_range_a(self) -> tuple[float, float]:
        """Of the flux line, as far as it was tried."""
        return _ends(self.best.flux_a)

    @property
    def depth_v(self) -> float:
        """Modulation at the SQUID itself."""
        return self.best.fit.depth_v / self.gain


def characterize(at: str, chain: Chain, identified: Identified) -> Procedure[Characterized]:
    """V-phi at several bias currents, then in full at the best; heat and retry where it is flat."""
    expected = (
        f"a modulation above {LEAST_DEPTH_V:g} V whose period is {chain.feedback_a_per_phi0:g} A "
        f"within {PERIOD_TOLERANCE:.0%}"
    )
    yield from begin(at, "v-phi", expected)
    yield from put(at, "mode", OPEN)
    if identified.offered.has("tes_bias"):
        yield from put(at, "tes_bias", 0.0)  # no pulses: an unbiased sensor has none
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
        swept = yield from _sweep(at, flux, FULL_POINT_S)
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
        swept = yield from _sweep(at, flux, POINT_S)
        fit = vphi.fit_with(*swept, chain.feedback_a_per_phi0)
        found.append(Sweep(held.number, *swept, fit))
    return found


def _sweep(at: str, flux_a: Floats, point_s: float) -> Procedure[tuple[Floats, Floats]]:
    """(current held in the flux line, open output), point by point."""
    held, volts = [], []
    for current in flux_a.tolist():
        held.append((yield from put(at, "flux", current)).number)
        volts.append((yield from average(at, point_s, POINT_SETTLE_S)).mean_v)
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
    best, grid = curve.best, np.linspace(*curve.flux_range_a, 300)
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


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())
