"""Everything that is known of one channel, as rows of name, value and tone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gui.model.array import lock, noise_text, reading_of, told
from gui.model.console import Console
from gui.model.forms import shown_reading
from gui.model.text import NONE, count, duration, number, rate, si

# of a channel's row in the core's state, what is told in words of its own
TOLD = {
    "rate_hz", "records", "livetime_s", "exposure_g_d", "throttled", "efficiency", "drops",
    "dead_s",
}  # fmt: skip
SQUID = ("feedback", "tes_bias.current", "ib", "vb", "phib")
UNITS = {"hz": "/s", "s": "s", "v": "V", "ev": "eV", "k": "K", "a": "A", "counts": "counts"}
Row = tuple[str, str, str]


def rows(console: Console, channel: str, now_s: float) -> list[Row]:
    """(name, value with unit, tone) of all there is; what is not known has a dash."""
    fresh = console.core.is_fresh(now_s)
    tone = "normal" if fresh else "stale"
    word, shape, lock_tone = lock(console, channel, now_s)
    found: list[Row] = [("lock", f"{shape} {word}", lock_tone)] if word else []
    found += [(name, value, tone) for name, value in _counted(console, channel)]
    found += [(name, value, tone) for name, value in _measured(console, channel)]
    found += [(name, value, tone) for name, value in _also(console, channel)]
    for what in SQUID:
        item = reading_of(console, channel, what)
        if item is not None:
            text, item_tone, _ = shown_reading(item)
            found.append((what.replace("_", " ").replace(".current", ""), text, item_tone))
    return found


def _counted(console: Console, channel: str) -> Iterator[tuple[str, str]]:
    counts = console.core.body.channels.get(channel)
    if counts is None:
        yield "rate", NONE
        return
    yield "rate", f"{rate(counts.rate_hz)} /s" + (" ▲ throttled" if counts.throttled else "")
    yield "records", count(counts.records)
    yield "live", duration(counts.livetime_s)
    yield "live share", _share(console, counts.livetime_s)
    yield "exposure", f"{number(counts.exposure_g_d, 3)} g·d"
    dead = told(console.core.told, "channels", channel, "dead_s")
    for cause, seconds in dead.items():
        if isinstance(seconds, int | float) and seconds > 0:
            yield f"dead, {cause.replace('_', ' ')}", f"{number(seconds, 3)} s"
    for cause, n in counts.drops.items():
        yield f"dropped, {cause}", count(n)
    half = (counts.efficiency or {}).get("half_ev")
    if isinstance(half, int | float):
        yield "50 % found at", si(float(half), "eV")


def _share(console: Console, live_s: float) -> str:
    elapsed_s = console.core.body.elapsed_s
    return f"{100 * min(live_s / elapsed_s, 1.0):.1f} %" if elapsed_s > 1 else NONE


def _measured(console: Console, channel: str) -> Iterator[tuple[str, str]]:
    level = console.rolling.levels_v().get(channel)
    yield "baseline", NONE if level is None else si(level, "V")
    yield "noise (rms)", noise_text(console, channel).removeprefix("noise ")


def _also(console: Console, channel: str) -> Iterator[tuple[str, str]]:
    """What the core says of the channel and this window knows nothing of."""
    for name, value in told(console.core.told, "channels", channel).items():
        if name not in TOLD and value is not None:
            yield from _flat(name, value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:  # Any: JSON
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(f"{name} {key}", part)
    elif isinstance(value, bool):
        yield name.replace("_", " "), "yes" if value else "no"
    elif isinstance(value, int | float):
        stem, _, suffix = name.rpartition("_")
        unit = UNITS.get(suffix, "") if stem else ""
        yield (stem if unit else name).replace("_", " "), f"{number(value, 4)} {unit}".strip()
    elif isinstance(value, str) and value:
        yield name.replace("_", " "), value
