"""What noise a biased TES should have, what it has, and the NEP of both.

One body, small signals (Irwin and Hilton 2005, section 2.6; all densities one-sided):

    sI = -1/(I R) [L/(tau_el R LI) + (1 - RL/R) + i w L tau/(R LI) (1/tau_I + 1/tau_el)
                   - w² tau L/(LI R)]^-1
    thermal     4 k T² G F |sI|²
    Johnson     4 k T I² R xi/LI² (1 + w² tau²) |sI|²,          xi = (1 + 2 beta)(1 + M²)
    load        4 k Tsh I² RL (LI - 1)²/LI² (1 + w² tau_I²) |sI|²
    SQUID       white (1 + knee/f)

F is that of a link with a sharp end, [1 + (Tb/T)^(n+1)]/2. NEP² = S/|sI|².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import periodogram, welch

from daq.errors import CheckError
from daq.readout.circuit import C128, F64
from daq.readout.impedance import Bodies
from daq.readout.thermal import Conductance

BOLTZMANN_J_PER_K = 1.380649e-23
LEAST_AVERAGES = 4
QUIETER, QUIET_SPREAD = 25, 1.2  # percent of the stretches that are the quieter ones; times theirs
NEP_BANDS_HZ = {"10 Hz": (8.0, 14.0), "100 Hz": (80.0, 120.0), "500 Hz": (420.0, 580.0)}
FOLDED_BANDS = 40  # of half the rate, that are folded back


@dataclass(frozen=True, slots=True, kw_only=True)
class SquidNoise:
    """The SQUID's noise as a current in its input coil: white, and where 1/f begins."""

    white_a_rthz: float
    knee_hz: float = 0.0

    def psd(self, f_hz: F64) -> F64:
        """In A²/Hz."""
        return np.asarray(self.white_a_rthz**2 * (1 + self.knee_hz / f_hz))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """A TES at a working point, as far as its noise depends on it.

    `excess` is M, the unexplained noise relative to Johnson's. `load_k` is the shunt's temperature.
    """

    current_a: float
    r_ohm: float
    r_load_ohm: float
    inductance_h: float
    loop_gain: float
    tau_s: float
    beta: float
    g_w_per_k: float
    n: float
    sensor_k: float
    bath_k: float
    load_k: float
    squid: SquidNoise
    excess: float = 0.0

    @classmethod
    def of(
        cls,
        bodies: Bodies,
        conductance: Conductance,
        squid: SquidNoise,
        *,
        current_a: float,
        bath_k: float,
        load_k: float,
        heater_w: float = 0.0,
    ) -> NoiseModel:
        """From what was fitted to IVs and to the impedance."""
        power_w = current_a**2 * bodies.r_ohm + heater_w
        sensor_k = float(conductance.sensor_k(power_w, bath_k))
        return cls(
            current_a=current_a,
            r_ohm=bodies.r_ohm,
            r_load_ohm=bodies.r_load_ohm,
            inductance_h=bodies["inductance_h"].value,
            loop_gain=bodies.loop_gain.value,
            tau_s=bodies.tau_s.value,
            beta=bodies.beta.value,
            g_w_per_k=conductance.g_at(sensor_k),
            n=conductance.n.value,
            sensor_k=sensor_k,
            bath_k=bath_k,
            load_k=load_k,
            squid=squid,
        )

    def responsivity(self, f_hz: F64) -> C128:
        """dI/dP in 1/V."""
        return responsivity(
            f_hz,
            current_a=self.current_a,
            r_ohm=self.r_ohm,
            r_load_ohm=self.r_load_ohm,
            inductance_h=self.inductance_h,
            loop_gain=self.loop_gain,
            tau_s=self.tau_s,
            beta=self.beta,
        )

    def sources(self, f_hz: F64) -> dict[str, F64]:
        """The current's density in A²/Hz, by source."""
        k, i, gain = BOLTZMANN_J_PER_K, self.current_a, self.loop_gain
        si2, w2 = np.abs(self.responsivity(f_hz)) ** 2, (2 * np.pi * f_hz) ** 2
        end = (1 + (self.bath_k / self.sensor_k) ** (self.n + 1)) / 2
        xi = (1 + 2 * self.beta) * (1 + self.excess**2)
        johnson = 4 * k * self.sensor_k * i**2 * self.r_ohm * xi / gain**2
        load = 4 * k * self.load_k * i**2 * self.r_load_ohm / gain**2
        return {
            "thermal": 4 * k * self.sensor_k**2 * self.g_w_per_k * end * si2,
            "Johnson": johnson * (1 + w2 * self.tau_s**2) * si2,
            "load": load * ((gain - 1) ** 2 + w2 * self.tau_s**2) * si2,
            "SQUID": self.squid.psd(f_hz),
        }

    def psd(self, f_hz: F64) -> F64:
        """The current's density in A²/Hz, of all sources."""
        return np.asarray(sum(self.sources(f_hz).values()))

    def sampled_psd(self, f_hz: F64, rate_hz: float) -> F64:
        """The same as samples show it that no filter protects: the sensor's noise folds back.

        The SQUID's is that of the samples already.
        """
        squid, folded = self.squid.psd(f_hz), np.zeros(f_hz.shape)
        for band in range(FOLDED_BANDS):
            above = (band + 1) // 2 * rate_hz
            at = np.abs(above - f_hz) if band % 2 else above + f_hz
            folded += self.psd(at) - self.squid.psd(at)
        return folded + squid

    def unfolded(self, f_hz: F64, psd: F64, rate_hz: float) -> F64:
        """A measured density without the share that this model says has folded back."""
        return np.asarray(psd * self.psd(f_hz) / self.sampled_psd(f_hz, rate_hz))

    def nep_w_rthz(self, f_hz: F64) -> F64:
        """The noise equivalent power, in W/sqrt(Hz)."""
        return self.nep_of(f_hz, self.psd(f_hz))

    def nep_of(self, f_hz: F64, psd: F64) -> F64:
        """The NEP of a measured density in A²/Hz, with the responsivity of this model."""
        return np.asarray(np.sqrt(psd) / np.abs(self.responsivity(f_hz)))


