"""How often the console draws while the chain runs: 16 traces at 16 x 1 MS/s on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daq.errors import ScheeliteError
from daq.services import system
from daq.settings.loader import Settings
from daq.store import numbers
from tests.bench.results import note
from tests.bench.test_matched_chain import Repeating, chain, stream
from tests.qt import qt_missing
from tests.system.chain import until

pytestmark = [
    pytest.mark.bench,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(qt_missing()), reason=qt_missing()),
]
CHANNELS, SECONDS, LONG_S = 16, 15.0, 300.0
# a process of its own, as for an operator; a frame is a painting of the plot with newer traces
WATCH = """
import sys, time
from pathlib import Path
from PySide6.QtCore import QCoreApplication, QEvent, QEventLoop, QObject, QSettings
from PySide6.QtWidgets import QApplication
from daq.settings.loader import load
from gui.model.frames import TraceFrame
from gui.setup import endpoints_of, setup_of
from gui.windows.application import opened
config, seconds, scratch = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
app, settings = QApplication([]), load(config)
kept = QSettings(scratch, QSettings.Format.IniFormat)
window = opened(app, endpoints_of(settings), setup_of(settings), "dark", kept)
frames, fresh = 0, False
def arrived(items):
    global fresh
    fresh = fresh or any(isinstance(item, TraceFrame) for item in items)
class Painted(QObject):
    def eventFilter(self, _, event):
        global frames, fresh
        if event.type() == QEvent.Type.Paint and fresh:
            frames, fresh = frames + 1, False
        return False
window._feed.arrived.connect(arrived)
painted = Painted()
window.traces._plot.viewport().installEventFilter(painted)
began = time.monotonic()
while not window.traces.drawn and time.monotonic() - began < 60:
    app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
frames, began, cpu = 0, time.monotonic(), time.process_time()
while time.monotonic() - began < seconds:
    app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 20)
took = time.monotonic() - began
print(frames / took, len(window.traces.drawn), (time.process_time() - cpu) / took)
window.close()
"""


def test_sixteen_traces_while_the_chain_runs(runtime: Path, tmp_path: Path) -> None:
    """The chain of test_matched_chain with edge triggers; the sender is a thread of this test."""
    with chain(tmp_path, CHANNELS, "edge") as (settings, _):
        sender = Repeating(settings.endpoint("core.blocks"), stream(CHANNELS), LONG_S, paced=True)
        sender.start()
        try:
            until(lambda: ready(settings), "the digitizer")
            started = began(settings)
            frames_hz, n_traces, cpu = watched(tmp_path)
            told = system.ask(settings, "core", "status")
            fell_behind_s = time.monotonic() - started - told["elapsed_s"]
        finally:
            sender.done.set()
            sender.join()
    assert n_traces == CHANNELS
    note("console: frames with 16 traces at 16 x 1 MS/s", frames_hz, "frames/s")
    note("console: CPU", cpu, "cores")
    note("console: samples lost meanwhile", told["lost_samples"], "samples")
    note("console: the core was behind at its end", fell_behind_s, "s")
    assert told["lost_samples"] == 0


def ready(settings: Settings) -> bool:
    try:
        rows = system.ask(settings, "core", "status", timeout_s=1.0)["digitizers"]
    except ScheeliteError:
        return False
    return rows["d"]["state"] in ("waiting", "streaming")


def began(settings: Settings) -> float:
    """A run begins; when."""
    folder = numbers.new_run(settings.data_dir)
    system.ask(settings, "core", "start", run=numbers.run_number(folder), folder=str(folder))
    return time.monotonic()


def watched(tmp_path: Path) -> tuple[float, float, float]:
    """Frames per second, traces drawn and cores used of a console in a process of its own."""
    arguments = (tmp_path / "bench.toml", SECONDS, tmp_path / "gui.ini")
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    frames_hz, n_traces, cpu = map(float, done.stdout.split())
    return frames_hz, n_traces, cpu
