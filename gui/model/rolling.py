"""The last seconds of every channel's trace, placed in UTC."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.wire.schemas import Traces
from gui.model import columns
from gui.model.frames import Floats, TraceFrame

MAX_BINS = 1 << 16  # whatever a header says, a digitizer's memory here is bounded
MAX_MARKERS = 256  # of one channel, on screen


@dataclass(frozen=True, slots=True)
class Stretch:
    """Channels of one digitizer: `ages_s` [column], negative; `volts` [channel, column, 2]."""

    channels: tuple[str, ...]
    ages_s: npt.NDArray[np.float64]
    volts: Floats


class Strip:
    """The newest bins of one digitizer, `span_s` long; samples lost are not-a-number."""

    def __init__(self, header: Traces, span_s: float) -> None:
        self._shape = _shape(header)
        self.channels = tuple(header.channels)
        self._bin_s = header.bin_samples / header.rate_hz
        self._n_bins = min(max(round(span_s / self._bin_s), 1), MAX_BINS)
        self._values = np.full((len(self.channels), self._n_bins, 2), np.nan, np.float32)
        self._stop = 0  # number of the bin that comes next
        self.stop_ns = 0

    def continues(self, frame: TraceFrame) -> bool:
        """Whether the frame has our channels and bins and does not go back in samples."""
        same = _shape(frame.header) == self._shape
        return same and _first(frame.header) >= self._stop - 1  # a gap may end within a bin

    def add(self, frame: TraceFrame) -> None:
        """Append a frame, after not-a-number for what was missed before it."""
        first, n_new = _first(frame.header), frame.values.shape[1]
        n_missing = min(max(first - self._stop, 0), self._n_bins)
        hole = np.full((len(self.channels), n_missing, 2), np.nan, np.float32)
        new = np.where(np.isfinite(frame.values), frame.values, np.float32(np.nan))
        self._values = np.concatenate([self._values, hole, new], axis=1)[:, -self._n_bins :]
        self._stop = first + n_new
        self.stop_ns = frame.header.t_ns + round(n_new * self._bin_s * 1e9)

    def stretch(self, newest_ns: int, n_columns: int) -> Stretch:
        """At most `n_columns` columns, and how long before `newest_ns` each one is."""
        per_column = columns.per_column(self._n_bins, n_columns - 1)
        first, volts = columns.merged(self._values, self._stop - self._n_bins, per_column)
        middles = first + np.arange(volts.shape[1], dtype=np.float64) + 0.5
        ages_s = (middles * per_column - self._stop) * self._bin_s
        return Stretch(self.channels, ages_s + (self.stop_ns - newest_ns) / 1e9, volts)

    def levels_v(self) -> dict[str, float]:
        """Each channel's median over what is shown; nothing for a channel without samples."""
        middles = 0.5 * (self._values[..., 0] + self._values[..., 1])
        return {
            name: float(np.median(known))
            for name, row in zip(self.channels, middles, strict=True)
            if (known := row[np.isfinite(row)]).size
        }


class Rolling:
    """What the trace window shows: a strip for each digitizer, markers for each channel."""

    def __init__(self, span_s: float) -> None:
        self.span_s = span_s
        self._strips: dict[str, Strip] = {}
        self._markers: dict[str, deque[int]] = {}

    @property
    def newest_ns(self) -> int:
        """UTC of the newest sample of all digitizers; 0 where there is none."""
        return max((strip.stop_ns for strip in self._strips.values()), default=0)

    def add(self, frame: TraceFrame) -> None:
        """Take in what one digitizer sent."""
        header = frame.header
        strip = self._strips.get(header.digitizer)
        if strip is None or not strip.continues(frame):
            strip = self._strips[header.digitizer] = Strip(header, self.span_s)
        strip.add(frame)
        for index, sample in header.triggers:
            t_ns = header.t_ns + round((sample - header.start) / header.rate_hz * 1e9)
            markers = self._markers.setdefault(header.channels[index], deque(maxlen=MAX_MARKERS))
            markers.append(t_ns)

    def clear(self) -> None:
        """Forget everything, because the service began anew."""
        self._strips.clear()
        self._markers.clear()

    def stretches(self, n_columns: int) -> list[Stretch]:
        """What each digitizer has within the span."""
        return [s.stretch(self.newest_ns, n_columns) for s in self._strips.values()]

    def marker_ages_s(self, channel: str) -> list[float]:
        """Trigger times of a channel within the span, as seconds before the newest sample."""
        newest = self.newest_ns
        ages = [(t_ns - newest) / 1e9 for t_ns in self._markers.get(channel, ())]
        return [age for age in ages if -self.span_s <= age <= 0]

    def levels_v(self) -> dict[str, float]:
        """Each channel's median voltage over the span."""
        return {k: v for strip in self._strips.values() for k, v in strip.levels_v().items()}


def _shape(header: Traces) -> tuple[tuple[str, ...], int, float]:
    return tuple(header.channels), header.bin_samples, header.rate_hz


def _first(header: Traces) -> int:
    """Number of the frame's first bin, counted from sample 0."""
    return (header.start + header.bin_samples // 2) // header.bin_samples
