"""The thread that alone waits for the disk, and the bounded queue in front of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from daq.errors import StorageError
from daq.store.frames import Kind
from daq.store.logfiles import LogFiles
from daq.store.payloads import Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How often to sync, when to begin a new file, how many bytes may wait for the disk."""

    sync_s: float = 0.1
    rotate_s: float = 10.0
    rotate_bytes: int = 1 << 25
    queue_bytes: int = 1 << 26


@dataclass(frozen=True)
class Item:
    """What waits for the disk: a commit where `number` is not 0, else one external frame."""

    payloads: list[Payload]
    checkpoint: bytes = b""
    number: int = 0

    @cached_property
    def n_bytes(self) -> int:
        """What it weighs in the queue."""
        sizes = (len(piece) for _, pieces in self.payloads for piece in pieces)
        return len(self.checkpoint) + sum(sizes)


class DiskThread:
    """Writes items in the order of `put`, syncs, rotates, and reports commits as durable.

    A failure of the disk ends the thread and is raised as StorageError at every later call.
    """

    def __init__(
        self,
        files: LogFiles,
        settings: LogSettings,
        on_durable: Callable[[int], None],
        now: Callable[[], float],
    ) -> None:
        self._settings, self._on_durable, self._now = settings, on_durable, now
        # guards what follows: the queue, and what caller and thread tell each other
        self._changed = threading.Condition()
        self._queue: deque[Item] = deque()
        self._waiting_bytes = self._appended = self._synced = self._wanted = 0
        self._closing = self._ended = False
        self._failure: StorageError | None = None
        # the thread's own
        self._files, self._written, self._ending = files, 0, False
        self._opened_at = self._synced_at = now()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over; waits only while too many bytes wait for the disk."""
        most = self._settings.queue_bytes - item.n_bytes
        with self._changed:
            self._wait(lambda: not self._waiting_bytes or self._waiting_bytes <= most)
            self._queue.append(item)
            self._waiting_bytes += item.n_bytes
            self._appended += 1
            self._changed.notify_all()

    def sync(self) -> None:
        """Return when all that was put so far is durable."""
        with self._changed:
            target = self._wanted = self._appended
            self._changed.notify_all()
            self._wait(lambda: self._synced >= target)

    def close(self) -> None:
        """Write, sync and seal what is left; the first close raises what the disk refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure:
            raise _again(failure)

    def _wait(self, done: Callable[[], bool]) -> None:
        """Wait, with the lock in hand, until `done`; raise where the thread ended before."""
        self._changed.wait_for(lambda: self._ended or done())
        if self._ended:
            raise _again(self._failure or StorageError(f"{self._files.path}: the log is closed"))

    def _run(self) -> None:
        failure: StorageError | None = StorageError(
            f"{self._files.path}: the thread that writes the log died"
        )
        try:
            while self._turn():
                pass
            self._all_synced(self._files.seal())
            failure = None
        except StorageError as error:
            failure = error
        finally:
            self._files.close()
            with self._changed:
                self._failure, self._ended = failure, True
                self._changed.notify_all()

    def _turn(self) -> bool:
        """Write one item, or sync where it is time; false when closed and all is written."""
        item = self._next()
        if item is not None:
            self._write(item)
        elif self._closing:
            return False
        if self._sync_due():
            self._all_synced(self._files.sync())
        return True

    def _next(self) -> Item | None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._queue or self._closing or self._wanted > self._synced,
                timeout=self._patience_s(),
            )
            return self._queue.popleft() if self._queue else None

    def _patience_s(self) -> float | None:
        """How long unsynced frames may still wait; no end where there are none."""
        if self._written == self._synced:
            return None
        return max(0.0, self._synced_at + self._settings.sync_s - self._now())

    def _write(self, item: Item) -> None:
        if item.number:
            self._files.commit(item.number, item.payloads, item.checkpoint)
        else:
            kind, (payload,) = item.payloads[0]
            self._files.external(kind, bytes(payload))
            self._ending |= kind is Kind.RUN_END
        self._written += 1
        with self._changed:
            self._waiting_bytes -= item.n_bytes
            self._changed.notify_all()
        if item.number and self._full():
            self._rotate()

    def _full(self) -> bool:
        """Time for a new file; never behind a run's end, so that the last file tells of it."""
        old = self._now() - self._opened_at >= self._settings.rotate_s
        return (old or self._files.n_bytes >= self._settings.rotate_bytes) and not self._ending

    def _rotate(self) -> None:
        self._all_synced(self._files.seal())
        self._files.open_next()
        self._opened_at = self._now()

    def _sync_due(self) -> bool:
        if self._written == self._synced:
            return False
        asked = self._synced < self._wanted <= self._written
        return asked or self._now() - self._synced_at >= self._settings.sync_s

    def _all_synced(self, commit: int) -> None:
        self._synced_at = self._now()
        with self._changed:
            self._synced = self._written
            self._changed.notify_all()
        if commit:
            self._on_durable(commit)


def _again(error: StorageError) -> StorageError:
    """The same error for another thread: an exception carries the stack it was raised in."""
    return type(error)(str(error))
