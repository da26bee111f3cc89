"""The heaters on a stage: each gives a constant power, or regulates it as a PID controller does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """Of a controller: W/K, seconds of its integral and of its derivative."""

    w_per_k: float
    integral_s: float
    derivative_s: float = 0.0

    def set_to(self, times: float, integral_s: float, derivative_s: float) -> Gains:
        """So many times the proportional gain, with other times; an integral of 0 s is none."""
        return Gains(w_per_k=times * self.w_per_k, integral_s=integral_s, derivative_s=derivative_s)


@dataclass(frozen=True, slots=True)
class Constant:
    """A heater that gives one power."""

    power_w: float


@dataclass(frozen=True, slots=True)
class Regulator:
    """A heater that holds a setpoint with at most `limit_w`."""

    setpoint_k: float
    limit_w: float
    gains: Gains

    def wanted_w(
        self, integral_w: float, temperature_k: float, other_w: float, capacity_j_per_k: float
    ) -> float:
        """What it would give without limits, where `other_w` flows into the stage besides."""
        gain, after_s = self.gains.w_per_k, self.gains.derivative_s
        error_k = self.setpoint_k - temperature_k - after_s * other_w / capacity_j_per_k
        return (gain * error_k + integral_w) / (1 + gain * after_s / capacity_j_per_k)

    def given_w(self, wanted_w: float) -> float:
        """What it gives."""
        return min(max(0.0, wanted_w), self.limit_w)

    def integral_w_per_s(self, wanted_w: float, temperature_k: float) -> float:
        """How fast its integral grows: not at all where that would only saturate it further."""
        if not self.gains.integral_s:
            return 0.0
        error_k = self.setpoint_k - temperature_k
        excess_w = wanted_w - self.given_w(wanted_w)
        return (
            0.0 if excess_w * error_k > 0 else self.gains.w_per_k / self.gains.integral_s * error_k
        )


Heater = Constant | Regulator
