"""One channel's chain: decimate, search, cut records, account for every sample.

All positions are absolute. `state` holds everything that cannot be had again from the samples of
the last `history` digitizer samples; feeding those again after a restart changes nothing that was
already done, because every step begins at its own watermark.
"""

from __future__ import annotations

import zlib

import msgspec
import numpy as np

from daq.acquire import kernels, trigger
from daq.acquire.decimate import Decimator, reach
from daq.acquire.intervals import Interval, Intervals, shares
from daq.acquire.kernels import I16
from daq.acquire.tape import Tape
from daq.model.batch import RecordBatch, Rows
from daq.model.channel import Channel
from daq.model.record import DEAD_CAUSES, LEDGER, RECORD, Flag, plain

LONG_AGO = -(2**62)


class ChainState(msgspec.Struct):
    """What a chain must remember. Digitizer samples: start, railed, told, dead; the others are
    record samples (digitizer sample / decimation)."""

    start: int  # first digitizer sample of the present stretch
    railed: int  # searched for saturation up to here
    told: int  # the ledger is written up to here
    reached: int = LONG_AGO  # the stretch has record samples up to here
    searched: int = LONG_AGO  # searched for triggers up to here
    armed: bool = False  # after a gap we cannot know, so we do not fire
    last: int = LONG_AGO  # the last trigger that was accepted
    pending: list[int] = []  # triggers whose record is not cut yet
    crossings: list[int] = []  # all that fired lately, accepted or not
    next_record: int = 0
    truncated: int = 0  # triggers without a whole record, because of a gap or the stop
    dead: dict[str, list[Interval]] = {}


