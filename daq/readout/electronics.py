"""The electronics of a SQUID channel: what it has, what it holds, and how that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from daq.errors import ScheeliteError
from daq.readout.procedures import average, begin, do, end, get, offers, put
from daq.readout.requests import Offered, Procedure, Value
from daq.readout.steps import fail

NEEDED = ("mode", "bias", "flux", "offset", "feedback")
KEPT_ORDER = (  # as they are put back: with the loop open, ranges before what is in them
    "array_bias", "array_flux", "bias", "flux", "offset", "feedback", "integrator", "tes_range",
    "tes_bias",
)  # fmt: skip
OPEN, LOCKED = "OPEN", "LOCKED"


class Chain(Protocol):
    """What a procedure must know of a detector's wiring; [detectors] of the config has it."""

    @property
    def feedback_a_per_phi0(self) -> float:
        """Current of the flux line that is one quantum, by design."""

    @property
    def squid_bias_a(self) -> tuple[float, float]:
        """Bias currents that may be tried."""

    @property
    def feedback_ohm(self) -> float | None:
        """Feedback resistor to tune with; None for the one that stands."""


@dataclass(frozen=True, slots=True)
class Identified:
    """The electronics of a channel, and what it held when we came."""

    offered: Offered
    held: Mapping[str, Value]


def identify(at: str) -> Procedure[Identified]:
    """Ask what is there and what it holds; bring what nobody knows into a known state."""
    expected = f"the electronics has {', '.join(NEEDED)} and its channel delivers samples"
    yield from begin(at, "identify", expected)
    offered = yield from offers(at)
    missing = [name for name in NEEDED if not offered.has(name)]
    if missing:
        yield from fail(at, "identify", f"the electronics to have {', '.join(missing)}", "none")
    held = yield from known(at, offered)
    seen = yield from average(at, 0.02)
    shadows = sum(1 for offer in offered.values.values() if offer.source == "shadow")
    values = {"output_v": seen.mean_v, "n_values": float(len(held)), "n_shadows": float(shadows)}
    values |= {f"{name}_before": v for name, v in held.items() if isinstance(v, float)}
    yield from end(at, "identify", passed=True, values=values)
    return Identified(offered, held)


def known(at: str, offered: Offered) -> Procedure[dict[str, Value]]:
    """What everything holds; after `initialize` where something was never written."""
    try:
        return (yield from hold(at, offered))
    except ScheeliteError:
        if not offered.has("initialize"):
            raise
    yield from do(at, "initialize")
    return (yield from hold(at, offered))


def hold(at: str, offered: Offered) -> Procedure[dict[str, Value]]:
    """What a channel holds of all that makes its working point."""
    names = [name for name in ("mode", *KEPT_ORDER) if name in offered.values]
    held: dict[str, Value] = {}
    for name in names:
        held[name] = (yield from get(at, name)).value
    return held


def restore(at: str, wanted: Mapping[str, Value]) -> Procedure[dict[str, Value]]:
    """Bring a channel back to what was held once, the loop open meanwhile; what is then held."""
    offered = yield from offers(at)
    unknown = [name for name in wanted if name not in offered.values]
    if unknown:
        raise ScheeliteError(f"{at} has no {unknown[0]}, which was kept")
    yield from known(at, offered)
    yield from put(at, "mode", OPEN)
    for name in KEPT_ORDER:
        if name in wanted:
            yield from put(at, name, wanted[name])
    if wanted.get("mode") == LOCKED:
        yield from put(at, "mode", LOCKED)
        yield from do(at, "reset_loop")
    return (yield from hold(at, offered))
