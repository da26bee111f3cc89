"""The sample clock of a digitizer: true time, UTC and sample numbers."""

from __future__ import annotations

from fractions import Fraction

NS = 10**9


class SampleClock:
    """A clock of `rate_hz` nominal that runs `ppm` fast; sample 0 is at `start_ns` UTC."""

    def __init__(self, rate_hz: float, *, ppm: float, start_ns: int) -> None:
        self.rate_hz, self._start_ns = rate_hz, start_ns
        # an exact ratio, so that the stamps of a year of samples are right to the ns
        self._true_hz = Fraction(rate_hz) * (1 + Fraction(str(ppm)) / 10**6)
        self._hz = float(self._true_hz)

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns, rounded down."""
        hz = self._true_hz
        return self._start_ns + sample * NS * hz.denominator // hz.numerator

    def position(self, time_s: float) -> float:
        """The sample number, with its fraction, at a time after the start."""
        return time_s * self._hz

    def time_s(self, sample: int) -> float:
        """The time after the start at which a sample is converted."""
        return sample / self._hz
