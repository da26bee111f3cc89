"""What a recording lacks between its records: noise of the same kind, joined to both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Curve = npt.NDArray[np.float32]

POOLS = (1 << 18, 3**11)  # coprime, and far apart: their sum repeats after their product only
CONDITION, REACH = 32, 512  # samples of a record that the noise continues, and how far that tells
OUTLIER_SIGMA = 6.0  # a stretch with such an excursion holds a pulse
CLIPPED_SIGMA = 5.0  # what stands out more at a record's end is no noise to be continued
DECAYED = 16.0  # time constants after which nothing is left of a full-scale pulse


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """One-sided noise power density in counts²/Hz at the multiples of `step_hz`."""

    density: Floats
    step_hz: float
    rate_hz: float

    def at(self, frequencies: npt.NDArray[np.floating]) -> Floats:
        """The density there; below the first multiple, which no stretch resolves, as at it."""
        known = self.density.copy()
        known[0] = known[1]
        multiples = np.arange(len(known)) * self.step_hz
        return np.interp(frequencies.astype(np.float64), multiples, known)


def quiet(stretches: Floats) -> Floats:
    """Those of the rows [stretch, sample] that hold noise alone, around 0: none beyond 6 sigma."""
    centered = stretches - np.median(stretches, axis=1, keepdims=True)
    excursions = np.abs(centered)
    sigma = 1.4826 * float(np.median(excursions))  # of the normal distribution with this median
    kept: Floats = centered[excursions.max(axis=1) <= OUTLIER_SIGMA * max(sigma, 1.0)]
    return kept


def measured(stretches: Floats, rate_hz: float) -> Spectrum:
    """The mean periodogram (Hann window) of stretches of noise [stretch, sample]."""
    window = np.hanning(stretches.shape[1] + 1)[:-1]
    centered = stretches - stretches.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(centered * window)) ** 2
    density = 2 * power.mean(axis=0) / (rate_hz * np.sum(window**2))
    return Spectrum(density, rate_hz / stretches.shape[1], rate_hz)


class Noise:
    """Stationary Gaussian noise of a given spectrum, a pure function of the sample number."""

    def __init__(self, spectrum: Spectrum, rng: np.random.Generator) -> None:
        self._pools = [_pool(spectrum, n, rng) for n in POOLS]
        covariance = np.fft.irfft(_power(spectrum, POOLS[0]))
        self.rms = float(np.sqrt(covariance[0]))
        near, apart = np.arange(CONDITION), np.arange(1, REACH + 1)
        among = covariance[np.abs(np.subtract.outer(near, near))]
        self._among = among + np.eye(CONDITION) / 12  # records are rounded to counts
        self._ahead = covariance[np.add.outer(apart, near[::-1])]

    def at(self, start: int, stop: int) -> Curve:
        """The noise of samples [start, stop), in counts."""
        one, other = (_cyclic(pool, start, stop) for pool in self._pools)
        return one + other

    def continuation(self, residual: Floats) -> Floats:
        """What is to be expected of the next REACH samples where the last ones differ from ours.

        `residual` is by how much, at most CONDITION samples: the regression of a normal process.
        """
        n = len(residual)
        weights = np.linalg.solve(self._among[:n, :n], residual)
        return np.asarray(self._ahead[:, CONDITION - n :] @ weights)


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """The samples [start, stop) between two records: `level`, noise, and what joins the ends.

    `head` is added from `start` on, `tail` up to `stop`.
    """

    start: int
    stop: int
    level: float
    head: Curve
    tail: Curve

    def onto(self, noise: Curve, start: int) -> Curve:
        """The filling where `noise` begins at sample `start`, inside of it."""
        out = noise + np.float32(self.level)
        _add(out, self.head, self.start - start)
        _add(out, self.tail, self.stop - len(self.tail) - start)
        return out


class Filler:
    """Fills one channel's gaps: the pulse before decays, and the noise goes on as it was.

    At a joint the noise is not just any: it is conditioned on the last samples of the record
    (and on the first ones of the next), so that the joint is like every other place.
    """

    def __init__(self, noise: Noise, decay: float) -> None:
        """`decay` is the time constant of a pulse's tail, in samples."""
        self.noise, self._decay = noise, decay

    def fill(self, start: int, stop: int, before: Floats, after: Floats, level: float) -> Filling:
        """The filling of [start, stop) between the record samples `before` and `after`.

        `level` is the baseline it decays to. Either side may be empty: there the stream ends.
        """
        n = stop - start
        drop = _end_level(before) - level if len(before) else 0.0
        head = drop * self._fall(np.arange(1, min(n, self._longest) + 1), n)
        if len(before):
            at = np.arange(1 - len(before), 1)
            off = self._residual(before - level - drop * self._fall(at, n), start - len(before))
            _blend(head, self.noise.continuation(off), n)
        tail = np.zeros(min(n, REACH))
        if len(after):
            off = self._residual(after - level, stop)
            _blend(tail[::-1], self.noise.continuation(off[::-1]), n)
        return Filling(start, stop, level, head.astype(np.float32), tail.astype(np.float32))

    @property
    def _longest(self) -> int:
        return max(REACH, round(DECAYED * self._decay))

    def _fall(self, at: npt.NDArray[np.int64], n: int) -> Floats:
        """From 1 at sample 0, the last before the gap, to 0 at sample n + 1, the first after it."""
        end = np.expm1(-(n + 1) / self._decay)
        return np.asarray((np.expm1(-at / self._decay) - end) / -end)

    def _residual(self, noise: Floats, start: int) -> Floats:
        """How far the record's noise from sample `start` on is off from ours."""
        limit = CLIPPED_SIGMA * self.noise.rms
        return np.clip(noise, -limit, limit) - self.noise.at(start, start + len(noise))


