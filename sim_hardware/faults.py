"""Faults on the wires of simulated instruments, ordered and cleared while these are running.

What spoils a reply (late, silent, half, garbled) acts on replies: the message was obeyed. What
breaks the wire (fin, rst, stuck) acts on the next thing that is heard, which is then not obeyed,
or on what a stream has to say.
"""

from __future__ import annotations

import enum
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sim_hardware.face import BrokenWireError, Chunk, Conversation, Face, TextConversation

LONGEST_S = 3600.0
NO_FAULT = "none"


class FaultKind(enum.Enum):
    """What is wrong with a wire."""

    LATE = "late"  # the reply comes some seconds after its time, and those after it after it
    SILENT = "silent"  # the reply is lost
    HALF = "half"  # only the first half of the reply comes
    GARBLED = "garbled"  # every third byte of the reply is noise; line ends are spared
    FIN = "fin"  # the connection is closed in good order
    RST = "rst"  # the connection is reset
    STUCK = "stuck"  # the connection stays, takes bytes and is dead, until cleared or left


SPOILED = frozenset({FaultKind.LATE, FaultKind.SILENT, FaultKind.HALF, FaultKind.GARBLED})
BROKEN = frozenset(FaultKind) - SPOILED


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault; `seconds` is how late."""

    kind: FaultKind
    seconds: float = 0.0


class Wire:
    """The fault that stands on the wire of one instrument, for all of its clients."""

    def __init__(self) -> None:
        # guards what follows: the control orders, and the instrument's loop takes
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._left: int | None = None
        self._n_orders = 0

    @property
    def n_orders(self) -> int:
        """How often something was ordered or cleared; what is stuck wakes when this changes."""
        return self._n_orders

    def order(self, fault: Fault | None, count: int | None = None) -> None:
        """Let a fault stand for `count` occasions or until the next order; None clears."""
        with self._lock:
            self._fault, self._left = fault, count
            self._n_orders += 1

    def take(self, kinds: frozenset[FaultKind]) -> Fault | None:
        """The fault for this occasion, if it is one of these; uses up one of its count."""
        with self._lock:
            fault = self._fault
            if fault is None or fault.kind not in kinds:
                return None
            if self._left is not None:
                self._left -= 1
                self._fault = fault if self._left else None
            return fault


class FaultyFace:
    """A face behind a wire that can fail; without a fault the bytes are the face's own."""

    def __init__(self, face: Face, wire: Wire) -> None:
        self.model, self.max_clients = face.model, face.max_clients
        self.refusal, self.complaints = face.refusal, face.complaints
        self._face, self._wire = face, wire

    def connect(self, now_s: float) -> FaultyConversation:
        """Begin to talk with a new client."""
        return FaultyConversation(self._face.connect(now_s), self._wire)


class FaultyConversation:
    """A conversation over a wire that can fail."""

    def __init__(self, inner: Conversation, wire: Wire) -> None:
        self._inner, self._wire = inner, wire
        self._held: deque[tuple[float, Chunk]] = deque()  # replies, and when each is due
        self._stuck_since: int | None = None
        self._closed = self._reset = False
        self._break_by = {
            FaultKind.FIN: self._close,
            FaultKind.RST: self._abort,
            FaultKind.STUCK: self._stick,
        }

    @property
    def over(self) -> bool:
        """True once nothing more will be said."""
        return self._closed or (self._inner.over and not self._held)

    def receive(self, received: bytes, now_s: float) -> None:
        """Pass on what is heard, unless the wire is broken or breaks now."""
        if received and not self._dead():
            self._break(self._wire.take(BROKEN))
        if not received or not self._dead():
            self._inner.receive(received, now_s)

    def send(self, now_s: float) -> Sequence[Chunk]:
        """What is due; BrokenWireError where the client gets a reset instead."""
        if not self._held and not self._dead():
            self._say(self._inner.send(now_s), now_s)
        if self._reset:
            raise BrokenWireError("a reset was ordered")
        due = []
        while self._held and self._held[0][0] <= now_s and not self._dead():
            due.append(self._held.popleft()[1])
        return due

    def wait_s(self, now_s: float) -> float | None:
        """Until the next reply is due, or the instrument has more to say by itself."""
        if self._dead():
            return None
        return max(0.0, self._held[0][0] - now_s) if self._held else self._inner.wait_s(now_s)

    def _dead(self) -> bool:
        """Whether nothing gets through."""
        stuck = self._stuck_since == self._wire.n_orders
        return self._closed or self._reset or stuck

    def _say(self, chunks: Sequence[Chunk], now_s: float) -> None:
        """Put a reply on the wire, with the fault that stands: the same one on all its pieces."""
        if not chunks:
            return
        self._break(self._wire.take(BROKEN))
        if self._dead():
            return
        fault = self._wire.take(SPOILED)
        due_s = now_s + (fault.seconds if fault else 0.0)
        for chunk in chunks:
            said = SPOIL[fault.kind](bytes(chunk)) if fault else chunk
            if len(said):
                self._held.append((due_s, said))

    def _break(self, fault: Fault | None) -> None:
        if fault is not None:
            self._break_by[fault.kind]()

    def _close(self) -> None:
        self._closed = True

    def _abort(self) -> None:
        self._reset = True

    def _stick(self) -> None:
        self._stuck_since = self._wire.n_orders
        self._held.clear()


