"""The window against real sockets: what is published is drawn, what is asked is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from daq.errors import RefusedError
from daq.wire import codec, sockets
from daq.wire.schemas import ErrorItem, Pulses, Reply, Request, State, Traces
from gui.model.frames import ROW
from gui.model.services import STALE_S
from gui.palette import PALETTES
from tests.qt import qt_missing, wait_until

if TYPE_CHECKING:
    from gui.windows.main import MainWindow

pytestmark = pytest.mark.skipif(bool(qt_missing()), reason=qt_missing())

ROOT = Path(__file__).parents[2]
CHANNELS = ("C11", "C12", "C13")
RATE_HZ, BIN, N_BINS = 250e3, 1000, 50
T0_NS = 1_789_000_000_000_000_000


@dataclass
class Clock:
    """A clock that tests move by hand."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Bench:
    """The core and the conductor as a window sees them: real sockets, published by hand."""

    folder: Path
    seq: int = 0
    start: int = 0
    asked: list[Request] = field(default_factory=list)
    refusal: str = ""

    def __post_init__(self) -> None:
        self.traces = sockets.publish(self.endpoint("core.traces"))
        self.pulses = sockets.publish(self.endpoint("core.pulses"))
        self.core: sockets.StatePublisher | None = self.state("core")
        self.run: sockets.StatePublisher | None = self.state("run")
        self.commands = sockets.serve_requests(self.endpoint("run.commands"))

    def endpoint(self, name: str) -> str:
        return f"ipc://{self.folder}/{name}"

    def endpoints(self) -> dict[str, str]:
        return {
            "traces": self.endpoint("core.traces"),
            "pulses": self.endpoint("core.pulses"),
            "core_state": self.endpoint("core.state"),
            "run_state": self.endpoint("run.state"),
            "run_commands": self.endpoint("run.commands"),
        }

    def state(self, service: str) -> sockets.StatePublisher:
        return sockets.StatePublisher(self.endpoint(f"{service}.state"))

    def send_traces(
        self, channels: tuple[str, ...] = CHANNELS, skip: int = 0, level_v: float = 0.1
    ) -> None:
        """A frame of noise, and a trigger in the first channel."""
        self.seq += 1 + skip
        header = Traces(
            seq=self.seq,
            digitizer="targets",
            channels=list(channels),
            start=self.start,
            bin_samples=BIN,
            rate_hz=RATE_HZ,
            t_ns=T0_NS + round(self.start / RATE_HZ * 1e9),
            triggers=[(0, self.start + 7 * BIN)],
        )
        values = np.random.default_rng(self.seq).normal(level_v, 0.01, (len(channels), N_BINS, 2))
        payload = np.sort(values, axis=2).astype("<f4").tobytes()
        self.traces.send_multipart([b"targets", codec.encode(header), payload])
        self.start += N_BINS * BIN

    def send_pulse(self, channel: str, number: int = 5) -> None:
        self.seq += 1
        row = np.zeros(1, ROW)
        row["record"], row["t_ns"], row["height"], row["flags"] = number, T0_NS, 200, 2
        samples = np.zeros(4096, "<i2")
        samples[1024:] = 200
        header = Pulses(
            seq=self.seq,
            channel=channel,
            n_records=1,
            record_length=4096,
            pretrigger=1024,
            rate_hz=50e3,
            volts_per_count=1e-3,
        )
        frames = [channel.encode(), codec.encode(header), row.tobytes(), samples.tobytes()]
        self.pulses.send_multipart(frames)

    def say(self, service: str, state: str, boot: str = "b", **body: Any) -> None:
        """Publish a state, for who is there and for who comes late."""
        publisher = {"core": self.core, "run": self.run}[service]
        assert publisher is not None
        publisher.publish(
            State(service=service, pid=1, boot=boot, state=state, t_ns=T0_NS, body=body)
        )

    def serve(self) -> bool:
        """Do what the services' loops do, without waiting; true once a command was answered."""
        for publisher in (self.core, self.run):
            if publisher is not None:
                publisher.serve()
        while self.commands.poll(0):
            peer, frame = sockets.receive(self.commands, 2)
            request = codec.decode(frame, Request)
            self.asked.append(request)
            self.commands.send_multipart([peer, codec.encode(self._reply(request))])
        return bool(self.asked)

    def _reply(self, request: Request) -> Reply:
        if not self.refusal:
            return Reply(id=request.id)
        return Reply(id=request.id, error=ErrorItem(RefusedError.__name__, self.refusal))

    def close(self) -> None:
        states = [p.socket for p in (self.core, self.run) if p is not None]
        for socket in (self.traces, self.pulses, self.commands, *states):
            socket.close(0)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def app() -> Any:
    """The one QApplication of this process, dressed."""
    from PySide6.QtWidgets import QApplication

    from gui.windows.application import dress

    made = QApplication.instance() or QApplication([])
    dress(made, PALETTES["light"])
    return made


