"""Numbers as an operator reads them: with unit, and with the digits that mean something."""

from __future__ import annotations

import math
from datetime import UTC, datetime

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
NONE = "\u2013"  # a dash: there is no number to show
THIN_SPACE = "\u202f"  # narrow and no-break: a number stays one word


def si(value: float, unit: str, digits: int = 3) -> str:
    """`value` with an SI prefix and `digits` significant digits: 0.05, "V" -> 50 mV."""
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return f"0 {unit}"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = min(max(math.floor(math.log10(abs(rounded))) // 3 * 3, -15), 9)
    return f"{rounded / 10.0**exponent:.{digits}g} {PREFIXES[exponent]}{unit}"


def fixed(value: float, unit: str, step: float) -> str:
    """`value` with the prefix and decimals that tell it from its neighbors `step` away."""
    if not (math.isfinite(value) and step > 0):
        return NONE
    largest = max(abs(value), step)
    exponent = min(max(math.floor(math.log10(largest) + 1e-9) // 3 * 3, -15), 9)
    decimals = max(-math.floor(math.log10(step / 10.0**exponent) + 1e-9), 0)
    scaled = round(value / 10.0**exponent, decimals) + 0.0  # no "-0"
    return f"{scaled:.{decimals}f} {PREFIXES[exponent]}{unit}"


def count(number: int) -> str:
    """A whole number in groups of three."""
    return f"{number:,}".replace(",", THIN_SPACE)


def rate(rate_hz: float) -> str:
    """Events per second with two digits after the point, or fewer where there are many."""
    return f"{rate_hz:.2f}" if rate_hz < 100 else count(round(rate_hz))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 3661 -> 1:01:01."""
    whole = max(int(seconds), 0)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def clock(t_ns: int, decimals: int = 0) -> str:
    """Time of day in UTC."""
    moment = datetime.fromtimestamp(t_ns // 10**9, UTC)
    fraction = f".{t_ns % 10**9:09}"[: decimals + 1] if decimals else ""
    return f"{moment:%H:%M:%S}{fraction}"


def number(value: float, digits: int = 6) -> str:
    """A number without unit, with no more digits than mean something."""
    return f"{value:.{digits}g}" if math.isfinite(value) else NONE


def age(seconds: float) -> str:
    """How long ago, in one unit: 75 -> 75 s, 7500 -> 2.1 h."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            shown = seconds / divisor
            return f"{shown:.0f} {unit}" if unit == "s" or shown >= 10 else f"{shown:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"
