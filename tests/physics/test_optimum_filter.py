"""The optimum filter against theory: resolution, rates, efficiency, side lobes, chi2."""

from __future__ import annotations

import math
from dataclasses import replace

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
    for factor in (1, 8, 16, 32):
        found = search(x, one, 15 * one.sigma, factor)
        near = np.array([found.sample[np.argmin(np.abs(found.sample - s))] for s in at])
        assert found.sample.size == at.size, factor
        spread[factor] = (found.amplitude.std(), (near + found.offset - at).std())
    for factor in (8, 16, 32):
        assert spread[factor][0] == pytest.approx(spread[1][0], rel=0.01)
        assert spread[factor][1] == pytest.approx(spread[1][1], rel=0.03)
    if kind == "white":  # the formulas know nothing of lines between a record's frequencies
        # 480 pulses know a standard deviation to 3.2 %
        assert spread[1][0] == pytest.approx(one.sigma, rel=0.10)
        assert spread[1][1] == pytest.approx(one.time_sigma_s(height) * RATE_HZ, rel=0.15)


def heights_of_noise(x: np.ndarray, one: Filter) -> np.ndarray:
    return adc(x).reshape(-1, LENGTH) @ one.kernel


def test_resolution_is_that_of_the_formula():
    """Seed 3, 3 000 independent records: 1.3 % of statistics in the scatter."""
    x = noise(np.random.default_rng(3), 3000 * LENGTH, density, RATE_HZ)
    one = learned(x)
    heights = heights_of_noise(x, one)
    assert heights.std() == pytest.approx(one.sigma, rel=0.03)
    assert abs(heights.mean()) < 4 * one.sigma / math.sqrt(3000)
    low = replace(one, low_pass_hz=one.affordable_low_pass_hz(0.01))
    assert low.sigma == pytest.approx(1.01 * one.sigma, rel=1e-3)
    assert heights_of_noise(x, low).std() == pytest.approx(low.sigma, rel=0.03)


def test_with_lines_between_the_frequencies_the_formula_is_on_the_safe_side():
    """Seed 3, 400 records. A line leaks into all frequencies of a record, and alike into
    neighbors, which the formula takes to be independent: the scatter is smaller than it says."""
    n = 400 * LENGTH
    x = noise(np.random.default_rng(3), n, density, RATE_HZ) + lines(n, RATE_HZ, 4)
    one = learned(x)
    assert 0.7 < heights_of_noise(x, one).std() / one.sigma < 1.0


