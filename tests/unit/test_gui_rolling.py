"""The last seconds of the traces: placed in time, reduced to columns, with holes for lost data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.wire.schemas import Traces
from gui.model import columns
from gui.model.frames import TraceFrame
from gui.model.rolling import MAX_BINS, MAX_MARKERS, Rolling, Stretch

RATE_HZ, BIN = 1000.0, 10  # a bin is 10 ms


def frame(
    values: object,
    *,
    start: int = 0,
    digitizer: str = "targets",
    channels: tuple[str, ...] = ("C11",),
    bin_samples: int = BIN,
    t0_ns: int = 0,
    triggers: tuple[tuple[int, int], ...] = (),
) -> TraceFrame:
    array = np.asarray(values, np.float32)
    header = Traces(
        digitizer=digitizer,
        channels=list(channels),
        start=start,
        bin_samples=bin_samples,
        rate_hz=RATE_HZ,
        t_ns=t0_ns + start * 1_000_000,
        triggers=list(triggers),
    )
    return TraceFrame(header, array)


def ramp(first: int, n_bins: int) -> np.ndarray:
    """Bin number as minimum, and one more as maximum: [1, bin, 2]."""
    bins = np.arange(first, first + n_bins)
    return np.stack([bins, bins + 1], axis=-1)[np.newaxis]


def only(rolling: Rolling, n_columns: int = 1000) -> Stretch:
    (stretch,) = rolling.stretches(n_columns)
    return stretch


def test_the_newest_bin_is_at_the_right_edge() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 10)))
    stretch = only(rolling)
    np.testing.assert_allclose(stretch.ages_s, np.arange(-0.095, 0, 0.01), atol=1e-9)
    np.testing.assert_array_equal(stretch.volts[0, :, 0], np.arange(10))


def test_only_the_span_is_kept() -> None:
    rolling = Rolling(0.1)
    for first in range(0, 100, 5):
        rolling.add(frame(ramp(first, 5), start=first * BIN))
    np.testing.assert_array_equal(only(rolling).volts[0, :, 0], np.arange(90, 100))


def test_missed_frames_leave_a_hole_where_they_were() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 4), start=0))
    rolling.add(frame(ramp(6, 4), start=60))
    np.testing.assert_array_equal(
        only(rolling).volts[0, :, 0], [0, 1, 2, 3, np.nan, np.nan, 6, 7, 8, 9]
    )


def test_a_hole_longer_than_the_span_leaves_nothing_of_what_was_before() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 4)))
    rolling.add(frame(ramp(10**9, 2), start=10**10))
    volts = only(rolling).volts[0, :, 0]
    assert np.isnan(volts[:-2]).all()
    assert np.isfinite(volts[-2:]).all()


def test_a_gap_that_ends_within_a_bin_goes_on() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 5)))
    rolling.add(frame(ramp(5, 5), start=44))  # four samples before the edge of a bin
    assert np.isfinite(only(rolling).volts).sum() >= 18


def test_a_stream_that_goes_back_begins_anew() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(500, 10), start=5000))
    rolling.add(frame(ramp(0, 2), start=0))
    volts = only(rolling).volts[0, :, 0]
    assert np.isnan(volts[:8]).all()
    np.testing.assert_array_equal(volts[8:], [0, 1])


def test_other_channels_or_bins_begin_anew() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 10)))
    rolling.add(frame(np.zeros((2, 3, 2)), start=100, channels=("C11", "C12")))
    stretch = only(rolling)
    assert stretch.channels == ("C11", "C12")
    assert np.isfinite(stretch.volts[0]).sum() == 6


def test_infinite_volts_are_not_drawn() -> None:
    rolling = Rolling(0.02)
    rolling.add(frame([[[np.inf, np.inf], [1, 2]]]))
    np.testing.assert_array_equal(only(rolling).volts[0], [[np.nan, np.nan], [1, 2]])


def test_a_digitizer_that_is_behind_is_drawn_further_left() -> None:
    rolling = Rolling(1.0)
    rolling.add(frame(ramp(0, 50), digitizer="targets"))
    rolling.add(frame(ramp(0, 50), digitizer="vetoes", channels=("SI",), t0_ns=-200_000_000))
    newest = {s.channels: s.ages_s[-1] for s in rolling.stretches(1000)}
    assert newest[("C11",)] == pytest.approx(-0.005)
    assert newest[("SI",)] == pytest.approx(-0.205)


def test_marks_stand_at_their_trigger_and_leave_with_the_span() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 10), triggers=((0, 30),)))
    assert rolling.marker_ages_s("C11") == [pytest.approx(-0.07)]
    assert rolling.marker_ages_s("C12") == []
    rolling.add(frame(ramp(10, 5), start=100))
    assert rolling.marker_ages_s("C11") == []


def test_a_channel_that_triggers_without_end_does_not_fill_the_memory() -> None:
    rolling = Rolling(10.0)
    rolling.add(frame(ramp(0, 1000), triggers=tuple((0, s) for s in range(5000))))
    assert len(rolling.marker_ages_s("C11")) == MAX_MARKERS


def test_bins_of_one_sample_do_not_fill_the_memory() -> None:
    rolling = Rolling(1e6)
    rolling.add(frame(ramp(0, 10), bin_samples=1))
    assert only(rolling, 10 * MAX_BINS).volts.shape[1] == MAX_BINS


def test_levels_are_medians_of_the_middle_and_absent_without_samples() -> None:
    rolling = Rolling(0.03)
    values = [[[0, 2], [4, 6], [9, 11]], [[np.nan, np.nan]] * 3]
    rolling.add(frame(values, channels=("C11", "C12")))
    assert rolling.levels_v() == {"C11": 5.0}


def test_forgetting_leaves_nothing() -> None:
    rolling = Rolling(0.1)
    rolling.add(frame(ramp(0, 10), triggers=((0, 30),)))
    rolling.clear()
    assert (rolling.newest_ns, rolling.stretches(100), rolling.marker_ages_s("C11")) == (0, [], [])


@given(first=st.integers(0, 10**12), n_bins=st.integers(1, 200), per_column=st.integers(1, 50))
def test_columns_hold_the_extremes_of_their_bins(first: int, n_bins: int, per_column: int) -> None:
    rng = np.random.default_rng(n_bins)
    values = np.sort(rng.normal(size=(2, n_bins, 2)).astype(np.float32), axis=2)
    column, merged = columns.merged(values, first, per_column)
    numbers = (first + np.arange(n_bins)) // per_column - column
    assert merged.shape[1] == numbers[-1] + 1
    for index in range(merged.shape[1]):
        bins = values[:, numbers == index]
        np.testing.assert_array_equal(merged[:, index, 0], bins[..., 0].min(axis=1))
        np.testing.assert_array_equal(merged[:, index, 1], bins[..., 1].max(axis=1))


@given(n_bins=st.integers(0, 10**6), n_columns=st.integers(0, 4000))
def test_no_more_columns_than_pixels(n_bins: int, n_columns: int) -> None:
    per_column = columns.per_column(n_bins, n_columns)
    assert -(-n_bins // per_column) <= max(n_columns, 1)


def test_a_rolling_trace_keeps_its_shape() -> None:
    rolling, shapes = Rolling(1.0), []
    for first in range(0, 130, 13):
        rolling.add(frame(ramp(first, 13), start=first * BIN))
        shapes.append({tuple(c) for c in only(rolling, 15).volts[0] if np.isfinite(c).all()})
    for before, after in pairwise(shapes):
        assert len(before - after) <= 4  # 13 bins left, which touch 3 columns, and the newest grew


def test_the_columns_of_a_record_hold_its_extremes() -> None:
    samples = np.array([3, 1, 2, 9, 7, 8, 5], np.int16)
    assert columns.of_samples(samples, 3).tolist() == [[1, 3], [7, 9], [5, 5]]
