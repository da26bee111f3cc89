"""Minimum and maximum per pixel column: the most that a screen can show of many samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gui.model.frames import Floats


def merged(values: Floats, first: int, per_column: int) -> tuple[int, Floats]:
    """Columns of `per_column` bins from [channel, bin, 2], and the number of the first column.

    `first` is the number of the first bin; columns begin at whole multiples of `per_column`, so
    that a rolling trace keeps its shape. Columns at the ends may hold fewer bins; a column is
    not-a-number where all its bins are.
    """
    n_channels, n_bins, _ = values.shape
    column = first // per_column
    before = first - column * per_column
    after = -(before + n_bins) % per_column
    padded = np.pad(values, ((0, 0), (before, after), (0, 0)), constant_values=np.nan)
    grouped = padded.reshape(n_channels, -1, per_column, 2)
    found = grouped[:, :, 0].copy()
    for i in range(1, per_column):  # few, and much faster than a reduction of so short an axis
        np.fmin(found[..., 0], grouped[:, :, i, 0], out=found[..., 0])
        np.fmax(found[..., 1], grouped[:, :, i, 1], out=found[..., 1])
    return column, found


def of_samples(samples: npt.NDArray[np.int16], per_column: int) -> npt.NDArray[np.float64]:
    """[column, 2] of lowest and highest from one record; its last column may hold fewer samples."""
    starts = np.arange(0, len(samples), per_column)
    lows, highs = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return np.stack([lows, highs], axis=-1).astype(np.float64)


def per_column(n_bins: int, n_columns: int) -> int:
    """Bins that share a column so that no more than `n_columns` are drawn."""
    return max(-(-n_bins // max(n_columns, 1)), 1)
