"""Numbers as people read them: SI prefixes, spans of time, shares, UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NONE = "\N{EN DASH}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
# what the settings and the instruments write: the multiple of the SI unit, and its symbol
UNITS = {
    **{unit: (1.0, unit) for unit in ("K", "V", "A", "Hz", "W", "Pa", "s", "V/√Hz", "B")},
    **{"ohm": (1.0, "Ω"), "kohm": (1e3, "Ω"), "uA": (1e-6, "A"), "mA": (1e-3, "A")},
    **{"uV": (1e-6, "V"), "mV": (1e-3, "V"), "us": (1e-6, "s"), "ms": (1e-3, "s")},
    **{"mK": (1e-3, "K"), "mbar": (100.0, "Pa")},
}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def scale(size: float, unit: str) -> tuple[float, str]:
    """What to multiply a value of about `size` [unit] by, and the unit it then has."""
    if unit not in UNITS:
        return 1.0, unit
    factor, symbol = UNITS[unit]
    exponent = 0 if not size else math.floor(math.log10(abs(size * factor)) / 3 + 1e-9) * 3
    exponent = min(max(exponent, min(PREFIXES)), max(PREFIXES))
    return factor / 10.0**exponent, PREFIXES[exponent] + symbol


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """A value with its unit and prefix; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    factor, symbol = scale(value, unit)
    return f"{significant(value * factor, digits)}{NARROW}{symbol}".rstrip(NARROW)


def significant(value: float, digits: int) -> str:
    """A number with so many digits that mean something, never fewer than its integer part has."""
    if not value:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    if decimals > 12 or abs(value) > 1e12:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{decimals}f}"


def count(value: int) -> str:
    """An integer in groups of three."""
    return f"{value:,}".replace(",", NARROW)


def share(part: float, whole: float) -> str:
    """A percentage that never rounds something to nothing, nor nearly all to all."""
    if not whole:
        return NONE
    percent = 100 * part / whole
    if 0 < percent < 0.01:
        return f"<0.01{NARROW}%"
    if 99.99 < percent < 100:
        return f">99.99{NARROW}%"
    return f"{percent:.2f}{NARROW}%" if percent else f"0{NARROW}%"


def span(seconds: float) -> str:
    """A duration."""
    if seconds < 60:
        return quantity(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}{NARROW}h {minutes:02}" if hours else f"{minutes}"
    return f"{head}{NARROW}min {rest:02}{NARROW}s"


def utc(t_ns: int | None) -> str:
    """A moment, to the second."""
    return NONE if t_ns is None else moment(t_ns).strftime("%Y-%m-%d %H:%M:%S UTC")


def rfc3339(t_ns: int) -> str:
    """A moment for machines, to the microsecond."""
    return moment(t_ns).isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(t_ns: int) -> datetime:
    """UTC of nanoseconds since 1970."""
    return datetime.fromtimestamp(t_ns // 10**9, UTC).replace(microsecond=t_ns % 10**9 // 1000)


def power(value: float) -> str:
    """A tick of a logarithmic axis."""
    if 0.001 <= value <= 100_000:
        return count(round(value)) if value >= 1 else f"{value:g}"
    return "10" + str(round(math.log10(value))).translate(SUPERSCRIPTS)


def words(field: bytes) -> str:
    """The text of a fixed-length field of a table."""
    return bytes(field).decode("utf-8", errors="replace")
