"""What a sensor is, measured by the real services: numbers for people, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daq.errors import UsageError
from daq.readout import characterize, smallsignal
from daq.readout.characterize import Bath, Sensor, heated
from daq.readout.circuit import Estimate
from daq.readout.impedance import Bodies
from daq.readout.iv import Iv
from daq.readout.noise_model import nep_in_bands
from daq.readout.procedures import Outcome, get, run, together
from daq.readout.requests import Procedure
from daq.readout.resolution import Heater
from daq.readout.smallsignal import Noise, Pulses, SquareWave
from daq.readout.thermal import Conductance
from daq.readout.workingpoint import Choice
from daq.services import tune, tunefile
from daq.services.tune import Watch
from daq.settings.detectors import Detector, Detectors
from daq.settings.loader import Settings

LEAST_OF_TOP = 0.05  # of the top of an IV: how far down it goes with heater


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What shall be measured besides an IV; what is empty is left out."""

    heater_w: float = 0.0
    biases_a: tuple[float, ...] = ()
    baths_k: tuple[float, ...] = ()
    map_a: tuple[float, ...] = ()
    map_w: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Gain:
    """Current of the flux line that is one quantum, and who says so: "tune" or "config"."""

    feedback_a_per_phi0: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Portrait:
    """What was measured of a sensor."""

    curve: Iv
    conductance: Conductance | None
    points: tuple[tuple[float, float, Bodies, Noise], ...]  # bias, current, fit, noise
    choice: Choice | None
    gain: Gain


def measure(
    settings: Settings, name: str, wanted: Wanted, watch: Watch, *, speed: float | None = None
) -> Portrait:
    """Measure by what is up, or by services that are up for as long as this takes.

    `speed` is that of a simulated bench which the config does not know.
    """
    (name,) = tune.chosen(settings, [name])
    detector = settings.section(Detectors).root[name]
    procedure = portrait(name, detector, gain_of(settings, name), wanted)
    with tune.hands_of(settings, watch, speed) as hands:
        return run(procedure, hands)


def ivs(
    settings: Settings, names: Sequence[str], watch: Watch, *, speed: float | None = None
) -> dict[str, Outcome[Portrait]]:
    """IV curves of several channels at once; one that fails does not stop the others."""
    plans = {name: settings.section(Detectors).root[name] for name in tune.chosen(settings, names)}
    curves = {
        name: portrait(name, of, gain_of(settings, name), Wanted()) for name, of in plans.items()
    }
    with tune.hands_of(settings, watch, speed) as hands:
        return run(together(curves), hands)


def gain_of(settings: Settings, name: str) -> Gain:
    """As V-phi showed it when the channel was last tuned; that of the config where it never was."""
    measured_a = tunefile.last_measured(settings.data_dir, name, "period_a")
    if measured_a is not None:
        return Gain(measured_a, "tune")
    return Gain(settings.section(Detectors).root[name].feedback_a_per_phi0, "config")


def sensor_of(name: str, detector: Detector, gain: Gain) -> Sensor:
    """What procedures need to know, by config and V-phi."""
    return Sensor(
        at=name,
        r_shunt_ohm=detector.shunt_ohm,
        a_per_phi0=detector.input_a_per_phi0,
        volts_per_phi0_per_ohm=gain.feedback_a_per_phi0,
        feedback_ohm=detector.sweep_feedback_ohm,
        bias_ohm=detector.bias_ohm,
        heater=Heater(ohm=detector.heater_ohm, attenuation_db=detector.heater_attenuation_db),
        bias_max_a=detector.tes_bias_max_a,
        normal_bias_a=detector.tes_normal_a,
    )


def portrait(name: str, detector: Detector, gain: Gain, wanted: Wanted) -> Procedure[Portrait]:
    """IV, then whatever else is wanted; all is as before afterwards."""
    sensor = sensor_of(name, detector, gain)
    bath = bath_of(detector) if wanted.baths_k else None
    top_a, bottom_a = detector.tes_sweep_a
    work_ohm = (yield from get(sensor.at, "feedback")).number
    biases = characterize.falling_biases(top_a, bottom_a, share=0.05)
    curve = yield from characterize.measure_iv(sensor, biases)
    conductance, choice = None, None
    points: list[tuple[float, float, Bodies, Noise]] = []
    if wanted.biases_a:
        small = _points(sensor, curve, wanted, work_ohm)
        points = yield from heated(sensor, wanted.heater_w, small)
    if wanted.map_a:
        choice, _ = yield from smallsignal.search_working_point(
            sensor, curve, wanted.map_a, wanted.map_w, feedback_ohm=work_ohm, pulses=Pulses()
        )
    if bath:
        conductance, _ = yield from characterize.measure_conductance(
            sensor, bath, wanted.baths_k, top_a=top_a, bottom_a=bottom_a
        )
    return Portrait(
        curve=curve, conductance=conductance, points=tuple(points), choice=choice, gain=gain
    )


