"""Histograms of pulse heights or energies: since the run began, or of the last minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from daq.errors import WireError

SNAPSHOT_S = 10.0
KEPT = 6 * 61  # an hour
Counts = npt.NDArray[np.int64]
# energies that one looks for, in eV: X-rays of calibration sources and of what is around crystals
LINES: Final = {
    "C Ka": 277.0,
    "O Ka": 524.9,
    "Al Ka": 1486.7,
    "Ca Ka": 3691.7,
    "Mn Ka": 5895.0,
    "Mn Kb": 6490.4,
    "Cu Ka": 8040.0,
    "W La": 8397.6,
}


class Histogram(msgspec.Struct, frozen=True):
    """What the core tells of one channel: counts in equal bins from 0 to `top`."""

    unit: str
    top: float
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A histogram to draw: edges of the bins in `unit`, counts, and over how long [s]."""

    unit: str
    edges: npt.NDArray[np.float64]
    counts: Counts
    over_s: float | None  # None: since the run began


class SpectraBook:
    """Takes what the core tells now and then, and keeps how it was an hour back."""

    def __init__(self) -> None:
        self._now: dict[str, Histogram] = {}
        self._past: dict[str, deque[tuple[float, Counts]]] = {}

    def take(self, told: object, now_s: float) -> None:
        """Take in the answer to "spectra"; WireError where it is none."""
        try:
            found = msgspec.convert(told, dict[str, Histogram])
        except msgspec.ValidationError as error:
            raise WireError(f"expected spectra of channels, found: {error}") from error
        for name, histogram in found.items():
            self._keep(name, histogram, now_s)
        self._now = found

    def channels(self) -> list[str]:
        """Those with pulses."""
        return list(self._now)

    def of(self, channel: str, minutes: float | None, bins: int, now_s: float) -> Shown | None:
        """A channel's, since the start or of the last minutes, in about `bins` bins."""
        histogram = self._now.get(channel)
        if histogram is None or not histogram.counts:
            return None
        counts, over_s = np.array(histogram.counts, np.int64), None
        if minutes is not None:
            begun_s, before = self._before(channel, now_s - 60 * minutes)
            counts, over_s = counts - before, now_s - begun_s
        per_bin = max(len(counts) // max(bins, 1), 1)
        starts = np.arange(0, len(counts), per_bin)
        edges = np.append(starts, len(counts)) * (histogram.top / len(counts))
        return Shown(histogram.unit, edges, np.add.reduceat(counts, starts), over_s)

    def _before(self, channel: str, t_s: float) -> tuple[float, Counts]:
        """When and what it was at that time, or as far back as is known."""
        past = self._past[channel]
        return next((row for row in reversed(past) if row[0] <= t_s), past[0])

    def _keep(self, name: str, histogram: Histogram, now_s: float) -> None:
        counts = np.array(histogram.counts, np.int64)
        before = self._now.get(name)
        past = self._past.setdefault(name, deque(maxlen=KEPT))
        if before is not None and (before.top != histogram.top or _fewer(counts, before)):
            past.clear()  # another run began
        if not past or now_s - past[-1][0] >= SNAPSHOT_S:
            past.append((now_s, counts))


def _fewer(counts: Counts, before: Histogram) -> bool:
    return int(counts.sum()) < sum(before.counts)
