"""From a locked SQUID to a sensor at its working point: IV, bias point, dI/dV, noise.

Each step begins with what is expected and ends with what was found; `guide` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daq.errors import CheckError
from daq.readout import characterize, impedance, squid, waves
from daq.readout.characterize import Sensor, falling_biases, from_normal, measure_iv
from daq.readout.circuit import BiasCircuit, Estimate
from daq.readout.electronics import Chain
from daq.readout.impedance import Bodies
from daq.readout.iv import Iv, State
from daq.readout.noise_model import nep_in_bands, quiet_density
from daq.readout.procedures import AT_WORK, average, begin, do, end, get, meet, put, say, take
from daq.readout.requests import Picture, Procedure, StoppedError
from daq.readout.resolution import Heater
from daq.readout.smallsignal import SquareWave, by_square
from daq.readout.squid_lock import NEAR_RANGE, RANGE_V, health
from daq.readout.steps import fail, thinned, xy
from daq.readout.waves import Response

IV_POINT_S, IV_SETTLE_S = 0.05, 0.15
LOAD_SIGMA = 0.02  # of a load that the config says
LEAST_TRANSITION = 4  # points of an IV
SHARE_TOLERANCE = 0.15  # of Rn, between what was aimed at and what was found
WORK_SETTLE_S = 1.0
NOISE_S, NOISE_LOWEST_HZ = 8.0, 5.0
NOISE_BAND_HZ = (1e3, 3e3)  # where neither lines nor the loop count
NEAR_ZERO = 0.6  # quanta that a fresh lock may be away from zero
WAVE = SquareWave()
N_WAVES = 3
SLOPE_TOLERANCE = 0.25  # between dI/dV and the slope of an IV of few points
SURE_TAU = 0.2  # of a time constant: its uncertainty
NEP_BAND = "100 Hz"  # where [detectors] may limit it


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

    @property
    def inductance_h(self) -> float:
        """Of the input coil and its wiring."""

    @property
    def bias(self) -> object | None:
        """The generator at the bias; None where there is none, and then no dI/dV."""

    @property
    def nep_max_w_rthz(self) -> float | None:
        """What a sensor that passes may have at 100 Hz; None where any will do."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Where to bias a sensor, and what share of its normal resistance that is."""

    bias_a: float
    share: float


@dataclass(frozen=True, slots=True)
class WorkingPoint:
    """Where a sensor was biased, and what it was found to be there."""

    bias_a: float
    current_a: float
    r_ohm: float


def measure_sensor(at: str, plan: Plan, tuned: squid.Tuned) -> Procedure[tuple[Sensor, Iv]]:
    """The IV, and the sensor with the gain and the sign that were found."""
    sensor = _sensor(at, plan, tuned)
    if plan.tes_range_a is not None and tuned.identified.offered.has("tes_range"):
        yield from put(at, "tes_range", plan.tes_range_a)
    curve = yield from _iv(sensor, plan)
    return sensor.as_in(curve), curve


def settle_sensor(
    sensor: Sensor, plan: Plan, curve: Iv, tuned: squid.Tuned, aim: Aim | None = None
) -> Procedure[None]:
    """To its working point, and what it is there; StepFailedError for what does not pass."""
    point = yield from _bias_point(sensor, plan, curve, tuned, aim)
    bodies = None
    yield from meet(
        sensor.at, AT_WORK
    )  # who shares a generator must not measure anything else meanwhile
    if plan.bias is not None:
        bodies = yield from didv(sensor, plan, curve, point)
        yield from meet(sensor.at, AT_WORK + 1)  # until nobody waves any more
    yield from noise(sensor, plan, point, bodies)


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


def _bias_point(
    sensor: Sensor, plan: Plan, curve: Iv, tuned: squid.Tuned, aim: Aim | None
) -> Procedure[WorkingPoint]:
    """Bias where the IV says, from normal, and let the loop lock anew there."""
    at, wanted = sensor.at, aim.share if aim else plan.tes_share
    expected = (
        f"R at {wanted:.3g} of the normal resistance within {SHARE_TOLERANCE:g}, and a "
        f"locked output within {NEAR_ZERO:g} quanta of zero"
    )
    yield from begin(at, "bias point", expected)
    try:
        bias_a = aim.bias_a if aim else bias_at_share(curve, wanted, plan.shunt_ohm)
    except CheckError as error:
        yield from fail(at, "bias point", expected, str(error))
        raise AssertionError from error  # `fail` raises
    point = yield from _work_at(sensor, plan, curve, bias_a)
    yield from do(at, "reset_loop")
    seen = yield from take(at, 0.2, WORK_SETTLE_S)
    output = yield from average(at, 0.2)
    values = {
        "tes_bias_a": point.bias_a,
        "tes_current_a": point.current_a,
        "r_ohm": point.r_ohm,
        "share": point.r_ohm / curve.r_normal_ohm.value,
        "output_v": output.mean_v,
    }
    problem = _off_point(values, wanted, tuned.locked.volts_per_phi0) or health(seen)
    if problem:
        yield from fail(at, "bias point", expected, problem, values=values)
    yield from end(at, "bias point", passed=True, values=values)
    return point


