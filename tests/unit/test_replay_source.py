"""A replay of recorded pulses: each sample where it belongs, each pulse found once."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sim_hardware.edges import EdgeTrigger
from sim_hardware.ljh import LjhError, LjhFile, new_ljh
from sim_hardware.replay import Input, ReplaySource
from tests.recorded import LENGTH, PRESAMPLES, RISE, TIMEBASE_S, pulses, real

Ints = npt.NDArray[np.int64]


def source(*files: LjhFile, **how: float) -> ReplaySource:
    names = ("A", "B", "C")
    inputs = [Input(name, file) for name, file in zip(names, files, strict=False)]
    return ReplaySource("replay", inputs, **how)  # type: ignore[arg-type]


def whole(replayed: ReplaySource, row: int = 0) -> npt.NDArray[np.int16]:
    values: npt.NDArray[np.int16] = replayed.samples(0, replayed.length)[row]
    return values


def by_hand(values: npt.NDArray[np.int16], trigger: EdgeTrigger) -> list[int]:
    """The edge trigger's rule, on the whole stream at once; it is armed at the beginning."""
    span = trigger["edge_span"]
    steps = (values[span:].astype(np.int32) - values[:-span]) * (
        -1 if trigger["direction"] == "falling" else 1
    )
    side = (steps >= trigger["threshold"]).astype(np.int8) - (steps < trigger["rearm"])
    at = np.flatnonzero(side)  # where it is neither nor it stays what it was
    fired = at[1:][(side[at[1:]] > 0) & (side[at[:-1]] < 0)] + span
    far = np.diff(fired, prepend=-trigger["holdoff"]) >= trigger["holdoff"]
    return [int(at) for at in fired[far]]


def matched(replayed: ReplaySource, channel: str = "A") -> tuple[Ints, list[int]]:
    """For each rise the triggers within a sample of it, counted; and the other triggers."""
    values = whole(replayed, replayed.channels.index(channel))
    found = np.array(by_hand(values, replayed.suggested_trigger()[channel]), np.int64)
    near = np.abs(found[:, None] - replayed.rises(channel)) <= 1
    return near.sum(axis=0), found[~near.any(axis=1)].tolist()


def same_as_recorded(replayed: ReplaySource, file: LjhFile, channel: str = "A") -> bool:
    values = whole(replayed, replayed.channels.index(channel))
    return all(
        np.array_equal(
            values[piece.start : piece.stop],
            file.samples[piece.record, piece.first : piece.first + piece.stop - piece.start],
        )
        for piece in replayed.source_of(channel, 0, replayed.length)
    )


PULSES = pulses(12)
SOURCE = source(PULSES, pulses(9, seed=2))
WHOLE = SOURCE.samples(0, SOURCE.length)


@given(cuts=st.lists(st.integers(0, SOURCE.length), max_size=12))
@example(cuts=[piece.start for piece in SOURCE.records])
@example(cuts=[piece.stop + 1 for piece in SOURCE.records])
def test_where_the_stream_is_cut_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), SOURCE.length]
    pieces = [SOURCE.samples(*pair) for pair in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces, axis=1), WHOLE)


def test_samples_are_as_the_digitizer_wants_them() -> None:
    block = SOURCE.samples(100, 300)
    assert (block.shape, block.dtype) == ((2, 200), np.dtype(np.int16))
    assert block.flags.c_contiguous
    assert SOURCE.samples(7, 7).shape == (2, 0)


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, SOURCE.length + 1)])
def test_samples_there_are_not_are_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match=f"within 0 to {SOURCE.length}, found {start} to {stop}"):
        SOURCE.samples(start, stop)


def test_the_same_seed_gives_the_same_stream_and_another_another() -> None:
    assert np.array_equal(whole(source(PULSES, seed=3)), whole(source(PULSES, seed=3)))
    assert not np.array_equal(whole(source(PULSES, seed=3)), whole(source(PULSES, seed=4)))


