"""A dc SQUID that reads a current, open or in its flux-locked loop.

V-phi is that of two resistively shunted junctions without inductance (Tinkham, section 6.5), with
the rounding of the noise. The loop integrates what V-phi says of the error,

    d phi_fb/dt = f1 phi0 [sin(2 pi (phi - phi_fb)/phi0) - lock point]

so that f1 is its bandwidth, f1 phi0 its slew limit, and an input of slope s beyond that slips by
sqrt(s² - f1²) phi0 a second. The loop takes V-phi for a sine of the true depth and middle; for an
input that rises linearly between samples the equation is solved exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, pi, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from sim_hardware.world.normals import fill, key, normal
from sim_hardware.world.physical import UnphysicalError, within
from sim_hardware.world.squid_parameters import SquidParameters

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """What the electronics are set to.

    `lock_v` is the voltage at the SQUID that the loop holds (and that open is subtracted from the
    output's input); `slope` the side of V-phi on which it does. `held` shorts the integrator. An
    output beyond `reset_v` empties the integrator, so that the loop locks anew; that it goes beyond
    `overload_v` is counted.
    """

    locked: bool
    squid_bias_a: float
    lock_v: float
    slope: int = 1
    feedback_ohm: float = 30e3
    flux_offset_phi0: float = 0.0
    gain: float = 1.0
    held: bool = False
    reset_v: float = inf
    overload_v: float = inf

    def __post_init__(self) -> None:
        if self.slope not in (-1, 1):
            raise UnphysicalError(f"slope: expected -1 or 1, found {self.slope}")
        within("squid_bias_a", self.squid_bias_a, -1.0, 1.0)
        within("lock_v", self.lock_v, -1.0, 1.0)
        within("flux_offset_phi0", self.flux_offset_phi0, -1e6, 1e6)
        within("feedback_ohm", self.feedback_ohm, 10.0, 1e7)
        within("gain", self.gain, 1e-6, 1e6, "of the loop, relative to the nominal one")


class Overloads(NamedTuple):
    """How often a locked output went beyond a limit, and how often that emptied the integrator."""

    up: int = 0
    down: int = 0
    reset_up: int = 0
    reset_down: int = 0


NO_OVERLOADS = Overloads()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopState:
    """The loop before a sample: the flux, the part of it that the feedback does not cancel.

    `trapped_phi0` is what steps of the flux have added; `side` is 1 or -1 while the output is
    beyond a limit; `overloads` are those since sample 0.
    """

    sample: int
    flux_phi0: float
    error_phi0: float
    trapped_phi0: float = 0.0
    side: int = 0
    overloads: Overloads = NO_OVERLOADS

    @classmethod
    def without_feedback(
        cls, p: SquidParameters, settings: LoopSettings, current_a: float, sample: int = 0
    ) -> LoopState:
        """The integrator is empty; a loop that is closed falls into the nearest lock."""
        flux = p.polarity * current_a / p.input_a_per_phi0 + settings.flux_offset_phi0
        return cls(sample=sample, flux_phi0=flux, error_phi0=flux)


@dataclass(frozen=True, slots=True)
class FluxJump:
    """At a sample the lock slips by whole quanta (`quanta`), or the flux steps (`step_phi0`)."""

    sample: int
    quanta: int = 0
    step_phi0: float = 0.0


def bandwidth_hz(p: SquidParameters, settings: LoopSettings) -> float:
    """f1 with these settings: proportional to the depth of V-phi, and to 1/Rf."""
    depth = p.depth_v(settings.squid_bias_a) / p.depth_v(p.reference_bias_a)
    feedback = p.reference_feedback_ohm / settings.feedback_ohm
    return p.bandwidth_hz * depth * feedback * settings.gain


def follow(
    p: SquidParameters,
    settings: LoopSettings,
    state: LoopState,
    current_a: Floats,
    *,
    dt_s: float,
    flux_noise_phi0: Floats | None = None,
    jumps: Sequence[FluxJump] = (),
) -> tuple[Floats, LoopState]:
    """The output in volts at each sample of a current, and the state after the last.

    The output is limited to ±limit_v and is without its offset (`SquidParameters.offset_at_v`).
    Jumps before the state's sample or after the last one are left out.
    """
    start, stop = state.sample, state.sample + len(current_a)
    flux = current_a * (p.polarity / p.input_a_per_phi0) + settings.flux_offset_phi0
    if flux_noise_phi0 is not None:
        if len(flux_noise_phi0) != len(flux):
            raise ValueError(
                f"expected flux_noise_phi0 as long as current_a, {len(flux)}, "
                f"found {len(flux_noise_phi0)}"
            )
        flux += flux_noise_phi0
    inside = sorted(
        (each.sample, each.quanta, each.step_phi0) for each in jumps if start <= each.sample < stop
    )
    at, quanta, steps = np.array(inside, float).reshape(-1, 3).T
    volts = np.empty(len(flux))
    before = (state.flux_phi0, state.error_phi0, state.trapped_phi0, state.side)
    after = _follow(
        _constants(p, settings, dt_s),
        before,
        flux,
        at.astype(np.int64) - start,
        quanta,
        steps,
        volts,
    )
    (flux_phi0, error_phi0, trapped_phi0, side), counted = after
    if not settings.locked:
        gain = p.open_gain
        open_v = gain * (p.v_phi(volts, settings.squid_bias_a) - settings.lock_v)
        volts = np.clip(open_v, -p.limit_v, p.limit_v)
    return volts, LoopState(
        sample=stop,
        flux_phi0=flux_phi0,
        error_phi0=error_phi0,
        trapped_phi0=trapped_phi0,
        side=side,
        overloads=Overloads(*(a + b for a, b in zip(state.overloads, counted, strict=True))),
    )


def flux_noise(
    p: SquidParameters, *, seed: int, channel: str, start: int, n: int, dt_s: float
) -> Floats:
    """The flux noise of n samples from `start` on, in phi0: a function of the sample's number.

    The white part fills the band up to half the sample rate. The 1/f part is a sum over octaves
    of straight lines between normals; it follows 1/f within 1 % down to 2^-OCTAVES of the rate.
    """
    noise = np.empty(n)
    fill(noise, np.uint64(key(seed, channel, "white flux noise")), np.uint64(start))
    noise *= p.flux_noise_phi0_rthz * sqrt(0.5 / dt_s)
    keys = [key(seed, channel, f"flux noise of octave {k}") for k in range(OCTAVES)]
    sigma = p.flux_noise_phi0_rthz * sqrt(p.knee_hz / OCTAVE_DENSITY)
    _add_octaves(noise, np.array(keys, np.uint64), np.int64(start), sigma)
    return noise


OCTAVES = 36
OCTAVE_DENSITY = 2 / (3 * np.log(2))  # f times the density of straight lines of unit variance
_SMALL_PHI0, _SLOW = (
    5e-3,
    0.02,
)  # error, and slope per f1, below which the loop is linear: 1e-6 phi0


class _Constants(NamedTuple):
    f1_hz: float
    dt_s: float
    side_phi0: float
    pull_hz: float
    decay: float
    lag_s: float
    volts_per_phi0: float
    limit_phi0: float
    reset_phi0: float
    overload_phi0: float
    locked: bool
    held: bool


def _constants(p: SquidParameters, settings: LoopSettings, dt_s: float) -> _Constants:
    f1_hz = bandwidth_hz(p, settings)
    middle, half = p.middle_v(settings.squid_bias_a), p.depth_v(settings.squid_bias_a) / 2
    drive = f1_hz / half if half else 0.0  # what a volt off the middle does, in phi0/s
    decay = exp(-2 * pi * f1_hz * dt_s)
    per_phi0 = p.volts_per_phi0(settings.feedback_ohm)
    return _Constants(
        f1_hz=f1_hz,
        dt_s=dt_s,
        side_phi0=0.0 if settings.slope > 0 else 0.5,
        pull_hz=settings.slope * drive * (settings.lock_v - middle),
        decay=decay,
        lag_s=(1 - decay) / (2 * pi * f1_hz) if f1_hz else dt_s,
        volts_per_phi0=per_phi0,
        limit_phi0=p.limit_v / per_phi0,
        reset_phi0=settings.reset_v / per_phi0,
        overload_phi0=settings.overload_v / per_phi0,
        locked=settings.locked,
        held=settings.held,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _follow(
    c: _Constants,
    state: tuple[float, float, float, int],
    flux: Floats,
    at: Integers,
    quanta: Floats,
    steps: Floats,
    out: Floats,
) -> tuple[tuple[float, float, float, int], tuple[int, int, int, int]]:
    """Volts of the locked loop, or the flux that the open SQUID sees; it counts overloads."""
    before, error, trapped, side = state
    up, down, reset_up, reset_down, next_jump = 0, 0, 0, 0, 0
    for k in range(flux.size):
        while next_jump < at.size and at[next_jump] == k:
            trapped += steps[next_jump]
            before += steps[next_jump]
            error += steps[next_jump] + quanta[next_jump]
            next_jump += 1
        now = flux[k] + trapped
        if not c.locked:
            out[k], error = now, now
        elif c.held:
            out[k], error = 0.0, now
        else:
            slope_hz = (now - before) / c.dt_s + c.pull_hz
            error = _settled(c, error + c.side_phi0, slope_hz) - c.side_phi0
            feedback = min(max(now - error, -c.limit_phi0), c.limit_phi0)
            error = now - feedback
            out[k] = feedback * c.volts_per_phi0
            now_side = int(feedback > c.overload_phi0) - int(feedback < -c.overload_phi0)
            up += now_side > 0 and side <= 0
            down += now_side < 0 and side >= 0
            side = now_side
            if abs(feedback) > c.reset_phi0:
                error = now
                reset_up += feedback > 0
                reset_down += feedback < 0
        before = now
    return (before, error, trapped, side), (up, down, reset_up, reset_down)


@njit(nogil=True, cache=True, error_model="numpy")
def _settled(c: _Constants, error: float, slope_hz: float) -> float:
    """The error after dt, where d error/dt = slope - f1 sin(2 pi error).

    tan(pi error) obeys a Riccati equation with constant coefficients; what turns is pi error.
    """
    near = error - np.rint(error)
    if abs(near) < _SMALL_PHI0 and abs(slope_hz) < _SLOW * c.f1_hz:
        return float(error - near + near * c.decay + slope_hz * c.lag_s)
    f1_hz, h = c.f1_hz, c.dt_s
    square = f1_hz * f1_hz - slope_hz * slope_hz
    kappa = np.pi * np.sqrt(abs(square))
    turns = 0.0
    if kappa * h < 1e-6:
        cosine, sine_per_kappa = 1.0, h
    elif square > 0:
        cosine, sine_per_kappa = 1.0, np.tanh(kappa * h) / kappa
    else:
        turns = np.floor(kappa * h / np.pi)
        rest = kappa * h - turns * np.pi
        cosine, sine_per_kappa = np.cos(rest), np.sin(rest) / kappa
    factor = np.pi * sine_per_kappa
    across = factor * (slope_hz - f1_hz * np.sin(2 * np.pi * near))
    turned = np.arctan2(across, cosine + factor * f1_hz * np.cos(2 * np.pi * near))
    if square < 0 and turned * slope_hz < 0 and abs(turned) > 1:
        turned += 2 * np.pi if slope_hz > 0 else -2 * np.pi  # half a turn, on its other side
    return float(error + turned / np.pi + (turns if slope_hz > 0 else -turns))


@njit(nogil=True, cache=True)
def _add_octaves(
    noise: Floats, keys: npt.NDArray[np.uint64], start: np.int64, sigma: float
) -> None:
    for octave in range(keys.size):
        period = np.int64(2) << octave
        shift = np.int64(keys[octave] & np.uint64(period - 1))  # or all would begin together
        line = (start + shift) // period
        at, k = start + shift - line * period, 0
        low = sigma * normal(keys[octave], np.uint64(line))
        while k < noise.size:
            line += 1
            high = sigma * normal(keys[octave], np.uint64(line))
            n = min(noise.size - k, int(period - at))
            rise = (high - low) / period
            for i in range(n):
                noise[k + i] += low + rise * (at + i)
            low, at, k = high, np.int64(0), k + n