def _work_at(sensor: Sensor, plan: Plan, curve: Iv, bias_a: float) -> Procedure[WorkingPoint]:
    """To a bias, and what the sensor is there: by how far the output moves from the normal state.

    Straight down: by way of the largest bias the output could rail, and lose quanta.
    """
    at = sensor.at
    normal_a = yield from from_normal(sensor, float(curve.bias_a[0]), WORK_SETTLE_S)
    before = yield from average(at, 0.2)
    held_a = (yield from put(at, "tes_bias", bias_a)).number
    after = yield from average(at, 0.2, WORK_SETTLE_S)
    volts_per_a = abs(sensor.circuit((yield from get(at, "feedback")).number).volts_per_a)
    moved_a = abs(after.mean_v - before.mean_v) / volts_per_a
    total_ohm = curve.r_normal_ohm.value + curve.r_load_ohm.value
    current_a = plan.shunt_ohm * normal_a / total_ohm
    current_a += moved_a if _rises(curve, held_a, current_a) else -moved_a
    r_ohm = plan.shunt_ohm * held_a / current_a - curve.r_load_ohm.value
    return WorkingPoint(held_a, current_a, r_ohm)


def _off_point(values: Mapping[str, float], wanted: float, volts_per_phi0: float) -> str:
    """What is wrong with where a sensor was brought, or ""."""
    if abs(values["share"] - wanted) > SHARE_TOLERANCE:
        return f"R at {values['share']:.3g} of the normal resistance"
    if abs(values["output_v"]) > NEAR_ZERO * volts_per_phi0:
        return f"an output of {values['output_v']:.3g} V"
    return ""


def bias_at_share(curve: Iv, share: float, shunt_ohm: float) -> float:
    """The bias at which R is a share of Rn; CheckError outside the transition."""
    current, _ = curve.at_share(share)
    r_ohm = share * curve.r_normal_ohm.value
    return float(current.value * (r_ohm + curve.r_load_ohm.value) / shunt_ohm)


def _rises(curve: Iv, bias_a: float, current_a: float) -> bool:
    """Whether the current at a bias is above one, as the IV has it."""
    return characterize.current_at(curve, bias_a) > current_a


def didv(sensor: Sensor, plan: Plan, curve: Iv, point: WorkingPoint) -> Procedure[Bodies]:
    """The answer to a small square wave at the working point, which is not left for it."""
    at, slope = sensor.at, characterize.slope_at(curve, point.bias_a)
    expected = (
        f"dI/dIb = {slope:.4g} within {SLOPE_TOLERANCE:.0%} at low frequency as in the IV, and a "
        f"time constant known within {SURE_TAU:.0%}"
    )
    yield from begin(at, "dI/dV", expected)
    circuit = sensor.circuit((yield from get(at, "feedback")).number)
    try:
        response, bodies = yield from _answered(sensor, circuit, plan, curve, point)
    except CheckError as error:
        yield from fail(at, "dI/dV", expected, str(error))
        raise AssertionError from error  # `fail` raises
    at_dc = float(bodies.response(np.array([0.0]), sensor.r_shunt_ohm).real[0])
    values = _didv_values(bodies) | {"didb_low": at_dc, "didb_iv": slope}
    pictures = [_didv_picture(response, bodies, sensor.r_shunt_ohm)]
    problem = waves.wrong_scale(Estimate(abs(at_dc), 0.0), slope, SLOPE_TOLERANCE)
    if bodies.tau_eff_s.sigma > SURE_TAU * abs(bodies.tau_eff_s.value):
        problem = problem or f"{values['tau_eff_s']:.3g} +- {values['tau_eff_sigma_s']:.1g} s"
    if problem:
        yield from fail(at, "dI/dV", expected, problem, pictures, values)
    yield from end(at, "dI/dV", passed=True, values=values, pictures=pictures)
    return bodies


