"""From the records of a channel to the points that a picture shows; what is left out has a rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.report.source import Samples

Values = npt.NDArray[np.floating]

MAX_TRACES = 5
NOISE_STRETCH, NOISE_STRETCHES = 20, 10
CHUNKS = 240
BIN_WIDTHS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
MAX_TIME_BINS = 48
BINS_PER_DECADE = 25


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a line; not-a-number breaks it."""

    x: Values
    y: Values


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values per bin; one edge more than values."""

    edges: Values
    values: Values


@dataclass(frozen=True, slots=True)
class Noise:
    """Root of the one-sided PSD [V/sqrt(Hz)] against frequency [Hz], from `n_records` records."""

    density: Curve
    n_records: int


def traces(channel: Channel, table: Rows, samples: Samples) -> list[Curve]:
    """The newest records, oldest first: seconds since the trigger, volts above the baseline."""
    newest = slice(max(len(table) - MAX_TRACES, 0), len(table))
    return [_trace(channel, *pair) for pair in zip(table[newest], samples[newest], strict=True)]


def noise(channel: Channel, table: Rows, samples: Samples) -> Noise | None:
    """The noise in the pretriggers of records without any flag; None without any.

    Hann window, mean removed, the power averaged over the records of some stretches.
    """
    from scipy import signal  # here: it takes a second, and every command passes by

    clean = table["flags"] == 0
    looked_at = [samples[s][clean[s], : channel.pretrigger] for s in stretches(len(table))]
    pretriggers = np.concatenate([np.empty((0, channel.pretrigger)), *looked_at])
    if not len(pretriggers):
        return None
    frequencies, power = signal.periodogram(
        pretriggers * channel.volts_per_count, channel.record_rate_hz, "hann", detrend="constant"
    )
    inner = slice(1, -1)  # the mean was removed, and at Nyquist there is but one side
    density = np.sqrt(power.mean(axis=0))
    return Noise(Curve(frequencies[inner], density[inner]), len(pretriggers))


def stretches(n: int) -> list[slice]:
    """Where to look among n records: consecutive ones, as they are stored, all over the run."""
    starts = np.arange(0, n, NOISE_STRETCH)
    return [slice(i, i + NOISE_STRETCH) for i in starts[spread(len(starts), NOISE_STRETCHES)]]


def heights(volts: Values, low: float, high: float) -> Histogram:
    """Counts in logarithmic bins from `low` to `high`, whole powers of ten."""
    n_bins = round(np.log10(high / low) * BINS_PER_DECADE)
    edges = np.geomspace(low, high, n_bins + 1)
    edges[0], edges[-1] = low, high  # whatever was rounded between them
    return Histogram(edges, np.histogram(volts, edges)[0].astype(np.float64))


def rates(t_ns: npt.NDArray[np.int64], start_ns: int, stop_ns: int) -> Histogram:
    """Records per second against seconds since the start; the last bin ends with the run."""
    duration_s = max((stop_ns - start_ns) * 1e-9, 1e-3)
    width_s = bin_width_s(duration_s)
    edges = np.append(np.arange(max(round(duration_s / width_s), 1)) * width_s, duration_s)
    counts = np.histogram((t_ns - start_ns) * 1e-9, edges)[0]
    return Histogram(edges, counts / np.diff(edges))


def bin_width_s(duration_s: float) -> float:
    """The shortest width with which a run has no more than MAX_TIME_BINS bins."""
    fitting = (w for w in BIN_WIDTHS_S if duration_s <= w * MAX_TIME_BINS)
    return next(fitting, duration_s / MAX_TIME_BINS)


def thin(x: Values, y: Values) -> Curve:
    """At most 2 * CHUNKS of the points: lowest and highest of each chunk, or its first break."""
    size = -(-len(y) // CHUNKS)
    if size < 3:
        return Curve(x, y)
    kept = np.sort(np.fromiter(_extremes(y, size), np.int64))
    return Curve(x[kept], y[kept])


def spread(n: int, most: int) -> npt.NDArray[np.int64]:
    """At most `most` of n indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def decades(values: Values) -> tuple[float, float]:
    """The whole powers of ten around positive values; 1 to 10 where there are none."""
    positive = values[values > 0]
    if not len(positive):
        return 1.0, 10.0
    low, high = math.floor(math.log10(positive.min())), math.ceil(math.log10(positive.max()))
    low -= int(10.0**low > positive.min())  # a logarithm may have been rounded to a whole number
    high += int(10.0**high < positive.max())
    return 10.0**low, 10.0 ** max(high, low + 1)


def _trace(channel: Channel, row: np.void, samples: npt.NDArray[np.int16]) -> Curve:
    after_trigger = (int(row["trigger"]) - int(row["start"])) / channel.sample_rate_hz
    t_s = np.arange(len(samples)) / channel.record_rate_hz - after_trigger
    return thin(t_s, (samples - float(row["baseline"])) * channel.volts_per_count)


def _extremes(y: Values, size: int) -> Iterator[int]:
    for start in range(0, len(y), size):
        chunk = y[start : start + size]
        yield from {start + int(chunk.argmin()), start + int(chunk.argmax())}
