"""Events: records of several channels that belong together, in the order of their time.

A record joins the event of the record before it when it is within the coincidence window of it,
on another digitizer also when their clocks are not sure that it is not. An event leaves when no
record that could join it, come before it or tag one of its records can still come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import msgspec
import numpy as np

from daq.acquire.clocks import MAX_UNCERTAINTY_NS
from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.plan import Plan, Window
from daq.model.record import EVENT, MEMBER, plain

MAX_WIDENED_NS = 10_000_000  # a gate is not widened by more, however small the pulse


class Hit(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A record as the event builder sees it; ordered by time, then channel and number."""

    t_ns: int
    channel: int
    record: int
    sample: int  # of the trigger, of its digitizer
    error_ns: int  # how far its time may be off
    pulse: bool  # a trigger says that a pulse is there
    height: float  # [ADC counts]


class EventsState(msgspec.Struct):
    """What the builder must remember."""

    waiting: list[Hit] = []
    next_event: int = 0
    emitted_until: int = -(2**62)  # events up to this time have left


class _Row(NamedTuple):
    """A row of `EVENT`, in its order."""

    event: int
    t_ns: int
    n_records: int
    channels: int
    targets: int
    tags: int
    vetoed: int
    vetoed_by: int
    absent: int
    late: bool


assert _Row._fields == EVENT.names


class EventBuilder:
    """Groups hits into events; `tags` says which of the plan's windows tag a hit."""

    def __init__(
        self,
        plan: Plan,
        channels: Sequence[Channel],
        state: EventsState,
        tags: Callable[[Hit], int],
    ) -> None:
        self._plan, self._channels, self.state, self._tags = plan, channels, state, tags
        self._vetoes = sum(1 << i for i, w in enumerate(plan.windows) if w.kind == "veto")
        self.reach_ns = self._reach_ns()

    def add(self, hits: Iterable[Hit]) -> None:
        """Take hits in, in any order."""
        self.state.waiting = sorted([*self.state.waiting, *hits])

    def first_waiting(self, channel: int, otherwise: int) -> int:
        """The trigger sample of a channel's oldest hit that is in no event yet."""
        samples = (hit.sample for hit in self.state.waiting if hit.channel == channel)
        return min(samples, default=otherwise)

    def take(self, complete_ns: int, absent: Callable[[int], int]) -> tuple[Rows, Rows]:
        """Event and member rows of what is complete: no hit before `complete_ns` will come.

        `absent` gives, for a time, a bit for every digitizer that was silent then.
        """
        groups = self._complete_groups(complete_ns) if self.state.waiting else []
        events, members = [], []
        for group in groups:
            tags = [self._tags(hit) for hit in group]
            row = self._event(group, tags, absent)
            events.append(row)
            pairs = zip(group, tags, strict=True)
            members += [(row.event, hit.channel, hit.record, tag) for hit, tag in pairs]
        return np.array(events, plain(EVENT)), np.array(members, plain(MEMBER))

    def _reach_ns(self) -> int:
        """From a record on, so far away a trigger can still tag it."""
        spans = [
            w.before_ns + w.after_ns + (MAX_WIDENED_NS if w.widen_ns_counts else 0)
            for w in self._plan.windows
        ]
        return max(spans, default=0) + 2 * MAX_UNCERTAINTY_NS

    def _complete_groups(self, complete_ns: int) -> list[list[Hit]]:
        groups: list[list[Hit]] = []
        for hit in self.state.waiting:
            if groups and self._together(groups[-1][-1], hit):
                groups[-1].append(hit)
            else:
                groups.append([hit])
        reach_ns = max(self._plan.window_ns + MAX_UNCERTAINTY_NS, self.reach_ns)
        done = []
        for group in groups:
            if group[-1].t_ns + reach_ns >= complete_ns:
                break
            done.append(group)
        self.state.waiting = self.state.waiting[sum(len(g) for g in done) :]
        return done

    def _together(self, before: Hit, hit: Hit) -> bool:
        digitizers = {self._channels[one.channel].digitizer for one in (before, hit)}
        unsure_ns = min(before.error_ns + hit.error_ns, MAX_UNCERTAINTY_NS)
        window_ns = self._plan.window_ns + (unsure_ns if len(digitizers) > 1 else 0)
        return hit.t_ns - before.t_ns <= window_ns

    def _event(self, group: list[Hit], tags: list[int], absent: Callable[[int], int]) -> _Row:
        state, t_ns, together = self.state, group[0].t_ns, reduce(or_, tags)
        channels = self._channels
        row = _Row(
            event=state.next_event,
            t_ns=t_ns,
            n_records=len(group),
            channels=_bits(hit.channel for hit in group),
            targets=len({h.channel for h in group if h.pulse and channels[h.channel].mass_g > 0}),
            tags=together,
            vetoed=_bits(h.channel for h, t in zip(group, tags, strict=True) if t & self._vetoes),
            vetoed_by=together & self._vetoes,
            absent=absent(group[-1].t_ns + self.reach_ns),
            late=t_ns < state.emitted_until,
        )
        state.next_event += 1
        state.emitted_until = max(state.emitted_until, t_ns)
        return row


def widened_ns(window: Window, height: float) -> int:
    """By how much a record of this height [ADC counts] widens a window on both sides."""
    if not window.widen_ns_counts:
        return 0
    wide = window.widen_ns_counts / height if height > 0 else MAX_WIDENED_NS
    return round(min(wide, MAX_WIDENED_NS))


def _bits(indices: Iterable[int]) -> int:
    return sum({1 << i for i in indices})
