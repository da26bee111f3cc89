"""From records and readings to the points of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daq.model.record import RECORD, Flag, plain
from daq.report import curves
from tests.report_run import (
    NOISE_RMS,
    START_NS,
    VOLTS_PER_COUNT,
    channel,
    made_records,
    pulse,
)

RNG_SEED = 5
SHORT = channel("C11", record_length=1024, pretrigger=256)
RATE_HZ = SHORT.record_rate_hz
NO_HEIGHT = np.zeros(100)
TRIGGERS = np.arange(1, 101) * 1_000_000


def noise_only(n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    return made_records(SHORT, TRIGGERS[:n], NO_HEIGHT[:n], np.random.default_rng(RNG_SEED))


# --- noise ---


def test_white_noise_has_the_density_of_its_variance() -> None:
    found = curves.noise(SHORT, *noise_only())
    assert found is not None
    assert found.n_records == 100
    expected = NOISE_RMS * VOLTS_PER_COUNT / np.sqrt(RATE_HZ / 2)
    # 100 records with 126 bins, neighbors correlated by the window: 1 % to be expected
    assert np.sqrt(np.mean(found.density.y**2)) == pytest.approx(expected, rel=0.03)


def test_the_power_of_a_sine_is_half_its_amplitude_squared() -> None:
    table, samples = noise_only(10)
    spacing_hz = RATE_HZ / SHORT.pretrigger
    t_s = np.arange(SHORT.record_length) / RATE_HZ
    sine = 1000 * np.sin(2 * np.pi * 20 * spacing_hz * t_s)
    samples[:] = np.round(sine).astype(np.int16)
    found = curves.noise(SHORT, table, samples)
    assert found is not None
    assert found.density.x[np.argmax(found.density.y)] == pytest.approx(20 * spacing_hz)
    power = float(np.sum(found.density.y**2) * spacing_hz)
    # what is left is rounding to counts: 1/12 of a count squared
    assert power == pytest.approx((1000 * VOLTS_PER_COUNT) ** 2 / 2, rel=1e-4)


@pytest.mark.parametrize("flag", Flag)
def test_records_that_are_piled_up_or_saturated_do_not_count_as_noise(flag: Flag) -> None:
    table, samples = noise_only()
    clean = curves.noise(SHORT, table[:50], samples[:50])
    table["flags"][50:] = flag
    samples[50:, :200] = 20_000
    found = curves.noise(SHORT, table, samples)
    assert clean is not None
    assert found is not None
    assert found.n_records == 50
    np.testing.assert_array_equal(found.density.y, clean.density.y)


def test_without_a_clean_record_there_is_no_noise() -> None:
    table, samples = noise_only(3)
    table["flags"] = Flag.PILED_UP
    assert curves.noise(SHORT, table, samples) is None
    assert curves.noise(SHORT, table[:0], samples[:0]) is None


def test_of_many_records_a_bounded_number_is_read_from_all_over_the_run() -> None:
    read: list[slice] = []

    class Disk:
        def __getitem__(self, records: slice) -> np.ndarray:
            read.append(records)
            shape = len(range(10_007)[records]), SHORT.record_length
            return np.zeros(shape, np.int16)

    found = curves.noise(SHORT, np.zeros(10_007, plain(RECORD)), Disk())
    assert found is not None
    assert found.n_records == 9 * 20 + 7
    assert len(read) == 10
    assert read[0] == slice(0, 20)
    assert read[-1] == slice(10_000, 10_020)


@given(st.integers(0, 200))
def test_few_records_are_all_looked_at(n: int) -> None:
    assert [i for s in curves.stretches(n) for i in range(n)[s]] == list(range(n))


# --- traces ---


def test_traces_are_the_newest_records_in_volts_from_the_trigger() -> None:
    heights = np.full(8, 3000.0)
    heights[3:] = [1000, 2000, 3000, 4000, 5000]
    table, samples = made_records(SHORT, TRIGGERS[:8], heights, np.random.default_rng(RNG_SEED))
    found = curves.traces(SHORT, table, samples)
    tops = [float(trace.y.max()) / VOLTS_PER_COUNT for trace in found]
    # the highest of several samples near the top, with noise
    assert tops == pytest.approx([1000, 2000, 3000, 4000, 5000], abs=4 * NOISE_RMS)
    trace = found[-1]
    assert trace.x[0] == pytest.approx(-256 / RATE_HZ, abs=5 / RATE_HZ)
    rise = trace.x[np.argmax(trace.y > 2500 * VOLTS_PER_COUNT)]
    by_hand = (np.argmax(pulse(1024, 256, RATE_HZ) > 0.5) - 256) / RATE_HZ
    assert rise == pytest.approx(by_hand, abs=5 / RATE_HZ)  # drawn in stretches of 5 samples
    assert curves.traces(SHORT, table[:0], samples[:0]) == []


def test_a_trigger_that_is_not_at_the_pretrigger_is_still_time_zero() -> None:
    table, samples = noise_only(1)
    samples[:] = 1000
    samples[0, 300] = 5000
    table["trigger"] = table["start"] + 300 * SHORT.decimation
    (trace,) = curves.traces(SHORT, table, samples)
    assert trace.x[np.argmax(trace.y)] == pytest.approx(0.0, abs=1e-9)


# --- fewer points ---

values = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=3000)


@given(values)
def test_thinning_keeps_extremes_and_order(found: list[float]) -> None:
    y = np.array(found)
    thin = curves.thin(np.arange(len(y), dtype=float), y)
    assert len(thin.y) <= max(2 * curves.CHUNKS, 2 * len(y) // curves.CHUNKS)
    assert np.all(np.diff(thin.x) > 0)
    np.testing.assert_array_equal(thin.y, y[thin.x.astype(int)])
    assert np.isnan(thin.y).any() == np.isnan(y).any()
    if not np.isnan(y).any():
        assert (thin.y.min(), thin.y.max()) == (y.min(), y.max())


@given(st.integers(1, 10**7), st.integers(2, 500))
def test_a_spread_reaches_from_first_to_last(n: int, most: int) -> None:
    found = curves.spread(n, most)
    assert len(found) == min(n, most)
    assert (found[0], found[-1]) == (0, n - 1)
    assert np.ptp(np.diff(found)) <= 1 if len(found) > 2 else True


# --- histograms ---

volts = st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=50)


@given(volts)
@example([1e-05, 1.19e-07])  # numpy's own 10.0 ** -5 is less than 1e-5
def test_every_height_is_counted_in_whole_decades(found: list[float]) -> None:
    array = np.array(found)
    low, high = curves.decades(array)
    assert low <= array.min()
    assert array.max() <= high
    histogram = curves.heights(array, low, high)
    assert histogram.values.sum() == len(found)
    assert len(histogram.edges) == len(histogram.values) + 1


def test_without_positive_values_there_is_an_axis_all_the_same() -> None:
    assert curves.decades(np.array([])) == (1.0, 10.0)
    assert curves.decades(np.array([0.0, -3.0])) == (1.0, 10.0)


@given(st.floats(0.01, 1e6), st.lists(st.floats(0, 1), max_size=50))
def test_a_rate_times_its_time_is_the_number_of_records(duration_s: float, at: list[float]) -> None:
    stop_ns = START_NS + round(duration_s * 1e9)
    moments = START_NS + np.floor(np.array(at) * (stop_ns - START_NS)).astype(np.int64)
    found = curves.rates(moments, START_NS, stop_ns)
    assert found.values @ np.diff(found.edges) == pytest.approx(len(at))
    assert len(found.values) <= curves.MAX_TIME_BINS
    widths = np.diff(found.edges)
    assert widths.max() / widths.min() < 4


def test_a_night_has_bins_of_ten_minutes() -> None:
    assert curves.bin_width_s(8 * 3600) == 600
    assert curves.bin_width_s(60) == 2
    assert curves.bin_width_s(0.5) == 1
