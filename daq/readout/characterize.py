"""Procedures that learn what a TES is and where it works best; every one leaves it as it was.

They ask (`requests`); `iv` and `thermal` understand. What needs waves or noise is in `smallsignal`.
The SQUID must be tuned before; the loop is locked here. docs/howto/characterize.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from typing import TypeVar

import numpy as np

from daq.errors import CheckError
from daq.readout import iv, thermal
from daq.readout.circuit import F64, BiasCircuit, Estimate
from daq.readout.iv import Iv, State
from daq.readout.procedures import ask, average, put, putting_back, say, wait_stable
from daq.readout.requests import Generate, Get, Procedure
from daq.readout.resolution import Heater
from daq.readout.thermal import Conductance

R = TypeVar("R")

OPEN, LOCKED = "OPEN", "LOCKED"
CORRELATED_S = 5e-3  # means over less know no more than one sample
RAIL_SHARE = 0.95  # of the output's range
COARSE = 3  # superconducting points that are left out for each that is measured
SURE_SUPERCONDUCTING = 3  # points before the steps become coarse
LEAST_SHARE = 0.28  # of Rn, down to which IVs of a series go: below what the fit uses
ONSET_MARGIN = 2.0  # above where the transition begins at the colder bath
QUIET_S = 1e-6  # of a pulse that is too small to be seen, while the heater only warms
QUIET_V = 2e-3
QUIET_HZ = 1e-3


class NotColdError(CheckError):
    """A bath that did not become stable at its temperature in time."""

    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A detector as its procedures need to know it.

    `feedback_ohm` is that of sweeps, small enough for all of the current; `polarity` the sign of
    the locked output per current, 0 where the first normal points of an IV shall say.
    """

    at: str
    r_shunt_ohm: float
    a_per_phi0: float
    volts_per_phi0_per_ohm: float
    feedback_ohm: float
    bias_ohm: float
    heater: Heater
    bias_max_a: float
    normal_bias_a: float
    limit_v: float = 10.0
    polarity: int = 0

    def circuit(self, feedback_ohm: float) -> BiasCircuit:
        """Its bias circuit with a feedback resistor."""
        gain = self.volts_per_phi0_per_ohm * feedback_ohm / self.a_per_phi0
        return BiasCircuit(
            r_shunt_ohm=self.r_shunt_ohm,
            volts_per_a=gain * (self.polarity or 1),
            a_per_phi0=self.a_per_phi0,
        )

    def as_in(self, curve: Iv) -> Sensor:
        """With the sign that an IV found."""
        return replace(self, polarity=1 if curve.volts_per_a > 0 else -1)

    def polarized(self, sweep: Sweep) -> Sensor:
        """With the sign that makes the current follow the bias where a sweep begins."""
        rising = sweep.volts[0] - sweep.volts[iv.LEAST_ON_BRANCH]
        return self if self.polarity else replace(self, polarity=1 if rising > 0 else -1)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """What was seen at each bias [point]: A, V, and the sigma of V."""

    bias_a: F64
    volts: F64
    sigma_v: F64


def falling_biases(
    top_a: float, bottom_a: float, *, share: float = 0.03, to_zero: int = 4
) -> list[float]:
    """From normal down in steps of a share of the bias, and a few even ones on to zero."""
    steps = int(np.ceil(np.log(top_a / bottom_a) / share))
    falling = np.geomspace(top_a, bottom_a, steps + 1)
    even = np.linspace(bottom_a, 0.0, to_zero + 1)[1:] if to_zero else np.empty(0)
    return [float(bias_a) for bias_a in (*falling, *even)]


# --- IV


def measure_iv(
    sensor: Sensor,
    biases_a: Sequence[float],
    *,
    seconds: float = 0.1,
    settle_s: float = 0.3,
    r_load_ohm: Estimate | None = None,
    until_share: float = 0.0,
) -> Procedure[Iv]:
    """An IV from normal down; the bias, the feedback and the lock are as before afterwards.

    `until_share` ends it where R falls below this share of Rn (then `r_load_ohm` is needed).
    """
    return putting_back(_measure_iv(sensor, biases_a, seconds, settle_s, r_load_ohm, until_share))


