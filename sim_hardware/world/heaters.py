"""The heaters on one stage: each gives a constant power, or what is missing to a setpoint."""

from __future__ import annotations

from collections.abc import Callable


class Heaters:
    """Heaters by who drives them; `needed_w` is the power that keeps the stage at a temperature.

    Those that regulate do so after the constant ones, in the order in which they began.
    """

    def __init__(self, needed_w: Callable[[float], float]) -> None:
        self._needed_w = needed_w
        self._constant: dict[str, float] = {}
        self._regulating: dict[str, tuple[float, float]] = {}

    def give(self, by: str, power_w: float) -> None:
        """A constant power from now on."""
        self._regulating.pop(by, None)
        self._constant[by] = power_w

    def hold(self, by: str, setpoint_k: float, limit_w: float) -> None:
        """What is missing to a setpoint from now on, at most `limit_w`."""
        self._constant.pop(by, None)
        self._regulating[by] = (setpoint_k, limit_w)

    def powers_w(self) -> dict[str, float]:
        """What each gives now."""
        powers = dict(self._constant)
        for by, (setpoint_k, limit_w) in self._regulating.items():
            missing_w = self._needed_w(setpoint_k) - sum(powers.values())
            powers[by] = min(max(0.0, missing_w), limit_w)
        return powers
