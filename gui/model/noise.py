"""Noise densities of channels: from records that nothing triggered, or from a stretch of stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gui.model.records import Record

F64 = npt.NDArray[np.float64]
MEDIAN = math.log(2.0)  # of an exponential distribution of mean 1: what a periodogram's bins have
SEGMENTS = 32  # of a stretch of stream
PER_DECADE = 40  # points drawn


@dataclass(frozen=True, slots=True)
class Density:
    """One-sided: frequencies [Hz], V/sqrt(Hz), from how many pieces, and what they were."""

    frequencies_hz: F64
    volts_rthz: F64
    n: int
    source: str


def of_records(records: list[Record]) -> Density | None:
    """The mean of all records of noise; None without any."""
    noise = [record for record in records if record.is_noise]
    if not noise:
        return None
    rate_hz = noise[-1].header.rate_hz
    power = np.mean([_power(record.volts(), rate_hz) for record in noise], axis=0)
    return _density(power, rate_hz, len(noise), "noise records")


def of_stream(volts: F64, rate_hz: float) -> Density:
    """The median of overlapping pieces, so that a pulse in one of them does not count."""
    length = max(2 * len(volts) // (SEGMENTS + 1), 16)
    starts = range(0, len(volts) - length + 1, max(length // 2, 1))
    power = [_power(volts[at : at + length], rate_hz) for at in starts]
    return _density(np.median(power, axis=0) / MEDIAN, rate_hz, len(power), "stream")


def thinned(density: Density) -> tuple[F64, F64]:
    """What a logarithmic plot can show: means over equal steps of log f."""
    f, power = density.frequencies_hz, density.volts_rthz**2
    steps = np.round(np.log10(f) * PER_DECADE)
    _, first = np.unique(steps, return_index=True)
    counts = np.diff([*first, len(f)])
    return np.add.reduceat(f, first) / counts, np.sqrt(np.add.reduceat(power, first) / counts)


def white_and_slow(density: Density) -> tuple[float, float]:
    """The white level [V/sqrt(Hz)] and the frequency [Hz] below which 1/f noise is above it.

    The level is the median of the decade below a quarter of the highest frequency.
    """
    f, asd = density.frequencies_hz, density.volts_rthz
    top = f[-1] / 4
    white = float(np.median(asd[(f > top / 10) & (f < top)]))
    low = f < f[-1] / 100
    excess = np.maximum(asd[low] ** 2 - white**2, 0.0) * f[low]
    slow = float(np.median(excess)) if excess.size else 0.0
    return white, slow / white**2 if white > 0 else 0.0


def _power(volts: F64, rate_hz: float) -> F64:
    """Power density of one piece without its line, under a Hann window [V^2/Hz]."""
    n = len(volts)
    window = np.hanning(n)
    slope = np.linspace(-1, 1, n)
    flat = volts - volts.mean() - slope * float(volts @ slope) / float(slope @ slope)
    spectrum = np.abs(np.fft.rfft(flat * window)) ** 2
    return np.asarray(2 * spectrum / (rate_hz * float(window @ window)))


def _density(power: F64, rate_hz: float, n: int, source: str) -> Density:
    """Without the two lowest bins, which the window and the line that was taken out spoil."""
    f = np.arange(len(power)) * rate_hz / (2 * (len(power) - 1))
    return Density(f[2:-1], np.sqrt(power[2:-1]), n, source)
