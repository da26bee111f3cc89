"""From the height of a pulse to its energy, by points of known energy.

A TES answers less and less the more it is heated, nearly in proportion to the energy: the height
is c = E Q(E), with Q a polynomial of the lowest degree that the points allow. Below the lowest
point Q goes on to 0, above the highest the curve goes on along its tangent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import scipy.special

from daq.errors import CheckError, FormatError, UsageError

F64 = npt.NDArray[np.float64]
SCHEMA, VERSION = "scheelite.calibration", 1
MOST_DEGREE = 3
LIKELY = 0.01  # a polynomial is refused where a chi2 as high as its own is rarer than this
GRID = 2000  # places where the curve must rise
NEWTON = 4  # steps from the nearest of those places
FOREVER = 2**62


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pulses of one known energy: where they lie and how sure that is [counts]."""

    energy_ev: float
    counts: float
    sigma_counts: float
    n: int = 0  # records


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Energy by pulse height of one channel, valid for t_ns in [from_ns, to_ns).

    `quantity` is the column of the records it is for. `gain` are the coefficients of Q
    [counts per eV] in powers of energy / `scale_ev`; `covariance` is theirs.
    """

    channel: str
    quantity: str
    scale_ev: float
    gain: list[float]
    covariance: list[list[float]]
    chi2: float
    points: list[Point]
    from_ns: int = 0
    to_ns: int = FOREVER
    provenance: dict[str, str] = {}

    @property
    def highest_ev(self) -> float:
        """Energy of the highest point: above, the curve is a guess."""
        return max(point.energy_ev for point in self.points)

    @property
    def counts_per_ev(self) -> float:
        """Height of a small pulse of 1 eV [counts]."""
        return self.gain[0]

    @property
    def ndf(self) -> int:
        """Degrees of freedom of chi2."""
        return len(self.points) - len(self.gain)

    def counts(self, energy_ev: npt.ArrayLike) -> F64:
        """Heights of energies, of the same shape."""
        energy = np.asarray(energy_ev, np.float64)
        inside = np.clip(energy, 0.0, self.highest_ev)
        return np.asarray(inside * self._gain(inside) + (energy - inside) * self._slope(inside))

    def energy_ev(self, counts: npt.ArrayLike) -> F64:
        """Energies of heights, of the same shape; not-a-number stays that."""
        c = np.asarray(counts, np.float64)
        grid = np.linspace(0.0, self.highest_ev, GRID)
        top = self.counts(grid)[-1]
        energy = np.interp(c, self.counts(grid), grid)
        energy += np.where(c < 0, c / self.gain[0], np.maximum(c - top, 0) / self._slope(grid[-1]))
        for _ in range(NEWTON):
            energy = energy - (self.counts(energy) - c) / self._slope(energy)
        return np.asarray(energy)

    def sigma_ev(self, counts: npt.ArrayLike) -> F64:
        """How sure the curve itself is at these heights, as a standard deviation."""
        energy = self.energy_ev(counts)
        powers = (energy[..., None] / self.scale_ev) ** np.arange(len(self.gain))
        variance = np.einsum("...i,ij,...j->...", powers, np.array(self.covariance), powers)
        sigma_counts = np.abs(energy) * np.sqrt(np.maximum(variance, 0.0))
        return np.asarray(sigma_counts / self._slope(energy))

    def check(self) -> Curve:
        """Itself; CheckError where it does not rise all the way."""
        slopes = self._slope(np.linspace(0.0, self.highest_ev, GRID))
        if not (np.isfinite(slopes).all() and (slopes > 0).all()):
            raise CheckError(
                f"calibration of {self.channel}: expected a curve that rises to "
                f"{self.highest_ev:g} eV, found one that falls: a point is wrong"
            )
        return self

    def _gain(self, energy: F64) -> F64:
        return np.asarray(np.polynomial.polynomial.polyval(energy / self.scale_ev, self.gain))

    def _slope(self, energy: npt.ArrayLike) -> F64:
        """dc/dE, that of the ends beyond them."""
        inside = np.clip(np.asarray(energy, np.float64), 0.0, self.highest_ev) / self.scale_ev
        derived = [(i + 1) * a for i, a in enumerate(self.gain)]
        return np.asarray(np.polynomial.polynomial.polyval(inside, derived))


def fit(
    channel: str,
    quantity: str,
    points: Sequence[Point],
    *,
    from_ns: int = 0,
    to_ns: int = FOREVER,
    provenance: dict[str, str] | None = None,
) -> Curve:
    """The curve through points; the lowest degree that they allow, else one less than points."""
    ordered = sorted(points, key=lambda point: point.energy_ev)
    _refuse(channel, ordered)
    energies = np.array([p.energy_ev for p in ordered])
    gains = np.array([p.counts for p in ordered]) / energies
    sigmas = np.array([p.sigma_counts for p in ordered]) / energies
    scale_ev = float(energies.max())
    for degree in range(min(len(ordered) - 1, MOST_DEGREE) + 1):
        gain, covariance, chi2 = _least_squares(energies / scale_ev, gains, sigmas, degree)
        if scipy.special.chdtrc(len(ordered) - degree - 1, chi2) > LIKELY:
            break
    return Curve(
        channel=channel,
        quantity=quantity,
        scale_ev=scale_ev,
        gain=gain.tolist(),
        covariance=covariance.tolist(),
        chi2=chi2,
        points=ordered,
        from_ns=from_ns,
        to_ns=to_ns,
        provenance=provenance or {},
    ).check()


def _least_squares(x: F64, y: F64, sigma: F64, degree: int) -> tuple[F64, F64, float]:
    """Coefficients, their covariance, chi2 of a polynomial."""
    matrix = np.vander(x, degree + 1, increasing=True) / sigma[:, None]
    covariance = np.asarray(np.linalg.inv(matrix.T @ matrix), np.float64)
    coefficients = np.asarray(covariance @ matrix.T @ (y / sigma), np.float64)
    chi2 = float(((matrix @ coefficients - y / sigma) ** 2).sum())
    return coefficients, covariance, chi2


def _refuse(channel: str, points: Sequence[Point]) -> None:
    what = f"calibration of {channel}"
    if not points:
        raise UsageError(f"{what}: expected one point or more, found none")
    for p in points:
        if not (p.energy_ev > 0 and p.counts > 0 and p.sigma_counts > 0):
            raise UsageError(
                f"{what}: expected energy, counts and their sigma above 0, found {p.energy_ev:g} "
                f"eV at {p.counts:g} +- {p.sigma_counts:g}"
            )
    for a, b in itertools.pairwise(points):
        if a.energy_ev == b.energy_ev or a.counts >= b.counts:
            raise CheckError(
                f"{what}: expected more counts for more energy, found {a.counts:.4g} at "
                f"{a.energy_ev:g} eV and {b.counts:.4g} at {b.energy_ev:g} eV"
            )


# --- many curves ---


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: str
    version: int
    curves: list[Curve]


class Calibration:
    """Curves of channels, each for its time; no two of a channel at one time."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        self.curves = sorted(curves, key=lambda c: (c.channel, c.from_ns))
        for a, b in itertools.pairwise(self.curves):
            if a.channel == b.channel and b.from_ns < a.to_ns:
                raise FormatError(
                    f"calibration of {a.channel}: expected one curve at a time, found two from "
                    f"{b.from_ns} ns on"
                )

    def at(self, channel: str, t_ns: int) -> Curve | None:
        """The curve of a channel that is valid at a time."""
        valid = (c for c in self.curves if c.channel == channel and c.from_ns <= t_ns < c.to_ns)
        return next(valid, None)

    def with_curve(self, curve: Curve) -> Calibration:
        """The same with another curve, which takes the place of what was valid in its time."""
        kept = [part for c in self.curves for part in _without(c, curve)]
        return Calibration([*kept, curve])

    def energies(
        self, channel: str, t_ns: npt.NDArray[np.int64], heights: dict[str, npt.ArrayLike]
    ) -> F64:
        """Energies [eV] of pulses at times, by columns of heights; not-a-number without a curve."""
        result = np.full(t_ns.shape, np.nan)
        for curve in self.curves:
            if curve.channel == channel:
                at = (t_ns >= curve.from_ns) & (t_ns < curve.to_ns)
                result[at] = curve.energy_ev(np.asarray(heights[curve.quantity])[at])
        return result

    def to_json(self) -> bytes:
        """The bytes of a calibration file."""
        stored = _Stored(SCHEMA, VERSION, self.curves)
        return msgspec.json.format(msgspec.json.encode(stored), indent=1)

    @classmethod
    def from_json(cls, text: bytes) -> Calibration:
        """FormatError where they are none."""
        try:
            stored = msgspec.json.decode(text, type=_Stored)
        # msgspec documents neither of the last two, yet bytes from a stranger can raise them
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FormatError(f"expected a calibration: {error}") from error
        if (stored.schema, stored.version) != (SCHEMA, VERSION):
            raise FormatError(
                f"expected {SCHEMA} version {VERSION}, "
                f"found {stored.schema} version {stored.version}"
            )
        for curve in stored.curves:
            _check_shape(curve)
        return cls(stored.curves)


