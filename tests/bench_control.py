"""A client of the bench's control socket: makes wires fail while tests talk over them."""

from __future__ import annotations

import json
import socket
import threading
from types import TracebackType

DEADLINE_S = 20.0


class OrderRefusedError(Exception):
    """An order that the bench did not take, in its words."""


class BenchControl:
    """Orders faults of a running bench; `resource` is what it announces for "control"."""

    def __init__(self, resource: str) -> None:
        host, _, port = resource.removeprefix("tcp://").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), DEADLINE_S)
        self._answers = self._socket.makefile("rb")
        self._lock = threading.Lock()  # guards the wire: an answer is that to the order before it

    def __enter__(self) -> BenchControl:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def order(
        self, instrument: str, fault: str, *, seconds: float | None = None, count: int | None = None
    ) -> None:
        """Let a fault stand for `count` occasions, or until cleared; done when it stands."""
        request = {"instrument": instrument, "fault": fault, "seconds": seconds, "count": count}
        given = {key: value for key, value in request.items() if value is not None}
        with self._lock:
            self._socket.sendall(json.dumps(given).encode() + b"\n")
            answer = json.loads(self._answers.readline())
        if answer != {"ok": True}:
            raise OrderRefusedError(answer["error"])

    def clear(self, instrument: str) -> None:
        """End every fault of an instrument; connections that were stuck live again."""
        self.order(instrument, "none")

    def close(self) -> None:
        """Leave; what was ordered stands."""
        self._answers.close()
        self._socket.close()
