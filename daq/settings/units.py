"""Values with units in the config: "12 mK" becomes setpoint_k = 0.012, once, here."""

from __future__ import annotations

import re

# prefix -> factor; the unit symbols are SI or what the field says
PREFIXES = {
    "": 1.0, "p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3,
    "k": 1e3, "M": 1e6, "G": 1e9,
}  # fmt: skip
# suffix of a key -> (symbol, how many of the key's unit one of the symbol is)
SUFFIXES = {
    "s": ("s", 1.0),
    "hz": ("Hz", 1.0),
    "k": ("K", 1.0),
    "v": ("V", 1.0),
    "a": ("A", 1.0),
    "w": ("W", 1.0),
    "ohm": ("ohm", 1.0),
    "ev": ("eV", 1.0),
    "g": ("g", 1.0),
    "m": ("m", 1.0),
    "bytes": ("B", 1.0),
}
# longer than a second: no prefixes there
_TIMES = {"min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\A\s*([-+]?[0-9][0-9_]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ]+)\s*\Z")


def suffix_of(key: str) -> str:
    """The unit suffix a key ends in, or ""."""
    last = key.rpartition("_")[2]
    return last if "_" in key and last in SUFFIXES else ""


def convert(text: str, suffix: str) -> float:
    """The number of `suffix` units that a text such as "12 mK" says; ValueError with both sides."""
    symbol, scale = SUFFIXES[suffix]
    match = _QUANTITY.match(text)
    if match is None:
        raise ValueError(f"expected a number with a unit of {symbol}, found {text!r}")
    number, unit = float(match[1].replace("_", "")), match[2]
    if suffix == "s" and unit in _TIMES:
        return number * _TIMES[unit]
    prefix = unit.removesuffix(symbol) if unit.endswith(symbol) else None
    if prefix is None or prefix not in PREFIXES:
        raise ValueError(f"expected a unit of {symbol}, found {unit!r} in {text!r}")
    return number * PREFIXES[prefix] * scale
