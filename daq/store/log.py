"""The write-ahead log of a run: what was appended and synced survives whatever happens next."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from daq.errors import RefusedError, StorageError, UsageError
from daq.model.batch import Batch
from daq.store import disk, names
from daq.store.diskthread import DiskThread, Item, LogSettings
from daq.store.frames import Kind
from daq.store.logfile import External, Head, LogFile, parse
from daq.store.logfiles import LogFiles, preallocation, rewrite
from daq.store.owner import Owner
from daq.store.payloads import check_external, payloads
from daq.store.start import decode_start

__all__ = ["External", "LogSettings", "LogWriter", "Recovery", "recover"]

PATIENCE_S = 5.0  # for the folder, which looks at a log under the same lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Where a run stands whose writer is gone.

    `external` came behind the last commit, in order; it is in the log already. A RUN_END among
    it says that the run was to end: it must be logged again, and counts with the next commit.
    """

    run_start: bytes
    checkpoint: bytes | None
    next_commit: int
    external: tuple[External, ...]
    ended: bool
    problems: list[str]


def recover(folder: Path) -> Recovery:
    """Where the run in `folder` stands, from its log alone; nothing is changed.

    StorageError where there is no log to go on from.
    """
    index, _, file = _last_file(folder)
    return _recovery(folder, index, file)


class LogWriter:
    """Appends to a run's log; only its own thread waits for the disk.

    `on_durable(number)` is called from that thread when all up to commit `number` is synced. A
    failure of the disk is raised as StorageError at the next call, and at every one after it.
    One thread calls `external` and `commit`; what is handed over must not be changed any more.
    `now` is a clock in seconds that never runs back.
    """

    def __init__(
        self,
        folder: Path,
        settings: LogSettings,
        on_durable: Callable[[int], None],
        now: Callable[[], float],
    ) -> None:
        files = _new_files(folder, settings)
        with ExitStack() as undo:
            owner = undo.enter_context(Owner(folder, PATIENCE_S))
            thread = DiskThread(files, settings, on_durable, now)
            self._go(folder, owner, thread, next_commit=1)
            undo.pop_all()
        self._lengths: list[int] | None = None  # of the records, by channel; known at the start

    @classmethod
    def resume(
        cls,
        folder: Path,
        settings: LogSettings,
        on_durable: Callable[[int], None],
        now: Callable[[], float],
    ) -> tuple[LogWriter, Recovery]:
        """Go on with a run whose writer is gone, in a new file, behind its last whole commit."""
        _last_path(folder)  # where there is nothing to go on from, no lock is left behind either
        writer = cls.__new__(cls)
        with ExitStack() as undo:
            owner = undo.enter_context(Owner(folder, PATIENCE_S))
            files, recovery = _next_files(folder, settings)
            thread = DiskThread(files, settings, on_durable, now)
            writer._go(folder, owner, thread, next_commit=recovery.next_commit)
            undo.pop_all()
        writer._lengths = _record_lengths(recovery.run_start)
        return writer, recovery

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def external(self, kind: Kind, payload: bytes) -> None:
        """Log what comes from outside the pipeline; the first must be the run's start."""
        check_external(kind, payload)
        if (self._lengths is None) != (kind is Kind.RUN_START):
            raise UsageError(f"expected one RUN_START, and that first; found {kind.name}")
        if kind is Kind.RUN_START:
            self._lengths = _record_lengths(payload)
        self._thread.put(Item([(kind, [payload])]))

    def commit(self, batch: Batch, checkpoint: bytes) -> int:
        """Log a batch with the state the pipeline has behind it, all or nothing: its number."""
        if self._lengths is None:
            raise UsageError("expected RUN_START first, found a commit")
        number = self._next_commit
        self._thread.put(Item(payloads(batch, self._lengths), checkpoint, number))
        self._next_commit += 1
        return number

    def sync(self) -> None:
        """Return when all that was appended so far is durable."""
        self._thread.sync()

    def close(self) -> None:
        """Make everything durable and let the run go; the first close raises a disk's failure."""
        try:
            self._thread.close()
        finally:
            if not names.logs(self._folder) and not names.segments(self._folder):
                self._owner.remove()  # a run that never began leaves nothing behind
            self._owner.close()

    def _go(self, folder: Path, owner: Owner, thread: DiskThread, next_commit: int) -> None:
        self._folder, self._owner, self._thread = folder, owner, thread
        self._next_commit = next_commit


def _new_files(folder: Path, settings: LogSettings) -> LogFiles:
    run = names.run_number(folder)
    if names.logs(folder) or names.segments(folder):
        raise StorageError(f"{folder}: expected an empty run folder, found a run")
    head = Head(
        run=run,
        file=1,
        preallocated=preallocation(settings.rotate_bytes),
        first_seq=1,
        commit=0,
        commit_seq=0,
        resumed=False,
    )
    return LogFiles(folder, head, None)


def _next_files(folder: Path, settings: LogSettings) -> tuple[LogFiles, Recovery]:
    index, content, file = _last_file(folder)
    recovery = _recovery(folder, index, file)
    if recovery.ended:
        raise RefusedError(f"{folder}: expected a run to go on with, found one that has ended")
    run = names.run_number(folder)
    rewrite(folder, content, file, run, index)
    head = Head(
        run=run,
        file=index + 1,
        preallocated=preallocation(settings.rotate_bytes),
        first_seq=file.next_seq,
        commit=file.last_commit,
        commit_seq=file.last_seq,
        resumed=True,
    )
    files = LogFiles(folder, head, file.checkpoint)
    files.open([item for item in (file.run_start, *_carried(file)) if item])
    return files, recovery


def _last_file(folder: Path) -> tuple[int, bytes, LogFile]:
    index, path = _last_path(folder)
    with disk.naming("read", path):
        content = path.read_bytes()
    return index, content, parse(content, names.run_number(folder), index, followed=False)


def _last_path(folder: Path) -> tuple[int, Path]:
    logs = names.logs(folder)
    if not logs:
        raise StorageError(f"{names.log_folder(folder)}: expected a write-ahead log, found none")
    return max(logs.items())


def _record_lengths(run_start: bytes) -> list[int]:
    return [channel.record_length for channel in decode_start(run_start).channels]


def _recovery(folder: Path, index: int, file: LogFile) -> Recovery:
    path = names.log_path(folder, index)
    if file.run_start is None:
        raise StorageError(f"{path}: expected the start of a run, found it damaged")
    if file.head is None and not file.units:
        raise StorageError(f"{path}: expected the last commit in its head, found it damaged")
    return Recovery(
        run_start=file.run_start.payload,
        checkpoint=file.checkpoint,
        next_commit=file.last_commit + 1,
        external=tuple(file.pending),
        ended=file.run_end is not None,
        problems=[f"{path}: {problem}" for problem in file.problems + file.torn],
    )


def _carried(file: LogFile) -> list[External]:
    """What the next file repeats; a run's end counts only with the commit that it ends."""
    return [item for item in file.pending if item.kind is not Kind.RUN_END]
