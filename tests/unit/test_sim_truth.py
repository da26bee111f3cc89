"""The truth file: what is in it, when, and what its reader refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim_hardware.settings import BenchError
from sim_hardware.truth import EVERY_S, HEADER, RETRY_S, Converting, TruthFile
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.particles import Hit
from tests import truth as reader
from tests.truth import Row, TruthFileError, newest_truth, read_truth

START_NS = 1_789_000_000_123_456_000
CLOCK = SampleClock(1000.0, ppm=0.0, start_ns=START_NS)
FAST = SampleClock(1000.0, ppm=1000.0, start_ns=START_NS)
HITS = [
    Hit(0.0, "C11", 20.0, "cevns", 1),
    Hit(0.0995, "C11", 5898.8, "iron55", 2),
    Hit(0.1, "C12", 1e6, "muon", 3),
    Hit(0.1, "SI", 78e3, "muon", 3),
    Hit(0.1001, "C11", 1 / 3, "excess", 4),
    Hit(5.0, "SI", 5.0, "excess", 5),
]


class Given:
    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        return [hit for hit in HITS if start_s <= hit.true_s < stop_s]


def converting(name: str, *channels: str, clock: SampleClock = CLOCK) -> Converting:
    return Converting(
        name=name,
        channels=frozenset(channels),
        clock=clock,
        converted=lambda now_s: int(now_s * 1000),
    )


def opened(folder: Path, *digitizers: Converting) -> TruthFile:
    return TruthFile(folder, START_NS, Given(), list(digitizers))


def test_the_file_is_named_by_the_start_and_its_header_has_the_units(tmp_path: Path) -> None:
    file = opened(tmp_path / "deep" / "truth")
    file.close(0.0)
    assert file.path.name == "truth-20260910T002640.123456Z.csv"
    assert file.path.read_text() == HEADER == reader.HEADER + "\n"
    assert newest_truth(file.path.parent) == file.path


def test_a_hit_is_written_once_its_first_sample_was_converted(tmp_path: Path) -> None:
    file = opened(tmp_path, converting("targets", "C11", "C12"), converting("vetoes", "SI"))
    seen = {}
    # samples [0, n) are converted at n ms; a hit at sample 99.5 shows in sample 100 first
    for n in (0, 1, 100, 101, 102, 5000, 5001):
        file.write(n / 1000)
        seen[n] = len(read_truth(file.path))
    assert seen == {0: 0, 1: 1, 100: 1, 101: 4, 102: 5, 5000: 5, 5001: 6}
    file.close(6.0)
    rows = read_truth(file.path)
    assert rows[0] == Row(0.0, START_NS, "targets", 0.0, "C11", 20.0, "cevns", 1)
    assert rows[1].sample == 99.5
    assert rows[1].t_ns == START_NS + 99_500_000
    assert sorted((row.channel, row.event) for row in rows) == sorted(
        (hit.channel, hit.event) for hit in HITS
    )
    assert rows[4].energy_ev == pytest.approx(1 / 3, rel=1e-8)


def test_samples_are_those_of_the_digitizer_s_own_clock(tmp_path: Path) -> None:
    file = opened(tmp_path, converting("vetoes", "SI", clock=FAST))
    file.close(6.0)
    assert [row.sample for row in read_truth(file.path)] == [100.1, 5005.0]


def test_how_often_it_is_written_makes_no_difference(tmp_path: Path) -> None:
    once, often = (
        opened(tmp_path / name, converting("targets", "C11", "C12", "SI")) for name in "ab"
    )
    for n in range(6000):
        often.write(n / 1000)
    for file in (once, often):
        file.close(6.0)
    assert once.path.read_text() == often.path.read_text()


def test_a_bench_that_starts_at_the_same_time_again_spoils_nothing(tmp_path: Path) -> None:
    first, second, third = (opened(tmp_path, converting("t", "C11")) for _ in range(3))
    first.close(6.0)
    second.close(0.05)
    third.close(0.0)
    names = [
        each.path.name.removeprefix("truth-20260910T002640.123456Z") for each in (second, third)
    ]
    assert names == ["-2.csv", "-3.csv"]
    assert [len(read_truth(each.path)) for each in (first, second, third)] == [3, 1, 0]


def test_it_is_flushed_twice_a_second(tmp_path: Path) -> None:
    file = opened(tmp_path)
    assert file.wait_s(0.0) == 0.0
    file.write(10.0)
    assert file.wait_s(10.1) == pytest.approx(EVERY_S - 0.1)
    assert EVERY_S <= 1.0
    file.close(11.0)


def test_a_full_disk_loses_nothing_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = opened(tmp_path, converting("targets", "C11", "C12"))

    def half(new: bytes) -> None:
        file._file.write(new[: len(new) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(file, "_append", half)
        file.write(0.2)
    assert file.path.read_text() == HEADER
    assert file.wait_s(0.2) == RETRY_S
    assert "cannot be written: No space left on device" in caplog.text
    file.close(0.2)
    assert len(read_truth(file.path)) == 4


def test_where_no_file_can_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "truth").write_text("")
    with pytest.raises(BenchError, match="truth: no truth file can be made: File exists"):
        opened(tmp_path / "truth")


# --- the reader


GOOD = "0.100000000,1789000000223456000,targets,100.0000,C11,20,cevns,1\n"


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "truth-x.csv"
    for cut in range(1, len(GOOD)):
        file.write_text(HEADER + GOOD + GOOD[:cut])
        assert len(read_truth(file)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "not enough values"),
        ("1,2,3", "not enough values"),
        (GOOD[:-1] + ",7", "too many values"),
        (GOOD.replace("20,cevns", "x,cevns")[:-1], "could not convert"),
        (GOOD.replace("20,cevns", "nan,cevns")[:-1], "found '0.1"),
        (GOOD.replace("20,cevns", "-20,cevns")[:-1], "found '0.1"),
        (GOOD.replace("cevns", "")[:-1], "an empty name"),
        (GOOD.replace(",1\n", ",1.5"), "invalid literal"),
    ],
)
def test_a_bad_line_is_refused_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "truth-x.csv"
    file.write_text(HEADER + GOOD + line + "\n" + GOOD)
    with pytest.raises(TruthFileError, match=rf"truth-x\.csv:3: expected 8 fields .*{said}"):
        read_truth(file)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "truth-x.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(TruthFileError, match=r"truth-x\.csv:1: expected the header"):
        read_truth(file)
