"""From a cold SQUID to a locked one, with proof: identify, V-phi, lock point, lock, proof.

Each procedure works over any electronics that offers what it needs under the common names (SI
units); what it only can use (a heater, the second stage) it asks for first. A step that does not
pass is a StepFailedError that says what was expected and what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from daq.readout.electronics import LOCKED, Chain, Identified, hold, identify
from daq.readout.procedures import begin, end, offers, take
from daq.readout.requests import Procedure, Value
from daq.readout.squid_curve import Characterized, characterize
from daq.readout.squid_lock import (
    NOISE_S,
    SETTLE_S,
    Locked,
    LockPoint,
    find_lock_point,
    health,
    lock,
    prove,
    white_noise,
)
from daq.readout.steps import fail


@dataclass(frozen=True, slots=True)
class Tuned:
    """A SQUID that is locked, with everything that was found on the way."""

    identified: Identified
    curve: Characterized
    point: LockPoint
    locked: Locked


def tune_squid(at: str, chain: Chain) -> Procedure[Tuned]:
    """All steps for one channel; StepFailedError for the first that does not pass."""
    identified = yield from identify(at)
    curve = yield from characterize(at, chain, identified)
    point = yield from find_lock_point(at, curve)
    locked = yield from lock(at, curve, point)
    proven = yield from prove(at, curve, locked)
    return Tuned(identified, curve, point, proven)


def verify(at: str, locked: Locked, meant: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    """At the end: everything is held as it was set, and the output lives; what is held."""
    expected = "everything held as it was set, and a living output within its range"
    yield from begin(at, "verify", expected)
    offered = yield from offers(at)
    held = yield from hold(at, offered)
    seen = yield from take(at, NOISE_S, SETTLE_S)
    other = [name for name, value in meant.items() if held.get(name) != value]
    problem = health(seen)
    if held["mode"] != LOCKED:
        problem = "an open loop"
    if other:
        name = other[0]
        problem = f"{name} at {held.get(name)!r} where {meant[name]!r} was set"
    values = {
        "output_v": float(seen.volts.mean()),
        "std_v": float(seen.volts.std()),
        "flux_noise_phi0_rthz": white_noise(seen) / locked.volts_per_phi0,
    }
    if problem:
        yield from fail(at, "verify", expected, problem, values=values)
    yield from end(at, "verify", passed=True, values=values)
    return held
