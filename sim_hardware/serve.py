"""Sockets for faces: a loop that serves some of them from one thread."""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from sim_hardware.face import BrokenWireError, Conversation, Face
from sim_hardware.settings import BenchError

HOST = "127.0.0.1"
SEND_BUFFER = 1 << 20  # bytes that the system may hold for a client that does not read
RECEIVE = 1 << 16  # bytes at a time
MOST_CHUNKS = 64  # per system call
LONGEST_WAIT_S = 60.0
ABRUPTLY = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, not a farewell

Clock = Callable[[], float]

log = logging.getLogger(__name__)


class PortError(BenchError):
    """A port that cannot be listened on."""


def listen(name: str, port: int) -> socket.socket:
    """A listening socket for the instrument `name`; port 0 is chosen by the system."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise PortError(f"{name}: cannot listen on {HOST}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


@dataclass(frozen=True, slots=True)
class _Door:
    """Where the clients of a face come in."""

    listener: socket.socket
    face: Face


class Loop:
    """Serves faces on their listeners, all from the one thread that runs it, until stopped.

    Digitizers get a loop each: making samples must not delay an instrument's reply, and kernels
    and sends run beside one another without the interpreter's lock.
    """

    def __init__(self, served: Iterable[tuple[socket.socket, Face]], now_s: Clock) -> None:
        self._now_s = now_s
        self._doors = [_Door(listener, face) for listener, face in served]
        self._clients: list[_Client] = []
        self._wake, self._woken = socket.socketpair()
        self._stopped = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        for door in self._doors:
            self._selector.register(door.listener, selectors.EVENT_READ, door)

    def run(self) -> None:
        """Serve until `stop` is called, then drop every client and listener."""
        try:
            while not self._stopped.is_set():
                self.turn()
        finally:
            self._close()

    def turn(self) -> None:
        """Wait for something to do and do it."""
        ready = self._selector.select(self._wait_s())
        self._exchange()
        for door in [key.data for key, _ in ready if isinstance(key.data, _Door)]:
            self._open(door)

    def stop(self) -> None:
        """End `run`; from any thread, also where it has ended already."""
        self._stopped.set()
        with suppress(OSError):
            self._wake.send(b"\0")

    def _wait_s(self) -> float:
        now_s = self._now_s()
        return min([LONGEST_WAIT_S, *(client.wait_s(now_s) for client in self._clients)])

    def _exchange(self) -> None:
        """Talk with every client; whose conversation is over is dropped."""
        now_s = self._now_s()
        for client in list(self._clients):
            if client.exchange(now_s):
                self._selector.modify(client.socket, client.events)
            else:
                self._selector.unregister(client.socket)
                client.socket.close()
                self._clients.remove(client)

    def _open(self, door: _Door) -> None:
        """Let a client in, or turn it away where there are too many."""
        try:
            accepted, _ = door.listener.accept()
        except OSError:
            return  # who knocked has left already
        if self._full(door.face):
            self._exchange()  # one who said something and left makes room at once
        if self._full(door.face):
            _refuse(accepted, door.face.refusal)
            return
        client = _Client(accepted, door.face, door.face.connect(self._now_s()))
        self._selector.register(client.socket, client.events)
        self._clients.append(client)

    def _full(self, face: Face) -> bool:
        return sum(client.face is face for client in self._clients) >= face.max_clients

    def _close(self) -> None:
        self._selector.close()
        for client in self._clients:
            _drop(client.socket)
        for door in self._doors:
            door.listener.close()
        self._wake.close()
        self._woken.close()


class _Client:
    """A client's socket, and the conversation over it."""

    def __init__(self, accepted: socket.socket, face: Face, conversation: Conversation) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.socket, self.face = accepted, face
        self._conversation = conversation
        self._pending: list[memoryview] = []

    @property
    def events(self) -> int:
        """What to wait for: who does not read what was sent is not listened to."""
        return selectors.EVENT_WRITE if self._pending else selectors.EVENT_READ

    def wait_s(self, now_s: float) -> float:
        """Seconds until there may be something to send although nothing happens."""
        wait_s = None if self._pending else self._conversation.wait_s(now_s)
        return LONGEST_WAIT_S if wait_s is None else wait_s

    def exchange(self, now_s: float) -> bool:
        """Hear and say what can be without waiting; False when the conversation is over."""
        try:
            return (bool(self._pending) or self._hear(now_s)) and self._say(now_s)
        except BrokenWireError:
            _abruptly(self.socket)
            return False
        except OSError:
            return False

    def _hear(self, now_s: float) -> bool:
        try:
            received = self.socket.recv(RECEIVE)
        except BlockingIOError:
            return True
        n_complaints = len(self.face.complaints)
        self._conversation.receive(received, now_s)
        for complaint in self.face.complaints[n_complaints:]:
            log.warning("%s: %s", self.face.model, complaint)
        return bool(received)

    def _say(self, now_s: float) -> bool:
        if not self._pending:
            self._pending = [memoryview(chunk) for chunk in self._conversation.send(now_s)]
        if self._pending:
            self._send()
        return bool(self._pending) or not self._conversation.over

    def _send(self) -> None:
        try:
            n_bytes = self.socket.sendmsg(self._pending[:MOST_CHUNKS])
        except BlockingIOError:
            return
        while n_bytes:
            sent = min(n_bytes, len(self._pending[0]))
            self._pending[:1] = [self._pending[0][sent:]] if sent < len(self._pending[0]) else []
            n_bytes -= sent


def _refuse(accepted: socket.socket, refusal: bytes) -> None:
    """Tell a client too many, or drop it where the device has no words for that."""
    if not refusal:
        _drop(accepted)
        return
    with accepted, suppress(OSError):
        accepted.sendall(refusal)
        accepted.shutdown(socket.SHUT_WR)


def _drop(accepted: socket.socket) -> None:
    """Reset the connection, as a device does that is switched off: some clients mistake an
    orderly end for silence."""
    _abruptly(accepted)
    accepted.close()


def _abruptly(connected: socket.socket) -> None:
    """Let its closing be a reset."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPTLY)
