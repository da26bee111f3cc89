"""What becomes a record: triggers that fall together are one, and what a pile-up leaves of them."""

from __future__ import annotations

import math

import msgspec

from daq.acquire.finder import SECONDARY, Found
from daq.acquire.intervals import LONG_AGO, Intervals
from daq.model.channel import Channel
from daq.model.record import PULSES, Cause, mask_of

NOISE = mask_of((Cause.RANDOM, Cause.PERIODIC))
# which cause of several is the record's own, and gives it its time
RANK: dict[int, int] = {
    **dict.fromkeys((Cause.LEVEL, Cause.EDGE, Cause.MATCHED), 0),
    **dict.fromkeys((Cause.EXTERNAL, Cause.SOFTWARE), 1),
    **dict.fromkeys((Cause.PERIODIC, Cause.RANDOM), 2),
    Cause.SECONDARY: 3,
}


class Shot(msgspec.Struct, frozen=True, array_like=True):
    """What is to be one record: its own trigger, all causes, and the samples that are its pulse's.

    `members` are (sample, entry) of all that fell together, in order.
    """

    sample: int
    cause: int
    causes: int
    members: list[tuple[int, int]]
    amplitude: float = math.nan
    chi2: float = math.nan
    offset_s: float = math.nan


class PilesState(msgspec.Struct):
    """What must be remembered."""

    waiting: list[Found] = []  # not grouped yet
    merged: int = LONG_AGO  # every trigger before this sample was grouped
    last_pulse: int = LONG_AGO
    pending: list[Shot] = []  # not cut yet


class Piles:
    """Groups one channel's triggers into shots, in the order of their time."""

    def __init__(self, channel: Channel, state: PilesState, holdoff: Intervals) -> None:
        self._channel, self.state, self._holdoff = channel, state, holdoff

    @property
    def first(self) -> int:
        """No shot before this record sample will still come that is not pending."""
        waiting = self.state.waiting
        return min(waiting[0].sample, self.state.merged) if waiting else self.state.merged

    def add(self, found: list[Found]) -> None:
        """Take triggers in, in any order."""
        if not found:
            return
        together = [*self.state.waiting, *found]
        self.state.waiting = sorted(together, key=lambda one: (one.sample, one.entry))

    def group(self, until: int) -> list[Shot]:
        """The shots that are complete: no trigger before `until` will still come."""
        state = self.state
        state.merged = max(state.merged, until)
        shots: list[Shot] = []
        while state.waiting and state.waiting[0].sample + self._channel.merge_window <= until:
            n = self._together(state.waiting)
            shots.append(_shot(state.waiting[:n]))
            state.waiting = state.waiting[n:]
        return shots

    def in_a_pile(self, shot: Shot) -> bool:
        """Whether a pulse follows another within a record's length; one of a pile is kept."""
        c, state = self._channel, self.state
        if c.pile_up != "one" or not shot.causes & PULSES:
            return False
        piled = shot.sample < state.last_pulse + c.record_length
        state.last_pulse = shot.sample
        self.account()
        return piled

    def account(self) -> None:
        """Behind the last pulse none has a record of its own, also across a gap."""
        c, last = self._channel, self.state.last_pulse
        if c.pile_up == "one" and last > LONG_AGO:
            stop = (last + c.record_length) * c.decimation
            self._holdoff.add((last + 1) * c.decimation, stop)

    def _together(self, waiting: list[Found]) -> int:
        """How many of the first fall together: each trigger once, secondaries more often."""
        stop = waiting[0].sample + self._channel.merge_window
        entries: set[int] = set()
        last = waiting[0].sample
        for n, found in enumerate(waiting):
            again = found.entry in entries and found.entry != SECONDARY and found.sample > last
            if found.sample >= stop or again:
                return n
            entries.add(found.entry)
            last = found.sample
        return len(waiting)


def _shot(found: list[Found]) -> Shot:
    own = min(found, key=lambda one: (RANK[one.cause], one.sample, one.entry))
    return Shot(
        own.sample,
        own.cause,
        mask_of(one.cause for one in found),
        [(one.sample, one.entry) for one in found],
        own.amplitude,
        own.chi2,
        own.offset_s,
    )