def _measure_iv(
    sensor: Sensor,
    biases_a: Sequence[float],
    seconds: float,
    settle_s: float,
    r_load_ohm: Estimate | None,
    until_share: float,
) -> Procedure[Iv]:
    feedback_ohm = yield from lock(sensor, sensor.feedback_ohm)
    sweep = yield from _sweep(
        sensor, biases_a, seconds, settle_s, _Stop(sensor, until_share, r_load_ohm)
    )
    circuit = sensor.polarized(sweep).circuit(feedback_ohm)
    return iv.analyse(
        sweep.bias_a,
        sweep.volts,
        sweep.sigma_v,
        circuit,
        r_load_ohm=r_load_ohm,
        limit_v=RAIL_SHARE * sensor.limit_v,
    )


def _sweep(
    sensor: Sensor, biases_a: Sequence[float], seconds: float, settle_s: float, stop: _Stop
) -> Procedure[Sweep]:
    """Drive it normal, then go down; coarser where it is superconducting for sure."""
    _refuse_biases(sensor, biases_a)
    yield from bias(sensor, sensor.normal_bias_a, settle_s)
    rows: list[tuple[float, float, float]] = []
    left = list(biases_a)
    while left and not stop.enough(rows):
        held = yield from put(sensor.at, "tes_bias", left[0])
        seen = yield from average(sensor.at, seconds, settle_s)
        sigma = seen.std_v * sqrt(max(1 / seen.n, min(1.0, CORRELATED_S / seconds)))
        rows.append((held.number, seen.mean_v, sigma))
        fraction = 1 - len(left) / len(biases_a)
        yield from say(sensor.at, "IV", fraction, bias_a=held.number, volts=seen.mean_v)
        left = left[1 : 1 + COARSE][-1:] + left[1 + COARSE :] if stop.coarse(rows) else left[1:]
    bias_a, volts, sigma_v = _distinct(rows)
    return Sweep(bias_a, volts, sigma_v)


class _Stop:
    """Judges a sweep while it goes on, by the slopes of its points."""

    def __init__(self, sensor: Sensor, until_share: float, load: Estimate | None) -> None:
        self._sensor, self._until_share, self._load = sensor, until_share, load
        self._per_v = abs(1 / sensor.circuit(sensor.feedback_ohm).volts_per_a)

    def coarse(self, rows: Sequence[tuple[float, float, float]]) -> bool:
        """Whether the last points were superconducting for sure."""
        last = self._slopes(rows)[-SURE_SUPERCONDUCTING:]
        if len(last) < SURE_SUPERCONDUCTING or len(rows) <= iv.LEAST_POINTS:
            return False
        normal = self._slopes(rows)[0] or np.inf
        states = {iv.state_of_slope(abs(slope), abs(normal)) for slope in last}
        return states == {State.SUPERCONDUCTING} and np.ptp(last) < iv.SAME_SLOPE * abs(last[0])

    def enough(self, rows: Sequence[tuple[float, float, float]]) -> bool:
        """Whether R is below the share of Rn that is asked for, or even gone."""
        if not (self._until_share and self._load) or len(rows) < iv.LEAST_POINTS:
            return False
        bias_a, volts = np.array(rows)[:, 0], np.array(rows)[:, 1]
        few = slice(0, iv.LEAST_ON_BRANCH)
        slope, offset = np.polyfit(bias_a[few], volts[few] * self._per_v, 1)
        r_normal = self._sensor.r_shunt_ohm / abs(slope) - self._load.value
        current_a = volts[-1] * self._per_v - offset
        r_ohm = self._sensor.r_shunt_ohm * bias_a[-1] / abs(current_a) - self._load.value
        return bool(r_ohm < self._until_share * r_normal)

    def _slopes(self, rows: Sequence[tuple[float, float, float]]) -> list[float]:
        pairs = pairwise(rows)
        return [(b[1] - a[1]) / (b[0] - a[0]) * self._per_v for a, b in pairs if a[0] != b[0]]


