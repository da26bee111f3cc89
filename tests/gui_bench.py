"""A console against real sockets that tests publish on by hand; no service behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daq.errors import RefusedError
from daq.wire import codec, sockets
from daq.wire.schemas import (
    ErrorItem,
    Pulses,
    RawReply,
    RawRequest,
    Reply,
    Request,
    State,
    Traces,
)
from gui.model.frames import ROW
from gui.palette import PALETTES
from tests.qt import wait_until

if TYPE_CHECKING:
    from gui.windows.main import MainWindow

CHANNELS = ("C11", "C12", "C13")
RATE_HZ, BIN, N_BINS = 250e3, 1000, 50
T0_NS = 1_789_000_000_000_000_000
SERVICES = ("run", "core", "instruments", "folder", "digitizer.targets")
COMMANDED = ("run", "core", "instruments")


@dataclass
class Clock:
    """A clock that tests move by hand."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class GuiBench:
    """The services as a window sees them: real sockets, published by hand."""

    folder: Path
    seq: int = 0
    start: int = 0
    asked: list[Request] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # by verb
    refusal: str = ""
    quiet: tuple[str, ...] = ("list", "spectra", "history")  # what a window asks by itself

    def __post_init__(self) -> None:
        self.traces = sockets.Publisher(self.endpoint("core.traces"))
        self.pulses = sockets.Publisher(self.endpoint("core.pulses"))
        self.raw = sockets.serve_requests(self.endpoint("core.raw"))
        self.progress = sockets.LatestPublisher(self.endpoint("run.progress"))
        self.states: dict[str, sockets.StatePublisher] = {}
        for name in SERVICES:
            self.begin(name)
        self.commands = {
            n: sockets.serve_requests(self.endpoint(f"{n}.commands")) for n in COMMANDED
        }

    def endpoint(self, name: str) -> str:
        return f"ipc://{self.folder}/{name}"

    def endpoints(self) -> Any:
        from gui.endpoints import Endpoints

        return Endpoints(
            traces=self.endpoint("core.traces"),
            pulses=self.endpoint("core.pulses"),
            raw=self.endpoint("core.raw"),
            progress=self.endpoint("run.progress"),
            states={name: self.endpoint(f"{name}.state") for name in SERVICES},
            commands={name: self.endpoint(f"{name}.commands") for name in COMMANDED},
            config=self.folder / "none.toml",
        )

    def begin(self, service: str) -> None:
        """A service is there."""
        self.states[service] = sockets.StatePublisher(self.endpoint(f"{service}.state"))

    def end(self, service: str) -> None:
        """It is gone."""
        self.states.pop(service).socket.close(0)

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
        self.traces.show([b"targets", codec.encode(header), payload])
        self.start += N_BINS * BIN

    def send_pulse(self, channel: str, number: int = 5, causes: int = 4, height: int = 200) -> None:
        """A step of `height` counts at the trigger, over a little noise."""
        self.seq += 1
        row = np.zeros(1, ROW)
        row["record"], row["t_ns"], row["height"] = number, T0_NS, height
        row["flags"], row["causes"] = 0 if causes == 128 else 2, causes
        samples = np.random.default_rng(self.seq).normal(0, 3, 4096).round().astype("<i2")
        samples[1024:] += np.int16(height)
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
        self.pulses.show(frames)

    def say(
        self, service: str, state: str, boot: str = "b", t_ns: int = T0_NS, **body: Any
    ) -> None:
        """Publish a state, for who is there and for who comes late."""
        message = State(service=service, pid=1, boot=boot, state=state, t_ns=t_ns, body=body)
        self.states[service].publish(message)

    def serve(self) -> bool:
        """Do what the services' loops do, without waiting; true once a command was answered."""
        for publisher in (self.progress, *self.states.values()):
            publisher.serve()
        for commands in self.commands.values():
            while commands.poll(0):
                peer, frame = sockets.receive(commands, 2)
                request = codec.decode(frame, Request)
                if request.verb not in self.quiet:
                    self.asked.append(request)
                commands.send_multipart([peer, codec.encode(self._reply(request))])
        self._serve_raw()
        return bool(self.asked)

    def _serve_raw(self) -> None:
        while self.raw.poll(0):
            peer, frame = sockets.receive(self.raw, 2)
            asked = codec.decode(frame, RawRequest)
            noise = np.random.default_rng(1).normal(0, 30, asked.n_samples)
            reply = RawReply(
                id=asked.id, channel=asked.channel, rate_hz=RATE_HZ, volts_per_count=1e-3
            )
            samples = noise.round().astype("<i2").tobytes()
            self.raw.send_multipart([peer, codec.encode(reply), samples])

    def _reply(self, request: Request) -> Reply:
        if self.refusal and request.verb not in self.quiet:
            item = ErrorItem(RefusedError.__name__, self.refusal)
            return Reply(id=request.id, error=item)
        return Reply(id=request.id, result=self.results.get(request.verb, {}))

    def close(self) -> None:
        states = [publisher.socket for publisher in (self.progress, *self.states.values())]
        self.traces.close()
        self.pulses.close()
        for socket in (self.raw, *self.commands.values(), *states):
            socket.close(0)


def application() -> Any:
    """The one QApplication of this process, dressed."""
    from PySide6.QtWidgets import QApplication

    from gui.windows.application import dress

    made = QApplication.instance() or QApplication([])
    dress(made, PALETTES["light"])
    return made


def opened(bench: GuiBench, clock: Clock, theme: str = "light", **more: Any) -> MainWindow:
    """A window that listens to a bench; its arrangement is kept beside the bench's sockets."""
    from PySide6.QtCore import QSettings

    from gui.feed import Feed
    from gui.windows.main import MainWindow

    settings = QSettings(str(bench.folder / "console.ini"), QSettings.Format.IniFormat)
    feed = Feed(bench.endpoints())
    made = MainWindow(
        feed,
        more.pop("channels", CHANNELS),
        PALETTES[theme],
        settings=settings,
        now=clock,
        utc_ns=lambda: T0_NS,
        turned=lambda: 0.0,  # a loaded machine must not excuse anybody in a test
        **more,
    )
    made.show()
    feed.start()
    return made


def window_of(bench: GuiBench, clock: Clock, **more: Any) -> Iterator[MainWindow]:
    """A window for the length of a test."""
    made = opened(bench, clock, **more)
    yield made
    made.close()
    made.deleteLater()


def arrive(
    bench: GuiBench, window: MainWindow, service: str, state: str, boot: str = "b", **body: Any
) -> None:
    """Publish a state and wait until the window has it."""
    bench.say(service, state, boot=boot, **body)
    known = window.console.services[service]
    wait_until(lambda: [bench.serve(), (known.state, known.told) == (state, body)][-1])
    window.receive([])


def press(window: MainWindow, key: str, *, control: bool = False) -> None:
    """A key, as an operator presses it."""
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    held = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(window, getattr(Qt.Key, f"Key_{key}"), held)
