"""The sensor's small-signal model at an operating point: response, admittance, noise.

x = (dI, dT, dTa), x' = A x + B n; the noise sources are those of Irwin and Hilton 2005, with the
symmetric end-point form for the links. All densities are one-sided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import EV_J
from sim_hardware.world.tes import Floats, OperatingPoint, TesParameters

BOLTZMANN_J_PER_K = 1.380649e-23
LOWEST_HZ, HIGHEST_HZ = 1.0, 25e3  # what an optimum filter of the stream at 50 kS/s sees
POINTS = 4000  # of an integral over the logarithm of the frequency
ALIASES = 400  # bands that are folded one by one; what lies above falls as 1/f²

Complexes = npt.NDArray[np.complex128]
Density = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Linear:
    """The linear model; frequencies are arrays in Hz, above zero."""

    p: TesParameters
    op: OperatingPoint

    def matrix(self) -> Floats:
        """A, in units of (A, K, K) and seconds."""
        p, op = self.p, self.op
        ir_t = op.r_ohm * op.alpha / op.t_e_k * op.current_a  # I dR/dT
        ir_i = op.r_ohm * op.beta  # I dR/dI
        g_ea, g_ae = 5 * p.k_ea_w_per_k5 * op.t_e_k**4, 5 * p.k_ea_w_per_k5 * op.t_a_k**4
        g_eb, g_ab = 2 * p.k_eb_w_per_k2 * op.t_e_k, 4 * p.k_ab_w_per_k4 * op.t_a_k**3
        heating = np.array([op.current_a * (2 * op.r_ohm + ir_i), op.current_a * ir_t, 0.0])
        return np.array(
            [
                np.array([-(p.r_load_ohm + op.r_ohm + ir_i), -ir_t, 0.0]) / p.inductance_h,
                (heating + [0.0, -g_eb - g_ea, g_ae]) / self.c_e_j_per_k,
                np.array([0.0, g_ea, -g_ae - g_ab]) / self.c_a_j_per_k,
            ]
        )

    @property
    def c_e_j_per_k(self) -> float:
        """The electrons' heat capacity."""
        return self.p.c_e_j_per_k * self.op.t_e_k / self.p.t_reference_k

    @property
    def c_a_j_per_k(self) -> float:
        """The crystal's heat capacity."""
        return self.p.crystal_a_j_per_k4 * self.op.t_a_k**3

    @property
    def g_w_per_k(self) -> float:
        """What leads heat from the electrons, to the plate and to the crystal."""
        p, t = self.p, self.op.t_e_k
        return 2 * p.k_eb_w_per_k2 * t + 5 * p.k_ea_w_per_k5 * t**4

    @property
    def tau_s(self) -> float:
        """The electrons' own time constant, without electrothermal feedback."""
        return self.c_e_j_per_k / self.g_w_per_k

    @property
    def tau_el_s(self) -> float:
        """L/(RL + R(1 + beta))."""
        op = self.op
        return self.p.inductance_h / (self.p.r_load_ohm + op.r_ohm * (1 + op.beta))

    @property
    def tau_eff_s(self) -> float:
        """With electrothermal feedback, in the limit of a small inductance."""
        op, r_load = self.op, self.p.r_load_ohm
        feedback = op.loop_gain * (op.r_ohm - r_load) / (op.r_ohm * (1 + op.beta) + r_load)
        return self.tau_s / (1 + feedback)

    @property
    def taus_s(self) -> Complexes:
        """The three time constants of the coupled system, shortest first."""
        taus = -1 / np.linalg.eigvals(self.matrix()).astype(complex)
        return np.asarray(taus[np.argsort(np.abs(taus))])

    @property
    def stable(self) -> bool:
        """Whether a small disturbance decays."""
        return bool(np.linalg.eigvals(self.matrix()).real.max() < 0)

    def response(self, f_hz: Floats) -> Complexes:
        """The Fourier transform of the current's pulse per energy, in A s/eV."""
        share, current = self.p.collection, self._transfer(f_hz)
        deposited = EV_J / (1 + 2j * np.pi * f_hz * self.p.tau_n_s)
        return deposited * (
            share / self.c_e_j_per_k * current[1] + (1 - share) / self.c_a_j_per_k * current[2]
        )

    def admittance(self, f_hz: Floats) -> Complexes:
        """dI/dV in siemens, V a small voltage in series with the sensor and its load."""
        return self._transfer(f_hz)[0] / self.p.inductance_h

    def bias_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the bias current, in A/A."""
        return self.admittance(f_hz) * self.p.r_shunt_ohm

    def bath_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the plate's temperature, in A/K."""
        p, bath_k, current = self.p, self.op.bath_k, self._transfer(f_hz)
        to_electrons = 2 * p.k_eb_w_per_k2 * bath_k / self.c_e_j_per_k
        to_crystal = 4 * p.k_ab_w_per_k4 * bath_k**3 / self.c_a_j_per_k
        return to_electrons * current[1] + to_crystal * current[2]

    def heater_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the heater's power, in A/W."""
        return self._transfer(f_hz)[1] / self.c_e_j_per_k

    def noise_budget(self, f_hz: Floats) -> dict[str, Floats]:
        """The density of the current in A²/Hz, by source."""
        p, op, current = self.p, self.op, self._transfer(f_hz)
        i, t, a = current[0] / p.inductance_h, current[1] / self.c_e_j_per_k, current[2]
        a = a / self.c_a_j_per_k
        k = BOLTZMANN_J_PER_K
        johnson = 4 * k * op.t_e_k * op.r_ohm * (1 + 2 * op.beta) * (1 + p.excess_noise**2)
        e_bath = 4 * k * p.k_eb_w_per_k2 * (op.t_e_k**3 + op.bath_k**3)
        e_crystal = 10 * k * p.k_ea_w_per_k5 * (op.t_e_k**6 + op.t_a_k**6)
        crystal_bath = 8 * k * p.k_ab_w_per_k4 * (op.t_a_k**5 + op.bath_k**5)
        return {
            "electrons-plate": e_bath * np.abs(t) ** 2,
            "Johnson": johnson * np.abs(i - op.current_a * t) ** 2,
            "load": 4 * k * p.shunt_k * p.r_load_ohm * np.abs(i) ** 2,
            "electrons-crystal": e_crystal * np.abs(t - a) ** 2,
            "crystal-plate": crystal_bath * np.abs(a) ** 2,
        }

    def current_psd(self, f_hz: Floats) -> Floats:
        """The density of the current in A²/Hz, of all sources."""
        return np.asarray(sum(self.noise_budget(f_hz).values()))

    def resolution_ev(self, readout: Density, *, low_hz: float, high_hz: float) -> float:
        """The baseline sigma of an optimum filter that knows the noise (reference note, 5).

        `readout` is the density in A²/Hz of what the readout adds.
        """
        f_hz = np.geomspace(low_hz, high_hz, POINTS)
        density = self.current_psd(f_hz) + readout(f_hz)
        information = 4 * np.abs(self.response(f_hz)) ** 2 / density
        return float(np.trapezoid(information * f_hz, np.log(f_hz)) ** -0.5)

    def shares(self, readout: Density, *, low_hz: float, high_hz: float) -> dict[str, float]:
        """What each source contributes to the square of that resolution."""
        f_hz = np.geomspace(low_hz, high_hz, POINTS)
        sources = {**self.noise_budget(f_hz), "SQUID": readout(f_hz)}
        density = sum(sources.values())
        weights = f_hz * np.abs(self.response(f_hz)) ** 2 / density
        whole = np.trapezoid(weights, np.log(f_hz))
        return {
            name: float(np.trapezoid(weights * source / density, np.log(f_hz)) / whole)
            for name, source in sources.items()
        }

    def _transfer(self, f_hz: Floats) -> Complexes:
        """dI per unit rate of each of (dI, dT, dTa): the first row of (iω - A)^-1, [3, f]."""
        matrix, s = self.matrix(), 2j * np.pi * np.asarray(f_hz, float)
        (a, b, _), (c, d, e), (_, g, h) = matrix.tolist()
        minor = (s - d) * (s - h) - e * g
        determinant = (s - a) * minor - b * c * (s - h)
        return np.asarray([minor, b * (s - h), b * e + 0 * s]) / determinant


def folded(density: Density, rate_hz: float) -> Density:
    """The density that samples show which no filter protects from aliases.

    `density` must fall at least as 1/f² above the bands that are folded one by one.
    """

    def sampled(f_hz: Floats) -> Floats:
        f = np.asarray(f_hz, float)
        whole = density(f)
        for band in range(1, ALIASES):
            whole = whole + density(band * rate_hz - f) + density(band * rate_hz + f)
        last_hz = (ALIASES - 0.5) * rate_hz
        return whole + 2 * last_hz / rate_hz * density(np.full_like(f, last_hz))

    return sampled
