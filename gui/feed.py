"""The one place that talks to the services: a socket thread behind, Qt signals in front."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QObject, QTimer, Signal

from daq.errors import ScheeliteError, WireError
from daq.settings import operator
from daq.wire import sockets
from daq.wire.schemas import State
from gui.model.frames import (
    Answer,
    PulseFrame,
    TraceFrame,
    Trouble,
    parse_pulses,
    parse_state,
    parse_traces,
)
from gui.model.inbox import Inbox, Sequences

FRAME_MS = 33  # as often as an eye can tell, and no more often than a window can draw
ANSWER_S = 30.0  # a run's end may take this long; nothing but its answer waits
_POLL_MS = 100

Parse = Callable[[Sequence[bytes]], TraceFrame | PulseFrame | State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the services are."""

    traces: str
    pulses: str
    core_state: str
    run_state: str
    run_commands: str


class Feed(QObject):
    """What the services say, in the window's thread, and the way to tell them something.

    `arrived` carries a list of gui.model.frames items, every FRAME_MS, also an empty one.
    Nothing here waits for the network; a window that falls behind gets the newest.
    """

    arrived = Signal(list)

    def __init__(self, endpoints: Endpoints, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._endpoints = endpoints
        self._inbox, self._over = Inbox(), threading.Event()
        self._listener = threading.Thread(
            target=listen, args=(endpoints, self._inbox, self._over), name="feed", daemon=True
        )
        self._timer = QTimer(self, interval=FRAME_MS)
        self._timer.timeout.connect(self._deliver)

    def start(self) -> None:
        """Begin to listen and to deliver."""
        self._listener.start()
        self._timer.start()

    def send(self, verb: str, **arguments: str) -> None:
        """Give the conductor a command; its Answer arrives like everything else."""
        threading.Thread(
            target=ask,
            args=(self._endpoints.run_commands, self._inbox, verb, arguments),
            name=f"ask {verb}",
            daemon=True,  # the window may close before the answer: the service has the command
        ).start()

    def close(self) -> None:
        """Stop delivering, then listening."""
        self._timer.stop()
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()

    def _deliver(self) -> None:
        self.arrived.emit(self._inbox.take())


def listen(endpoints: Endpoints, inbox: Inbox, over: threading.Event) -> None:
    """Put what the services publish into the inbox until it is over."""
    ears = [
        Ear(endpoints.traces, parse_traces, inbox),
        Ear(endpoints.pulses, parse_pulses, inbox),
        Ear(endpoints.core_state, parse_state, inbox),
        Ear(endpoints.run_state, parse_state, inbox),
    ]
    by_socket = {ear.socket: ear for ear in ears}
    poller = sockets.poller(*by_socket)
    while not over.is_set():
        for socket, _ in poller.poll(_POLL_MS):
            by_socket[socket].hear()
    for ear in ears:
        ear.socket.close(0)


class Ear:
    """One subscription, and what became of its messages."""

    def __init__(self, endpoint: str, parse: Parse, inbox: Inbox) -> None:
        self.socket = sockets.subscribe(endpoint)
        self._parse, self._inbox, self._sequences = parse, inbox, Sequences()

    def hear(self) -> None:
        """Take one message from the socket, which has one."""
        frames = sockets.receive(self.socket)
        topic = frames[0].decode(errors="replace")
        try:
            item = self._parse(frames)
        except WireError as error:
            self._inbox.put(topic, Trouble(f"{topic}: {error}"))
            return
        if not isinstance(item, State):  # only the last state counts, and it is sent again
            self._inbox.miss(self._sequences.skipped(topic, item.header.seq))
        self._inbox.put(topic, item)


def ask(endpoint: str, inbox: Inbox, verb: str, arguments: dict[str, str]) -> None:
    """One command and its answer, on a socket of its own.

    The socket is given up with the question: a command that nobody took is not done later.
    """
    try:
        with sockets.calling(endpoint, "run", operator.current()) as caller:
            caller.call(verb, ANSWER_S, **arguments)
    except ScheeliteError as error:
        inbox.put(verb, Answer(verb, str(error)))
    else:
        inbox.put(verb, Answer(verb))
