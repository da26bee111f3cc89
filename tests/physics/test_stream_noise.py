"""Streamed noise of a working point has the density that the linear model computes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import signal, stats

from sim_hardware.world.noise import POOL_S, ComputedNoise, pools
from sim_hardware.world.squid_parameters import SquidParameters
from tests.sensor import LINEAR

RATE_HZ = 50e3
SQUID = SquidParameters()


def density(f_hz: np.ndarray) -> np.ndarray:
    return LINEAR.sampled_psd(f_hz, RATE_HZ) + SQUID.current_psd(f_hz)


@pytest.fixture(scope="module")
def pair():
    return pools(ComputedNoise(density=density), RATE_HZ, np.random.default_rng(5))


def test_the_table_of_densities_is_fine_enough():
    """Between its points, from one over a pool's length to half the rate."""
    f_hz = np.arange(1, round(POOL_S * RATE_HZ / 2)) / POOL_S
    assert ComputedNoise(density=density).psd(f_hz) == pytest.approx(density(f_hz), rel=1e-4)


def test_each_pool_has_half_of_the_density(pair):
    """A pool of N samples has exact statistics: its bins are independent; 4 sigma of their mean."""
    edges = (1, 10, 30, 100, 300, 1e3, 3e3, 10e3, 24.9e3)
    for pool in pair:
        f_hz, found = signal.periodogram(pool.astype(float), RATE_HZ)
        ratio = found[1:-1] / (density(f_hz[1:-1]) / 2)
        for low, high in pairwise(edges):
            inside = ratio[(f_hz[1:-1] >= low) & (f_hz[1:-1] < high)]
            tolerance = max(0.01, 4 / np.sqrt(len(inside)))
            assert inside.mean() == pytest.approx(1, abs=tolerance), (low, high)
        assert stats.kstest(ratio, "expon").pvalue > 1e-3  # chi² of two degrees: Gaussian noise


def test_their_sum_has_the_variance_of_the_density(pair):
    f_hz = np.linspace(1 / POOL_S, RATE_HZ / 2, 200_000)
    wanted = np.trapezoid(density(f_hz), f_hz)
    first, second = pair
    assert first.var() + second.var() == pytest.approx(wanted, rel=0.02)
    n = len(second)
    assert abs(np.corrcoef(first[:n], second)[0, 1]) < 0.03


def test_lines_stand_on_top():
    lines = ((50.0, 200e-12), (150.0, 100e-12))
    noise = ComputedNoise(density=density, lines=lines)
    first, _ = pools(noise, RATE_HZ, np.random.default_rng(5))
    spectrum = np.abs(np.fft.rfft(first.astype(float))) / len(first) * np.sqrt(2)
    for f_hz, rms in lines:
        # the noise in a bin has 3 pA rms at 50 Hz
        assert spectrum[round(f_hz * POOL_S)] == pytest.approx(rms, abs=12e-12)
