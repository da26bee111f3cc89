"""Colored noise as a pure function of the sample number: the sum of two periodic pools.

The pools have coprime lengths, so that the sum repeats only after the product of both (weeks);
each carries half the power, so that at a lag of one pool's length half of the noise correlates
with itself. Below 1 / POOL_S there is no noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import fft

POOL_S = 5.0  # holds whole periods of the mains (50 Hz) and of the pulse tube (1.4 Hz)
SECOND_POOL = 0.618  # of the first's length: far from every simple ratio
TABLE = 2000  # frequencies at which a computed density is evaluated

Floats = npt.NDArray[np.float64]
Pool = npt.NDArray[np.float32]
Spectrum = npt.NDArray[np.complex64]


Lines = tuple[tuple[float, float], ...]  # (frequency in Hz, rms) of sines


class Noise(Protocol):
    """A one-sided PSD and the sines on top of it."""

    @property
    def lines(self) -> Lines:
        """The sines."""

    def psd(self, f_hz: Floats) -> Floats:
        """Density in unit²/Hz without the lines, for f > 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedNoise:
    """Noise of a density that some model computes, in its unit²/Hz.

    The density is evaluated at TABLE frequencies, and must be smooth in the logarithm of f.
    """

    density: Callable[[Floats], Floats]
    lines: Lines = ()

    def psd(self, f_hz: Floats) -> Floats:
        """Density without the lines, for rising f > 0."""
        table_hz = np.geomspace(f_hz[0], f_hz[-1], TABLE)
        density = np.interp(np.log(f_hz), np.log(table_hz), np.log(self.density(table_hz)))
        return np.asarray(np.exp(density))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseShape:
    """A one-sided PSD: white with a 1/f knee, and plateaus that each roll off at a corner.

    Levels are amplitude densities in counts per root hertz; `lines` are (frequency in Hz, rms in
    counts) of sines.
    """

    white: float
    knee_hz: float
    plateaus: tuple[tuple[float, float], ...] = ()
    lines: Lines = ()

    def psd(self, f_hz: Floats) -> Floats:
        """Density in counts²/Hz without the lines, for f > 0."""
        density = self.white**2 * (1 + self.knee_hz / f_hz)
        for level, corner_hz in self.plateaus:
            density = density + level**2 / (1 + (f_hz / corner_hz) ** 2)
        return density


def pools(shape: Noise, rate_hz: float, rng: np.random.Generator) -> tuple[Pool, Pool]:
    """Two pools whose sum, at any two offsets, has the shape's PSD; the first has the lines."""
    first = round(POOL_S * rate_hz)
    second = _coprime_length(round(SECOND_POOL * first), first)
    spectrum = _spectrum(shape, rate_hz, first, rng)
    _add_lines(spectrum, shape, first, rng)
    return _pool(spectrum, first), _pool(_spectrum(shape, rate_hz, second, rng), second)


def _coprime_length(least: int, other: int) -> int:
    """A length from `least` on that shares no factor with `other`, of fast FFT if there is one."""
    coprime = [n for n in range(least, least + least // 4) if gcd(n, other) == 1]
    return next((n for n in coprime if fft.next_fast_len(n) == n), coprime[0])


def _spectrum(shape: Noise, rate_hz: float, length: int, rng: np.random.Generator) -> Spectrum:
    """The FFT of a period of Gaussian noise with half of the shape's density and no mean."""
    f_hz = np.arange(1.0, length // 2 + 1) * (rate_hz / length)
    sigma = np.sqrt(shape.psd(f_hz) / 2 * (rate_hz * length / 4)).astype(np.float32)
    spectrum = np.zeros(length // 2 + 1, np.complex64)
    spectrum.real[1:] = sigma * rng.standard_normal(len(sigma), np.float32)
    spectrum.imag[1:] = sigma * rng.standard_normal(len(sigma), np.float32)
    return spectrum


def _add_lines(spectrum: Spectrum, shape: Noise, length: int, rng: np.random.Generator) -> None:
    """Add the sines, with random phases, of those lines that the rate can carry."""
    for f_hz, rms in shape.lines:
        phase = rng.uniform(0, 2 * np.pi)
        periods = round(f_hz * POOL_S)
        if periods < length / 2:
            spectrum[periods] += rms / 2**0.5 * length * np.exp(1j * phase)


def _pool(spectrum: Spectrum, length: int) -> Pool:
    pool = np.asarray(fft.irfft(spectrum, length), np.float32)
    pool.flags.writeable = False
    return pool
