"""A folder of daily logs, followed live: <root>/YY-MM-DD/<name> YY-MM-DD.log, appended to."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from daq.errors import InstrumentError, NotConnectedError, ReplyError, UsageError
from drivers.parameter import AbsentError, NoValueError

TAIL = 65536  # bytes that are read of a log at most at once: many lines
DAYS = 2  # today's folder may lack, just after midnight, what yesterday's has
_DAY = re.compile(r"\A[0-9]{2}-[0-9]{2}-[0-9]{2}\Z")


def check_folder(resource: str) -> str:
    """`resource`, where it is the absolute path of a folder; UsageError otherwise."""
    if not resource.startswith(("/", "~/")) or not resource.isprintable():
        raise UsageError(f"expected the absolute path of a folder of logs, found {resource!r}")
    return resource


@dataclass(frozen=True, slots=True)
class _Followed:
    """A log as far as it was read: which file, up to where, and its last whole line."""

    path: Path
    inode: int
    offset: int
    line: str


class LogFolder:
    """The logs as a line to ask: a question is a log's name, the reply its last whole line.

    A line without its end is still being written and waits for the next question. `lock` guards
    what is known of the logs.
    """

    def __init__(self, resource: str) -> None:
        self.resource = check_folder(resource)
        self.lock = threading.RLock()
        self._root = Path(resource).expanduser()
        self._followed: dict[Path, _Followed] = {}
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether the folder was there."""
        return self._open

    def is_in_step(self) -> bool:
        """As `is_open`: files give no late replies."""
        return self._open

    def open(self) -> None:
        """Look whether the folder is there; NotConnectedError where it is not."""
        with self.lock:
            if not self._root.is_dir():
                raise NotConnectedError(f"there is no folder {self._root}")
            self._open = True

    def ask(self, text: str) -> str:
        """The last whole line of a log; AbsentError where there is no such log."""
        with self.lock:
            if not self._open:
                raise NotConnectedError(f"the folder {self.resource} is closed")
            try:
                return self._last_line(text)
            except InstrumentError as error:
                if error.retryable:
                    self.close()
                raise
            except OSError as error:
                self.close()
                why = error.strerror or type(error).__name__
                raise NotConnectedError(f"cannot read the logs in {self._root}: {why}") from error

    def tell(self, text: str) -> None:
        """Not for logs."""
        raise UsageError(f"logs are only read; found {text!r} to be told")

    def close(self) -> None:
        """Forget how far each log was read."""
        with self.lock:
            self._open = False
            self._followed.clear()

    def _last_line(self, name: str) -> str:
        paths = self._paths(name)
        if not paths:
            raise AbsentError(f"there is no log of {name!r} in the last {DAYS} days")
        self._followed = {p: f for p, f in self._followed.items() if p.parent >= self._oldest()}
        for path in paths:
            followed = self._followed[path] = _read_on(path, self._followed.get(path))
            if followed.line:
                return followed.line
        raise NoValueError(f"the log of {name!r} has no whole line yet")

    def _days(self) -> list[Path]:
        days = [path for path in self._root.iterdir() if _DAY.match(path.name)]
        return sorted(days, key=lambda path: path.name, reverse=True)[:DAYS]

    def _oldest(self) -> Path:
        return self._days()[-1]

    def _paths(self, name: str) -> list[Path]:
        """The logs of a name, the newest first; some names end in an underscore, others do not."""
        candidates = [
            day / f"{name}{separator}{day.name}.log" for day in self._days() for separator in " _"
        ]
        return [path for path in candidates if path.is_file()]


def _read_on(path: Path, before: _Followed | None) -> _Followed:
    """Follow a log from where it was read to; from its tail where it is not the same any more."""
    with path.open("rb") as log:
        now = os.fstat(log.fileno())
        same = before is not None and before.inode == now.st_ino and before.offset <= now.st_size
        start, line = (before.offset, before.line) if before and same else (0, "")
        log.seek(max(start, now.st_size - TAIL))
        offset = log.tell()
        whole, end, _ = log.read(TAIL).rpartition(b"\n")
    written = [text for text in whole.split(b"\n") if text.strip()]
    return _Followed(
        path, now.st_ino, offset + len(whole) + len(end), _text(path, written[-1:]) or line
    )


def _text(path: Path, lines: list[bytes]) -> str:
    try:
        return lines[0].decode("ascii").strip() if lines else ""
    except UnicodeDecodeError as error:
        raise ReplyError(f"expected ASCII in {path.name}, found {lines[0][:80]!r}") from error