def _points(
    sensor: Sensor, cold: Iv, wanted: Wanted, work_ohm: float
) -> Procedure[list[tuple[float, float, Bodies, Noise]]]:
    """dI/dV and noise at biases, with an IV under the same heat before them."""
    top_a = float(cold.bias_a[0])
    biases = characterize.falling_biases(top_a, LEAST_OF_TOP * top_a, share=0.06, to_zero=0)
    warm = yield from characterize.measure_iv(sensor, biases, r_load_ohm=cold.r_load_ohm)
    didv = yield from smallsignal.measure_didv(
        sensor, warm, wanted.biases_a, SquareWave(), feedback_ohm=work_ohm
    )
    noises = yield from smallsignal.measure_noise(sensor, wanted.biases_a, feedback_ohm=work_ohm)
    return [
        (bias_a, characterize.current_at(warm, bias_a), bodies, noise)
        for (bias_a, _, bodies), noise in zip(didv.fits, noises, strict=True)
    ]


def bath_of(detector: Detector) -> Bath:
    """Where the bath is read and told; UsageError where the config does not say."""
    if detector.thermometer is None or detector.setpoint is None:
        raise UsageError(
            "expected [detectors] to name a thermometer and a setpoint for several baths, found "
            "none"
        )
    return Bath(
        setpoint=detector.setpoint,
        thermometer=detector.thermometer,
        most_k=detector.bath_max_k,
        warmer_k2=detector.bath_warmer_k2,
    )


# --- as JSON


def as_json(name: str, found: Portrait) -> dict[str, Any]:  # Any: JSON
    """Everything, in SI units; what has an uncertainty is [value, sigma]."""
    gain = {"feedback_a_per_phi0": found.gain.feedback_a_per_phi0, "from": found.gain.source}
    document: dict[str, Any] = {"channel": name, "gain": gain, "iv": _iv(found.curve)}
    if found.conductance:
        c = found.conductance
        document["conductance"] = {
            "tc_k": c.tc_k, "g_w_per_k": c.g_w_per_k, "n": c.n,
            "critical_current_a": _finite(c.critical_current_a), "chi2": c.chi2, "ndf": c.ndf,
        }  # fmt: skip
    if found.points:
        document["points"] = [_point(*each) for each in found.points]
    if found.choice:
        best = found.choice.best
        document["working_point"] = {
            "bias_a": best.bias_a, "heater_w": best.heater_w, "r_ohm": best.r_ohm,
            "sigma_ev": best.sigma_ev, "explanation": found.choice.explanation,
        }  # fmt: skip
    return document


def several_as_json(found: Mapping[str, Outcome[Portrait]]) -> dict[str, Any]:
    """Of each channel what `as_json` says, or the error."""
    return {
        "channels": {
            name: as_json(name, each.result) if each.result else {"error": str(each.error)}
            for name, each in found.items()
        }
    }


def _iv(curve: Iv) -> dict[str, Any]:
    return {
        "r_normal_ohm": curve.r_normal_ohm,
        "r_load_ohm": curve.r_load_ohm,
        "jumps": [[jump.at, jump.quanta] for jump in curve.jumps],
        "bias_a": curve.bias_a.tolist(),
        "current_a": curve.current_a.tolist(),
        "r_ohm": [_finite(r) for r in curve.r_ohm.tolist()],
        "state": [str(state) for state in curve.states],
    }


def _point(bias_a: float, current_a: float, bodies: Bodies, noise: Noise) -> dict[str, Any]:
    return {
        "bias_a": bias_a,
        "current_a": current_a,
        "r_ohm": bodies.r_ohm,
        "loop_gain": bodies.loop_gain,
        "tau_s": bodies.tau_s,
        "tau_eff_s": bodies.tau_eff_s,
        "beta": bodies.beta,
        "nep_w_rthz": nep_in_bands(bodies, current_a, noise.f_hz, noise.psd),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if np.isfinite(value) else None


def lines(name: str, found: Portrait) -> list[str]:
    """The same for people."""
    curve, text = found.curve, []
    text.append(f"{name}: Rn {_mohm(curve.r_normal_ohm)}, Rsh + Rp {_mohm(curve.r_load_ohm)}")
    for bias_a, _, bodies, _ in found.points:
        text.append(
            f"{bias_a * 1e6:.4g} uA: R {bodies.r_ohm * 1e3:.4g} mohm, loop gain "
            f"{_pm(bodies.loop_gain)}, tau {_pm(bodies.tau_s, 1e3)} ms, with feedback "
            f"{_pm(bodies.tau_eff_s, 1e3)} ms, beta {_pm(bodies.beta)}"
        )
    if found.conductance:
        c = found.conductance
        text.append(f"Tc {_pm(c.tc_k, 1e3)} mK, G {_pm(c.g_w_per_k, 1e12)} pW/K, n {_pm(c.n)}")
    if found.choice:
        text.append(found.choice.explanation)
    return text


def _mohm(estimate: Estimate) -> str:
    return f"{_pm(estimate, 1e3)} mohm"


def _pm(estimate: Estimate, scale: float = 1.0) -> str:
    return f"{estimate.value * scale:.4g} +- {estimate.sigma * scale:.1g}"


def scaled(values: Sequence[float] | None, unit: float) -> tuple[float, ...]:
    """Values from the command line in SI units."""
    return tuple(value * unit for value in values or ())
