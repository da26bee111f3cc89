"""How one filter is searched at a fraction of its rate, and what of it is checked at full rate.

The samples pass a low-pass of 8 taps per factor and are decimated; the kernel on the decimated
grid is the full-rate kernel with the low-pass's droop divided out, so that the decimated output is
the full-rate output at every `factor`-th sample, save for what lies above the pass band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import scipy.fft

from daq.acquire.filters import Filter
from daq.acquire.kernels import C128, F32, F64, FIR_SHIFT, I16, low_pass, misfit, to_floats

FACTORS = (32, 16, 8, 4, 2)
TAPS_PER_FACTOR = 8
KAISER_BETA = 5.0
PASS, STOP = 0.30, 0.45  # edges of the kernel's taper, in cycles per decimated sample
KEPT = 128  # searches: 6 ms each
LEAST = 64  # decimated samples of a template
LOST = 0.02  # of the filtered noise's variance may lie above the pass band
RINGING = 8  # decimated samples by which the taper lengthens the kernel at each end
MARGIN = 1.5  # side lobes are taken so much higher than the template's: pulses differ from it
SIGMAS_BELOW = 3.0  # of what decimation loses of the noise, by which the search reaches deeper


def factor_for(one: Filter) -> int:
    """The largest decimation that keeps nearly all of a filter's signal and noise."""
    return next((f for f in FACTORS if lost(one, f) < LOST), 1)


def lost(one: Filter, factor: int) -> float:
    """Share of the filtered noise's variance above the pass band; 1 where none could be left."""
    if one.length < LEAST * factor:
        return 1.0
    shares = one.noise_shares
    cycles = one.frequencies_hz * (factor / one.rate_hz)
    return float(shares[cycles > PASS].sum() / shares.sum())


@cache
def taps(factor: int) -> I16:
    """The low-pass: integers whose sum is 2^15, the middle one at `reach`; one for factor 1.

    Symmetric but for a 0 in front, which makes their number one for whole SIMD registers.
    """
    if factor == 1:
        return np.array([2**FIR_SHIFT - 1], np.int16)
    half = reach(factor)
    x = np.arange(1 - half, half) / factor
    ideal = np.sinc(x) * np.kaiser(x.size, KAISER_BETA)
    result = np.round(ideal / ideal.sum() * 2**FIR_SHIFT).astype(np.int64)
    result[half - 1] += 2**FIR_SHIFT - int(result.sum())
    return np.concatenate([[0], result]).astype(np.int16)


def span_of(length: int, factor: int) -> int:
    """Decimated samples that a kernel has, or one more."""
    return length // factor + 2 * RINGING


def reach(factor: int) -> int:
    """Record samples that a decimated one needs on each side of its own."""
    return 0 if factor == 1 else TAPS_PER_FACTOR * factor // 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Coarse:
    """One filter at one decimation.

    `first` is the decimated sample, from that of the trigger, at which `kernel` (float64,
    [decimated sample]) begins; `fine` is the full-rate kernel (float32). `level` is the height
    above which a decimated maximum may be one of `threshold` at full rate. `before` and `after`
    are envelopes of side lobes, [decimated distance], falling; `lobe` the record samples to where
    the response has fallen to half. chi2 compares `spectrum` over `power` (below `PASS`).
    """

    factor: int
    length: int  # record samples of the template
    length_s: float
    pretrigger: int
    first: int
    kernel: F64
    fine: F32
    threshold: float
    level: float
    before: F32
    after: F32
    lobe: int
    spectrum: C128
    power: F64
    sigma: float

    @property
    def ndf(self) -> int:
        """Degrees of freedom of chi2: two per frequency, less height and time."""
        return 2 * (self.spectrum.size - 2)

    def blind(self, amplitude: float) -> int:
        """Record samples on either side in which a pulse raises the threshold by over a sigma."""
        least = self.sigma / amplitude
        longest = max(np.count_nonzero(side >= least) for side in (self.before, self.after))
        return int(longest) * self.factor


Pulse = tuple[Coarse, I16, float, float]  # a filter, samples, offset and height of a pulse


def chi2_of(pulses: Sequence[Pulse]) -> list[float]:
    """Per degree of freedom, of filters of one length and factor.

    The samples begin `reach` before that at which the template begins, `offset` left aside.
    """
    if not pulses:
        return []
    factor, n = pulses[0][0].factor, pulses[0][0].length // pulses[0][0].factor
    records = np.empty((len(pulses), n), np.float32)
    for record, (_, x, _, _) in zip(records, pulses, strict=True):
        decimate_record(x, factor, record)
    spectra = np.asarray(scipy.fft.rfft(records - records[:, :1]))
    turn = 2 * math.pi / (n * factor)
    return [
        2 * misfit(spectrum, one.spectrum, one.power, height, turn * offset) / one.ndf
        for spectrum, (one, _, offset, height) in zip(spectra, pulses, strict=True)
    ]


def decimate_record(x: I16, factor: int, out: F32) -> None:
    """Decimated samples from that at x[reach] on."""
    window = x[: (out.size - 1) * factor + 2 * reach(factor) + 1]
    if factor == 1:
        to_floats(window, out)
    else:
        low_pass(window, taps(factor), factor, out)


