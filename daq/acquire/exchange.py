"""What channels have to say to each other: lines, read-outs of groups, and what vetoes tag.

Within a digitizer samples are compared; across digitizers the two clocks map one on the other as
soon as the receiver's stream has passed the moment, so that the map is final, and vetoes are
widened by what the clocks may be off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from daq.acquire.chain import Chain
from daq.acquire.clocks import MAX_UNCERTAINTY_NS, Clock
from daq.acquire.finder import Own
from daq.acquire.intervals import FOREVER, LONG_AGO, Interval
from daq.model.plan import Group, Plan, Window
from daq.model.record import PULSES, Cause, mask_of

MOST_WAITING = 4096  # orders to a channel whose digitizer sends nothing; older ones are late
COSTS = {"veto": "vetoed", "gate": "", "heater": "pulser"}  # live time, by the kind of a window
READ_OUT = -1  # in place of the trigger that a line fires


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A moment at which a channel is to be read out, or its trigger `entry` fires."""

    t_ns: int
    entry: int


class Edge(msgspec.Struct, frozen=True, array_like=True):
    """A moment at which a source of a window triggered, and how sure its clock was."""

    window: int
    t_ns: int
    error_ns: int


class Waiting(msgspec.Struct):
    """What a channel was told and its own stream has not reached yet."""

    orders: list[Order] = []
    edges: list[Edge] = []


class ExchangeState(msgspec.Struct):
    """What must be remembered, by channel."""

    waiting: list[Waiting]


class Digitizer(NamedTuple):
    """What is asked of a digitizer: its clock, how far it was fed, and whether it is waited for."""

    clock: Clock
    fed: Callable[[], int]  # FOREVER once nothing more will come
    silent: Callable[[], bool]


