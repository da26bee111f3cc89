"""What the core shows to eyes: traces, pulses and rates. Lossy by promise, cheap by design."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from daq.acquire.clocks import Clock
from daq.acquire.traces import TraceMaker
from daq.model.batch import RecordBatch
from daq.model.block import Block
from daq.model.channel import Channel
from daq.wire import codec, sockets
from daq.wire.schemas import Pulses, Traces

BIN_S = 1e-3
RATE_WINDOW_S = 5.0
SHOWN_PER_BATCH = 4  # records of one channel in one message


@dataclass(slots=True)
class _Seen:
    """What there is to be seen of a digitizer's stream."""

    channels: list[str]
    rate_hz: float
    maker: TraceMaker
    # triggers since the last strip: place in `channels`, digitizer sample
    marks: list[tuple[int, int]] = field(default_factory=list)
    now: int = 0  # the stream has come to this sample


class Eyes:
    """Publishes for the channels of the streams that are there. For one thread.

    What nobody subscribes to is counted and not made. Serve `traces` and `pulses`.
    """

    def __init__(self, traces_endpoint: str, pulses_endpoint: str) -> None:
        self.traces = sockets.Publisher(traces_endpoint)
        self.pulses = sockets.Publisher(pulses_endpoint)
        # one count per topic: a client of one topic must see what it missed of that one
        self._seq: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._seen: dict[str, _Seen] = {}
        self._recent: dict[str, deque[int]] = {}

    def watch(self, digitizer: str, channels: Sequence[Channel]) -> None:
        """Show these channels of a digitizer from now on.

        A blinded channel has no traces: whether a pulse may be seen is known too late for them.
        """
        first = channels[0]
        bin_samples = max(round(first.sample_rate_hz * BIN_S), 1)
        traced = [c for c in channels if c.blinding is None]
        maker = TraceMaker([c.row for c in traced], bin_samples, first.volts_per_count)
        self._seen[digitizer] = _Seen([c.name for c in traced], first.sample_rate_hz, maker)
        for channel in channels:
            self._recent[channel.name] = deque()

    @property
    def looked_at(self) -> bool:
        """Whether anybody wants to see every block at once; records come by commits."""
        return self.traces.is_watched

    def block(self, digitizer: str, block: Block, clock: Clock) -> None:
        """Show a block."""
        seen, topic = self._seen[digitizer], digitizer.encode()
        seen.now = block.stop
        if not seen.channels:
            return
        if not self.traces.watched(topic):
            seen.marks = []
            next(self._seq[digitizer])
            return
        strip = seen.maker.feed(block)
        if not strip.bins.shape[1]:
            return
        header = Traces(
            seq=next(self._seq[digitizer]),
            digitizer=digitizer,
            channels=seen.channels,
            start=strip.start,
            bin_samples=seen.maker.bin_samples,
            rate_hz=seen.rate_hz,
            t_ns=clock.t_ns(strip.start),
            triggers=seen.marks,
        )
        seen.marks = []
        self.traces.show([topic, codec.encode(header), strip.bins.tobytes()])

    def records(self, channel: Channel, batch: RecordBatch) -> None:
        """Show the newest records of a channel, and count all of them."""
        triggers = batch.table["trigger"].tolist()
        self._recent[channel.name].extend(triggers)
        seen, topic = self._seen[channel.digitizer], channel.name.encode()
        if channel.name in seen.channels:
            at = seen.channels.index(channel.name)
            seen.marks += [(at, trigger) for trigger in triggers]
        seq = next(self._seq[channel.name])
        if not self.pulses.watched(topic):
            return
        shown = slice(-SHOWN_PER_BATCH, None)
        table, samples = batch.table[shown], np.ascontiguousarray(batch.samples[shown])
        header = Pulses(
            seq=seq,
            channel=channel.name,
            n_records=len(table),
            record_length=channel.record_length,
            pretrigger=channel.pretrigger,
            rate_hz=channel.record_rate_hz,
            volts_per_count=channel.volts_per_count,
        )
        self.pulses.show([topic, codec.encode(header), table.tobytes(), samples.tobytes()])

    def rate_hz(self, channel: Channel) -> float:
        """Records per second over the last seconds of the channel's own clock."""
        recent, seen = self._recent.get(channel.name), self._seen.get(channel.digitizer)
        if recent is None or seen is None:
            return 0.0
        oldest = seen.now - round(RATE_WINDOW_S * channel.sample_rate_hz)
        while recent and recent[0] < oldest:
            recent.popleft()
        return len(recent) / RATE_WINDOW_S

    def close(self) -> None:
        """Give the sockets back."""
        self.traces.close()
        self.pulses.close()
