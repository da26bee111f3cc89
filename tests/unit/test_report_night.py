"""A report of several runs, and what each says of drifts, alarms, changes, salts and files."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from daq.model.record import GUARD, MESSAGE, RECORD, SALT, HitKind, plain
from daq.report import remembered
from daq.report.drift import drift, strongest_line
from daq.report.page import write_reports
from tests.report_run import (
    START_NS,
    FakeFile,
    FakeRun,
    FakeVerification,
    channel,
    made_run,
    rows,
    with_channels,
)

HOUR_NS = 3600 * 10**9
SAID = [
    (START_NS, b"info", b"anna@daq to run control: start(comment=x): done"),
    (START_NS + 1, b"error", b"alarm warm (critical): fridge.input 6.temperature is 0.02 K"),
    (START_NS + 2, b"info", b"alarm warm: acknowledged by anna@daq"),
    (START_NS + 3, b"info", b"ben@daq to instruments: write(instrument=fridge): done"),
    (START_NS + 4, b"info", b"nothing that anybody did"),
    (START_NS + 5, b"comment", b"ben: helium was filled"),
]


def table(heights, hours, noise):
    made = np.zeros(len(heights), plain(RECORD))
    made["height"], made["baseline_rms"] = heights, noise
    made["t_ns"] = START_NS + np.round(np.asarray(hours) * HOUR_NS).astype(np.int64)
    return made


def test_a_drift_of_the_gain_and_the_noise_is_found():
    rng, n = np.random.default_rng(1), 4000
    hours = np.sort(rng.uniform(0, 8, n))
    line = 1000 * (1 + 0.01 * hours / 8) * rng.normal(1, 0.02, n)
    heights = np.where(rng.random(n) < 0.6, line, rng.uniform(50, 5000, n))
    found = drift(channel("C11"), table(heights, hours, 5 * (1 + 0.1 * hours / 8)), START_NS,
                  START_NS + 8 * HOUR_NS)  # fmt: skip
    assert found.gain_change == pytest.approx(0.01, abs=0.004)  # of medians of 100 records
    assert found.noise_change == pytest.approx(0.1, abs=0.02)
    assert found.fwhm == pytest.approx(2.355 * 0.02, rel=0.25)  # on a background, and drifting
    assert found.line_v == pytest.approx(1005 * channel("C11").volts_per_count, rel=0.01)


def test_too_few_records_are_no_line():
    assert strongest_line(np.array([5.0] * 3)) is None
    found = drift(channel("C11"), table([1000.0] * 5, [1, 2, 3, 4, 5], 5.0), START_NS, START_NS)
    assert (found.n_line, found.line_v, found.fwhm, found.gain_change) == (0, None, None, None)
    empty = drift(channel("C11"), table([], [], []), START_NS, START_NS + HOUR_NS)
    assert (empty.n_line, empty.noise_change) == (0, None)


def test_the_log_is_sorted_into_alarms_and_changes():
    said = remembered.rows(rows(MESSAGE, *SAID))
    assert [row.t_ns - START_NS for row in remembered.alarms(said)] == [1, 2]
    assert remembered.n_raised(said) == 1
    assert [row.t_ns - START_NS for row in remembered.changes(said)] == [0, 3, 5]


@pytest.fixture(scope="module")
def night(tmp_path_factory) -> tuple[FakeRun, FakeRun]:
    folder = tmp_path_factory.mktemp("night")
    made = made_run(folder, seconds=200.0, rng=np.random.default_rng(3))
    first = with_channels(made, 1)
    tables = {**first.tables, "messages": rows(MESSAGE, *SAID)}
    index = [c.name for c in first.channels].index("C11")
    tables["salts"] = np.array(
        [(index, i, START_NS, 20.0 if i % 2 else 100.0, 30.0, i % 2 == 0, 1) for i in range(40)],
        plain(SALT),
    )
    tables["guard"] = rows(GUARD, (index, HitKind.JUMP, 5, 9, START_NS, 2, 2.01))
    files = [FakeFile("run_000142.h5", 1234, "ab" * 32)]
    one = replace(first, tables=tables, all_files=files)
    return one, replace(one, number=143, comment="the second", all_files=[])


def test_several_runs_are_one_page_with_their_sums(night, tmp_path):
    one, two = night
    path = tmp_path / "page.html"
    write_reports([(one, FakeVerification()), (two, None)], path, "Night x<y")
    page = path.read_text(encoding="utf-8")
    assert "<h1>Night x&lt;y</h1>" in page
    assert page.count("<article") == 2
    identifiers = re.findall(r' id="([^"]*)"', page)
    targets = re.findall(r'href="#([^"]*)"', page)
    assert set(targets) <= set(identifiers)
    named = [i for i in identifiers if i.startswith("r14")]
    assert len(named) == len(set(named))
    assert "<th>alarms</th>" in page
    assert "<script" not in page


def test_one_run_says_everything_of_itself(night, tmp_path):
    path = tmp_path / "page.html"
    write_reports([(night[0], FakeVerification())], path)
    page = path.read_text(encoding="utf-8")
    for part in (
        "ab" * 32,
        "50 % at",
        "by 40 salts",
        "ben@daq to instruments: write(instrument=fridge): done",
        "alarm warm (critical)",
        "ben: helium was filled",
        "gain, relative",
    ):
        assert part in page, part
    jumps = re.search(r"<h2 id=\"jumps\">.*?</section>", page, re.DOTALL)
    assert jumps is not None
    assert re.search(r"<tr><th>C11</th><td>1</td><td>0</td>", jumps[0])


def test_the_same_runs_give_the_same_bytes(night, tmp_path):
    pages = []
    for name in ("a", "b"):
        write_reports([(night[0], FakeVerification())], tmp_path / name)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