def _answered(
    sensor: Sensor, circuit: BiasCircuit, plan: Plan, curve: Iv, point: WorkingPoint
) -> Procedure[tuple[Response, Bodies]]:
    """The answer to the wave, and its fit; sent again where pulses may have been in too much."""
    for left in reversed(range(N_WAVES)):
        try:
            response = yield from by_square(sensor, circuit, WAVE)
            bodies = impedance.fit(
                response,
                circuit,
                r_ohm=point.r_ohm,
                r_load_ohm=curve.r_load_ohm.value,
                inductance_h=plan.inductance_h,
            )
            if bodies.tau_eff_s.sigma <= SURE_TAU * abs(bodies.tau_eff_s.value) or not left:
                return response, bodies
        except StoppedError:
            raise
        except CheckError as error:
            if not left:
                raise
            yield from say(sensor.at, f"sends the wave again: {error}")
    raise AssertionError  # the last one returns or raises


def _didv_values(bodies: Bodies) -> dict[str, float]:
    return {
        "loop_gain": bodies.loop_gain.value,
        "loop_gain_sigma": bodies.loop_gain.sigma,
        "tau_s": bodies.tau_s.value,
        "tau_sigma_s": bodies.tau_s.sigma,
        "tau_eff_s": bodies.tau_eff_s.value,
        "tau_eff_sigma_s": bodies.tau_eff_s.sigma,
        "beta": bodies.beta.value,
        "beta_sigma": bodies.beta.sigma,
        "chi2_per_ndf": bodies.chi2 / bodies.ndf,
    }


def _didv_picture(response: Response, bodies: Bodies, r_shunt_ohm: float) -> Picture:
    f_hz = np.geomspace(response.f_hz[0] / 4, response.f_hz[-1], 300)
    fit = np.abs(bodies.response(f_hz, r_shunt_ohm))
    return Picture(
        "dI/dV at the working point",
        "frequency [Hz], log10",
        "|dI/dIb|",
        {
            "measured": xy(np.log10(response.f_hz), np.abs(response.values)),
            "fit": xy(np.log10(f_hz), np.asarray(fit)),
        },
        ("measured",),
    )


def noise(
    sensor: Sensor, plan: Plan, point: WorkingPoint, bodies: Bodies | None
) -> Procedure[None]:
    """What the output does at the working point; with dI/dV also the NEP."""
    at, most = sensor.at, plan.nep_max_w_rthz
    expected = f"an output within {NEAR_RANGE * RANGE_V:g} V that is not frozen"
    if most is not None:
        expected += f", and an NEP of up to {most:.3g} W/rtHz at {NEP_BAND}"
    yield from begin(at, "noise", expected)
    per_a = abs(sensor.circuit((yield from get(at, "feedback")).number).volts_per_a)
    taken = yield from take(at, NOISE_S, WORK_SETTLE_S)
    f_hz, psd, averages = quiet_density(
        taken.volts / per_a, taken.rate_hz, lowest_hz=NOISE_LOWEST_HZ
    )
    low, high = NOISE_BAND_HZ
    band = (f_hz >= low) & (f_hz < min(high, 0.4 * taken.rate_hz))
    values = {
        "noise_a_rthz": float(np.sqrt(np.median(psd[band]))),
        "rms_a": float(taken.volts.std() / per_a),
        "output_v": float(taken.volts.mean()),
        "averages": float(averages),
    }
    nep = nep_in_bands(bodies, point.current_a, f_hz, psd) if bodies else {}
    values |= {f"nep_{name.replace(' ', '').lower()}_w_rthz": each for name, each in nep.items()}
    x, y = np.log10(f_hz), np.log10(np.sqrt(psd) * 1e12 + 1e-6)
    picture = Picture(
        "noise at the working point",
        "frequency [Hz], log10",
        "density [pA/rtHz], log10",
        {"noise": thinned(x, y)},
    )
    problem = health(taken) or _too_loud(nep, most)
    if problem:
        yield from fail(at, "noise", expected, problem, [picture], values)
    yield from end(at, "noise", passed=True, values=values, pictures=[picture])


def _too_loud(nep: Mapping[str, float], most: float | None) -> str:
    """What is wrong with an NEP, or ""; one that is limited must be known."""
    if most is None:
        return ""
    if NEP_BAND not in nep:
        return "no NEP, for want of a dI/dV: [detectors] names no generator at the bias"
    return f"{nep[NEP_BAND]:.3g} W/rtHz" if nep[NEP_BAND] > most else ""


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