def _noise(reply: bytes) -> bytes:
    """No byte of ASCII becomes another one: a check for ASCII finds it always."""
    spoiled = (i % 3 == 0 and byte not in b"\r\n" for i, byte in enumerate(reply))
    return bytes(b ^ 0x95 if bad else b for b, bad in zip(reply, spoiled, strict=True))


SPOIL: dict[FaultKind, Callable[[bytes], bytes]] = {
    FaultKind.LATE: lambda reply: reply,
    FaultKind.SILENT: lambda _: b"",
    FaultKind.HALF: lambda reply: reply[: len(reply) // 2],
    FaultKind.GARBLED: _noise,
}


class _Request(BaseModel):
    """One line to the control socket."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    instrument: str
    fault: Literal["none", "late", "silent", "half", "garbled", "fin", "rst", "stuck"]
    seconds: Annotated[float, Field(gt=0, le=LONGEST_S)] | None = None
    count: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _seconds_for_late_alone(self) -> _Request:
        if (self.fault == FaultKind.LATE.value) != (self.seconds is not None):
            raise ValueError(f"expected seconds for late alone, found {self.seconds}")
        if self.fault == NO_FAULT and self.count is not None:
            raise ValueError(f"expected no count for {NO_FAULT}, found {self.count}")
        return self

    def ordered(self) -> Fault | None:
        """The fault, or None to clear."""
        return None if self.fault == NO_FAULT else Fault(FaultKind(self.fault), self.seconds or 0.0)


class ControlFace:
    """Orders faults: a line of JSON with `instrument`, `fault`, `seconds` and `count` each.

    The answer is `{"ok": true}` or `{"error": sentence}`; fault "none" clears.
    """

    model = "scheelite-control"
    max_clients = 8
    refusal = b'{"error": "busy"}\n'
    message_end = b"\n"

    def __init__(self, wires: Mapping[str, Wire]) -> None:
        self.complaints: list[str] = []
        self._wires = wires

    def connect(self, now_s: float) -> TextConversation:
        """Take orders from a new client."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """Obey an order; what is wrong with it is one sentence."""
        del now_s
        try:
            self._obey(_Request.model_validate_json(message))
        except ValidationError as error:
            return _said(error="; ".join(map(_mistake, error.errors())))
        except LookupError as error:
            return _said(error=str(error.args[0]))
        return _said(ok=True)

    def _obey(self, request: _Request) -> None:
        if request.instrument not in self._wires:
            known = ", ".join(self._wires)
            raise LookupError(f"expected one of {known}, found {request.instrument}")
        self._wires[request.instrument].order(request.ordered(), request.count)


def _said(**answer: object) -> str:
    return json.dumps(answer) + "\n"


def _mistake(error: Mapping[str, object]) -> str:
    place = error["loc"]
    assert isinstance(place, tuple)
    return f"{'.'.join(map(str, place)) or 'request'}: {error['msg']}"
