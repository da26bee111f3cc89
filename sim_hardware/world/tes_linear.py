"""The sensor's small-signal model at an operating point: response, admittance, noise.

x = (dI, dT, dTa), x' = A x + B n; the noise sources are those of Irwin and Hilton 2005, with the
symmetric end-point form for the links. All densities are one-sided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import EV_J
from sim_hardware.world.tes import Floats, OperatingPoint, TesParameters

BOLTZMANN_J_PER_K = 1.380649e-23
LOWEST_HZ, HIGHEST_HZ = 1.0, 25e3  # what an optimum filter of the stream at 50 kS/s sees
POINTS = 4000  # of an integral over the logarithm of the frequency

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
        g, g_ab = self.g_w_per_k, 4 * p.k_ab_w_per_k4 * op.t_a_k**3
        return np.array(
            [
                np.array([-(p.r_load_ohm + op.r_ohm + ir_i), -ir_t, 0.0]) / p.inductance_h,
                np.array([op.current_a * (2 * op.r_ohm + ir_i), op.current_a * ir_t - g, g_ae])
                / self.c_e_j_per_k,
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
        heated = share / self.c_e_j_per_k * current[1] + (1 - share) / self.c_a_j_per_k * current[2]
        return np.asarray(deposited * heated)

    def admittance(self, f_hz: Floats) -> Complexes:
        """dI/dV in siemens, V a small voltage in series with the sensor and its load."""
        return np.asarray(self._transfer(f_hz)[0] / self.p.inductance_h)

    def bias_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the bias current, in A/A."""
        return self.admittance(f_hz) * self.p.r_shunt_ohm

    def bath_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the plate's temperature, in A/K."""
        p, bath_k, current = self.p, self.op.bath_k, self._transfer(f_hz)
        to_electrons = 2 * p.k_eb_w_per_k2 * bath_k / self.c_e_j_per_k
        to_crystal = 4 * p.k_ab_w_per_k4 * bath_k**3 / self.c_a_j_per_k
        return np.asarray(to_electrons * current[1] + to_crystal * current[2])

    def heater_response(self, f_hz: Floats) -> Complexes:
        """dI per change of the heater's power, in A/W."""
        return np.asarray(self._transfer(f_hz)[1] / self.c_e_j_per_k)

    def _sources(self) -> dict[str, tuple[float, Floats]]:
        """Each source's density, and how it drives (dI/dt, dT/dt, dTa/dt)."""
        p, op, k = self.p, self.op, BOLTZMANN_J_PER_K
        i, t, a = np.diag([1 / p.inductance_h, 1 / self.c_e_j_per_k, 1 / self.c_a_j_per_k])
        johnson = 4 * k * op.t_e_k * op.r_ohm * (1 + 2 * op.beta) * (1 + p.excess_noise**2)
        e_plate = 4 * k * p.k_eb_w_per_k2 * (op.t_e_k**3 + op.bath_k**3)
        e_crystal = 10 * k * p.k_ea_w_per_k5 * (op.t_e_k**6 + op.t_a_k**6)
        crystal_plate = 8 * k * p.k_ab_w_per_k4 * (op.t_a_k**5 + op.bath_k**5)
        return {
            "electrons-plate": (e_plate, t),
            "Johnson": (johnson, i - op.current_a * t),
            "load": (4 * k * p.shunt_k * p.r_load_ohm, i),
            "electrons-crystal": (e_crystal, t - a),
            "crystal-plate": (crystal_plate, a),
        }

    def noise_budget(self, f_hz: Floats) -> dict[str, Floats]:
        """The density of the current in A²/Hz, by source."""
        current = self._transfer(f_hz)
        return {
            name: np.asarray(density * np.abs(drive @ current) ** 2)
            for name, (density, drive) in self._sources().items()
        }

    def current_psd(self, f_hz: Floats) -> Floats:
        """The density of the current in A²/Hz, of all sources."""
        return np.asarray(sum(self.noise_budget(f_hz).values()))

    def sampled_psd(self, f_hz: Floats, rate_hz: float) -> Floats:
        """The density of the current's samples, with all that folds back, in A²/Hz.

        Samples of x obey x' = exp(A h) x + w; what the noise gives is exact (Van Loan 1978).
        """
        step, gained = self._sampled(1 / rate_hz)
        z = np.exp(2j * np.pi * np.asarray(f_hz, float) / rate_hz)
        first = _first_row(step, z)
        return np.asarray(2 / rate_hz * np.einsum("if,ij,jf->f", first, gained, first.conj()).real)

    def _sampled(self, h_s: float) -> tuple[Floats, Floats]:
        """exp(A h), and the covariance of what the noise adds in h."""
        from scipy.linalg import expm  # here: the streamed bench does without

        scale = np.sqrt(np.diag(self._intensity()))  # or amperes and kelvins would not mix
        a = self.matrix() / scale[:, np.newaxis] * scale
        q = self._intensity() / np.outer(scale, scale)
        both = np.block([[-a, q], [np.zeros((3, 3)), a.T]])
        # in steps of tau_el, doubled: exp(h/tau_el) of a slow converter has no digits left
        doublings = max(0, ceil(log2(h_s / self.tau_el_s)))
        grown = expm(both * (h_s / 2**doublings))
        step = grown[3:, 3:].T
        gained = step @ grown[:3, 3:]
        for _ in range(doublings):
            gained = gained + step @ gained @ step.T
            step = step @ step
        return step / scale * scale[:, np.newaxis], gained * np.outer(scale, scale)

    def _intensity(self) -> Floats:
        """The covariance per second of what drives the state."""
        parts = (density / 2 * np.outer(b, b) for density, b in self._sources().values())
        return np.asarray(sum(parts))

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
        """dI per unit rate of each of (dI, dT, dTa), [3, f]."""
        return _first_row(self.matrix(), 2j * np.pi * np.asarray(f_hz, float))


def _first_row(matrix: Floats, s: Complexes) -> Complexes:
    """The first row of (s - matrix)^-1, [3, s]."""
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    minors = ((s - e) * (s - i) - f * h, b * (s - i) + c * h, b * f + c * (s - e))
    determinant = (s - a) * minors[0] - d * minors[1] - g * minors[2]
    return np.asarray(np.stack(minors) / determinant)
