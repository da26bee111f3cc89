"""The proof that a channel is locked, from its samples alone: by the guard's own rules."""

from __future__ import annotations

from daq.acquire.guard import Guard, GuardHit
from daq.acquire.intervals import Intervals
from daq.acquire.kernels import I16
from daq.model.channel import Guarding
from daq.model.record import HitKind

FOUND = {
    HitKind.JUMP: "the lock slips",
    HitKind.STORM: "the lock slips again and again",
    HitKind.RAIL: "the output is at the end of its range",
    HitKind.FROZEN: "the samples do not change",
    HitKind.NOISE: "the noise is {size:.1f} counts rms, outside {noise_low:g} to {noise_high:g}",
    HitKind.BASELINE: "the baseline is at {size:.0f} counts, outside {baseline_low:g} to "
    "{baseline_high:g}",
}


def doubts(samples: I16, guarding: Guarding, rate_hz: float) -> list[str]:
    """What speaks against a lock in contiguous samples as digitized; nothing: it is proven."""
    dead = {cause: Intervals() for cause in ("saturated", "unlocked", "guard", "jump")}
    guard = Guard(guarding, rate_hz, Guard.at(0), dead)
    guard.feed(samples)
    guard.finish()
    return list(dict.fromkeys(_sentence(hit, guarding) for hit in guard.take()))


def _sentence(hit: GuardHit, c: Guarding) -> str:
    return FOUND[HitKind(hit.kind)].format(
        size=hit.size,
        noise_low=c.noise_low,
        noise_high=c.noise_high,
        baseline_low=c.baseline_low,
        baseline_high=c.baseline_high,
    )