# --- temperatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Bath:
    """Where the bath is told its temperature and read: instruments and their parameters.

    `warmer_k2` is how much the square of the plate's temperature is above that of the thermometer,
    where a known power leaks into the plate (2 x leak / link, for a metal link). IVs cannot tell
    it from a lower Tc.
    """

    setpoint: tuple[str, str]
    thermometer: tuple[str, str]
    most_k: float
    tolerance_k: float = 20e-6
    dwell_s: float = 200.0
    timeout_s: float = 3600.0
    warmer_k2: float = 0.0


def settle_bath(at: str, bath: Bath, target_k: float) -> Procedure[Estimate]:
    """Bring the bath to a temperature: the plate's; NotColdError with the last reading."""
    if not 0 < target_k <= bath.most_k:
        raise CheckError(f"expected a bath up to {bath.most_k:g} K, found {target_k:g} K asked for")
    yield from put(*bath.setpoint, target_k)
    yield from say(at, f"waits for {target_k * 1e3:.4g} mK")
    reading = Get(*bath.thermometer)
    settled = yield from wait_stable(
        reading,
        target=target_k,
        tolerance=bath.tolerance_k,
        dwell_s=bath.dwell_s,
        timeout_s=bath.timeout_s,
    )
    if not settled.stable:
        raise NotColdError(
            f"the bath did not settle: expected {target_k * 1e3:.4g} mK within "
            f"{bath.tolerance_k * 1e6:.3g} uK for {bath.dwell_s:g} s, found "
            f"{settled.value * 1e3:.4g} mK as the last reading of {'.'.join(bath.thermometer)} "
            f"after {settled.seconds:g} s"
        )
    plate_k = sqrt(settled.value**2 + bath.warmer_k2)
    return Estimate(plate_k, bath.tolerance_k / 10)


def measure_conductance(
    sensor: Sensor,
    bath: Bath,
    baths_k: Sequence[float],
    *,
    top_a: float,
    bottom_a: float,
    seconds: float = 0.1,
    settle_s: float = 0.3,
) -> Procedure[tuple[Conductance, list[tuple[Estimate, Iv]]]]:
    """Tc, G and n by IVs at several baths, coldest first; the first one goes on to zero bias.

    While the bath settles no bias flows. Bias, setpoint and lock are as before afterwards.
    """
    return putting_back(
        _measure_conductance(sensor, bath, sorted(baths_k), top_a, bottom_a, seconds, settle_s)
    )


def _measure_conductance(
    sensor: Sensor,
    bath: Bath,
    baths_k: Sequence[float],
    top_a: float,
    bottom_a: float,
    seconds: float,
    settle_s: float,
) -> Procedure[tuple[Conductance, list[tuple[Estimate, Iv]]]]:
    found: list[tuple[Estimate, Iv]] = []
    for target_k in baths_k:
        yield from put(sensor.at, "tes_bias", 0.0)
        held_k = yield from settle_bath(sensor.at, bath, target_k)
        curve = yield from iv_of_series(sensor, found, top_a, bottom_a, seconds, settle_s)
        found.append((held_k, curve))
    return thermal.fit(thermal.power_points(found)), found


def iv_of_series(
    sensor: Sensor,
    found: Sequence[tuple[Estimate, Iv]],
    top_a: float,
    bottom_a: float,
    seconds: float,
    settle_s: float,
) -> Procedure[Iv]:
    """The next IV of baths that get warmer: as far as it says more than those that were found."""
    first = not found
    for _, warmer in found:
        top_a = min(top_a, ONSET_MARGIN * _onset_a(warmer))
    biases = falling_biases(top_a, bottom_a if first else bottom_a / 10, to_zero=4 * first)
    load = None if first else found[0][1].r_load_ohm
    share = 0.0 if first else LEAST_SHARE
    return (yield from _measure_iv(sensor, biases, seconds, settle_s, load, share))


def _onset_a(curve: Iv) -> float:
    """The bias at which the sensor left the normal branch."""
    return float(curve.bias_a[curve.within(State.NORMAL)][-1])


# --- common