@pytest.mark.parametrize(("length", "extra"), [(8192, False), (2048, True)])
def test_a_template_that_ends_before_its_pulse_finds_side_lobes_with_a_bad_chi2(length, extra):
    """Seed 1: 39 pulses of 1000 sigma with a tail of 28 ms, in records of 164 and of 41 ms."""
    one, long = tes_filter(length, length // 4, RATE_HZ), template(16384, 2048, RATE_HZ)
    n = 40 * 20_000
    at = np.arange(10_000, n - 20_000, 20_000)
    base = np.random.default_rng(1).normal(0, 10, n)
    x = adc(with_pulses(base, long, 2048, at, np.full(at.size, 1000 * one.sigma)))
    found = search(x, one, 5 * one.sigma)
    others = np.abs(found.sample[:, None] - at).min(axis=1) > 50
    assert int((~others).sum()) == at.size
    assert bool(others.any()) == extra
    assert (found.amplitude[others] < 10 * one.sigma).all()
    assert (found.chi2[others] > 10).all()


def test_with_lines_thresholds_count_in_the_sigma_that_was_measured():
    """Seed 3, 200 records to measure on, 300 more to judge by: 5 % and 4 % of statistics."""
    n = 500 * LENGTH
    x = noise(np.random.default_rng(3), n, density, RATE_HZ) + lines(n, RATE_HZ, 4)
    records = adc(x).reshape(-1, LENGTH)
    formula = learned(x[: 200 * LENGTH])
    one = formula.measured_on(records[:200])
    truth = float((records[200:] @ one.kernel).std())
    assert truth < 0.9 * formula.sigma  # the formula alone is wrong by more than a tenth
    assert one.noise_sigma == pytest.approx(truth, rel=0.15)
    assert one.counts(sigmas=5) == pytest.approx(5 * one.noise_sigma)
    assert one.noise_rate_hz(5 * truth) < formula.noise_rate_hz(5 * truth)


def test_where_the_formula_holds_it_counts_and_few_records_measure_nothing():
    x = noise(np.random.default_rng(3), 200 * LENGTH, density, RATE_HZ)
    records, one = adc(x).reshape(-1, LENGTH), learned(x)
    measured = one.measured_on(records)
    assert measured.measured is not None
    assert measured.noise_sigma == one.sigma
    assert one.measured_on(records[:199]) is one
    assert one.to_bytes() == replace(measured, measured=None).to_bytes()
    again = Filter.from_bytes(measured.to_bytes())
    assert again.measured == measured.measured
    assert again.content_hash == measured.content_hash


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


WINDOW = 100  # samples to both sides of a pulse in which what is found counts as it


def expected_efficiency(sigmas: float, threshold: float, rng) -> tuple[float, float]:
    """Shares found at the pulse's own time, and at any local maximum within WINDOW.

    Monte Carlo without the engine: the optimum filter of white noise is the template less its
    mean, so that the filtered noise is Gaussian with that one's autocorrelation.
    """
    h = SHAPE - SHAPE.mean()
    lags = np.arange(2 * WINDOW + 3)
    correlation = np.array([h[: LENGTH - k] @ h[k:] for k in lags]) / (h @ h)
    covariance = correlation[np.abs(lags[:, None] - lags)]
    values, vectors = np.linalg.eigh(covariance)
    mixing = vectors * np.sqrt(np.maximum(values, 0))
    padded = np.concatenate([np.zeros(WINDOW + 1), SHAPE, np.zeros(WINDOW + 1)])
    response = np.correlate(padded, h, "valid")[::-1] / (h @ h)
    y = rng.standard_normal((20_000, lags.size)) @ mixing.T + sigmas * response
    inner = y[:, 1:-1]
    top = (inner > y[:, :-2]) & (inner >= y[:, 2:]) & (inner >= threshold)
    return float((y[:, WINDOW + 1] >= threshold).mean()), float(top.any(axis=1).mean())


def test_efficiency_and_its_half_are_those_of_a_maximum_search():
    """Seed 5, 4 x 330 pulses, threshold 5 sigma, against 20 000 trials each of a reference.

    At a fixed time it is erf((A - threshold) / sigma). The search takes the highest of the times
    near the pulse's: its 50 % point is that of the reference, 0.17 sigma below the threshold.
    """
    rng, threshold = np.random.default_rng(5), 5.0
    grid = np.arange(4.6, 5.1, 0.1)
    curve = [expected_efficiency(a, threshold, np.random.default_rng(1))[1] for a in grid]
    half = float(np.interp(0.5, curve, grid))
    assert threshold - half == pytest.approx(0.17, abs=0.03)
    n = 330 * 2 * LENGTH
    base = rng.normal(0, RMS, n)
    one = learned(base)
    at = spaced(n, 2 * LENGTH, rng)
    for sigmas in (4.0, half, 5.0, 6.5):
        x = adc(with_pulses(base, SHAPE, PRETRIGGER, at, np.full(at.size, sigmas * one.sigma)))
        found = search(x, one, threshold * one.sigma).sample
        efficiency = np.mean([np.abs(found - s).min(initial=10**9) <= WINDOW for s in at])
        fixed, expected = expected_efficiency(sigmas, threshold, np.random.default_rng(2))
        erf = 0.5 * (1 + special.erf((sigmas - threshold) / math.sqrt(2)))
        assert fixed == pytest.approx(erf, abs=4 * math.sqrt(0.25 / 20_000))
        error = math.sqrt(expected * (1 - expected) / at.size)
        assert abs(efficiency - expected) < 4 * error, (sigmas, efficiency, expected)


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
    """A monochromatic line and the noise of the same channel, baseline corrected.

    The pulses rise within 3 samples and are folded at the Nyquist frequency, so that heights by
    the filter of least noise depend on when in a sample a pulse came, and the line is wider than
    by plain height. A low-pass that costs 1 % of the baseline's resolution mends that.
    """
    pulses, quiet = real("xray_chan1.ljh"), real("xray_noise_chan1.ljh")
    x, n = ((f.samples.astype(np.int32) - 32768).astype(np.int16) for f in (pulses, quiet))
    settings = {"pretrigger": pulses.presamples, "rate_hz": 1 / pulses.timebase_s}
    one, noise_cut, cut = train(n, x, low_pass_cost=0.01, **settings)
    sharp = replace(one, low_pass_hz=None)
    good, clean = x[cut.kept], n[noise_cut.kept].astype(float)
    baseline = good[:, :500].mean(axis=1)
    time = np.array([fit_amplitude(r, one).time for r in good])
    heights = {
        "plain height": good.max(axis=1) - baseline,
        "filter of least noise": np.array([fit_amplitude(r, sharp).amplitude for r in good]),
        "with low-pass": np.array([fit_amplitude(r, one).amplitude for r in good]),
    }
    lone = {name: robust_fwhm(h, baseline) for name, h in heights.items()}
    both = {name: robust_fwhm(h, baseline, time, time**2) for name, h in heights.items()}
    print(f"\nFWHM/height, {len(good)} pulses, low-pass {one.low_pass_hz:.0f} Hz")
    for name in heights:
        print(f"{name}: {lone[name]:.5f}; arrival time corrected too {both[name]:.5f}")
    # 200 pulses know a width to 5 to 8 %
    assert lone["with low-pass"] < 0.8 * lone["plain height"]
    assert both["with low-pass"] < 0.8 * both["plain height"]
    of_noise = (clean @ one.kernel).std()
    plain_noise = (clean[:, 520] - clean[:, :500].mean(axis=1)).std()
    print(f"baseline: {of_noise:.2f} counts (formula {one.sigma:.2f}), plain {plain_noise:.2f}")
    assert one.sigma == pytest.approx(1.01 * sharp.sigma, rel=1e-3)
    assert of_noise == pytest.approx(one.sigma, rel=0.1)  # 292 records know it to 4 %
    assert of_noise < 0.6 * plain_noise
