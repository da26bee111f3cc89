"""What of the instruments' readings is a cryostat: stages by temperature, pressures, heaters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gui.model.services import ReadingItem

TEMPERATURE = re.compile(r"(?:^|[. ])temperature$")
PRESSURES = ("bar", "mbar", "Pa", "kPa", "hPa", "Torr")
HEATER = re.compile(r"heater|still_output|manual_output|power$")
FLOW = re.compile(r"flow")
# up to so many kelvin: the place, from the bottom of the cryostat up
PLACES = (
    (0.05, "mixing chamber"),
    (0.2, "cold plate"),
    (1.6, "still"),
    (10.0, "4 K plate"),
    (80.0, "50 K plate"),
)
WARM = "warm"
DULL = re.compile(r"^(channel|input) ?\d*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Stage:
    """One thermometer, and where it is likely to sit."""

    reading: str  # its name in the service's state
    place: str
    item: ReadingItem

    @property
    def kelvin(self) -> float | None:
        """The temperature; None where it is not known."""
        value = self.item.value
        return float(value) if isinstance(value, int | float) and value > 0 else None


def stages(readings: Mapping[str, ReadingItem]) -> list[Stage]:
    """All thermometers, the warmest first; unknown ones at the end."""
    found = [
        Stage(name, _place(name, item, readings), item)
        for name, item in readings.items()
        if item.unit == "K" and TEMPERATURE.search(name)
    ]
    return sorted(found, key=lambda stage: -(stage.kelvin or 0.0))


def base(readings: Mapping[str, ReadingItem]) -> Stage | None:
    """The coldest thermometer that reads something now."""
    known = [s for s in stages(readings) if s.kelvin is not None and not s.item.stale]
    return known[-1] if known else None


def pressures(readings: Mapping[str, ReadingItem]) -> dict[str, ReadingItem]:
    """All pressures and flows."""
    return {
        name: item
        for name, item in readings.items()
        if (item.unit in PRESSURES or FLOW.search(name)) and _is_number(item)
    }


def heaters(readings: Mapping[str, ReadingItem]) -> dict[str, ReadingItem]:
    """What heats, and whether it is well."""
    return {
        name: item
        for name, item in readings.items()
        if HEATER.search(name.rpartition(".")[2]) and "zone" not in name and "input" not in name
    }


def _place(name: str, item: ReadingItem, readings: Mapping[str, ReadingItem]) -> str:
    """The name that the instrument has for it, where it says something; else by its temperature."""
    given = readings.get(name.rpartition(".")[0] + ".name")
    if given is not None and isinstance(given.value, str) and not DULL.match(given.value.strip()):
        return given.value.strip() or name
    kelvin = item.value
    if not isinstance(kelvin, int | float) or kelvin <= 0:
        return name
    return next((place for limit, place in PLACES if kelvin <= limit), WARM)


def _is_number(item: ReadingItem) -> bool:
    return isinstance(item.value, int | float) and not isinstance(item.value, bool)
