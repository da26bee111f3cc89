"""A digitizer service of the test's own: real `blocks` socket, samples from an array."""

from __future__ import annotations

import threading

import msgspec
import numpy as np

from daq.wire import codec, shared, sockets
from daq.wire.schemas import (
    AnchorItem,
    BlockHeader,
    GapItem,
    StreamAck,
    StreamEnd,
    StreamHello,
    StreamWant,
)

T0_NS = 10**18


class DigitizerDouble(threading.Thread):
    """Sends `samples` [channel, sample] when asked, a block of `n` at a time.

    `hold_at`: stops there and says nothing more until `go_on` is set; `gap`: these are lost.
    """

    def __init__(
        self,
        endpoint: str,
        samples: np.ndarray,
        *,
        name: str = "d",
        rate_hz: float = 10e3,
        n: int = 500,
        epoch: str = "e",
        can_wait: bool = True,
        hold_at: int | None = None,
        gap: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self.samples, self.digitizer, self.rate_hz, self.n = samples, name, rate_hz, n
        self.epoch, self.can_wait, self.hold_at, self.gap = epoch, can_wait, hold_at, gap
        self.go_on, self.done = threading.Event(), threading.Event()
        self.durable = 0
        self.wants: list[int] = []
        self._asked = 0  # which StreamWant is in force
        self._sent = 0  # bytes since it was last asked, which the credit bounds
        self._memory: shared.Outgoing | None = None
        self._full = False  # it has no room until the core says something
        self._socket = sockets.join_blocks(endpoint)

    def run(self) -> None:
        at, credit = None, 0
        self._hello()
        while not self.done.is_set():
            idle = at is None or at >= self.samples.shape[1] or self._sent >= credit or self._full
            if self._socket.poll(20 if idle or self._held(at) else 0):
                message = codec.decode(self._socket.recv(), StreamWant, StreamAck)
                self._full = False
                assert message.epoch == self.epoch
                credit = message.credit
                if isinstance(message, StreamWant):
                    at, self._sent, self._asked = message.start, 0, message.asked
                    self._forget_memory()
                    self._memory = shared.Outgoing(shared.SIZE) if message.shared else None
                    self.wants.append(message.start)
                else:
                    self.durable = message.durable
                    if self._memory is not None and message.token == self._memory.token:
                        self._memory.free(message.free)
            elif at is None:
                self._hello()
            elif not idle and not self._held(at):
                at = self._block(at)
        self._socket.close(0)
        self._forget_memory()

    def _forget_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()

    def _held(self, at: int | None) -> bool:
        held = self.hold_at is not None and not self.go_on.is_set()
        return held and at is not None and self.hold_at is not None and at >= self.hold_at

    def _hello(self) -> None:
        hello = StreamHello(
            digitizer=self.digitizer,
            epoch=self.epoch,
            channels=[f"in{i}" for i in range(len(self.samples))],
            rate_hz=self.rate_hz,
            volts_per_count=1e-4,
            oldest=0,
            newest=0,
            can_wait=self.can_wait,
            anchors=[AnchorItem(0, T0_NS)],
        )
        self._socket.send(codec.encode(hello))

    def _block(self, at: int) -> int:
        gaps, before = [], at
        if self.gap is not None and at == self.gap[0]:
            gaps, at = [GapItem(*self.gap, True, "overflow")], self.gap[1]
        stop = min(at + self.n, self.samples.shape[1])
        if self.gap is not None and at < self.gap[0]:
            stop = min(stop, self.gap[0])
        rate = round(self.rate_hz)
        seconds = range(-(-at // rate), -(-stop // rate))
        header = BlockHeader(
            digitizer=self.digitizer,
            epoch=self.epoch,
            asked=self._asked,
            start=at,
            n_channels=len(self.samples),
            n_samples=stop - at,
            anchors=[AnchorItem(s * rate, T0_NS + s * 10**9) for s in seconds],
            gaps=gaps,
        )
        block = np.ascontiguousarray(self.samples[:, at:stop])
        if not self._send(header, block.data.cast("B")):
            return before
        if stop == self.samples.shape[1]:
            end = StreamEnd(digitizer=self.digitizer, epoch=self.epoch, stop=stop)
            self._socket.send(codec.encode(end))
        return stop

    def _send(self, header: BlockHeader, samples: memoryview) -> bool:
        """Send a block as its core wants it; False where that must wait."""
        frames = [samples]
        if self._memory is not None:
            place = self._memory.put(samples)
            self._full = place is None
            if place is None:
                return False
            header, frames = msgspec.structs.replace(header, shared=place), []
        self._socket.send_multipart([codec.encode(header), *frames], copy=False)
        self._sent += samples.nbytes
        return True
