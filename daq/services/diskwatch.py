"""How much room the disk has: what a run needs to begin, when it pauses, how long it can go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daq.errors import DiskFullError, StorageError
from daq.services.setup import log_settings
from daq.settings.loader import Settings
from daq.settings.sections import Storage
from daq.store.logfiles import preallocation

LOOK_S = 1.0
MOVING_S = 60.0  # of a run, until its own rate says more than what was expected
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes per hour, and where the figure comes from."""

    bytes_per_hour: float
    source: str


class DiskWatch:
    """Looks at the disk of `data_dir` once a second. For one thread."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        storage = settings.section(Storage)
        self._data_dir, self._clock = settings.data_dir, clock
        self.reserve = storage.reserve_bytes
        self.expected = float(storage.bytes_per_hour)
        # the file being written, and the one that is being folded
        self._working = 2 * preallocation(log_settings(settings).rotate_bytes)
        self._free, self._looked_at = 0, float("-inf")

    @property
    def free(self) -> int:
        """Bytes that are free, at most a second ago."""
        if self._clock() - self._looked_at >= LOOK_S:
            self._free, self._looked_at = free_bytes(self._data_dir), self._clock()
        return self._free

    @property
    def short(self) -> bool:
        """Whether the reserve is touched: a run must pause."""
        return self.free < self.reserve

    @property
    def roomy(self) -> bool:
        """Whether a run that paused can go on, and will not pause again at once."""
        return self.free >= self.reserve + self._working

    def hours_left(self, rate: Rate) -> float | None:
        """Until the reserve is touched; None where nothing is written, or the disk is not there."""
        if rate.bytes_per_hour <= 0:
            return None
        try:
            return max(0.0, self.free - self.reserve) / rate.bytes_per_hour
        except StorageError:
            return None  # whoever wants to write is told why

    def check_fits(self, duration_s: float | None, rate: Rate) -> None:
        """DiskFullError where a run of this length, or one of any, does not fit."""
        self._looked_at = float("-inf")  # an operator may just have made room
        run = rate.bytes_per_hour * (duration_s or 0.0) / HOUR_S
        needed = run + self.reserve + self._working
        if self.free >= needed:
            return
        length = f"{duration_s / HOUR_S:.3g} h" if duration_s is not None else "a run"
        raise DiskFullError(
            f"{self._data_dir}: expected {_size(needed)} free for {length} at "
            f"{_size(rate.bytes_per_hour)} per hour ({rate.source}), {_size(self._working)} to "
            f"work in and a reserve of {_size(self.reserve)}; found {_size(self.free)}"
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are free where a folder is or will be; StorageError where that is unknown."""
    there = folder
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        return shutil.disk_usage(there).free
    except OSError as error:
        raise StorageError(f"cannot look at the disk of {there}: {error.strerror}") from error


def _size(n_bytes: float) -> str:
    """Bytes as people read them."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes:.0f} bytes"
