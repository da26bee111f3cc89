"""Coherent elastic scattering of reactor antineutrinos: how often, and with which recoil.

dsigma/dT = G_F²/(4π) Q_W² M (1 - MT/2E²) F²(q), Q_W = N - (1 - 4 sin²θ_W) Z. T is the recoil
of a nucleus of mass M that a neutrino of energy E has hit. F is Helm's form factor with the
parameters of Lewin and Smith, Astropart. Phys. 6, 87 (1996), or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from sim_hardware.world.materials import LEAST_G, MOST_G, Material
from sim_hardware.world.nuclides import ELEMENTS, molar_mass_g
from sim_hardware.world.physical import UnphysicalError, within
from sim_hardware.world.reactor import (
    CAPTURES,
    END_MEV,
    FIT_END_MEV,
    ISOTOPES,
    SPLICE_MEV,
    Emission,
    Floats,
    Reactor,
    edges,
    fitted,
    legendre,
    spliced,
    vogel_engel,
)

FERMI_PER_MEV2 = 1.1663788e-11  # G_F = 1.1663788e-5 / GeV²
HBARC_MEV_FM = 197.3269804
MEV2_CM2 = HBARC_MEV_FM**2 * 1e-26  # (ħc)²
WEAK_CHARGE_OF_PROTON = 0.0454  # 1 - 4 sin²θ_W with sin²θ_W = 0.23865, at low momentum
AVOGADRO = 6.02214076e23
DAY_S = 86400.0
MOST_RECOIL_EV = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatterer:
    """One kind of nucleus in a target."""

    element: str
    z: int
    n: int
    mass_mev: float
    per_gram: float

    def cross_section_cm2_per_mev(self, recoil_mev: Floats, energy_mev: Floats) -> Floats:
        """Pointlike dsigma/dT; 0 where the recoil is beyond reach."""
        charge = self.n - WEAK_CHARGE_OF_PROTON * self.z
        strength = FERMI_PER_MEV2**2 * charge**2 * self.mass_mev * MEV2_CM2 / (4 * pi)
        reach = 1 - self.mass_mev * recoil_mev / (2 * energy_mev**2)
        return strength * np.maximum(reach, 0.0)

    def form_factor_squared(self, recoil_mev: Floats) -> Floats:
        """Helm's F²: 1 at recoil 0."""
        momentum = np.sqrt(2 * self.mass_mev * recoil_mev) / HBARC_MEV_FM  # 1/fm
        skin, a = 0.9, 0.52
        c = 1.23 * (self.z + self.n) ** (1 / 3) - 0.60
        y = momentum * sqrt(c**2 + 7 / 3 * pi**2 * a**2 - 5 * skin**2)
        return (_sphere(y) * np.exp(-((momentum * skin) ** 2) / 2)) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RateModel:
    """A choice of everything that the experimenter does not set, and its reasons in words."""

    emission: Emission
    scatterers: Callable[[Material], tuple[Scatterer, ...]]
    helm: bool
    chosen: tuple[str, ...]

    def assumptions(self) -> tuple[str, ...]:
        """What the model takes for granted, a sentence each."""
        emission = self.emission
        shares = zip(emission.fractions, ISOTOPES, strict=True)
        form = "Helm's form factor" if self.helm else "no form factor: F = 1"
        return (
            *self.chosen,
            f"fission fractions {', '.join(f'{share:g} {name}' for share, name in shares)}",
            f"{emission.mev_per_fission:.2f} MeV per fission",
            f"spectra fitted to {FIT_END_MEV:g} MeV go on to {END_MEV:g} MeV and end there",
            f"{emission.per_fission():.2f} antineutrinos per fission",
            f"{form}; 1 - 4 sin²θ_W = {WEAK_CHARGE_OF_PROTON}",
            "a point-like core at full power all day, no oscillation",
            "every recoil above the threshold is seen, none below",
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """Events a day above a threshold."""

    by_element: dict[str, float]

    @property
    def per_day(self) -> float:
        """The sum over the elements."""
        return sum(self.by_element.values())


def rate(
    model: RateModel, reactor: Reactor, target: Material, *, mass_g: float, threshold_ev: float
) -> Rate:
    """Recoils above the threshold in a mass of the target."""
    within("mass_g", mass_g, LEAST_G, MOST_G)
    least_mev = within("threshold_ev", threshold_ev, 0, MOST_RECOIL_EV) * 1e-6
    fissions = DAY_S * reactor.fissions_per_cm2_s(model.emission.mev_per_fission)
    by_element: dict[str, float] = {}
    for each in model.scatterers(target):
        events = mass_g * each.per_gram * fissions * _cm2_per_fission(model, each, least_mev)
        by_element[each.element] = by_element.get(each.element, 0.0) + events
    return Rate(by_element)


def differential_rate(
    model: RateModel, reactor: Reactor, target: Material, recoil_ev: Floats
) -> Floats:
    """Events per kg, keV and day at each recoil energy."""
    nuclei = model.scatterers(target)

    def per_fission(t_ev: float) -> float:
        t_mev = within("recoil_ev", t_ev, 1e-6, MOST_RECOIL_EV) * 1e-6
        return sum(_at(model, each, t_mev) for each in nuclei)

    fissions = DAY_S * reactor.fissions_per_cm2_s(model.emission.mev_per_fission)
    return fissions * np.array([per_fission(float(t)) for t in recoil_ev])  # 1/(kg keV) = 1/(g MeV)


def rate_model(name: str) -> RateModel:
    """The model of that name."""
    if name not in MODELS:
        raise UnphysicalError(f"model: expected one of {', '.join(MODELS)}, found {name}")
    return MODELS[name]


def natural(target: Material) -> tuple[Scatterer, ...]:
    """Every isotope of every element, in natural abundance."""
    per_gram = AVOGADRO / molar_mass_g(target.formula)
    return tuple(
        Scatterer(
            element=element,
            z=nuclide.z,
            n=nuclide.n,
            mass_mev=nuclide.nuclear_mass_mev,
            per_gram=per_gram * count * nuclide.abundance,
        )
        for element, count in target.formula
        for nuclide in ELEMENTS[element]
    )


def proposed(target: Material) -> tuple[Scatterer, ...]:
    """What the proposal's event slide counts: the tungsten in CaWO4, as one nuclide."""
    if target.name != "CaWO4":
        raise UnphysicalError(
            "target: expected CaWO4, the only one of the proposal's event estimate (the model"
            f" best knows the others), found {target.name}"
        )
    per_gram = AVOGADRO / target.molar_mass_g
    return (Scatterer(element="W", z=74, n=110, mass_mev=1.715e5, per_gram=per_gram),)


_NATURAL = "all elements of the target, natural isotopes, nuclear masses"
_DAYA_BAY = (0.561, 0.076, 0.307, 0.056)
_TEXONO = (0.55, 0.07, 0.32, 0.06)

MODELS = {
    "best": RateModel(
        emission=Emission(spectrum=spliced, fractions=_DAYA_BAY, captures=CAPTURES),
        scatterers=natural,
        helm=True,
        chosen=(
            f"spectra of Huber and Mueller (2011) from {SPLICE_MEV:g} MeV,"
            " of Vogel and Engel's table (1989) below",
            f"{CAPTURES:g} neutrons captured by 238U per fission, each with two antineutrinos"
            " below 1.26 MeV",
            _NATURAL,
        ),
    ),
    "proposal": RateModel(
        emission=Emission(spectrum=vogel_engel, fractions=_TEXONO),
        scatterers=proposed,
        helm=False,
        chosen=(
            "spectra by Vogel and Engel's exponentials (1989) at all energies: inferred, as the"
            " proposal's text does not name its flux model",
            "tungsten only, as on the proposal's event slide: Z = 74, N = 110, M = 171.5 GeV",
        ),
    ),
    "fitted": RateModel(
        emission=Emission(spectrum=fitted, fractions=_DAYA_BAY, stated_mev_per_fission=205.3),
        scatterers=natural,
        helm=False,
        chosen=(
            f"spectra of Huber and Mueller (2011), only above {SPLICE_MEV:g} MeV where they were"
            " fitted: the other reading of the proposal's figure",
            _NATURAL,
        ),
    ),
}


def _sphere(y: Floats) -> Floats:
    """3 j₁(y)/y, by its series where the differences would cancel."""
    safe = np.maximum(y, 1e-2)
    return np.where(y < 1e-2, 1 - y**2 / 10, 3 * (np.sin(safe) - safe * np.cos(safe)) / safe**3)


def _visible(model: RateModel, scatterer: Scatterer, recoil: Floats, energy: Floats) -> Floats:
    form = scatterer.form_factor_squared(recoil) if model.helm else 1.0
    return form * scatterer.cross_section_cm2_per_mev(recoil, energy)


def _cm2_per_fission(model: RateModel, scatterer: Scatterer, least_mev: float) -> float:
    """Antineutrinos per fission times their cross section for recoils above the least."""
    lowest = sqrt(scatterer.mass_mev * least_mev / 2)
    if lowest >= END_MEV:
        return 0.0
    energy, weight = legendre(edges(lowest))
    nodes, weights = legendre(np.array([0.0, 1.0]))
    span = 2 * energy[:, None] ** 2 / scatterer.mass_mev - least_mev
    inner = span * _visible(model, scatterer, least_mev + span * nodes, energy[:, None]) @ weights
    return float((weight * model.emission.per_mev(energy)) @ inner)


def _at(model: RateModel, scatterer: Scatterer, recoil_mev: float) -> float:
    """Antineutrinos per fission times dsigma/dT at a recoil, times nuclei per gram."""
    lowest = sqrt(scatterer.mass_mev * recoil_mev / 2)
    if lowest >= END_MEV:
        return 0.0
    energy, weight = legendre(edges(lowest))
    section = _visible(model, scatterer, np.array(recoil_mev), energy)
    return float((weight * model.emission.per_mev(energy)) @ section) * scatterer.per_gram
