"""The guided whole: from a cold, unbiased channel to a sensor that works, step by step.

identify, v-phi, lock point, lock, proof; for electronics that bias a TES also iv, bias point and
noise; verify. Each begins with what is expected of it and ends with what was found. A channel that
fails is left as it was found, and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daq.errors import CheckError, ScheeliteError
from daq.readout import characterize, squid
from daq.readout.characterize import Sensor, falling_biases, from_normal, measure_iv
from daq.readout.circuit import Estimate
from daq.readout.electronics import Chain, hold
from daq.readout.electronics import restore as restore_channel
from daq.readout.iv import Iv, State
from daq.readout.noise_model import density
from daq.readout.procedures import (
    Outcome,
    begin,
    do,
    end,
    get,
    offers,
    put,
    take,
    together,
    undone_if_failed,
)
from daq.readout.requests import Picture, Procedure, StoppedError, Value
from daq.readout.resolution import Heater
from daq.readout.squid_lock import health
from daq.readout.steps import StepFailedError, fail, thinned, xy

SQUID_STEPS = ("identify", "v-phi", "lock point", "lock", "proof")
TES_STEPS = ("iv", "bias point", "noise")
STEPS = (*SQUID_STEPS, *TES_STEPS, "verify")

IV_POINT_S, IV_SETTLE_S = 0.05, 0.15
LOAD_SIGMA = 0.02  # of a load that the config says
LEAST_TRANSITION = 4  # points of an IV
SHARE_TOLERANCE = 0.15  # of Rn, between what was aimed at and what was found
WORK_SETTLE_S = 1.0
NOISE_S, NOISE_LOWEST_HZ = 4.0, 2.0
NOISE_BAND_HZ = (1e3, 3e3)  # where neither lines nor the loop count
NEAR_ZERO = 0.6  # quanta that a fresh lock may be away from zero


class Plan(Chain, Protocol):
    """What the whole must know of a detector; [detectors] of the config has it."""

    @property
    def input_a_per_phi0(self) -> float:
        """TES current that is one quantum."""

    @property
    def shunt_ohm(self) -> float:
        """The shunt."""

    @property
    def load_ohm(self) -> float | None:
        """Shunt and parasitic resistance; None where an IV can show it."""

    @property
    def bias_ohm(self) -> float:
        """Turns the generator's volts into bias."""

    @property
    def heater_ohm(self) -> float:
        """The heater."""

    @property
    def heater_attenuation_db(self) -> float:
        """Before the heater."""

    @property
    def tes_bias_max_a(self) -> float:
        """No procedure goes beyond it."""

    @property
    def tes_normal_a(self) -> float:
        """Drives the sensor normal."""

    @property
    def tes_range_a(self) -> float | None:
        """Range of the bias to work in."""

    @property
    def tes_sweep_a(self) -> tuple[float, float]:
        """Top and bottom of an IV."""

    @property
    def tes_share(self) -> float:
        """Of the normal resistance, to work at."""

    @property
    def sweep_feedback_ohm(self) -> float:
        """Feedback resistor of IVs."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What tuning made of a channel: what it held before, and what it holds now."""

    before: Mapping[str, Value]
    held: Mapping[str, Value]


def tune(plans: Mapping[str, Plan]) -> Procedure[dict[str, Outcome[Channel]]]:
    """Several channels at once."""
    return together({at: undone_if_failed(_tune(at, plan)) for at, plan in plans.items()})


