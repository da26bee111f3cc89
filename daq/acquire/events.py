"""Events: records of several channels that belong together, in the order of their time.

A record joins the event of the record before it when it is within the coincidence window of it.
An event leaves when no record that could join it, or come before it, can still come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from daq.model.batch import Rows
from daq.model.record import EVENT, MEMBER, plain


class Hit(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A record as the event builder sees it; ordered by time, then channel and number."""

    t_ns: int
    channel: int
    record: int


class EventsState(msgspec.Struct):
    """What the builder must remember."""

    waiting: list[Hit] = []
    next_event: int = 0
    emitted_until: int = -(2**62)  # events up to this time have left


class EventBuilder:
    """Groups hits into events; `window_ns` is the coincidence window."""

    def __init__(self, window_ns: int, state: EventsState) -> None:
        self._window_ns, self.state = window_ns, state

    def add(self, hits: Iterable[Hit]) -> None:
        """Take hits in, in any order."""
        self.state.waiting = sorted([*self.state.waiting, *hits])

    def take(self, complete_ns: int, absent: Callable[[int], int]) -> tuple[Rows, Rows]:
        """Event and member rows of what is complete: no hit before `complete_ns` will come.

        `absent` gives, for a time, a bit for every digitizer that was silent then.
        """
        groups = self._complete_groups(complete_ns)
        events = np.zeros(len(groups), plain(EVENT))
        members = np.zeros(sum(len(group) for group in groups), plain(MEMBER))
        at = 0
        for row, group in zip(events, groups, strict=True):
            self._fill_event(row, group, absent)
            self._fill_members(members[at : at + len(group)], int(row["event"]), group)
            at += len(group)
        return events, members

    def _complete_groups(self, complete_ns: int) -> list[list[Hit]]:
        groups: list[list[Hit]] = []
        for hit in self.state.waiting:
            if groups and hit.t_ns - groups[-1][-1].t_ns <= self._window_ns:
                groups[-1].append(hit)
            else:
                groups.append([hit])
        done = [g for g in groups if g[-1].t_ns + self._window_ns < complete_ns]
        self.state.waiting = self.state.waiting[sum(len(g) for g in done) :]
        return done

    def _fill_event(self, row: np.void, group: list[Hit], absent: Callable[[int], int]) -> None:
        state = self.state
        row["event"], row["t_ns"], row["n_records"] = state.next_event, group[0].t_ns, len(group)
        row["channels"] = sum({1 << hit.channel for hit in group})
        row["absent"] = absent(group[0].t_ns)
        row["late"] = group[0].t_ns < state.emitted_until
        state.next_event += 1
        state.emitted_until = max(state.emitted_until, group[0].t_ns)

    @staticmethod
    def _fill_members(rows: Rows, event: int, group: list[Hit]) -> None:
        rows["event"] = event
        rows["channel"] = [hit.channel for hit in group]
        rows["record"] = [hit.record for hit in group]
