"""The settings of a heater of the temperature controller, by the names its interfaces give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sim_hardware.world.controller import PID, Heater


class HeaterSettingError(Exception):
    """A setting that a heater has not, or a value that it cannot have."""


def _switch(value: object) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise HeaterSettingError(f"expected true or false, found {value!r}")


def _mode(value: object) -> int:
    return int(_switch(value))


def _number(largest: float, value: object) -> float:
    ordinary = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, int | float) and ordinary and 0 <= value <= largest:
        return float(value)
    raise HeaterSettingError(f"expected a number from 0 to {largest:g}, found {value!r}")


# name: attribute of the heater, and what checks a value
SETTINGS: dict[str, tuple[str, Callable[[object], object]]] = {
    "active": ("active", _switch),
    "pid_mode": ("pid_mode", _mode),
    "power": ("power_w", partial(_number, 1.0)),
    "max_power": ("max_power_w", partial(_number, 1.0)),
    "setpoint": ("setpoint_k", partial(_number, 300.0)),
}
ALGORITHM: dict[str, tuple[str, Callable[[object], object]]] = {
    name: (name, partial(_number, 1e6)) for name in ("proportional", "integral", "derivative")
}


def changed(heater: Heater, settings: dict[str, object]) -> Heater:
    """The heater with other settings; HeaterSettingError."""
    changes: dict[str, Any] = {}  # of several types, each checked by its own setting
    for name, value in settings.items():
        if name not in SETTINGS | ALGORITHM:
            raise HeaterSettingError(f"expected a setting of a heater, found {name!r}")
        attribute, checked = (SETTINGS | ALGORITHM)[name]
        changes[attribute] = checked(value)
    return replace(heater, **changes)


def shown(heater: Heater) -> dict[str, object]:
    """The settings; a heater that regulates shows no power."""
    said = {name: getattr(heater, attribute) for name, (attribute, _) in SETTINGS.items()}
    return said | ({"power": 0.0} if heater.pid_mode == PID else {})


def algorithm(heater: Heater) -> dict[str, float]:
    """The settings of its regulation."""
    return {name: getattr(heater, name) for name in ALGORITHM}
