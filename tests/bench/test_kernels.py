"""The decimation kernel against the same sum in floats, and against memcpy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from daq.acquire.decimate import taps
from daq.acquire.kernels import decimate
from tests.bench.results import memcpy_s, note

pytestmark = pytest.mark.bench
N = 4_000_000


@njit(fastmath=True)
def in_floats(x, weights, factor, out):
    for j in range(out.size):
        window = x[j * factor : j * factor + weights.size]
        total = weights[0] * 0
        for k in range(weights.size):
            total += window[k] * weights[k]
        out[j] = np.int16(np.floor(total + 0.5))


def cpu_s(act: Callable[[], object]) -> float:
    act()
    times = []
    for _ in range(5):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return float(np.median(times))


@pytest.mark.parametrize("factor", [5, 20])
def test_decimation(factor):
    x = np.rint(np.random.default_rng(1).normal(0, 50, N)).astype(np.int16)
    integers = taps(factor)
    out = np.empty((N - integers.size) // factor, np.int16)
    copy = memcpy_s(x.nbytes)
    whole = cpu_s(lambda: decimate(x, integers, factor, out))
    note(f"decimate by {factor}", N / whole / 1e6, "MS/s", copy / whole, "memcpy")
    for kind in (np.float32, np.float64):
        weights = (integers / 2**15).astype(kind)
        seconds = cpu_s(lambda weights=weights: in_floats(x, weights, factor, out))
        name = f"the same in {np.dtype(kind).name}, factor {factor}"
        note(name, N / seconds / 1e6, "MS/s", whole / seconds, "decimate")
