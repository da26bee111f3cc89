"""Who may write a run's log or finish the run: whoever holds the lock on log/owner."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from daq.errors import StorageError
from daq.store import disk, names

RETRY_S = 0.02


class HeldError(StorageError):
    """Another process holds the lock."""


class Owner:
    """The lock, held from construction to `close`; the system drops it when the process dies.

    HeldError where another process holds it, and still does after `patience_s`.
    """

    def __init__(self, folder: Path, patience_s: float = 0.0) -> None:
        self._folder, self._path = folder, names.log_folder(folder) / "owner"
        self._locked = False
        deadline = time.monotonic() + patience_s
        with disk.naming("lock", self._path):
            self._path.parent.mkdir(exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                while not self._lock() and time.monotonic() < deadline:
                    time.sleep(RETRY_S)
                self._own()
            except BaseException:
                os.close(self._fd)
                raise

    def __enter__(self) -> Owner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def remove(self) -> None:
        """Delete the lock's file, if it is still there; whoever waited for it finds it gone."""
        with disk.naming("delete", self._path), suppress(FileNotFoundError):
            disk.remove(self._path)

    def close(self) -> None:
        """Let go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._locked = True
        return True

    def _own(self) -> None:
        """Say who we are; refuse where we are not the one, or the file is not the one any more."""
        if not self._locked:
            found = os.pread(self._fd, 40, 0).decode(errors="replace") or "another process"
            raise HeldError(f"{self._folder}: expected nobody to write it, found {found}")
        if not self._path.exists() or self._path.stat().st_ino != os.fstat(self._fd).st_ino:
            raise HeldError(f"{self._folder}: finished by somebody else just now")
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()}".encode(), 0)