class Exchange:
    """Carries the triggers of each channel to those that they concern."""

    def __init__(
        self,
        plan: Plan,
        chains: Sequence[Chain],
        digitizers: Mapping[str, Digitizer],
        state: ExchangeState,
    ) -> None:
        self._plan, self._chains, self._digitizers, self.state = plan, chains, digitizers, state
        self._by_name = {chain.channel.name: chain for chain in chains}
        self._lines = self._line_table()
        self._listening = {chain.index for chain, _, _ in self._lines}
        self._windows = [_Window(i, w, self._named) for i, w in enumerate(plan.windows)]
        self._groups = [_Group(group, self._named) for group in plan.groups]
        self._read_out_by = {chain.index: self._sources_of(chain) for chain in chains}

    def run(self) -> None:
        """Carry everything that the channels found since the last time."""
        released: dict[int, list[Own]] = {}
        first = [chain for chain in self._chains if chain.index not in self._listening]
        for chain in first:
            released[chain.index] = _without_salts(chain)
        for chain, entry, line in self._lines:
            self._order(chain, entry, line, [own.found.sample for own in released[line.index]])
        self._settle_orders()
        for chain, entry, line in self._lines:
            chain.line_reaches(entry, self._until(line, chain))
        for index in self._listening:
            self._chains[index].search()
            released[index] = _without_salts(self._chains[index])
        self._read_out(released)
        self._tag(released if any(released.values()) else {})

    def read_out_until(self, chain: Chain) -> int:
        """No read-out of a channel before this record sample will still be ordered."""
        sources = self._read_out_by[chain.index]
        return min((self._until(s, chain) for s in sources), default=FOREVER)

    def tagged_until(self, digitizer: str) -> int:
        """No digitizer sample before this one will still be tagged."""
        until = FOREVER
        for window in self._windows:
            if digitizer in window.tagged_digitizers:
                until = min(until, window.tagged_until(self, digitizer))
        waiting = [
            edge.t_ns - self._plan.windows[edge.window].before_ns - MAX_UNCERTAINTY_NS
            for chain in self._chains
            if chain.channel.digitizer == digitizer
            for edge in self.state.waiting[chain.index].edges
        ]
        clock = self._digitizers[digitizer].clock
        if waiting and not clock.known:
            return LONG_AGO
        return min(until, clock.first_at(min(waiting))) if waiting else until

    # --- lines and groups ---

    def _sources_of(self, chain: Chain) -> list[Chain]:
        """The other channels that order its read-out."""
        sources = [s for g in self._groups if chain in g.receivers for s in g.sources]
        return [source for source in sources if source is not chain]

    def _line_table(self) -> list[tuple[Chain, int, Chain]]:
        """(channel, its trigger, its line) for all that are there."""
        return [
            (chain, i, self._by_name[t.line])
            for chain in self._chains
            for i, t in enumerate(chain.channel.triggers)
            if t.kind == "external" and t.line in self._by_name
        ]

    def _named(self, names: Sequence[str]) -> list[Chain]:
        return [self._by_name[name] for name in names if name in self._by_name]

    def _read_out(self, released: Mapping[int, list[Own]]) -> None:
        for group in self._groups:
            for source in group.sources:
                samples = [
                    own.found.sample
                    for own in released[source.index]
                    if not own.dropped and group.causes >> own.found.cause & 1
                ]
                for receiver in group.receivers if samples else ():
                    if receiver is not source:
                        self._order(receiver, READ_OUT, source, samples)
        self._settle_orders()

    def _order(self, to: Chain, entry: int, source: Chain, samples: Sequence[int]) -> None:
        """Tell a channel of record samples of another."""
        factor = source.channel.decimation
        if to.channel.digitizer == source.channel.digitizer:
            for sample in samples:
                self._deliver(to, entry, _record_sample(sample * factor, to))
            return
        clock = self._digitizers[source.channel.digitizer].clock
        self.state.waiting[to.index].orders += [
            Order(clock.t_ns(sample * factor), entry) for sample in samples
        ]

    def _settle_orders(self) -> None:
        """Deliver what the receivers' streams have reached."""
        for chain, waiting in zip(self._chains, self.state.waiting, strict=True):
            digitizer = self._digitizers[chain.channel.digitizer]
            if waiting.orders and digitizer.clock.known:
                left = []
                for order in waiting.orders:
                    sample = digitizer.clock.first_at(order.t_ns)
                    if sample < digitizer.fed():
                        self._deliver(chain, order.entry, _record_sample(sample, chain))
                    else:
                        left.append(order)
                for _ in left[:-MOST_WAITING]:
                    chain.miss()
                waiting.orders = left[-MOST_WAITING:]

    def _deliver(self, to: Chain, entry: int, sample: int) -> None:
        if entry == READ_OUT:
            to.read_out(sample)
        else:
            to.offer(entry, sample)

    def _until(self, source: Chain, to: Chain) -> int:
        """No trigger of a source before this record sample of another channel will still come."""
        until = self._until_digitizer(source, to.channel.digitizer, 0)
        if source.channel.digitizer != to.channel.digitizer:  # what waits is behind what was fed
            until = min(until, self._digitizers[to.channel.digitizer].fed())
        return until if until == FOREVER else _record_sample(until, to)

    def _until_digitizer(self, source: Chain, digitizer: str, earlier_ns: int) -> int:
        """The same in digitizer samples, less a time."""
        own = self._digitizers[source.channel.digitizer]
        until = source.own_until
        if own.silent() or until == FOREVER:
            return FOREVER
        sample = until * source.channel.decimation
        if digitizer == source.channel.digitizer:
            return sample - _samples(earlier_ns, source)
        clock = self._digitizers[digitizer].clock
        if not own.clock.known or not clock.known:
            return LONG_AGO
        return clock.first_at(own.clock.t_ns(sample) - earlier_ns)

    # --- windows ---

    def _tag(self, released: Mapping[int, list[Own]]) -> None:
        for window in self._windows if released else ():
            for source in window.sources:
                pulses = [
                    own.found.sample * source.channel.decimation
                    for own in released[source.index]
                    if PULSES >> own.found.cause & 1
                ]
                for chain in window.tagged if pulses else ():
                    if chain is not source:
                        self._tell(window, source, chain, pulses)
        self._settle_edges()

    def _tell(self, window: _Window, source: Chain, chain: Chain, pulses: Sequence[int]) -> None:
        if chain.channel.digitizer == source.channel.digitizer:
            before = _samples(window.plan.before_ns, chain)
            after = _samples(window.plan.after_ns, chain)
            for at in pulses:
                chain.tag(window.index, at - before, at + after + 1, window.costs)
            return
        clock = self._digitizers[source.channel.digitizer].clock
        self.state.waiting[chain.index].edges += [
            Edge(window.index, clock.t_ns(at), clock.uncertainty_ns(at)) for at in pulses
        ]

    def _settle_edges(self) -> None:
        """Tag what the tagged streams have reached; a silent one is tagged by what is known."""
        spans: dict[tuple[str, Edge], Interval | None] = {}  # the same for a digitizer's channels
        for chain, waiting in zip(self._chains, self.state.waiting, strict=True):
            name, left = chain.channel.digitizer, []
            for edge in waiting.edges:
                if (name, edge) not in spans:
                    spans[name, edge] = self._span(edge, self._digitizers[name])
                span = spans[name, edge]
                if span is None:
                    left.append(edge)
                else:
                    chain.tag(edge.window, *span, self._windows[edge.window].costs)
            if waiting.edges:
                waiting.edges = left

    def _span(self, edge: Edge, digitizer: Digitizer) -> Interval | None:
        """The samples of a digitizer that an edge tags; None while it has not passed them."""
        plan, clock = self._plan.windows[edge.window], digitizer.clock
        if not clock.known:
            return None
        fed = FOREVER if digitizer.silent() else digitizer.fed()
        if clock.first_at(edge.t_ns + plan.after_ns + MAX_UNCERTAINTY_NS + 1) >= fed:
            return None
        error_ns = edge.error_ns + clock.uncertainty_ns(clock.first_at(edge.t_ns))
        error_ns = min(error_ns, MAX_UNCERTAINTY_NS)
        start = clock.first_at(edge.t_ns - plan.before_ns - error_ns)
        return start, clock.first_at(edge.t_ns + plan.after_ns + error_ns + 1)


