"""The few system calls that make bytes durable; what fails becomes a StorageError with its path."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from daq.errors import DiskFullError, StorageError

Buffer = bytes | memoryview
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
EVERYBODY, OWNER = 0o644, 0o600  # who may read a file
MAX_BUFFERS = 512  # of one writev; Linux takes 1024


@contextmanager
def naming(doing: str, path: Path) -> Iterator[None]:
    """Turn an OSError inside into a StorageError: "cannot DOING PATH: reason".

    DiskFullError where there is no room.
    """
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in NO_ROOM else StorageError
        raise kind(f"cannot {doing} {path}: {error.strerror or error}") from error


def create(path: Path, mode: int = EVERYBODY) -> int:
    """A descriptor of a new, empty file; what lay there under this name is dropped."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    if mode == OWNER:  # a file that lay there has kept the mode that it had
        os.fchmod(fd, mode)
    return fd


def allocate(fd: int, start: int, n_bytes: int) -> None:
    """Reserve zeros, so that a full disk is known now and not in the middle of a frame."""
    os.posix_fallocate(fd, start, n_bytes)


def append(fd: int, buffers: Sequence[Buffer]) -> int:
    """Write all of `buffers` at the descriptor's position; how many bytes that was."""
    total = 0
    for first in range(0, len(buffers), MAX_BUFFERS):
        total += _write_all(fd, list(buffers[first : first + MAX_BUFFERS]))
    return total


def truncate(fd: int, n_bytes: int) -> None:
    """Cut the file to its real length."""
    os.ftruncate(fd, n_bytes)


def sync(fd: int) -> None:
    """Return when what was written is on the disk."""
    os.fdatasync(fd)


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close(fd: int) -> None:
    """Give the descriptor back."""
    os.close(fd)


def rename(source: Path, target: Path) -> None:
    """Let `target` be `source`, durably and at once for whoever looks."""
    os.replace(source, target)  # noqa: PTH105 - beside its kin
    sync_folder(target.parent)


def link(source: Path, target: Path) -> None:
    """Let `target` be a second name of a file, durably."""
    os.link(source, target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file, durably."""
    os.unlink(path)  # noqa: PTH108 - beside its kin
    sync_folder(path.parent)


def part(path: Path) -> Path:
    """The name a file has until it is whole."""
    return path.with_name(path.name + ".part")


@contextmanager
def dropping(draft: Path) -> Iterator[None]:
    """Delete a draft that could not be finished."""
    try:
        yield
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            os.unlink(draft)  # noqa: PTH108
        raise


def publish(path: Path, *buffers: Buffer, mode: int = EVERYBODY) -> None:
    """Write a whole file under its name: it is there complete and durable, or not at all."""
    with naming("write", path), dropping(part(path)):
        _write_file(part(path), buffers, mode)
        rename(part(path), path)


def _write_file(path: Path, buffers: Sequence[Buffer], mode: int) -> None:
    fd = create(path, mode)
    try:
        append(fd, buffers)
        sync(fd)
    finally:
        close(fd)


def _write_all(fd: int, buffers: list[Buffer]) -> int:
    total = sum(len(buffer) for buffer in buffers)
    left = total - os.writev(fd, buffers)
    while left:  # a short write: a signal, or the disk is nearly full and the next call says so
        rest = memoryview(b"".join(buffers))[total - left :]
        left -= os.writev(fd, [rest])
    return total
