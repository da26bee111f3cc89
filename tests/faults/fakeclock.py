"""A wall clock that a test can set, for the processes that it starts: a library made by `cc`."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("fakeclock.c")


class FakeClock:
    """How far the wall clock of the processes that were started under it is from the true one."""

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "fakeclock", folder / "fakeclock.so"
        self._file.write_bytes(bytes(8))
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(self._library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    def set_ahead(self, seconds: float) -> None:
        """Set it, at once for all of them."""
        with self._file.open("r+b") as file:  # in place: they have it mapped
            file.write(struct.pack("=q", round(seconds * 1e9)))

    @contextmanager
    def for_children(self) -> Iterator[None]:
        """What is started within has this clock."""
        ours = {"LD_PRELOAD": str(self._library), "FAKECLOCK_FILE": str(self._file)}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def fake_clock(folder: Path) -> FakeClock | None:
    """One of a test's own; None where there is no compiler."""
    return FakeClock(folder) if shutil.which("cc") else None