@lru_cache(KEPT)
def coarse(one: Filter, threshold: float, factor: int) -> Coarse:
    """The search for pulses above `threshold` [counts]; kept for whoever asks again."""
    sign = one.sign
    first, kernel = _kernel(one, factor)
    before, after = _envelopes(one, factor)
    spectrum, power = _in_band(one, factor)
    loss = float(np.sqrt(lost(one, factor))) if factor > 1 else 0.0
    return Coarse(
        factor=factor,
        length=one.length,
        length_s=one.length / one.rate_hz,
        pretrigger=one.pretrigger,
        first=first,
        kernel=sign * kernel,
        fine=np.asarray(sign * one.kernel, np.float32),
        threshold=threshold,
        level=threshold * _scalloping(one, factor) - SIGMAS_BELOW * loss * one.sigma,
        before=before,
        after=after,
        lobe=int(np.argmax(np.minimum(after, before) < MARGIN / 2)) * factor,
        spectrum=sign * spectrum,
        power=power,
        sigma=one.sigma,
    )


def _gain(cycles: F64, factor: int) -> F64:
    """The low-pass's gain at frequencies in cycles per record sample."""
    if factor == 1:
        return np.ones_like(cycles)
    size = 2 * (cycles.size - 1)
    h = np.zeros(size)
    half = reach(factor)
    h[np.arange(-half, half)] = taps(factor) / 2**FIR_SHIFT
    return np.asarray(scipy.fft.rfft(h).real)


def _kernel(one: Filter, factor: int) -> tuple[int, F64]:
    """Where the kernel begins and its values, on the decimated grid."""
    after = (one.length - one.pretrigger) // factor
    first = -(one.pretrigger // factor) - RINGING
    size = 1 << int(np.ceil(np.log2(4 * one.length + 8 * RINGING * factor)))
    full = np.zeros(size)
    full[np.arange(one.length) - one.pretrigger] = one.kernel
    cycles = np.arange(size // 2 + 1) / size
    shape = scipy.fft.rfft(full) * _taper(cycles * factor) / _safe(_gain(cycles, factor))
    smooth = full if factor == 1 else scipy.fft.irfft(shape, size)
    kernel = factor * smooth[factor * np.arange(first, after + RINGING)]
    return first, np.asarray(kernel - kernel.mean())


def _taper(cycles: F64) -> F64:
    """1 in the pass band, 0 above the stop edge, a cosine between."""
    down = np.clip((cycles - PASS) / (STOP - PASS), 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * down))


def _safe(gain: F64) -> F64:
    """Gains to divide by: where the taper is nothing they do not matter."""
    return np.where(np.abs(gain) < 1e-2, 1.0, gain)


def _envelopes(one: Filter, factor: int) -> tuple[F32, F32]:
    """Response before and after a pulse, by distance: the highest from there on, with the margin.

    A pulse is at least as high as its own response, however near.
    """
    n, response = one.length, one.response
    sides = (response[n::-1], response[n:])
    falling = [np.maximum.accumulate(np.maximum(side, 0)[::-1])[::-1] for side in sides]
    before, after = (MARGIN * side[::factor] for side in falling)
    return np.asarray(before, np.float32), np.asarray(after, np.float32)


def _scalloping(one: Filter, factor: int) -> float:
    """How high a pulse of height 1 between decimated samples appears at least by its parabola."""
    if factor == 1:
        return 1.0
    n, shifts = one.length, np.arange(-(factor // 2), factor // 2 + 1)
    a, b, c = (one.response[n + shifts + step * factor] for step in (-1, 0, 1))
    return min(1.0, float((b - 0.125 * (a - c) ** 2 / (a - 2 * b + c)).min()))


def _in_band(one: Filter, factor: int) -> tuple[C128, F64]:
    """Spectrum of a decimated unit pulse and power of decimated noise, in the pass band."""
    n = one.length // factor
    edge = reach(factor)
    steps = np.concatenate([np.zeros(edge), one.template, np.full(edge, one.template[-1])])
    spectrum = scipy.fft.rfft(_decimated(steps, factor, n))
    cycles = np.arange(n // 2 + 1) / (n * factor)
    size = 1 << int(np.ceil(np.log2(4 * one.length)))
    gains = np.interp(
        cycles, np.arange(size // 2 + 1) / size, _gain(np.arange(size // 2 + 1) / size, factor)
    )
    density = np.interp(cycles * one.rate_hz, one.frequencies_hz, one.psd)
    power = density * gains**2 * (one.rate_hz / factor) * n / 2
    top = int(PASS * n) if factor > 1 else (n - 1) // 2
    return np.asarray(spectrum[: top + 1]), np.asarray(power[: top + 1])


def _decimated(x: F64, factor: int, n: int) -> F64:
    if factor == 1:
        return x[:n]
    weights = taps(factor) / 2**FIR_SHIFT
    return np.asarray(np.correlate(x, weights, "valid")[::factor][:n])
