"""Pulse shapes: sums of exponentials, evaluated at the exact time of each sample."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt
from numba import njit

STRETCH = 1024  # samples that share one evaluation of the exponentials
NEGLIGIBLE = 0.01  # counts; where a pulse's tail is cut
LONGEST_S = 0.9  # where it is cut at the latest

Floats = npt.NDArray[np.float64]
Signal = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shape:
    """sum of weight · exp(-t / tau_s) from t = 0 on, zero before; starts at zero."""

    weights: tuple[float, ...]
    taus_s: tuple[float, ...]

    def at(self, t_s: npt.ArrayLike) -> Floats:
        """The values at times after the onset."""
        decays = np.exp(-np.divide.outer(t_s, self.taus_s))
        return np.asarray(decays @ np.array(self.weights))

    def normalized(self) -> Shape:
        """The same shape with unit height, to 1e-6."""
        height = self.at(np.linspace(0.0, max(self.taus_s), 100_000)).max()
        return Shape(tuple(float(w / height) for w in self.weights), self.taus_s)

    def length_s(self, height: float) -> float:
        """How long a pulse of this height, in counts, is not negligible."""
        largest = max(abs(height * w) for w in self.weights)
        decays = log(max(1.0, largest / NEGLIGIBLE))
        return min(LONGEST_S, max(self.taus_s) * decays)


def proebst(
    *, fast: float, slow: float, rise_s: float, decay_s: float, slow_decay_s: float
) -> Shape:
    """Of unit height: a non-thermal part `fast` and a thermal part `slow` (Proebst 1995)."""
    weights = (-fast, fast - slow, slow)
    return Shape(weights, (rise_s, decay_s, slow_decay_s)).normalized()


def two_exponentials(*, rise_s: float, decay_s: float) -> Shape:
    """Of unit height: one rise, one decay."""
    return Shape((-1.0, 1.0), (rise_s, decay_s)).normalized()


class Renderer:
    """Adds pulses of one shape to signals of one sample rate."""

    def __init__(self, shape: Shape, rate_hz: float) -> None:
        self._shape, self._rate_hz = shape, rate_hz
        self._weights = np.array(shape.weights)
        self._taus = np.array(shape.taus_s) * rate_hz
        decays = np.exp(-np.arange(STRETCH) / self._taus[:, np.newaxis])
        self._decays = decays.astype(np.float32)

    def length(self, height: float) -> int:
        """Samples after which a pulse of this height is cut."""
        return int(self._shape.length_s(height) * self._rate_hz) + 1

    def add(self, signal: Signal, start: int, position: float, height: float) -> None:
        """Add a pulse that begins at sample number `position`, which has a fraction.

        `signal` begins at sample `start`. What is added to a sample is a function of its number
        and of the pulse alone.
        """
        heights = self._weights * height
        length = self.length(height)
        _add(signal, start, position, heights, self._taus, self._decays, length)


@njit(nogil=True, cache=True)
def _add(
    signal: Signal,
    start: int,
    position: float,
    heights: Floats,
    taus: Floats,
    decays: Signal,
    length: int,
) -> None:
    first = int(np.ceil(position))
    k = max(start, first)
    stop = min(start + signal.size, first + length)
    while k < stop:
        head = first + (k - first) // STRETCH * STRETCH
        end = min(stop, head + STRETCH)
        for i in range(heights.size):
            # the grid of stretches hangs on the pulse, so exp() sees the same argument always
            value = np.float32(heights[i] * np.exp((position - head) / taus[i]))
            decay = decays[i, k - head : end - head]
            part = signal[k - start : end - start]
            for j in range(end - k):
                part[j] += value * decay[j]
        k = end
