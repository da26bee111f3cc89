"""What every service is made of: verbs answered, a state published, a wake-up, a clean stop."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from daq.errors import ScheeliteError, UsageError, VersionError, WireError
from daq.wire import codec, sockets
from daq.wire.schemas import ErrorItem, Reply, Request, State

logger = logging.getLogger(__name__)

A = TypeVar("A", bound=msgspec.Struct)
# Any: each verb's result has its own shape, documented beside the verb
Result = dict[str, Any]
Answer = Result | Future[Result]
Kind = Literal["ask", "act", "safe"]
DONE = "done"
Guard = Callable[[Request], None]  # raises RefusedError for who may not command now
Audit = Callable[[Request, str], None]  # takes a command and what became of it


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The arguments of a verb that takes none."""


@dataclass(frozen=True, slots=True)
class Verb(Generic[A]):
    """What a service does on request: the struct its arguments must fit, and who does it.

    `act` answers at once, or returns a Future that another thread completes; then other requests
    are answered meanwhile. A verb of the kind "ask" changes nothing; "act" needs the control lease,
    "safe" does not; what became of both is told to the server's audit.
    """

    arguments: type[A]
    act: Callable[[A], Answer]
    kind: Kind = "ask"


class CommandServer:
    """Answers the verbs of one service on its `commands` socket; a stranger's bytes stop nothing.

    For one thread. Call `serve` when `socket` can be read, `answer` whenever a Future may be done.
    """

    # Any: verbs with different arguments share one table
    def __init__(
        self,
        endpoint: str,
        verbs: Mapping[str, Verb[Any]],
        *,
        guard: Guard = lambda _: None,
        audit: Audit = lambda _request, _outcome: None,
    ) -> None:
        self.socket = sockets.serve_requests(endpoint)
        self.refused = 0  # messages that were no requests
        self._verbs, self._guard, self._audit = verbs, guard, audit
        self._pending: list[tuple[bytes, Request, Future[Result]]] = []

    def serve(self) -> None:
        """Answer every request that is waiting, and every one whose answer has come."""
        while sockets.readable(self.socket):
            self._take(sockets.receive(self.socket))
        self.answer()

    def answer(self) -> None:
        """Answer every request whose answer has come."""
        if not self._pending:
            return
        done = [entry for entry in self._pending if entry[2].done()]
        self._pending = [entry for entry in self._pending if not entry[2].done()]
        for peer, request, future in done:
            self._answer(peer, request, future.result)

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)

    def _take(self, frames: list[bytes]) -> None:
        try:
            peer, header = frames
            request = codec.decode(header, Request)
        except (ValueError, WireError) as error:
            self.refused += 1
            if isinstance(error, VersionError):  # that peer can be told
                self._send(frames[0], Reply(id=0, error=_item(error)))
            return
        try:
            answer = self._act(request)
        except Exception as error:
            self._fail(peer, request, error)
            return
        if isinstance(answer, Future):
            self._pending.append((peer, request, answer))
        else:
            self._answer(peer, request, lambda: answer)

    def _act(self, request: Request) -> Answer:
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join(self._verbs)
            raise UsageError(f"expected one of the verbs {known}, found {request.verb!r}")
        if verb.kind == "act":
            self._guard(request)
        if verb.kind == "safe":  # told first: what it ends may be what it is told to
            self._audit(request, "asked")
        return verb.act(_converted(verb, request))

    def _answer(self, peer: bytes, request: Request, result: Callable[[], Result]) -> None:
        try:
            self._send(peer, Reply(id=request.id, result=result()))
        except Exception as error:
            self._fail(peer, request, error)
        else:
            self._tell(request, DONE)

    def _fail(self, peer: bytes, request: Request, error: Exception) -> None:
        """A mistake of ours answers one request with its sentence, and must not end the service."""
        if not isinstance(error, ScheeliteError):
            logger.error("A verb failed in a way nobody foresaw.", exc_info=error)
            error = ScheeliteError(f"internal error, {type(error).__name__}: {error}")
        self._send(peer, Reply(id=request.id, error=_item(error)))
        self._tell(request, f"refused: {error}")

    def _tell(self, request: Request, outcome: str) -> None:
        verb = self._verbs.get(request.verb)
        told_first = verb is not None and verb.kind == "safe" and outcome == DONE
        if verb is not None and verb.kind != "ask" and not told_first:
            self._audit(request, outcome)

    def _send(self, peer: bytes, reply: Reply) -> None:
        sockets.offer(self.socket, peer, codec.encode(reply))


class Beat:
    """Publishes the state of one service, every `every_s` and whenever its state changes.

    For one thread. Call `serve` when `socket` can be read.
    """

    def __init__(
        self,
        endpoint: str,
        service: str,
        *,
        every_s: float = 0.5,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publisher = sockets.StatePublisher(endpoint)
        self.socket = self._publisher.socket
        self.boot = secrets.token_hex(8)
        self._service, self._every_s = service, every_s
        self._now_ns, self._clock = now_ns, clock
        self._state, self._next = "", 0.0

    def due(self, state: str) -> bool:
        """Whether it is time to publish, which a change of `state` makes it."""
        return state != self._state or self._clock() >= self._next

    def publish(self, state: str, *, progress: int, body: Result) -> None:
        """Tell everybody who listens, and keep it for who comes later."""
        self._state, self._next = state, self._clock() + self._every_s
        message = State(
            service=self._service,
            pid=os.getpid(),
            boot=self.boot,
            state=state,
            t_ns=self._now_ns(),
            progress=progress,
            body=body,
        )
        self._publisher.publish(message)

    def serve(self) -> None:
        """Answer new subscribers with the latest state."""
        self._publisher.serve()

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)


class Waker:
    """Wakes one thread's poll from any other; put it among the sockets of `sockets.poller`."""

    def __init__(self) -> None:
        self._out, self._in = socket.socketpair()
        self._out.setblocking(False)
        self._in.setblocking(False)
        self._woken = False  # set behind each byte: whoever sees it unset finds the byte later

    def fileno(self) -> int:
        """What a poller waits on."""
        return self._in.fileno()

    def wake(self) -> None:
        """Make the poll return, now or when it begins."""
        with suppress(OSError):  # full: it will wake anyway; closed: nobody is left to wake
            self._out.send(b"\0")
        self._woken = True

    def clear(self) -> None:
        """Forget all wake-ups so far; do it before looking at what they were for."""
        if not self._woken:
            return
        self._woken = False
        try:
            while self._in.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give both ends back."""
        self._out.close()
        self._in.close()


def end_at_once(number: int) -> None:
    """End by the signal, as if nobody had listened to it."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def apart(do: Callable[[], None]) -> None:
    """Do it in a thread, for a signal's handler: the thread that it interrupts may hold the lock
    of the event that is to be set, in `wait`, and a lock is not taken twice."""
    threading.Thread(target=do, daemon=True).start()


def stop_on_signals(
    stop: threading.Event, waker: Waker, again: Callable[[int], None] = end_at_once
) -> None:
    """Let SIGTERM and SIGINT set `stop` and wake the loop; call it in the main thread.

    `again` is what a second one does.
    """

    def stop_and_wake() -> None:
        stop.set()
        waker.wake()

    def asked(number: int, _frame: object) -> None:
        if stop.is_set():
            again(number)
        apart(stop_and_wake)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)


def _converted(verb: Verb[A], request: Request) -> A:
    try:
        return msgspec.convert(request.arguments, verb.arguments, strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{request.verb}: {error}") from error


def _item(error: ScheeliteError) -> ErrorItem:
    return ErrorItem(type(error).__name__, str(error)[:4096], error.retryable)
