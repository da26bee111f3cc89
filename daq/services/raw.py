"""The guaranteed `raw` channel: the next N samples of a channel, whole or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daq.errors import ScheeliteError, UsageError, WireError
from daq.model.block import Block, Samples
from daq.wire import codec, sockets
from daq.wire.schemas import ErrorItem, RawReply, RawRequest

MAX_WAITING = 64  # requests


@dataclass(frozen=True, slots=True)
class Source:
    """Where a channel's samples come from at present."""

    digitizer: str
    row: int
    rate_hz: float
    volts_per_count: float


@dataclass(slots=True)
class _Wanted:
    peer: bytes
    request: RawRequest
    source: Source
    pieces: list[Samples] = field(default_factory=list)
    start: int = 0
    got: int = 0


class RawServer:
    """Collects contiguous, undecimated samples for whoever asked; a gap begins anew.

    For one thread. `source_of` names a channel's source, or raises the error to be sent; `t_ns` is
    when a sample of a digitizer was converted, as far as is known.
    """

    def __init__(
        self,
        endpoint: str,
        source_of: Callable[[str], Source],
        t_ns: Callable[[str, int], int] = lambda _digitizer, _sample: 0,
    ) -> None:
        self.socket = sockets.serve_requests(endpoint)
        self.refused = 0
        self._source_of, self._t_ns = source_of, t_ns
        self._waiting: list[_Wanted] = []

    @property
    def is_asked(self) -> bool:
        """Whether anybody waits for samples."""
        return bool(self._waiting)

    def serve(self) -> None:
        """Take the requests that are there."""
        while sockets.readable(self.socket):
            frames = sockets.receive(self.socket)
            try:
                peer, header = frames
                self._accept(peer, codec.decode(header, RawRequest))
            except (ValueError, WireError):
                self.refused += 1

    def feed(self, digitizer: str, block: Block) -> None:
        """Give the samples of a block to the requests that wait for them."""
        for wanted in [w for w in self._waiting if w.source.digitizer == digitizer]:
            since_ns = wanted.request.not_before_ns
            if since_ns and not wanted.got and self._t_ns(digitizer, block.start) < since_ns:
                continue
            self._collect(wanted, block)
            if wanted.got == wanted.request.n_samples:
                self._waiting.remove(wanted)
                self._answer(wanted)

    def close(self) -> None:
        """Give the socket back; who still waits gets no answer and times out by name."""
        self.socket.close(0)

    def _accept(self, peer: bytes, request: RawRequest) -> None:
        try:
            if len(self._waiting) >= MAX_WAITING:
                raise UsageError(f"expected at most {MAX_WAITING} requests at once")
            self._waiting.append(_Wanted(peer, request, self._source_of(request.channel)))
        except ScheeliteError as error:
            item = ErrorItem(type(error).__name__, str(error), error.retryable)
            reply = RawReply(id=request.id, channel=request.channel, error=item)
            sockets.offer(self.socket, peer, codec.encode(reply))

    @staticmethod
    def _collect(wanted: _Wanted, block: Block) -> None:
        skipped = max(0, wanted.request.not_before - block.start)
        if skipped >= block.samples.shape[1]:
            return
        start = block.start + skipped
        if not wanted.got or start != wanted.start + wanted.got:
            wanted.pieces, wanted.start, wanted.got = [], start, 0
        missing = wanted.request.n_samples - wanted.got
        piece = block.samples[wanted.source.row, skipped : skipped + missing].copy()
        wanted.pieces.append(piece)
        wanted.got += piece.size

    def _answer(self, wanted: _Wanted) -> None:
        reply = RawReply(
            id=wanted.request.id,
            channel=wanted.request.channel,
            start=wanted.start,
            rate_hz=wanted.source.rate_hz,
            volts_per_count=wanted.source.volts_per_count,
        )
        samples = np.concatenate(wanted.pieces).astype("<i2", copy=False)
        sockets.offer(self.socket, wanted.peer, codec.encode(reply), samples.tobytes())
