"""Runs that trigger by optimum filters: through the core's sockets, and killed and taken up."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from daq.errors import StorageError
from daq.model.block import Block
from daq.model.channel import Channel
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.model.record import Cause
from daq.services.filterfile import digest_of, write_filters
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.services.setup import channels_of, filters_of
from daq.settings.loader import Settings, parse
from daq.store.log import LogSettings
from daq.store.reader import Run, open_run
from daq.wire.schemas import StreamHello
from tests.filters import template, tes_filter, with_pulses
from tests.system.digitizer_double import T0_NS
from tests.system.test_core_service import core_of, digitizer_of, start, status, until

CONFIG = """
[experiment]
name = "t"
data_dir = "{data}"
[storage]
sync_s = 0.02
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 2048
pretrigger = 512
triggers = [{{ kind = "matched", threshold_sigma = 6.0, holdoff = 100 }}]
[filters]
file = "{file}"
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
B = {{ kind = "k", digitizer = "d", input = 1 }}
"""
RATE_HZ, N = 10e3, 60_000
FILTERS = {
    "A": tes_filter(2048, 512, RATE_HZ),
    "B": tes_filter(2048, 512, RATE_HZ, falling=True),
}
AT = {"A": [3000, 9000, 21_000, 35_000, 58_000], "B": [5000, 30_000]}
HEIGHT = {"A": [100.0, 3000.0, 60.0, 700.0, 250.0], "B": [400.0, 90.0]}


def pulses() -> np.ndarray:
    """Pulses that go on behind the filter's end, in the filters' noise, on a baseline."""
    x = np.random.default_rng(5).normal(50, 10, (2, N))
    shape = template(8192, 512, RATE_HZ)
    rows = [
        with_pulses(row, one.sign * shape, 512, AT[name], HEIGHT[name])
        for row, (name, one) in zip(x, FILTERS.items(), strict=True)
    ]
    return np.rint(rows).astype(np.int16)


X = pulses()


@pytest.fixture
def settings(runtime: Path, tmp_path: Path) -> Settings:
    write_filters(tmp_path / "filters", FILTERS)
    text = CONFIG.format(data=tmp_path / "runs", file=tmp_path / "filters")
    return parse(text, Path("t.toml"))


def expect_every_pulse_once(run: Run) -> None:
    for name, one in FILTERS.items():
        table, _ = run.records(name)
        assert [
            abs(int(t) - at) <= 1 for t, at in zip(table["trigger"], AT[name], strict=True)
        ] == [True] * len(AT[name])
        assert set(table["cause"]) == {Cause.MATCHED}
        # 5 sigma, and what the tails of those before leave
        for found, height in zip(table["amplitude"], HEIGHT[name], strict=True):
            assert abs(float(found) - height) < 5 * one.sigma + 0.01 * height
        times = (table["trigger"] - np.array(AT[name])) / RATE_HZ + table["offset_s"]
        for time_s, height in zip(times, HEIGHT[name], strict=True):
            assert abs(float(time_s)) < 5 * one.time_sigma_s(height) + 0.5 / RATE_HZ
        assert (table["chi2"] < 2).all()
        assert (table["chi2"] > 0.5).all()


def test_the_core_finds_every_pulse_once_with_its_height_and_time(settings):
    with core_of(settings), digitizer_of(settings, X):
        folder = start(settings)
        until(lambda: status(settings)["run"] is None, "the end of the run")
        assert status(settings)["last"]["records"] == {"A": 5, "B": 2}
    run = open_run(folder)
    expect_every_pulse_once(run)
    ledger = run.ledger()
    assert (ledger["holdoff"].sum() > 0) and (ledger["live"].sum() > N)  # noqa: PT018
    assert (folder / f"filters-{digest_of(FILTERS)[:16]}").exists()


def facts(settings: Settings) -> RunFacts:
    hello = StreamHello(
        digitizer="d", epoch="e", channels=["a", "b"], rate_hz=RATE_HZ, volts_per_count=1.0,
        oldest=0, newest=0,
    )  # fmt: skip
    channels: list[Channel] = channels_of(settings, hello, filters_of(settings))
    digitizer = DigitizerFacts(name="d", rate_hz=RATE_HZ, epoch="e", start=0, anchors=[(0, T0_NS)])
    return RunFacts(
        run=1, name="t", comment="", settings_toml="", settings={}, channels=channels,
        digitizers=[digitizer], plan=Plan(window_ns=3_000_000), software="s", host="h", user="u",
        t_ns=T0_NS, filters=digest_of(FILTERS),
    )  # fmt: skip


def feed(recording: Recording, stop: int) -> None:
    """From where it stands, in blocks of 777 samples with a commit after each."""
    for begin in range(recording.pipeline.resumes_at("d"), stop, 777):
        end = min(begin + 777, stop)
        marks = (Anchor(begin, T0_NS + math.floor(begin * 1e9 / RATE_HZ)),)
        recording.feed("d", [], Block(begin, X[:, begin:end], marks))
        recording.commit()


def test_a_run_that_is_taken_up_goes_on_with_the_filters_that_it_began_with(settings, tmp_path):
    folder = tmp_path / "runs" / "run_000001"
    folder.mkdir(parents=True)
    recording = Recording.begin(folder, facts(settings), LogSettings(), {}, FILTERS)
    for stop in (9100, 21_050, 40_000):
        feed(recording, stop)
        recording.drop()
        recording = Recording.resume(folder, LogSettings())
        assert recording.pipeline.resumes_at("d") < stop
    feed(recording, N)
    recording.stop_at({"d": N}, "enough")
    recording.end(T0_NS + 10**10)
    expect_every_pulse_once(open_run(folder))


def test_without_its_filters_or_with_others_a_run_does_not_go_on(settings, tmp_path):
    folder = tmp_path / "runs" / "run_000001"
    folder.mkdir(parents=True)
    recording = Recording.begin(folder, facts(settings), LogSettings(), {}, FILTERS)
    feed(recording, 4000)
    recording.drop()
    (kept,) = folder.glob("filters-*")
    stored = kept.read_bytes()
    write_filters(kept, {"A": FILTERS["A"]})
    with pytest.raises(StorageError, match="expected the filters"):
        Recording.resume(folder, LogSettings())
    kept.unlink()
    with pytest.raises(StorageError, match=f"{kept}: expected a file of filters"):
        Recording.resume(folder, LogSettings())
    kept.write_bytes(stored)
    Recording.resume(folder, LogSettings()).drop()
