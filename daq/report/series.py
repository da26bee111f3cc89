"""The readings of a run, parameter by parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows
from daq.report import text
from daq.report.curves import Curve, Values, thin

SILENT_PERIODS = 5  # after so many without a reading a line breaks


@dataclass(frozen=True, slots=True)
class Series:
    """All readings of one parameter, in the order of time; errors and texts are not-a-number."""

    instrument: str
    parameter: str
    unit: str
    t_ns: npt.NDArray[np.int64]
    values: Values
    errors: int
    last: str

    @property
    def finite(self) -> Values:
        """The values that are numbers."""
        return self.values[np.isfinite(self.values)]

    @property
    def extent(self) -> tuple[float | None, float | None, float | None]:
        """Lowest, median, highest; None where there is no number."""
        if not len(self.finite):
            return None, None, None
        return float(self.finite.min()), float(np.median(self.finite)), float(self.finite.max())

    @property
    def varies(self) -> bool:
        """Whether there is anything to see in a picture of it."""
        return bool(len(self.finite)) and bool(np.ptp(self.finite) > 0)


def all_series(readings: Rows) -> list[Series]:
    """The readings by instrument and parameter, in the order in which they first appear."""
    keys = zip(readings["instrument"].tolist(), readings["parameter"].tolist(), strict=True)
    codes: dict[tuple[bytes, bytes], int] = {}
    code = np.array([codes.setdefault(key, len(codes)) for key in keys], np.int64)
    ordered = readings[np.argsort(code, kind="stable")]
    stops = np.cumsum(np.bincount(code, minlength=len(codes)))
    return [_series(rows) for rows in np.split(ordered, stops[:-1])] if len(codes) else []


def line(found: Series, start_ns: int) -> Curve:
    """Values against seconds since the start, broken where the instrument was silent.

    What was read before the start is what was known at the start.
    """
    t_s = np.maximum((found.t_ns - start_ns) * 1e-9, 0.0)
    steps = np.diff(t_s, prepend=t_s[0])
    silent = np.flatnonzero(steps > SILENT_PERIODS * np.median(steps))
    return thin(np.insert(t_s, silent, t_s[silent]), np.insert(found.values, silent, np.nan))


def _series(rows: Rows) -> Series:
    rows = rows[np.argsort(rows["t_ns"], kind="stable")]
    last = rows[-1]
    return Series(
        instrument=text.words(last["instrument"]),
        parameter=text.words(last["parameter"]),
        unit=text.words(last["unit"]),
        t_ns=rows["t_ns"],
        values=rows["value"],
        errors=int(np.count_nonzero(rows["source"] == b"error")),
        last=text.words(last["text"]),
    )