def test_channels_have_noise_of_their_own() -> None:
    one, other = source(PULSES, PULSES).samples(0, LENGTH).astype(float)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_records_lie_at_their_recorded_times_unchanged() -> None:
    replayed = source(PULSES)
    since_us = PULSES.times_us - PULSES.times_us[0]
    expected = 2 * LENGTH + np.rint(since_us * 1e-6 / TIMEBASE_S)
    assert [piece.start for piece in replayed.records] == expected.tolist()
    assert [piece.record for piece in replayed.records] == list(range(12))
    assert same_as_recorded(replayed, PULSES)
    assert replayed.length == replayed.records[-1].stop + 2 * LENGTH


def test_at_a_rate_records_lie_at_equal_distances() -> None:
    replayed = source(PULSES, record_rate_hz=100.0)
    starts = [piece.start for piece in replayed.records]
    assert starts == [2 * LENGTH + round(k / 100 / TIMEBASE_S) for k in range(12)]
    assert same_as_recorded(replayed, PULSES)


def test_an_overlap_goes_to_the_earlier_record() -> None:
    replayed = source(PULSES, record_rate_hz=1 / (500 * TIMEBASE_S))
    pieces = replayed.records
    assert [piece.first for piece in pieces] == [0] + [LENGTH - 500] * 11
    assert all(one.stop == other.start for one, other in pairwise(pieces))
    assert same_as_recorded(replayed, PULSES)
    assert replayed.notes == (
        "A: begin within the record before, which stands: 1, 2, 3, 4, 5, 6, 7, 8 and 3 more",
    )


def test_a_gap_goes_on_from_the_last_record_however_little_of_it_is_seen() -> None:
    lower = pulses(12, heights=np.linspace(9000.0, 2000.0, 12), decay=300.0)
    replayed = source(lower, record_rate_hz=1 / (10 * TIMEBASE_S))
    values, last = whole(replayed).astype(int), replayed.records[-1]
    assert last.stop - last.start == 10
    assert abs(values[last.stop] - values[last.stop - 1]) < 60


def test_of_records_at_the_same_time_the_first_stands() -> None:
    times_us = PULSES.times_us.copy()
    times_us[5] = times_us[4]
    replayed = source(replace(PULSES, times_us=times_us))
    assert [piece.record for piece in replayed.records] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert len(replayed.rises("A")) == 11
    counts, others = matched(replayed)
    assert counts.tolist() == [1] * 11
    assert others == []


def test_each_sample_says_where_it_comes_from() -> None:
    replayed = source(PULSES)
    third = replayed.records[2]
    assert replayed.where("A", third.start) == (2, 0)
    assert replayed.where("A", third.stop - 1) == (2, LENGTH - 1)
    assert replayed.where("A", third.stop) is None
    assert replayed.where("A", 0) is None
    (piece,) = replayed.source_of("A", third.start + 5, third.start + 9)
    assert (piece.record, piece.first, piece.stop - piece.start) == (2, 5, 4)


def test_rises_are_where_the_pulses_were_put() -> None:
    replayed = source(PULSES)
    assert [replayed.where("A", at) for at in replayed.rises("A").tolist()] == [
        (record, RISE) for record in range(12)
    ]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_suggested_trigger_finds_each_pulse_once_and_nothing_else(sign: int, seed: int) -> None:
    replayed = source(pulses(40, seed=seed, sign=sign, level=20_000.0), seed=seed)
    assert replayed.suggested_trigger()["A"]["direction"] == ("rising" if sign > 0 else "falling")
    counts, others = matched(replayed)
    assert counts.tolist() == [1] * 40
    assert others == []


def test_nothing_rises_where_there_are_no_pulses() -> None:
    replayed = source(pulses(40, heights=np.zeros(40)))
    assert len(replayed.rises("A")) == 0
    assert by_hand(whole(replayed), replayed.suggested_trigger()["A"]) == []


