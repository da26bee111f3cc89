"""A small disk of a test's own that can be filled to the last byte."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


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
def small_disk(size: str) -> Iterator[SmallDisk]:
    """A tmpfs where one may be mounted; else a folder that must not be filled.

    It stands outside the folders that pytest clears away: a test run that was killed
    leaves the disk mounted, and the next one must not stumble over it.
    """
    with TemporaryDirectory(prefix="scheelite-disk-", ignore_cleanup_errors=True) as name:
        path = Path(name)
        why_not = mount(path, size)
        try:
            yield SmallDisk(path, why_not)
        finally:
            if not why_not:  # lazily: a process on its way out may still hold a file
                subprocess.run(["umount", "--lazy", name], check=True)


def mount(path: Path, size: str) -> str:
    """Put a small tmpfs on a folder; why not, where that cannot be done."""
    if os.geteuid():
        return "only root may mount a small disk"
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "scheelite-test", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"no disk may be mounted here: {done.stderr.strip()}" if done.returncode else ""
