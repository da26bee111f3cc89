"""A disk that fills under a run: it pauses by name, loses nothing safe, and goes on by itself."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from daq.errors import DiskFullError, RefusedError
from daq.services import system
from daq.services.conductor import Conductor
from daq.services.service import Waker
from daq.settings.loader import Settings, parse
from daq.store.folder import Folder
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.faults.disk import small_disk
from tests.system.test_core_service import (
    AT,
    CONFIG,
    core_of,
    digitizer_of,
    pulses,
    start,
    status,
    until,
)

PLENTY = 1 << 40


class Disk:
    """How much is free, as the test wants it."""

    def __init__(self) -> None:
        self.free = PLENTY

    def usage(self, _path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    return disk


@pytest.fixture
def settings(runtime: Path, tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "runs", reserve=1 << 20)


def settings_in(data: Path, reserve: int) -> Settings:
    storage = f"[storage]\nrotate_bytes = 1048576\nreserve_bytes = {reserve}"
    text = CONFIG.format(data=data).replace("[storage]", storage)
    return parse(text.replace("silent_after_s = 0.5", "silent_after_s = 30.0"), Path("t.toml"))


def paused(settings: Settings) -> bool:
    return status(settings)["state"] == "paused-by-disk"


def reached(settings: Settings) -> int:
    return int(status(settings)["digitizers"]["d"]["next"])


def over(settings: Settings) -> bool:
    return status(settings)["run"] is None


def whole(folder: Path) -> Run:
    """The run, folded and verified."""
    folding = Folder(folder.parent, time.time_ns)
    folding.fold()
    assert folding.problems == {}
    assert verify(folder).problems == []
    return open_run(folder)


def test_a_run_that_pauses_goes_on_and_has_lost_nothing_that_was_kept(settings, disk):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000) as digitizer:
        folder = start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        disk.free = 1000
        until(lambda: paused(settings), "the pause")
        told = status(settings)
        assert told["run"] == 1
        assert told["disk_hours_left"] in (None, 0.0)
        assert "run 1 pauses: less than 1048576 bytes are free" in told["problem"]
        safe = open_run(folder).n_records()  # readable while it pauses
        row = [1, "fridge", "input 6.temperature", 0.0102, "K", "read", ""]
        with pytest.raises(DiskFullError, match="run_000001 waits for room"):
            system.ask(settings, "core", "readings", boot="b", first=0, rows=[row])
        digitizer.go_on.set()
        until(lambda: reached(settings) == 40_000, "what the digitizer sends meanwhile")
        assert digitizer.durable <= 12_000
        disk.free = PLENTY
        until(lambda: over(settings), "the end of the run")
        assert status(settings)["problem"] == ""
        assert digitizer.wants[-1] <= 12_000
    with whole(folder) as run:
        assert run.n_records() == {"A": len(AT), "B": len(AT)}
        assert all(run.n_records()[name] >= n for name, n in safe.items())
        assert run.gaps().size == 0
        assert run.inputs()[0]["input"] == "disk_full"


def test_what_the_buffer_could_not_hold_is_a_gap_with_its_own_cause(settings, disk):
    lost = (13_000, 16_000)
    with (
        core_of(settings),
        digitizer_of(settings, pulses(), hold_at=12_000, gap=lost) as digitizer,
    ):
        folder = start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        disk.free = 1000
        until(lambda: paused(settings), "the pause")
        digitizer.go_on.set()
        until(lambda: reached(settings) == 40_000, "what the digitizer sends meanwhile")
        disk.free = PLENTY
        until(lambda: over(settings), "the end of the run")
    with whole(folder) as run:
        (gap,) = run.gaps()
        assert (gap["start"], gap["stop"], gap["exact"], gap["cause"]) == (*lost, 1, b"disk_full")
        ledger = run.ledger()
        assert ledger["disk_full"].sum() == 2 * (lost[1] - lost[0])
        assert ledger["gap"].sum() == 0


def test_a_gap_that_had_another_reason_keeps_it(settings, disk):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000, gap=(5000, 6000)):
        folder = start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        disk.free = 1000
        until(lambda: paused(settings), "the pause")
        disk.free = PLENTY
        until(lambda: status(settings)["state"] == "running", "room")
        system.ask(settings, "core", "stop")
        until(lambda: over(settings), "the end of the run")
    assert [gap["cause"] for gap in whole(folder).gaps()] == [b"overflow"]


def test_a_run_can_be_stopped_while_it_pauses(settings, disk):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000):
        folder = start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        disk.free = 1000
        until(lambda: paused(settings), "the pause")
        with pytest.raises(RefusedError, match="waits for room on the disk; expected no run"):
            start(settings)
        told = system.ask(settings, "core", "stop", reason="tired of it")
        assert told["folder"] == str(folder)
        until(lambda: over(settings), "the end of the run")
    with whole(folder) as run:
        assert (run.reason, run.stops) == ("tired of it", {"d": 12_000})


def test_a_run_that_cannot_fit_is_refused_before_it_begins(settings, disk):
    disk.free = 1 << 20
    with core_of(settings), digitizer_of(settings, pulses()):
        with pytest.raises(DiskFullError, match=r"expected 3\.6.* MB free for a run"):
            start(settings)
        assert over(settings)


def test_a_core_killed_while_it_pauses_goes_on_when_it_comes_back(settings, disk):
    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000):
        folder = start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        disk.free = 1000
        until(lambda: paused(settings), "the pause")
    disk.free = PLENTY
    with core_of(settings), digitizer_of(settings, pulses()):
        until(lambda: status(settings)["last"] is not None, "the end of the run")
    assert whole(folder).n_records() == {"A": len(AT), "B": len(AT)}


@contextmanager
def conductor_of(settings: Settings) -> Iterator[None]:
    """Run control, which adopts the run that it finds."""
    stop, waker = threading.Event(), Waker()
    thread = threading.Thread(target=Conductor(settings, stop, waker).run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        waker.wake()
        thread.join()
        waker.close()


def test_run_control_follows_the_pause_and_says_what_may_be_asked(settings, disk):
    def control() -> dict:
        return system.ask(settings, "run", "status")

    with core_of(settings), digitizer_of(settings, pulses(), hold_at=12_000):
        start(settings)
        until(lambda: reached(settings) == 12_000, "samples")
        with conductor_of(settings):
            until(lambda: control()["state"] == "running", "the run to be adopted")
            disk.free = 1000
            until(lambda: control()["state"] == "paused-by-disk", "the pause")
            assert control()["verbs"] == ["stop"]
            disk.free = PLENTY
            until(lambda: control()["state"] == "running", "room")
            disk.free = 1000
            until(lambda: control()["state"] == "paused-by-disk", "another pause")
            system.ask(settings, "run", "stop")
            until(lambda: over(settings), "the end of the run")
            assert control()["last"]["reason"] == "stopped by the operator"


# --- a real disk that is really full ---


def stormy(n: int) -> np.ndarray:
    """A pulse every 300 samples: 1.3 MB of log for each million samples."""
    x = np.rint(np.random.default_rng(1).normal(0, 10, (2, n))).astype(np.int16)
    x[:, 100::300] += 400
    return x


def test_a_disk_that_is_full_to_the_last_byte_costs_nothing_that_was_safe(runtime, tmp_path):
    with small_disk("24m") as disk:
        if disk.why_not:
            pytest.skip(disk.why_not)
        settings = settings_in(disk.path / "runs", reserve=0)
        samples = stormy(900_000)
        with (
            core_of(settings),
            digitizer_of(settings, samples, hold_at=100_000, n=5000) as digitizer,
        ):
            folder = start(settings)
            until(lambda: reached(settings) == 100_000, "samples")
            until(lambda: status(settings)["safe"]["records"] > 0, "records that are safe")
            disk.fill()
            digitizer.go_on.set()
            until(lambda: paused(settings), "the pause")
            safe = status(settings)["safe"]["records"]
            assert sum(open_run(folder).n_records().values()) >= safe > 0
            assert "No space left on device" in status(settings)["problem"]
            disk.empty()
            until(lambda: over(settings), "the end of the run")
            assert status(settings)["last"]["reason"] == "the stream ended"
        with whole(folder) as run:
            found = run.n_records()
            assert run.gaps().size == 0
        assert found == expected(samples, runtime, tmp_path)


def expected(samples: np.ndarray, runtime: Path, tmp_path: Path) -> dict[str, int]:
    """What a disk with room gets from the same stream."""
    settings = settings_in(tmp_path / "roomy", reserve=0)
    with core_of(settings), digitizer_of(settings, samples, n=5000):
        start(settings)
        until(lambda: over(settings), "the end of the run")
        return dict(status(settings)["last"]["records"])
