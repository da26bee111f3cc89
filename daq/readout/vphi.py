"""What a V-phi curve says: period, depth, and the points to lock at on either slope.

The curve is a Fourier series in the flux. Its period is found by variable projection: for a period
the series follows by linear least squares, so that only the period itself is searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from daq.errors import CheckError

Floats = npt.NDArray[np.float64]
EVEN = 0.94  # of the steepest slope, in the middle
SEARCH = 0.35  # of the expected period, to either side
SCANNED = 141  # periods
GRID = 2000  # points of a period
LEAST_POINTS = 12
NEARLY = 0.995  # of the steepest slope is as good as that


@dataclass(frozen=True, slots=True)
class VPhi:
    """A fitted curve: volts at the open output against the current in the flux line.

    `coefficients` are mean, cosines and sines of the series; `explained` is the share of the
    variance that it accounts for, `noise_v` the deviation that is left.
    """

    period_a: float
    period_sigma_a: float
    coefficients: Floats
    explained: float
    noise_v: float

    @property
    def depth_v(self) -> float:
        """Peak to peak."""
        return float(np.ptp(self.at(self._grid)))

    @property
    def middle_v(self) -> float:
        """Halfway between the extremes: where a loop holds equally much to either side."""
        curve = self.at(self._grid)
        return float(curve.max() + curve.min()) / 2

    def at(self, flux_a: npt.ArrayLike) -> Floats:
        """The voltage at currents."""
        flux = np.asarray(flux_a, np.float64)
        return np.asarray(_basis(flux, self.period_a, self._harmonics) @ self.coefficients)

    def slope_v_per_phi0(self, flux_a: npt.ArrayLike) -> Floats:
        """The transfer at currents, in V per flux quantum."""
        step = self.period_a / GRID
        flux = np.asarray(flux_a, np.float64)
        return np.asarray((self.at(flux + step) - self.at(flux - step)) / (2 / GRID))

    def lock_points(self, low_a: float, high_a: float) -> tuple[float, float]:
        """Currents in a range to lock at where the curve rises, and where it falls.

        Those nearest to 0, in a period or less to either side of it.
        Of the points whose slope is within `NEARLY` of the steepest on that side, the one whose
        voltage is nearest to the middle: the loop then holds about equally much to either side.
        """
        low, high = max(low_a, -self.period_a), min(high_a, self.period_a)
        flux = np.linspace(low, high, 2 * GRID + 1)
        slope, off = self.slope_v_per_phi0(flux), np.abs(self.at(flux) - self.middle_v)
        return self._lock_point(flux, slope, off), self._lock_point(flux, -slope, off)

    @property
    def is_even(self) -> bool:
        """Whether it is about as steep in its middle as anywhere: there a loop can hold.

        Near the critical current and below it, it is steepest at its sharp end.
        """
        slope = np.abs(self.slope_v_per_phi0(self._grid))
        off = np.abs(self.at(self._grid) - self.middle_v)
        return bool(slope[off < self.depth_v / 50].min() > EVEN * slope.max())

    @staticmethod
    def _lock_point(flux: Floats, slope: Floats, off_v: Floats) -> float:
        steep = slope >= NEARLY * slope.max()
        best = steep & (off_v <= off_v[steep].min() + 1e-3 * off_v.max())
        return float(flux[best][np.argmin(np.abs(flux[best]))])

    @property
    def _harmonics(self) -> int:
        return (len(self.coefficients) - 1) // 2

    @property
    def _grid(self) -> Floats:
        return np.linspace(0.0, self.period_a, GRID, endpoint=False)


def fit(flux_a: npt.ArrayLike, volts: npt.ArrayLike, expected_a: float) -> VPhi:
    """The curve through points over one period or more; CheckError where they are too few."""
    flux, values = np.asarray(flux_a, np.float64), np.asarray(volts, np.float64)
    if len(flux) < LEAST_POINTS or np.ptp(flux) < expected_a:
        raise CheckError(
            f"expected {LEAST_POINTS} points of V-phi over {expected_a:g} A or more, found "
            f"{len(flux)} over {np.ptp(flux):g} A"
        )
    n = min(12, (len(flux) - 4) // 4)
    trial = np.linspace(1 - SEARCH, 1 + SEARCH, SCANNED) * expected_a
    # few harmonics first: many of a wrong period explain much, too
    cost = [_residual(flux, values, period, min(3, n)) for period in trial]
    near = float(trial[int(np.argmin(cost))])
    width = float(trial[1] - trial[0])
    found = minimize_scalar(
        lambda period: _residual(flux, values, period, n),
        bounds=(near - width, near + width),
        method="bounded",
        options={"xatol": 1e-6 * expected_a},
    )
    return _fitted(flux, values, float(found.x), n)


def fit_with(flux_a: npt.ArrayLike, volts: npt.ArrayLike, period_a: float) -> VPhi:
    """The curve through points over a period or more that is known."""
    flux, values = np.asarray(flux_a, np.float64), np.asarray(volts, np.float64)
    return _fitted(flux, values, period_a, min(8, (len(flux) - 4) // 4))


def _fitted(flux: Floats, values: Floats, period: float, n: int) -> VPhi:
    basis = _basis(flux, period, n)
    coefficients: Floats = np.asarray(np.linalg.lstsq(basis, values, rcond=None)[0], np.float64)
    left = values - basis @ coefficients
    freedom = max(1, len(values) - basis.shape[1] - 1)
    noise = float(np.sqrt(np.sum(left**2) / freedom))
    variance = float(np.var(values))
    return VPhi(
        period_a=period,
        period_sigma_a=_sigma(flux, period, n, coefficients, noise),
        coefficients=coefficients,
        explained=1 - float(np.mean(left**2)) / variance if variance else 0.0,
        noise_v=noise,
    )


def _sigma(flux: Floats, period: float, n: int, coefficients: Floats, noise: float) -> float:
    """One standard deviation of the period, with the series free as well."""
    step = 1e-6 * period
    higher, lower = (_basis(flux, p, n) @ coefficients for p in (period + step, period - step))
    basis = np.column_stack([_basis(flux, period, n), (higher - lower) / (2 * step)])
    scale = np.linalg.norm(basis, axis=0)
    scale[scale == 0] = 1.0
    covariance = np.linalg.pinv((basis / scale).T @ (basis / scale))
    return float(noise * np.sqrt(max(covariance[-1, -1], 0.0)) / scale[-1])


def _residual(flux: Floats, values: Floats, period: float, n: int) -> float:
    basis = _basis(flux, period, n)
    left = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    return float(left @ left)


def _basis(flux: Floats, period: float, n: int) -> Floats:
    turns = 2 * np.pi * np.multiply.outer(flux / period, np.arange(1, n + 1))
    return np.concatenate([np.ones((*flux.shape, 1)), np.cos(turns), np.sin(turns)], axis=-1)
