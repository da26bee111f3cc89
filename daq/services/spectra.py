"""Live spectra: what each channel's pulses were since the run began, for eyes.

Heights fall into `BINS` bins a channel: of energy where the channel is calibrated, else of counts.
Salts and what they reach into are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from daq.model.batch import Rows, together
from daq.model.record import PULSES, RECORD, Flag, plain
from daq.readout.calibration import Calibration
from daq.services.calibrate import energies_of

BINS = 512
FULL_SCALE = 32768.0  # ADC counts
AT_ONCE = 64  # tables
ABOVE = 1.25  # of the highest calibrated energy is shown


class Spectra:
    """Histograms by channel."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._counts: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        self._tops: dict[str, tuple[str, float]] = {}
        self._fresh: dict[str, list[Rows]] = {}  # not counted yet: many at once cost as few

    def count(self, channel: str, table: Rows) -> None:
        """Add RECORD rows of a channel."""
        fresh = self._fresh.setdefault(channel, [])
        fresh.append(table)
        if len(fresh) >= AT_ONCE:
            self._count(channel, self._fresh.pop(channel))

    def _count(self, channel: str, tables: list[Rows]) -> None:
        table = together(tables, plain(RECORD))
        pulses = (table["causes"] & PULSES > 0) & (table["flags"] & Flag.SALTED == 0)
        rows = table[pulses]
        if not len(rows):
            return
        unit, top = self._tops.setdefault(channel, self._scale(channel))
        values = energies_of(self._calibration, channel, rows) if unit == "eV" else rows["height"]
        at = np.floor(values[np.isfinite(values)] / top * BINS)
        inside = at[(at >= 0) & (at < BINS)].astype(np.int64)
        counts = self._counts.setdefault(channel, np.zeros(BINS, np.int64))
        counts += np.bincount(inside, minlength=BINS)

    # Any: JSON
    def told(self) -> Mapping[str, Mapping[str, Any]]:
        """{channel: {"unit", "top" of the last bin, "counts" by bin}}."""
        while self._fresh:
            self._count(*self._fresh.popitem())
        return {
            name: {"unit": self._tops[name][0], "top": self._tops[name][1], "counts": c.tolist()}
            for name, c in self._counts.items()
        }

    def _scale(self, channel: str) -> tuple[str, float]:
        curves = [c for c in self._calibration.curves if c.channel == channel]
        if not curves:
            return "counts", FULL_SCALE
        return "eV", ABOVE * max(c.highest_ev for c in curves)
