"""What a channel of any SQUID electronics gives to its SQUID and its TES, in SI units."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadoutSettings:
    """The bias of the TES and everything about the SQUID's loop.

    `offset_v` is what is subtracted from the SQUID's voltage before it is amplified `gain` times;
    None where the loop subtracts the middle of V-phi itself. Until `warm_until_s` of the bench's
    time the SQUID is not superconducting. `held` shorts the integrator; an output beyond `reset_v`
    does so for a moment, one beyond `overload_v` is counted. `n_locks` counts how often the loop
    was closed.
    """

    tes_bias_a: float = 0.0
    squid_bias_a: float = 0.0
    offset_v: float | None = 0.0
    flux_a: float = 0.0
    feedback_ohm: float = 0.0
    gain: float
    locked: bool = False
    held: bool = False
    reset_v: float = inf
    overload_v: float = inf
    n_locks: int = 0
    warm_until_s: float = 0.0
