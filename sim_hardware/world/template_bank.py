"""Pulses of an operating point, of any energy, from templates that the equations of motion give.

A single linear template is 6 % wrong at 1 keV and useless at 10 MeV, where pulses are flat. So
the bank holds templates in steps of the logarithm of the energy and interpolates: by cubics
between energies, by straight lines between times. The times are dense where pulses are steep.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numba import njit

from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.tes import OperatingPoint, TesParameters
from sim_hardware.world.tes_kernel import Constants, constants, relax

LINEAR_EV = 10.0  # below, the first template is scaled
MOST_EV = 1e8
PER_DECADE = 16
LEAST_HEIGHT_A = 0.5e-12  # where a pulse's tail is cut: 2 % of 1 eV
# (seconds between points, points): after each other from the onset
SPANS = (
    (0.5e-6, 128),
    (1e-6, 448),
    (4e-6, 896),
    (16e-6, 2304),
    (64e-6, 2560),
    (128e-6, 8192),
)
LONGEST_S = sum(apart_s * n for apart_s, n in SPANS)

Floats = npt.NDArray[np.float64]
Signal = npt.NDArray[np.float32]


class TemplateBank:
    """Renders pulses at one operating point and sample rate, in A; an energy lowers the current.

    `most_ev` is the largest energy that it renders: beyond, there is no template, or the sensor
    does not return to its operating point. `full_swing_a` is how far the current can fall at most:
    pulses that overlap add up here, but not in a sensor.
    """

    def __init__(self, p: TesParameters, op: OperatingPoint, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._log_step = np.log(10) / PER_DECADE
        n_energies = (
            round(np.log(MOST_EV / LINEAR_EV) / self._log_step) + 3
        )  # one beyond at either end
        self._energies_ev = LINEAR_EV * np.exp(self._log_step * np.arange(-1, n_energies - 1))
        self._steps_s = np.concatenate([np.full(n, apart_s) for apart_s, n in SPANS])
        self._begins = np.cumsum([0, *(n for _, n in SPANS)])
        self._begins_s = np.cumsum([0.0, *(apart_s * n for apart_s, n in SPANS)])
        self._templates = self._made(constants(p), op)
        self.full_swing_a = -float(self._templates.min())
        self._lengths_s = self._ends_s()
        self.most_ev = self._most_ev()
        self._shape = lru_cache(maxsize=64)(self._mixed)

    def length(self, energy_ev: float) -> int:
        """Samples after which a pulse of this energy is cut."""
        above = int(np.searchsorted(self._energies_ev, energy_ev))
        length_s = self._lengths_s[: min(above, len(self._lengths_s) - 1) + 1].max()
        return int(length_s * self.rate_hz) + 1

    def add(self, signal_a: Signal, start: int, position: float, energy_ev: float) -> None:
        """Add a pulse that begins at sample number `position`, which has a fraction.

        `signal_a` begins at sample `start`. What is added to a sample is a function of its number
        and of the pulse alone.
        """
        if not 0 <= energy_ev <= self.most_ev:
            raise UnphysicalError(
                f"energy_ev: expected 0 to {self.most_ev:g}, from where the sensor returns to its "
                f"operating point, found {energy_ev:g}"
            )
        shape, length = self._shape(energy_ev), self.length(energy_ev)
        for (apart_s, _), begin, begin_s, end_s in zip(
            SPANS, self._begins, self._begins_s, self._begins_s[1:], strict=False
        ):
            first = int(np.ceil(position + begin_s * self.rate_hz))
            stop = int(np.ceil(min(position + end_s * self.rate_hz, position + length)))
            first, stop = max(first, start), min(stop, start + len(signal_a))
            if first < stop:
                per_sample = 1 / (self.rate_hz * apart_s)
                origin = position + begin_s * self.rate_hz
                _add(
                    signal_a[first - start : stop - start], shape[begin:], first, origin, per_sample
                )

    def _made(self, c: Constants, op: OperatingPoint) -> Signal:
        templates = np.empty((len(self._energies_ev), len(self._steps_s) + 1), np.float32)
        least_a = 0.1 * LEAST_HEIGHT_A
        rest = (op.current_a, op.t_e_k, op.t_a_k)
        for energy_ev, row in zip(self._energies_ev, templates, strict=True):
            relax(
                c, rest, op.bias_a, op.heater_w, op.bath_k, energy_ev, self._steps_s, least_a, row
            )
        return templates

    def _ends_s(self) -> Floats:
        """From when on each template is negligible."""
        times_s = np.concatenate([[0.0], np.cumsum(self._steps_s)])
        matters = np.abs(self._templates) > LEAST_HEIGHT_A
        last = matters.shape[1] - 1 - np.argmax(matters[:, ::-1], axis=1)
        return np.where(matters.any(axis=1), times_s[last], 0.0)

    def _most_ev(self) -> float:
        stays = np.flatnonzero(np.abs(self._templates[:, -1]) > LEAST_HEIGHT_A)
        first = int(stays[0]) if len(stays) else len(self._energies_ev)
        # a cubic needs one template beyond it
        return min(MOST_EV, float(self._energies_ev[max(first - 2, 0)]))

    def _mixed(self, energy_ev: float) -> Signal:
        """The template of an energy: a cubic through its four neighbors, per energy."""
        if energy_ev <= LINEAR_EV:
            return np.asarray(self._templates[1] * np.float32(energy_ev / LINEAR_EV))
        place = np.log(energy_ev / LINEAR_EV) / self._log_step + 1
        low = min(max(int(place), 1), len(self._energies_ev) - 3)
        x = place - low
        weights = np.array(
            [
                -x * (x - 1) * (x - 2) / 6,
                (x + 1) * (x - 1) * (x - 2) / 2,
                -(x + 1) * x * (x - 2) / 2,
                (x + 1) * x * (x - 1) / 6,
            ]
        )
        weights *= energy_ev / self._energies_ev[low - 1 : low + 3]
        return np.asarray(weights.astype(np.float32) @ self._templates[low - 1 : low + 3])


@njit(nogil=True, cache=True)
def _add(signal: Signal, shape: Signal, first: int, origin: float, per_sample: float) -> None:
    for k in range(signal.size):
        place = (first + k - origin) * per_sample
        i = np.int64(place)
        share = np.float32(place - i)
        signal[k] += shape[i] + share * (shape[i + 1] - shape[i])