def responsivity(
    f_hz: F64,
    *,
    current_a: float,
    r_ohm: float,
    r_load_ohm: float,
    inductance_h: float,
    loop_gain: float,
    tau_s: float,
    beta: float,
) -> C128:
    """dI/dP in 1/V, of one body."""
    w = 2 * np.pi * f_hz
    tau_el = inductance_h / (r_load_ohm + r_ohm * (1 + beta))
    inner = inductance_h / (tau_el * r_ohm * loop_gain) + (1 - r_load_ohm / r_ohm)
    rates = (1 - loop_gain) / tau_s + 1 / tau_el
    slow = inductance_h * tau_s / (r_ohm * loop_gain)
    bracket = inner + 1j * w * slow * rates - w**2 * slow
    return np.asarray(-1 / (current_a * r_ohm) / bracket)


def nep_of_bodies(bodies: Bodies, current_a: float, f_hz: F64, psd: F64) -> F64:
    """The NEP in W/sqrt(Hz) of a measured density in A²/Hz, by what was fitted to dI/dV."""
    response = responsivity(
        f_hz,
        current_a=current_a,
        r_ohm=bodies.r_ohm,
        r_load_ohm=bodies.r_load_ohm,
        inductance_h=bodies["inductance_h"].value,
        loop_gain=bodies.loop_gain.value,
        tau_s=bodies.tau_s.value,
        beta=bodies.beta.value,
    )
    return np.asarray(np.sqrt(psd) / np.abs(response))


def nep_in_bands(bodies: Bodies, current_a: float, f_hz: F64, psd: F64) -> dict[str, float]:
    """The NEP around some frequencies [W/sqrt(Hz)], of those bands that were measured."""
    inside = {name: band for name, band in NEP_BANDS_HZ.items() if band[1] < f_hz[-1]}
    found = in_bands(f_hz, nep_of_bodies(bodies, current_a, f_hz, psd), list(inside.values()))
    return dict(zip(inside, found.tolist(), strict=True))


def density(current_a: F64, rate_hz: float, *, lowest_hz: float) -> tuple[F64, F64, int]:
    """(frequency, one-sided density in A²/Hz, averages) by Welch's method; without frequency 0.

    CheckError where there are too few samples for the lowest frequency.
    """
    length = int(2 * rate_hz / lowest_hz)
    averages = len(current_a) // max(1, length)
    if averages < LEAST_AVERAGES:
        raise CheckError(
            f"too few samples: expected {LEAST_AVERAGES} times {2 / lowest_hz:.3g} s for noise "
            f"from {lowest_hz:g} Hz on, found {len(current_a) / rate_hz:.3g} s"
        )
    f_hz, psd = welch(current_a, rate_hz, window="hann", nperseg=length)
    return np.asarray(f_hz[1:]), np.asarray(psd[1:]), averages


def quiet_density(current_a: F64, rate_hz: float, *, lowest_hz: float) -> tuple[F64, F64, int]:
    """The same of the stretches, each of two periods of the lowest frequency, without pulses.

    Those count whose spread is that of the quieter ones; pulses make it larger, never smaller.
    """
    length = int(2 * rate_hz / lowest_hz)
    rows = current_a[: len(current_a) // length * length].reshape(-1, length)
    if len(rows) < LEAST_AVERAGES:
        return density(current_a, rate_hz, lowest_hz=lowest_hz)  # which says what is missing
    spread = rows.std(1)
    quiet = rows[spread <= QUIET_SPREAD * np.percentile(spread, QUIETER)]
    f_hz, psd = periodogram(quiet, rate_hz, window="hann", axis=1)
    return np.asarray(f_hz[1:]), np.asarray(psd.mean(0)[1:]), len(quiet)


def in_bands(f_hz: F64, psd: F64, bands: Sequence[tuple[float, float]]) -> F64:
    """The median density within each band [low, high), which lines of the mains do not move.

    CheckError for a band without a frequency in it.
    """
    found = []
    for low, high in bands:
        inside = (f_hz >= low) & (f_hz < high)
        if not inside.any():
            raise CheckError(f"expected frequencies from {low:g} to {high:g} Hz, found none")
        found.append(float(np.median(psd[inside])))
    return np.array(found)
