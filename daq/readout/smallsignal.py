"""Procedures of small signals at working points: dI/dV, noise, and the search for the best one.

Like those of `characterize` they leave everything as it was. docs/howto/characterize.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from daq.errors import CheckError
from daq.readout import impedance, resolution, waves, workingpoint
from daq.readout.characterize import (
    QUIET_HZ,
    QUIET_S,
    QUIET_V,
    Sensor,
    bias,
    from_normal,
    heat,
    lock,
    refuse_rail,
    resistance_at,
)
from daq.readout.circuit import F64, BiasCircuit, Estimate
from daq.readout.impedance import Bodies
from daq.readout.iv import Iv
from daq.readout.noise_model import density
from daq.readout.procedures import AT_MAP, ask, average, meet, putting_back, say, take
from daq.readout.requests import Generate, Procedure, Silence
from daq.readout.resolution import Template
from daq.readout.waves import Response
from daq.readout.workingpoint import Candidate, Choice

FASTER = 10.0  # than the wave, where the sensor answers faster, too


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareWave:
    """A square wave on the bias."""

    frequency_hz: float = 20.0
    bias_pp_a: float = 20e-9
    seconds: float = 3.0
    settle_s: float = 0.4
    highest_hz: float | None = None


def by_square(sensor: Sensor, circuit: BiasCircuit, wave: SquareWave) -> Procedure[Response]:
    """dI/dIb at the present bias by a square wave; the output is off where it was answered."""
    yield from _send(sensor, "square", wave.frequency_hz, wave.bias_pp_a)
    taken = yield from take(sensor.at, wave.seconds, wave.settle_s)
    refuse_rail(sensor, float(np.abs(taken.volts).max()))
    yield from ask(Silence(sensor.at, "bias"), object)
    return waves.by_square_wave(
        circuit.current_a(taken.volts),
        taken.rate_hz,
        frequency_hz=wave.frequency_hz,
        bias_pp_a=wave.bias_pp_a,
        highest_hz=wave.highest_hz,
    )


def by_sines(
    sensor: Sensor,
    circuit: BiasCircuit,
    frequencies_hz: Sequence[float],
    *,
    bias_pp_a: float = 20e-9,
    periods: float = 20.0,
    least_s: float = 0.5,
    settle_s: float = 0.2,
) -> Procedure[Response]:
    """|dI/dIb| at the present bias by sines; the output is off where all were answered."""
    measured = []
    for f_hz in frequencies_hz:
        yield from _send(sensor, "sine", f_hz, bias_pp_a)
        taken = yield from take(sensor.at, max(least_s, periods / f_hz), settle_s)
        current_a = circuit.current_a(taken.volts)
        measured.append(
            waves.by_sine(current_a, taken.rate_hz, frequency_hz=f_hz, bias_pp_a=bias_pp_a)
        )
    yield from ask(Silence(sensor.at, "bias"), object)
    return waves.of_sines(measured)


def _send(
    sensor: Sensor, shape: Literal["sine", "square"], frequency_hz: float, bias_pp_a: float
) -> Procedure[object]:
    volts = bias_pp_a * sensor.bias_ohm
    return ask(Generate(sensor.at, "bias", shape, frequency_hz, volts), object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Didv:
    """The dI/dV of a sensor: its inductance, and a fit at each of some biases."""

    inductance_h: Estimate
    fits: tuple[tuple[float, Response, Bodies], ...]


def measure_didv(
    sensor: Sensor,
    curve: Iv,
    biases_a: Sequence[float],
    wave: SquareWave,
    *,
    feedback_ohm: float | None = None,
    two_bodies: bool = False,
    settle_s: float = 0.5,
) -> Procedure[Didv]:
    """Loop gain, time constants and beta at biases of an IV in the transition.

    The wave's size is checked against the IV's normal slope first, and the inductance measured
    where the sensor is superconducting. All is as before afterwards.
    """
    return putting_back(
        _measure_didv(sensor, curve, biases_a, wave, feedback_ohm, two_bodies, settle_s)
    )


def _measure_didv(
    sensor: Sensor,
    curve: Iv,
    biases_a: Sequence[float],
    wave: SquareWave,
    feedback_ohm: float | None,
    two_bodies: bool,
    settle_s: float,
) -> Procedure[Didv]:
    feedback_ohm = yield from lock(sensor, feedback_ohm or sensor.feedback_ohm)
    circuit = sensor.circuit(feedback_ohm)
    yield from from_normal(sensor, float(curve.bias_a[0]), settle_s)
    fast = replace(wave, frequency_hz=FASTER * wave.frequency_hz)  # more at high frequencies
    normal = yield from by_square(sensor, circuit, fast)
    total_ohm = curve.r_normal_ohm.value + curve.r_load_ohm.value
    waves.refuse_wrong_scale(normal, sensor.r_shunt_ohm / total_ohm)
    yield from bias(sensor, 0.0, settle_s)
    still = yield from by_square(sensor, circuit, fast)
    _, inductance = impedance.fit_inductance(still, circuit)
    fits: list[tuple[float, Response, Bodies]] = []
    for bias_a in biases_a:
        held_a = yield from from_normal(sensor, bias_a, settle_s)
        response = yield from by_square(sensor, circuit, wave)
        bodies = impedance.fit(
            response,
            circuit,
            r_ohm=resistance_at(curve, held_a),
            r_load_ohm=curve.r_load_ohm.value,
            inductance_h=inductance.value,
            two_bodies=two_bodies,
        )
        yield from say(sensor.at, "dI/dV", len(fits) / len(biases_a), bias_a=held_a)
        fits.append((held_a, response, bodies))
    return Didv(inductance_h=inductance, fits=tuple(fits))


# --- noise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Noise:
    """The density of the current at a bias: f64 [frequency] in Hz and A²/Hz."""

    bias_a: float
    f_hz: F64
    psd: F64
    averages: int
    rate_hz: float


def measure_noise(
    sensor: Sensor,
    biases_a: Sequence[float],
    *,
    feedback_ohm: float,
    seconds: float = 10.0,
    lowest_hz: float = 2.0,
    settle_s: float = 1.0,
) -> Procedure[list[Noise]]:
    """Noise at some biases, each reached from normal; all is as before afterwards."""
    return putting_back(
        _measure_noise(sensor, biases_a, feedback_ohm, seconds, lowest_hz, settle_s)
    )


def _measure_noise(
    sensor: Sensor,
    biases_a: Sequence[float],
    feedback_ohm: float,
    seconds: float,
    lowest_hz: float,
    settle_s: float,
) -> Procedure[list[Noise]]:
    circuit = sensor.circuit((yield from lock(sensor, feedback_ohm)))
    found = []
    for bias_a in biases_a:
        held_a = yield from from_normal(sensor, bias_a, settle_s)
        found.append((yield from _noise(sensor, circuit, held_a, seconds, lowest_hz)))
        yield from say(sensor.at, "noise", len(found) / len(biases_a), bias_a=held_a)
    return found


def _noise(
    sensor: Sensor, circuit: BiasCircuit, bias_a: float, seconds: float, lowest_hz: float
) -> Procedure[Noise]:
    taken = yield from take(sensor.at, seconds)
    refuse_rail(sensor, float(np.abs(taken.volts).max()))
    current_a = circuit.current_a(taken.volts)
    f_hz, psd, averages = density(current_a, taken.rate_hz, lowest_hz=lowest_hz)
    return Noise(bias_a=bias_a, f_hz=f_hz, psd=psd, averages=averages, rate_hz=taken.rate_hz)


# --- working point


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulses:
    """Pulses on the heater by which points of the map are compared."""

    energy_ev: float = 300.0
    width_s: float = 20e-6
    frequency_hz: float = 2.5
    number: int = 20
    noise_s: float = 10.0
    lowest_hz: float = 4.0
    settle_s: float = 1.0


def search_working_point(
    sensor: Sensor,
    curve: Iv,
    biases_a: Sequence[float],
    heaters_w: Sequence[float],
    *,
    feedback_ohm: float,
    pulses: Pulses,
    other_heat_w: float = 0.0,
) -> Procedure[tuple[Choice, list[Candidate]]]:
    """Every point of a map of bias and heater by the resolution that it promises, and the best.

    The heater is off and all is as before afterwards. `other_heat_w` is for the explanation only.
    """
    return putting_back(
        _search(sensor, curve, biases_a, heaters_w, feedback_ohm, pulses, other_heat_w)
    )


def _search(
    sensor: Sensor,
    curve: Iv,
    biases_a: Sequence[float],
    heaters_w: Sequence[float],
    feedback_ohm: float,
    pulses: Pulses,
    other_heat_w: float,
) -> Procedure[tuple[Choice, list[Candidate]]]:
    sensor = sensor.as_in(curve)
    circuit = sensor.circuit((yield from lock(sensor, feedback_ohm)))
    candidates: list[Candidate] = []
    n = len(heaters_w) * len(biases_a)
    for heater_w in heaters_w:
        for bias_a in biases_a:
            yield from meet(sensor.at, AT_MAP + len(candidates))  # they may share the heater
            candidate = yield from _candidate(sensor, circuit, curve, bias_a, heater_w, pulses)
            candidates.append(replace(candidate, heater_w=candidate.heater_w + other_heat_w))
            yield from say(sensor.at, "working point", len(candidates) / n, bias_a=bias_a)
    return workingpoint.choose(candidates), candidates


def _candidate(
    sensor: Sensor,
    circuit: BiasCircuit,
    curve: Iv,
    bias_a: float,
    heater_w: float,
    pulses: Pulses,
) -> Procedure[Candidate]:
    rest_v = sensor.heater.volts_for(heater_w)
    yield from heat(sensor, rest_v, QUIET_V, QUIET_S, QUIET_HZ)
    held_a, current_a = yield from _absolute(sensor, circuit, curve, bias_a, pulses.settle_s)
    r_ohm = sensor.r_shunt_ohm * held_a / current_a - curve.r_load_ohm.value
    share = r_ohm / curve.r_normal_ohm.value
    problem = workingpoint.in_transition(r_ohm, curve.r_normal_ohm.value)
    sigma = None
    if not problem:
        try:
            sigma = yield from _resolution(sensor, circuit, held_a, rest_v, pulses)
        except CheckError as error:
            problem = str(error)
    return Candidate(
        bias_a=held_a, heater_w=heater_w, r_ohm=r_ohm, share=share, sigma_ev=sigma, problem=problem
    )


def _absolute(
    sensor: Sensor, circuit: BiasCircuit, curve: Iv, bias_a: float, settle_s: float
) -> Procedure[tuple[float, float]]:
    """(bias, current): by how far the output moves from the normal state, where R is known."""
    normal_a = yield from from_normal(sensor, float(curve.bias_a[0]), settle_s)
    before = yield from average(sensor.at, 0.1)
    held_a = yield from bias(sensor, bias_a, settle_s)
    after = yield from average(sensor.at, 0.1)
    for each in (before, after):
        refuse_rail(sensor, abs(each.mean_v))
    total_ohm = curve.r_normal_ohm.value + curve.r_load_ohm.value
    moved_a = float(circuit.current_a(after.mean_v - before.mean_v))
    return held_a, sensor.r_shunt_ohm * normal_a / total_ohm + moved_a


def _resolution(
    sensor: Sensor, circuit: BiasCircuit, bias_a: float, rest_v: float, pulses: Pulses
) -> Procedure[Estimate]:
    noise = yield from _noise(sensor, circuit, bias_a, pulses.noise_s, pulses.lowest_hz)
    template = yield from _template(sensor, circuit, rest_v, pulses)
    sigma_ev = resolution.sigma_by_template(template, noise.f_hz, noise.psd)
    return resolution.sigma_estimate(sigma_ev, template, noise.averages)


def _template(
    sensor: Sensor, circuit: BiasCircuit, rest_v: float, pulses: Pulses
) -> Procedure[Template]:
    heater, width_s = sensor.heater, pulses.width_s
    height_v = heater.height_for(pulses.energy_ev, rest_v=rest_v, width_s=width_s)
    yield from heat(sensor, rest_v, height_v, width_s, pulses.frequency_hz)
    seconds = (pulses.number + 1) / pulses.frequency_hz
    taken = yield from take(sensor.at, seconds, 2 / pulses.frequency_hz)
    return resolution.template_of(
        circuit.current_a(taken.volts),
        taken.rate_hz,
        frequency_hz=pulses.frequency_hz,
        energy_ev=heater.pulse_ev(rest_v=rest_v, height_v=height_v, width_s=width_s),
    )