def tail_decay(pulse: Floats) -> float:
    """The time constant, in samples, of the end of a mean pulse without its baseline.

    It is that of the last quarter, at most the record's length; where that does not decay (no
    pulse), an eighth of the record.
    """
    width = len(pulse) // 8
    early, late = pulse[-2 * width : -width].mean(), pulse[-width:].mean()
    if early * late <= 0 or abs(early) <= abs(late):
        return len(pulse) / 8
    return min(float(width / np.log(early / late)), float(len(pulse)))


def _power(spectrum: Spectrum, n: int) -> Floats:
    """The mean square of each of the n // 2 + 1 bins of white noise shaped to the spectrum."""
    power = spectrum.at(np.fft.rfftfreq(n, 1 / spectrum.rate_hz)) * spectrum.rate_hz / 2
    power[0] = 0.0  # the level is another's
    return power


def _pool(spectrum: Spectrum, n: int, rng: np.random.Generator) -> Curve:
    """Half the noise power, on a cycle of n samples."""
    white = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(white * np.sqrt(_power(spectrum, n) / 2), n).astype(np.float32)


def _cyclic(pool: Curve, start: int, stop: int) -> Curve:
    first = start % len(pool)
    return pool.take(np.arange(first, first + stop - start), mode="wrap")


def _end_level(record: Floats) -> float:
    """The straight line through the record's end, at its last sample."""
    if len(record) < 2:
        return float(record[-1])
    return float(np.polyfit(np.arange(1 - len(record), 1), record, 1)[1])


def _blend(side: Floats, correction: Floats, n: int) -> None:
    """Add a correction that fades towards the other end of a gap of n samples."""
    m = min(len(side), len(correction))
    side[:m] += correction[:m] * (1 - np.arange(1, m + 1) / (n + 1))


def _add(out: Curve, part: Curve, at: int) -> None:
    """Add as much of `part` as lies within `out` where it begins at index `at`."""
    first, last = max(at, 0), min(at + len(part), len(out))
    if first < last:
        out[first:last] += part[first - at : last - at]
