"""The pipeline of one run: blocks, gaps and silences in; batches and checkpoints out.

A deterministic function of the samples and of the inputs, wherever the blocks are cut. A
checkpoint is all there is to know at one moment: a pipeline made of it, fed again from
`resumes_at` on, goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import numpy as np

from daq.acquire.banks import banked, fitted
from daq.acquire.blind import Blind, BlindState, restricted
from daq.acquire.chain import Chain, ChainState, beginning, drops_of
from daq.acquire.clocks import Clock, ClockState
from daq.acquire.events import MAX_WIDENED_NS, EventBuilder, EventsState, Hit, widened_ns
from daq.acquire.exchange import Digitizer, Exchange, ExchangeState, Waiting
from daq.acquire.filtered import Bank, Turn
from daq.acquire.filters import Filter
from daq.acquire.intervals import FOREVER
from daq.model.batch import Batch, RecordBatch, Rows, together
from daq.model.block import Block, Gap, Samples
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.model.record import ANCHOR, GAP, GUARD, LEDGER, PULSES, SALT, HitKind, plain

Filters = Mapping[str, Filter]  # by channel, or by content hash where it says so
NO_FILTERS: Filters = MappingProxyType({})
# what the door says a channel is dead for
FROM_OUTSIDE = ("paused", "disk_full", "unlocked", "heater", "temperature")


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


@dataclass(frozen=True, slots=True)
class Guarded:
    """How a guarded channel stands: jumps in the run, quanta that are taken off at present, and
    what is wrong since which digitizer sample; kind "" where nothing is."""

    n_jumps: int
    quanta: int
    kind: str
    since: int


class PipelineState(msgspec.Struct):
    """A checkpoint: between two batches, nothing else is remembered."""

    digitizers: dict[str, DigitizerState]
    chains: list[ChainState]
    events: EventsState
    exchange: ExchangeState
    epoch: int = 0  # of the settings
    blind: BlindState = msgspec.field(default_factory=BlindState)


class Pipeline:
    """All channels of one run; the order of `channels` gives their index in every table."""

    def __init__(
        self,
        channels: Sequence[Channel],
        plan: Plan,
        state: PipelineState,
        filters: Filters = NO_FILTERS,
        loaded: Filters = NO_FILTERS,
    ) -> None:
        """`filters` are those that the run began with, `loaded` what was loaded in it, by hash."""
        self._state, self._plan = state, plan
        self._names = list(state.digitizers)
        self._clocks = {name: Clock(d.clock) for name, d in state.digitizers.items()}
        filtered = banked(channels, state.chains, filters, loaded)
        self._chains = [
            Chain(i, c, plan.seed, s, filtered.get(c.name))
            for i, (c, s) in enumerate(zip(channels, state.chains, strict=True))
        ]
        self._salted = [chain for chain in self._chains if chain.salted]
        self._by_name = {chain.channel.name: chain for chain in self._chains}
        self._of = {
            name: [chain for chain in self._chains if chain.channel.digitizer == name]
            for name in self._names
        }
        digitizers = {name: self._digitizer(name) for name in self._names}
        self._exchange = Exchange(plan, self._chains, digitizers, state.exchange)
        self._builder = EventBuilder(plan, channels, state.events, self._tags)
        self._blind = Blind(channels, plan.seed, state.blind)
        # events as they are, beside those of the records that everybody sees
        self._whole = EventBuilder(plan, channels, state.blind.events, self._tags)
        self._out = _Collected()

    @classmethod
    def fresh(
        cls,
        channels: Sequence[Channel],
        plan: Plan,
        starts: Iterable[Start],
        filters: Filters = NO_FILTERS,
    ) -> Pipeline:
        """A pipeline at the beginning of a run; `filters` of its matched channels."""
        by_name = {start.digitizer: start for start in starts}
        digitizers = {
            name: DigitizerState(s.sample, s.sample, Clock.at_rate(s.rate_hz, s.anchors).state)
            for name, s in by_name.items()
        }
        states = [beginning(c, len(plan.windows), by_name[c.digitizer].sample) for c in channels]
        exchange = ExchangeState([Waiting() for _ in channels])
        state = PipelineState(digitizers, states, EventsState(), exchange)
        pipeline = cls(channels, plan, state, filters)
        for chain in pipeline._chains:
            chain.open(chain.state.start)
        return pipeline

    @classmethod
    def resumed(
        cls,
        channels: Sequence[Channel],
        plan: Plan,
        checkpoint: bytes,
        filters: Filters = NO_FILTERS,
        loaded: Filters = NO_FILTERS,
    ) -> Pipeline:
        """The pipeline that `checkpoint` was taken of, with the same filters; feed it from
        `resumes_at` on."""
        state = msgspec.msgpack.decode(checkpoint, type=PipelineState)
        pipeline = cls(channels, plan, state, filters, loaded)
        needed = {name: pipeline.needed_from(name) for name in pipeline._names}
        for chain in pipeline._chains:
            chain.restart(needed[chain.channel.digitizer])
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
        fed = self.fed(digitizer)
        return min((min(chain.needed_from, fed) for chain in self._of[digitizer]), default=fed)

    def t_ns(self, digitizer: str, sample: int) -> int:
        """UTC of a sample by the digitizer's clock."""
        return self._clocks[digitizer].t_ns(sample)

    @property
    def done(self) -> bool:
        """Whether every digitizer has reached its stop; `take` then gives all the rest."""
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
            # what a restart gets again is no news of a digitizer that was silent
            state.silent = state.silent and stop <= state.fed
            state.fed = max(state.fed, stop)
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
        self._break_chains(digitizer, start, stop, gap.cause)
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

    # --- what enters by the door, at samples that `now` gives ---

    def now(self, channel: str) -> int:
        """The digitizer sample at which an input for a channel takes effect: the next one."""
        return self.fed(self._chain(channel).channel.digitizer)

    def dead(self, cause: str, since: Mapping[str, int]) -> None:
        """Channels are dead for a cause from these samples on."""
        for name, sample in since.items():
            self._chain(name).begin_dead(cause, sample)

    def alive(self, cause: str, until: Mapping[str, int]) -> None:
        """They were, until these samples."""
        for name, sample in until.items():
            self._chain(name).end_dead(cause, sample)

    def order(self, samples: Mapping[str, int]) -> None:
        """Records of channels at these samples are asked for."""
        for name, sample in samples.items():
            self._chain(name).order(sample)

    def set_triggers(self, channel: str, triggers: Sequence[TriggerSettings]) -> None:
        """Other triggers of a channel from `now` on; a new settings epoch for all."""
        self._state.epoch += 1
        for chain in self._chains:
            if chain.channel.name == channel:
                chain.change(tuple(triggers), self._state.epoch)
            else:
                chain.new_epoch(self._state.epoch)

    def set_filters(self, filters: Filters, thresholds: Mapping[str, float]) -> None:
        """Other optimum filters of channels from `now` on, with their thresholds [counts]; a new
        settings epoch for all."""
        self._state.epoch += 1
        turns: dict[Bank, dict[int, Turn]] = {}
        for name, one in filters.items():
            chain = self._chain(name)
            assert chain.filtered is not None  # whoever loads filters has checked that
            since = chain.load(one.content_hash, thresholds[name])
            of = turns.setdefault(chain.filtered.bank, {})
            of[chain.filtered.index] = Turn(since, fitted(one, chain.channel), thresholds[name])
        for bank, changed in turns.items():
            bank.change(changed, next(iter(changed.values())).since)
        for chain in self._chains:
            chain.new_epoch(self._state.epoch)

    def loaded(self) -> dict[str, list[str]]:
        """Of channels that had filters loaded: content hashes of those that may still find a
        pulse, the last of which is in force; empty for the run's own."""
        chains = [chain for chain in self._chains if chain.state.loaded]
        return {c.channel.name: [one.sha256 for one in c.state.loaded] for c in chains}

    def triggers(self, channel: str) -> tuple[TriggerSettings, ...]:
        """Those that are in force."""
        return self._chain(channel).triggers

    @property
    def epoch(self) -> int:
        """The settings epoch that is in force."""
        return self._state.epoch

    # --- what comes out ---

    def take(self) -> Batch:
        """Everything that became complete since the last time."""
        for chain in self._chains:
            chain.search()
        self._exchange.run()
        for chain in self._chains:
            records = chain.records(self._exchange.read_out_until(chain))
            if records:
                self._keep_records(chain, records)
        self._keep_salts()
        self._keep_hits()
        self._keep_ledger()
        complete_ns = self._complete_ns()
        events, members = self._builder.take(complete_ns, self._absent)
        whole = self._whole.take(complete_ns, self._absent)
        batch, self._out = self._out.batch(events, members, restricted(*whole)), _Collected()
        return batch

    def checkpoint(self) -> bytes:
        """The state behind the last batch taken."""
        self._state.chains = [chain.checkpoint() for chain in self._chains]
        return msgspec.msgpack.encode(self._state)

    def drops(self) -> dict[str, dict[str, int]]:
        """Triggers without a record, by channel and cause."""
        return drops_of(self._chains)

    def blinded(self) -> dict[str, int]:
        """Records that went to the restricted file, by channel."""
        return {name: self._blind.hidden(chain.index) for name, chain in self._by_name.items()}

    def throttled(self) -> list[str]:
        """The channels whose rate is too high at present."""
        return [name for name, chain in self._by_name.items() if chain.throttled]

    def guards(self) -> dict[str, Guarded]:
        """How the guarded channels stand."""
        return {name: of for name, chain in self._by_name.items() if (of := _guarded(chain))}

    # --- inside ---

    def _chain(self, name: str) -> Chain:
        return self._by_name[name]

    def _digitizer(self, name: str) -> Digitizer:
        state = self._state.digitizers[name]
        return Digitizer(
            self._clocks[name],
            lambda: FOREVER if state.drained else state.fed,
            lambda: state.silent,
        )

    def _feed_chains(self, digitizer: str, samples: Samples) -> None:
        for chain in self._of[digitizer]:
            chain.feed(samples[chain.channel.row])

    def _break_chains(self, digitizer: str, start: int, stop: int, cause: str) -> None:
        for chain in self._of[digitizer]:
            chain.flush()
        for chain in self._of[digitizer]:
            chain.close(start, stop, cause)
        for chain in self._of[digitizer]:
            chain.open(stop)

    def _drain(self, digitizer: str) -> None:
        """Finish the chains of a digitizer that has reached its stop."""
        state = self._state.digitizers[digitizer]
        if state.drained or state.fed < state.stop:
            return
        for chain in self._of[digitizer]:
            chain.flush()
        for chain in self._of[digitizer]:
            chain.finish(state.stop)
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
        for batch in self._blind.open(chain.index, batches, chain.complete_until):
            hits = self._hits(chain, clock, batch.table)
            self._builder.add(hits)
            self._out.records.append(batch)
            if self._blind.active:
                self._whole.add(msgspec.structs.replace(hit, record=-1) for hit in hits)
        for batch in self._blind.take():
            self._whole.add(self._hits(chain, clock, batch.table))
            self._out.blinded.append(batch)

    def _hits(self, chain: Chain, clock: Clock, table: Rows) -> list[Hit]:
        return [
            Hit(
                int(row["t_ns"]),
                chain.index,
                int(row["record"]),
                int(row["trigger"]),
                clock.uncertainty_ns(int(row["trigger"])),
                bool(row["causes"] & PULSES) and bool(np.isnan(row["salt_ev"])),
                float(row["height"]),
            )
            for row in table
        ]

    def _keep_salts(self) -> None:
        for chain in self._salted:
            rows, clock = chain.salts(), self._clocks[chain.channel.digitizer]
            if len(rows):
                rows["t_ns"] = [clock.t_ns(sample) for sample in rows["sample"].tolist()]
                self._out.salts.append(rows)

    def _keep_hits(self) -> None:
        for chain in self._chains:
            clock = self._clocks[chain.channel.digitizer]
            self._out.guard += [
                (chain.index, h.kind, h.start, h.stop, clock.t_ns(h.start), h.quanta, h.size)
                for h in chain.hits()
            ]

    def _keep_ledger(self) -> None:
        for name, chains in self._of.items():
            fed = self.fed(name)  # nothing after it is settled
            if any(c.state.told < c.next_row <= fed and c.next_row <= c.settled for c in chains):
                until = self._exchange.tagged_until(name)
                self._out.ledger += [chain.ledger(until) for chain in chains]
                self._forget_windows(chains)

    def _tags(self, hit: Hit) -> int:
        """Bits of the windows that tag a record."""
        chain, tags = self._chains[hit.channel], 0
        for i, (window, parts) in enumerate(zip(self._plan.windows, chain.windows, strict=True)):
            wide = int(widened_ns(window, hit.height) * chain.channel.sample_rate_hz // 1e9)
            if parts.within(hit.sample - wide, hit.sample + wide + 1):
                tags |= 1 << i
        return tags

    def _forget_windows(self, chains: Sequence[Chain]) -> None:
        """What tags records that are in no event yet, or can still come, is kept."""
        for chain in chains if self._plan.windows else ():
            until = self._complete_until(chain)
            builders = (self._builder, self._whole)
            first = min(builder.first_waiting(chain.index, until) for builder in builders)
            wide = int(MAX_WIDENED_NS * chain.channel.sample_rate_hz // 1e9)
            chain.forget_windows(min(first, until) - wide)

    def _complete_until(self, chain: Chain) -> int:
        """No record with a trigger before this digitizer sample is still to be told."""
        return min(chain.complete_until, self._blind.first(chain.index))

    def _complete_ns(self) -> int:
        """No record before this time will still come from a digitizer that is not silent."""
        complete = FOREVER
        for name, state in self._state.digitizers.items():
            if state.silent or not self._of[name]:
                continue
            if not self._clocks[name].known and not state.drained:
                return -FOREVER
            first = min(self._complete_until(chain) for chain in self._of[name])
            if first < FOREVER:
                complete = min(complete, self._clocks[name].t_ns(first))
        return complete

    def _absent(self, t_ns: int) -> int:
        """Bits of the digitizers that are silent since before a time."""
        bits = 0
        for i, (name, state) in enumerate(self._state.digitizers.items()):
            if state.silent and self._clocks[name].t_ns(state.fed) < t_ns:
                bits |= 1 << i
        return bits


def _guarded(chain: Chain) -> Guarded | None:
    guard = chain.guard
    if guard is None:
        return None
    hit = guard.standing
    kind, since = (HitKind(hit.kind).name.lower(), hit.start) if hit else ("", 0)
    return Guarded(guard.state.n_jumps, guard.quanta, kind, since)


class _Collected:
    """What has come out since the last batch."""

    def __init__(self) -> None:
        self.records: list[RecordBatch] = []
        self.blinded: list[RecordBatch] = []
        self.ledger: list[Rows] = []
        self.salts: list[Rows] = []
        self.gaps: list[tuple[int, int, int, bool, str]] = []
        self.anchors: list[tuple[int, int, int]] = []
        self.guard: list[tuple[int, int, int, int, int, int, float]] = []

    def batch(self, events: Rows, members: Rows, blinded: tuple[Rows, Rows]) -> Batch:
        """All of it as one batch."""
        return Batch(
            records=tuple(self.records),
            blinded=tuple(self.blinded),
            blinded_events=blinded[0],
            blinded_members=blinded[1],
            events=events,
            members=members,
            gaps=np.array(self.gaps, plain(GAP)),
            ledger=together(self.ledger, plain(LEDGER)),
            anchors=np.array(self.anchors, plain(ANCHOR)),
            salts=together(self.salts, plain(SALT)),
            guard=np.array(self.guard, plain(GUARD)),
        )
