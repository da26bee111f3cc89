"""How the gain, the width of a line and the noise of a channel went during a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.report.curves import Curve, Values

BIN = 1.03  # ratio of the edges of the histogram in which the line is looked for
WINDOW = 0.15  # half width of what counts for the line, relative to it
LEAST_LINE, LEAST_BIN = 20, 3
MOST_BINS = 24
SIGNAL = 8.0  # baselines' rms above which a height is a pulse
FWHM_OF_QUARTILES = 2.3548 / 1.349  # of a normal distribution: FWHM over interquartile range


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A channel's strongest line against time: values relative to the whole run's, hours since
    its start; `fwhm` is relative to the line. None where there are too few records."""

    name: str
    n_line: int
    line_v: float | None
    fwhm: float | None
    gain: Curve
    noise: Curve

    @property
    def gain_change(self) -> float | None:
        """From the first stretch to the last, as a share."""
        return _change(self.gain.y)

    @property
    def noise_change(self) -> float | None:
        """The same of the baselines' noise."""
        return _change(self.noise.y)


def drift(channel: Channel, table: Rows, start_ns: int, stop_ns: int) -> Drift:
    """How a channel went."""
    heights, noise = table["height"].astype(np.float64), table["baseline_rms"].astype(np.float64)
    hours = (table["t_ns"] - start_ns) / 3.6e12
    line = strongest_line(heights[(heights > SIGNAL * noise) & (heights > 0)])
    near = np.zeros(len(table), bool)
    if line is not None:
        near = (np.abs(heights / line - 1) < WINDOW) & (table["flags"] == 0)
    n_line = int(np.count_nonzero(near))
    if line is None or n_line < LEAST_LINE:
        line, near, n_line = None, np.zeros(len(table), bool), 0
    span_h = max((stop_ns - start_ns) / 3.6e12, 1e-9)
    middle = float(np.median(heights[near])) if n_line else 1.0
    return Drift(
        name=channel.name,
        n_line=n_line,
        line_v=None if line is None else middle * channel.volts_per_count,
        fwhm=_fwhm(heights[near] / middle) if n_line else None,
        gain=_binned(hours[near], heights[near] / middle, span_h),
        noise=_binned(hours, noise / max(float(np.median(noise)), 1e-9) if len(noise) else noise,
                      span_h),
    )  # fmt: skip


def strongest_line(heights: Values) -> float | None:
    """The middle of the fullest of narrow logarithmic bins; None without enough pulses."""
    if len(heights) < LEAST_LINE:
        return None
    bins = np.round(np.log(heights) / np.log(BIN)).astype(np.int64)
    found, counts = np.unique(bins, return_counts=True)
    return float(BIN ** found[int(np.argmax(counts))])


def _binned(hours: Values, values: Values, span_h: float) -> Curve:
    """Medians over equal stretches that have enough values."""
    n_bins = int(np.clip(len(hours) // (2 * LEAST_BIN), 1, MOST_BINS))
    which = np.clip((hours / span_h * n_bins).astype(np.int64), 0, n_bins - 1)
    kept = [i for i in range(n_bins) if np.count_nonzero(which == i) >= LEAST_BIN]
    middles = np.array([(i + 0.5) * span_h / n_bins for i in kept], np.float64)
    return Curve(middles, np.array([np.median(values[which == i]) for i in kept], np.float64))


def _fwhm(values: Values) -> float:
    low, high = np.percentile(values, [25, 75])
    return float((high - low) * FWHM_OF_QUARTILES)


def _change(values: Values) -> float | None:
    return float(values[-1] / values[0] - 1) if len(values) > 1 and values[0] else None
