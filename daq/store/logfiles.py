"""Writing the files of a run's write-ahead log, one after the other, from one thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from daq.store import disk, names
from daq.store.disk import Buffer
from daq.store.frames import Kind, encode, file_key
from daq.store.logfile import COMMIT, External, Head, LogFile, encode_head
from daq.store.payloads import Payload
from daq.store.start import decode_start

PAGE = 4096


def preallocation(rotate_bytes: int) -> int:
    """Bytes to reserve for a file that is sealed at the first commit beyond `rotate_bytes`."""
    return (rotate_bytes + rotate_bytes // 4) // PAGE * PAGE + PAGE


class LogFiles:
    """The file being written; `seal` and `open_next` go on to the next one.

    A file appears under its name when its head is durable, with all that it repeats from the one
    before: the last file alone tells where to go on. After an error this object is finished.
    """

    def __init__(self, folder: Path, head: Head, checkpoint: bytes | None) -> None:
        self._folder, self._head, self._checkpoint = folder, head, checkpoint
        self._seq = head.first_seq
        self._commit, self._commit_seq, self._durable = head.commit, head.commit_seq, head.commit
        self._run_start: list[External] = []
        self._fd = -1

    @property
    def path(self) -> Path:
        """The file being written."""
        return names.log_path(self._folder, self._head.file)

    def open(self, repeated: Sequence[External]) -> None:
        """Make the file, with its head and what is repeated from the file before, durable."""
        self._run_start = [item for item in repeated if item.kind is Kind.RUN_START]
        private = any(decode_start(item.payload).blinds for item in self._run_start)
        self._key = file_key(self._head.run, self._head.file)
        self._position = self._allocated = 0
        draft = disk.part(self.path)
        with disk.naming("make", self.path), disk.dropping(draft):
            self._fd = disk.create(draft, disk.OWNER if private else disk.EVERYBODY)
            head = encode_head(self._head, self._checkpoint)
            self._append(encode(Kind.HEAD, self._head.first_seq, self._key, [head]))
            for item in repeated:
                self._append(encode(item.kind, item.seq, self._key, [item.payload]))
            disk.sync(self._fd)
            disk.rename(draft, self.path)

    def external(self, kind: Kind, payload: bytes) -> None:
        """Append a frame that cannot be made again; a run's start makes the run's first file."""
        if kind is Kind.RUN_START:
            self.open([External(0, kind, payload)])
            return
        with disk.naming("write", self.path):
            self._append(self._frame(kind, [payload]))

    def commit(self, number: int, payloads: Sequence[Payload], checkpoint: bytes) -> None:
        """Append the frames of one commit and the commit itself."""
        first_seq = self._seq
        buffers = [piece for kind, payload in payloads for piece in self._frame(kind, payload)]
        self._commit, self._commit_seq, self._checkpoint = number, self._seq, checkpoint
        head = COMMIT.pack(number, self._durable, first_seq)
        buffers += self._frame(Kind.COMMIT, [head, checkpoint])
        with disk.naming("write", self.path):
            self._append(buffers)

    def sync(self) -> int:
        """Return when all is on the disk: the number of the last commit."""
        with disk.naming("sync", self.path):
            disk.sync(self._fd)
        self._durable = self._commit
        return self._durable

    @property
    def n_bytes(self) -> int:
        """How much the file holds."""
        return self._position

    def seal(self) -> int:
        """End the file, if one was begun, and close it: the number of the last commit."""
        if self._fd < 0:
            return self._durable
        durable = self.sync()  # first, so that a seal says that all before it was durable
        with disk.naming("seal", self.path):
            self._append(encode(Kind.SEAL, self._seq, self._key, []))
            disk.truncate(self._fd, self._position)
            disk.sync(self._fd)
        self.close()
        return durable

    def open_next(self) -> None:
        """Go on in a new file; the one before was sealed behind a commit."""
        self._head = replace(
            self._head,
            file=self._head.file + 1,
            first_seq=self._seq,
            commit=self._commit,
            commit_seq=self._commit_seq,
            resumed=False,
        )
        self.open(self._run_start)

    def close(self) -> None:
        """Give the descriptor back, whatever happened before."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            disk.close(fd)

    def _frame(self, kind: Kind, payload: Sequence[Buffer]) -> list[Buffer]:
        self._seq += 1
        return encode(kind, self._seq - 1, self._key, payload)

    def _append(self, buffers: Sequence[Buffer]) -> None:
        needed = self._position + sum(map(len, buffers))
        while needed > self._allocated:
            disk.allocate(self._fd, self._allocated, self._head.preallocated)
            self._allocated += self._head.preallocated
        self._position += disk.append(self._fd, buffers)


def rewrite(folder: Path, content: bytes, file: LogFile, run: int, index: int) -> None:
    """Put a sealed copy of what is to be believed in a log file in its place.

    The copy is written anew: after a failed sync the cache may show what the disk does not hold.
    """
    key = file_key(run, index)
    kept = file.units[-1].stop if file.units else file.head_stop
    repeated = [item for item in (file.run_start,) if item and not file.units]
    buffers: list[Buffer] = [memoryview(content)[:kept]]
    for item in [*repeated, *file.pending]:
        buffers += encode(item.kind, item.seq, key, [item.payload])
    buffers += encode(Kind.SEAL, file.next_seq, key, [])
    path = names.log_path(folder, index)
    disk.publish(path, *buffers, mode=path.stat().st_mode & 0o777)