def _check_shape(curve: Curve) -> None:
    """A curve from a file is as good as one that was fitted."""
    n = len(curve.gain)
    _refuse(curve.channel, curve.points)
    if not n or [len(row) for row in curve.covariance] != [n] * n or not curve.scale_ev > 0:
        raise FormatError(
            f"calibration of {curve.channel}: expected gains with a square covariance and a "
            f"scale above 0, found {n} gains, {len(curve.covariance)} rows, {curve.scale_ev:g}"
        )
    curve.check()


def _without(old: Curve, new: Curve) -> list[Curve]:
    """What is left of the time of an old curve."""
    if old.channel != new.channel or new.to_ns <= old.from_ns or old.to_ns <= new.from_ns:
        return [old]
    parts = []
    if old.from_ns < new.from_ns:
        parts.append(msgspec.structs.replace(old, to_ns=new.from_ns))
    if new.to_ns < old.to_ns:
        parts.append(msgspec.structs.replace(old, from_ns=new.to_ns))
    return parts


# --- points from heights ---


@dataclass(frozen=True, slots=True)
class Peaks:
    """How peaks are looked for among heights."""

    bin_counts: float  # of the histogram: below the resolution
    least: int = 20  # records of a peak


def find_points(heights: F64, energies_ev: Sequence[float], how: Peaks) -> list[Point]:
    """One point per energy: the highest peaks of the histogram, in order of their heights."""
    wanted = sorted(energies_ev)
    places = _highest_peaks(heights, len(wanted), how)
    points = []
    for energy, place in zip(wanted, places, strict=True):
        mean, sigma, n = _center(heights, place, how)
        points.append(Point(energy, mean, sigma, n))
    return points


