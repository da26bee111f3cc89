"""From records to a filter: a noise density of clean noise, a template of clean pulses.

Cuts say by cause how many records they took. Noise: saturated records, then what lies far from the
median of the range, of the slope and of the chi2 against the density of the rest, in units of the
scatter of the middle half, again until nothing changes (pulses are always on the high side of
range and chi2). Pulses: saturated, a pretrigger that is not flat, a maximum out of place, a
second pulse, a chi2 that is too high. The template is the median of what is left, each aligned
by its own fitted time, between samples too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy.fft

from daq.acquire.filters import Filter, frequency_sides
from daq.acquire.fit import fit_amplitude
from daq.acquire.kernels import F64
from daq.errors import CheckError, UsageError

Records = npt.NDArray[np.int16]
Bools = npt.NDArray[np.bool_]

FAR = 4.0  # standard deviations from the median at which a record is not like the others
ROUNDS = 20  # of clipping, at most
LEAST_NOISE, LEAST_PULSES = 20, 10
NORMAL_QUARTILES = 1.349  # distance of the quartiles of a normal distribution, in sigmas
MOST_NOISE_SHARE = 0.2  # of a template, for a low-pass to be found beside it
ALIGNMENTS = 3  # fits of times to a template, each from the template of the one before


@dataclass(frozen=True, slots=True)
class Cut:
    """Which records were kept [record], and how many were cut for what, in the cuts' order."""

    kept: Bools
    causes: dict[str, int]

    def told(self) -> str:
        """In words, for the provenance."""
        parts = [f"{cause} {n}" for cause, n in self.causes.items()]
        return f"{int(self.kept.sum())} of {self.kept.size} kept; cut: {', '.join(parts)}"


def noise_psd(records: Records, rate_hz: float) -> tuple[F64, Cut]:
    """One-sided density [counts^2/Hz] of the clean ones among records [record, sample].

    The periodograms have no window, as the fit of a record has none: what leaks there, leaks here.
    """
    _refuse(records, LEAST_NOISE, "noise")
    power = _powers(records)
    saturated = touches_rail(records)
    kept, causes = ~saturated, {"saturated": int(saturated.sum())}
    for cause, values in (
        ("range", np.ptp(records.astype(np.int32), axis=1)),
        ("slope", _slopes(records)),
    ):
        kept, causes[cause] = _clip(values.astype(np.float64), kept)
    kept, causes["chi2"] = _clip_chi2(power, kept)
    if kept.sum() < LEAST_NOISE:
        raise CheckError(f"expected {LEAST_NOISE} clean noise records, found {int(kept.sum())}")
    mean = power[kept].mean(axis=0)
    density = mean * frequency_sides(records.shape[1]) / (rate_hz * records.shape[1])
    return density, Cut(kept, causes)


def train(
    noise: Records,
    pulses: Records,
    *,
    pretrigger: int,
    rate_hz: float,
    falling: bool = False,
    counts_per_ev: float | None = None,
    low_pass_cost: float | None = None,
    provenance: Mapping[str, str] | None = None,
) -> tuple[Filter, Cut, Cut]:
    """The filter of noise and pulse records [record, sample], and the cuts of either.

    `low_pass_cost` is the share of the resolution to give away for a low-pass: for pulses that
    rise within a few samples (see `daq.acquire.filters`), and against the template's own noise,
    which the filter takes for pulse where there is none. What that noise only seems to add to the
    resolution is given away on top.
    """
    _refuse(pulses, LEAST_PULSES, "pulse")
    if noise.shape[1:] != pulses.shape[1:]:
        raise UsageError(
            f"expected noise and pulses of one length, found {noise.shape[1]} and {pulses.shape[1]}"
        )
    psd, noise_cut = noise_psd(noise, rate_hz)
    average = _Average(pulses, pretrigger, falling)
    for _ in range(ALIGNMENTS):
        draft = Filter(template=average.template, psd=psd, pretrigger=pretrigger, rate_hz=rate_hz)
        average.improve(_with_low_pass(draft, average, low_pass_cost))
    pulse_cut = average.cut()
    told = {
        "noise": noise_cut.told(),
        "pulses": pulse_cut.told(),
        "method": f"median of aligned records, clipped at {FAR:g} sigma",
    }
    result = Filter(
        template=average.template,
        psd=psd,
        pretrigger=pretrigger,
        rate_hz=rate_hz,
        falling=falling,
        counts_per_ev=counts_per_ev,
        provenance=told | dict(provenance or {}),
    )
    result = _with_low_pass(result, average, low_pass_cost)
    return result.measured_on(noise[noise_cut.kept]), noise_cut, pulse_cut


def _with_low_pass(one: Filter, average: _Average, cost: float | None) -> Filter:
    """The filter with the low-pass that costs this share of its real resolution."""
    if cost is None:
        return one
    share = average.noise_share(one)
    if share > MOST_NOISE_SHARE:
        raise CheckError(
            f"expected a template of which less than {MOST_NOISE_SHARE:.0%} is its own noise, "
            f"found {share:.0%}: it needs more or higher pulses"
        )
    cost = (1 + cost) / math.sqrt(1 - share) - 1
    return replace(one, low_pass_hz=one.affordable_low_pass_hz(cost))


