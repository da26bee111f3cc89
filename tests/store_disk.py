"""The system calls of the store, recorded: to kill a process at each, and to cut its power."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daq.store import disk

PAGE = 4096


class KillingOs:
    """`os` for the store; the process is killed before call number `last` that changes a disk."""

    CHANGING = frozenset(
        {
            "writev",
            "posix_fallocate",
            "ftruncate",
            "fdatasync",
            "fsync",
            "replace",
            "unlink",
            "link",
        }
    )

    def __init__(self, last: int) -> None:
        self._left = last

    def __getattr__(self, name: str) -> Any:  # Any: whatever `os` has
        if name in self.CHANGING:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(os, name)


def kill_at(call: int) -> None:
    """From now on the store kills this process before its `call`-th change of the disk."""
    disk.os = KillingOs(call)  # type: ignore[attr-defined]


@dataclass(slots=True)
class File:
    """A file in a model of a disk: what is on it for sure, and what was written since."""

    safe: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


class RecordingOs:
    """`os` for the store, that also keeps a model of what a power cut would leave.

    Since the last sync of a file each of its pages may have been written at any time or never,
    and of the names in a folder any first few may have changed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._fds: dict[int, tuple[Path, File | None]] = {}
        self._names: dict[Path, File] = {}  # as programs see them
        self._safe: dict[Path, File] = {}  # as they are on the disk
        self._pending: list[tuple[Path | None, Path, File | None]] = []
        # guards all of the above: the log's thread changes it, the test takes pictures
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:  # Any: whatever `os` has
        return getattr(os, name)

    def image(self, rng: random.Random) -> dict[Path, bytes]:
        """The files that a power cut now may leave."""
        names = dict(self._safe)
        for change in self._pending[: rng.randint(0, len(self._pending))]:
            _apply(names, *change)
        return {path.relative_to(self._root): _torn(file, rng) for path, file in names.items()}

    # --- the calls that matter ---

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        with self.lock:
            fd = os.open(path, flags, mode)
            file = None
            if flags & os.O_TRUNC:
                file = File()
                self._rename(None, Path(path), file)
            self._fds[fd] = (Path(path), file)
            return fd

    def writev(self, fd: int, pieces: Sequence[bytes | memoryview]) -> int:
        with self.lock:
            at, content = os.lseek(fd, 0, os.SEEK_CUR), b"".join(pieces)
            self._write(fd, at, content)
            return os.write(fd, content)

    def posix_fallocate(self, fd: int, start: int, length: int) -> None:
        with self.lock:
            os.posix_fallocate(fd, start, length)
            self._resize(fd, start + length)

    def ftruncate(self, fd: int, length: int) -> None:
        with self.lock:
            os.ftruncate(fd, length)
            self._resize(fd, length)

    def fdatasync(self, fd: int) -> None:
        self.fsync(fd)

    def fsync(self, fd: int) -> None:
        with self.lock:
            path, file = self._fds[fd]
            if file is not None:
                file.safe, file.since, file.sizes = bytes(file.now), [], []
            else:
                mine = [change for change in self._pending if change[1].parent == path]
                self._pending = [change for change in self._pending if change not in mine]
                for change in mine:
                    _apply(self._safe, *change)

    def replace(self, source: Path, target: Path) -> None:
        with self.lock:
            os.replace(source, target)  # noqa: PTH105
            self._rename(source, target, self._names.pop(source))

    def unlink(self, path: Path) -> None:
        with self.lock:
            os.unlink(path)  # noqa: PTH108
            self._names.pop(path, None)
            self._pending.append((path, path, None))

    def _rename(self, source: Path | None, target: Path, file: File) -> None:
        self._names[target] = file
        self._pending.append((source, target, file))

    def _write(self, fd: int, at: int, content: bytes) -> None:
        file = self._fds[fd][1]
        assert file is not None
        file.now.extend(bytes(max(0, at + len(content) - len(file.now))))
        file.now[at : at + len(content)] = content
        file.since.append((at, content))
        file.sizes.append(len(file.now))

    def _resize(self, fd: int, length: int) -> None:
        file = self._fds[fd][1]
        assert file is not None
        del file.now[length:]
        file.now.extend(bytes(length - len(file.now)))
        file.sizes.append(length)


def _apply(names: dict[Path, File], source: Path | None, target: Path, file: File | None) -> None:
    if source is not None:
        names.pop(source, None)
    if file is not None:
        names[target] = file


def _torn(file: File, rng: random.Random) -> bytes:
    """The file with each page as it was at some time since the last sync."""
    size = rng.choice([len(file.safe), *file.sizes])
    versions: dict[int, list[bytes]] = {}
    content = bytearray(file.safe.ljust(max([size, *file.sizes, len(file.safe)]), b"\0"))
    for at, piece in file.since:
        content[at : at + len(piece)] = piece
        for page in range(at // PAGE, (at + len(piece) - 1) // PAGE + 1):
            versions.setdefault(page, []).append(bytes(content[page * PAGE : (page + 1) * PAGE]))
    left = bytearray(file.safe.ljust(len(content), b"\0"))
    for page, found in versions.items():
        before = bytes(left[page * PAGE : (page + 1) * PAGE])
        left[page * PAGE : (page + 1) * PAGE] = rng.choice([before, *found])
    return bytes(left[:size])
