"""A small recording like the real ones, for where these are not; and these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sim_hardware.ljh import LjhFile, new_ljh, read_ljh

Floats = npt.NDArray[np.float64]

REAL = Path(__file__).parents[2] / "shared" / "data"
TIMEBASE_S = 5.12e-6
LENGTH, PRESAMPLES, RISE = 512, 192, 194  # the pulses rise 2 samples after the presamples
CORRELATION, SIGMA = 0.9, 20.0  # of the noise: each sample with the next; of its values
DECAY = 60.0  # samples


def real(name: str) -> LjhFile:
    """One of the real files, or a skip that says why."""
    if not (REAL / name).exists():
        pytest.skip(f"{REAL} with real pulses is not beside the checkout")
    return read_ljh(REAL / name)


def noise(rng: np.random.Generator, n_stretches: int, length: int) -> Floats:
    """First-order autoregressive noise [stretch, sample], of which everything is known."""
    steps = rng.standard_normal((n_stretches, length)) * SIGMA
    steps[:, 1:] *= np.sqrt(1 - CORRELATION**2)
    for i in range(1, length):
        steps[:, i] += CORRELATION * steps[:, i - 1]
    return steps


def pulse(height: float, decay: float = DECAY) -> Floats:
    """A pulse in a record: it rises within 3 samples, and is not over at the record's end."""
    since = np.arange(LENGTH) - RISE + 1.0
    shape = np.exp(-since / decay) - np.exp(-since / 2.0)
    return np.where(since > 0, height * shape, 0.0)


def pulses(
    n_records: int = 40,
    *,
    seed: int = 1,
    level: float = 3000.0,
    heights: Floats | None = None,
    decay: float = DECAY,
    start_us: int = 1_000_000,
    mean_distance_us: float = 12_000.0,
    sign: int = 1,
    version: str = "2.1.0",
) -> LjhFile:
    """Records of one pulse each at random times, none within another."""
    rng = np.random.default_rng(seed)
    if heights is None:
        heights = rng.uniform(2000.0, 8000.0, n_records)
    shapes = np.array([pulse(height, decay) for height in heights]).reshape(-1, LENGTH)
    values = level + sign * shapes + noise(rng, n_records, LENGTH)
    distances = LENGTH * TIMEBASE_S * 1e6 + 8 + rng.exponential(mean_distance_us, n_records)
    times_us = start_us + np.cumsum(distances).astype(np.int64) // 4 * 4
    return new_ljh(
        version=version,
        timebase_s=TIMEBASE_S,
        presamples=PRESAMPLES,
        times_us=times_us,
        samples=np.rint(values).astype(np.uint16),
        timestamp_offset_s=1_500_000_000.0,
    )
