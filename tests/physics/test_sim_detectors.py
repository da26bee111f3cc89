"""The simulated signals against the physics that they were asked to have."""

from __future__ import annotations

from functools import cache
from math import inf, sqrt

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from sim_hardware.world.clock import SampleClock
from sim_hardware.world.detectors import DETECTORS, PA_PER_COUNT, PA_PER_EV
from sim_hardware.world.digitizer import DetectorSignals, Input, compressed, inputs
from sim_hardware.world.noise import POOL_S, SECOND_POOL
from sim_hardware.world.particles import Hit

RATE_HZ = 250e3
KINDS = {"C11": "target", "C12": "target", "SI": "silicon", "CWO": "cwo"}


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


@pytest.mark.parametrize("channel", ["C11", "C12", "SI", "CWO"])
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


def test_raw_noise_is_what_the_reference_parameters_give() -> None:
    at_1_mhz = inputs("fast", {"C11": "target"}, seed=1, rate_hz=1e6)
    clock = SampleClock(1e6, ppm=0.0, start_ns=0)
    samples = DetectorSignals("fast", at_1_mhz, Given(), clock).samples(0, 2_000_000)
    # 10.7 counts in the full model; here one pole stands for the electrical roll-off
    assert samples.std() == pytest.approx(10.7, rel=0.1)


def test_channels_have_noise_of_their_own() -> None:
    samples = source().samples(0, round(5 * RATE_HZ))
    # about a thousand independent values of the slow part; common lines are a few 1e-4
    assert abs(np.corrcoef(samples[0], samples[1])[0, 1]) < 0.15


def test_the_optimum_resolution_is_near_three_ev() -> None:
    detector = DETECTORS["target"]
    f_hz = np.arange(1.0, 25e3)
    terms = zip(detector.shape.weights, detector.shape.taus_s, strict=True)
    response = sum(w * tau / (1 + 2j * np.pi * f_hz * tau) for w, tau in terms)
    power = np.abs(detector.counts_per_ev * np.asarray(response)) ** 2
    sigma_ev = np.sum(4 * power / detector.noise.psd(f_hz)) ** -0.5
    # 3.00 eV in the full electrothermal model, whose Johnson noise is suppressed at low f
    assert sigma_ev == pytest.approx(3.0, rel=0.1)


# --- pulses


@pytest.mark.parametrize(
    ("energy_ev", "height_na"), [(20, 0.516), (100, 2.562), (1000, 23.9), (5900, 92.6)]
)
def test_heights_follow_the_electrothermal_model(energy_ev: float, height_na: float) -> None:
    detector = DETECTORS["target"]
    height = compressed(
        np.float32(energy_ev * detector.counts_per_ev), np.float32(detector.full_swing)
    )
    # an empirical curve through four computed points
    assert height * PA_PER_COUNT / 1e3 == pytest.approx(height_na, rel=0.03)


@pytest.mark.parametrize(
    ("channel", "energy_ev", "counts"),
    [("C11", 5899.0, 1218), ("SI", 78e3, 780), ("CWO", 2.6145e6, 261)],
)
def test_pulses_are_as_high_as_asked(channel: str, energy_ev: float, counts: float) -> None:
    found = pulses(Hit(0.1, channel, energy_ev, "line"), start=24_000, stop=30_000)
    row = list(KINDS).index(channel)
    # the difference of two roundings is off by up to a count
    assert found[row].max() == pytest.approx(counts, rel=0.03, abs=1.5)
    assert not np.delete(found, row, axis=0).any()
    assert not found[row, : 1000 - 1].any()


def test_a_particle_pulse_has_the_model_s_time_constants() -> None:
    found = pulses(Hit(0.1, "C11", 1000.0, "particle"), start=24_000, stop=60_000)[0]
    rise = (
        np.flatnonzero(found > 0.9 * found.max())[0] - np.flatnonzero(found > 0.1 * found.max())[0]
    )
    assert rise / RATE_HZ == pytest.approx(434e-6, rel=0.1)
    # 40 ms after the peak the thermal part is left alone
    later, after = (
        found[1000 + 10_000 : 1000 + 11_000].mean(),
        found[1000 + 17_050 : 1000 + 18_050].mean(),
    )
    assert later / after == pytest.approx(np.e, rel=0.15)


def test_a_pulse_begins_at_its_time_and_not_at_a_sample() -> None:
    detector = DETECTORS["silicon"]
    for fraction in (0.0, 0.3, 0.9):
        hit = Hit((25_000 + fraction) / RATE_HZ, "SI", 3e6, "muon")
        found = pulses(hit, start=25_001, stop=25_051)[2]
        t_s = (np.arange(25_001, 25_051) - 25_000 - fraction) / RATE_HZ
        expected = detector.shape.at(t_s) * 3e6 * detector.counts_per_ev
        assert np.abs(found - expected).max() < 1.1  # two roundings and float32


def test_a_fast_clock_sees_a_hit_at_a_later_sample() -> None:
    found = pulses(Hit(1.0, "SI", 3e6, "muon"), start=249_900, stop=250_600, ppm=400.0)[2]
    assert np.flatnonzero(found > 5)[0] in range(200, 203)  # 250000 · (1 + 400 ppm)


def test_a_muon_saturates_a_crystal_and_clips_no_number() -> None:
    found = source(Hit(0.1, "C11", 4.2e6, "muon")).samples(24_000, 60_000)[0].astype(float)
    full_swing = DETECTORS["target"].full_swing
    offset = source().samples(24_000, 60_000)[0].mean()
    assert found.max() - offset == pytest.approx(full_swing, rel=0.04)
    # flat: for thirty times its decay constant still within a few percent
    assert (found[1500:20_000] - offset).min() > 0.9 * full_swing


def test_a_veto_clips_at_the_end_of_the_converter() -> None:
    found = source(Hit(0.1, "CWO", 1e9, "muon")).samples(24_000, 30_000)[3]
    assert found.max() == 32767
    assert (found == 32767).sum() > 100


def test_pulses_add_before_they_saturate() -> None:
    hits = [Hit(0.1 + 1e-3 * k, "C11", 3000.0, "particle") for k in range(3)]
    together = pulses(*hits, start=24_000, stop=30_000)[0]
    alone = sum(pulses(hit, start=24_000, stop=30_000)[0] for hit in hits)
    assert 1.1 * together.max() < alone.max()
    assert np.all(together <= alone + 4)


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


@pytest.mark.parametrize("height", [0.0, 1.0, 1e3, 1e6])
def test_an_infinite_swing_leaves_everything(height: float) -> None:
    assert compressed(np.float32(height), np.float32(inf)) == np.float32(height)


def test_the_pulse_is_as_high_as_its_energy_says_in_picoamperes() -> None:
    found = pulses(Hit(0.1, "C11", 300.0, "particle"), start=24_000, stop=30_000)[0]
    linear = 300 * PA_PER_EV / PA_PER_COUNT
    assert 0.95 * linear < found.max() <= linear + 1
