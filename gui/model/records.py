"""The last records of every channel: for overlays, averages and pictures of their density."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.model.record import Cause, Flag, mask_of
from daq.wire.schemas import Pulses
from gui.model.frames import PulseFrame

KEPT = 50
ROWS = 120  # of a picture of densities
NOISE = mask_of((Cause.RANDOM, Cause.PERIODIC))
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its header, its row of RECORD and its samples [ADC counts]."""

    header: Pulses
    row: np.void
    samples: npt.NDArray[np.int16]

    @property
    def is_noise(self) -> bool:
        """Whether nothing but chance or the clock asked for it, and nothing was found in it."""
        causes, flags = int(self.row["causes"]), int(self.row["flags"])
        return bool(causes & NOISE) and not causes & ~NOISE and not flags & Flag.PILED_UP

    def volts(self) -> F64:
        """Its samples above its own baseline."""
        above = self.samples.astype(np.float64) - float(self.row["baseline"])
        return above * self.header.volts_per_count

    def times_s(self) -> F64:
        """When, from the trigger on."""
        n = len(self.samples)
        return (np.arange(n) - self.header.pretrigger) / self.header.rate_hz


class RecordBook:
    """The last records by channel."""

    def __init__(self) -> None:
        self._books: dict[str, deque[Record]] = {}

    def add(self, frame: PulseFrame) -> list[Record]:
        """Take in what one message holds."""
        book = self._books.setdefault(frame.header.channel, deque(maxlen=KEPT))
        added = [
            Record(frame.header, row, samples)
            for row, samples in zip(frame.rows, frame.samples, strict=True)
        ]
        if book and book[-1].header.record_length != frame.header.record_length:
            book.clear()  # another config: what was before has another length
        book.extend(added)
        return added

    def of(self, channel: str, *, noise: bool = True) -> list[Record]:
        """A channel's records, the newest last; without those of noise where not `noise`."""
        book = self._books.get(channel, ())
        return [record for record in book if noise or not record.is_noise]

    def noise_v(self, channel: str) -> float | None:
        """Median standard deviation of the pretriggers [V]; None without records."""
        found = [
            float(r.row["baseline_rms"]) * r.header.volts_per_count
            for r in self._books.get(channel, ())
        ]
        return float(np.median(found)) if found else None

    def volts_per_count(self, channel: str) -> float | None:
        """As the newest record says."""
        book = self._books.get(channel)
        return book[-1].header.volts_per_count if book else None


def average(records: list[Record]) -> F64:
    """The mean of records of one length, each above its own baseline [V]."""
    return np.asarray(np.mean([record.volts() for record in records], axis=0))


def density(records: list[Record], n_columns: int, low: float, high: float) -> F64:
    """How many samples fall where: [row from `low` to `high`, column of the record]."""
    picture = np.zeros((ROWS, n_columns))
    for record in records:
        volts = record.volts()
        columns = np.arange(len(volts)) * n_columns // len(volts)
        rows = np.floor((volts - low) / max(high - low, 1e-30) * ROWS).astype(np.int64)
        inside = (rows >= 0) & (rows < ROWS)
        np.add.at(picture, (rows[inside], columns[inside]), 1.0)
    return picture
