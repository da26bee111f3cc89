"""The one place that talks to the services: a socket thread behind, Qt signals in front."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Qt, QTimer, Signal

from daq.errors import ScheeliteError, WireError
from daq.model.operator import Operator
from daq.settings import operator
from daq.wire import sockets
from daq.wire.schemas import Progress, State
from gui import tuning
from gui.endpoints import Endpoints
from gui.model.frames import (
    Answer,
    Examined,
    PulseFrame,
    Stream,
    TraceFrame,
    Trouble,
    parse_progress,
    parse_pulses,
    parse_state,
    parse_traces,
)
from gui.model.inbox import Inbox, Sequences

FRAME_MS = 30  # as often as an eye can tell: 30 times a second, also where some come late
ANSWER_S = 30.0  # a run's end may take this long; nothing but its answer waits
DOCTOR_S = 60.0
_POLL_MS = 100

OPERATOR = object()  # stands for the operator's name, or ticket, in arguments
Parse = Callable[[Sequence[bytes]], TraceFrame | PulseFrame | State | Progress]


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
        self._timer = QTimer(self, interval=FRAME_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._deliver)
        self._asking: dict[str, threading.Thread] = {}

    def start(self) -> None:
        """Begin to listen and to deliver."""
        self._listener.start()
        self._timer.start()

    # Any: each verb's own arguments
    def send(self, verb: str, *, service: str = "run", tag: str = "", **arguments: Any) -> None:
        """Give a service a command; its Answer arrives like everything else."""
        endpoint = self._endpoints.commands[service]
        command = Command(service, verb, tag, arguments)
        self._begin(ask, endpoint, self._inbox, command, name=f"ask {verb}")

    def ask_once(self, verb: str, service: str) -> None:
        """Ask, unless the same question still waits for its answer."""
        last = self._asking.get(verb)
        if last is None or not last.is_alive():
            command = Command(service, verb, "", {})
            endpoint = self._endpoints.commands[service]
            self._asking[verb] = self._begin(ask, endpoint, self._inbox, command, name=verb)

    def take_stream(self, channel: str, n_samples: int) -> None:
        """Ask the core for a stretch of a channel's stream; a Stream or a refusal arrives."""
        self._begin(take, self._endpoints.raw, self._inbox, channel, n_samples, name="take")

    def examine(self) -> None:
        """Call the doctor; what he Examined arrives, or a refusal."""
        self._begin(examine, self._endpoints.config, self._inbox, name="doctor")

    def tune(self, channel: str) -> None:
        """Tune a channel, in a program of its own; TuneLines arrive, then an Answer."""
        self._begin(tuning.tune, self._endpoints.config, self._inbox, channel, name="tune")

    def undo_tune(self) -> None:
        """Bring back what was held before the latest tuning."""
        self._begin(tuning.undo, self._endpoints.config, self._inbox, name="undo")

    def close(self) -> None:
        """Stop delivering, then listening."""
        self._timer.stop()
        self._over.set()
        if self._listener.is_alive():
            self._listener.join()

    def _begin(self, act: Callable[..., None], *arguments: object, name: str) -> threading.Thread:
        """In a thread of its own; the window may close before the answer."""
        thread = threading.Thread(target=act, args=arguments, name=name, daemon=True)
        thread.start()
        return thread

    def _deliver(self) -> None:
        self.arrived.emit(self._inbox.take())


def listen(endpoints: Endpoints, inbox: Inbox, over: threading.Event) -> None:
    """Put what the services publish into the inbox until it is over."""
    ears = [
        Ear(endpoints.traces, parse_traces, inbox),
        Ear(endpoints.pulses, parse_pulses, inbox),
        Ear(endpoints.progress, parse_progress, inbox),
        *(Ear(endpoint, parse_state, inbox) for endpoint in endpoints.states.values()),
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
        if not isinstance(item, State | Progress):  # the last one counts, and is sent again
            self._inbox.miss(self._sequences.skipped(topic, item.header.seq))
        self._inbox.put(topic, item)


@dataclass(frozen=True, slots=True)
class Command:
    """One verb for one service; Any: each verb's own arguments."""

    service: str
    verb: str
    tag: str
    arguments: Mapping[str, Any]

    def answer(self, refusal: str = "", result: dict[str, Any] | None = None) -> Answer:
        """What became of it."""
        return Answer(self.verb, refusal, self.service, result or {}, self.tag)


def ask(endpoint: str, inbox: Inbox, command: Command) -> None:
    """One command and its answer, on a socket of its own.

    The socket is given up with the question: a command that nobody took is not done later.
    """
    try:
        who = operator.current()
        if command.verb == "lease-take":  # the ticket is made, and kept for this user alone
            who = operator.with_ticket(who)
        given = _with_operator(command, who)
        with sockets.calling(endpoint, command.service, who) as caller:
            result = caller.call(command.verb, ANSWER_S, **given)
    except ScheeliteError as error:
        inbox.put(command.verb, command.answer(str(error)))
    else:
        inbox.put(command.verb, command.answer(result=result))


def take(endpoint: str, inbox: Inbox, channel: str, n_samples: int) -> None:
    """A stretch of a channel's stream."""
    try:
        reply, samples = sockets.raw_samples(endpoint, channel, n_samples, ANSWER_S)
        volts = np.frombuffer(samples, "<i2").astype(np.float64) * reply.volts_per_count
    except (ScheeliteError, ValueError) as error:
        inbox.put("raw", Answer("noise", str(error), "core"))
    else:
        inbox.put(channel, Stream(channel, volts, reply.rate_hz))


def examine(config: Path, inbox: Inbox) -> None:
    """The doctor is a program of its own: what he asks may take its time."""
    command = [sys.executable, "-m", "daq.services.cli", "doctor", str(config), "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOCTOR_S, check=False
        )
        links = json.loads(done.stdout)["links"]
    except (subprocess.TimeoutExpired, OSError, ValueError, KeyError) as error:
        inbox.put("doctor", Answer("doctor", f"he could not be asked: {error}", "doctor"))
    else:
        inbox.put("doctor", Examined(links))


# Any: each verb's own arguments
def _with_operator(command: Command, who: Operator) -> dict[str, Any]:
    """The arguments, with the name and ticket that some verbs take as such."""
    own = {"who": who.who, "ticket": who.ticket}
    return {
        key: own[key] if value is OPERATOR else value for key, value in command.arguments.items()
    }
