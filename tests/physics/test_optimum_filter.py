"""The optimum filter against theory: resolution, rates, efficiency, side lobes, chi2."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

from daq.acquire.filters import Filter
from daq.acquire.fit import fit_amplitude
from daq.acquire.matched import MatchedFilters
from daq.acquire.training import noise_psd, train
from tests.filters import adc, colored, lines, noise, template, tes_filter, with_pulses
from tests.recorded import real

RATE_HZ, LENGTH, PRETRIGGER = 50e3, 8192, 2048
SHAPE = template(LENGTH, PRETRIGGER, RATE_HZ)
RMS = 30.0


def density(f):
    return colored(f, RMS, RATE_HZ)


def learned(x: np.ndarray) -> Filter:
    """The filter of this stream's own noise."""
    records = adc(x)[: x.size // LENGTH * LENGTH].reshape(-1, LENGTH)
    psd, _ = noise_psd(records, RATE_HZ)
    return Filter(
        template=SHAPE.astype(np.float32), psd=psd, pretrigger=PRETRIGGER, rate_hz=RATE_HZ
    )


def search(x: np.ndarray, one: Filter, threshold: float, factor: int | None = None):
    found = MatchedFilters([one], [threshold], 0, factor=factor)
    found.feed(x[None])
    found.finish()
    return found.take()[0]


def spaced(n: int, distance: int, rng) -> np.ndarray:
    return np.arange(LENGTH, n - LENGTH, distance) + rng.integers(
        0, 32, len(range(LENGTH, n - LENGTH, distance))
    )


@pytest.mark.parametrize("kind", ["white", "lines"])
def test_decimation_costs_no_resolution_and_aliases_nothing(kind):
    """Seed 11; 480 pulses: the scatter of both searches on the same noise is compared."""
    rng, n = np.random.default_rng(11), 480 * 12_000
    base = rng.normal(0, RMS, n) if kind == "white" else noise(rng, n, density, RATE_HZ)
    if kind == "lines":
        base += lines(n, RATE_HZ, 12)
    one = learned(base)
    at, height = spaced(n, 12_000, rng), 30 * one.sigma
    x = adc(with_pulses(base, SHAPE, PRETRIGGER, at, np.full(at.size, height)))
    spread = {}
    for factor in (1, 8, 16):
        found = search(x, one, 15 * one.sigma, factor)
        near = np.array([found.sample[np.argmin(np.abs(found.sample - s))] for s in at])
        assert found.sample.size == at.size, factor
        spread[factor] = (found.amplitude.std(), (near + found.offset - at).std())
    for factor in (8, 16):
        assert spread[factor][0] == pytest.approx(spread[1][0], rel=0.01)
        assert spread[factor][1] == pytest.approx(spread[1][1], rel=0.03)
    # 480 pulses know a standard deviation to 3.2 %; at full rate it is that of the formula
    assert spread[1][0] == pytest.approx(one.sigma, rel=0.10)
    assert spread[1][1] == pytest.approx(one.time_sigma_s(height) * RATE_HZ, rel=0.15)


def test_resolution_is_that_of_the_formula():
    """Seed 3, 5 000 independent records with lines: 1 % of statistics in the scatter."""
    n = 5000 * LENGTH
    x = noise(np.random.default_rng(3), n, density, RATE_HZ) + lines(n, RATE_HZ, 4)
    one = learned(x)
    heights = adc(x).reshape(-1, LENGTH) @ one.kernel
    assert heights.std() == pytest.approx(one.sigma, rel=0.03)
    assert abs(heights.mean()) < 4 * one.sigma / math.sqrt(5000)


def test_noise_triggers_come_at_rices_rate():
    """Seed 7, 400 s of colored noise: within the 99.9 % interval of Poisson at 4 and 4.5 sigma."""
    n = int(400 * RATE_HZ)
    x = adc(noise(np.random.default_rng(7), n, density, RATE_HZ))
    f = np.arange(LENGTH // 2 + 1) * RATE_HZ / LENGTH
    one = Filter(
        template=SHAPE.astype(np.float32),
        psd=density(np.maximum(f, f[1])),
        pretrigger=PRETRIGGER,
        rate_hz=RATE_HZ,
    )
    found = search(x, one, 4 * one.sigma)
    for sigmas in (4.0, 4.5):
        counted = int((found.amplitude >= sigmas * one.sigma).sum())
        expected = one.noise_rate_hz(sigmas * one.sigma) * (n - LENGTH) / RATE_HZ
        low, high = stats.poisson.interval(0.999, expected)
        assert low <= counted <= high, (sigmas, counted, expected)


def test_half_of_the_pulses_are_found_near_the_threshold():
    """Seed 5, 3 x 330 pulses. At a fixed time: erf((A - threshold) / sigma). The search takes the
    highest of the times near it, so its 50 % point lies below the threshold, by less than a sigma.
    """
    rng, threshold = np.random.default_rng(5), 5.0
    n = 330 * 2 * LENGTH
    base = rng.normal(0, RMS, n)
    one = learned(base)
    at = spaced(n, 2 * LENGTH, rng)
    at = np.rint(at / 16).astype(int) * 16
    effs = []
    for sigmas in (4.0, 5.0, 6.5):
        x = adc(with_pulses(base, SHAPE, PRETRIGGER, at, np.full(at.size, sigmas * one.sigma)))
        found = search(x, one, threshold * one.sigma)
        effs.append(np.mean([np.abs(found.sample - s).min(initial=10**9) < 100 for s in at]))
        begins = at - PRETRIGGER
        fixed = np.mean([x[b : b + LENGTH] @ one.kernel >= threshold * one.sigma for b in begins])
        erf = 0.5 * (1 + special.erf((sigmas - threshold) / math.sqrt(2)))
        # 330 pulses: binomial, 4 standard deviations
        assert abs(fixed - erf) < 4 * math.sqrt(max(erf * (1 - erf), 0.01) / at.size)
        assert effs[-1] >= fixed
    assert 0.5 < effs[1] < 0.85  # at the threshold: the shift of the maximum search
    assert effs[0] < 0.5 < effs[1]
    assert effs[2] > 0.9


def test_every_isolated_pulse_is_found_once_and_none_twice():
    """Seed 9: 129 pulses from 15 to 400 eV in 120 s, 3 eV of resolution, threshold 15 eV."""
    rng, n = np.random.default_rng(9), int(120 * RATE_HZ)
    base = noise(rng, n, density, RATE_HZ)
    one = learned(base)
    ev = one.sigma / 3.0
    at = np.sort(rng.integers(LENGTH, n - LENGTH, 129))
    energies = np.exp(rng.uniform(np.log(15), np.log(400), 129))
    found = search(adc(with_pulses(base, SHAPE, PRETRIGGER, at, energies * ev)), one, 15 * ev)
    distance = np.minimum(np.diff(at, prepend=-(10**6)), np.diff(at, append=10**9))
    wide = 0.025 * RATE_HZ
    for sample, energy, apart in zip(at, energies, distance, strict=True):
        near = np.abs(found.sample - sample) < min(wide, apart / 2)
        if energy > 26 and apart > wide:  # 22 eV plus what a neighbor's undershoot takes at most
            assert near.sum() == 1, (sample, energy, apart)
        assert near.sum() <= 1
    alone = [np.abs(at - s).min() < wide for s in found.sample]
    assert all(alone)


def test_a_large_pulse_is_one_trigger_and_a_small_one_after_it_is_found():
    x = np.random.default_rng(2).normal(0, RMS, 200_000)
    one = learned(x)
    at, heights = [60_000, 62_500], np.array([3000, 40]) * one.sigma
    found = search(
        adc(with_pulses(x, SHAPE, PRETRIGGER, [60_000], heights[:1])), one, 5 * one.sigma
    )
    assert found.sample.tolist() == [60_000]
    heights[1] = heights[0] / 10
    found = search(adc(with_pulses(x, SHAPE, PRETRIGGER, at, heights)), one, 5 * one.sigma)
    assert found.sample.tolist() == [60_000, pytest.approx(62_500, abs=2)]
    assert found.near.tolist() == [0, 1]


def test_chi2_is_one_and_pile_up_raises_it():
    """Seed 6, 200 pulses: mean 1 within 4 standard errors. A second pulse of 24 sigma is seen."""
    rng, n = np.random.default_rng(6), 200 * 12_000
    base = rng.normal(0, RMS, n)
    one = learned(base)
    at = spaced(n, 12_000, rng)
    heights = np.full(at.size, 60 * one.sigma)
    good = search(adc(with_pulses(base, SHAPE, PRETRIGGER, at, heights)), one, 8 * one.sigma)
    error = math.sqrt(2 / good.ndf[0] / at.size)
    assert good.chi2.mean() == pytest.approx(1, abs=4 * error + 0.01)
    assert good.chi2.std() == pytest.approx(math.sqrt(2 / good.ndf[0]), rel=0.25)
    second = with_pulses(base, SHAPE, PRETRIGGER, at, heights)
    second = with_pulses(second, SHAPE, PRETRIGGER, at + 150, heights * 0.4)
    piled = search(adc(second), one, 30 * one.sigma)
    assert piled.chi2.min() > good.chi2.mean() * 1.05
    assert np.median(piled.chi2) > good.chi2.max()


def test_training_finds_back_what_the_records_were_made_of():
    """Seed 8: 400 noise records, 30 of them with pulses; 150 pulse records, 20 of them bad."""
    rng = np.random.default_rng(8)
    n = 400
    quiet = noise(rng, n * LENGTH, density, RATE_HZ).reshape(n, LENGTH)
    quiet[:30] += SHAPE * rng.uniform(500, 3000, (30, 1))
    pulses = noise(rng, 150 * LENGTH, density, RATE_HZ).reshape(150, LENGTH)
    pulses += SHAPE * rng.uniform(8000, 12_000, (150, 1))
    pulses[:10, 4000:] += 6000 * SHAPE[PRETRIGGER : PRETRIGGER + LENGTH - 4000]
    pulses[10:20] += np.linspace(3000, 0, LENGTH)
    one, noise_cut, pulse_cut = train(
        adc(quiet), adc(pulses), pretrigger=PRETRIGGER, rate_hz=RATE_HZ, provenance={"run": "7"}
    )
    assert not noise_cut.kept[:30].any()
    assert noise_cut.kept[30:].mean() > 0.97
    assert not pulse_cut.kept[:20].any()
    assert pulse_cut.kept[20:].mean() > 0.9
    assert np.abs(one.template - SHAPE)[64:-64].max() < 0.01
    assert one.provenance["run"] == "7"
    assert "kept" in one.provenance["noise"]
    f = one.frequencies_hz[5:2000]
    assert np.median(one.psd[5:2000] / density(f)) == pytest.approx(1, abs=0.02)


def test_a_fit_gives_height_and_time_between_samples():
    one = tes_filter(LENGTH, PRETRIGGER, RATE_HZ)
    fine = template(LENGTH * 4, PRETRIGGER * 4, RATE_HZ * 4)
    fit = fit_amplitude(300 * fine[2::4][:LENGTH] + 777, one)  # half a sample early
    assert fit.amplitude == pytest.approx(300, rel=0.01)
    assert fit.time == pytest.approx(-0.5, abs=0.15)


def robust_fwhm(values: np.ndarray, *explained: np.ndarray) -> float:
    """FWHM over the median of what straight lines in `explained` leave, from the quartiles."""
    near = np.abs(values - np.median(values)) < 0.01 * np.median(values)
    columns = np.column_stack([np.ones(values.size), *explained])
    for _ in range(6):
        fit = np.linalg.lstsq(columns[near], values[near], rcond=None)[0]
        rest = values - columns @ fit
        sigma = np.subtract(*np.quantile(rest[near], [0.75, 0.25])) / 1.349
        near = np.abs(rest) < 4 * sigma
    return float(2.355 * sigma / np.median(values))


def test_real_pulses_by_optimum_filter_and_by_height():
    """A monochromatic line and the noise of the same channel. The filter halves the baseline
    noise; the line's width is mostly not noise, but depends on when in a sample a pulse came."""
    pulses, quiet = real("xray_chan1.ljh"), real("xray_noise_chan1.ljh")
    x, n = ((f.samples.astype(np.int32) - 32768).astype(np.int16) for f in (pulses, quiet))
    one, noise_cut, cut = train(n, x, pretrigger=pulses.presamples, rate_hz=1 / pulses.timebase_s)
    good, clean = x[cut.kept], n[noise_cut.kept].astype(float)
    baseline = good[:, :500].mean(axis=1)
    fits = [fit_amplitude(r, one) for r in good]
    filtered = np.array([f.amplitude for f in fits])
    time = np.array([f.time for f in fits])
    plain = good.max(axis=1) - baseline
    print()
    for name, values in (("optimum filter", filtered), ("plain height", plain)):
        lone = robust_fwhm(values, baseline)
        both = robust_fwhm(values, baseline, time, time**2)
        print(f"{name}: FWHM/height {lone:.5f}; arrival time corrected too {both:.5f}")
    assert robust_fwhm(filtered, baseline, time, time**2) < robust_fwhm(
        plain, baseline, time, time**2
    )
    of_noise = (clean @ one.kernel).std()
    plain_noise = (clean[:, 520] - clean[:, :500].mean(axis=1)).std()
    print(
        f"baseline sigma: {of_noise:.2f} counts (formula {one.sigma:.2f}), plain {plain_noise:.2f}"
    )
    assert of_noise == pytest.approx(one.sigma, rel=0.1)  # 292 records know it to 4 %
    assert of_noise < 0.6 * plain_noise
