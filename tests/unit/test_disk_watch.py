"""The disk's room: what does not fit is refused with its numbers, and a run pauses in time."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from daq.errors import DiskFullError, StorageError
from daq.services.diskwatch import DiskWatch, Rate, free_bytes
from daq.settings.loader import parse
from daq.store.logfiles import preallocation

CONFIG = """
[experiment]
name = "t"
data_dir = "{data}"
[storage]
rotate_bytes = 1048576
reserve_bytes = 5000000
bytes_per_hour = 1000000
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 256
pretrigger = 64
trigger = {{ kind = "off" }}
[channels]
A = {{ kind = "k", digitizer = "d", input = 0 }}
"""
WORKING = 2 * preallocation(1 << 20)
HOURLY = Rate(1e6, "as this run writes")


class Disk:
    """A disk that is as full as the test wants."""

    def __init__(self) -> None:
        self.free, self.looks, self.now_s = 0, 0, 100.0

    def usage(self, _path: Path) -> SimpleNamespace:
        self.looks += 1
        return SimpleNamespace(free=self.free)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(shutil, "disk_usage", disk.usage)
    return disk


@pytest.fixture
def watch(disk: Disk, tmp_path: Path) -> DiskWatch:
    settings = parse(CONFIG.format(data=tmp_path / "runs"), Path("t.toml"))
    return DiskWatch(settings, lambda: disk.now_s)


def test_a_run_that_fits_is_let_begin(disk: Disk, watch: DiskWatch) -> None:
    disk.free = 5_000_000 + WORKING + 2_000_000
    watch.check_fits(2 * 3600.0, HOURLY)
    watch.check_fits(None, HOURLY)


def test_a_run_that_cannot_fit_is_refused_with_the_numbers(disk: Disk, watch: DiskWatch) -> None:
    disk.free = 5_000_000 + WORKING + 1_999_999
    with pytest.raises(DiskFullError) as refusal:
        watch.check_fits(2 * 3600.0, HOURLY)
    assert "runs: expected 9.63 MB free for 2 h at 1 MB per hour (as this run writes), " in str(
        refusal.value
    )
    assert str(refusal.value).endswith("and a reserve of 5 MB; found 9.63 MB")
    disk.free = 4_999
    with pytest.raises(DiskFullError, match=r"free for a run at .* found 4.999 kB"):
        watch.check_fits(None, HOURLY)


def test_it_is_short_below_the_reserve_and_roomy_only_well_above(
    disk: Disk, watch: DiskWatch
) -> None:
    for free, short, roomy in (
        (4_999_999, True, False),
        (5_000_000, False, False),
        (5_000_000 + WORKING, False, True),
    ):
        disk.free, disk.now_s = free, disk.now_s + 1.0
        assert (watch.short, watch.roomy) == (short, roomy)


def test_the_disk_is_looked_at_once_a_second(disk: Disk, watch: DiskWatch) -> None:
    for _ in range(100):
        disk.now_s += 0.05
        assert watch.short
    assert disk.looks == pytest.approx(5, abs=1)


def test_hours_are_counted_down_to_the_reserve(disk: Disk, watch: DiskWatch) -> None:
    disk.free = 8_000_000
    assert watch.hours_left(HOURLY) == 3.0
    assert watch.hours_left(Rate(0.0, "nothing")) is None
    disk.free, disk.now_s = 1, disk.now_s + 1.0
    assert watch.hours_left(HOURLY) == 0.0


def test_a_folder_to_come_is_judged_by_where_it_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet") > 0


def test_a_disk_that_cannot_be_looked_at_is_named(tmp_path: Path, monkeypatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    with pytest.raises(StorageError, match=r"cannot look at the disk of .*: Input/output error"):
        free_bytes(tmp_path)
    settings = parse(CONFIG.format(data=tmp_path / "runs"), Path("t.toml"))
    assert DiskWatch(settings, lambda: 1.0).hours_left(HOURLY) is None
