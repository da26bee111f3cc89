"""The window against real sockets: what is published is drawn, what is asked is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from daq.wire import codec, sockets
from daq.wire.schemas import Traces
from gui.model.services import STALE_S
from tests.gui_bench import (
    CHANNELS,
    T0_NS,
    Clock,
    GuiBench,
    application,
    arrive,
    opened,
    press,
    window_of,
)
from tests.qt import qt_missing, wait_until

if TYPE_CHECKING:
    from gui.windows.main import MainWindow

pytestmark = pytest.mark.skipif(bool(qt_missing()), reason=qt_missing())

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[GuiBench]:
    made = GuiBench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def app() -> Any:
    return application()


@pytest.fixture
def window(bench: GuiBench, clock: Clock, app: Any) -> Iterator[MainWindow]:
    yield from window_of(bench, clock)


def draw_traces(bench: GuiBench, window: MainWindow) -> None:
    """Publish traces until the window has joined and drawn some."""

    def drawn() -> bool:
        bench.send_traces()
        return bool(window.traces.drawn)

    wait_until(drawn)


def text_of(window: MainWindow) -> str:
    return window.log.toPlainText()


def test_before_anything_arrives_the_window_says_what_to_do(
    window: MainWindow, clock: Clock
) -> None:
    assert "is the digitizer service up?" in window.traces.sentence
    assert window.pulse.title.text() == "C11  last record"
    clock.now_s += 5
    window.receive([])
    assert window.strip.state.text() == "? LOST"
    assert "core: no news for 5 s: is the service up?" in window.strip.sentence.text()


def test_traces_and_their_triggers_are_drawn(bench: GuiBench, window: MainWindow) -> None:
    draw_traces(bench, window)
    assert window.traces.drawn == CHANNELS
    assert window.traces.n_marks >= 1
    assert window.traces.sentence == ""


def test_only_ticked_channels_are_drawn(bench: GuiBench, window: MainWindow) -> None:
    draw_traces(bench, window)
    window.table.tick("C12", shown=False)
    assert window.traces.drawn == ("C11", "C13")
    for name in ("C11", "C13"):
        window.table.tick(name, shown=False)
    window.receive([])
    assert window.traces.drawn == ()
    assert window.traces.sentence.startswith("no channel is ticked")
    window.table.tick("C12", shown=True)
    assert window.traces.drawn == ("C12",)


def test_a_channel_that_is_not_in_the_config_gets_its_row(
    bench: GuiBench, window: MainWindow
) -> None:
    def known() -> bool:
        bench.send_traces((*CHANNELS, "SI"))
        return window.traces.drawn == (*CHANNELS, "SI")

    wait_until(known)
    assert window.table.shown == [*CHANNELS, "SI"]


def test_the_last_record_of_the_selected_channel_is_drawn(
    bench: GuiBench, window: MainWindow
) -> None:
    window.table.choose("C12")

    def drawn() -> bool:
        bench.send_pulse("C11", number=9)
        bench.send_pulse("C12", number=1234)
        return "record" in window.pulse.title.text() and "UTC" in window.pulse.title.text()

    wait_until(drawn)
    assert window.pulse.title.text() == (
        "C12  record 1\u202f234   00:26:40.000 UTC   height 200 mV   noise 0 V   piled up"
    )
    window.table.choose("C11")
    assert window.pulse.title.text().startswith("C11  record 9 ")


def test_counters_are_those_of_the_core(bench: GuiBench, window: MainWindow) -> None:
    arrive(
        bench,
        window,
        "core",
        "running",
        channels={"C12": {"rate_hz": 1.5, "records": 18442, "livetime_s": 61.0}},
        safe={"records": 18442, "until_ns": T0_NS},
        unsafe=12,
        lost_samples=250,
        gaps=1,
        digitizers={"targets": {"state": "running", "rate_hz": 250e3}},
    )
    assert window.table.cells("C12")[:3] == ("1.50", "18\u202f442", "0:01:01")
    assert window.strip.safe.text() == "safe 18\u202f442"
    assert window.strip.unsafe.text() == "unsafe 12"
    assert window.strip.lost.text() == "▲ lost 250 samples in 1 gap"
    assert window.digitizers.text() == "targets: running 250 kS/s"


def test_missed_frames_are_counted(bench: GuiBench, window: MainWindow) -> None:
    draw_traces(bench, window)
    bench.send_traces(skip=7)
    wait_until(lambda: window.console.n_missed >= 7)
    window.receive([])
    assert window.strip.missed.text() == f"not drawn {window.console.n_missed}"


def test_who_comes_late_is_told_the_state(bench: GuiBench, clock: Clock, app: Any) -> None:
    bench.say("run", "running", run=142, verbs=["stop"], elapsed_s=8049.0)
    window = opened(bench, clock)
    wait_until(lambda: bench.serve() or window.console.run.state == "running")
    assert window.strip.state.text() == "● RUNNING"
    assert window.strip.run.text() == "run 142"
    assert window.strip.elapsed.text() == "2:14:09 elapsed"
    assert window.controls.stop_button.isEnabled()
    assert not window.controls.start_button.isEnabled()
    window.close()


def test_start_is_sent_with_its_comment(bench: GuiBench, window: MainWindow) -> None:
    arrive(bench, window, "run", "idle", verbs=["start"])
    window.controls.text.setText("first light")
    press(window, "R", control=True)
    assert window.controls.start_button.text() == "Starting…"
    assert not window.controls.start_button.isEnabled()
    wait_until(lambda: bench.serve() and not window.console.pending)
    (request,) = bench.asked
    assert (request.verb, request.arguments) == ("start", {"comment": "first light"})
    assert "run started" in text_of(window)


def test_a_refusal_is_read_in_the_log_and_the_button_comes_back(
    bench: GuiBench, window: MainWindow
) -> None:
    bench.refusal = "start is not allowed while the disk has 1 GB left: expected 10 GB"
    arrive(bench, window, "run", "idle", verbs=["start"])
    window.controls.start_button.click()
    wait_until(lambda: bench.serve() and not window.console.pending)
    assert f"■ start: {bench.refusal}" in text_of(window)
    assert window.controls.start_button.isEnabled()


def test_stop_asks_before_it_is_sent(bench: GuiBench, window: MainWindow) -> None:
    arrive(bench, window, "run", "running", run=142, verbs=["stop"])
    press(window, "Period", control=True)
    question = window.controls.question
    assert question is not None
    assert question.text() == "Stop run 142?"
    question.reject()
    assert window.controls.question is None
    assert not window.console.pending
    press(window, "Period", control=True)
    question = window.controls.question
    assert question is not None
    question.defaultButton().click()
    wait_until(lambda: bench.serve() and not window.console.pending)
    assert [request.verb for request in bench.asked] == ["stop"]


def test_what_is_not_allowed_cannot_be_pressed(bench: GuiBench, window: MainWindow) -> None:
    arrive(bench, window, "run", "idle", verbs=[])
    press(window, "R", control=True)
    press(window, "Period", control=True)
    assert window.controls.question is None
    assert not window.console.pending


def test_a_lost_service_is_noticed_and_comes_back(
    bench: GuiBench, window: MainWindow, clock: Clock
) -> None:
    arrive(bench, window, "run", "running", run=142, verbs=["stop"])
    arrive(bench, window, "core", "running")
    bench.end("run")
    clock.now_s += STALE_S + 1
    wait_until(lambda: window.strip.state.text() == "? LOST")
    tones = [label.property("tone") for label in (window.strip.run, window.strip.safe)]
    assert [*tones, window.digitizers.property("tone")] == ["stale"] * 3
    assert "run: no news for 3 s" in window.strip.sentence.text()
    assert not window.controls.stop_button.isEnabled()
    bench.begin("run")
    arrive(bench, window, "run", "stopping", run=142)
    assert window.strip.state.text() == "◑ STOPPING"
    assert "run: speaks again" in text_of(window)


def test_a_peer_of_another_version_is_named(bench: GuiBench, window: MainWindow) -> None:
    stranger = b'{"schema":"traces","version":2}'

    def said() -> bool:
        bench.traces.show([b"targets", stranger, b""])
        return "expected traces in version 1, found version 2" in text_of(window)

    wait_until(said)


def test_frozen_plots_stand_still_while_everything_else_goes_on(
    bench: GuiBench, window: MainWindow
) -> None:
    draw_traces(bench, window)
    press(window, "Space")
    assert "FROZEN" in window.traces.title.text()
    before, newest_ns = window.traces.points("C11"), window.console.rolling.newest_ns

    def later() -> bool:
        bench.send_traces()
        return window.console.rolling.newest_ns > newest_ns

    wait_until(later)
    np.testing.assert_array_equal(window.traces.points("C11"), before)
    for shown in (False, True):  # what is frozen can still be looked at in other ways
        window.table.tick("C13", shown=shown)
    np.testing.assert_array_equal(window.traces.points("C11"), before)
    press(window, "Space")
    assert window.traces.title.text() == "last 4 s"
    assert not np.array_equal(window.traces.points("C11"), before)


def test_held_ranges_do_not_follow_the_data(bench: GuiBench, window: MainWindow) -> None:
    draw_traces(bench, window)
    press(window, "A")
    held = window.traces.range_v("C11")

    def large() -> bool:
        bench.send_traces(level_v=10.0)
        return window.console.rolling.levels_v()["C11"] > 5

    wait_until(large)
    assert window.traces.range_v("C11") == held
    press(window, "A")
    assert window.traces.range_v("C11")[1] >= 10


def test_switching_the_ranges_on_fits_them(bench: GuiBench, window: MainWindow) -> None:
    def highest(level_v: float) -> float:
        bench.send_traces(level_v=level_v)
        stretches = window.console.rolling.stretches(100)
        return max((float(np.nanmax(s.volts)) for s in stretches), default=0.0)

    wait_until(lambda: highest(10.0) > 9)
    wait_until(lambda: highest(0.1) < 1)  # the span holds nothing large any more
    assert window.traces.range_v("C11")[1] >= 10
    press(window, "A")
    press(window, "A")
    assert window.traces.range_v("C11")[1] < 1


def test_a_core_that_began_anew_leaves_no_old_lines(bench: GuiBench, window: MainWindow) -> None:
    draw_traces(bench, window)
    arrive(bench, window, "core", "running")
    assert window.traces.drawn == CHANNELS
    arrive(bench, window, "core", "idle", boot="c")
    assert window.traces.drawn == ()
    assert window.traces.sentence == "no data yet: is the digitizer service up?"


def test_space_in_the_comment_is_a_space(window: MainWindow, app: Any) -> None:
    from PySide6.QtTest import QTest

    window.activateWindow()
    window.controls.text.setFocus()
    QTest.keyClicks(window.controls.text, "a b")
    assert window.controls.text.text() == "a b"
    assert not window.controls.freeze_button.isChecked()


def test_a_picture_that_cannot_be_written_is_refused(window: MainWindow, tmp_path: Path) -> None:
    from daq.errors import StorageError
    from gui.windows.application import take

    take(window, tmp_path / "window.png")
    assert (tmp_path / "window.png").stat().st_size > 1000
    with pytest.raises(StorageError, match=r"expected to write a picture to .*none/x\.png"):
        take(window, tmp_path / "none" / "x.png")


CONFIG = """
[experiment]
name = "bench"
[endpoints]
base = "ipc://{folder}"
[kinds.target]
record_length = 1024
pretrigger = 256
triggers = [{{ kind = "level", threshold = 40.0, rearm = 20.0 }}]
[digitizers.targets]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:5601"
[channels]
C11 = {{ kind = "target", digitizer = "targets", input = 0 }}
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    config = tmp_path / "bench.toml"
    config.write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    return [sys.executable, "-m", "gui", str(config), "--screenshot", str(tmp_path / "gui.png")]


def test_the_command_takes_a_picture_and_ends(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*command, "--after", "0.1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gui.png").read_bytes().startswith(b"\x89PNG")


def test_killing_the_window_does_nothing_to_who_publishes(
    bench: GuiBench, command: list[str], app: Any
) -> None:
    """A window joins, is killed without a word, and the publishers publish on."""
    listener = sockets.subscribe(bench.endpoint("core.traces"))
    child = subprocess.Popen([*command, "--after", "600"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        joined = bench.states["core"].socket.poll(20_000)  # its subscription
        assert joined, "expected the window to join within 20 s"
    finally:
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL
    bench.say("core", "running")
    before = bench.seq
    for _ in range(10):
        wait_until(lambda: bench.send_traces() or listener.poll(0))
        _, header, _ = sockets.receive(listener, 3)
        after = codec.decode(header, Traces).seq
        assert after > before
        before = after
    listener.close(0)
