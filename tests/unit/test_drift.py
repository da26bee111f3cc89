"""A gain followed by pulses: a night's drift is corrected, and its uncertainty is honest."""

from __future__ import annotations

import numpy as np
import pytest

from daq.readout.drift import REFERENCES, Drift

NIGHT_S = 10 * 3600.0
EVERY_S = 10.0
SIGMA = {0.5: 0.03, 2.0: 0.006}  # relative, of a small and of a large test pulse


def night(drift, seed, gain):
    """(true gain, Gain) after each pulse of a night."""
    rng, found = np.random.default_rng(seed), []
    for i, at in enumerate(np.arange(0.0, NIGHT_S, EVERY_S).tolist()):
        rung = (0.5, 2.0)[i % 2]
        height = 300 * rung**2 * gain(at) * (1 + SIGMA[rung] * rng.standard_normal())
        drift.take(at, rung, height)
        if i > 4 * REFERENCES:
            found.append((gain(at), *drift.gain))
    return np.array(found)


@pytest.mark.parametrize("seed", range(5))
def test_five_percent_in_a_night_are_corrected_to_half_a_percent(seed):
    found = night(Drift(0.01), seed, lambda s: 1 - 0.05 * s / NIGHT_S)
    corrected = found[:, 0] / found[:, 1]
    assert np.sqrt(np.mean((corrected - 1) ** 2)) < 0.005  # which has the references' error, too
    hour = round(3600 / EVERY_S)
    assert abs(corrected[-hour:].mean() / corrected[:hour].mean() - 1) < 0.003


def test_the_uncertainty_is_that_of_the_estimate():
    """Where the gain is the random walk that it is taken for."""
    pulls = []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        steps = 0.01 * np.sqrt(EVERY_S / 3600) * rng.standard_normal(round(NIGHT_S / EVERY_S) + 1)
        walk = np.exp(np.cumsum(steps))
        found = night(Drift(0.01), seed, lambda s, walk=walk: float(walk[round(s / EVERY_S)]))
        at_start = walk[: 2 * REFERENCES].mean()  # what the references saw
        pulls += ((found[::40, 1] - found[::40, 0] / at_start) / found[::40, 2]).tolist()
    assert 0.5 < np.std(pulls) < 2.0


def test_single_pulses_that_lie_far_off_are_not_believed_but_a_step_is():
    drift = Drift(0.01)
    for i in range(40):
        drift.take(float(i), 1.0, 100.0 + 0.1 * (i % 3))
    before = drift.gain
    for i in range(3):
        assert not drift.take(40.0 + i, 1.0, 160.0)
    assert drift.take(43.0, 1.0, 100.1)
    assert drift.gain.value == pytest.approx(before.value, abs=0.002)
    for i in range(8):
        drift.take(50.0 + i, 1.0, 110.0)
    assert drift.gain.value == pytest.approx(1.099, abs=0.003)


def test_a_rung_that_comes_late_does_not_change_the_gain():
    drift = Drift(0.01)
    for i in range(60):
        drift.take(float(i), 1.0, 100.0 * (1.0 if i < 20 else 1.05) + 0.3 * (i % 2))
    before = drift.gain.value
    for i in range(30):
        drift.take(60.0 + i, 2.0, 400.0 + 0.5 * (i % 2))
    assert before == pytest.approx(1.05, abs=0.003)
    assert drift.gain.value == pytest.approx(before, abs=0.002)


@pytest.mark.parametrize("height", [0.0, -3.0, float("nan"), float("inf")])
def test_what_is_no_height_is_passed_over(height):
    drift = Drift(0.01)
    assert not drift.take(0.0, 1.0, height)
    assert drift.rungs == {}
