"""Who may command a service now, and the telling of what was commanded."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from daq.errors import WireError
from daq.run.lease import Held, seal
from daq.wire import codec, sockets
from daq.wire.schemas import Request, State

logger = logging.getLogger(__name__)

FRESH_S = 3.0  # run control says who holds the lease twice a second
SHOWN = 160  # characters of a command's arguments


class _Told(msgspec.Struct):
    """Of run control's state, what is said of the lease."""

    lease: Held | None = None
    own_seal: str = ""


class LeaseWatch:
    """Knows from run control's state who holds the lease; without run control nobody does.

    Run control itself, known by its own seal, may always command: what it marks as dead must be
    dead whoever commands. For one thread. A stop of run control must not make the instruments
    unreachable.
    """

    def __init__(self, endpoint: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._socket = sockets.subscribe(endpoint)
        self._clock = clock
        self._held: Held | None = None
        self._own = ""  # seal of run control's ticket
        self._heard_s, self._born_s = -FRESH_S, clock()

    def check(self, request: Request) -> None:
        """RefusedError where somebody else holds the lease."""
        held, quiet_s = self.listen()
        if held is not None and quiet_s < FRESH_S and seal(request.ticket) != self._own:
            held.check(request.ticket, time.time_ns())

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close(0)

    def listen(self) -> tuple[Held | None, float]:
        """Who holds it as far as is known, and how old the news of run control is [s].

        News that never came are as old as we are.
        """
        while sockets.readable(self._socket):
            try:
                _, header = sockets.receive(self._socket, 2)
                told = msgspec.convert(codec.decode(header, State).body, _Told)
                self._held, self._own = told.lease, told.own_seal
            except (WireError, msgspec.ValidationError) as error:
                logger.warning("Run control said something odd of the lease: %s", error)
                continue
            self._heard_s = self._clock()
        return self._held, self._clock() - max(self._heard_s, self._born_s)


class Notes:
    """Sends sentences to the core, for the log of the run in progress; never waits.

    For one thread. A sentence that the core cannot take is in the service's own log.
    """

    def __init__(self, endpoint: str) -> None:
        self._socket = sockets.join_requests(endpoint)
        self._ids = itertools.count(1)

    def audit(self, service: str) -> Callable[[Request, str], None]:
        """What a CommandServer takes as its audit."""
        return lambda request, outcome: self.tell(sentence(service, request, outcome))

    def tell(self, text: str, level: str = "info") -> None:
        """One sentence."""
        logger.info("%s", text)
        while sockets.readable(self._socket):
            sockets.receive(self._socket)  # answers: that it was taken
        note = Request(id=next(self._ids), verb="note", arguments={"level": level, "text": text})
        sockets.offer(self._socket, codec.encode(note))

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close(0)


def sentence(service: str, request: Request, outcome: str) -> str:
    """A command by whom, to whom, and with what result."""
    given = ", ".join(f"{key}={_shown(value)}" for key, value in request.arguments.items())
    return f"{request.who or 'somebody'} to {service}: {request.verb}({given[:SHOWN]}): {outcome}"


def _shown(value: Any) -> str:  # Any: an argument of any verb
    return f"{value:g}" if isinstance(value, float) else " ".join(str(value).split())
