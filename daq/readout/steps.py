"""What every step of tuning shares: how it fails, and curves for its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from daq.errors import CheckError
from daq.readout.procedures import end
from daq.readout.requests import Picture, Procedure

Floats = npt.NDArray[np.float64]


class StepFailedError(CheckError):
    """A step of tuning did not pass; the message says what was expected and what was found."""


def fail(
    at: str,
    step: str,
    expected: str,
    found: str,
    pictures: Sequence[Picture] = (),
    values: Mapping[str, float] | None = None,
) -> Procedure[None]:
    """End a step that did not pass, and raise StepFailedError."""
    yield from end(at, step, passed=False, values=values, found=found, pictures=pictures)
    raise StepFailedError(f"{at}, {step}: expected {expected}, found {found}")


def xy(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """A curve of a picture."""
    return x.tolist(), y.tolist()


def thinned(x: Floats, y: Floats, n: int = 400) -> tuple[list[float], list[float]]:
    """No more points than a picture can show."""
    step = max(1, len(x) // n)
    return xy(x[::step], y[::step])
