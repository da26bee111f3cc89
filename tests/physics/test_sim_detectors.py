"""The simulated signals against the physics that they were asked to have."""

from __future__ import annotations

from functools import cache
from math import sqrt

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from sim_hardware.world.clock import SampleClock
from sim_hardware.world.detectors import DETECTORS
from sim_hardware.world.digitizer import DetectorSignals, Input, inputs
from sim_hardware.world.noise import POOL_S, SECOND_POOL
from sim_hardware.world.particles import Hit

RATE_HZ = 250e3
KINDS = {"SI": "silicon", "CWO": "cwo"}


class Given:
    """A truth that is told."""

    def __init__(self, *hits: Hit) -> None:
        self._hits = hits

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        return sorted(hit for hit in self._hits if start_s <= hit.true_s < stop_s)


@cache
def bench_inputs() -> dict[str, Input]:
    return inputs("all", KINDS, seed=3, rate_hz=RATE_HZ)


def source(*hits: Hit, ppm: float = 0.0) -> DetectorSignals:
    clock = SampleClock(RATE_HZ, ppm=ppm, start_ns=0)
    return DetectorSignals("all", bench_inputs(), Given(*hits), clock)


def pulses(*hits: Hit, start: int, stop: int, ppm: float = 0.0) -> npt.NDArray[np.int64]:
    """What hits add to the samples, exact to the rounding of both to whole counts."""
    hit = source(*hits, ppm=ppm).samples(start, stop).astype(np.int64)
    return hit - source(ppm=ppm).samples(start, stop)


# --- noise


@cache
def spectra() -> tuple[npt.NDArray[np.float64], dict[str, npt.NDArray[np.float64]]]:
    """One-sided densities in counts²/Hz of a minute of noise of each channel (Welch, Hann)."""
    n, rows = 1 << 17, []
    window = np.hanning(n)
    for k in range(round(60 * RATE_HZ) // n):
        samples = source().samples(k * n, (k + 1) * n)
        rows.append(np.abs(np.fft.rfft((samples - samples.mean(1, keepdims=True)) * window)) ** 2)
    density = np.asarray(np.mean(rows, axis=0), np.float64) * 2 / (RATE_HZ * np.sum(window**2))
    return np.linspace(0.0, RATE_HZ / 2, n // 2 + 1), dict(zip(KINDS, density, strict=True))


@pytest.mark.parametrize("channel", ["SI", "CWO"])
@pytest.mark.parametrize(
    ("low_hz", "high_hz"),
    [(20, 45), (55, 95), (105, 145), (400, 1e3), (1e3, 5e3), (5e3, 4e4), (4e4, 1.2e5)],
)
def test_noise_has_the_density_asked_for(channel: str, low_hz: float, high_hz: float) -> None:
    f_hz, found = spectra()
    band = (f_hz >= low_hz) & (f_hz < high_hz)
    shape = DETECTORS[KINDS[channel]].noise
    asked = shape.psd(f_hz[band]) + 1 / (6 * RATE_HZ)  # rounding to counts: 1/12 over the band
    ratio = found[channel][band].mean() / asked.mean()
    # each pool has as many independent bins in the band as it is long: 5 of their sigma, and
    # 1 % for the window's slopes
    sigma = sqrt(sum(0.25 / (POOL_S * part * (high_hz - low_hz)) for part in (1, SECOND_POOL)))
    assert ratio == pytest.approx(1, abs=5 * sigma + 0.01)


def test_the_mains_is_there_with_its_strength() -> None:
    f_hz, found = spectra()
    line = np.abs(f_hz - 50.0) < 6
    shape = DETECTORS["silicon"].noise
    power = (found["SI"][line] - shape.psd(f_hz[line])).sum() * f_hz[1]
    # the noise beneath is a thirtieth of it and varies by a tenth
    assert power == pytest.approx(0.3**2, rel=0.03)


# --- pulses


@pytest.mark.parametrize(
    ("channel", "energy_ev", "counts"),
    [("SI", 78e3, 780), ("CWO", 2.6145e6, 261)],
)
def test_pulses_are_as_high_as_asked(channel: str, energy_ev: float, counts: float) -> None:
    found = pulses(Hit(0.1, channel, energy_ev, "line"), start=24_000, stop=30_000)
    row = list(KINDS).index(channel)
    # the difference of two roundings is off by up to a count
    assert found[row].max() == pytest.approx(counts, rel=0.03, abs=1.5)
    assert not np.delete(found, row, axis=0).any()
    assert not found[row, : 1000 - 1].any()


def test_a_pulse_begins_at_its_time_and_not_at_a_sample() -> None:
    detector = DETECTORS["silicon"]
    for fraction in (0.0, 0.3, 0.9):
        hit = Hit((25_000 + fraction) / RATE_HZ, "SI", 3e6, "muon")
        found = pulses(hit, start=25_001, stop=25_051)[0]
        t_s = (np.arange(25_001, 25_051) - 25_000 - fraction) / RATE_HZ
        expected = detector.shape.at(t_s) * 3e6 * detector.counts_per_ev
        assert np.abs(found - expected).max() < 1.1  # two roundings and float32


def test_a_fast_clock_sees_a_hit_at_a_later_sample() -> None:
    found = pulses(Hit(1.0, "SI", 3e6, "muon"), start=249_900, stop=250_600, ppm=400.0)[0]
    assert np.flatnonzero(found > 5)[0] in range(200, 203)  # 250000 · (1 + 400 ppm)


def test_a_veto_clips_at_the_end_of_the_converter() -> None:
    found = source(Hit(0.1, "CWO", 1e9, "muon")).samples(24_000, 30_000)[1]
    assert found.max() == 32767
    assert (found == 32767).sum() > 100


def test_the_outer_veto_sees_a_line_with_its_spread() -> None:
    """0.3 % FWHM at 2614.5 keV, beside the noise; the others see what is there."""
    hits = [Hit(0.1 * k + 0.05, "CWO", 2614.5e3, "thallium", k) for k in range(3000)]
    row, quiet = bench_inputs()["CWO"], np.zeros(3000, np.float32)
    heights = []
    for hit in hits:
        signal = quiet.copy()
        row.add(signal, round(hit.true_s * RATE_HZ), hit.true_s * RATE_HZ, hit.energy_ev)
        heights.append(signal.max())
    seen_ev = np.array(heights) / row.detector.counts_per_ev
    assert stats.kstest(seen_ev, stats.norm(2614.5e3, 3.331e3).cdf).pvalue > 1e-3
    again, one = source(*hits[:9]).samples(0, 250_000), source(*hits[:9]).samples(0, 250_000)
    assert np.array_equal(again, one)
