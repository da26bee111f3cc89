"""The anti-alias filter keeps its band, stops the rest and delays nothing."""

from __future__ import annotations

import numpy as np
import pytest

from daq.acquire.decimate import Decimator, taps


def response(factor: int, frequencies: np.ndarray) -> np.ndarray:
    """Gain at frequencies in units of the record rate."""
    h = taps(factor).astype(float) / 2**15
    n = np.arange(h.size) - h.size // 2
    return np.abs(np.exp(-2j * np.pi * np.outer(frequencies / factor, n)) @ h)


@pytest.mark.parametrize("factor", [2, 5, 10, 20, 50, 64])
def test_pass_and_stop_band(factor):
    passed = response(factor, np.linspace(0, 0.4, 401))
    stopped = response(factor, np.linspace(0.6, factor / 2, 4001))
    assert np.all(np.abs(20 * np.log10(passed)) < 0.02)
    # the coefficients are integers of 2^-15: the more there are, the more their rounding adds up
    assert np.all(20 * np.log10(stopped) < (-63 if factor <= 20 else -53))


@pytest.mark.parametrize("factor", [2, 5, 20])
def test_int32_cannot_overflow(factor):
    assert np.abs(taps(factor).astype(int)).sum() < 2**16
    assert taps(factor).astype(int).sum() == 2**15


@pytest.mark.parametrize("rail", [32767, -32768])
def test_the_rail_stays_the_rail(rail):
    decimator = Decimator(5, 0)
    assert set(decimator.feed(np.full(5000, rail, np.int16)).tolist()) == {rail}


def test_a_record_sample_stands_at_its_own_digitizer_sample():
    x = np.zeros(4000, np.int16)
    x[2000] = 30000
    decimator = Decimator(5, 0)
    y = decimator.feed(x)
    assert decimator.first + int(np.argmax(y)) == 400
    around = y[400 - decimator.first - 30 : 400 - decimator.first + 31]
    assert around.tolist() == around[::-1].tolist()


def test_white_noise_loses_what_is_outside_the_band():
    x = np.rint(np.random.default_rng(1).normal(0, 300, 2_000_000)).astype(np.int16)
    y = Decimator(20, 0).feed(x)
    h = taps(20).astype(float) / 2**15
    # the sum of squares of the filter is the share of white noise that passes; 1e5 samples: 0.5 %
    assert np.std(y) == pytest.approx(300 * np.sqrt(np.sum(h**2)), rel=0.02)
