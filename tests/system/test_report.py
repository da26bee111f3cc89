"""The report of a run that went through the log, the folder and the reader."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daq.model.batch import Batch, RecordBatch
from daq.report.page import write_report
from daq.report.show import summary
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.reader import open_run
from daq.store.start import RunDigitizer, RunEnd, RunStart
from daq.store.verify import verify
from tests.report_run import RATE_HZ, START_NS, FakeRun, made_run

SECONDS = 12.0


def start_of(run: FakeRun) -> bytes:
    digitizers = [
        RunDigitizer(name=d.name, rate_hz=d.rate_hz, epoch="e", start=0, anchors=[])
        for d in run.digitizers
    ]
    start = RunStart(
        run=run.number,
        name=run.name,
        comment=run.comment,
        settings_toml=run.settings_toml,
        settings={},
        channels=run.channels,
        digitizers=tuple(digitizers),
        software=run.software,
        host=run.host,
        user="anna",
        t_ns=run.start_ns,
    )
    return msgspec.json.encode(start)


def record(run: FakeRun, folder: Path, *, ended: bool) -> None:
    """Log the run channel by channel, so that it needs more than one file."""
    settings = LogSettings(rotate_bytes=1 << 20)
    with LogWriter(folder, settings, lambda _: None, time.monotonic) as log:
        log.external(Kind.RUN_START, start_of(run))
        for i, channel in enumerate(run.channels):
            log.commit(Batch(records=(RecordBatch(i, *run.records(channel.name)),)), b"")
        log.external(Kind.READINGS, run.readings().tobytes())
        log.external(Kind.MESSAGES, run.messages().tobytes())
        derived = ("events", "members", "gaps", "ledger", "anchors")
        tables = {name: run.tables[name] for name in derived}
        if ended:
            stops = {d.name: int(SECONDS * RATE_HZ) for d in run.digitizers}
            end = RunEnd(reason=run.reason, t_ns=START_NS + int(SECONDS * 1e9), stops=stops)
            log.external(Kind.RUN_END, msgspec.json.encode(end))
        log.commit(Batch(**tables), b"")


@pytest.fixture(scope="module")
def made() -> FakeRun:
    return made_run(Path("run_000142"), seconds=SECONDS, rng=np.random.default_rng(3))


def run_folder(data_dir: Path) -> Path:
    folder = names.run_folder(data_dir, 142)
    folder.mkdir()
    return folder


def test_a_recorded_run_is_reported_as_it_was(made: FakeRun, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    record(made, folder, ended=True)
    Folder(tmp_path, time.time_ns).fold()
    verified = verify(folder)
    with open_run(folder) as run:
        page = write_report(run, folder / "report.html", verified).read_text(encoding="utf-8")
        found = summary(run)
    assert found.state == "complete"
    assert found.duration_s == pytest.approx(SECONDS)
    assert found.n_bytes > 1_000_000
    counts = {name: len(table) for name, (table, _) in made.all_records.items()}
    assert {c.name: c.records for c in found.channels} == counts
    assert (
        page.count("<svg") == 4 * 11 + 9 + 2 + 4
    )  # the drift of nine targets, two of all, four of readings
    assert "● complete" in page
    assert verified.problems == []
    assert "records whole" in page


def test_a_run_that_is_still_being_recorded_has_a_report(made: FakeRun, tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    record(made, folder, ended=False)
    with open_run(folder) as run:
        found = summary(run)
        page = write_report(run, tmp_path / "now.html", None).read_text(encoding="utf-8")
    assert found.state == "not complete"
    assert found.reason == ""
    assert sum(c.records for c in found.channels) > 0
    assert "not verified" in page
