"""What hits the detectors, and when: any second of true time can be generated alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor

import numpy as np

MUON_SPREAD_S = 1e-6  # within which one muon is seen everywhere

EXCESS_SHARE, EXCESS_EV = 0.5, 20.0  # exponential low-energy excess; its mean
FLAT_EV = 8000.0
K_ALPHA_EV, K_BETA_EV, K_BETA_SHARE = 5899.0, 6490.0, 0.117 / 1.117
MUON_HITS = (0.7, 0.2, 0.1)  # shares that go through 1, 2, 3 crystals
# mode and width of the energy that a muon leaves (Moyal; mean = mode + 1.27 widths)
MUON_TARGET_EV, MUON_SILICON_EV, MUON_CWO_EV = (3.5e6, 0.55e6), (60e3, 14e3), (78e6, 5e6)
GAMMA_LINES_EV = (1.4608e6, 2.6145e6)  # 40K and 208Tl
GAMMA_SHARES = (0.10, 0.05, 0.85)  # of these, and of the continuum
GAMMA_CONTINUUM_EV = (0.1e6, 2.6e6)

_Rng = np.random.Generator


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """An energy left in one channel, `true_s` after the bench's start."""

    true_s: float
    channel: str
    energy_ev: float
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How often: particles and lines per crystal, muons and gammas in all."""

    particle_hz: float
    line_hz: float
    muon_hz: float
    gamma_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detectors:
    """The channels by what they are."""

    targets: tuple[str, ...]
    silicon: tuple[str, ...] = ()
    cwo: tuple[str, ...] = ()


class Particles:
    """Every hit there ever is, as a function of the seed and of the second."""

    def __init__(self, seed: int, rates: Rates, detectors: Detectors) -> None:
        self._seed, self._detectors = seed, detectors
        n = len(detectors.targets)
        self._kinds: tuple[tuple[float, Callable[[_Rng, float], Iterable[Hit]]], ...] = (
            (n * rates.particle_hz, self._particle),
            (n * rates.line_hz, self._line),
            (rates.muon_hz, self._muon),
            (rates.gamma_hz if detectors.cwo else 0.0, self._gamma),
        )
        self.second = lru_cache(maxsize=64)(self._second)

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        """All hits in [start_s, stop_s), in the order of time."""
        # a hit of a muon may lie in the second after its muon's
        seconds = range(max(0, floor(start_s) - 1), ceil(stop_s))
        hits = (hit for second in seconds for hit in self.second(second))
        return sorted(hit for hit in hits if start_s <= hit.true_s < stop_s)

    def _second(self, second: int) -> tuple[Hit, ...]:
        """The hits of what happens within one second; `second` is this, remembered."""
        return tuple(sorted(self._generated(second)))

    def _generated(self, second: int) -> Iterator[Hit]:
        for number, (rate_hz, hits) in enumerate(self._kinds):
            rng = _rng(self._seed, number, second)
            for true_s in second + rng.uniform(size=rng.poisson(rate_hz)):
                yield from hits(rng, float(true_s))

    def _particle(self, rng: _Rng, true_s: float) -> Iterator[Hit]:
        excess = rng.uniform() < EXCESS_SHARE
        energy_ev = rng.exponential(EXCESS_EV) if excess else rng.uniform(0.0, FLAT_EV)
        yield Hit(true_s, _one_of(rng, self._detectors.targets), energy_ev, "particle")

    def _line(self, rng: _Rng, true_s: float) -> Iterator[Hit]:
        energy_ev = K_BETA_EV if rng.uniform() < K_BETA_SHARE else K_ALPHA_EV
        yield Hit(true_s, _one_of(rng, self._detectors.targets), energy_ev, "line")

    def _muon(self, rng: _Rng, true_s: float) -> Iterator[Hit]:
        """Through neighbors in the order of the targets, and through both vetoes."""
        targets = self._detectors.targets
        n = min(len(targets), 1 + int(rng.choice(len(MUON_HITS), p=MUON_HITS)))
        first = int(rng.integers(len(targets) - n + 1))
        for channels, spectrum in (
            (targets[first : first + n], MUON_TARGET_EV),
            (self._detectors.silicon, MUON_SILICON_EV),
            (self._detectors.cwo, MUON_CWO_EV),
        ):
            for channel in channels:
                at_s = true_s + rng.uniform(0.0, MUON_SPREAD_S)
                yield Hit(at_s, channel, _moyal(rng, *spectrum), "muon")

    def _gamma(self, rng: _Rng, true_s: float) -> Iterator[Hit]:
        energies = (*GAMMA_LINES_EV, rng.uniform(*GAMMA_CONTINUUM_EV))
        energy_ev = energies[int(rng.choice(len(energies), p=GAMMA_SHARES))]
        yield Hit(true_s, _one_of(rng, self._detectors.cwo), energy_ev, "gamma")


def _rng(seed: int, kind: int, second: int) -> _Rng:
    """A generator of its own for each (seed, kind, second)."""
    return np.random.Generator(np.random.Philox(counter=[0, 0, 0, second], key=[seed, kind]))


def _one_of(rng: _Rng, channels: tuple[str, ...]) -> str:
    return channels[int(rng.integers(len(channels)))]


def _moyal(rng: _Rng, mode: float, width: float) -> float:
    """A Moyal deviate, which is -ln z² of a normal z; never below a hundredth of the mode."""
    return float(max(mode / 100, mode - width * np.log(rng.standard_normal() ** 2)))
