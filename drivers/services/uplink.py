"""The uplink: the digitizer's end of `blocks`, which sends the core what it wants and can take."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daq.errors import WireError
from daq.model.block import Gap
from daq.model.clock import Anchor
from daq.wire import codec, shared, sockets
from daq.wire.schemas import (
    AnchorItem,
    BlockHeader,
    GapItem,
    Message,
    StreamAck,
    StreamEnd,
    StreamHello,
    StreamWant,
)
from drivers.digitizer.digitizer import End, Event, Facts, Samples
from drivers.services.ring import Piece, Ring

logger = logging.getLogger(__name__)

HELLO_S = 1.0  # a core that was restarted learns of us within this time
AWAY_S = 0.1  # how soon to try again while nobody is at the other end
PATIENCE_S = 1.0  # for the last acknowledgments of a stream that is over
FIRST_SAMPLES_S = 1.0  # how long the first hello waits for samples to name


@dataclass(slots=True)
class Stream:
    """One numbering of samples, and what of it the core may still need."""

    facts: Facts
    ring: Ring
    since: float  # clock time at which it began for us
    end: int | None = None  # one past its last sample, once that is known
    end_told: bool = False
    heard_at: float = 0.0  # clock time of the core's latest word about it


class Uplink:
    """Speaks with the core about one stream after the other, the oldest first.

    For one thread. When a digitizer begins a new stream, what is left of the one before is still
    delivered, as long as the new one fits into its own ring. Each of the two may take the whole
    buffer meanwhile.
    """

    def __init__(
        self,
        endpoint: str,
        digitizer: str,
        clock: Callable[[], float],
        *,
        buffer_s: float,
        buffer_bytes: float,
    ) -> None:
        self.socket = sockets.join_blocks(endpoint)
        self.problem = ""  # why we do not understand what the core sent last
        self._digitizer, self._clock = digitizer, clock
        self._buffer_s, self._buffer_bytes = buffer_s, int(buffer_bytes)
        self._streams: deque[Stream] = deque()
        self._asked = 0  # which StreamWant is in force
        self._memory: shared.Outgoing | None = None  # that the core reads from
        self._lost_before = self._gaps_before = 0  # of streams that are done
        self._hello_at = 0.0
        self._n_hellos = self._n_blocks = 0

    # --- from the digitizer -----------------------------------------------------------------

    def begin(self, facts: Facts, start: int) -> None:
        """The digitizer was connected to; a stream we do not know yet is a new one."""
        if not self._streams or self._streams[-1].facts.stream != facts.stream:
            if len(self._streams) > 1:
                self._give_up_oldest()
            self._streams.append(Stream(facts, self._ring(facts, start), self._clock()))
        self._streams[-1].ring.mark(facts.anchor)

    def put(self, event: Event) -> None:
        """Take what came from the digitizer."""
        stream = self._streams[-1]
        if isinstance(event, Samples):
            stream.ring.put(event)
        elif isinstance(event, Anchor):
            stream.ring.mark(event)
        elif isinstance(event, Gap):
            stream.ring.skip(event)
        elif isinstance(event, End):
            stream.end = event.stop
        if len(self._streams) > 1 and stream.ring.n_dropped:
            self._give_up_oldest()

    # --- with the core ----------------------------------------------------------------------

    def serve(self) -> None:
        """Take what the core has to say."""
        while sockets.readable(self.socket):
            try:
                (frame,) = sockets.receive(self.socket, 1)
                self._obey(codec.decode(frame, StreamWant, StreamAck))
            except WireError as error:
                self._complain(error)

    def send(self) -> None:
        """Send what is due: a hello, blocks, the end; and come to the next stream."""
        if not self._streams:
            return
        self._move_on()
        stream = self._streams[0]
        if self._clock() >= self._hello_at and self._may_be_named(stream):
            self._say_hello(stream)
        while (piece := stream.ring.next()) is not None:
            if not self._send_piece(stream, piece):
                return
        if stream.end is not None and stream.ring.is_sent and not stream.end_told:
            end = StreamEnd(digitizer=self._digitizer, epoch=stream.facts.stream, stop=stream.end)
            stream.end_told = sockets.offer(self.socket, codec.encode(end))

    def close(self) -> None:
        """Give the socket and the memory back."""
        self.socket.close(0)
        if self._memory is not None:
            self._memory.close()

    # --- how it stands ----------------------------------------------------------------------

    @property
    def newest(self) -> Stream | None:
        """The stream that the digitizer adds to."""
        return self._streams[-1] if self._streams else None

    @property
    def must_wait(self) -> bool:
        """Whether the source can wait, and shall, because nothing more fits."""
        stream = self.newest
        return stream is not None and stream.facts.can_wait and stream.ring.is_full

    @property
    def is_wanted(self) -> bool:
        """Whether the core has asked for blocks."""
        return bool(self._streams) and self._streams[0].ring.is_wanted

    @property
    def lost_samples(self) -> int:
        """Samples that were lost, in all streams."""
        return self._lost_before + sum(stream.ring.lost.total for stream in self._streams)

    @property
    def n_gaps(self) -> int:
        """Stretches of samples that were lost, in all streams."""
        return self._gaps_before + sum(stream.ring.lost.count for stream in self._streams)

    # --- within -----------------------------------------------------------------------------

    def _ring(self, facts: Facts, start: int) -> Ring:
        return Ring(
            start,
            max_samples=round(self._buffer_s * facts.rate_hz),
            max_bytes=self._buffer_bytes,
            can_wait=facts.can_wait,
        )

    def _obey(self, message: Message) -> None:
        assert isinstance(message, StreamWant | StreamAck)  # nothing else was decoded
        stream = self._told_of(message)
        stream.heard_at = self._clock()
        self.problem = ""
        if isinstance(message, StreamAck):
            stream.ring.acknowledge(message.durable, message.credit)
            if self._memory is not None and message.token == self._memory.token:
                self._memory.free(message.free)
        else:
            stream.ring.want(message.start, message.credit)
            stream.end_told, self._asked = False, message.asked
            self._share(message.shared)

    def _share(self, wanted: bool) -> None:
        """Have fresh memory for blocks to come: the core may still read in the one before."""
        if self._memory is not None:
            self._memory.close()
        try:
            self._memory = shared.Outgoing(shared.SIZE) if wanted else None
        except OSError as error:
            self._memory = None
            logger.warning("Samples go by the socket; no memory for them: %s", error)

    def _told_of(self, message: StreamWant | StreamAck) -> Stream:
        """The stream that is spoken of; WireError where it is another one, such as one before."""
        current = self._streams[0] if self._streams else None
        if current is None or message.epoch != current.facts.stream:
            word = message.__struct_config__.tag
            expected = f"epoch {current.facts.stream}" if current else "no epoch yet"
            raise WireError(f"expected a {word} for {expected}, found epoch {message.epoch}")
        return current

    def _may_be_named(self, stream: Stream) -> bool:
        """Not before samples came: the oldest ones may be gone when we come to ask for them."""
        return stream.ring.has_begun or self._clock() - stream.since > FIRST_SAMPLES_S

    def _say_hello(self, stream: Stream) -> None:
        """Its `seq` is 0 while no StreamWant is in force, so that the core knows to send one."""
        self._n_hellos += 1
        hello = StreamHello(
            seq=self._n_hellos if stream.ring.is_wanted else 0,
            digitizer=self._digitizer,
            epoch=stream.facts.stream,
            channels=list(stream.facts.channels),
            rate_hz=stream.facts.rate_hz,
            volts_per_count=stream.facts.volts_per_count,
            oldest=stream.ring.oldest,
            newest=stream.ring.newest,
            can_wait=stream.facts.can_wait,
            anchors=[AnchorItem(a.sample, a.t_ns) for a in stream.ring.anchors],
        )
        arrives = sockets.offer(self.socket, codec.encode(hello))
        if not arrives:
            stream.ring.halt()
        self._hello_at = self._clock() + (HELLO_S if arrives else AWAY_S)

    def _send_piece(self, stream: Stream, piece: Piece) -> bool:
        """Send a block; False where there is no room for it yet, or nobody there any more: then
        wait for the next StreamWant."""
        block = piece.block
        samples, place = block.samples.data.cast("B"), None
        if self._memory is not None and self._memory.takes(samples.nbytes):
            place = self._memory.put(samples)
            if place is None:
                return False
        header = BlockHeader(
            seq=self._n_blocks + 1,
            digitizer=self._digitizer,
            epoch=stream.facts.stream,
            asked=self._asked,
            start=block.start,
            n_channels=block.samples.shape[0],
            n_samples=block.samples.shape[1],
            anchors=[AnchorItem(a.sample, a.t_ns) for a in block.anchors],
            gaps=[GapItem(g.start, g.stop, g.exact, g.cause) for g in piece.gaps],
            shared=place,
        )
        frames = [codec.encode(header)] if place is not None else [codec.encode(header), samples]
        if not sockets.offer(self.socket, *frames):
            stream.ring.halt()
            return False
        self._n_blocks += 1
        stream.ring.sent(piece)
        return True

    def _move_on(self) -> None:
        """Leave a stream that is over and delivered, once its last acknowledgments had time."""
        while len(self._streams) > 1:
            stream = self._streams[0]
            waited = self._clock() - stream.heard_at > PATIENCE_S
            if not stream.ring.is_empty and not (stream.ring.is_sent and waited):
                return
            self._leave(stream)

    def _give_up_oldest(self) -> None:
        stream = self._streams[0]
        if not stream.ring.is_sent:
            missing = stream.ring.newest - stream.ring.oldest
            logger.warning("Gave up %d samples of stream %s.", missing, stream.facts.stream)
            stream.ring.lost.add(stream.ring.oldest, stream.ring.newest)
        self._leave(stream)

    def _leave(self, stream: Stream) -> None:
        self._lost_before += stream.ring.lost.total
        self._gaps_before += stream.ring.lost.count
        self._streams.remove(stream)
        self._hello_at = 0.0

    def _complain(self, error: WireError) -> None:
        self.problem = str(error)
        logger.warning("What the core sent is not obeyed: %s", error)