def snapshot(
    plans: Mapping[str, Plan],
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """What channels hold; nothing of one where something was never written and cannot be read."""
    return together({at: _snapshot(at) for at in plans})


def restore(
    wanted: Mapping[str, Mapping[str, Value]],
) -> Procedure[dict[str, Outcome[dict[str, Value]]]]:
    """Bring channels back to what they held once, at once; one that fails is as it was."""
    return together({at: undone_if_failed(_restore(at, values)) for at, values in wanted.items()})


def expected_steps(plan: Plan) -> list[tuple[str, str]]:
    """What would be done, for a dry run: the steps with what they may drive."""
    least, most = plan.squid_bias_a
    return [
        ("identify", "asks what is there; writes nothing that can be read"),
        ("v-phi", f"loop open; SQUID bias {least:g} to {most:g} A; the whole range of the flux"),
        ("lock point", "loop open; offset and flux of the steepest slope"),
        ("lock", "closes the loop, resets it"),
        ("proof", "flux up to one quantum through the loop; resets it"),
        ("iv", f"TES bias up to {plan.tes_normal_a:g} A; feedback {plan.sweep_feedback_ohm:g} ohm"),
        ("bias point", f"TES bias where R is {plan.tes_share:g} of the normal resistance"),
        ("noise", "takes samples"),
        ("verify", "asks everything again"),
    ]


def _tune(at: str, plan: Plan) -> Procedure[Channel]:
    tuned = yield from squid.tune_squid(at, plan)
    meant = yield from hold(at, tuned.identified.offered)
    if tuned.identified.offered.has("tes_bias"):
        yield from _tune_sensor(at, plan, tuned)
        meant = yield from hold(at, tuned.identified.offered)
    held = yield from squid.verify(at, tuned.locked, meant)
    return Channel(tuned.identified.held, held)


def _snapshot(at: str) -> Procedure[dict[str, Value]]:
    offered = yield from offers(at)
    try:
        return (yield from hold(at, offered))
    except StoppedError:
        raise
    except ScheeliteError:
        return {}


def _restore(at: str, wanted: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    yield from begin(at, "restore", "every value held as it was kept")
    held = yield from restore_channel(at, wanted)
    other = [name for name, value in wanted.items() if held.get(name) != value]
    found = "" if not other else f"{other[0]} at {held.get(other[0])!r}"
    values = {name: value for name, value in held.items() if isinstance(value, float)}
    yield from end(at, "restore", passed=not other, values=values, found=found)
    if other:
        raise StepFailedError(
            f"{at}, restore: expected {other[0]} {wanted[other[0]]!r}, found {held[other[0]]!r}"
        )
    return held


# --- the sensor


def _tune_sensor(at: str, plan: Plan, tuned: squid.Tuned) -> Procedure[None]:
    sensor = _sensor(at, plan, tuned)
    if plan.tes_range_a is not None and tuned.identified.offered.has("tes_range"):
        yield from put(at, "tes_range", plan.tes_range_a)
    curve = yield from _iv(sensor, plan)
    yield from _bias_point(sensor, plan, curve, tuned)
    yield from _noise(sensor, tuned)


def _sensor(at: str, plan: Plan, tuned: squid.Tuned) -> Sensor:
    """With the gain that the SQUID was just found to have."""
    return Sensor(
        at=at,
        r_shunt_ohm=plan.shunt_ohm,
        a_per_phi0=plan.input_a_per_phi0,
        volts_per_phi0_per_ohm=tuned.curve.period_a,
        feedback_ohm=plan.sweep_feedback_ohm,
        bias_ohm=plan.bias_ohm,
        heater=Heater(ohm=plan.heater_ohm, attenuation_db=plan.heater_attenuation_db),
        bias_max_a=plan.tes_bias_max_a,
        normal_bias_a=plan.tes_normal_a,
    )


def _iv(sensor: Sensor, plan: Plan) -> Procedure[Iv]:
    expected = f"a normal branch and {LEAST_TRANSITION} points or more of a transition"
    yield from begin(sensor.at, "iv", expected)
    top, bottom = plan.tes_sweep_a
    biases = falling_biases(top, bottom, share=0.06)
    try:
        known = plan.load_ohm
        load = None if known is None else Estimate(known, LOAD_SIGMA * known)
        curve = yield from measure_iv(
            sensor, biases, seconds=IV_POINT_S, settle_s=IV_SETTLE_S, r_load_ohm=load
        )
    except CheckError as error:
        yield from fail(sensor.at, "iv", expected, str(error))
        raise AssertionError from error  # `fail` raises
    n = int(curve.within(State.TRANSITION).sum())
    values = {
        "r_normal_ohm": curve.r_normal_ohm.value,
        "r_normal_sigma_ohm": curve.r_normal_ohm.sigma,
        "r_load_ohm": curve.r_load_ohm.value,
        "r_load_sigma_ohm": curve.r_load_ohm.sigma,
        "n_transition": float(n),
        "n_jumps": float(len(curve.jumps)),
    }
    pictures = _iv_pictures(curve)
    if n < LEAST_TRANSITION:
        found = f"{n} points of a transition"
        yield from fail(sensor.at, "iv", expected, found, pictures, values)
    yield from end(sensor.at, "iv", passed=True, values=values, pictures=pictures)
    return curve


def _bias_point(sensor: Sensor, plan: Plan, curve: Iv, tuned: squid.Tuned) -> Procedure[None]:
    """Bias where the IV says, from normal, and let the loop lock anew there."""
    at = sensor.at
    expected = (
        f"R at {plan.tes_share:g} of the normal resistance within {SHARE_TOLERANCE:g}, and a "
        f"locked output within {NEAR_ZERO:g} quanta of zero"
    )
    yield from begin(at, "bias point", expected)
    try:
        bias_a = bias_at_share(curve, plan.tes_share, plan.shunt_ohm)
    except CheckError as error:
        yield from fail(at, "bias point", expected, str(error))
        raise AssertionError from error  # `fail` raises
    normal_a = yield from from_normal(sensor, float(curve.bias_a[0]), WORK_SETTLE_S)
    before = yield from take(at, 0.2)
    # straight down: by way of the largest bias the output could rail, and lose quanta
    held_a = (yield from put(at, "tes_bias", bias_a)).number
    after = yield from take(at, 0.2, WORK_SETTLE_S)
    feedback_ohm = (yield from get(at, "feedback")).number
    volts_per_a = feedback_ohm * tuned.curve.period_a / plan.input_a_per_phi0
    total_ohm = curve.r_normal_ohm.value + curve.r_load_ohm.value
    moved_a = abs(float(after.volts.mean() - before.volts.mean())) / volts_per_a
    current_a = plan.shunt_ohm * normal_a / total_ohm
    current_a += moved_a if _rises(curve, held_a, current_a) else -moved_a
    r_ohm = plan.shunt_ohm * held_a / current_a - curve.r_load_ohm.value
    yield from do(at, "reset_loop")
    seen = yield from take(at, 0.2, WORK_SETTLE_S)
    share = r_ohm / curve.r_normal_ohm.value
    values = {
        "tes_bias_a": held_a,
        "tes_current_a": current_a,
        "r_ohm": r_ohm,
        "share": share,
        "output_v": float(seen.volts.mean()),
    }
    problem = health(seen)
    if abs(values["output_v"]) > NEAR_ZERO * tuned.locked.volts_per_phi0:
        problem = f"an output of {values['output_v']:.3g} V"
    if abs(share - plan.tes_share) > SHARE_TOLERANCE:
        problem = f"R at {share:.3g} of the normal resistance"
    if problem:
        yield from fail(at, "bias point", expected, problem, values=values)
    yield from end(at, "bias point", passed=True, values=values)


def bias_at_share(curve: Iv, share: float, shunt_ohm: float) -> float:
    """The bias at which R is a share of Rn; CheckError outside the transition."""
    current, _ = curve.at_share(share)
    r_ohm = share * curve.r_normal_ohm.value
    return float(current.value * (r_ohm + curve.r_load_ohm.value) / shunt_ohm)


def _rises(curve: Iv, bias_a: float, current_a: float) -> bool:
    """Whether the current at a bias is above one, as the IV has it."""
    return characterize.current_at(curve, bias_a) > current_a


def _noise(sensor: Sensor, tuned: squid.Tuned) -> Procedure[None]:
    at = sensor.at
    expected = "a living output whose noise is that of a sensor, above the SQUID's own"
    yield from begin(at, "noise", expected)
    feedback_ohm = (yield from get(at, "feedback")).number
    taken = yield from take(at, NOISE_S, WORK_SETTLE_S)
    per_a = feedback_ohm * tuned.curve.period_a / sensor.a_per_phi0
    f_hz, psd, averages = density(taken.volts / per_a, taken.rate_hz, lowest_hz=NOISE_LOWEST_HZ)
    low, high = NOISE_BAND_HZ
    band = (f_hz >= low) & (f_hz < min(high, 0.4 * taken.rate_hz))
    values = {
        "noise_a_rthz": float(np.sqrt(np.median(psd[band]))),
        "rms_a": float(taken.volts.std() / per_a),
        "output_v": float(taken.volts.mean()),
        "averages": float(averages),
    }
    keep = f_hz > 0
    x, y = np.log10(f_hz[keep]), np.log10(np.sqrt(psd[keep]) * 1e12 + 1e-6)
    picture = Picture(
        "noise at the working point",
        "frequency [Hz], log10",
        "density [pA/rtHz], log10",
        {"noise": thinned(x, y)},
    )
    if problem := health(taken):
        yield from fail(at, "noise", expected, problem, [picture], values)
    yield from end(at, "noise", passed=True, values=values, pictures=[picture])


def _iv_pictures(curve: Iv) -> list[Picture]:
    order = np.argsort(curve.bias_a)
    bias, current = curve.bias_a[order] * 1e6, curve.current_a[order] * 1e6
    known = np.isfinite(curve.r_ohm[order])
    return [
        Picture("IV", "bias [uA]", "current [uA]", {"current": xy(bias, current)}, ("current",)),
        Picture(
            "resistance against bias",
            "bias [uA]",
            "R [mohm]",
            {"R": xy(bias[known], curve.r_ohm[order][known] * 1e3)},
            ("R",),
        ),
    ]


def passed(steps: Iterable[tuple[str, bool]], *, with_sensor: bool) -> bool:
    """Whether every step that a channel needs was done and passed."""
    results = dict(steps)
    needed = STEPS if with_sensor else (*SQUID_STEPS, "verify")
    return all(results.get(step, False) for step in needed)
