"""Energy spectra that can be drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import pi

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import MATERIALS
from sim_hardware.world.neutrinos import differential_rate, rate_model
from sim_hardware.world.particles import Rng
from sim_hardware.world.reactor import Reactor

ELECTRON_EV = 510_998.95
_FINE_STRUCTURE = 1 / 137.036
CEVNS_POINTS, CEVNS_END_EV = 100, 13_000.0  # the lightest nucleus hit by 10 MeV: oxygen
FINE = 2000

Floats = npt.NDArray[np.float64]


class Drawn:
    """A density over energies, drawn from by inversion of its integral."""

    def __init__(self, energy_ev: Floats, density: Floats) -> None:
        steps = np.diff(energy_ev) * (density[1:] + density[:-1]) / 2
        self.energy_ev = energy_ev
        self.cumulated = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()

    def draw(self, rng: Rng) -> float:
        """An energy [eV]."""
        return float(np.interp(rng.random(), self.cumulated, self.energy_ev))

    def below(self, energy_ev: Floats) -> Floats:
        """The share below energies."""
        shares = np.interp(energy_ev, self.energy_ev, self.cumulated)
        return np.asarray(shares, np.float64)


@cache
def cevns(model: str, least_ev: float) -> Drawn:
    """Recoils of a reactor's antineutrinos in CaWO4, from the least on: no distance matters."""
    coarse = np.geomspace(least_ev, CEVNS_END_EV, CEVNS_POINTS)
    reactor = Reactor(power_gw=1.0, distance_m=30.0)
    density = differential_rate(rate_model(model), reactor, MATERIALS["CaWO4"], coarse)
    fine = np.geomspace(least_ev, CEVNS_END_EV, FINE)
    logs = np.interp(np.log(fine), np.log(coarse), np.log(np.maximum(density, 1e-30)))
    return Drawn(fine, np.exp(logs))


@cache
def beta(end_ev: float, daughter_z: int) -> Drawn:
    """Electrons of an allowed decay, with the Coulomb factor of Primakoff and Rosen."""
    kinetic = np.linspace(0.0, end_ev, FINE)
    return Drawn(kinetic, beta_density(kinetic, end_ev, daughter_z))


def beta_density(kinetic_ev: Floats, end_ev: float, daughter_z: int) -> Floats:
    """p W F (Q - T)², not normalized: pF is W / (1 - exp(-2πZ/137 · W/p)) but for a constant."""
    total = kinetic_ev / ELECTRON_EV + 1
    momentum = np.sqrt(np.maximum(total**2 - 1, 1e-12))
    coulomb = 1 - np.exp(-2 * pi * _FINE_STRUCTURE * daughter_z * total / momentum)
    left = np.maximum(end_ev - kinetic_ev, 0.0)
    return np.asarray(total**2 / coulomb * left**2)


@cache
def compton(gamma_ev: float) -> Drawn:
    """What a gamma leaves where it scatters once, by Klein and Nishina."""
    alpha = gamma_ev / ELECTRON_EV
    kinetic = np.linspace(0.0, gamma_ev * 2 * alpha / (1 + 2 * alpha), FINE)
    return Drawn(kinetic, compton_density(kinetic, gamma_ev))


def compton_density(kinetic_ev: Floats, gamma_ev: float) -> Floats:
    """Per T, not normalized: 2 + s²/(a²(1-s)²) + s/(1-s) (s - 2/a), s = T/E, a = E/mc²."""
    alpha, s = gamma_ev / ELECTRON_EV, kinetic_ev / gamma_ev
    return np.asarray(2 + (s / (alpha * (1 - s))) ** 2 + s / (1 - s) * (s - 2 / alpha))


def cumulated(shares: Sequence[float]) -> Floats:
    """The sums of shares, up to 1, to pick by."""
    return np.asarray(np.cumsum(shares) / np.sum(shares), np.float64)