def opened(bench: Bench, clock: Clock) -> MainWindow:
    from gui.feed import Endpoints, Feed
    from gui.windows.main import MainWindow

    feed = Feed(Endpoints(**bench.endpoints()))
    palette = PALETTES["light"]
    made = MainWindow(feed, CHANNELS, palette, now=clock, utc_ns=lambda: T0_NS)
    made.show()
    feed.start()
    return made


@pytest.fixture
def window(bench: Bench, clock: Clock, app: Any) -> Iterator[MainWindow]:
    made = opened(bench, clock)
    yield made
    made.close()
    made.deleteLater()


def arrive(bench: Bench, window: MainWindow, service: str, state: str, **body: Any) -> None:
    """Publish a state and wait until the window has it."""
    bench.say(service, state, **body)
    known = {"core": window.console.core, "run": window.console.run}[service]
    wait_until(lambda: bench.serve() or known.state == state)
    window.receive([])


def draw_traces(bench: Bench, window: MainWindow) -> None:
    """Publish traces until the window has joined and drawn some."""

    def drawn() -> bool:
        bench.send_traces()
        return bool(window.traces.drawn)

    wait_until(drawn)


def text_of(window: MainWindow) -> str:
    return window.log.toPlainText()


def press(window: MainWindow, key: str, *, control: bool = False) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    held = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(window, getattr(Qt.Key, f"Key_{key}"), held)


def test_before_anything_arrives_the_window_says_what_to_do(
    window: MainWindow, clock: Clock
) -> None:
    assert "is the digitizer service up?" in window.traces.sentence
    assert window.pulse.title.text() == "C11  last record"
    clock.now_s += 5
    window.receive([])
    assert window.strip.state.text() == "? LOST"
    assert "core: no news for 5 s: is the service up?" in window.strip.sentence.text()


def test_traces_and_their_triggers_are_drawn(bench: Bench, window: MainWindow) -> None:
    draw_traces(bench, window)
    assert window.traces.drawn == CHANNELS
    assert window.traces.n_marks >= 1
    assert window.traces.sentence == ""


def test_only_ticked_channels_are_drawn(bench: Bench, window: MainWindow) -> None:
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


def test_a_channel_that_is_not_in_the_config_gets_its_row(bench: Bench, window: MainWindow) -> None:
    def known() -> bool:
        bench.send_traces((*CHANNELS, "SI"))
        return window.traces.drawn == (*CHANNELS, "SI")

    wait_until(known)
    assert window.table.shown == [*CHANNELS, "SI"]


def test_the_last_record_of_the_selected_channel_is_drawn(bench: Bench, window: MainWindow) -> None:
    window.table.choose("C12")

    def drawn() -> bool:
        bench.send_pulse("C11", number=9)
        bench.send_pulse("C12", number=1234)
        return "record" in window.pulse.title.text() and "UTC" in window.pulse.title.text()

    wait_until(drawn)
    assert window.pulse.title.text() == (
        "C12  record 1\u202f234   00:26:40.000 UTC   height 200 mV   baseline noise 0 V   piled up"
    )
    window.table.choose("C11")
    assert window.pulse.title.text().startswith("C11  record 9 ")


def test_counters_are_those_of_the_core(bench: Bench, window: MainWindow) -> None:
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


def test_missed_frames_are_counted(bench: Bench, window: MainWindow) -> None:
    draw_traces(bench, window)
    bench.send_traces(skip=7)
    wait_until(lambda: window.console.n_missed >= 7)
    window.receive([])
    assert window.strip.missed.text() == f"not drawn {window.console.n_missed}"


def test_who_comes_late_is_told_the_state(bench: Bench, clock: Clock, app: Any) -> None:
    bench.say("run", "running", run=142, verbs=["stop"], elapsed_s=8049.0)
    window = opened(bench, clock)
    wait_until(lambda: bench.serve() or window.console.run.state == "running")
    assert window.strip.state.text() == "● RUNNING"
    assert window.strip.run.text() == "run 142"
    assert window.strip.elapsed.text() == "2:14:09 elapsed"
    assert window.controls.stop_button.isEnabled()
    assert not window.controls.start_button.isEnabled()
    window.close()


