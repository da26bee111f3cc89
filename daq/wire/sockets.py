"""The sockets, each named for its promise; ZeroMQ lives here alone."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import zmq

from daq.errors import ScheeliteError, ServiceTimeoutError, UsageError, WireError, by_name
from daq.model.operator import NOBODY, Operator
from daq.wire import codec, keys
from daq.wire.keys import Endpoint
from daq.wire.schemas import Message, RawReply, RawRequest, Reply, Request, State

MAX_HEADER = 1 << 20  # bytes of one frame on the sockets that carry no samples
RAW_LOOK_MS = 100
HEARTBEAT_MS, HEARTBEAT_TIMEOUT_MS = 1000, 3000
# no heartbeats here: a subscriber that looks elsewhere for a while stops reading once it is full,
# the heartbeat then breaks its connection, and libzmq aborts the process (its issue 3937)
LOSSY = (zmq.PUB, zmq.SUB, zmq.XPUB)

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]
POLLIN, EVENTS = int(zmq.POLLIN), int(zmq.EVENTS)  # as enums they cost thrice what is asked


def context() -> Context:
    """The context of this process; sockets made from it do not linger."""
    return zmq.Context.instance()


class HasFileno(Protocol):
    """Something of the operating system's that can be read, such as a waker's socket."""

    def fileno(self) -> int: ...


def poller(*sockets: Socket | HasFileno) -> zmq.Poller:
    """A poller that wakes when one of `sockets` can be read."""
    poll = zmq.Poller()
    for socket in sockets:
        poll.register(socket, zmq.POLLIN)
    return poll


def readable(socket: Socket) -> bool:
    """Whether a message is there now; at a fraction of what a poll costs."""
    return bool(int(socket.getsockopt(EVENTS)) & POLLIN)


def is_local(endpoint: str) -> bool:
    """Whether only processes of this machine can come there."""
    return endpoint.startswith("ipc://")


def serve_blocks(endpoint: str) -> Socket:
    """The core's end of `blocks`: ROUTER, nothing is dropped, credit bounds what is on the way."""
    socket = _socket(zmq.ROUTER, hwm=0)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 0)
    return _bind(socket, endpoint)


def join_blocks(endpoint: str) -> Socket:
    """A digitizer's end of `blocks`: DEALER; use `offer`.

    It has no identity: the core gives every connection an address of its own, and so sees that
    a digitizer came back, which has forgotten what was asked of it before.
    """
    socket = _socket(zmq.DEALER, hwm=0)
    # nothing is queued for a core that is away: it would get stale blocks when it comes back
    socket.setsockopt(zmq.IMMEDIATE, 1)
    _connect(socket, endpoint)
    return socket


