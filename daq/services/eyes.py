"""What the core shows to eyes: traces, pulses and rates. Lossy by promise, cheap by design."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

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


class Eyes:
    """Publishes for the channels of the streams that are there. For one thread."""

    def __init__(self, traces_endpoint: str, pulses_endpoint: str) -> None:
        self._traces = sockets.publish(traces_endpoint)
        self._pulses = sockets.publish(pulses_endpoint)
        # one count per topic: a client of one topic must see what it missed of that one
        self._seq: dict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))
        self._makers: dict[str, TraceMaker] = {}
        self._channels: dict[str, list[Channel]] = {}
        self._marks: dict[str, list[tuple[int, int]]] = {}
        self._recent: dict[str, deque[int]] = {}
        self._now: dict[str, int] = {}

    def watch(self, digitizer: str, channels: Sequence[Channel]) -> None:
        """Show these channels of a digitizer from now on.

        A blinded channel has no traces: whether a pulse may be seen is known too late for them.
        """
        first = channels[0]
        bin_samples = max(round(first.sample_rate_hz * BIN_S), 1)
        traced = [c for c in channels if c.blinding is None]
        rows = [c.row for c in traced]
        self._makers[digitizer] = TraceMaker(rows, bin_samples, first.volts_per_count)
        self._channels[digitizer] = traced
        self._marks[digitizer] = []
        for channel in channels:
            self._recent[channel.name] = deque()

    def block(self, digitizer: str, block: Block, clock: Clock) -> None:
        """Show a block."""
        maker, channels = self._makers[digitizer], self._channels[digitizer]
        self._now[digitizer] = block.stop
        if not channels:
            return
        strip = maker.feed(block)
        if not strip.bins.shape[1]:
            return
        header = Traces(
            seq=next(self._seq[digitizer]),
            digitizer=digitizer,
            channels=[c.name for c in channels],
            start=strip.start,
            bin_samples=maker.bin_samples,
            rate_hz=channels[0].sample_rate_hz,
            t_ns=clock.t_ns(strip.start),
            triggers=self._marks[digitizer],
        )
        self._marks[digitizer] = []
        frames = [digitizer.encode(), codec.encode(header), strip.bins.tobytes()]
        sockets.show(self._traces, frames)

    def records(self, channel: Channel, batch: RecordBatch) -> None:
        """Show the newest records of a channel, and count all of them."""
        triggers = batch.table["trigger"].tolist()
        self._recent[channel.name].extend(triggers)
        names = [c.name for c in self._channels[channel.digitizer]]
        if channel.name in names:
            self._marks[channel.digitizer] += [(names.index(channel.name), t) for t in triggers]
        shown = slice(-SHOWN_PER_BATCH, None)
        table, samples = batch.table[shown], np.ascontiguousarray(batch.samples[shown])
        header = Pulses(
            seq=next(self._seq[channel.name]),
            channel=channel.name,
            n_records=len(table),
            record_length=channel.record_length,
            pretrigger=channel.pretrigger,
            rate_hz=channel.record_rate_hz,
            volts_per_count=channel.volts_per_count,
        )
        frames = [channel.name.encode(), codec.encode(header), table.tobytes(), samples.tobytes()]
        sockets.show(self._pulses, frames)

    def rate_hz(self, channel: Channel) -> float:
        """Records per second over the last seconds of the channel's own clock."""
        recent, now = self._recent.get(channel.name), self._now.get(channel.digitizer, 0)
        if recent is None:
            return 0.0
        oldest = now - round(RATE_WINDOW_S * channel.sample_rate_hz)
        while recent and recent[0] < oldest:
            recent.popleft()
        return len(recent) / RATE_WINDOW_S

    def close(self) -> None:
        """Give the sockets back."""
        self._traces.close(0)
        self._pulses.close(0)
