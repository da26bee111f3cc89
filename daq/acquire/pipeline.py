"""The pipeline of one run: blocks, gaps and silences in; batches and checkpoints out.

A deterministic function of the samples and of the inputs, wherever the blocks are cut. A
checkpoint is all there is to know at one moment: a pipeline made of it, fed again from
`resumes_at` on, goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from daq.acquire.chain import Chain, ChainState
from daq.acquire.clocks import Clock, ClockState
from daq.acquire.events import EventBuilder, EventsState, Hit
from daq.model.batch import Batch, RecordBatch, Rows, no_rows
from daq.model.block import Block, Gap, Samples
from daq.model.channel import Channel
from daq.model.clock import Anchor
from daq.model.record import ANCHOR, GAP, LEDGER, plain

FOREVER = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a run begins in one digitizer's stream, and the anchors known there."""

    digitizer: str
    rate_hz: float
    sample: int
    anchors: tuple[Anchor, ...]


class DigitizerState(msgspec.Struct):
    """What a run remembers of one digitizer."""

    start: int
    fed: int  # every sample before this one was taken in, or is in a gap
    clock: ClockState
    silent: bool = False
    stop: int = FOREVER
    lost: int = 0
    gaps: int = 0
    drained: bool = False  # everything up to its stop was taken in


class PipelineState(msgspec.Struct):
    """A checkpoint: between two batches, nothing else is remembered."""

    digitizers: dict[str, DigitizerState]
    chains: list[ChainState]
    events: EventsState


