"""What the window's tests need of Qt: whether it starts here, and waiting with a deadline."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import cache

from gui.startup import qt_problem

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
DEADLINE_S = 20.0


@cache
def qt_missing() -> str:
    """Why window tests cannot run here; empty where they can. Asked in another process."""
    return qt_problem(os.environ)


def wait_until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Let Qt work until `condition` holds; fails after the deadline, or on an error in a slot."""
    from PySide6.QtCore import QEventLoop, QTimer

    errors: list[BaseException] = []
    hook, sys.excepthook = sys.excepthook, lambda _kind, error, _trace: errors.append(error)
    tick = QTimer(interval=5)  # so that there is always something to wake up for
    tick.start()
    loop, end_s = QEventLoop(), time.monotonic() + deadline_s
    try:
        while not condition():
            assert time.monotonic() < end_s, f"nothing like it within {deadline_s:g} s"
            loop.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
            if errors:
                raise errors[0]
    finally:
        sys.excepthook = hook
        tick.stop()


if __name__ == "__main__":  # for the Makefile: where Qt cannot start, pytest-qt would end pytest
    sys.stdout.write("-p no:pytest-qt\n" if qt_missing() else "")
