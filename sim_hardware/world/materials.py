"""The heat capacity of a crystal by Debye's T³ law, and how far an energy warms it.

The law is C = n_atoms · 12π⁴R/5 · m/M · (T/Θ)³. The proposal applies it with one atom per formula
unit (`n_atoms=1`, the default); a Debye temperature of the usual, atomic kind wants
`Material.atoms`. docs/physics.md has the consequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log1p, pi

from sim_hardware.world.physical import UnphysicalError, within

EV_J = 1.602176634e-19
GAS_J_PER_MOL_K = 8.31446261815324
DEBYE_J_PER_MOL_K = 12 * pi**4 * GAS_J_PER_MOL_K / 5  # 1943.770; the proposal rounds to 1944
T3_LAW = 1 / 50  # of the Debye temperature: above, C is no longer proportional to T³
COLDEST_K = 1e-6
LEAST_G, MOST_G = 1e-6, 1e6
MOST_EV = 1e15


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """A target material, with the molar mass and Debye temperature that the proposal uses."""

    name: str
    molar_mass_g: float
    debye_k: float
    density_g_cm3: float
    formula: tuple[tuple[str, int], ...]

    @property
    def atoms(self) -> int:
        """Atoms in a formula unit."""
        return sum(count for _, count in self.formula)


# The reference note gives these as C/T³ per gram. The proposal's germanium is A = 73.0, as in its
# recoil table; natural germanium is 72.63.
MATERIALS = {
    each.name: each
    for each in (
        Material(
            name="Ge", molar_mass_g=73.0, debye_k=374, density_g_cm3=5.323, formula=(("Ge", 1),)
        ),
        Material(
            name="Zn", molar_mass_g=65.4, debye_k=327, density_g_cm3=7.14, formula=(("Zn", 1),)
        ),
        Material(
            name="Al2O3",
            molar_mass_g=101.96,
            debye_k=1041,
            density_g_cm3=3.98,
            formula=(("Al", 2), ("O", 3)),
        ),
        Material(
            name="CaWO4",
            molar_mass_g=287.9,
            debye_k=335,
            density_g_cm3=6.06,
            formula=(("Ca", 1), ("W", 1), ("O", 4)),
        ),
        Material(
            name="Pb", molar_mass_g=207.2, debye_k=105, density_g_cm3=11.34, formula=(("Pb", 1),)
        ),
        Material(
            name="W", molar_mass_g=183.84, debye_k=400, density_g_cm3=19.3, formula=(("W", 1),)
        ),
        Material(
            name="PbWO4",
            molar_mass_g=455.04,
            debye_k=237,
            density_g_cm3=8.28,
            formula=(("Pb", 1), ("W", 1), ("O", 4)),
        ),
    )
}


def material(name: str) -> Material:
    """The material of that name."""
    if name not in MATERIALS:
        raise UnphysicalError(f"material: expected one of {', '.join(MATERIALS)}, found {name}")
    return MATERIALS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Crystal:
    """A piece of a material that keeps all heat: C = a·T³."""

    material: Material
    mass_g: float
    n_atoms: int = 1

    def __post_init__(self) -> None:
        within("mass_g", self.mass_g, LEAST_G, MOST_G)
        within("n_atoms", self.n_atoms, 1, 100, "atoms in a formula unit")

    @property
    def a_j_per_k4(self) -> float:
        """C/T³."""
        per_gram = DEBYE_J_PER_MOL_K / self.material.molar_mass_g / self.material.debye_k**3
        return self.n_atoms * self.mass_g * per_gram

    @property
    def edge_mm(self) -> float:
        """The edge, were it a cube."""
        return float(10 * (self.mass_g / self.material.density_g_cm3) ** (1 / 3))

    def heat_capacity_j_per_k(self, t_k: float) -> float:
        """C at a temperature within the T³ law."""
        return self.a_j_per_k4 * self._cold("t_k", t_k) ** 3

    def linear_rise_k(self, energy_ev: float, t_k: float) -> float:
        """E/C: what the proposal's tables give; too large as soon as it is not small against T."""
        energy_j = within("energy_ev", energy_ev, 0, MOST_EV) * EV_J
        return energy_j / self.heat_capacity_j_per_k(t_k)

    def exact_rise_k(self, energy_ev: float, t_k: float) -> float:
        """The rise that stores the energy when C grows on the way: (T⁴ + 4E/a)^¼ - T."""
        relative = 4 * self.linear_rise_k(energy_ev, t_k) / t_k
        rise = t_k * expm1(log1p(relative) / 4)
        self._cold("t_k after the energy", t_k + rise)
        return rise

    def _cold(self, name: str, t_k: float) -> float:
        debye_k = self.material.debye_k
        why = f"K; {self.material.name} obeys the T³ law to 1/50 of its Debye {debye_k:g} K"
        return within(name, t_k, COLDEST_K, T3_LAW * debye_k, why)
