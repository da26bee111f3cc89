"""What lies between recorded pulses is noise as it was measured, and its joints do not show."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from sim_hardware.filler import POOLS, Noise, measured, quiet, tail_decay
from sim_hardware.ljh import LjhFile, new_ljh
from sim_hardware.replay import Input, ReplaySource
from tests.recorded import (
    CORRELATION,
    DECAY,
    LENGTH,
    PRESAMPLES,
    SIGMA,
    TIMEBASE_S,
    noise,
    pulse,
    pulses,
    real,
)

Floats = npt.NDArray[np.float64]

RATE_HZ = 1 / TIMEBASE_S
N_SAMPLES = 1 << 18


def known_psd(frequencies: Floats) -> Floats:
    """The one-sided density of first-order autoregressive noise."""
    turn = np.exp(-2j * np.pi * frequencies / RATE_HZ)
    innovation = SIGMA**2 * (1 - CORRELATION**2)
    density = 2 * innovation / RATE_HZ / np.abs(1 - CORRELATION * turn) ** 2
    return np.array(density, dtype=np.float64)


def bands(values: Floats) -> Floats:
    """Means over 16 bands, the lowest and the highest bin left out."""
    inner = values[1:-1][: len(values) // 16 * 16 - 16]
    return np.array(inner.reshape(16, -1).mean(axis=1), dtype=np.float64)


def filler(n_stretches: int = 400) -> Noise:
    rng = np.random.default_rng(1)
    spectrum = measured(noise(rng, n_stretches, LENGTH), RATE_HZ)
    return Noise(spectrum, rng)


def stream(file: LjhFile, noise_file: LjhFile | None = None, seed: int = 1) -> ReplaySource:
    return ReplaySource("replay", [Input("A", file, noise_file)], seed=seed)


def whole(replayed: ReplaySource) -> Floats:
    return np.array(replayed.samples(0, replayed.length)[0], dtype=np.float64)


def test_the_measured_spectrum_is_welchs() -> None:
    stretches = noise(np.random.default_rng(2), 10, 400)
    ours = measured(stretches, RATE_HZ)
    frequencies, density = signal.welch(stretches, RATE_HZ, "hann", nperseg=400, axis=1)
    inner = slice(1, -1)  # of the two outermost bins there is one each, of all others two
    assert ours.density[inner] == pytest.approx(density.mean(axis=0)[inner], rel=1e-9)
    assert ours.step_hz == pytest.approx(frequencies[1])


def test_the_filler_has_the_spectrum_of_the_noise_it_was_measured_in() -> None:
    values = filler().at(10**9, 10**9 + N_SAMPLES).astype(np.float64)
    frequencies, density = signal.welch(values, RATE_HZ, nperseg=LENGTH)
    # 400 stretches measured, 1000 compared, 16 bins a band: 1.5 % sigma; the window's leakage adds
    assert bands(density) == pytest.approx(bands(known_psd(frequencies)), rel=0.08)


def test_the_filler_is_as_wide_as_the_noise_and_normal() -> None:
    values = filler().at(0, N_SAMPLES)
    # 2**18 samples correlated over 19: 14,000 independent ones, 0.6 % sigma, and the measurement
    assert values.std() == pytest.approx(SIGMA, rel=0.04)
    for sigmas, share in ((1.0, 0.3173), (2.0, 0.0455), (3.0, 0.0027)):
        beyond = float((np.abs(values) > sigmas * values.std()).mean())
        assert beyond == pytest.approx(share, rel=0.25)


def test_the_filler_does_not_repeat_with_either_of_its_pools() -> None:
    made = filler()
    for n in POOLS:
        first, again = made.at(0, 50_000), made.at(n, n + 50_000)
        assert np.corrcoef(first, again)[0, 1] < 0.7  # one of two pools is the same: 0.5


def test_what_follows_a_record_is_the_regression_of_its_noise() -> None:
    """For this noise the best guess of the k-th next sample is the last one times r**k."""
    expected = filler(4000).continuation(np.array([0.0, 0.0, 50.0]))[:20]
    known = 50.0 * CORRELATION ** np.arange(1, 21)
    assert expected == pytest.approx(known, abs=2.5)


def test_joints_are_like_any_other_place() -> None:
    """Independent noise would step by 28 counts there, and this noise does by 9."""
    replayed = stream(pulses(300, heights=np.zeros(300), mean_distance_us=300.0))
    values = whole(replayed)
    anywhere = SIGMA * np.sqrt(2 * (1 - CORRELATION))
    for side in ("start", "stop"):
        at = np.array([getattr(piece, side) for piece in replayed.records])
        # 300 joints: 4 % sigma
        assert (values[at] - values[at - 1]).std() == pytest.approx(anywhere, rel=0.2)


@pytest.mark.parametrize("n_missing", [1, 2, 10, 80])
def test_gaps_in_noise_that_went_on_are_mended(n_missing: int) -> None:
    """Where samples are missing from a stretch of noise, what fills them steps as it does."""
    apart = LENGTH + n_missing
    recorded = 3000 + noise(np.random.default_rng(4), 1, 300 * apart).reshape(300, apart)
    file = new_ljh(
        version="2.2.1",
        timebase_s=TIMEBASE_S,
        presamples=PRESAMPLES,
        times_us=np.rint(np.arange(300) * apart * TIMEBASE_S * 1e6).astype(np.int64),
        samples=np.rint(recorded[:, :LENGTH]).astype(np.uint16),
    )
    replayed = stream(file)
    steps = np.diff(whole(replayed))
    gaps = [(one.stop, other.start) for one, other in pairwise(replayed.records)]
    assert {stop - start for start, stop in gaps} == {n_missing}
    inside = np.concatenate([steps[start - 1 : stop] for start, stop in gaps])
    assert inside.std() == pytest.approx(SIGMA * np.sqrt(2 * (1 - CORRELATION)), rel=0.1)


def test_the_tail_of_each_pulse_decays_onto_the_noise() -> None:
    height, decay = 20_000.0, 90.0
    replayed = stream(pulses(300, heights=np.full(300, height), decay=decay))
    values = whole(replayed)
    gaps = pairwise(replayed.records)
    far = [one.stop for one, other in gaps if other.start - one.stop > 1200]
    mean = np.mean([values[stop : stop + 1000] for stop in far], axis=0) - 3000
    after = pulse(height, decay)[-1] * np.exp(-np.arange(1, 1001) / decay)
    assert len(far) > 100
    assert after[0] > 500
    # the mean of more than 100 has a noise of 2 counts; the levels of the baselines add to it
    assert mean == pytest.approx(after, abs=9)


def test_the_level_before_each_record_is_that_records_own() -> None:
    file = pulses(200, heights=np.zeros(200), mean_distance_us=20_000.0)
    raised = np.where(np.arange(200) % 2, 0, 150).astype(np.uint16)[:, None]
    replayed = stream(replace(file, samples=file.samples + raised))
    values = whole(replayed)
    means = np.array([values[p.start - 60 : p.start].mean() for p in replayed.records])
    apart = means[0::2].mean() - means[1::2].mean()
    assert apart == pytest.approx(150, abs=8)  # each mean has 11 counts of noise, of 100 it is 1.6


def test_the_decay_of_a_pulse_is_fitted_from_its_end() -> None:
    assert tail_decay(pulse(5000.0)) == pytest.approx(DECAY, rel=1e-3)
    assert tail_decay(-pulse(5000.0)) == pytest.approx(DECAY, rel=1e-3)
    assert tail_decay(np.zeros(LENGTH)) == LENGTH / 8
    assert tail_decay(np.linspace(1.0, 0.999, LENGTH)) == LENGTH


def test_stretches_with_pulses_are_no_noise() -> None:
    stretches = noise(np.random.default_rng(3), 50, PRESAMPLES) + 3000.0
    stretches[7, 100:103] += 400.0
    kept = quiet(stretches)
    assert len(kept) == 49
    assert abs(float(np.median(kept))) < 1.0


@pytest.mark.parametrize("with_noise_file", [True, False])
def test_the_real_filler_has_the_spectrum_of_the_real_noise(with_noise_file: bool) -> None:
    file, noise_file = real("xray_chan1.ljh"), real("xray_noise_chan1.ljh")
    replayed = stream(file, noise_file if with_noise_file else None)
    gaps = pairwise(replayed.records)
    wide = [(a.stop + 3000, b.start - 1000) for a, b in gaps if b.start - a.stop > 30_000]
    parts = [replayed.samples(start, start + 20_480)[0] for start, _ in wide[:60]]
    _, density = signal.welch(np.array(parts, float), RATE_HZ, nperseg=1024, axis=1)
    _, recorded = signal.welch(
        quiet(noise_file.samples.astype(np.float64)), RATE_HZ, nperseg=1024, axis=1
    )
    found, expected = density.mean(axis=0), recorded.mean(axis=0)
    # pretriggers are half as long, and their noise was taken an hour later
    tolerance = 0.06 if with_noise_file else 0.15
    assert bands(found) == pytest.approx(bands(expected), rel=tolerance)


def test_the_joints_of_the_real_pulses_do_not_show() -> None:
    file, noise_file = real("xray_chan1.ljh"), real("xray_noise_chan1.ljh")
    replayed = stream(file, noise_file)
    values = whole(replayed)
    recorded = quiet(noise_file.samples.astype(np.float64))
    for span in (1, 3, 8):
        usual = (recorded[:, span:] - recorded[:, :-span]).std()
        starts = np.array([p.start for p in replayed.records])[:, None] + np.arange(span)
        stops = np.array([p.stop for p in replayed.records])[:, None] + np.arange(span)
        for at in (starts, stops):
            steps = values[at] - values[at - span]
            assert steps.std() == pytest.approx(usual, rel=0.1)
            assert np.abs(steps).max() < 5 * usual
