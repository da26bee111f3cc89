"""The digitizer service: one digitizer's samples, kept until the core has them for good."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from daq.errors import InstrumentError, SilentError
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.wire import sockets
from drivers.digitizer.digitizer import Digitizer, Samples
from drivers.services.reader import QUEUE_LENGTH, Connected, Item, Reader, Trouble
from drivers.services.uplink import Uplink

logger = logging.getLogger(__name__)

TICK_MS = 100
JOIN_S = 4.0  # longer than a connection attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the service's sockets are; `blocks` is the core's."""

    blocks: str
    state: str
    commands: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept for an absent core, and when a digitizer counts as silent."""

    buffer_s: float
    buffer_bytes: float
    silent_after_s: float


class DigitizerService:
    """Reads in one thread; this one owns the ring and all sockets.

    Verbs: "ping" answers {}; "status" answers the body of the state: `connected`, `resource`,
    `rate_hz`, `channels`, `newest` and `oldest` (samples), `buffered_s`, `lost_samples`, `gaps`
    (stretches lost), `silent_s`, `ahead_s` (that its clock is ahead at most; null: nobody knows),
    `problem` (a sentence, or ""). States: connecting, waiting (for
    the core), streaming, silent, ended.
    """

    def __init__(
        self,
        name: str,
        digitizer: Digitizer,
        *,
        resource: str,
        limits: Limits,
        endpoints: Endpoints,
        stop: threading.Event,
        waker: Waker,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resource, self._limits, self._clock = resource, limits, clock
        self._stop, self._waker = stop, waker
        self._connected, self._trouble = False, ""
        self._silent = False  # the connection was given up only because nothing came
        self._heard_at = clock()
        self._progress = 0  # samples so far
        self._reader = Reader(
            digitizer, waker.wake, silent_after_s=limits.silent_after_s, clock=clock
        )
        self._uplink = Uplink(
            endpoints.blocks,
            name,
            clock,
            buffer_s=limits.buffer_s,
            buffer_bytes=limits.buffer_bytes,
        )
        self._beat = Beat(endpoints.state, f"digitizer.{name}", clock=clock)
        self._commands = CommandServer(
            endpoints.commands,
            {
                "ping": Verb(Nothing, lambda _: {}),
                "status": Verb(Nothing, lambda _: {"state": self.state, **self.status()}),
            },
        )

    def run(self) -> None:
        """Serve until `stop` is set; then give everything back."""
        poller = sockets.poller(
            self._waker, self._uplink.socket, self._commands.socket, self._beat.socket
        )
        self._reader.start()
        try:
            while not self._stop.is_set():
                poller.poll(TICK_MS)
                self._step()
        finally:
            self._reader.stop()
            self._reader.join(JOIN_S)
            for part in (self._uplink, self._commands, self._beat):
                part.close()

    @property
    def state(self) -> str:
        """One word for how it goes."""
        stream = self._uplink.newest
        if stream is not None and stream.end is not None:
            return "ended"
        too_long = self._silent_s > self._limits.silent_after_s
        if self._silent or (self._connected and too_long):
            return "silent"
        if not self._connected:
            return "connecting"
        return "streaming" if self._uplink.is_wanted else "waiting"

    def status(self) -> Result:
        """The body of the state."""
        stream = self._uplink.newest
        facts, ring = (stream.facts, stream.ring) if stream else (None, None)
        oldest, newest = (ring.oldest, ring.newest) if ring else (0, 0)
        rate_hz = facts.rate_hz if facts else 0.0
        return {
            "connected": self._connected,
            "resource": self._resource,
            "rate_hz": rate_hz,
            "channels": list(facts.channels) if facts else [],
            "newest": newest,
            "oldest": oldest,
            "buffered_s": (newest - oldest) / rate_hz if rate_hz else 0.0,
            "lost_samples": self._uplink.lost_samples,
            "gaps": self._uplink.n_gaps,
            "silent_s": self._silent_s,
            "ahead_s": facts.ahead_s if facts else None,
            "problem": self._trouble or self._uplink.problem,
        }

    def _step(self) -> None:
        self._waker.clear()
        self._uplink.serve()
        self._take_items()
        self._uplink.send()
        self._commands.serve()
        self._beat.serve()
        if self._beat.due(self.state):
            self._beat.publish(self.state, progress=self._progress, body=self.status())

    def _take_items(self) -> None:
        """Take what the reader has; not for ever, where it is faster than we are."""
        for _ in range(QUEUE_LENGTH):
            if self._uplink.must_wait:
                self._heard_at = self._clock()  # it is we who keep it waiting
                return
            try:
                self._take(self._reader.items.get_nowait())
            except queue.Empty:
                self._check_reader()
                return

    def _check_reader(self) -> None:
        if not self._reader.is_alive() and self.state != "ended" and not self._stop.is_set():
            raise InstrumentError("the thread that reads the digitizer has ended; see the log")

    def _take(self, item: Item) -> None:
        if isinstance(item, Connected):
            self._connected = True
            self._uplink.begin(item.facts, item.start)
        elif isinstance(item, Trouble):
            self._connected, self._trouble = False, str(item.error)
            self._silent = isinstance(item.error, SilentError)
        else:
            self._uplink.put(item)
        if isinstance(item, Samples):
            self._heard_at, self._trouble, self._silent = self._clock(), "", False
            self._progress += item.samples.shape[1]

    @property
    def _silent_s(self) -> float:
        """Time without samples."""
        return self._clock() - self._heard_at
