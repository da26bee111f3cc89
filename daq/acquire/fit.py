"""The optimum filter on single records: height, time and chi2, the time found by the maximum."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from daq.acquire.filters import Filter
from daq.acquire.kernels import F64
from daq.errors import UsageError


class Fit(NamedTuple):
    """A pulse fitted to a record; `time` is in samples from the filter's own trigger sample."""

    amplitude: float
    time: float
    chi2: float


def fit_amplitude(record: npt.NDArray[np.number], one: Filter, *, search: int | None = None) -> Fit:
    """Fit one pulse to a record [sample] of the template's length; the baseline is no matter.

    The time is where the amplitude is highest within `search` samples of the trigger (default: a
    sixteenth of the record), between samples by a parabola. chi2 is per degree of freedom
    (length - 3) over all frequencies but 0.
    """
    if record.shape != (one.length,):
        raise UsageError(f"expected a record of {one.length} samples, found {record.shape}")
    x = scipy.fft.rfft((one.sign * (record - np.mean(record))).astype(np.float64))
    amplitudes = _amplitudes(np.asarray(x), one)
    reach = one.length // 16 if search is None else search
    shift, aside, height = _highest(amplitudes, reach)
    return Fit(height, shift + aside, _chi2(np.asarray(x), one, height, shift + aside))


def _amplitudes(x: npt.NDArray[np.complex128], one: Filter) -> F64:
    """Height by shift, cyclic."""
    weights = np.conj(one.spectrum) / one.power
    weights[0] = 0.0
    norm = scipy.fft.irfft(weights * one.spectrum, one.length)[0]
    return np.asarray(scipy.fft.irfft(x * weights, one.length) / norm)


def _highest(amplitudes: F64, reach: int) -> tuple[int, float, float]:
    shifts = np.arange(-reach, reach + 1)
    near = amplitudes[shifts]
    shift = int(shifts[np.argmax(near)])
    a, b, c = (float(amplitudes[(shift + step) % amplitudes.size]) for step in (-1, 0, 1))
    bend = a - 2 * b + c
    if bend >= 0 or not (a <= b >= c):  # the maximum is at the edge of the search
        return shift, 0.0, b
    aside = 0.5 * (a - c) / bend
    return shift, aside, b - 0.25 * (a - c) * aside


def _chi2(x: npt.NDArray[np.complex128], one: Filter, height: float, time: float) -> float:
    turns = np.exp(-2j * math.pi * time / one.length * np.arange(x.size))
    away = np.abs(x - height * one.spectrum * turns) ** 2 / one.power * one.sides
    return float(away[1:].sum() / (one.length - 3))