def resistance_at(curve: Iv, bias_a: float) -> float:
    """R at a bias, between the points of an IV; CheckError outside its transition."""
    inside = curve.within(State.TRANSITION)
    near = curve.bias_a[inside]
    if not near.size or not near.min() <= bias_a <= near.max():
        where = f"{near.min():.4g} to {near.max():.4g} A" if near.size else "no transition"
        raise CheckError(f"expected a bias in the IV's transition, {where}, found {bias_a:.4g} A")
    return float(np.interp(bias_a, near[::-1], curve.r_ohm[inside][::-1]))


def current_at(curve: Iv, bias_a: float) -> float:
    """The current at a bias, between the points of an IV."""
    return float(np.interp(bias_a, curve.bias_a[::-1], curve.current_a[::-1]))


def slope_at(curve: Iv, bias_a: float) -> float:
    """dI/dIb at a bias, by the points of an IV around it."""
    bias, current = curve.bias_a[::-1], curve.current_a[::-1]
    return float(np.interp(bias_a, bias, np.gradient(current, bias)))


def heated(sensor: Sensor, heater_w: float, procedure: Procedure[R]) -> Procedure[R]:
    """A procedure while the heater gives a power; it is off afterwards, however that ended."""
    return putting_back(_heated(sensor, heater_w, procedure))


def _heated(sensor: Sensor, heater_w: float, procedure: Procedure[R]) -> Procedure[R]:
    rest_v = sensor.heater.volts_for(heater_w)
    yield from heat(sensor, rest_v, QUIET_V, QUIET_S, QUIET_HZ)
    return (yield from procedure)


def heat(
    sensor: Sensor, rest_v: float, height_v: float, width_s: float, frequency_hz: float
) -> Procedure[object]:
    """The heater at a level, with pulses above it."""
    wave = Generate(
        sensor.at, "heater", "pulse", frequency_hz, height_v, offset_v=rest_v, width_s=width_s
    )
    return ask(wave, object)


def lock(sensor: Sensor, feedback_ohm: float) -> Procedure[float]:
    """Lock with a feedback resistor; what is then held."""
    yield from put(sensor.at, "mode", OPEN)
    held = yield from put(sensor.at, "feedback", feedback_ohm)
    yield from put(sensor.at, "mode", LOCKED)
    return held.number


def from_normal(sensor: Sensor, bias_a: float, settle_s: float) -> Procedure[float]:
    """Drive it normal, then bias it: on the upper branch wherever there are two; what is held.

    The lock is made anew there: driving it normal may have sent the output to its rail.
    """
    yield from bias(sensor, sensor.normal_bias_a, settle_s)
    held_a = yield from bias(sensor, bias_a, settle_s)
    yield from put(sensor.at, "mode", OPEN)
    yield from put(sensor.at, "mode", LOCKED)
    return held_a


def bias(sensor: Sensor, bias_a: float, settle_s: float) -> Procedure[float]:
    """Bias the sensor and let it settle; what is then held."""
    held = yield from put(sensor.at, "tes_bias", bias_a)
    yield from average(sensor.at, 0.01, settle_s)
    return held.number


def refuse_rail(sensor: Sensor, most_v: float) -> None:
    """CheckError where the output was so high that it no longer follows the current."""
    if most_v >= RAIL_SHARE * sensor.limit_v:
        raise CheckError(
            f"{sensor.at}: expected the output within {RAIL_SHARE * sensor.limit_v:g} V, found "
            f"{most_v:.3g} V: lock anew at the working point, or use a smaller feedback resistor"
        )


def _refuse_biases(sensor: Sensor, biases_a: Sequence[float]) -> None:
    highest = max([*biases_a, sensor.normal_bias_a])
    if highest > sensor.bias_max_a:
        raise CheckError(
            f"{sensor.at}: expected biases up to {sensor.bias_max_a:.4g} A, found {highest:.4g} A"
        )
    if len(biases_a) < iv.LEAST_POINTS:
        raise CheckError(
            f"too few points: expected at least {iv.LEAST_POINTS} biases, found {len(biases_a)}"
        )


def _distinct(rows: Sequence[tuple[float, float, float]]) -> Iterator[F64]:
    """Columns, without biases that the electronics cannot tell from the one before."""
    kept = [row for k, row in enumerate(rows) if not k or row[0] < rows[k - 1][0]]
    return iter(np.array(kept).T)
