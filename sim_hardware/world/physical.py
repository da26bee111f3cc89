"""The check that keeps parameters physical."""

from __future__ import annotations


class UnphysicalError(ValueError):
    """A parameter that no experiment can have: what was expected, what was found, and why."""


def within(name: str, value: float, low: float, high: float, why: str = "") -> float:
    """The value, if it lies within both limits; NaN lies nowhere."""
    if not low <= value <= high:
        because = f" ({why})" if why else ""
        raise UnphysicalError(
            f"{name}: expected {low:g} to {high:g}{because}, found {float(value):g}"
        )
    return value
