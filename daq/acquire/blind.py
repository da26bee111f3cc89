"""Blinding: which records of a channel go to the restricted file, and when that is known.

A pulse is chosen by chance, which depends on seed, channel and sample alone, or by its height.
Every record of the channel that shares a sample with the chosen one's goes with it, for it would
show the pulse. So a record waits until no trigger within it can still come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt

from daq.acquire.chance import Uniform
from daq.acquire.events import EventsState
from daq.acquire.intervals import FOREVER, Interval
from daq.model.batch import RecordBatch, Rows
from daq.model.channel import Blinding, Channel
from daq.model.record import PULSES, RECORD, Flag, plain

Bools = npt.NDArray[np.bool_]


class WaitState(msgspec.Struct):
    """What a channel must remember: records that wait, and spans of those that were chosen."""

    table: bytes = b""
    samples: bytes = b""
    spans: list[Interval] = []
    hidden: int = 0  # records that went to the restricted file


class BlindState(msgspec.Struct):
    """What a run must remember: by channel, and the events that nothing is taken out of."""

    channels: dict[int, WaitState] = {}
    events: EventsState = msgspec.field(default_factory=EventsState)


class Blind:
    """What is kept from everybody in a run; without any of it, it costs nothing."""

    def __init__(self, channels: Sequence[Channel], seed: int, state: BlindState) -> None:
        self._blinders: dict[int, Blinder] = {}
        for i, channel in enumerate(channels):
            if channel.blinding is not None:
                waits = state.channels.setdefault(i, WaitState())
                self._blinders[i] = Blinder(i, channel, channel.blinding, seed, waits)
        self._hidden: list[RecordBatch] = []

    @property
    def active(self) -> bool:
        """Whether anything is."""
        return bool(self._blinders)

    def first(self, channel: int) -> int:
        """The trigger sample of the oldest record of a channel that is not told yet."""
        blinder = self._blinders.get(channel)
        return FOREVER if blinder is None else blinder.first

    def hidden(self, channel: int) -> int:
        """How many records of a channel went to the restricted file."""
        blinder = self._blinders.get(channel)
        return 0 if blinder is None else blinder.state.hidden

    def open(self, channel: int, fresh: list[RecordBatch], until: int) -> list[RecordBatch]:
        """Of a channel's records those that everybody may see now; none with a trigger before
        the digitizer sample `until` will still come. `take` gives the others."""
        blinder = self._blinders.get(channel)
        if blinder is None:
            return fresh
        seen, hidden = blinder.sort(fresh, until)
        self._hidden += [hidden] if len(hidden.table) else []
        return [seen] if len(seen.table) else []

    def take(self) -> list[RecordBatch]:
        """Those that went to the restricted file since the last time."""
        hidden, self._hidden = self._hidden, []
        return hidden


def restricted(events: Rows, members: Rows) -> tuple[Rows, Rows]:
    """Of whole events those with a blinded member, and these members: the others have no number."""
    members = members[members["record"] >= 0]
    return events[np.isin(events["event"], members["event"])], members


class Blinder:
    """Sorts the records of one channel."""

    def __init__(self, index: int, channel: Channel, how: Blinding, seed: int, state: WaitState):
        self._index, self._how, self.state = index, how, state
        self._chance = Uniform(seed, channel.name, "blinding")
        self._length, self._span = channel.record_length, channel.record_length * channel.decimation

    @property
    def first(self) -> int:
        """The trigger sample of the oldest record that waits."""
        table = self._waiting().table
        return int(table["trigger"][0]) if len(table) else FOREVER

    def sort(self, batches: list[RecordBatch], until: int) -> tuple[RecordBatch, RecordBatch]:
        """Records for all and records for the restricted file, each with numbers of their own;
        none with a trigger before the digitizer sample `until` will still come."""
        waiting = self._waiting()
        table = np.concatenate([waiting.table, *(b.table for b in batches)])
        samples = np.concatenate([waiting.samples, *(b.samples for b in batches)])
        fresh = table[len(waiting.table) :]
        starts = fresh["start"][self._chosen(fresh)].tolist()
        self.state.spans += [(start, start + self._span) for start in starts]
        n = int(np.count_nonzero(table["start"] + self._span <= until))
        hidden = self._touched(table[:n])
        self._remember(table[n:], samples[n:], until)
        return self._numbered(table[:n], samples[:n], hidden)

    def _chosen(self, table: Rows) -> Bools:
        """Which rows are pulses that are to be kept from everybody; no salt is."""
        how = self._how
        pulse = (table["causes"] & PULSES > 0) & np.isnan(table["salt_ev"])
        chance = [self._chance.of_chunk(int(at), 1)[0] < how.fraction for at in table["trigger"]]
        chosen = np.array(chance, bool) & pulse
        if how.low < how.high:
            values = table[how.quantity]
            inside = (values >= how.low) & (values < how.high)
            chosen |= pulse & (inside | np.isnan(values))  # what has no height may be in the window
            # a pulse without a record of its own, or one that hides the height of this one
            chosen |= table["flags"] & Flag.PILED_UP > 0
        return np.asarray(chosen, np.bool_)

    def _touched(self, table: Rows) -> Bools:
        hidden = np.zeros(len(table), np.bool_)
        for start, stop in self.state.spans:
            hidden |= (table["start"] < stop) & (table["start"] + self._span > start)
        return np.asarray(hidden, np.bool_)

    def _numbered(
        self, table: Rows, samples: npt.NDArray[np.int16],
        hidden: Bools,
    ) -> tuple[RecordBatch, RecordBatch]:  # fmt: skip
        before = self.state.hidden + np.cumsum(hidden) - hidden
        self.state.hidden += int(hidden.sum())
        table = table.copy()
        table["record"] = np.where(hidden, before, table["record"] - before)
        batch = RecordBatch(self._index, table, samples)
        return _some(batch, ~hidden), _some(batch, hidden)

    def _remember(self, table: Rows, samples: npt.NDArray[np.int16], until: int) -> None:
        oldest = min([*table["start"].tolist(), until - self._span])
        state = self.state
        state.table, state.samples = table.tobytes(), samples.astype("<i2").tobytes()
        state.spans = [span for span in state.spans if span[1] > oldest]

    def _waiting(self) -> RecordBatch:
        table = np.frombuffer(self.state.table, plain(RECORD))
        samples = np.frombuffer(self.state.samples, "<i2").astype(np.int16)
        return RecordBatch(self._index, table, samples.reshape(len(table), self._length))


def _some(batch: RecordBatch, which: Bools) -> RecordBatch:
    return replace(batch, table=batch.table[which], samples=batch.samples[which])
