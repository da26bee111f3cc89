"""What the map of the array says of each channel: how it is at a glance, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gui.model.console import Console
from gui.model.services import ReadingItem
from gui.model.text import NONE, rate, si

GRID = re.compile(r"^\D*([1-9])([1-9])$")  # C12: first row, second column
LOCK = {"LOCKED": ("locked", "✓", "normal"), "OPEN": ("open", "▲", "attention")}
RELOCK = {
    "locked": ("locked", "✓", "normal"),
    "unlocked": ("unlocked", "▲", "attention"),
    "given up": ("given up", "■", "alarm"),
}
NO_LOOP = ("", "", "normal")  # nothing in the config says that it has a SQUID
UNKNOWN = ("lock unknown", "?", "stale")


@dataclass(frozen=True, slots=True)
class Cell:
    """One channel: a word, a shape and a tone for its lock, and lines of numbers."""

    channel: str
    lock: str
    shape: str
    tone: str
    lines: tuple[str, ...]


def places(channels: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Row and column of each channel: by its number where it has one; the others below, in a row.

    Names such as C12 are places in a square; what has no such name is a veto or a spare.
    """
    found = {name: match for name in channels if (match := GRID.match(name))}
    placed = {name: (int(m[1]) - 1, int(m[2]) - 1) for name, m in found.items()}
    if len(set(placed.values())) < len(placed):
        placed = {}
    width = max((column for _, column in placed.values()), default=2) + 1
    below = max((row for row, _ in placed.values()), default=-1) + 1
    others = [name for name in channels if name not in placed]
    return {
        name: placed.get(name) or (below + others.index(name) // width, others.index(name) % width)
        for name in channels
    }


def cell(console: Console, channel: str, now_s: float) -> Cell:
    """How a channel is."""
    counts, fresh = console.core.body.channels.get(channel), console.core.is_fresh(now_s)
    word, shape, tone = lock(console, channel, now_s)
    noise = noise_text(console, channel)
    lines = (f"{rate(counts.rate_hz)} /s" if counts else NONE, noise)
    if not fresh:
        tone = "stale"
    elif standing := told(console.core.told, "channels", channel, "guard").get("standing"):
        word, shape, tone = str(standing), "▲", "attention"
    elif counts is not None and counts.throttled:
        word, shape, tone = "throttled", "▲", "attention"
    return Cell(channel, word, shape, tone, lines)


def lock(console: Console, channel: str, now_s: float) -> tuple[str, str, str]:
    """Whether a channel's SQUID is in lock, as run control or its electronics say.

    A word, a shape and a tone.
    """
    relock = told(console.run.told, "relock", channel)
    if relock.get("state") in RELOCK:
        word, shape, tone = RELOCK[str(relock["state"])]
        return word, shape, tone if console.run.is_fresh(now_s) else "stale"
    if channel not in console.about.squids:
        return NO_LOOP
    mode = reading_of(console, channel, "mode")
    if mode is None or mode.value is None or not console.instruments.is_fresh(now_s):
        return UNKNOWN
    word, shape, tone = LOCK.get(str(mode.value), (str(mode.value).lower(), "▲", "attention"))
    return word, shape, "stale" if mode.stale else tone


def reading_of(console: Console, channel: str, what: str) -> ReadingItem | None:
    """A reading of the SQUID electronics that the config says a channel hangs on."""
    prefix = console.squid_of(channel)
    return console.instruments.body.readings.get(f"{prefix}.{what}") if prefix else None


def noise_text(console: Console, channel: str) -> str:
    """The noise of a channel's baselines, in eV where it is calibrated."""
    volts = console.records.noise_v(channel)
    if volts is None:
        return NONE
    factor = console.scales.factor(channel, "eV")
    return f"noise {si(volts, 'V')}" if factor is None else f"noise {si(volts * factor, 'eV')}"


def told(body: Mapping[str, Any], *way: str) -> Mapping[str, Any]:
    """A table within a service's body; empty where there is none. Any: JSON."""
    for step in way:
        part = body.get(step)
        body = part if isinstance(part, Mapping) else {}
    return body
