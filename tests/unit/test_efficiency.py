"""Shares of pulses that were found, and where it is half of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from daq.readout.efficiency import half_point_ev, share


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    for truth in (0.05, 0.5, 0.97):
        found = rng.binomial(40, truth, 500)
        shares = [share(1.0, 40, int(n)) for n in found]
        # exact intervals cover at least their level: 0.68 less 3 sigma of 500 trials
        assert np.mean([s.low <= truth <= s.high for s in shares]) > 0.6827 - 0.063


def test_none_or_all_found_leave_the_end_open():
    assert (share(1.0, 10, 0).low, share(1.0, 10, 10).high, share(1.0, 0, 0).high) == (0, 1, 1)


def test_the_half_point_is_that_of_the_curve_that_made_the_counts():
    rng = np.random.default_rng(7)
    energies = np.array([8.0, 12.0, 16.0, 20.0, 30.0])
    chances = scipy.stats.norm.cdf((energies - 14.6) / 3.0)
    found = [
        half_point_ev([
            share(float(e), 200, int(rng.binomial(200, p)))
            for e, p in zip(energies, chances, strict=True)
        ])
        for _ in range(40)
    ]  # fmt: skip
    assert np.mean(found) == pytest.approx(14.6, abs=0.2)
    assert np.std(found) < 0.5


def test_what_does_not_cross_a_half_has_no_half_point():
    assert half_point_ev([]) is None
    assert half_point_ev([share(10.0, 50, 49), share(20.0, 50, 50)]) is None
    assert half_point_ev([share(1.0, 50, 3), share(2.0, 50, 10)]) is None