def test_start_is_sent_with_its_comment(bench: Bench, window: MainWindow) -> None:
    arrive(bench, window, "run", "idle", verbs=["start"])
    window.controls.comment.setText("first light")
    press(window, "R", control=True)
    assert window.controls.start_button.text() == "Starting…"
    assert not window.controls.start_button.isEnabled()
    wait_until(lambda: bench.serve() and not window.console.pending)
    (request,) = bench.asked
    assert (request.verb, request.arguments) == ("start", {"comment": "first light"})
    assert "run started" in text_of(window)


def test_a_refusal_is_read_in_the_log_and_the_button_comes_back(
    bench: Bench, window: MainWindow
) -> None:
    bench.refusal = "start is not allowed while the disk has 1 GB left: expected 10 GB"
    arrive(bench, window, "run", "idle", verbs=["start"])
    window.controls.start_button.click()
    wait_until(lambda: bench.serve() and not window.console.pending)
    assert f"■ start: {bench.refusal}" in text_of(window)
    assert window.controls.start_button.isEnabled()


def test_stop_asks_before_it_is_sent(bench: Bench, window: MainWindow) -> None:
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


def test_what_is_not_allowed_cannot_be_pressed(bench: Bench, window: MainWindow) -> None:
    arrive(bench, window, "run", "idle", verbs=[])
    press(window, "R", control=True)
    press(window, "Period", control=True)
    assert window.controls.question is None
    assert not window.console.pending


def test_a_lost_service_is_noticed_and_comes_back(
    bench: Bench, window: MainWindow, clock: Clock
) -> None:
    arrive(bench, window, "run", "running", run=142, verbs=["stop"])
    arrive(bench, window, "core", "running")
    assert bench.run is not None
    bench.run.socket.close(0)
    bench.run = None
    clock.now_s += STALE_S + 1
    wait_until(lambda: window.strip.state.text() == "? LOST")
    tones = [label.property("tone") for label in (window.strip.run, window.strip.safe)]
    assert [*tones, window.digitizers.property("tone")] == ["stale"] * 3
    assert "run: no news for 3 s" in window.strip.sentence.text()
    assert not window.controls.stop_button.isEnabled()
    bench.run = bench.state("run")
    arrive(bench, window, "run", "stopping", run=142)
    assert window.strip.state.text() == "◑ STOPPING"
    assert "run: speaks again" in text_of(window)


def test_a_peer_of_another_version_is_named(bench: Bench, window: MainWindow) -> None:
    stranger = b'{"schema":"traces","version":2}'

    def said() -> bool:
        bench.traces.send_multipart([b"targets", stranger, b""])
        return "expected traces in version 1, found version 2" in text_of(window)

    wait_until(said)


def test_frozen_plots_stand_still_while_everything_else_goes_on(
    bench: Bench, window: MainWindow
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
    assert window.traces.title.text() == "Traces"
    assert not np.array_equal(window.traces.points("C11"), before)


def test_held_ranges_do_not_follow_the_data(bench: Bench, window: MainWindow) -> None:
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


def test_switching_the_ranges_on_fits_them(bench: Bench, window: MainWindow) -> None:
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


def test_a_core_that_began_anew_leaves_no_old_lines(bench: Bench, window: MainWindow) -> None:
    draw_traces(bench, window)
    arrive(bench, window, "core", "running")
    assert window.traces.drawn == CHANNELS
    arrive(bench, window, "core", "idle", boot="c")
    assert window.traces.drawn == ()
    assert window.traces.sentence == "no data yet: is the digitizer service up?"


def test_space_in_the_comment_is_a_space(window: MainWindow, app: Any) -> None:
    from PySide6.QtTest import QTest

    window.activateWindow()
    window.controls.comment.setFocus()
    QTest.keyClicks(window.controls.comment, "a b")
    assert window.controls.comment.text() == "a b"
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
    bench: Bench, command: list[str], app: Any
) -> None:
    """A window joins, is killed without a word, and the publishers publish on."""
    listener = sockets.subscribe(bench.endpoint("core.traces"))
    child = subprocess.Popen([*command, "--after", "600"], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        joined = bench.core.socket.poll(20_000) if bench.core else 0  # its subscription
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