def join_requests(endpoint: str) -> Socket:
    """A client's end of `commands` for who must not wait: DEALER; use `offer`."""
    socket = _socket(zmq.DEALER, max_bytes=MAX_HEADER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    _connect(socket, endpoint)
    return socket


def offer(socket: Socket, *frames: bytes | memoryview) -> bool:
    """Send without waiting; False where the peer is away or cannot take more, and nothing went."""
    try:
        socket.send_multipart(frames, flags=zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def serve_requests(endpoint: str) -> Socket:
    """A service's end of `commands` or `raw`: ROUTER; frames are [peer, header, ...]."""
    return _bind(_socket(zmq.ROUTER, max_bytes=MAX_HEADER), endpoint)


class Publisher:
    """The publishing end of `traces` or `pulses`: lossy, for eyes.

    Call `serve` when `socket` can be read.
    """

    def __init__(self, endpoint: str, hwm: int = 50) -> None:
        self.socket = _bind(_socket(zmq.XPUB, hwm=hwm, max_bytes=MAX_HEADER), endpoint)
        self._topics: set[bytes] = set()  # that somebody subscribes to

    def serve(self) -> None:
        """Hear who looks from now on, and who no longer does."""
        while readable(self.socket):
            said = self.socket.recv()  # 1 or 0 for the first of a topic or the last, and the topic
            (self._topics.add if said[:1] == b"\x01" else self._topics.discard)(said[1:])

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks at anything."""
        return bool(self._topics)

    def watched(self, topic: bytes) -> bool:
        """Whether anybody looks: what nobody sees need not be made."""
        return any(topic.startswith(prefix) for prefix in self._topics)

    def show(self, frames: list[bytes]) -> None:
        """Publish to whoever looks; a viewer that is too slow misses it."""
        self.socket.send_multipart(frames)

    def close(self) -> None:
        """Give the socket back."""
        self.socket.close(0)


def subscribe(*endpoints: str, topics: tuple[bytes, ...] = (b"",), hwm: int = 50) -> Socket:
    """A subscriber to any number of publishers; frames are [topic, header, ...]."""
    socket = _socket(zmq.SUB, hwm=hwm)
    for topic in topics:
        socket.setsockopt(zmq.SUBSCRIBE, topic)
    for endpoint in endpoints:
        _connect(socket, endpoint)
    return socket


class LatestPublisher:
    """The latest message of each topic, sent at once also to a subscriber who comes late.

    Frames are [topic, header]. Call `serve` when `socket` can be read.
    """

    def __init__(self, endpoint: str) -> None:
        self.socket = _socket(zmq.XPUB, max_bytes=MAX_HEADER)
        # without it only the first subscriber of a topic would be told the last value
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        _bind(self.socket, endpoint)
        self._seq = itertools.count(1)
        self._last: dict[str, list[bytes]] = {}

    def show(self, topic: str, message: Message) -> None:
        """Send a message to whoever listens, and keep it for who comes later."""
        numbered = msgspec.structs.replace(message, seq=next(self._seq))
        self._last[topic] = [topic.encode(), codec.encode(numbered)]
        self.socket.send_multipart(self._last[topic])

    def serve(self) -> None:
        """Answer new subscriptions with the last values."""
        while readable(self.socket):
            if self.socket.recv()[:1] == b"\x01":
                for frames in self._last.values():
                    self.socket.send_multipart(frames)


class StatePublisher(LatestPublisher):
    """The latest state of one service, by its name."""

    def publish(self, state: State) -> None:
        """Send a new state to whoever listens, and keep it for who comes later."""
        self.show(state.service, state)


class Caller:
    """One client of a service's `commands`: ask, wait for the one reply, or say who was silent.

    Not for two threads at once: the lock guards the socket, which belongs to one caller at a time.
    """

    def __init__(self, endpoint: str, service: str, operator: Operator = NOBODY) -> None:
        self._socket = _socket(zmq.DEALER, max_bytes=MAX_HEADER)
        _connect(self._socket, endpoint)
        self._service, self._operator = service, operator
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def call(self, verb: str, timeout_s: float = 5.0, **arguments: Any) -> dict[str, Any]:
        """The result of `verb`; raises the service's error by name, or ServiceTimeoutError."""
        with self._lock:
            who, ticket = self._operator.who, self._operator.ticket
            request = Request(
                id=next(self._ids), verb=verb, who=who, ticket=ticket, arguments=arguments
            )
            self._socket.send(codec.encode(request))
            return self._result(request, timeout_s)

    def close(self) -> None:
        """Give the socket back; a request still on its way is forgotten."""
        self._socket.close(0)

    def _result(self, request: Request, timeout_s: float) -> dict[str, Any]:
        while self._socket.poll(round(timeout_s * 1000)):
            reply = codec.decode(self._socket.recv(), Reply)
            if reply.id != request.id:
                continue  # the late answer to a question that was given up
            if reply.error is not None:
                raise by_name(reply.error.name)(reply.error.message)
            return reply.result
        raise ServiceTimeoutError(
            f"{self._service} did not answer {request.verb!r} within {timeout_s:g} s"
        )


@contextmanager
def calling(endpoint: str, service: str, operator: Operator = NOBODY) -> Iterator[Caller]:
    """A Caller for the length of a with block, which acts for `operator`."""
    caller = Caller(endpoint, service, operator)
    try:
        yield caller
    finally:
        caller.close()


def receive(socket: Socket, n_frames: int | None = None) -> list[bytes]:
    """The next message's frames; WireError where their number is not `n_frames`."""
    frames = socket.recv_multipart()
    if n_frames is not None and len(frames) != n_frames:
        raise WireError(f"expected {n_frames} frames, found {len(frames)}")
    return frames


def receive_block(socket: Socket) -> tuple[bytes, bytes, memoryview]:
    """The next message on `blocks`: peer, header and samples (empty without any), uncopied."""
    frames = socket.recv_multipart(copy=False)
    if len(frames) not in (2, 3):
        raise WireError(f"expected 2 or 3 frames, found {len(frames)}")
    samples = frames[2].buffer if len(frames) == 3 else memoryview(b"")
    return frames[0].bytes, frames[1].bytes, samples


def raw_samples(
    endpoint: str, channel: str, n_samples: int, timeout_s: float, not_before_ns: int = 0
) -> tuple[RawReply, bytes]:
    """The next samples of a channel from a core's `raw`, with what is known of them.

    None was converted before the UTC `not_before_ns`: a stream may be late by what is buffered.
    """
    asked = RawRequest(id=1, channel=channel, n_samples=n_samples, not_before_ns=not_before_ns)
    (reply,) = raw_together(endpoint, [asked], timeout_s)
    if isinstance(reply, ScheeliteError):
        raise reply
    return reply


def raw_together(
    endpoint: str,
    requests: Sequence[RawRequest],
    timeout_s: float,
    heed: Callable[[], None] = lambda: None,
) -> list[tuple[RawReply, bytes] | ScheeliteError]:
    """The samples of several requests, whose ids differ, in their order; the error of each without.

    `heed` is called now and then, and may raise.
    """
    socket, deadline = _socket(zmq.DEALER), time.monotonic() + timeout_s
    _connect(socket, endpoint)
    found: dict[int, tuple[RawReply, bytes] | ScheeliteError] = {}
    try:
        for request in requests:
            socket.send(codec.encode(request))
        while len(found) < len(requests):
            heed()
            if time.monotonic() > deadline:
                raise _undelivered([r for r in requests if r.id not in found], timeout_s)
            if socket.poll(RAW_LOOK_MS):
                header, *rest = receive(socket)
                reply = codec.decode(header, RawReply)
                found[reply.id] = _error_of(reply) or (reply, b"".join(rest))
    finally:
        socket.close(0)
    return [found[request.id] for request in requests]


def _error_of(reply: RawReply) -> ScheeliteError | None:
    return None if reply.error is None else by_name(reply.error.name)(reply.error.message)


def _undelivered(requests: Sequence[RawRequest], timeout_s: float) -> ServiceTimeoutError:
    first = requests[0]
    return ServiceTimeoutError(
        f"core did not deliver {first.n_samples} samples of {first.channel} within {timeout_s:g} s"
    )


def _socket(kind: int, hwm: int = 1000, max_bytes: int = -1) -> Socket:
    socket = context().socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, hwm)
    socket.setsockopt(zmq.RCVHWM, hwm)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, HEARTBEAT_TIMEOUT_MS // 1000)
    if kind not in LOSSY:
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    return socket


def _bind(socket: Socket, endpoint: str) -> Socket:
    at = Endpoint.parse(endpoint)
    try:
        if at.keys is not None:
            keys.guard_server(socket, at.keys)
        if at.address.startswith("ipc://"):
            Path(at.address.removeprefix("ipc://")).parent.mkdir(0o700, parents=True, exist_ok=True)
        socket.bind(at.address)
    except zmq.ZMQError as error:
        socket.close(0)
        raise UsageError(f"cannot listen on {at.address}: {error.strerror}") from error
    except ScheeliteError:
        socket.close(0)
        raise
    return socket


def _connect(socket: Socket, endpoint: str) -> None:
    at = Endpoint.parse(endpoint)
    try:
        if at.keys is not None:
            keys.guard_client(socket, at.keys)
        socket.connect(at.address)
    except ScheeliteError:
        socket.close(0)
        raise
