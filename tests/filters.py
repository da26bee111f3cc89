"""Filters and streams for tests: TES-like pulses on noise of which everything is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from daq.acquire.filters import Filter

Floats = npt.NDArray[np.float64]


def template(length: int, pretrigger: int, rate_hz: float) -> Floats:
    """The recommended CaWO4 channel: rise 0.3 ms, decay 3.6 ms, and a tail of 28 ms."""
    t = (np.arange(length) - pretrigger) / rate_hz
    fast = 0.689 * (np.exp(-t / 3.6e-3) - np.exp(-t / 0.3e-3))
    slow = 0.0725 * (np.exp(-t / 28.2e-3) - np.exp(-t / 3.6e-3))
    pulse = np.where(t > 0, fast + slow, 0.0)
    return pulse / pulse.max()


def white(frequencies_hz: Floats, rms: float, rate_hz: float) -> Floats:
    """Density of white noise of `rms` counts."""
    return np.full(frequencies_hz.size, rms**2 / (rate_hz / 2))


def colored(frequencies_hz: Floats, rms: float, rate_hz: float) -> Floats:
    """The same with 1/f below 200 Hz and less above 5 kHz, as a TES has it."""
    f = np.maximum(frequencies_hz, 1.0)
    return white(f, rms, rate_hz) * (1 + 200 / f) / (1 + (f / 5e3) ** 2)


def noise(rng: np.random.Generator, n: int, density, rate_hz: float) -> Floats:
    """Stationary Gaussian noise [sample] of a one-sided density(frequencies)."""
    f = np.arange(n // 2 + 1) * rate_hz / n
    spectrum = rng.standard_normal(f.size) + 1j * rng.standard_normal(f.size)
    spectrum *= np.sqrt(density(f) * rate_hz * n / 4)
    spectrum[0] = 0
    return np.fft.irfft(spectrum, n)


def lines(n: int, rate_hz: float, seed: int) -> Floats:
    """Mains (50 Hz and 40 harmonics, 20/k counts), a pulse tube (1.4 Hz and 20), and pick-up at
    frequencies that decimation by 8 and 16 would fold onto the signal."""
    rng, t = np.random.default_rng(seed), np.arange(n) / rate_hz
    tones = [(50.0 * k, 20.0 / k) for k in range(1, 41)]
    tones += [(1.4 * k, 12.0 / np.sqrt(k)) for k in range(1, 21)]
    tones += [(rate_hz / 16 - 150, 10.0), (rate_hz / 8 + 210, 10.0), (rate_hz / 4 - 90, 10.0)]
    return sum(a * np.sin(2 * np.pi * (f * t + rng.uniform())) for f, a in tones)


def with_pulses(x: Floats, shape: Floats, pretrigger: int, at, heights) -> Floats:
    """x with pulses whose trigger samples stand at `at`; what lies outside is cut off."""
    result = x.copy()
    for sample, height in zip(at, heights, strict=True):
        begin = int(sample) - pretrigger
        a, b = max(begin, 0), min(begin + shape.size, x.size)
        result[a:b] += height * shape[a - begin : b - begin]
    return result


def adc(x: Floats, offset: float = 1000.0) -> npt.NDArray[np.int16]:
    """As an ADC gives it."""
    return np.clip(np.rint(x + offset), -32768, 32767).astype(np.int16)


def tes_filter(
    length: int = 512, pretrigger: int = 128, rate_hz: float = 2500.0, rms: float = 10.0, **more
) -> Filter:
    """A filter of these pulses in white noise; by default a short one for quick tests."""
    f = np.arange(length // 2 + 1) * rate_hz / length
    return Filter(
        template=template(length, pretrigger, rate_hz).astype(np.float32),
        psd=white(f, rms, rate_hz),
        pretrigger=pretrigger,
        rate_hz=rate_hz,
        **more,
    )
