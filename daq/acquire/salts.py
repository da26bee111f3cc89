"""Salts: pulses of known energy that software adds to a channel's stream before its triggers.

When they come, and with which energy, depends on seed, channel and sample alone, so nothing of
them is remembered. What they add is rounded with a random share of a count, so that it is right
on average also where it is less than one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daq.acquire.chance import Poisson, Uniform
from daq.acquire.kernels import I16
from daq.model.channel import Channel

RAIL = np.iinfo(np.int16)


class Salt(NamedTuple):
    """One pulse: where its trigger sample stands (record sample), and how high it is [counts]."""

    sample: int
    energy_ev: float
    height: float


class Salter:
    """The salts of one channel; all positions are record samples."""

    def __init__(self, channel: Channel, seed: int) -> None:
        salting = channel.salting
        self._poisson: Poisson | None = None
        if salting is None:
            return
        rate = salting.rate_hz / channel.record_rate_hz
        self._poisson = Poisson(seed, channel.name, "salt", rate)
        self._energy = Uniform(seed, channel.name, "salt energy")
        self._round = Uniform(seed, channel.name, "salt rounding")
        self._salting = salting
        self._template = np.frombuffer(salting.template, "<f4").astype(np.float64)
        self._before = salting.pretrigger
        self._after = self._template.size - salting.pretrigger

    @property
    def active(self) -> bool:
        """Whether there are any."""
        return self._poisson is not None

    @property
    def near(self) -> int:
        """A trigger within so many samples of a salt is the salt's."""
        return self._salting.near if self.active else 0

    def between(self, start: int, stop: int) -> list[Salt]:
        """Those at samples [start, stop)."""
        if self._poisson is None:
            return []
        return [self._salt(sample) for sample in self._poisson.between(start, stop)]

    def beside(self, start: int, stop: int) -> list[Salt]:
        """Those whose pulses reach into samples [start, stop)."""
        return self.between(start - self._after + 1, stop + self._before) if self.active else []

    def of(self, sample: int) -> Salt | None:
        """The salt that a trigger at this sample is of."""
        found = self.between(sample - self.near, sample + self.near + 1)
        return min(found, key=lambda salt: abs(salt.sample - sample), default=None)

    def span(self, salt: Salt, pretrigger: int, length: int) -> tuple[int, int]:
        """Triggers [start, stop) whose records the salt's pulse reaches into."""
        start = salt.sample - self._before + pretrigger - length + 1
        return start, salt.sample + self._after + pretrigger

    def add(self, samples: I16, first: int) -> I16:
        """The samples from `first` on with the salts in them."""
        salts = self.beside(first, first + samples.size)
        if not salts:
            return samples
        result = samples.astype(np.int32)
        for salt in salts:
            begin = salt.sample - self._before
            a, b = max(begin, first), min(begin + self._template.size, first + samples.size)
            result[a - first : b - first] += self._counts(salt)[a - begin : b - begin]
        return np.clip(result, RAIL.min, RAIL.max).astype(np.int16)

    def _counts(self, salt: Salt) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        shares = self._round.of_chunk(salt.sample, self._template.size)
        return np.floor(salt.height * self._template + shares).astype(np.int32)

    def _salt(self, sample: int) -> Salt:
        s = self._salting
        which = int(self._energy.of_chunk(sample, 1)[0] * len(s.energies_ev))
        return Salt(sample, s.energies_ev[which], s.heights[which])
