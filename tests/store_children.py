"""Processes that write and fold runs until they are killed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from daq.store import names
from daq.store.compression import gzip_chunk
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.recovery import recover_run
from tests.store_disk import kill_at
from tests.store_runs import batch_of, start_payload

SIZES = [k % 5 * 7 for k in range(100_000)]
SETTINGS = LogSettings(sync_s=0.002, rotate_s=3600.0, rotate_bytes=60_000)


def write_until_killed(folder: Path, life: int, told: Connection) -> None:
    """Begin or go on with a run; tells ("commit", number) and ("input", text) when durable."""

    def durable(number: int) -> None:
        told.send(("commit", number))

    writer, k = _begin(folder, durable)
    while True:
        text = f"{life}-{k}"
        writer.external(Kind.INPUT, b'{"id": "%s"}' % text.encode())
        if k % 5 == 0:
            writer.sync()
            told.send(("input", text))
        writer.commit(batch_of(SIZES, k), b"%d" % k)
        k += 1


def _begin(folder: Path, durable: Callable[[int], None]) -> tuple[LogWriter, int]:
    if names.logs(folder):
        writer, found = LogWriter.resume(folder, SETTINGS, durable, time.monotonic)
        return writer, found.next_commit - 1
    writer = LogWriter(folder, SETTINGS, durable, time.monotonic)
    writer.external(Kind.RUN_START, start_payload(7))
    return writer, 0


def fold_and_die_everywhere(source: Path, target: Path) -> None:
    """Fold copies of the runs in `source`: in target/N by a process killed before its change N.

    The last copy is the one whose process was through before it could be killed.
    """
    _die_everywhere(source, target, lambda copy: Folder(copy, time.time_ns).fold())


def recover_and_die_everywhere(source: Path, target: Path, step: int) -> None:
    """The same with the recovery of run 7, killed before every `step`-th change."""
    _die_everywhere(source, target, lambda copy: recover_run(copy / "run_000007"), step)


def _die_everywhere(
    source: Path, target: Path, act: Callable[[Path], object], step: int = 1
) -> None:
    for size in (2, 4):
        gzip_chunk(np.zeros(8, np.uint8), size)  # compiled once here, not in every child
    for call in count(0, step):
        shutil.copytree(source, target / str(call))
        child = os.fork()
        if not child:
            kill_at(call)
            act(target / str(call))
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            return
