"""The energy resolution that noise and response promise, before a single event is seen.

    sigma = [integral of 4 |S|²/N² df]^-1/2

with S the Fourier transform of the answer to 1 eV and N² the one-sided density of the noise
(Szymkowiak et al. 1993); for an energy that arrives at once, |S|/N is 1/NEP (Irwin and Hilton
2005, equation 97). Templates come from pulses of known energy on the heater.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import rfft, rfftfreq

from daq.errors import CheckError
from daq.readout.circuit import F64, Estimate

EV_J = 1.602176634e-19
LEAST_PULSES = 4
LEAST_SNR = 5.0
BASELINE_SHARE = 0.1  # of a period, before the pulse


@dataclass(frozen=True, slots=True, kw_only=True)
class Heater:
    """The resistor on a crystal, behind an attenuator."""

    ohm: float
    attenuation_db: float

    def power_w(self, volts: float) -> float:
        """What the generator's volts (without load) leave in it."""
        return (volts * 10 ** (-self.attenuation_db / 20)) ** 2 / self.ohm

    def volts_for(self, power_w: float) -> float:
        """The generator's volts for a power."""
        return float(np.sqrt(max(0.0, power_w) * self.ohm) * 10 ** (self.attenuation_db / 20))

    def pulse_ev(self, *, rest_v: float, height_v: float, width_s: float) -> float:
        """The energy of a pulse of a height above the resting level."""
        more_w = self.power_w(rest_v + height_v) - self.power_w(rest_v)
        return more_w * width_s / EV_J

    def height_for(self, energy_ev: float, *, rest_v: float, width_s: float) -> float:
        """The height above the resting level that makes a pulse of that energy."""
        power_w = self.power_w(rest_v) + energy_ev * EV_J / width_s
        return self.volts_for(power_w) - rest_v


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Template:
    """The mean answer to 1 eV [sample] in A/eV, from `before` samples before it on.

    `halves` are those of every second pulse, whose noises know nothing of each other.
    """

    halves: tuple[F64, F64]
    before: int
    rate_hz: float
    n_pulses: int
    height_sigma: float  # relative, of the scale

    @property
    def a_per_ev(self) -> F64:
        """The mean of all."""
        return np.asarray((self.halves[0] + self.halves[1]) / 2)


def sigma_by_nep(f_hz: F64, nep_w_rthz: F64) -> float:
    """The baseline sigma in eV for energy that arrives at once, over the given frequencies."""
    information = 4 / nep_w_rthz**2
    return float(np.trapezoid(information, f_hz) ** -0.5 / EV_J)


def sigma_by_template(template: Template, f_hz: F64, psd: F64) -> float:
    """The baseline sigma in eV of an optimum filter, by template and measured density in A²/Hz.

    Frequencies below the density's first one say nothing; between its points it is a line in the
    logarithms. |S|² is the cross-spectrum of the template's halves: its noise would count as
    signal at every frequency. CheckError where nothing but noise is left of it.
    """
    n = template.halves[0].size
    at = rfftfreq(n, 1 / template.rate_hz)[1:]
    one, other = (rfft(half)[1:] / template.rate_hz for half in template.halves)
    squares = (one * np.conj(other)).real
    known = (at >= f_hz[0]) & (at <= f_hz[-1])
    noise = np.exp(np.interp(np.log(at[known]), np.log(f_hz), np.log(psd)))
    step_hz = template.rate_hz / n
    information = float(np.sum(4 * squares[known] / noise * step_hz))
    if information <= 0:
        raise CheckError("expected pulses above their noise, found none: take larger ones, or more")
    return float(information**-0.5)


def template_of(
    current_a: F64, rate_hz: float, *, frequency_hz: float, energy_ev: float
) -> Template:
    """The mean of equally spaced pulses of one energy in a stretch of samples.

    Where they come is found: they are where the mean period changes fastest. CheckError where
    none are seen.
    """
    length = round(rate_hz / frequency_hz)
    n = len(current_a) // length
    if n < LEAST_PULSES:
        raise CheckError(f"too few pulses: expected {LEAST_PULSES} periods, found {n}")
    rows = current_a[: n * length].reshape(n, length)
    rise = _steepest(rows.mean(0))
    before = round(BASELINE_SHARE * length)
    whole = np.roll(current_a, before - rise)[: n * length].reshape(n, length)[:-1]  # one is cut
    whole = whole - whole[:, : before * 3 // 4].mean(1, keepdims=True)
    heights = np.concatenate([_heights(whole[::2], whole[1::2]), _heights(whole[1::2], whole[::2])])
    sure = float(np.std(heights, ddof=1) / np.sqrt(heights.size))
    if heights.mean() < LEAST_SNR * sure:
        raise CheckError(
            f"no pulses seen: expected one of {energy_ev:.4g} eV every {1 / frequency_hz:.3g} s, "
            f"found heights of {heights.mean():.2g} +- {sure:.2g} of their mean, which is up to "
            f"{np.abs(whole.mean(0)).max():.2g} A"
        )
    return Template(
        halves=(whole[::2].mean(0) / energy_ev, whole[1::2].mean(0) / energy_ev),
        before=before,
        rate_hz=rate_hz,
        n_pulses=n - 1,
        height_sigma=sure / float(heights.mean()),
    )


def sigma_estimate(sigma_ev: float, template: Template, averages: int) -> Estimate:
    """The resolution with its uncertainty: of the template's scale, and of the averaged density."""
    relative = np.hypot(template.height_sigma, 0.5 / np.sqrt(averages * 10))
    return Estimate(sigma_ev, float(sigma_ev * relative))


def _heights(rows: F64, others: F64) -> F64:
    """Each row's height in units of the mean of other rows, which its own noise is not part of."""
    mean = others.mean(0)
    power = float(mean @ mean)
    return np.asarray(rows @ mean / power if power else np.zeros(len(rows)))


def _steepest(period: F64) -> int:
    """Where the mean period, smoothed over 1/500 of it, changes fastest."""
    width = max(1, period.size // 500)
    around = np.concatenate([period[-width:], period, period[:width]])
    sums = np.concatenate([[0.0], np.cumsum(around)])
    smooth = (sums[2 * width :] - sums[: -2 * width]) / (2 * width)
    steps = np.abs(np.roll(smooth, -width) - np.roll(smooth, width))
    return int(np.argmax(steps[: period.size]))
