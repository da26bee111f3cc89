"""Sample clocks: what relates a digitizer's sample number to UTC."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Anchor:
    """Sample `sample` of a digitizer's clock was converted at `t_ns` UTC (ns since 1970)."""

    sample: int
    t_ns: int
