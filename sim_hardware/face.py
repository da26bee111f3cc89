"""What a simulated instrument is to the sockets: a face, and its conversations with clients.

A face knows no sockets, and time is an argument: `now_s` is the bench's time, seconds since it
started. What a face does not understand it treats as the device would and notes in `complaints`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Chunk = bytes | memoryview

LONGEST_MESSAGE = 4096  # bytes; a client that sends more without an end is talking nonsense


class BrokenWireError(Exception):
    """Raised by a conversation whose client is to get a reset."""


class Conversation(Protocol):
    """One client's talk with a face."""

    @property
    def over(self) -> bool:
        """True once nothing more will be said: close when what was sent is out."""

    def receive(self, received: bytes, now_s: float) -> None:
        """Take bytes from the client; none where it has left in good order."""

    def send(self, now_s: float) -> Sequence[Chunk]:
        """What the client gets next; asked only when everything before is out.

        Raises BrokenWireError where the connection breaks instead.
        """

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `send` may have more although nothing is received; None: never."""


class Face(Protocol):
    """One simulated instrument, as its clients see it."""

    model: str
    max_clients: int
    refusal: bytes  # what a client too many is told before it is closed
    complaints: list[str]

    def connect(self, now_s: float) -> Conversation:
        """Begin to talk with a new client."""


class TextFace(Protocol):
    """An instrument that is told a message at a time and answers each before the next."""

    message_end: bytes
    complaints: list[str]

    def answer(self, message: str, now_s: float) -> str:
        """The whole reply with its terminator; empty where the instrument stays silent."""


class TextConversation:
    """Cuts what a client sends into messages, and collects the replies."""

    over = False

    def __init__(self, face: TextFace) -> None:
        self._face = face
        self._received = b""
        self._replies: list[bytes] = []

    def receive(self, received: bytes, now_s: float) -> None:
        """Answer every message that is now complete."""
        *messages, self._received = (self._received + received).split(self._face.message_end)
        for message in messages:
            reply = self._face.answer(message.decode("ascii", "replace"), now_s)
            self._replies += [reply.encode("ascii")] if reply else []
        if len(self._received) > LONGEST_MESSAGE:
            self._face.complaints.append(f"{len(self._received)} bytes without a message end")
            self._received = b""

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The replies since the last call."""
        del now_s
        replies, self._replies = self._replies, []
        return replies

    def wait_s(self, now_s: float) -> float | None:
        """Never: an instrument speaks when it is asked."""
        del now_s
        return None