def test_a_second_pulse_in_a_record_is_found_beside_the_first() -> None:
    samples = PULSES.samples.copy()
    samples[3, RISE + 100 :] += 1000
    replayed = source(replace(PULSES, samples=samples))
    counts, others = matched(replayed)
    assert counts.tolist() == [1] * 12
    assert [replayed.where("A", at) for at in others] == [(3, RISE + 100)]


def test_the_first_recorded_time_is_that_of_its_trigger() -> None:
    replayed = source(PULSES)
    at = replayed.records[0].start + PRESAMPLES
    assert replayed.t_ns(at) == int(PULSES.posix_us[0]) * 1000
    assert replayed.t_ns(at + 1) - replayed.t_ns(at) == 5120


def test_without_a_recorded_time_the_stream_begins_in_1970() -> None:
    unknown = replace(PULSES, times_us=PULSES.times_us - PULSES.times_us[0], timestamp_offset_s=0.0)
    assert source(unknown).t_ns(0) == 0


def test_files_of_the_same_time_keep_their_distance() -> None:
    late = pulses(12, seed=5, start_us=1_050_000)
    replayed = source(PULSES, late)
    first = {channel: replayed.source_of(channel, 0, replayed.length)[0] for channel in "AB"}
    apart_us = int(late.times_us[0] - PULSES.times_us[0])
    assert first["B"].start - first["A"].start == round(apart_us / 5.12)
    assert replayed.notes == ()


def test_what_lies_at_the_recorded_time_is_the_trigger() -> None:
    longer = replace(PULSES, presamples=PRESAMPLES - 100)
    replayed = source(PULSES, longer)
    first = {channel: replayed.source_of(channel, 0, replayed.length)[0] for channel in "AB"}
    assert first["B"].start - first["A"].start == 100


def test_files_of_different_times_begin_together_and_it_is_said() -> None:
    replayed = source(PULSES, pulses(12, seed=5, start_us=3_000_000_000))
    first = {channel: replayed.source_of(channel, 0, replayed.length)[0] for channel in "AB"}
    assert first["A"].start == first["B"].start
    assert replayed.notes == (
        "the files were not recorded at the same time: their first records begin together",
    )


def counted(file: LjhFile, counts: Ints, jitter_us: Ints) -> LjhFile:
    """The same records as LJH 2.2 with 64 subframes to a sample."""
    return new_ljh(
        version="2.2.1",
        timebase_s=file.timebase_s,
        presamples=file.presamples,
        times_us=np.rint(1_000_000 + counts * file.timebase_s * 1e6).astype(np.int64) + jitter_us,
        samples=file.samples,
        counts=counts * 64,
        subframes=64,
    )


def test_subframe_counts_tell_the_sample_where_times_are_only_a_computers() -> None:
    jitter_us = np.random.default_rng(1).integers(0, 300, 12)
    contiguous = counted(PULSES, 5000 + LENGTH * np.arange(12), jitter_us)
    starts = [piece.start for piece in source(contiguous).records]
    assert np.diff(starts).tolist() == [LENGTH] * 11


