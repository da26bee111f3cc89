"""A small disk of a test's own that can be filled to the last byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class SmallDisk:
    """A folder, and where it is a disk of its own what fills it."""

    def __init__(self, path: Path, why_not: str = "") -> None:
        self.path, self.why_not = path, why_not
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take all that is free."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                return

    def empty(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """A tmpfs where one may be mounted; else a folder that must not be filled."""
    path.mkdir()
    if os.geteuid():
        yield SmallDisk(path, "only root may mount a small disk")
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "scheelite-test", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield SmallDisk(path, "no disk may be mounted here")
        return
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