class _Average:
    """The template that pulse records make, and which of them are good enough to."""

    def __init__(self, records: Records, pretrigger: int, falling: bool) -> None:
        saturated = touches_rail(records)
        self._causes = {"saturated": int(saturated.sum())}
        self._kept = ~saturated
        upright = records.astype(np.float64) * (-1 if falling else 1)
        self._pretrigger = pretrigger
        flat = slice(0, max(pretrigger * 7 // 8, 8))  # pulses may begin a little early
        self._records = upright - np.median(upright[:, flat], axis=1, keepdims=True)
        self._heights = self._records[:, pretrigger // 2 :].max(axis=1)
        self._clip("pretrigger slope", _slopes(self._records[:, flat]))
        self._clip("pretrigger range", np.ptp(self._records[:, flat], axis=1))
        places = np.argmax(self._records, axis=1).astype(np.float64)
        self._clip("place of the maximum", places, least=1.0)
        self._clip("height", self._heights)
        self.template = self._median(self._records, self._heights)

    def improve(self, draft: Filter) -> None:
        """Align by times fitted with a draft, drop what does not fit, and take the median."""
        fits = [fit_amplitude(record, draft) for record in self._records]
        heights = np.array([f.amplitude for f in fits])
        aligned = _moved(self._records, np.array([f.time for f in fits]))
        away = np.abs(aligned / heights[:, None] - self._median(aligned, heights))
        self._clip("second pulse", away.max(axis=1))
        self._clip("chi2", np.log([f.chi2 for f in fits]))
        self.template = self._median(aligned, heights)

    def noise_share(self, one: Filter) -> float:
        """Of a filter's 1 / sigma^2, what comes from the noise that is left in the template.

        The median of n normal values scatters by pi / 2 more than their mean; relative to the
        noise each frequency of the template then has pi / 2 of 1 / (n height^2).
        """
        inverse = float(np.mean(1 / self._heights[self._kept] ** 2)) / int(self._kept.sum())
        return math.pi / 2 * one.length * one.sigma**2 * inverse

    def cut(self) -> Cut:
        """What was cut so far."""
        return Cut(self._kept, dict(self._causes))

    def _median(self, records: F64, heights: F64) -> npt.NDArray[np.float32]:
        if self._kept.sum() < LEAST_PULSES:
            raise CheckError(
                f"expected {LEAST_PULSES} clean pulse records, found {int(self._kept.sum())}"
            )
        middle = np.median(records[self._kept] / heights[self._kept, None], axis=0)
        middle -= middle[: max(self._pretrigger * 7 // 8, 8)].mean()
        return np.asarray(middle / middle.max(), np.float32)

    def _clip(self, cause: str, values: F64, *, least: float = 0.0) -> None:
        self._kept, n = _clip(values, self._kept, least=least)
        self._causes[cause] = self._causes.get(cause, 0) + n


def touches_rail(records: Records) -> Bools:
    """Which records have a sample at the end of the ADC's range."""
    info = np.iinfo(np.int16)
    return np.asarray(((records == info.max) | (records == info.min)).any(axis=1))


def _clip(values: F64, kept: Bools, *, least: float = 0.0) -> tuple[Bools, int]:
    """Without what lies far from the median of the kept, until that changes no more.

    The scatter is taken to be `least` or more, for values that are whole numbers.
    """
    before = int(kept.sum())
    for _ in range(ROUNDS):
        quarter, middle, three = np.quantile(values[kept], [0.25, 0.5, 0.75])
        sigma = max((three - quarter) / NORMAL_QUARTILES, least)
        near = kept & (np.abs(values - middle) <= FAR * sigma)
        if near.sum() == kept.sum():
            break
        kept = near
    return kept, before - int(kept.sum())


def _clip_chi2(power: F64, kept: Bools) -> tuple[Bools, int]:
    """By the mean over frequencies of power over mean power of the kept, that again and again."""
    before = int(kept.sum())
    for _ in range(ROUNDS):
        chi2 = (power[:, 1:] / power[kept, 1:].mean(axis=0)).mean(axis=1)
        fewer, n = _clip(chi2, kept)
        kept = fewer
        if n == 0:
            break
    return kept, before - int(kept.sum())


def _powers(records: Records) -> F64:
    x = records - records.mean(axis=1, keepdims=True)
    return np.asarray(np.abs(scipy.fft.rfft(x)) ** 2)


def _slopes(records: npt.NDArray[np.number]) -> F64:
    """Slope of a straight line through each record, per sample."""
    t = np.arange(records.shape[1]) - (records.shape[1] - 1) / 2
    return np.asarray(records @ t / (t @ t))


def _moved(records: F64, times: F64) -> F64:
    """Each record earlier by its time: whole samples by the index, the rest by the phase.

    What the record does not hold is its edge value. The phase is turned with the straight line
    from first to last sample taken out, so that nothing rings at the ends.
    """
    n = records.shape[1]
    whole = np.rint(times).astype(np.int64)
    at = np.clip(np.arange(n) + whole[:, None], 0, n - 1)
    x = np.take_along_axis(records, at, axis=1)
    ramp = np.linspace(0, 1, n)
    line = x[:, :1] + (x[:, -1:] - x[:, :1]) * ramp
    part = (times - whole)[:, None]
    turned = scipy.fft.rfft(x - line) * np.exp(2j * np.pi * np.arange(n // 2 + 1) / n * part)
    slope = (x[:, -1:] - x[:, :1]) / (n - 1)
    return np.asarray(scipy.fft.irfft(turned, n) + line + slope * part)


def _refuse(records: Records, least: int, kind: str) -> None:
    if records.ndim != 2 or records.shape[0] < least:
        raise CheckError(f"expected {least} {kind} records or more, found shape {records.shape}")
