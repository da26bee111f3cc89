"""Runs `scheelite tune` beside the console: a program of its own, which outlives the window."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gui.model.frames import Answer, TuneLine
from gui.model.inbox import Inbox

LOOK_S = 0.2
SCHEELITE = (sys.executable, "-m", "daq.services.cli")


def tune(config: Path, inbox: Inbox, channel: str) -> None:
    """From a cold SQUID to a working point; lines arrive as they are said, at last an Answer."""
    follow([*SCHEELITE, "tune", str(config), "--channel", channel], inbox, channel)


def undo(config: Path, inbox: Inbox) -> None:
    """What was held before the latest tuning."""
    follow([*SCHEELITE, "tune", "undo", "--config", str(config)], inbox, "undo")


def follow(command: Sequence[str], inbox: Inbox, what: str) -> None:
    """Start a program that does not end with us, and tell its lines.

    They go through a file: a pipe that nobody reads any more would end it.
    """
    with tempfile.NamedTemporaryFile(prefix="scheelite-tune-", suffix=".log", delete=False) as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    last = _tell(Path(out.name), process, inbox, what)
    refusal = "" if process.returncode == 0 else last or f"it ended with {process.returncode}"
    inbox.put("tune", Answer("tune", refusal, "tune", tag=what))


def _tell(path: Path, process: subprocess.Popen[bytes], inbox: Inbox, what: str) -> str:
    """Every line until the program has ended; the last one."""
    last, over = "", False
    with path.open(encoding="utf-8", errors="replace") as lines:
        while not over:
            over = process.poll() is not None  # what it wrote before is still read
            for line in lines:
                last = line.strip() or last
                inbox.put("tune", TuneLine(what, line.strip()))
            if not over:
                time.sleep(LOOK_S)
    return last
