"""A run at full rate: a writer and a folder as processes, killed at any instant."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import msgspec
import numpy as np

from daq.model.batch import Batch, RecordBatch
from daq.model.record import LEDGER, RECORD, plain
from daq.store import names
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter, recover
from daq.store.reader import open_run
from daq.store.recovery import recover_run
from tests.faults import page
from tests.store_runs import start_payload

CONTEXT = multiprocessing.get_context("forkserver")
LENGTH, N_RECORDS = 8192, 8  # of a record; of a commit: 131 kB
SPAN = LENGTH * N_RECORDS
SETTINGS = LogSettings(sync_s=0.02, rotate_s=3600.0, rotate_bytes=1 << 22)
DEADLINE_S = 30.0
SAMPLES = np.random.default_rng(5).normal(0, 4, (N_RECORDS, LENGTH)).astype("<i2")
CRCS = [zlib.crc32(record.tobytes()) for record in SAMPLES]


def storm_start() -> bytes:
    """The start of a run of one channel."""
    start = msgspec.json.decode(start_payload(7))
    channels = [channel for channel in start["channels"] if channel["name"] == "C11"]
    digitizers = [each for each in start["digitizers"] if each["name"] == "targets"]
    digitizers[0] |= {"start": 0}
    channels[0] |= {"record_length": LENGTH}
    return msgspec.json.encode(start | {"channels": channels, "digitizers": digitizers})


def batch(k: int) -> Batch:
    """Commit number k + 1: the same samples, other numbers."""
    table = np.zeros(N_RECORDS, plain(RECORD))
    table["record"] = k * N_RECORDS + np.arange(N_RECORDS)
    table["trigger"] = k * SPAN + 10 + LENGTH * np.arange(N_RECORDS)
    table["start"], table["t_ns"], table["crc"] = table["trigger"] - 4, table["trigger"], CRCS
    ledger = np.zeros(1, plain(LEDGER))
    ledger["start"], ledger["stop"], ledger["live"] = k * SPAN, (k + 1) * SPAN, SPAN
    return Batch(records=(RecordBatch(0, table, SAMPLES),), ledger=ledger)


def write(folder: Path, told: Connection) -> None:
    """Write as fast as the log takes it, telling every commit that is durable."""
    if names.logs(folder):
        writer, found = LogWriter.resume(folder, SETTINGS, told.send, time.monotonic)
        k = found.next_commit - 1
    else:
        writer, k = LogWriter(folder, SETTINGS, told.send, time.monotonic), 0
        writer.external(Kind.RUN_START, storm_start())
    while True:
        writer.commit(batch(k), b"%d" % k)
        k += 1


def fold(data_dir: Path, told: Connection) -> None:
    """Fold for ever, telling each file."""
    folding = Folder(data_dir, time.time_ns)
    while True:
        for path in folding.steps():
            told.send(path.name)
        time.sleep(0.005)


@dataclass
class Count:
    """What was done to runs, and what it cost."""

    writer_kills: int = 0
    folder_kills: int = 0
    files_during: int = 0  # made by the folder before it was killed
    commits: int = 0
    acknowledged: int = 0
    lost: int = 0
    unreadable: int = 0
    n_bytes: int = 0

    def table(self) -> str:
        """All of it in one row of Markdown."""
        values = {
            "kills of the writer": self.writer_kills,
            "of the folder": self.folder_kills,
            "commits": self.commits,
            "acknowledged": self.acknowledged,
            "of these lost": self.lost,
            "unreadable files": self.unreadable,
            "files made meanwhile": self.files_during,
            "MB": round(self.n_bytes / 1e6),
        }
        return page.row(values)


def storm(folder: Path, rng: random.Random, kills: int, life_s: float, count: Count) -> None:
    """One run through `kills` kills of its writer, each at an instant of at most `life_s`.

    In half of these lives the folder is killed, too.
    """
    folder.mkdir(parents=True)
    acknowledged = 0
    with Children() as children:
        folding, made = children.begin(fold, folder.parent)
        for _ in range(kills):
            writer, told = children.begin(write, folder)
            acknowledged = max(acknowledged, *waited(told, rng.uniform(0.2, 1.0) * life_s))
            if rng.random() < 0.5:  # the folder dies while the writer is at it
                count.files_during += len(heard(made)) - 1
                kill(folding)
                count.folder_kills += 1
                folding, made = children.begin(fold, folder.parent)
                acknowledged = max(acknowledged, *waited(told, rng.uniform(0.0, 0.2) * life_s))
            kill(writer)
            count.writer_kills += 1
            acknowledged = max(acknowledged, *heard(told))
            count.lost += max(0, acknowledged - (recover(folder).next_commit - 1))
        kill(folding)
    judge(folder, acknowledged, count)


def judge(folder: Path, acknowledged: int, count: Count) -> None:
    """Recover the run, and count what can be read of what was acknowledged."""
    found = recover_run(folder)
    count.unreadable += len(found.problems)
    table, _ = open_run(folder).records("C11")
    n_commits = len(table) // N_RECORDS
    count.commits, count.acknowledged = count.commits + n_commits, count.acknowledged + acknowledged
    count.lost += max(0, acknowledged - n_commits)
    count.n_bytes += len(table) * LENGTH * 2
    assert table["record"].tolist() == list(range(len(table)))


class Children:
    """The processes of a test; what is left of them at the end is killed."""

    def __init__(self) -> None:
        self._begun: list[tuple[ForkServerProcess, Connection]] = []

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child, told in self._begun:
            if child.is_alive():
                child.kill()
            child.join(DEADLINE_S)
            told.close()

    def begin(
        self, act: Callable[[Path, Connection], None], folder: Path
    ) -> tuple[ForkServerProcess, Connection]:
        """A process, and where it tells what it does."""
        ours, theirs = CONTEXT.Pipe(duplex=False)
        child = CONTEXT.Process(target=act, args=(folder, theirs), daemon=True)
        child.start()
        theirs.close()
        self._begun.append((child, ours))
        return child, ours


def kill(child: ForkServerProcess) -> None:
    child.kill()
    child.join(DEADLINE_S)
    assert child.exitcode == -signal.SIGKILL


def waited(told: Connection, life_s: float) -> list[int]:
    """What a writer has told `life_s` after its first commit was durable."""
    assert told.poll(DEADLINE_S), "the writer never began"
    until, found = time.monotonic() + life_s, [0]
    while (left := until - time.monotonic()) > 0:
        if told.poll(left):
            found.append(told.recv())
    return found


def heard(told: Connection) -> list[int]:
    """The rest of what it told before it died."""
    found = [0]
    try:
        while told.poll(0):
            found.append(told.recv())
    except (EOFError, OSError):
        pass
    return found
