"""Shares of pulses that were found, and where it is half of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from daq.model.channel import TriggerSettings
from daq.readout.efficiency import half_point_ev, share
from daq.services.efficiency import threshold_of
from tests.filters import tes_filter


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


def test_a_threshold_is_told_with_its_noise_triggers():
    one = tes_filter(counts_per_ev=2.0)
    level = 5 * one.sigma
    matched = (TriggerSettings(kind="matched", threshold=level),)
    told = threshold_of(matched, one, {10.0: (40, 4), 15.0: (40, 22), 20.0: (40, 39)})
    per_day = one.f_rms_hz * math.exp(-12.5) * 86_400
    assert told["noise_per_day"] == pytest.approx(per_day)
    assert told["sigma_ev"] == one.sigma / 2
    assert told["salts"] == 120
    assert told["text"] == (
        f"50 % at {told['half_ev']:.1f} eV, by 120 salts, {per_day:.3g} noise triggers per day"
    )
    alone = threshold_of(matched, one, {})["text"]
    assert alone == f"not salted, {per_day:.3g} noise triggers per day"
    assert threshold_of((TriggerSettings(kind="level", threshold=60.0),), None, {}) is None