SMOOTH = 2.0  # bins
TAIL = 4  # smoothing lengths beyond the ends


def _highest_peaks(heights: F64, n: int, how: Peaks) -> list[float]:
    if heights.size < how.least:
        raise CheckError(f"expected {how.least} pulses or more, found {heights.size}")
    low = float(heights.min()) - SMOOTH * TAIL * how.bin_counts
    edges = np.arange(low, heights.max() + SMOOTH * TAIL * how.bin_counts, how.bin_counts)
    from scipy.ndimage import gaussian_filter1d  # here: a second, and only this needs them
    from scipy.signal import find_peaks

    counts = gaussian_filter1d(np.histogram(heights, edges)[0].astype(np.float64), SMOOTH)
    peaks, facts = find_peaks(counts, prominence=1e-9)
    best = np.argsort(facts["prominences"])[::-1][:n]
    if best.size < n:
        raise CheckError(f"expected {n} peaks among the heights, found {best.size}")
    return sorted(float(edges[i] + how.bin_counts / 2) for i in peaks[best])


def _center(heights: F64, place: float, how: Peaks) -> tuple[float, float, int]:
    """Mean, its standard deviation and number of the pulses of a peak."""
    half = 4 * SMOOTH * how.bin_counts
    for _ in range(8):
        near = heights[np.abs(heights - place) <= half]
        if near.size < how.least:
            raise CheckError(
                f"expected {how.least} pulses in the peak at {place:.4g} counts, found {near.size}"
            )
        place = float(np.median(near))
        half = max(2.5 * 1.4826 * float(np.median(np.abs(near - place))), how.bin_counts)
    return float(near.mean()), float(near.std(ddof=1) / np.sqrt(near.size)), int(near.size)
