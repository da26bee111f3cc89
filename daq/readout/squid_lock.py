"""The lock point of a SQUID, the lock itself, and the proof that it is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from daq.readout.electronics import LOCKED, OPEN
from daq.readout.noise_model import density
from daq.readout.procedures import average, begin, do, end, get, put, take
from daq.readout.requests import Picture, Procedure, Taken
from daq.readout.squid_curve import Characterized
from daq.readout.steps import Floats, fail, thinned, xy

LOWEST_HZ = 20.0  # of the noise that is shown
NOISE_S, NOISE_BAND = 1.0, (0.1, 0.4)  # of the sampling rate: the band that is taken for white
RANGE_V, NEAR_RANGE = 10.0, 0.9  # of the digitizer
SETTLE_S = 0.5  # of a locked loop with its TES
TEST_STEPS_PHI0 = (0.0, 0.25, 0.5, 0.75, 1.0)
GAIN_TOLERANCE, STRAIGHT_PHI0, RETURN_PHI0 = 0.05, 0.02, 0.05
N_LOCKS = 3  # attempts
LEAST_CODES = 3  # different values that a living output shows


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


def find_lock_point(at: str, curve: Characterized) -> Procedure[LockPoint]:
    """The points of steepest slope, the offset that makes them zero, and the noise there."""
    expected = "the open output at the lock point within 10 % of the depth of what was meant"
    yield from begin(at, "lock point", expected)
    fit, gain = curve.best.fit, curve.gain
    rising, falling = fit.lock_points(*curve.flux_range_a)
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
    f_hz, psd, _ = density(taken.volts, taken.rate_hz, lowest_hz=LOWEST_HZ)
    low, high = (share * taken.rate_hz for share in NOISE_BAND)
    return float(np.sqrt(np.median(psd[(f_hz >= low) & (f_hz < high)])))


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
    currents, outputs = yield from _stepped(at, curve, flux_a)
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


def _stepped(at: str, curve: Characterized, flux_a: float) -> Procedure[tuple[Floats, Floats]]:
    """(flux current, output) at the test's steps and once more at the first."""
    low, high = curve.flux_range_a
    direction = 1.0 if high - flux_a > flux_a - low else -1.0  # where there is more room
    currents, outputs = [], []
    for step in (*TEST_STEPS_PHI0, TEST_STEPS_PHI0[0]):
        held = yield from put(at, "flux", flux_a + direction * step * curve.period_a)
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
    f_hz, psd, _ = density(seen.volts, seen.rate_hz, lowest_hz=LOWEST_HZ)
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
            {"noise": thinned(np.log10(f_hz), np.log10(np.sqrt(psd) + 1e-12))},
        ),
    ]
