"""What hits the detectors, and when: any second of true time can be generated alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import count
from math import ceil, floor
from operator import attrgetter
from typing import NamedTuple, Protocol
from zlib import crc32

import numpy as np

from sim_hardware.world.physical import within

EVENT_BITS = 32  # of an event's number, below those of its second
ELSEWHERE = 1 << 62  # events that are numbered by others than Particles begin here
MOST_HZ = 1e5  # particles that one origin may give: a second of more takes too long

Rng = np.random.Generator


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """An energy left in one channel, `true_s` after the bench's start.

    Hits of one particle have the same `event`, a number that no other particle has.
    """

    true_s: float
    channel: str
    energy_ev: float
    kind: str
    event: int = 0


class Truth(Protocol):
    """What happens in the detectors."""

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        """All hits in [start_s, stop_s), in the order of time."""


class Deposit(NamedTuple):
    """What a particle leaves in one channel, `delay_s` after its time: 0 to less than 1 s."""

    delay_s: float
    channel: str
    energy_ev: float


class Origin(Protocol):
    """Something that particles come from, at random."""

    @property
    def kind(self) -> str:
        """What the truth calls its hits; no two origins have the same."""

    @property
    def rate_hz(self) -> float:
        """How many particles per second."""

    def deposits(self, rng: Rng, true_s: float) -> Sequence[Deposit]:
        """What one particle leaves; nothing where it misses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """All origins, or those of the kinds, give `factor` times as much in [start_s, stop_s)."""

    start_s: float
    stop_s: float
    factor: float
    kinds: frozenset[str] | None = None

    def excess(self, origin: Origin) -> float:
        """Particles per second that come on top."""
        concerned = self.kinds is None or origin.kind in self.kinds
        return (self.factor - 1) * origin.rate_hz if concerned else 0.0


class Particles:
    """Every hit there ever is, as a function of the seed and of the second.

    What one origin gives does not depend on the others, but for the numbers of events.
    """

    def __init__(self, seed: int, origins: Sequence[Origin], surges: Sequence[Surge] = ()) -> None:
        """UnphysicalError where there would be too many to make them in time."""
        for origin in origins:
            _check_rate(origin, surges)
        self._seed, self._surges = seed, tuple(surges)
        self._origins = tuple(origins)
        self._keys = [crc32(origin.kind.encode()) for origin in origins]
        self.second = lru_cache(maxsize=64)(self._second)

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        """All hits in [start_s, stop_s), in the order of time."""
        # a deposit may lie in the second after its particle's
        seconds = range(max(0, floor(start_s) - 1), ceil(stop_s))
        hits = (hit for second in seconds for hit in self.second(second))
        return sorted((h for h in hits if start_s <= h.true_s < stop_s), key=_when)

    def _second(self, second: int) -> tuple[Hit, ...]:
        """The hits of what happens within one second; `second` is this, remembered."""
        return tuple(sorted(self._generated(second), key=_when))

    def _generated(self, second: int) -> Iterator[Hit]:
        numbers, events = _Numbers(self._seed, second), count(second << EVENT_BITS)
        for origin, key in zip(self._origins, self._keys, strict=True):
            if origin.rate_hz > 0:
                rng = numbers.of(key)
                times = second + rng.random(rng.poisson(origin.rate_hz))
                yield from _hits(origin, rng, times.tolist(), events)
        for order, surge in enumerate(self._surges, start=1):
            if surge.start_s < second + 1 and surge.stop_s > second:
                yield from self._surging(numbers, second, surge, order, events)

    def _surging(
        self, numbers: _Numbers, second: int, surge: Surge, order: int, events: Iterator[int]
    ) -> Iterator[Hit]:
        for origin, key in zip(self._origins, self._keys, strict=True):
            rate_hz = surge.excess(origin)
            if rate_hz > 0:
                rng = numbers.of(key, order)
                times = second + rng.random(rng.poisson(rate_hz))
                kept = times[(times >= surge.start_s) & (times < surge.stop_s)]
                yield from _hits(origin, rng, kept.tolist(), events)


class Merged:
    """Several truths as one; each keeps the numbers of its events to itself."""

    def __init__(self, *truths: Truth) -> None:
        self._truths = truths

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        """All hits in [start_s, stop_s), in the order of time."""
        return list(merge(*(each.truth(start_s, stop_s) for each in self._truths), key=_when))


class _Numbers:
    """Random numbers of one second: an independent sequence for each key."""

    def __init__(self, seed: int, second: int) -> None:
        self._bits = np.random.Philox(counter=[0, 0, 0, second], key=[seed, 0])
        self._rng = np.random.Generator(self._bits)
        self._fresh = self._bits.state

    def of(self, key: int, order: int = 0) -> Rng:
        """The sequence of a key from its beginning; ends the one that was had before."""
        state = self._fresh
        state["state"]["key"][1] = key
        state["state"]["counter"][2] = order
        self._bits.state = state  # ten times faster than a generator of its own
        return self._rng


def pick(rng: Rng, cumulated: Sequence[float] | np.typing.NDArray[np.float64]) -> int:
    """An index, each with its share; `cumulated` are the sums of the shares up to 1."""
    return min(int(np.searchsorted(cumulated, rng.random(), side="right")), len(cumulated) - 1)


_when: Callable[[Hit], float] = attrgetter("true_s")


def _check_rate(origin: Origin, surges: Sequence[Surge]) -> None:
    most_hz = origin.rate_hz + sum(surge.excess(origin) for surge in surges)
    within(f"particles a second of kind {origin.kind}", most_hz, 0, MOST_HZ, "storms included")


def _hits(origin: Origin, rng: Rng, times: Sequence[float], events: Iterator[int]) -> Iterator[Hit]:
    for true_s in times:
        event = next(events)
        for delay_s, channel, energy_ev in origin.deposits(rng, true_s):
            yield Hit(true_s + delay_s, channel, energy_ev, origin.kind, event)
