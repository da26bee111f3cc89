"""What a simulated SQUID is; settings are checked by it, so it stands apart from the kernels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import pi

import numpy as np
import numpy.typing as npt

from sim_hardware.world.physical import UnphysicalError, within

Floats = npt.NDArray[np.float64]

_LIMITS = {
    "input_a_per_phi0": (1e-9, 1e-3, ""),
    "feedback_a_per_phi0": (1e-7, 1e-2, ""),
    "flux_noise_phi0_rthz": (0.0, 1e-2, ""),
    "knee_hz": (0.0, 1e5, ""),
    "critical_current_a": (1e-7, 1e-2, "of each junction"),
    "junction_ohm": (1e-2, 1e3, ""),
    "rounding": (0.0, 0.5, "of the critical current"),
    "bandwidth_hz": (1.0, 1e9, ""),
    "reference_feedback_ohm": (10.0, 1e7, ""),
    "reference_bias_a": (0.0, 1.0, ""),
    "open_gain": (1.0, 1e6, "volts per volt"),
    "limit_v": (0.1, 100.0, ""),
    "offset_v": (-1.0, 1.0, ""),
    "offset_drift_v": (0.0, 1.0, ""),
    "offset_period_s": (1.0, 1e7, ""),
    "polarity": (-1, 1, "how the input coil is connected"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SquidParameters:
    """The SQUID, its coils and the range of its electronics.

    `bandwidth_hz` is f1 with `reference_feedback_ohm` and `reference_bias_a`. The output's offset
    wanders by `offset_drift_v` with `offset_period_s`. With `polarity` -1 a pulse of the sensor,
    which is a fall of its current, is a rise of the output.
    """

    input_a_per_phi0: float = 0.3e-6
    feedback_a_per_phi0: float = 40e-6
    flux_noise_phi0_rthz: float = 1.5e-6
    knee_hz: float = 10.0
    critical_current_a: float = 10e-6
    junction_ohm: float = 8.0
    rounding: float = 0.05
    bandwidth_hz: float = 1e6
    reference_feedback_ohm: float = 30e3
    reference_bias_a: float = 21e-6
    open_gain: float = 2000.0
    limit_v: float = 10.0
    offset_v: float = 0.0
    offset_drift_v: float = 1e-3
    offset_period_s: float = 86_400.0
    polarity: int = -1

    def __post_init__(self) -> None:
        reasons = list(self._reasons())
        if reasons:
            raise UnphysicalError("; ".join(reasons))

    def volts_per_phi0(self, feedback_ohm: float) -> float:
        """What one flux quantum is at the locked output."""
        return feedback_ohm * self.feedback_a_per_phi0

    def volts_per_a(self, feedback_ohm: float) -> float:
        """The locked output per input current, with its sign."""
        return self.polarity * self.volts_per_phi0(feedback_ohm) / self.input_a_per_phi0

    def current_psd(self, f_hz: Floats) -> Floats:
        """The noise as a current in the input coil, in A²/Hz, one-sided."""
        white = self.flux_noise_phi0_rthz * self.input_a_per_phi0
        return np.asarray(white**2 * (1 + self.knee_hz / np.asarray(f_hz)))

    def v_phi(self, flux_phi0: npt.ArrayLike, bias_a: float) -> Floats:
        """The SQUID's voltage against flux; rising through its middle near flux 0."""
        critical2 = 2 * self.critical_current_a**2 * (1 - np.sin(2 * pi * np.asarray(flux_phi0)))
        beyond = bias_a**2 - critical2
        rounded = (2 * self.rounding * self.critical_current_a) ** 2
        soft = (beyond + np.hypot(beyond, rounded)) / 2
        return np.asarray(np.sign(bias_a) * self.junction_ohm / 2 * np.sqrt(soft))

    def extremes_v(self, bias_a: float) -> tuple[float, float]:
        """The least and the greatest voltage of V-phi."""
        low, high = sorted(self.v_phi(np.array([-0.25, 0.25]), bias_a).tolist())
        return low, high

    def depth_v(self, bias_a: float) -> float:
        """The peak-to-peak modulation."""
        low, high = self.extremes_v(bias_a)
        return high - low

    def middle_v(self, bias_a: float) -> float:
        """The best lock point: halfway between the extremes."""
        return sum(self.extremes_v(bias_a)) / 2

    def offset_at_v(self, t_s: npt.ArrayLike) -> Floats:
        """The output's offset after a time."""
        phase = 2 * pi * np.asarray(t_s) / self.offset_period_s
        return np.asarray(self.offset_v + self.offset_drift_v * np.sin(phase))

    def _reasons(self) -> list[str]:
        reasons = []
        for name in (each.name for each in fields(self)):
            try:
                within(name, getattr(self, name), *_LIMITS[name])
            except UnphysicalError as error:
                reasons.append(str(error))
        if self.polarity == 0:
            reasons.append("polarity: expected -1 or 1, found 0")
        return reasons
