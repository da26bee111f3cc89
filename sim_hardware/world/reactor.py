"""The antineutrinos of a reactor: how many, of which energy, per fission.

Sources. 235U, 239Pu and 241Pu above 2 MeV: Huber, Phys. Rev. C 84, 024617 (2011), table III.
238U above 2 MeV: Mueller et al., Phys. Rev. C 83, 054615 (2011), table VI. Exponentials and the
table below 2 MeV: Vogel and Engel, Phys. Rev. D 39, 3378 (1989). Energy per fission: Ma et al.,
Phys. Rev. C 88, 014605 (2013). The coefficients were taken from public programs that cite these
papers, not from the papers; the tests hold them against integrals computed elsewhere.

Every spectrum is an array [isotope, energy] in antineutrinos per MeV and fission of that isotope,
in the order of ISOTOPES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
import numpy.typing as npt

from sim_hardware.world.materials import EV_J
from sim_hardware.world.nuclides import ELECTRON_MEV
from sim_hardware.world.physical import UnphysicalError, within

Floats = npt.NDArray[np.float64]
Spectrum = Callable[[Floats], Floats]

ISOTOPES = ("235U", "238U", "239Pu", "241Pu")
MEV_PER_FISSION = np.array([202.36, 205.99, 211.12, 214.26])
FIT_END_MEV = 8.0
END_MEV = 10.0  # the fits are extrapolated to here; more would add 0.02 % to a rate
CORE_M, EARTH_M = 3.0, 1.3e7  # radius of a power reactor's core at most, diameter of the Earth
MOST_GW = 50.0

_HUBER_MUELLER = np.array(
    [
        [4.367, -4.577, 2.100, -5.294e-1, 6.186e-2, -2.777e-3],
        [4.833e-1, 1.927e-1, -1.283e-1, -6.762e-3, 2.233e-3, -1.536e-4],
        [4.757, -5.392, 2.563, -6.596e-1, 7.820e-2, -3.536e-3],
        [2.990, -2.882, 1.278, -3.343e-1, 3.905e-2, -1.754e-3],
    ]
)
_VOGEL_ENGEL = np.array(
    [
        [0.870, -0.160, -0.0910],
        [0.976, -0.162, -0.0790],
        [0.896, -0.239, -0.0981],
        [0.793, -0.080, -0.1085],
    ]
)
# the eleven energies [MeV] of Vogel and Engel's table, after 0 where a beta spectrum is 0
_TABLE_MEV = np.array(
    [0, 7.813e-3, 1.563e-2, 3.12e-2, 6.25e-2, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0]
)
_TABLE = np.array(
    [
        [0, 0.024, 0.092, 0.35, 0.61, 1.98, 2.16, 2.66, 2.66, 2.41, 1.69, 1.26],
        [0, 0.089, 0.35, 1.32, 0.65, 2.02, 2.18, 2.91, 2.96, 2.75, 1.97, 1.50],
        [0, 0.14, 0.56, 2.13, 0.64, 1.99, 2.08, 2.63, 2.58, 2.32, 1.48, 1.08],
        [0, 0.20, 0.79, 3.00, 0.59, 1.85, 2.14, 2.82, 2.90, 2.63, 1.75, 1.32],
    ]
)
SPLICE_MEV = float(_TABLE_MEV[-1])  # the table ends and the fits of 2011 begin

CAPTURES = 0.6  # of a neutron by 238U, per fission of any isotope
_FINE_STRUCTURE = 1 / 137.036
# (share per capture, end point [MeV], Z of the daughter): 239U, then 239Np. Rounded, minor
# branches merged; not confirmed to better than 10 %, and 0.2 % of a rate above 10 eV in all.
_CAPTURE_BRANCHES = (
    (0.75, 1.19, 93),
    (0.25, 1.26, 93),
    (0.45, 0.44, 94),
    (0.40, 0.33, 94),
    (0.10, 0.39, 94),
    (0.05, 0.72, 94),
)


def huber_mueller(energy_mev: Floats) -> Floats:
    """The fits of 2011. Refused below 2 MeV, where their polynomials diverge."""
    if np.any(energy_mev < SPLICE_MEV):
        raise UnphysicalError(
            f"Huber-Mueller spectrum: expected energies of {SPLICE_MEV:g} MeV or more, as it"
            f" diverges below, found {np.min(energy_mev):g} MeV"
        )
    return _exp_polynomial(_HUBER_MUELLER, energy_mev)


def vogel_engel(energy_mev: Floats) -> Floats:
    """The exponentials of 1989: fitted above 2 MeV, tame below."""
    return _exp_polynomial(_VOGEL_ENGEL, energy_mev)


def vogel_engel_table(energy_mev: Floats) -> Floats:
    """The table of 1989 for 0 to 2 MeV, interpolated linearly."""
    return np.array([np.interp(energy_mev, _TABLE_MEV, row) for row in _TABLE])


def spliced(energy_mev: Floats) -> Floats:
    """The fits of 2011 from 2 MeV, the table of 1989 below."""
    return np.where(energy_mev < SPLICE_MEV, vogel_engel_table(energy_mev), fitted(energy_mev))


def fitted(energy_mev: Floats) -> Floats:
    """The fits of 2011 from 2 MeV, nothing below."""
    above = huber_mueller(np.maximum(energy_mev, SPLICE_MEV))
    return np.where(energy_mev < SPLICE_MEV, 0.0, above)


def capture(energy_mev: Floats) -> Floats:
    """Antineutrinos per MeV and capture of a neutron by 238U, from 239U and 239Np: two in all."""
    total: Floats = np.zeros(energy_mev.shape)
    for share, end, z in _CAPTURE_BRANCHES:
        total = total + share / _beta_norm(end, z) * _beta(energy_mev, end, z)
    return total


def legendre(edges: Floats, order: int = 24) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss and Legendre for the sum of the intervals between edges."""
    nodes, weights = _leggauss(order)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emission:
    """What the fuel gives off: a spectrum weighted by fission fractions, and captures on 238U.

    `fractions` are those of ISOTOPES. Unless stated, the energy per fission is their mean.
    """

    spectrum: Spectrum
    fractions: tuple[float, float, float, float]
    captures: float = 0.0
    stated_mev_per_fission: float | None = None

    def __post_init__(self) -> None:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-9:
            raise UnphysicalError(
                f"fission fractions: expected a sum of 1, none negative, found {self.fractions}"
            )

    @property
    def mev_per_fission(self) -> float:
        """Thermal energy of a fission."""
        return self.stated_mev_per_fission or float(MEV_PER_FISSION @ self.fractions)

    def per_mev(self, energy_mev: Floats) -> Floats:
        """Antineutrinos per MeV and fission, [energy]."""
        fissions: Floats = np.array(self.fractions) @ self.spectrum(energy_mev)
        return fissions + self.captures * capture(energy_mev)

    def per_fission(self, from_mev: float = 0.0) -> float:
        """Antineutrinos per fission above an energy."""
        energy, weight = legendre(edges(from_mev))
        return float(weight @ self.per_mev(energy))


