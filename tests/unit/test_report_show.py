"""The numbers of a run."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daq.model.record import ANCHOR, DEAD_CAUSES, EVENT, GAP, LEDGER, MESSAGE, READING, Flag
from daq.report.show import ChannelSummary, RunSummary, summary
from tests.report_run import (
    RATE_HZ,
    START_NS,
    VOLTS_PER_COUNT,
    FakeDigitizer,
    FakeRun,
    channel,
    made_records,
    rows,
    veto,
)

SECOND = int(RATE_HZ)
DEAD = {"gap": 0.5, "saturated": 0.25, "edge": 0.25, "holdoff": 1.0}
LIVE = (0, 0, 8 * SECOND, 6 * SECOND, *(int(DEAD.get(c, 0) * SECOND) for c in DEAD_CAUSES))
NONE = (0,) * len(DEAD_CAUSES)


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    """Ten seconds of a target and a veto; three records, four events, two gaps."""
    target = channel("C11")
    heights = np.array([100.0, 2000.0, 500.0])
    records = made_records(target, np.arange(1, 4) * SECOND, heights, np.random.default_rng(1))
    records[0]["flags"] = [0, Flag.PILED_UP, Flag.PILED_UP | Flag.SATURATED]
    return FakeRun(
        folder=tmp_path,
        channels=(target, veto("SI")),
        all_records={"C11": records},
        tables={
            "ledger": rows(
                LEDGER,
                LIVE,
                (0, 8 * SECOND, 10 * SECOND, 2 * SECOND, *NONE),
                (1, 0, 10 * SECOND, 10 * SECOND, *NONE),
            ),
            "anchors": rows(ANCHOR, (0, 0, START_NS), (1, SECOND, START_NS + 10**9)),
            "events": rows(
                EVENT,
                (0, START_NS, 1, 0b01, 1, 0, 0, 0, 0, 0),
                (1, START_NS, 1, 0b10, 0, 0, 0, 0, 0, 1),
                (2, START_NS, 2, 0b11, 1, 1, 0b01, 1, 0, 0),
                (3, START_NS, 3, 0b01, 1, 0, 0, 0, 0b10, 0),
            ),
            "gaps": rows(GAP, (0, 100, 200, 1, b"overflow"), (0, 300, 350, 0, b"restart")),
            "readings": rows(READING, (START_NS, b"f", b"t", 1.0, b"K", b"read", b"")),
            "messages": rows(MESSAGE, (START_NS, b"info", b"hello")),
        },
    )


def test_live_and_dead_time_add_up_to_real_time(run: FakeRun) -> None:
    target, other = summary(run).channels
    assert target.live_s == 8.0
    assert target.dead_s == {**dict.fromkeys(DEAD_CAUSES, 0.0), **DEAD}
    assert target.exposure_g_d == 8.0 * 0.75 / 86_400
    assert target.real_s == 10.0 == target.live_s + sum(target.dead_s.values())
    assert (other.live_s, other.real_s, set(other.dead_s)) == (10.0, 10.0, set(DEAD_CAUSES))


def test_a_channel_is_counted_and_measured_in_volts(run: FakeRun) -> None:
    target = summary(run).channels[0]
    assert (target.records, target.piled_up, target.saturated, target.gaps) == (3, 2, 1, 2)
    assert target.rate_hz == 3 / 8
    assert target.height_v == pytest.approx(500 * VOLTS_PER_COUNT, rel=0.1)
    assert target.baseline_rms_v == pytest.approx(6 * VOLTS_PER_COUNT, rel=0.05)


def test_a_channel_without_records_has_no_medians(run: FakeRun) -> None:
    other = summary(run).channels[1]
    assert (other.records, other.rate_hz, other.gaps) == (0, 0.0, 0)
    assert (other.baseline_rms_v, other.height_v) == (None, None)


def test_events_are_counted_by_how_many_channels_they_have(run: FakeRun) -> None:
    events = summary(run).events
    assert (events.events, events.with_veto, events.absent, events.late) == (4, 2, 1, 1)
    assert [asdict(tagged) for tagged in events.tagged] == [
        {"window": "inner", "kind": "veto", "events": 1}
    ]
    assert events.vetoed == 1
    assert [asdict(m) for m in events.multiplicity] == [
        {"channels": 1, "events": 3, "with_veto": 1},
        {"channels": 2, "events": 1, "with_veto": 1},
    ]


def test_vetoes_are_the_channels_without_mass_beside_those_with(run: FakeRun) -> None:
    assert [c.veto for c in summary(run).channels] == [False, True]
    massless = replace(run, channels=(channel("C11", mass_g=0.0), veto("SI")))
    assert [c.veto for c in summary(massless).channels] == [False, False]
    assert summary(massless).events.with_veto == 0


def test_gaps_are_counted_with_their_samples(run: FakeRun) -> None:
    gaps = summary(run).gaps
    assert (gaps.gaps, gaps.samples, gaps.inexact) == (2, 150, 1)


def test_start_and_stop_are_of_the_data_by_the_anchors(run: FakeRun) -> None:
    """Also where the data are years older than the run that records them."""
    found = summary(replace(run, start_ns=START_NS + 10**17))
    assert (found.start, found.stop) == (
        "2026-09-21T14:13:20.000000Z",
        "2026-09-21T14:13:30.000000Z",
    )
    assert found.duration_s == 10.0
    assert found.recorded == "2029-11-22T00:00:00.000000Z"


def test_anchors_known_when_the_run_began_are_enough(run: FakeRun) -> None:
    known = FakeDigitizer("targets", anchors=((-SECOND, START_NS),)), FakeDigitizer("vetoes")
    tables = {**run.tables, "anchors": rows(ANCHOR)}
    found = summary(replace(run, digitizers=known, tables=tables))
    assert (found.start, found.duration_s) == ("2026-09-21T14:13:21.000000Z", 10.0)


def test_without_any_anchor_the_host_says_when_it_began(run: FakeRun) -> None:
    tables = {**run.tables, "anchors": rows(ANCHOR)}
    found = summary(replace(run, tables=tables))
    assert (found.start, found.stop, found.duration_s) == (found.recorded, found.recorded, 0.0)


@pytest.mark.parametrize(
    ("complete", "recovered", "expected"),
    [(True, False, "complete"), (True, True, "recovered"), (False, True, "not complete")],
)
def test_the_state_is_a_word(run: FakeRun, complete: bool, recovered: bool, expected: str) -> None:
    assert summary(replace(run, complete=complete, recovered=recovered)).state == expected


def test_only_sealed_files_count_as_size(run: FakeRun) -> None:
    (run.folder / "segment_000001.h5").write_bytes(bytes(1000))
    (run.folder / "run_000142.h5").write_bytes(bytes(24))
    (run.folder / "report.html").write_bytes(bytes(9))
    assert summary(run).n_bytes == 1024


def test_a_summary_survives_json(run: FakeRun) -> None:
    found = summary(run)
    assert msgspec.json.decode(msgspec.json.encode(found), type=RunSummary) == found


def test_a_run_without_anything_has_a_summary(tmp_path: Path) -> None:
    found = summary(FakeRun(folder=tmp_path, channels=(channel("C11"),)))
    assert found.channels == (
        ChannelSummary(
            name="C11", digitizer="targets", veto=False, records=0, piled_up=0, saturated=0,
            rate_hz=None, real_s=0.0, live_s=0.0, exposure_g_d=0.0,
            dead_s=dict.fromkeys(DEAD_CAUSES, 0.0),
            dropped={}, gaps=0, baseline_rms_v=None, height_v=None,
        ),
    )  # fmt: skip
    assert (found.events.events, found.events.multiplicity, found.gaps.gaps) == (0, (), 0)
    assert summary(FakeRun(folder=tmp_path, channels=(), digitizers=())).channels == ()
