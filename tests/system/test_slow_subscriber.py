"""Who subscribes and looks elsewhere for a while misses something, and lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# longer than a heartbeat's patience; a process that dies of an assertion must not be pytest
PROGRAM = """
import sys, threading, time
from daq.wire import sockets

shown, seen = sockets.Publisher(sys.argv[1]), sockets.subscribe(sys.argv[1])
over = threading.Event()


def show() -> None:
    while not over.wait(0.001):
        shown.show([b"x", bytes(20_000)])


thread = threading.Thread(target=show)
thread.start()
for _ in range(2):
    threading.Event().wait(sockets.HEARTBEAT_TIMEOUT_MS / 1000 + 1.5)
    n = 0
    while seen.poll(0):
        sockets.receive(seen, 2)
        n += 1
    print(n)
over.set()
thread.join()
"""


def test_a_subscriber_that_reads_nothing_for_long_is_not_ended_by_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, f"ipc://{tmp_path}/x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = map(int, done.stdout.split())
    assert first > 0
    assert second > 0
