"""Nuclei: their masses, their natural abundances and how hard a neutrino can hit them.

Mass excesses are those of AME2020 (Wang et al., Chin. Phys. C 45, 030003) to a few keV,
abundances those of IUPAC.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim_hardware.world.physical import within

U_MEV = 931.49410242
ELECTRON_MEV = 0.51099895


@dataclass(frozen=True, slots=True)
class Nuclide:
    """A nucleus of Z protons and A nucleons; `abundance` is its natural share of its element."""

    z: int
    a: int
    excess_mev: float
    abundance: float = 0.0

    @property
    def n(self) -> int:
        """Neutrons."""
        return self.a - self.z

    @property
    def atomic_mass_u(self) -> float:
        """Mass of the neutral atom."""
        return self.a + self.excess_mev / U_MEV

    @property
    def nuclear_mass_mev(self) -> float:
        """Mass without the electrons, whose binding (below 1 MeV) is neglected."""
        return self.atomic_mass_u * U_MEV - self.z * ELECTRON_MEV


def _element(z: int, *isotopes: tuple[int, float, float]) -> tuple[Nuclide, ...]:
    return tuple(Nuclide(z, a, excess, abundance) for a, abundance, excess in isotopes)


# A, abundance, mass excess [MeV]
ELEMENTS = {
    "O": _element(8, (16, 0.99757, -4.737), (17, 0.00038, -0.809), (18, 0.00205, -0.783)),
    "Al": _element(13, (27, 1.0, -17.197)),
    "Ca": _element(
        20,
        (40, 0.96941, -34.846),
        (42, 0.00647, -38.547),
        (43, 0.00135, -38.409),
        (44, 0.02086, -41.469),
        (46, 0.00004, -43.139),
        (48, 0.00187, -44.225),
    ),
    "Zn": _element(
        30,
        (64, 0.4917, -66.004),
        (66, 0.2773, -68.899),
        (67, 0.0404, -67.880),
        (68, 0.1845, -70.007),
        (70, 0.0061, -69.565),
    ),
    "Ge": _element(
        32,
        (70, 0.2052, -70.562),
        (72, 0.2745, -72.586),
        (73, 0.0776, -71.298),
        (74, 0.3652, -73.422),
        (76, 0.0775, -73.213),
    ),
    "W": _element(
        74,
        (180, 0.0012, -49.636),
        (182, 0.2650, -48.248),
        (183, 0.1431, -46.368),
        (184, 0.3064, -45.706),
        (186, 0.2843, -42.511),
    ),
    "Pb": _element(
        82,
        (204, 0.014, -25.110),
        (206, 0.241, -23.786),
        (207, 0.221, -22.452),
        (208, 0.524, -21.749),
    ),
}

# the six of the proposal's table of recoils, in its order
RECOIL_NUCLIDES = {
    "Ge-73": Nuclide(32, 73, -71.298),
    "Mo-96": Nuclide(42, 96, -88.795),
    "W-184": Nuclide(74, 184, -45.706),
    "Pb-207": Nuclide(82, 207, -22.452),
    "Zn-64": Nuclide(30, 64, -66.004),
    "Cd-114": Nuclide(48, 114, -90.015),
}


def molar_mass_g(formula: tuple[tuple[str, int], ...]) -> float:
    """Natural molar mass of a compound of (element, count)."""
    return sum(
        count * nuclide.abundance * nuclide.atomic_mass_u
        for element, count in formula
        for nuclide in ELEMENTS[element]
    )


def max_recoil_ev(neutrino_mev: float, nuclear_mass_mev: float) -> float:
    """Largest recoil energy of a nucleus at rest, 2E²/(M + 2E): the neutrino turns back."""
    energy = within("neutrino_mev", neutrino_mev, 0, 1e6)
    mass = within("nuclear_mass_mev", nuclear_mass_mev, 900, 3e5, "MeV, from hydrogen up")
    return 2e6 * energy**2 / (mass + 2 * energy)
