"""Memory that two processes of one machine share, so that samples need not pass a socket.

It has no name in any file system: a memfd of the writer's (memfd_create(2)), which the reader opens
through /proc/PID/fd and which is gone with the last of both, however they ended. It is sealed
against shrinking: a reader of a mapping that shrank would be killed by SIGBUS. Linux only.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from collections import deque

from daq.errors import NotSharedError, WireError
from daq.wire.schemas import SharedItem

SIZE = 64 << 20  # bytes: what may be on the way
ALIGNED = 64  # bytes: a cache line; vector copies from elsewhere can be 12 times as slow
TOKEN = 16  # bytes at the front, by which a reader knows that it has the right memory
READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # which a pipe in its place does not stop
# at once, not page by page as the stream comes by: a process that grows for minutes looks ill
WHOLE = mmap.MAP_SHARED | mmap.MAP_POPULATE
SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Outgoing:
    """The writer's end. What was put stays as it is until the reader has said that it is free.

    For one thread. OSError where the system has no memory for it.
    """

    def __init__(self, size: int) -> None:
        self._fd = os.memfd_create("scheelite", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(self._fd, 0, size)  # now, not by SIGBUS when it is written to
            fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, SEALED)
            self._map = mmap.mmap(self._fd, size, WHOLE)
        except OSError:
            os.close(self._fd)
            raise
        token = secrets.token_bytes(TOKEN)
        self.token = token.hex()
        self._map[:TOKEN] = token
        self._bytes, self._size = memoryview(self._map), size
        self._taken: deque[tuple[int, int, int]] = deque()  # of what is not free: start, stop, n
        self._free = 0  # bytes of what was put that are free again

    def takes(self, n_bytes: int) -> bool:
        """Whether so much is worth waiting for: it leaves room for as much again."""
        return 2 * (n_bytes + ALIGNED) <= self._size

    def put(self, samples: memoryview) -> SharedItem | None:
        """Copy samples in, and say where they are; None where there is no room yet."""
        at = self._room(samples.nbytes)
        if at is None:
            return None
        stop = at + samples.nbytes
        self._bytes[at:stop] = samples.cast("B")
        self._taken.append((at, stop, samples.nbytes))
        return SharedItem(os.getpid(), self._fd, self.token, at)

    def free(self, n_bytes: int) -> None:
        """So many bytes of what was put, in all, are read for good."""
        while self._taken and self._free + self._taken[0][2] <= n_bytes:
            self._free += self._taken.popleft()[2]

    def close(self) -> None:
        """Give it back; who has it mapped still can read it."""
        self._bytes.release()
        self._map.close()
        os.close(self._fd)

    def _room(self, n_bytes: int) -> int | None:
        """A place for so much behind what is in use, or at the front."""
        if not self._taken:
            return ALIGNED if ALIGNED + n_bytes <= self._size else None
        begin, end = self._taken[0][0], -(-self._taken[-1][1] // ALIGNED) * ALIGNED
        if begin >= end:  # what is in use goes on at the front
            return end if end + n_bytes <= begin else None
        if end + n_bytes <= self._size:
            return end
        return ALIGNED if ALIGNED + n_bytes <= begin else None


class Incoming:
    """The reader's end: what a writer named."""

    def __init__(self, place: SharedItem) -> None:
        """NotSharedError where this process cannot come to it."""
        try:
            fd = os.open(f"/proc/{place.pid}/fd/{place.fd}", READING)
        except OSError as error:
            raise NotSharedError(
                f"expected memory that process {place.pid} shares, found: {error.strerror}"
            ) from error
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            self._map = mmap.mmap(fd, 0, WHOLE, mmap.PROT_READ)
        except (OSError, ValueError) as error:
            raise NotSharedError(
                f"expected memory that process {place.pid} shares, found something else: {error}"
            ) from error
        finally:
            os.close(fd)
        self.token = place.token
        if not seals & fcntl.F_SEAL_SHRINK or self._map[:TOKEN].hex() != place.token:
            raise NotSharedError(f"expected memory {place.token}, found another at its place")

    def read(self, at: int, n_bytes: int) -> memoryview:
        """What lies there, uncopied, until the writer is told that it is free; read-only."""
        if at + n_bytes > len(self._map):
            raise WireError(
                f"expected samples within {len(self._map)} shared bytes, found them at "
                f"{at} to {at + n_bytes}"
            )
        return memoryview(self._map)[at : at + n_bytes]
