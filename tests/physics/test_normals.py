"""The counter-based normals are normal, and independent of each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sim_hardware.world.normals import fill, key

N = 4_000_000


@pytest.fixture(scope="module")
def deviates() -> np.ndarray:
    out = np.empty(N)
    fill(out, np.uint64(key(1, "C11", "test")), np.uint64(0))
    return out


def test_they_are_normal(deviates):
    """Kolmogorov's distance of all, and the counts in 60 bins out to 4.5 sigma; fixed seed."""
    assert stats.kstest(deviates, "norm").pvalue > 1e-3
    edges = np.linspace(-4.5, 4.5, 61)
    counts, _ = np.histogram(deviates, edges)
    wanted = N * np.diff(stats.norm.cdf(edges))
    assert stats.chi2.sf(((counts - wanted) ** 2 / wanted).sum(), 60) > 1e-3


def test_their_tails_are_those_of_a_normal(deviates):
    """Beyond 3.654 the ziggurat has its tail; 4 sigma of the counts."""
    for limit in (3.0, 3.6, 3.7, 4.0, 4.5):
        wanted = N * stats.norm.sf(limit)
        for found in ((deviates > limit).sum(), (deviates < -limit).sum()):
            assert abs(found - wanted) < 4 * np.sqrt(wanted)


def test_neighbors_are_independent(deviates):
    """Also the squares; 4 sigma of a correlation is 4/sqrt(N)."""
    for lag in (1, 2, 3, 1000):
        for each in (deviates, deviates**2):
            assert abs(np.corrcoef(each[:-lag], each[lag:])[0, 1]) < 4 / np.sqrt(N)


def test_keys_differ_in_each_part():
    keys = {key(s, c, p) for s in range(3) for c in ("C11", "C12") for p in ("a", "b")}
    assert len(keys) == 12
    first, other = np.empty(100_000), np.empty(100_000)
    fill(first, np.uint64(key(1, "C11", "a")), np.uint64(0))
    fill(other, np.uint64(key(1, "C12", "a")), np.uint64(0))
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(100_000)
