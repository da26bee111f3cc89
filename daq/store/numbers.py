"""Run numbers: none is ever given twice, whatever crashes and whatever is moved away."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from daq.errors import StorageError
from daq.store import disk, names

COUNTER = "last_run"


def run_number(folder: Path) -> int:
    """The number of a run's folder."""
    return names.run_number(folder)


def new_run(data_dir: Path) -> Path:
    """A new, empty run folder; its number is on disk as used before the folder exists."""
    with disk.naming("make a run folder in", data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        while True:
            run = max([_counted(data_dir), *names.run_folders(data_dir)]) + 1
            _count(data_dir, run)
            try:
                names.run_folder(data_dir, run).mkdir()
            except FileExistsError:
                continue  # somebody else was faster: the next number
            disk.sync_folder(data_dir)
            return names.run_folder(data_dir, run)


def _counted(data_dir: Path) -> int:
    path = data_dir / COUNTER
    if not path.exists():
        return 0
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not text.isdigit():
        raise StorageError(f"{path}: expected the number of the last run, found {text[:40]!r}")
    return int(text)


def _count(data_dir: Path, run: int) -> None:
    part = data_dir / f"{COUNTER}.{os.getpid()}.{threading.get_ident()}.part"
    with part.open("w", encoding="ascii") as file:
        file.write(f"{run}\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(data_dir / COUNTER)
