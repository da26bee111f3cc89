"""A digitizer service of the test's own: real `blocks` socket, samples from an array."""

from __future__ import annotations

import threading

import numpy as np

from daq.wire import codec, sockets
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
        self._sent = 0  # bytes since it was last asked, which the credit bounds
        self._socket = sockets.join_blocks(endpoint)

    def run(self) -> None:
        at, credit = None, 0
        self._hello()
        while not self.done.is_set():
            idle = at is None or at >= self.samples.shape[1] or self._sent >= credit
            if self._socket.poll(20 if idle or self._held(at) else 0):
                message = codec.decode(self._socket.recv(), StreamWant, StreamAck)
                assert message.epoch == self.epoch
                credit = message.credit
                if isinstance(message, StreamWant):
                    at, self._sent = message.start, 0
                    self.wants.append(message.start)
                else:
                    self.durable = message.durable
            elif at is None:
                self._hello()
            elif not idle and not self._held(at):
                at = self._block(at)
        self._socket.close(0)

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
        gaps = []
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
            start=at,
            n_channels=len(self.samples),
            n_samples=stop - at,
            anchors=[AnchorItem(s * rate, T0_NS + s * 10**9) for s in seconds],
            gaps=gaps,
        )
        block = np.ascontiguousarray(self.samples[:, at:stop])
        self._socket.send_multipart([codec.encode(header), block.tobytes()])
        self._sent += block.nbytes
        if stop == self.samples.shape[1]:
            end = StreamEnd(digitizer=self.digitizer, epoch=self.epoch, stop=stop)
            self._socket.send(codec.encode(end))
        return stop