def test_subframe_counts_that_contradict_the_times_do_not_tell() -> None:
    file = counted(PULSES, 5000 + 100_000 * np.arange(12), np.zeros(12, np.int64))
    wrong = replace(file, counts=file.counts // 2)
    starts = [piece.start for piece in source(wrong).records]
    assert np.diff(starts).tolist() == [100_000] * 11


def test_samples_beyond_int16_are_shifted_and_it_is_said() -> None:
    high = replace(PULSES, samples=PULSES.samples + np.uint16(40_000))
    replayed = source(high)
    assert replayed.counts_offset("A") == -32768
    assert replayed.notes == ("A: -32768 is added to every sample, to fit int16",)
    (piece,) = replayed.source_of("A", 0, replayed.length)[:1]
    shifted = high.samples[0].astype(int) - 32768
    assert whole(replayed)[piece.start : piece.stop].tolist() == shifted.tolist()
    counts, others = matched(replayed)
    assert counts.tolist() == [1] * 12
    assert others == []
    assert abs(whole(replayed)[:LENGTH].mean() - (43_000 - 32_768)) < 20


def test_what_is_no_noise_is_left_out_of_the_noise() -> None:
    samples = PULSES.samples.copy()
    samples[2, 50:53] += 2000
    spiked = source(replace(PULSES, samples=samples))
    assert spiked.notes == ("A: 1 of 12 stretches hold more than noise: left out",)
    assert whole(spiked)[:LENGTH].std() < 40


def test_noise_comes_from_the_noise_file_where_there_is_one() -> None:
    silent = replace(PULSES, samples=np.full((12, LENGTH), 77, np.uint16))
    replayed = ReplaySource("replay", [Input("A", PULSES, silent)])
    assert np.ptp(whole(replayed)[:500]) == 0
    assert abs(int(whole(replayed)[0]) - 3000) < 40  # the level is the pulses' own


def test_files_that_do_not_suit_each_other_are_refused() -> None:
    slower = replace(PULSES, timebase_s=4.096e-6)
    expected = re.escape("new.ljh: expected the timebase 5.12e-06 s of new.ljh, found 4.096e-06 s")
    with pytest.raises(LjhError, match=expected):
        source(PULSES, slower)
    with pytest.raises(LjhError, match=expected):
        ReplaySource("replay", [Input("A", PULSES, slower)])
    with pytest.raises(LjhError, match="expected each channel once, found A, A"):
        ReplaySource("replay", [Input("A", PULSES), Input("A", PULSES)])
    with pytest.raises(LjhError, match="expected at least one file to replay, found none"):
        ReplaySource("replay", [])


def test_records_too_short_to_tell_a_pulse_are_refused() -> None:
    short = new_ljh(
        version="2.2.1",
        timebase_s=TIMEBASE_S,
        presamples=4,
        times_us=np.arange(3),
        samples=np.zeros((3, 63), np.uint16),
    )
    with pytest.raises(LjhError, match="expected records of 64 samples or more, found 63"):
        ReplaySource("replay", [Input("A", short, PULSES)])


def test_pretriggers_too_short_to_measure_noise_in_are_refused() -> None:
    with pytest.raises(LjhError, match=r"at least 64 samples in a row .* found 56"):
        source(replace(PULSES, presamples=60))


def test_a_noise_file_that_is_all_pulses_is_refused() -> None:
    samples = np.tile(np.where(np.arange(LENGTH) == 100, 30_000, 0), (12, 1)).astype(np.uint16)
    with pytest.raises(LjhError, match="expected stretches of noise alone, found none among 12"):
        ReplaySource("replay", [Input("A", PULSES, replace(PULSES, samples=samples))])


def test_the_300_real_pulses_are_found_once_each_and_the_one_pile_up() -> None:
    file = real("xray_chan1.ljh")
    noise = real("xray_noise_chan1.ljh")
    replayed = ReplaySource("replay", [Input("A", file, noise)], seed=1)
    rises = [replayed.where("A", at) for at in replayed.rises("A").tolist()]
    assert [place[0] for place in rises if place] == list(range(300))
    assert {place[1] for place in rises if place} <= {513, 514, 515}
    counts, others = matched(replayed)
    assert counts.tolist() == [1] * 300
    assert [replayed.where("A", at) for at in others] == [(129, 564)]
    assert same_as_recorded(replayed, file)


def test_the_real_noise_file_and_the_multiplexed_one_hold_no_pulses() -> None:
    for name in ("xray_noise_chan1.ljh", "umux_chan4109.ljh"):
        replayed = source(real(name))
        assert len(replayed.rises("A")) == 0
        assert by_hand(whole(replayed), replayed.suggested_trigger()["A"]) == []


def test_the_multiplexed_records_are_one_stretch_without_holes() -> None:
    pieces = source(real("umux_chan4109.ljh")).records
    assert (len(pieces), pieces[-1].stop - pieces[0].start) == (610, 610_000)
