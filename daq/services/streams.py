"""The core's side of `blocks`: one digitizer's stream, without sockets.

Credit bounds what is on the way; a block is acknowledged only when all it led to is durable. From a
process of this machine samples come through memory that both share, if that can be had.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from daq.errors import NotSharedError, WireError
from daq.model.block import Block, Gap
from daq.model.clock import Anchor
from daq.wire import shared
from daq.wire.schemas import (
    BlockHeader,
    Message,
    SharedItem,
    StreamAck,
    StreamEnd,
    StreamHello,
    StreamWant,
)

WINDOW = shared.SIZE  # bytes that may be on the way


@dataclass(slots=True)
class Stream:
    """What the core knows of one digitizer. `peer` is its address on the ROUTER socket."""

    name: str
    local: bool = False  # it is a process of this machine
    peer: bytes = b""
    hello: StreamHello | None = None
    wanted: bool = False  # blocks were asked for, and none other may come
    # which question is in force; the core before this one, whose blocks may come late, had others
    asked: int = field(default_factory=lambda: secrets.randbits(48))
    begun: bool = False  # what was asked for last has begun to come
    n_begun: int = 0  # times that it has come, as from a digitizer's process that was started again
    next: int = 0  # the sample that comes next
    durable: int = 0
    taken: int = 0  # bytes taken since the StreamWant
    memory: shared.Incoming | None = None  # that its latest block lay in
    shares: bool = False  # there can be such
    in_memory: int = 0  # bytes taken that lay in it
    told: tuple[int, int, int] = (0, 0, 0)  # the last acknowledgment sent
    heard_s: float = 0.0  # when the last block came
    ended: int | None = None
    refused: int = 0  # messages that could not be understood
    anchors: list[Anchor] = field(default_factory=list)

    @property
    def streaming(self) -> bool:
        """Whether blocks are under way."""
        return self.wanted

    def greet(self, peer: bytes, hello: StreamHello) -> bool:
        """Take a hello; true where the stream is new to us and must be asked for."""
        known = self.hello is not None and self.hello.epoch == hello.epoch
        fresh = not known or not self.wanted or peer != self.peer
        self.peer, self.hello = peer, hello
        if not known:
            self.ended = None
        self.anchors = [Anchor(a.sample, a.t_ns) for a in hello.anchors]
        if fresh:
            self.wanted, self.shares = False, self.local
        return fresh

    def want(self, start: int, now_s: float) -> StreamWant:
        """Ask for everything from `start` on; a hello must have come."""
        assert self.hello is not None
        self.wanted, self.next, self.taken, self.heard_s = True, start, 0, now_s
        self.durable, self.told, self.ended, self.begun = 0, (0, WINDOW, 0), None, False
        self.asked += 1
        return StreamWant(
            epoch=self.hello.epoch,
            start=start,
            asked=self.asked,
            credit=WINDOW,
            shared=self.shares,
        )

    def take(
        self, peer: bytes, header: BlockHeader, frame: memoryview, now_s: float
    ) -> tuple[list[Gap], Block]:
        """The gaps before a block and the block, without what was taken before.

        Its samples stay as they are until it is no longer `held` in an acknowledgment. WireError
        where it is not what was agreed, or comes late over a connection that was lost; as
        NotSharedError where it must be asked for anew, to come by the socket.
        """
        hello = self._agreed(peer, header, "block")
        if header.asked != self.asked:  # sent before the digitizer heard of what was asked last
            return [], Block(self.next, np.empty((len(hello.channels), 0), "<i2"))
        shape = (header.n_channels, header.n_samples)
        if header.shared is not None:
            frame = self._shared(header.shared, 2 * shape[0] * shape[1])
        if header.n_channels != len(hello.channels) or frame.nbytes != 2 * shape[0] * shape[1]:
            raise WireError(
                f"expected {len(hello.channels)} channels of int16 from {self.name}, "
                f"found {shape[0]} x {shape[1]} samples in {frame.nbytes} bytes"
            )
        if not self.begun:
            self.begun, self.n_begun = True, self.n_begun + 1
        known = min(max(self.next - header.start, 0), header.n_samples)
        samples = np.frombuffer(frame, "<i2").reshape(shape)[:, known:]
        samples.flags.writeable = False
        self.taken += frame.nbytes
        self.next, self.heard_s = max(self.next, header.start + header.n_samples), now_s
        gaps = [Gap(g.start, g.stop, g.exact, g.cause) for g in header.gaps]
        anchors = tuple(Anchor(a.sample, a.t_ns) for a in header.anchors)
        return gaps, Block(header.start + known, samples, anchors)

    def end(self, peer: bytes, end: StreamEnd) -> None:
        """Nothing comes after `end.stop`; WireError where that is said of another stream."""
        self._agreed(peer, end, "end")
        self.ended = end.stop

    def acknowledgment(self, held: int) -> Message | None:
        """What to tell the digitizer now, if it is new enough to be worth a message; of what was
        taken, `held` bytes are still to be read."""
        told_durable, told_credit, told_free = self.told
        credit, free = self.taken + WINDOW, max(self.in_memory - held, told_free)
        if self.hello is None or not self.wanted:
            return None
        news = max(credit - told_credit, free - told_free)
        last = free > told_free and not held  # nothing may come for which to tell more
        if self.durable <= told_durable and news < WINDOW // 4 and not last:
            return None
        self.told = (max(self.durable, told_durable), credit, free)
        token = self.memory.token if self.memory is not None else ""
        return StreamAck(
            epoch=self.hello.epoch, durable=self.told[0], credit=credit, token=token, free=free
        )

    def _shared(self, place: SharedItem, n_bytes: int) -> memoryview:
        """Samples that the digitizer put into memory."""
        if not self.shares:
            raise WireError(f"expected samples of {self.name} by the socket, found them in memory")
        if self.memory is None or self.memory.token != place.token:
            try:
                self.memory, self.in_memory = shared.Incoming(place), 0
            except NotSharedError:
                self.shares = False
                raise
            self.told = (*self.told[:2], 0)
        self.in_memory += n_bytes
        return self.memory.read(place.at, n_bytes)

    def _agreed(self, peer: bytes, message: BlockHeader | StreamEnd, what: str) -> StreamHello:
        """The hello of the stream that was asked for; WireError for a message about another."""
        hello = self.hello
        if hello is None or not self.wanted or message.epoch != hello.epoch or peer != self.peer:
            raise WireError(
                f"expected no {what} of {self.name} in epoch {message.epoch}, found one"
            )
        return hello
