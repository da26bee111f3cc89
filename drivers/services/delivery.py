"""The delivery of readings to the core: each row until the core says that it is durable."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable

from daq.errors import WireError
from daq.wire import codec, sockets
from daq.wire.schemas import Reply, Request
from drivers.parameter import Reading
from drivers.services.outbox import Outbox, Row

logger = logging.getLogger(__name__)

LIMIT, BATCH = 20_000, 500  # rows
PATIENCE_S = 2.0  # before rows are sent again, and after a refusal
AWAY_S = 0.2


class Delivery:
    """Sends batches of rows as verb "readings", one after the other, and never waits.

    For one thread. Arguments are {"boot", "first", "rows"}: the number of the first row counts
    within the boot. The core answers {"taken": number of the row that it expects next}. A row is
    [t_ns, instrument, parameter, value or None, unit, source, text].
    """

    def __init__(self, endpoint: str, boot: str, clock: Callable[[], float]) -> None:
        self.socket = sockets.join_requests(endpoint)
        self.outbox = Outbox(LIMIT)
        self.problem = ""  # why the core does not take them
        self._boot, self._clock = boot, clock
        self._ids = itertools.count(1)
        self._again_at = 0.0  # when to send, if no answer makes it sooner

    def add(self, instrument: str, readings: Iterable[Reading]) -> None:
        """Deliver readings of one instrument, sooner or later."""
        self.outbox.add(_row(instrument, reading) for reading in readings)

    def serve(self) -> None:
        """Take answers, and send what is next."""
        while sockets.readable(self.socket):
            self._take(sockets.receive(self.socket))
        if len(self.outbox) and self._clock() >= self._again_at:
            self._send()

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)

    def _send(self) -> None:
        first, rows = self.outbox.batch(BATCH)
        arguments = {"boot": self._boot, "first": first, "rows": rows}
        request = Request(id=next(self._ids), verb="readings", arguments=arguments)
        arrives = sockets.offer(self.socket, codec.encode(request))
        self._again_at = self._clock() + (PATIENCE_S if arrives else AWAY_S)

    def _take(self, frames: list[bytes]) -> None:
        try:
            reply = codec.decode(frames[-1], Reply)
        except WireError as error:
            self._complain(str(error))
            return
        taken = reply.result.get("taken")  # good news even where the batch was sent again since
        if reply.error is not None or not isinstance(taken, int):
            found = reply.error.message if reply.error else repr(reply.result)
            self._complain(f"the core did not take readings: {found}")
            return  # they are sent again after the same patience
        self.problem, self._again_at = "", 0.0
        self.outbox.taken(taken)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            logger.warning("%s", problem)
        self.problem = problem


def _row(instrument: str, reading: Reading) -> Row:
    """Numbers go as value, everything else as text."""
    if isinstance(reading.value, str):
        value, text = None, reading.value
    else:
        value, text = reading.value, reading.text
    number = None if value is None else float(value)
    name, unit, source = reading.name, reading.unit, reading.source
    return [reading.t_ns, instrument, name, number, unit, source, text]
