"""What belongs together in a run: coincidences, vetoes, gates, and who reads out whom."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Tags records of the channels `tagged` around the triggers of the channels `sources`.

    From `before_ns` before such a trigger to `after_ns` after it, both included. A `kind` of
    "veto" says that what it tags is vetoed, "gate" only that it lies in the gate, "heater" that a
    heater's pulse is there. The timing resolution of a record widens a gate on both sides by
    `widen_ns_counts` / its height. No channel tags itself.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    tagged: tuple[str, ...]
    before_ns: int
    after_ns: int
    widen_ns_counts: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Where a channel of `sources` triggers by one of `causes`, all `receivers` are read out."""

    name: str
    sources: tuple[str, ...]
    receivers: tuple[str, ...]
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All of it; bit i of a tag is the i-th of `windows`. `seed` keys all that is random."""

    window_ns: int = 0
    windows: tuple[Window, ...] = ()
    groups: tuple[Group, ...] = ()
    seed: int = 1