def edges(from_mev: float) -> Floats:
    """From an energy to the end of the spectra, cut wherever a spectrum has a kink."""
    kinks = {float(e) for e in _TABLE_MEV} | {end for _, end, _ in _CAPTURE_BRANCHES}
    cuts = sorted(kinks | {3.0, 4.0, 6.0, FIT_END_MEV, END_MEV})
    return np.array([from_mev, *(cut for cut in cuts if cut > from_mev)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reactor:
    """A core of a thermal power, seen as a point from a distance."""

    power_gw: float
    distance_m: float

    def __post_init__(self) -> None:
        within("power_gw", self.power_gw, 0, MOST_GW, "GW thermal: no site has more")
        within("distance_m", self.distance_m, CORE_M, EARTH_M, "a nearer core is not a point")

    def fissions_per_cm2_s(self, mev_per_fission: float) -> float:
        """Fissions per second, over the sphere at the distance."""
        fissions_per_s = self.power_gw * 1e9 / (mev_per_fission * 1e6 * EV_J)
        return fissions_per_s / (4 * pi * (100 * self.distance_m) ** 2)


@cache
def _leggauss(order: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights


def _exp_polynomial(coefficients: Floats, energy_mev: Floats) -> Floats:
    exponent = np.polynomial.polynomial.polyval(energy_mev, coefficients.T)
    return np.exp(np.asarray(exponent, np.float64))


def _beta(energy_mev: Floats, end_mev: float, daughter_z: int) -> Floats:
    """Allowed shape of an antineutrino spectrum, with the Coulomb factor of Primakoff and Rosen."""
    electron = np.maximum(end_mev - energy_mev, 0.0) + ELECTRON_MEV
    momentum = np.sqrt(electron**2 - ELECTRON_MEV**2)
    strength = 2 * pi * _FINE_STRUCTURE * daughter_z
    slow = np.exp(-strength * electron / np.maximum(momentum, 1e-6))
    inside = (energy_mev > 0) & (energy_mev < end_mev)
    return np.where(inside, energy_mev**2 * electron**2 / (1 - slow), 0.0)


@cache
def _beta_norm(end_mev: float, daughter_z: int) -> float:
    energy, weight = legendre(np.array([0.0, 0.5, 0.8, 0.95, 1.0]) * end_mev)
    return float(weight @ _beta(energy, end_mev, daughter_z))
