"""The catalogue of runs: one row for each in a small SQLite file, which is made of the runs' files.

It is a convenience: whatever is in it can be made again from the run folders.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daq.errors import StorageError

FILE = "runs.sqlite"
VERSION = 1
BUSY_S = 10.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY, folder TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL, comment TEXT NOT NULL, comments TEXT NOT NULL, labels TEXT NOT NULL,
    start_ns INTEGER NOT NULL, stop_ns INTEGER NOT NULL, records INTEGER NOT NULL,
    events INTEGER NOT NULL, gaps INTEGER NOT NULL, n_bytes INTEGER NOT NULL,
    exposure_g_d REAL NOT NULL, software TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS channels (
    run INTEGER NOT NULL REFERENCES runs (run) ON DELETE CASCADE, channel TEXT NOT NULL,
    records INTEGER NOT NULL, live_s REAL NOT NULL, exposure_g_d REAL NOT NULL,
    PRIMARY KEY (run, channel)
);
CREATE INDEX IF NOT EXISTS by_start ON runs (start_ns);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRow:
    """What a channel has in a run."""

    channel: str
    records: int
    live_s: float
    exposure_g_d: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run; `labels` and `comments` are all that it was given, in order. Times are UTC [ns]."""

    run: int
    folder: str
    name: str
    state: str
    reason: str
    comment: str
    comments: str
    labels: str
    start_ns: int
    stop_ns: int
    records: int
    events: int
    gaps: int
    n_bytes: int
    exposure_g_d: float
    software: str
    channels: tuple[ChannelRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is asked of runs; what is None or empty is not asked. Exposure is of all targets, or
    of `channel` where that is given."""

    after_ns: int | None = None
    before_ns: int | None = None
    text: str = ""
    label: str = ""
    channel: str = ""
    exposure_g_d: float | None = None


class Catalogue:
    """The catalogue of a data folder. Each call opens the file, which several may do at once."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE

    def put(self, rows: Iterable[RunRow]) -> None:
        """Have these runs in it, as they are now."""
        with self._open() as db:
            for row in rows:
                _put(db, row)

    def replace(self, rows: Iterable[RunRow]) -> int:
        """Have these runs in it and no other; how many."""
        kept = list(rows)
        with self._open() as db:
            db.execute("DELETE FROM channels")
            db.execute("DELETE FROM runs")
            for row in kept:
                _put(db, row)
        return len(kept)

    def find(self, asked: Search) -> list[RunRow]:
        """The runs that fit, oldest first."""
        conditions, values = _where(asked)
        text = f"SELECT * FROM runs WHERE {' AND '.join(conditions)} ORDER BY run"
        with self._open() as db:
            found = db.execute(text, values).fetchall()
            return [_row(db, each) for each in found]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept where nothing goes wrong."""
        try:
            db = sqlite3.connect(self.path, timeout=BUSY_S)
            try:
                db.row_factory = sqlite3.Row
                db.executescript(SCHEMA)
                self._check(db)
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.Error as error:
            raise StorageError(
                f"{self.path}: {error}; scheelite runs rebuild makes it anew"
            ) from error

    def _check(self, db: sqlite3.Connection) -> None:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise StorageError(f"{self.path}: expected version {VERSION}, found {found}")
        db.execute(f"PRAGMA user_version = {VERSION}")

    def forget(self) -> None:
        """Delete the file: what is damaged is made anew."""
        self.path.unlink(missing_ok=True)


def _put(db: sqlite3.Connection, row: RunRow) -> None:
    names = [name for name in RunRow.__dataclass_fields__ if name != "channels"]
    values = [getattr(row, name) for name in names]
    db.execute("DELETE FROM channels WHERE run = ?", (row.run,))
    marks = ", ".join("?" * len(names))
    db.execute(f"INSERT OR REPLACE INTO runs ({', '.join(names)}) VALUES ({marks})", values)
    db.executemany(
        "INSERT INTO channels VALUES (?, ?, ?, ?, ?)",
        [(row.run, c.channel, c.records, c.live_s, c.exposure_g_d) for c in row.channels],
    )


def _where(asked: Search) -> tuple[list[str], list[object]]:
    """SQL conditions and what stands for their question marks."""
    found: list[tuple[str, list[object]]] = [("1", [])]
    if asked.after_ns is not None:
        found.append(("stop_ns >= ?", [asked.after_ns]))
    if asked.before_ns is not None:
        found.append(("start_ns < ?", [asked.before_ns]))
    if asked.text:
        like = f"%{asked.text.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"
        found.append(("(comment || ' ' || comments) LIKE ? ESCAPE '!'", [like]))
    if asked.label:
        found.append(("' ' || labels || ' ' LIKE '% ' || ? || ' %'", [asked.label]))
    if asked.channel:
        least = asked.exposure_g_d or 0.0
        within = "SELECT run FROM channels WHERE channel = ? AND exposure_g_d >= ?"
        found.append((f"run IN ({within})", [asked.channel, least]))
    elif asked.exposure_g_d is not None:
        found.append(("exposure_g_d >= ?", [asked.exposure_g_d]))
    return [text for text, _ in found], [value for _, values in found for value in values]


def _row(db: sqlite3.Connection, found: sqlite3.Row) -> RunRow:
    ask = "SELECT channel, records, live_s, exposure_g_d FROM channels WHERE run = ? ORDER BY rowid"
    channels = [ChannelRow(**dict(each)) for each in db.execute(ask, (found["run"],))]
    return RunRow(**dict(found), channels=tuple(channels))
