"""What happens in one crystal alone, without a veto: neutrino recoils and what resembles them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, inf

from sim_hardware.world.array import DetectorArray
from sim_hardware.world.particles import Deposit, Rng, pick
from sim_hardware.world.spectra import Drawn, Floats, beta, cumulated

# One beta each of those that follow 238U and 232Th: (end point [eV], Z of the daughter). Where a
# nucleus has several end points the most frequent one stands for all.
BETAS = (
    (199e3, 91), (2269e3, 92), (672e3, 83), (1542e3, 84), (63.5e3, 83), (1162e3, 84),
    (1158e3, 90), (335e3, 83), (2252e3, 84), (1803e3, 82),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleCrystal:
    """Something that leaves an energy in one crystal, each as often as its share says.

    `rate_hz` is that of the bench's start; 1/e of it is left after `life_s`.
    """

    kind: str
    rate_hz: float
    channels: tuple[str, ...]
    shares: Floats  # cumulated
    energy_ev: Callable[[Rng], float]
    life_s: float = inf

    def deposits(self, rng: Rng, true_s: float) -> list[Deposit]:
        """One, or none of those that are over."""
        if self.life_s < inf and rng.random() > exp(-true_s / self.life_s):
            return []
        channel = self.channels[pick(rng, self.shares)]
        return [Deposit(0.0, channel, self.energy_ev(rng))]


def by_mass(
    kind: str,
    array: DetectorArray,
    per_kg_hz: float,
    energy_ev: Callable[[Rng], float],
    life_s: float = inf,
) -> SingleCrystal:
    """In proportion to the crystals' masses."""
    return SingleCrystal(
        kind=kind,
        rate_hz=per_kg_hz * array.kg,
        channels=array.targets,
        shares=array.cumulated_mass,
        energy_ev=energy_ev,
        life_s=life_s,
    )


def per_channel(
    kind: str, channels: tuple[str, ...], rate_hz: float, energy_ev: Callable[[Rng], float]
) -> SingleCrystal:
    """As often in each of the channels."""
    return SingleCrystal(
        kind=kind,
        rate_hz=rate_hz * len(channels),
        channels=channels,
        shares=cumulated([1.0] * len(channels)) if channels else cumulated([1.0]),
        energy_ev=energy_ev,
    )


def exponential(least_ev: float, mean_ev: float) -> Callable[[Rng], float]:
    """exp(-E/mean) from the least energy on."""
    return lambda rng: least_ev + mean_ev * float(rng.standard_exponential())


def flat(most_ev: float) -> Callable[[Rng], float]:
    """All energies to the most equally often."""
    return lambda rng: most_ev * rng.random()


def drawn(spectrum: Drawn) -> Callable[[Rng], float]:
    """From a spectrum."""
    return spectrum.draw


def lines(energies_ev: tuple[float, ...], strengths: tuple[float, ...]) -> Callable[[Rng], float]:
    """Of lines of these strengths."""
    shares = cumulated(strengths)
    return lambda rng: energies_ev[pick(rng, shares)]


def uranium_and_thorium_betas(rng: Rng) -> float:
    """One of the chains' betas, each as often as the others; the whole electron is stopped."""
    return beta(*BETAS[int(rng.random() * len(BETAS))]).draw(rng)
