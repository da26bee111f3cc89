"""Uranium, thorium and what neutrons do: what is tagged by a veto or by a second crystal."""

from __future__ import annotations

from dataclasses import dataclass

from sim_hardware.world.array import DetectorArray, Line, isotropic, within
from sim_hardware.world.particles import Deposit, Rng, pick
from sim_hardware.world.spectra import beta, compton, cumulated

# external gammas [eV] and how many of each, round figures: the lines of U, Th and 40K one sees
GAMMAS_EV = (238.6e3, 351.9e3, 583.2e3, 609.3e3, 911.2e3, 1120.3e3, 1460.8e3, 1764.5e3, 2614.5e3)
GAMMA_SHARES = cumulated((0.08, 0.10, 0.09, 0.14, 0.09, 0.08, 0.22, 0.09, 0.11))
ABSORBED = 0.3  # of the gammas in the outer veto, wholly; the others scatter once and leave
NODE_EV = 100e3  # from spectrum to spectrum of what was scattered before
SECOND_CRYSTAL = 0.15  # of those that scattered in one and whose way meets another

LEAD210 = (((17.0e3, 83), 0.84), ((63.5e3, 83), 0.16))  # beta end point and daughter, share
BISMUTH210 = (1162e3, 84)
ALPHA_EV, RECOIL_EV = 5304.3e3, 103.1e3  # of 210Po, and of the 206Pb that it leaves

NEUTRON_RECOIL_EV = 10e3  # mean of an exponential
NEUTRON_TAGGED, NEUTRON_S, NEUTRON_GAMMA_EV = 0.9, 5e-6, (0.5e6, 7e6)
NEUTRON_SECOND = 0.3

CAPTURE_RECOIL_EV, CAPTURE_GAMMA_EV, CAPTURE_TAGGED = 112.45, 6191e3, 0.9  # by 182W


@dataclass(frozen=True, slots=True, kw_only=True)
class Gammas:
    """From outside: all are seen by the outer veto, a few scatter in crystals on their way."""

    array: DetectorArray
    rate_hz: float
    target_share: float
    kind: str = "gamma"

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """What the gamma leaves in crystals, and the rest of it in the outer veto."""
        del true_s
        energy_ev, found = GAMMAS_EV[pick(rng, GAMMA_SHARES)], []
        if self.array.targets and rng.random() < self.target_share:
            for which in _met(rng, self.array, SECOND_CRYSTAL):
                left_ev = _scattered(rng, energy_ev)
                found.append(Deposit(0.0, self.array.targets[which], left_ev))
                energy_ev -= left_ev
        return [*found, *_outer(rng, self.array, energy_ev)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """210Pb and its daughters between a crystal and the silicon: each sees a part."""

    array: DetectorArray
    rate_hz: float
    kind: str = "surface"

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """One of the three decays, which are in equilibrium, in a crystal and a sheet."""
        del true_s
        crystal_ev, silicon_ev = (_lead, _bismuth, _polonium)[int(3 * rng.random())](rng)
        target = self.array.targets[pick(rng, self.array.cumulated_mass)]
        sheet = self.array.sheet_channel(int(6 * rng.random()))
        tag = [Deposit(0.0, sheet, silicon_ev)] if sheet else []
        return [Deposit(0.0, target, crystal_ev), *tag]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neutrons:
    """Fast ones: a recoil in a crystal or in two, and later a gamma in the outer veto."""

    array: DetectorArray
    rate_hz: float
    kind: str = "neutron"

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """Recoils at once, the tag some microseconds later."""
        del true_s
        found = [
            Deposit(0.0, self.array.targets[which], NEUTRON_RECOIL_EV * rng.standard_exponential())
            for which in _met(rng, self.array, NEUTRON_SECOND)
        ]
        if self.array.cwo and rng.random() < NEUTRON_TAGGED:
            delay_s = min(0.5, NEUTRON_S * rng.standard_exponential())
            low, high = NEUTRON_GAMMA_EV
            channel = self.array.cwo[int(len(self.array.cwo) * rng.random())]
            found.append(Deposit(delay_s, channel, low + (high - low) * rng.random()))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Captures:
    """Of neutrons by 182W: the nucleus recoils from the one gamma, which leaves the crystal."""

    array: DetectorArray
    rate_hz: float
    kind: str = "capture"

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """Always the same recoil, and most often a part of the gamma outside."""
        del true_s
        target = self.array.targets[pick(rng, self.array.cumulated_mass)]
        seen = rng.random() < CAPTURE_TAGGED
        tag = _outer(rng, self.array, CAPTURE_GAMMA_EV) if seen else []
        return [Deposit(0.0, target, CAPTURE_RECOIL_EV), *tag]


def _met(rng: Rng, array: DetectorArray, again: float) -> list[int]:
    """The crystal that something scatters in, and at times the next one on its way from there."""
    first = pick(rng, array.cumulated_mass)
    point = within(rng, array.centers[first], float(array.sides_cm[first]))
    onward = array.through_targets(Line(point=point, along=isotropic(rng), half=True))
    others = [which for _, which, _ in onward if which != first]
    return [first, others[0]] if others and rng.random() < again else [first]


def _outer(rng: Rng, array: DetectorArray, energy_ev: float) -> list[Deposit]:
    """A gamma in the outer veto: absorbed, or scattered once."""
    if not array.cwo:
        return []
    channel = array.cwo[int(len(array.cwo) * rng.random())]
    left_ev = energy_ev if rng.random() < ABSORBED else _scattered(rng, energy_ev)
    return [Deposit(0.0, channel, left_ev)]


def _scattered(rng: Rng, energy_ev: float) -> float:
    """What is left where a gamma scatters once."""
    if energy_ev in GAMMAS_EV:
        return compton(energy_ev).draw(rng)
    # by the spectrum of the nearest of some energies, so that each is made once
    node_ev = NODE_EV * max(1, round(energy_ev / NODE_EV))
    return compton(node_ev).draw(rng) * energy_ev / node_ev


def _lead(rng: Rng) -> tuple[float, float]:
    (end, _), (other, _) = LEAD210
    return _split(rng, beta(*(end if rng.random() < LEAD210[0][1] else other)).draw(rng))


def _bismuth(rng: Rng) -> tuple[float, float]:
    return _split(rng, beta(*BISMUTH210).draw(rng))


def _polonium(rng: Rng) -> tuple[float, float]:
    """The alpha to one side, the recoil to the other."""
    return (ALPHA_EV, RECOIL_EV) if rng.random() < 0.5 else (RECOIL_EV, ALPHA_EV)


def _split(rng: Rng, energy_ev: float) -> tuple[float, float]:
    """An electron that is scattered back shares its energy."""
    crystal = rng.random()
    return crystal * energy_ev, (1 - crystal) * energy_ev