class Pipeline:
    """All channels of one run; the order of `channels` gives their index in every table."""

    def __init__(self, channels: Sequence[Channel], window_ns: int, state: PipelineState) -> None:
        self._state = state
        self._names = list(state.digitizers)
        self._clocks = {name: Clock(d.clock) for name, d in state.digitizers.items()}
        self._chains = [
            Chain(i, c, s) for i, (c, s) in enumerate(zip(channels, state.chains, strict=True))
        ]
        self._of = {
            name: [chain for chain in self._chains if chain.channel.digitizer == name]
            for name in self._names
        }
        self._builder = EventBuilder(window_ns, state.events)
        self._out = _Collected()

    @classmethod
    def fresh(
        cls, channels: Sequence[Channel], window_ns: int, starts: Iterable[Start]
    ) -> Pipeline:
        """A pipeline at the beginning of a run."""
        by_name = {start.digitizer: start for start in starts}
        digitizers = {
            name: DigitizerState(s.sample, s.sample, Clock.at_rate(s.rate_hz, s.anchors).state)
            for name, s in by_name.items()
        }
        chains = [
            Chain.fresh(i, c, by_name[c.digitizer].sample).checkpoint()
            for i, c in enumerate(channels)
        ]
        return cls(channels, window_ns, PipelineState(digitizers, chains, EventsState()))

    @classmethod
    def resumed(cls, channels: Sequence[Channel], window_ns: int, checkpoint: bytes) -> Pipeline:
        """The pipeline that `checkpoint` was taken of; feed it from `resumes_at` on."""
        state = msgspec.msgpack.decode(checkpoint, type=PipelineState)
        pipeline = cls(channels, window_ns, state)
        for name, chains in pipeline._of.items():
            for chain in chains:
                chain.restart(pipeline.needed_from(name))
        return pipeline

    # --- what is asked of it ---

    def fed(self, digitizer: str) -> int:
        """Every sample of the digitizer before this one was taken in or is in a gap."""
        return self._state.digitizers[digitizer].fed

    def resumes_at(self, digitizer: str) -> int:
        """The next sample to feed; before `fed` while a restart gets its history again."""
        chains = self._of[digitizer]
        return chains[0].fed if chains else self.fed(digitizer)

    def needed_from(self, digitizer: str) -> int:
        """What a restart at the present state needs again begins at this sample."""
        state = self._state.digitizers[digitizer]
        history = max((chain.history for chain in self._of[digitizer]), default=0)
        return max(state.fed - history, state.start)

    def t_ns(self, digitizer: str, sample: int) -> int:
        """UTC of a sample by the digitizer's clock."""
        return self._clocks[digitizer].t_ns(sample)

    @property
    def done(self) -> bool:
        """Whether every digitizer has reached its stop."""
        return all(d.drained for d in self._state.digitizers.values())

    @property
    def lost(self) -> int:
        """Samples lost in gaps so far, of all digitizers."""
        return sum(d.lost for d in self._state.digitizers.values())

    @property
    def gaps(self) -> int:
        """Gaps so far."""
        return sum(d.gaps for d in self._state.digitizers.values())

    def silent(self, digitizer: str) -> bool:
        """Whether events do not wait for the digitizer at present."""
        return self._state.digitizers[digitizer].silent

    def stops(self) -> dict[str, int]:
        """Where the run ends in each stream; FOREVER while that is open."""
        return {name: d.stop for name, d in self._state.digitizers.items()}

    def starts(self) -> dict[str, int]:
        """Where the run began in each stream."""
        return {name: d.start for name, d in self._state.digitizers.items()}

    # --- what goes in ---

    def feed(self, digitizer: str, block: Block) -> None:
        """Take a block in; what was taken before, or lies beyond the stop, is passed over."""
        state = self._state.digitizers[digitizer]
        self._anchor(digitizer, block.anchors)
        if block.start > self.resumes_at(digitizer):
            gap = Gap(self.resumes_at(digitizer), block.start, exact=False, cause="unknown")
            self.gap(digitizer, gap)
        start = max(self.resumes_at(digitizer), block.start)
        stop = min(block.stop, state.stop)
        if stop > start:
            self._feed_chains(digitizer, block.samples[:, start - block.start : stop - block.start])
            state.fed, state.silent = max(state.fed, stop), False
        self._drain(digitizer)

    def gap(self, digitizer: str, gap: Gap) -> None:
        """Samples of the digitizer are lost for good.

        In a restart, samples that were taken in before may be lost too: then the stretch ends
        where it had been taken in, without a record across that place.
        """
        state = self._state.digitizers[digitizer]
        start = max(gap.start, self.resumes_at(digitizer))
        stop = min(gap.stop, state.stop)
        if stop <= start:
            return
        start, stop = max(start, state.fed), max(stop, state.fed)
        self._break_chains(digitizer, start, stop)
        if stop > start:
            self._out.gaps.append((self._names.index(digitizer), start, stop, gap.exact, gap.cause))
            state.lost, state.gaps = state.lost + stop - start, state.gaps + 1
        state.fed = stop
        self._drain(digitizer)

    def silence(self, digitizer: str) -> None:
        """The digitizer sends nothing: events no longer wait for it."""
        self._state.digitizers[digitizer].silent = True

    def hear(self, digitizer: str) -> None:
        """The digitizer sends again: events wait for it as for the others."""
        self._state.digitizers[digitizer].silent = False

    def stop_at(self, stops: Mapping[str, int]) -> None:
        """The run ends at these samples, none below what was taken in already."""
        for name, sample in stops.items():
            state = self._state.digitizers[name]
            state.stop = max(min(sample, state.stop), state.fed)
            self._drain(name)

    def abandon(self, digitizer: str) -> None:
        """Nothing more will come from the digitizer: what is missing to its stop is a gap."""
        state = self._state.digitizers[digitizer]
        if not state.drained:
            self.gap(digitizer, Gap(state.fed, state.stop, exact=False, cause="silent"))

    # --- what comes out ---

    def take(self) -> Batch:
        """Everything that became complete since the last time."""
        for chain in self._chains:
            digitizer = self._state.digitizers[chain.channel.digitizer]
            if not digitizer.drained:
                self._keep_records(chain, chain.records())
                self._out.ledger.append(chain.ledger())
        events, members = self._builder.take(self._complete_ns(), self._absent)
        batch, self._out = self._out.batch(events, members), _Collected()
        return batch

    def checkpoint(self) -> bytes:
        """The state behind the last batch taken."""
        self._state.chains = [chain.checkpoint() for chain in self._chains]
        return msgspec.msgpack.encode(self._state)

    def truncated(self) -> int:
        """Triggers that got no record because a gap or the stop was too near."""
        return sum(chain.state.truncated for chain in self._chains)

    # --- inside ---

    def _feed_chains(self, digitizer: str, samples: Samples) -> None:
        for chain in self._of[digitizer]:
            chain.feed(samples[chain.channel.row])

    def _break_chains(self, digitizer: str, start: int, stop: int) -> None:
        for chain in self._of[digitizer]:
            self._keep_records(chain, chain.gap(start, stop))

    def _drain(self, digitizer: str) -> None:
        """Finish the chains of a digitizer that has reached its stop."""
        state = self._state.digitizers[digitizer]
        if state.drained or state.fed < state.stop:
            return
        for chain in self._of[digitizer]:
            self._keep_records(chain, chain.finish(state.stop))
            self._out.ledger.append(chain.ledger(state.stop))
        state.drained = True

    def _anchor(self, digitizer: str, anchors: Iterable[Anchor]) -> None:
        for anchor in anchors:
            if self._clocks[digitizer].take(anchor):
                row = (self._names.index(digitizer), anchor.sample, anchor.t_ns)
                self._out.anchors.append(row)

    def _keep_records(self, chain: Chain, batches: list[RecordBatch]) -> None:
        clock = self._clocks[chain.channel.digitizer]
        for batch in batches:
            batch.table["t_ns"] = [clock.t_ns(s) for s in batch.table["trigger"].tolist()]
            pairs = zip(batch.table["t_ns"].tolist(), batch.table["record"].tolist(), strict=True)
            self._builder.add(Hit(t_ns, chain.index, record) for t_ns, record in pairs)
            self._out.records.append(batch)

    def _complete_ns(self) -> int:
        """No record before this time will still come from a digitizer that is not silent."""
        complete = FOREVER
        for name, state in self._state.digitizers.items():
            if state.drained or state.silent or not self._of[name]:
                continue
            if not self._clocks[name].known:
                return -FOREVER
            first = min(chain.complete_until for chain in self._of[name])
            complete = min(complete, self._clocks[name].t_ns(first))
        return complete

    def _absent(self, t_ns: int) -> int:
        """Bits of the digitizers that are silent since before a time."""
        bits = 0
        for i, (name, state) in enumerate(self._state.digitizers.items()):
            if state.silent and self._clocks[name].t_ns(state.fed) < t_ns:
                bits |= 1 << i
        return bits


class _Collected:
    """What has come out since the last batch."""

    def __init__(self) -> None:
        self.records: list[RecordBatch] = []
        self.ledger: list[Rows] = []
        self.gaps: list[tuple[int, int, int, bool, str]] = []
        self.anchors: list[tuple[int, int, int]] = []

    def batch(self, events: Rows, members: Rows) -> Batch:
        """All of it as one batch."""
        return Batch(
            records=tuple(self.records),
            events=events,
            members=members,
            gaps=np.array(self.gaps, plain(GAP)),
            ledger=np.concatenate([no_rows(LEDGER), *self.ledger]),
            anchors=np.array(self.anchors, plain(ANCHOR)),
        )
