"""The proposal's tables of heat capacities, temperature rises and recoils."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_hardware.world.materials import (
    DEBYE_J_PER_MOL_K,
    EV_J,
    MATERIALS,
    Crystal,
    material,
)
from sim_hardware.world.nuclides import (
    ELEMENTS,
    RECOIL_NUCLIDES,
    U_MEV,
    max_recoil_ev,
    molar_mass_g,
)
from sim_hardware.world.physical import UnphysicalError

T_K = 0.010
PRINTED = 0.0035  # the proposal prints three digits and rounds on the way

# C/T³ of 1 g as the proposal prints it, and with the digits it was rounded from
PER_GRAM = {
    "Ge": (5.1e-7, 5.090e-7),
    "Zn": (8.5e-7, 8.501e-7),
    "Al2O3": (1.7e-8, 1.691e-8),
    "CaWO4": (1.8e-7, 1.796e-7),
    "Pb": (8.1e-6, 8.105e-6),
    "W": (1.7e-7, 1.652e-7),
    "PbWO4": (3.2e-7, 3.209e-7),
}


def crystal(name: str = "CaWO4", mass_g: float = 0.75, n_atoms: int = 1) -> Crystal:
    return Crystal(material=MATERIALS[name], mass_g=mass_g, n_atoms=n_atoms)


def test_the_constant_of_debyes_law_is_the_proposals_1944():
    assert pytest.approx(1944, rel=1.3e-4) == DEBYE_J_PER_MOL_K


@pytest.mark.parametrize("name", MATERIALS)
def test_heat_capacity_of_a_gram_is_the_proposals(name):
    printed, digits = PER_GRAM[name]
    found = crystal(name, 1.0).a_j_per_k4
    assert float(f"{found:.1e}") == printed
    assert found == pytest.approx(digits, rel=1e-3)


def test_heat_capacity_of_half_a_gram_of_lead_tungstate():
    assert crystal("PbWO4", 0.5).heat_capacity_j_per_k(T_K) == pytest.approx(1.60e-13, rel=PRINTED)


@pytest.mark.parametrize(
    ("name", "mass_g", "energy_ev", "printed_uk"),
    [
        ("CaWO4", 0.75, 20, 23.75),
        ("CaWO4", 0.75, 100, 118.78),
        ("CaWO4", 1.0, 20, 17.81),
        ("W", 2.42, 20, 7.99),
    ],
)
def test_temperature_rises_are_the_proposals(name, mass_g, energy_ev, printed_uk):
    rise_uk = 1e6 * crystal(name, mass_g).linear_rise_k(energy_ev, T_K)
    assert rise_uk == pytest.approx(printed_uk, rel=PRINTED)


def test_with_the_proposals_rounded_constants_its_rises_come_out_to_every_digit():
    as_proposed = (1.6e-19 / EV_J) * (DEBYE_J_PER_MOL_K / 1944)
    rise_uk = 1e6 * crystal().linear_rise_k(100, T_K) * as_proposed
    assert f"{rise_uk:.2f}" == "118.78"


@pytest.mark.parametrize(("t_mk", "rise_uk"), [(8, 46.5), (15, 7.05), (20, 2.97)])
def test_the_rise_falls_with_the_third_power_of_temperature(t_mk, rise_uk):
    assert 1e6 * crystal().linear_rise_k(20, 1e-3 * t_mk) == pytest.approx(rise_uk, rel=2e-3)


@pytest.mark.parametrize(
    ("energy_ev", "rise_uk"), [(20, 23.70), (100, 116.88), (1000, 1022), (5900, 3968)]
)
def test_the_exact_rise_stores_the_energy_in_a_growing_capacity(energy_ev, rise_uk):
    assert 1e6 * crystal().exact_rise_k(energy_ev, T_K) == pytest.approx(rise_uk, rel=5e-4)


@given(energy_ev=st.floats(1e-3, 1e6), t_mk=st.floats(1, 100), mass_g=st.floats(1e-3, 1e3))
def test_the_exact_rise_takes_up_the_energy(energy_ev, t_mk, mass_g):
    piece, t_k = crystal(mass_g=mass_g), 1e-3 * t_mk
    rise = piece.exact_rise_k(energy_ev, t_k)
    # ∫ a T³ dT, written so that nothing cancels
    taken_j = piece.a_j_per_k4 / 4 * rise * (2 * t_k + rise) * (t_k**2 + (t_k + rise) ** 2)
    assert taken_j == pytest.approx(energy_ev * EV_J, rel=1e-9)
    assert rise <= piece.linear_rise_k(energy_ev, t_k) * (1 + 1e-12)


def test_all_atoms_of_the_formula_make_the_capacity_six_times_as_large():
    cawo4 = material("CaWO4")
    assert {name: each.atoms for name, each in MATERIALS.items()} == {
        "Ge": 1, "Zn": 1, "Al2O3": 5, "CaWO4": 6, "Pb": 1, "W": 1, "PbWO4": 6,
    }  # fmt: skip
    all_atoms = crystal(n_atoms=cawo4.atoms)
    assert all_atoms.heat_capacity_j_per_k(T_K) == pytest.approx(8.08e-13, rel=1e-3)
    assert 1e6 * all_atoms.linear_rise_k(20, T_K) == pytest.approx(3.96, rel=2e-3)


def test_cubes_have_the_size_of_the_crystals():
    assert crystal().edge_mm == pytest.approx(5.0, abs=0.05)
    assert crystal("PbWO4", 1.0).edge_mm == pytest.approx(4.94, abs=0.005)  # printed as 5.0
    assert crystal("W", 2.42).edge_mm == pytest.approx(5.0, abs=0.05)


# the proposal's masses, A · 931.45 + Δ of the atom, and largest recoils for 3 MeV
RECOILS = {
    "Ge-73": (67924.55, 265.0),
    "Mo-96": (89330.405, 201.5),
    "W-184": (171341.10, 105.1),
    "Pb-207": (192787.70, 93.3),
    "Zn-64": (59546.8, 302.2),
    "Cd-114": (106095.28, 169.7),
}


@pytest.mark.parametrize("name", RECOILS)
def test_largest_recoils_are_the_proposals(name):
    atomic_mev, recoil_ev = RECOILS[name]
    nuclide = RECOIL_NUCLIDES[name]
    assert nuclide.excess_mev == pytest.approx(atomic_mev - 931.45 * nuclide.a, abs=0.01)
    assert max_recoil_ev(3.0, nuclide.nuclear_mass_mev) == pytest.approx(recoil_ev, rel=1e-3)


def test_natural_elements_are_whole_and_have_their_standard_weights():
    standard = {
        "O": 15.999, "Al": 26.9815, "Ca": 40.078, "Zn": 65.38, "Ge": 72.63, "W": 183.84, "Pb": 207.2
    }  # fmt: skip
    for element, weight in standard.items():
        assert sum(each.abundance for each in ELEMENTS[element]) == pytest.approx(1, abs=2e-4)
        assert molar_mass_g(((element, 1),)) == pytest.approx(weight, rel=3e-4)


def test_a_nucleus_is_its_atom_without_electrons():
    tungsten = RECOIL_NUCLIDES["W-184"]
    assert tungsten.atomic_mass_u * U_MEV - tungsten.nuclear_mass_mev == pytest.approx(
        37.81, abs=0.01
    )


def test_the_molar_masses_are_natural_but_for_the_proposals_germanium():
    for each in MATERIALS.values():
        tolerance = 6e-3 if each.name == "Ge" else 4e-4
        assert molar_mass_g(each.formula) == pytest.approx(each.molar_mass_g, rel=tolerance)


@pytest.mark.parametrize("mass_g", [0.0, -1.0, nan, inf])
def test_a_mass_that_cannot_be_is_refused(mass_g):
    with pytest.raises(UnphysicalError, match=r"mass_g: expected 1e-06 to 1e\+06, found"):
        crystal(mass_g=mass_g)


@pytest.mark.parametrize("n_atoms", [0, -6, 101])
def test_a_formula_without_atoms_is_refused(n_atoms):
    with pytest.raises(UnphysicalError, match=r"n_atoms: expected 1 to 100 .*, found"):
        crystal(n_atoms=n_atoms)


@pytest.mark.parametrize("t_k", [0.0, -0.01, nan, 7.0])
def test_a_temperature_outside_the_t3_law_is_refused(t_k):
    with pytest.raises(UnphysicalError, match=r"t_k: expected 1e-06 to 6\.7 .*T³ law.*, found"):
        crystal().heat_capacity_j_per_k(t_k)


def test_an_energy_that_ends_the_t3_law_is_refused():
    with pytest.raises(UnphysicalError, match=r"t_k after the energy: expected .*T³ law"):
        crystal().exact_rise_k(1e15, T_K)


@pytest.mark.parametrize("energy_ev", [-1.0, nan, inf])
def test_an_energy_that_cannot_be_is_refused(energy_ev):
    with pytest.raises(UnphysicalError, match="energy_ev: expected 0 to"):
        crystal().linear_rise_k(energy_ev, T_K)


def test_an_unknown_material_is_refused_with_those_known():
    with pytest.raises(UnphysicalError, match=r"expected one of Ge, Zn, .*, found NaI"):
        material("NaI")


@pytest.mark.parametrize(("neutrino_mev", "mass_mev"), [(-1.0, 1e5), (nan, 1e5), (3.0, 0.0)])
def test_recoils_of_nothing_are_refused(neutrino_mev, mass_mev):
    with pytest.raises(UnphysicalError, match="expected"):
        max_recoil_ev(neutrino_mev, mass_mev)
