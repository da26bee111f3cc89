"""`scheelite filters load` and `scheelite levels --live` into a real core, which is then killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daq.errors import FormatError, RefusedError, ServiceTimeoutError, UsageError
from daq.services import system
from daq.services.filterfile import write_filters
from daq.services.rawreplay import replay_run
from daq.settings.loader import Settings, load
from daq.store import names
from daq.store.folder import Folder
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.system.chain import cli, cli_json, until
from tests.system.test_core_service import digitizer_of, start, status
from tests.system.test_matched_run import AT, CONFIG, FILTERS, X

HELD = 25_000
# twice the noise: other kernels, and twice the threshold in counts
LATER = {name: replace(one, psd=4 * one.psd) for name, one in FILTERS.items()}


@pytest.fixture
def settings(runtime: Path, tmp_path: Path) -> Settings:
    write_filters(tmp_path / "filters", FILTERS)
    write_filters(tmp_path / "later", LATER)
    config = tmp_path / "t.toml"
    text = CONFIG.format(data=tmp_path / "runs", file=tmp_path / "filters")
    config.write_text(text.replace("[storage]", '[storage]\nraw = "all"'))
    return load(config)


@contextmanager
def core_process(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "daq", "core", str(settings.path)])
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def recorded(settings: Settings, *, killed: bool) -> Run:
    """A run whose filters change at sample HELD, and whose core may be killed just behind it."""
    with core_process(settings), digitizer_of(settings, X, hold_at=HELD) as digitizer:
        until(lambda: _is_up(settings), "the core")
        folder = start(settings)
        until(lambda: status(settings)["digitizers"]["d"]["next"] >= HELD, "the samples before")
        told = cli_json("filters", "load", settings.path, settings.path.with_name("later"))
        assert told == {"since": {"A": HELD, "B": HELD}, "epoch": 1}
        assert status(settings)["epoch"] == 1
        if not killed:
            digitizer.go_on.set()
            until(lambda: status(settings)["run"] is None, "the end of the run")
    if killed:
        with core_process(settings):
            until(lambda: _is_up(settings, "running"), "the run to be taken up")
            assert status(settings)["epoch"] == 1
            with digitizer_of(settings, X):  # one that sees that its core is another
                until(lambda: status(settings)["run"] is None, "the end of the run")
    return open_run(folder)


def test_a_run_takes_filters_and_keeps_them_when_its_core_is_killed_and_in_a_replay(
    settings, tmp_path, monkeypatch
):
    undisturbed, resumed = (recorded(settings, killed=killed) for killed in (False, True))
    for name in FILTERS:
        (table, samples), (again, others) = undisturbed.records(name), resumed.records(name)
        assert table.tobytes() == again.tobytes()
        assert samples[:].tobytes() == others[:].tobytes()
        assert [int(t) for t in table["epoch"]] == [int(at >= HELD) for at in AT[name]]
    # 60 and 90 counts are above 6 sigma of the first filters; both come before or are high enough
    assert len(undisturbed.records("A")[0]) == len(AT["A"])
    (change,) = [one for one in resumed.inputs() if one["input"] == "filters"]
    assert change["since"] == {"A": HELD, "B": HELD}
    expected = {name: pytest.approx(6 * one.sigma) for name, one in LATER.items()}
    assert change["thresholds"] == expected
    Folder(resumed.folder.parent, time.time_ns).fold()
    for run in (undisturbed, resumed):
        replayed_the_same(run.folder, tmp_path / "again")
    with monkeypatch.context() as patch:  # or the filters would not matter
        patch.setattr(Run, "inputs", lambda _: [])
        assert (
            "channel A: expected" in replay_run(resumed.folder, tmp_path / "other").differences[0]
        )


def replayed_the_same(folder: Path, out: Path) -> None:
    """Out of its raw streams the run comes once more, with the loaded filters at their samples."""
    assert verify(folder).problems == []
    again = replay_run(folder, out)
    assert again.differences == []
    assert verify(again.run).problems == []
    with open_run(folder) as run, open_run(again.run) as copy:
        assert [one for one in copy.inputs() if one["input"] == "filters"] == [
            one for one in run.inputs() if one["input"] == "filters"
        ]
        assert [path.read_bytes() for path in names.filters(copy.folder)] == [
            path.read_bytes() for path in names.filters(run.folder)
        ]
        assert len(names.filters(copy.folder)) == 2


def test_what_does_not_fit_is_refused_in_one_sentence(settings, tmp_path):
    def ask(verb: str, **arguments: object) -> dict:
        return system.ask(settings, "core", verb, **arguments)

    with core_process(settings), digitizer_of(settings, X, hold_at=HELD):
        until(lambda: _is_up(settings), "the core")
        missing = tmp_path / "none"
        with pytest.raises(RefusedError, match="no run is being recorded"):
            ask("set_filters", file=str(missing), sha256="")
        folder = start(settings)
        with pytest.raises(FormatError, match=f"{missing}: expected a file of filters that the"):
            ask("set_filters", file=str(missing), sha256="")
        with pytest.raises(FormatError, match="expected the SHA-256 0123, found"):
            ask("set_filters", file=str(tmp_path / "later"), sha256="0123")
        for name, (file, sentence) in {
            "length": ({"A": replace_length(FILTERS["A"])}, "for records of 2048 samples, 512"),
            "rate": ({"A": replace(FILTERS["A"], rate_hz=9e3)}, "A for 10000 Hz, found 9000 Hz"),
            "sign": ({"A": FILTERS["B"]}, "A for rising pulses, found falling"),
            "other": ({"Z": FILTERS["A"]}, "expected filters for A, B, found Z"),
        }.items():
            write_filters(tmp_path / name, file)
            refused = cli("filters", "load", settings.path, tmp_path / name)
            assert refused.returncode != 0
            assert sentence in " ".join(refused.stderr.split())
        with pytest.raises(UsageError, match="0 to 1000 sigma for A, found -1"):
            ask("set_thresholds", sigmas={"A": -1.0})
        with pytest.raises(UsageError, match="expected thresholds of channels, found none"):
            ask("set_thresholds", sigmas={})
        told = ask("set_thresholds", sigmas={"A": 7.5})
        assert list(told["since"]) == ["A"]
        (kept,) = [one for one in open_run(folder).inputs() if one["input"] == "filters"]
        assert kept["thresholds"] == {"A": pytest.approx(7.5 * FILTERS["A"].sigma)}


NOISE = """triggers = [
    { kind = "matched", threshold_sigma = 6.0, holdoff = 100 },
    { kind = "level", threshold = 30000.0, rearm = 20000.0 },
    { kind = "random", rate_hz = 100.0 },
]"""


def test_thresholds_come_from_the_noise_of_the_run_in_progress(settings):
    (line,) = [one for one in settings.text.splitlines() if one.startswith("triggers")]
    settings.path.write_text(settings.text.replace(line, NOISE))
    settings = load(settings.path)
    with core_process(settings), digitizer_of(settings, X, hold_at=HELD):
        until(lambda: _is_up(settings), "the core")
        refused = cli("levels", settings.path, "--live", "--sigmas", "7")
        assert "no run is being recorded" in refused.stderr
        assert cli("levels", settings.path, "--sigmas", "7").returncode != 0
        folder = start(settings)
        until(lambda: status(settings)["channels"]["B"]["records"] > 60, "records of noise")
        until(lambda: status(settings)["unsafe"] == 0, "them to be durable")
        told = cli_json("levels", settings.path, "--live", "--sigmas", "7", "--set")
        assert status(settings)["epoch"] == 3
        matched = {"channel": "A", "entry": 0, "threshold": 5.0, "rearm": 1.0}
        with pytest.raises(UsageError, match=r"level or edge triggers \[1\] of A, found 0"):
            system.ask(settings, "core", "set_levels", levels=[matched])
        with pytest.raises(UsageError, match="expected rearm below threshold"):
            system.ask(
                settings, "core", "set_levels", levels=[matched | {"entry": 1, "rearm": 6.0}]
            )
        inputs = open_run(folder).inputs()
    by_filter = {r["channel"]: r for r in told["levels"] if r["trigger"] == "matched"}
    assert set(by_filter) == set(FILTERS)
    (filters,) = [one for one in inputs if one["input"] == "filters"]
    for name, one in FILTERS.items():
        assert filters["thresholds"][name] == pytest.approx(7 * one.sigma)
    leveled = {one["channel"]: one["triggers"][1] for one in inputs if one["input"] == "triggers"}
    for trigger in leveled.values():  # noise of 10 counts on a baseline of 50, and a few tails
        assert trigger["threshold"] == pytest.approx(50 + 7 * 10, rel=0.2)


def replace_length(one):
    short = one.template[:1024]
    return replace(one, template=short, psd=np.asarray(one.psd[:513]))


def _is_up(settings: Settings, state: str = "idle") -> bool:
    try:
        return status(settings)["state"] == state
    except ServiceTimeoutError:
        return False