class Chain:
    """One channel of one run: digitizer samples go in, records and ledger rows come out."""

    def __init__(self, index: int, channel: Channel, state: ChainState) -> None:
        self.index, self.channel, self.state = index, channel, state
        self._trigger = trigger.make(channel.trigger)
        self._dead = {cause: Intervals(state.dead.get(cause, [])) for cause in DEAD_CAUSES}
        self._after_rail = channel.decimation
        self._row_samples = round(channel.sample_rate_hz)
        self._begin(state.start)

    @classmethod
    def fresh(cls, index: int, channel: Channel, start: int) -> Chain:
        """A chain whose run begins at digitizer sample `start`."""
        chain = cls(index, channel, ChainState(start=start, railed=start, told=start))
        chain._open_stretch(start)
        return chain

    @property
    def fed(self) -> int:
        """Digitizer samples were taken in up to here, counting anew after a restart."""
        return self._fed

    @property
    def history(self) -> int:
        """Digitizer samples before the last fed one that a restart needs again."""
        c = self.channel
        samples = c.record_length + c.pretrigger + self._trigger.history + 2
        return samples * c.decimation + 2 * reach(c.decimation) + c.decimation

    @property
    def complete_until(self) -> int:
        """No record with a trigger before this digitizer sample will still come."""
        state = self.state
        searched = max(state.searched, self._decimator.first)
        first = min(state.pending[0], searched) if state.pending else searched
        return first * self.channel.decimation

    def feed(self, samples: I16) -> None:
        """Take the next digitizer samples of the stretch in."""
        self._search_rails(samples)
        self._fed += samples.size
        self._tape.append(self._decimator.feed(samples))
        self.state.reached = max(self.state.reached, self._tape.stop)
        self._search_triggers()

    def gap(self, start: int, stop: int) -> list[RecordBatch]:
        """Samples [start, stop) are lost; what could still be cut before them."""
        records = self.records()
        self._close_stretch(start)
        self._dead["gap"].add(start, stop)
        self._open_stretch(stop)
        return records

    def finish(self, stop: int) -> list[RecordBatch]:
        """The run ends at `stop`: the last records. The ledger is then complete up to there."""
        records = self.records()
        self._close_stretch(stop)
        self.state.searched = max(self.state.searched, stop // self.channel.decimation + 1)
        return records

    def records(self) -> list[RecordBatch]:
        """The records that can be cut now, as one batch or none."""
        c, state = self.channel, self.state
        ready = [t for t in state.pending if t - c.pretrigger + c.record_length <= self._tape.stop]
        state.pending = state.pending[len(ready) :]
        batch = [self._cut(ready)] if ready else []
        self._forget()
        return batch

    def ledger(self, until: int | None = None) -> Rows:
        """Rows of one second each that are settled; all up to `until` where the run ends there."""
        stop = self._settled() if until is None else until
        edges = range(-(-(self.state.told + 1) // self._row_samples), stop // self._row_samples + 1)
        cuts = [n * self._row_samples for n in edges]
        if until is not None and (not cuts or cuts[-1] < until) and until > self.state.told:
            cuts.append(until)
        rows = np.zeros(len(cuts), plain(LEDGER))
        for row, cut in zip(rows, cuts, strict=True):
            self._fill_row(row, cut)
        return rows

    def checkpoint(self) -> ChainState:
        """The state with everything in it."""
        self.state.dead = {cause: parts.parts() for cause, parts in self._dead.items()}
        return self.state

    def restart(self, sample: int) -> None:
        """Samples come again from `sample` on, which is in the present stretch."""
        self._begin(max(sample, self.state.start))

    # --- stretches ---

    def _begin(self, start: int) -> None:
        self._fed = start
        self._decimator = Decimator(self.channel.decimation, start)
        self._tape = Tape(self._decimator.first)

    def _open_stretch(self, start: int) -> None:
        """A new contiguous stretch: nothing is known of what was before it."""
        self._begin(start)
        state, c = self.state, self.channel
        state.start = state.railed = start
        state.armed, state.last = False, LONG_AGO
        state.crossings, state.pending = [], []
        state.reached = self._decimator.first
        state.searched = self._decimator.first + self._trigger.history
        first = max(state.searched, self._decimator.first + c.pretrigger)
        self._dead["edge"].add(start, first * c.decimation)

    def _close_stretch(self, stop: int) -> None:
        """The stretch ends at `stop`: triggers without room for their record are none."""
        state, c = self.state, self.channel
        last = state.reached - c.record_length + c.pretrigger
        state.truncated += len(state.pending)
        state.pending = []
        self._dead["edge"].add(max((last + 1) * c.decimation, state.start), stop)
        for cause in ("edge", "saturated", "holdoff"):
            self._dead[cause] = Intervals(self._dead[cause].within(LONG_AGO, stop))

    # --- searching ---

    def _search_rails(self, samples: I16) -> None:
        """Saturation is looked for in the undecimated samples."""
        fresh = samples[max(self.state.railed - self._fed, 0) :]
        if not fresh.size:
            return
        start = self._fed + samples.size - fresh.size
        self.state.railed = start + fresh.size
        if not kernels.touches_rail(fresh):
            return
        room = fresh.size // (self._after_rail + 1) + 2
        starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
        n = kernels.rail_stretches(fresh, self._after_rail, starts, stops)
        for a, b in zip(starts[:n].tolist(), stops[:n].tolist(), strict=True):
            self._dead["saturated"].add(start + a, start + b)

    def _search_triggers(self) -> None:
        state, tape = self.state, self._tape
        if tape.stop <= state.searched:
            return
        first = state.searched
        window = tape.read(first - self._trigger.history, tape.stop)
        found = self._trigger.find(window, state.armed)
        shift = first - self._trigger.history
        at = [shift + i for i in found.at.tolist()]
        freed = [shift + i for i in found.freed.tolist()]
        self._account_disarmed(at, freed, tape.stop)
        state.armed, state.searched = found.armed, tape.stop
        state.crossings += at
        for sample in at:
            self._consider(sample)

    def _account_disarmed(self, at: list[int], freed: list[int], stop: int) -> None:
        """Between firing and arming again, and from a start until first armed, none can fire."""
        starts = [s + 1 for s in at]
        if not self.state.armed:
            starts.insert(0, self.state.searched)
        factor = self.channel.decimation
        for i, start in enumerate(starts):
            end = freed[i] if i < len(freed) else stop
            self._dead["holdoff"].add(start * factor, end * factor)

    def _consider(self, sample: int) -> None:
        """Accept a crossing unless it is in the holdoff or too near the stretch's start."""
        c, state = self.channel, self.state
        if sample - state.last < c.trigger.holdoff:
            return
        if sample - c.pretrigger < self._first_of_stretch():
            return
        state.last = sample
        state.pending.append(sample)
        factor = c.decimation
        self._dead["holdoff"].add((sample + 1) * factor, (sample + c.trigger.holdoff) * factor)

    def _first_of_stretch(self) -> int:
        factor = self.channel.decimation
        return -(-(self.state.start + reach(factor)) // factor)

    # --- cutting ---

    def _cut(self, triggers: list[int]) -> RecordBatch:
        c, state = self.channel, self.state
        samples = np.empty((len(triggers), c.record_length), np.int16)
        for row, t in zip(samples, triggers, strict=True):
            row[:] = self._tape.read(t - c.pretrigger, t - c.pretrigger + c.record_length)
        table = np.zeros(len(triggers), plain(RECORD))
        table["record"] = state.next_record + np.arange(len(triggers))
        table["trigger"] = np.array(triggers) * c.decimation
        table["start"] = (np.array(triggers) - c.pretrigger) * c.decimation
        table["cause"] = self._trigger.cause
        table["flags"] = [self._flags(t) for t in triggers]
        table["crc"] = [zlib.crc32(row.tobytes()) for row in samples]
        described = np.empty((len(triggers), 3), np.float32)
        kernels.describe(samples, c.pretrigger, c.trigger.falling, described)
        table["baseline"], table["baseline_rms"], table["height"] = described.T
        state.next_record += len(triggers)
        return RecordBatch(self.index, table, samples)

    def _flags(self, t: int) -> int:
        c = self.channel
        start, stop = t - c.pretrigger, t - c.pretrigger + c.record_length
        others = [x for x in self.state.crossings if start <= x < stop and x != t]
        railed = self._dead["saturated"].within(start * c.decimation, stop * c.decimation)
        return (Flag.SATURATED if railed else 0) | (Flag.PILED_UP if others else 0)

    def _forget(self) -> None:
        """Drop what neither a record nor a search can still need."""
        c, state = self.channel, self.state
        oldest = min(state.pending[0] if state.pending else state.searched, state.searched)
        keep = oldest - max(c.pretrigger, self._trigger.history)
        self._tape.forget_before(keep)
        state.crossings = [x for x in state.crossings if x >= keep]

    # --- the ledger ---

    def _settled(self) -> int:
        """Nothing that comes can change what was before this digitizer sample."""
        c = self.channel
        whole = self.state.reached - c.record_length + c.pretrigger
        return max(min(whole, self.state.searched) * c.decimation, self.state.start)

    def _fill_row(self, row: np.void, stop: int) -> None:
        start = self.state.told
        taken = shares([self._dead[cause] for cause in DEAD_CAUSES], start, stop)
        row["channel"], row["start"], row["stop"] = self.index, start, stop
        row["live"] = stop - start - sum(taken)
        for cause, n in zip(DEAD_CAUSES, taken, strict=True):
            row[cause] = n
        self.state.told = stop
        for parts in self._dead.values():
            parts.forget_before(min(stop, self._flags_need()))

    def _flags_need(self) -> int:
        """Saturation must be known as far back as a record can begin."""
        c, state = self.channel, self.state
        oldest = state.pending[0] if state.pending else state.searched
        return (oldest - c.pretrigger) * c.decimation