def _without_salts(chain: Chain) -> list[Own]:
    """What a channel has to say to others: nothing of pulses that software added."""
    return [own for own in chain.release() if not chain.is_salt(own)]


class _Group:
    def __init__(self, plan: Group, named: Callable[[Sequence[str]], list[Chain]]) -> None:
        self.sources, self.receivers = named(plan.sources), named(plan.receivers)
        self.causes = mask_of(Cause[cause.upper()] for cause in plan.causes)


class _Window:
    def __init__(
        self, index: int, plan: Window, named: Callable[[Sequence[str]], list[Chain]]
    ) -> None:
        self.index, self.plan, self.costs = index, plan, COSTS[plan.kind]
        self.sources, self.tagged = named(plan.sources), named(plan.tagged)
        self.tagged_digitizers = {chain.channel.digitizer for chain in self.tagged}

    def tagged_until(self, exchange: Exchange, digitizer: str) -> int:
        """No sample before this one will still be tagged by it; none, without its sources."""
        untils = (
            exchange._until_digitizer(source, digitizer, self._earlier_ns(source, digitizer))
            for source in self.sources
        )
        return min(untils, default=FOREVER)

    def _earlier_ns(self, source: Chain, digitizer: str) -> int:
        other = source.channel.digitizer != digitizer
        return self.plan.before_ns + (MAX_UNCERTAINTY_NS if other else 0)


def _record_sample(sample: int, chain: Chain) -> int:
    """The record sample next to a digitizer sample."""
    factor = chain.channel.decimation
    return (sample + factor // 2) // factor


def _samples(time_ns: int, chain: Chain) -> int:
    """Whole digitizer samples in a time."""
    return int(time_ns * chain.channel.sample_rate_hz // 1e9)
