"""The sample clock of a digitizer: true time, UTC and sample numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

NS = 10**9


@dataclass(frozen=True, slots=True)
class Drift:
    """From `at_s` after the start on, a clock runs `ppm` fast."""

    at_s: float
    ppm: float


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A time of one speed: it begins at a time and at a place between two samples."""

    begin_s: Fraction
    begin: Fraction
    hz: Fraction

    def then(self, drift: Drift, rate_hz: float) -> _Stretch:
        at_s = Fraction(str(drift.at_s))
        return _Stretch(at_s, self.begin + (at_s - self.begin_s) * self.hz, _hz(rate_hz, drift.ppm))


class SampleClock:
    """A clock of `rate_hz` nominal that runs `ppm` fast; sample 0 is at `start_ns` UTC.

    With `drifts`, in the order of their times, it changes its speed, never its count.
    """

    def __init__(
        self, rate_hz: float, *, ppm: float, start_ns: int, drifts: Sequence[Drift] = ()
    ) -> None:
        self.rate_hz, self._start_ns = rate_hz, start_ns
        # exact ratios, so that the stamps of a year of samples are right to the ns
        stretches = [_Stretch(Fraction(0), Fraction(0), _hz(rate_hz, ppm))]
        for drift in drifts:
            stretches.append(stretches[-1].then(drift, rate_hz))
        self._exact = stretches
        self._floats = [(float(s.begin_s), float(s.begin), float(s.hz)) for s in stretches]
        self._times = [begin_s for begin_s, _, _ in self._floats]
        self._places = [s.begin for s in stretches]

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns, rounded down."""
        at = self._exact[bisect_right(self._places, sample, lo=1) - 1]
        if not at.begin:
            return self._start_ns + sample * NS * at.hz.denominator // at.hz.numerator
        true_s = at.begin_s + (sample - at.begin) / at.hz
        return self._start_ns + true_s.numerator * NS // true_s.denominator

    def position(self, time_s: float) -> float:
        """The sample number, with its fraction, at a time after the start."""
        begin_s, begin, hz = self._floats[bisect_right(self._times, time_s, lo=1) - 1]
        return begin + (time_s - begin_s) * hz

    def time_s(self, sample: float) -> float:
        """The time after the start at which a sample is converted."""
        begin_s, begin, hz = self._floats[bisect_right(self._places, sample, lo=1) - 1]
        return begin_s + (sample - begin) / hz


def _hz(rate_hz: float, ppm: float) -> Fraction:
    return Fraction(rate_hz) * (1 + Fraction(str(ppm)) / 10**6)
