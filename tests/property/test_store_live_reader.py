"""Reading a run while it is written at full rate: no error, no lock, and it only ever grows."""

from __future__ import annotations

import fcntl
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from daq.store import names
from daq.store.reader import open_run
from tests.store_storm import CONTEXT, N_RECORDS, Children, fold, kill, waited, write

READING_S = 1.5  # the log is faster than the folder: what is not folded grows


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    CONTEXT.set_forkserver_preload(["tests.store_storm"])


def test_a_reader_in_a_loop_sees_a_run_grow_and_disturbs_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    folder.mkdir()
    seen, safe = [0], 0
    with Children() as children:
        _, made = children.begin(fold, tmp_path)
        writer, told = children.begin(write, folder)
        until = time.monotonic() + READING_S
        while time.monotonic() < until or len(seen) < 5:
            safe = max(safe, *waited(told, 0.01))
            seen.append(look(folder))
            assert seen[-1] >= seen[-2]
            assert seen[-1] >= safe * N_RECORDS
            assert writer.is_alive()
        assert unlocked(folder)
        kill(writer)
        assert made.poll(10.0)  # and the folder has folded meanwhile
    assert seen[-1] > seen[1]


def look(folder: Path) -> int:
    """Records of the run as it is now; the last of them are read and checked."""
    with open_run(folder) as run:
        table, samples = run.records("C11")
        assert table["record"].tolist() == list(range(len(table)))
        assert run.ledger()["live"].sum() == run.ledger()["stop"].max(initial=0)
        for row, record in zip(table[-4:], samples[len(table) - 4 :], strict=False):
            assert zlib.crc32(np.ascontiguousarray(record).tobytes()) == row["crc"]
        return len(table)


def unlocked(folder: Path) -> bool:
    """Whether nobody holds a lock on any file that a reader opens."""
    for path in names.segments(folder).values():
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
