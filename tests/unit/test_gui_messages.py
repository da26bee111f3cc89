"""What arrives is taken apart once, and what cannot be understood is refused by name."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from daq.errors import VersionError, WireError
from daq.wire import codec
from daq.wire.schemas import Curve, Progress, Pulses, State, Traces
from gui.model.frames import (
    ROW,
    Answer,
    Missed,
    PulseFrame,
    TraceFrame,
    Trouble,
    parse_progress,
    parse_pulses,
    parse_state,
    parse_traces,
)
from gui.model.inbox import KEEP, Inbox, Sequences

TRACES = Traces(
    digitizer="targets", channels=["C11", "C12"], start=0, bin_samples=10, rate_hz=1e3, t_ns=0
)
PULSES = Pulses(
    channel="C11",
    n_records=2,
    record_length=4,
    pretrigger=1,
    rate_hz=1e3,
    volts_per_count=1e-3,
)
STATE = State(service="run", pid=1, boot="b", state="idle", t_ns=0)
VALUES = np.arange(12, dtype="<f4").reshape(2, 3, 2)


def traces(header: Traces = TRACES, payload: bytes = VALUES.tobytes()) -> list[bytes]:
    return [b"targets", codec.encode(header), payload]


def pulses(
    header: Pulses = PULSES, rows: bytes = bytes(2 * ROW.itemsize), samples: bytes = bytes(16)
) -> list[bytes]:
    return [b"C11", codec.encode(header), rows, samples]


def changed(header: Traces | Pulses, **changes: object) -> bytes:
    fields = {name: getattr(header, name) for name in header.__struct_fields__}
    return codec.encode(type(header)(**(fields | changes)))


def test_traces_are_channel_by_bin_by_minimum_and_maximum() -> None:
    frame = parse_traces(traces())
    assert frame.header == TRACES
    np.testing.assert_array_equal(frame.values, VALUES)


def test_pulses_are_rows_and_record_by_sample() -> None:
    rows = np.zeros(2, ROW)
    rows["record"] = [7, 8]
    samples = np.arange(8, dtype="<i2")
    frame = parse_pulses(pulses(rows=rows.tobytes(), samples=samples.tobytes()))
    assert frame.rows["record"].tolist() == [7, 8]
    assert frame.samples.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([b"targets", b"{}"], "expected 3 frames, found 2"),
        (traces(payload=bytes(15)), "expected pairs of float32 for 2 channels, found 15 bytes"),
        (traces(payload=b""), "expected pairs of float32 for 2 channels, found 0 bytes"),
        (
            [b"targets", changed(TRACES, channels=[]), VALUES.tobytes()],
            "expected traces with channels, samples per bin and a rate, found 0, 10 and 1000 Hz",
        ),
        (
            [b"targets", changed(TRACES, bin_samples=0), VALUES.tobytes()],
            "expected traces with channels, samples per bin and a rate, found 2, 0 and 1000 Hz",
        ),
        (
            [b"targets", changed(TRACES, rate_hz=-1.0), VALUES.tobytes()],
            "expected traces with channels, samples per bin and a rate, found 2, 10 and -1 Hz",
        ),
        (
            [b"targets", changed(TRACES, triggers=[(2, 5)]), VALUES.tobytes()],
            "expected triggers of 2 channels, found index 2",
        ),
        ([b"targets", codec.encode(STATE), b""], "expected traces, found 'state'"),
    ],
)
def test_traces_that_cannot_be_drawn_are_refused(frames: list[bytes], sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        parse_traces(frames)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (pulses()[:3], "expected 4 frames, found 3"),
        (pulses(rows=b"x"), f"expected {2 * ROW.itemsize} bytes of rows, found 1"),
        (pulses(samples=bytes(14)), "expected 16 bytes of samples, found 14"),
        (
            [b"C11", changed(PULSES, n_records=0), b"", b""],
            "expected pulses with records, samples and a rate, found 0, 4 and 1000 Hz",
        ),
        (
            [b"C11", changed(PULSES, record_length=0), bytes(2 * ROW.itemsize), b""],
            "expected pulses with records, samples and a rate, found 2, 0 and 1000 Hz",
        ),
        (
            [b"C11", changed(PULSES, rate_hz=0.0), b"", b""],
            "expected pulses with records, samples and a rate, found 2, 4 and 0 Hz",
        ),
    ],
)
def test_pulses_that_cannot_be_drawn_are_refused(frames: list[bytes], sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        parse_pulses(frames)


def test_a_state_with_other_frames_is_refused() -> None:
    with pytest.raises(WireError, match="expected 2 frames, found 1"):
        parse_state([b"run"])


def test_another_version_is_refused_by_name() -> None:
    with pytest.raises(VersionError, match="expected traces in version 1, found version 2"):
        parse_traces([b"targets", changed(TRACES, version=2), VALUES.tobytes()])


def trace_frame(seq: int) -> TraceFrame:
    return parse_traces([b"targets", changed(TRACES, seq=seq), VALUES.tobytes()])


def test_a_window_that_falls_behind_keeps_the_newest_traces_and_counts_the_others() -> None:
    inbox, keep = Inbox(), KEEP[TraceFrame]
    for seq in range(keep + 5):
        inbox.put("targets", trace_frame(seq))
    *frames, missed = inbox.take()
    seqs = [frame.header.seq for frame in frames if isinstance(frame, TraceFrame)]
    assert seqs == list(range(5, keep + 5))
    assert missed == Missed(5)


def test_the_last_records_and_the_last_state_wait_and_none_of_it_counts_as_missed() -> None:
    inbox, keep = Inbox(), KEEP[PulseFrame]
    for number in range(keep + 3):
        inbox.put("C11", parse_pulses([b"C11", changed(PULSES, seq=number), *pulses()[2:]]))
        inbox.put("run", STATE)
    *records, state = inbox.take()
    seqs = [record.header.seq for record in records if isinstance(record, PulseFrame)]
    assert seqs == list(range(3, keep + 3))
    assert state == STATE


def test_topics_do_not_replace_each_other() -> None:
    inbox = Inbox()
    for topic in ("run", "core"):
        inbox.put(topic, STATE)
    assert inbox.take() == [STATE, STATE]
    assert inbox.take() == []


def test_what_was_missed_on_the_way_is_told_once() -> None:
    inbox = Inbox()
    inbox.miss(3)
    inbox.miss(4)
    assert inbox.take() == [Missed(7)]
    assert inbox.take() == []


def test_troubles_and_answers_pass_the_inbox() -> None:
    inbox = Inbox()
    inbox.put("core", Trouble("x"))
    inbox.put("start", Answer("start", "no"))
    assert inbox.take() == [Trouble("x"), Answer("start", "no")]


def test_a_jump_in_sequence_numbers_is_what_was_missed() -> None:
    sequences = Sequences()
    found = [sequences.skipped("targets", seq) for seq in (41, 42, 46, 47)]
    assert found == [0, 0, 3, 0]


def test_a_publisher_that_begins_anew_has_missed_nothing() -> None:
    sequences = Sequences()
    assert [sequences.skipped("targets", seq) for seq in (9, 1, 2)] == [0, 0, 0]


def test_each_topic_counts_for_itself() -> None:
    sequences = Sequences()
    found = [sequences.skipped(t, s) for t, s in [("a", 1), ("b", 10), ("a", 2), ("b", 12)]]
    assert found == [0, 0, 0, 1]


def test_progress_has_as_many_values_as_places() -> None:
    row = Progress(at="C11", step="iv", state="runs", t_ns=0, curves=[Curve("a", [1.0], [2.0])])
    assert parse_progress([b"C11 iv", codec.encode(row)]) == row
    odd = msgspec.structs.replace(row, curves=[Curve("a", [1.0], [])])
    with pytest.raises(WireError, match="expected 1 values of a curve, found 0"):
        parse_progress([b"C11 iv", codec.encode(odd)])
