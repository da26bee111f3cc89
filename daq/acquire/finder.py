"""One channel's own triggers: several at once, each with its holdoff, and the rate they may have.

Positions are record samples. What comes out is final: no sample that follows changes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from daq.acquire import trigger
from daq.acquire.filtered import Filtered
from daq.acquire.intervals import FOREVER, LONG_AGO, Intervals
from daq.acquire.tape import Tape
from daq.acquire.trigger import Blind, Crossings, Threshold
from daq.model.channel import PULSE_KINDS, Channel, TriggerSettings
from daq.model.record import PULSES, Cause

SOFTWARE, SECONDARY = -1, -2  # in place of a trigger's index in the channel's list


class Found(msgspec.Struct, frozen=True, array_like=True):
    """A trigger at a record sample: which of the channel's it was, and what a filter says."""

    sample: int
    entry: int
    cause: int
    amplitude: float = math.nan
    chi2: float = math.nan
    offset_s: float = math.nan


class EntryState(msgspec.Struct):
    """What one trigger must remember."""

    armed: list[bool] = []
    held: int = LONG_AGO  # none is accepted before this sample
    peaking: int = LONG_AGO  # accepted, and its peak is not known yet
    waiting: list[int] = []  # found, and not decided yet
    filtered: int = LONG_AGO  # of a filter: its pulses before this sample were taken


class FinderState(msgspec.Struct):
    """What a channel's triggers must remember."""

    entries: list[EntryState]
    searched: int = LONG_AGO  # all samples before this one
    accepted: list[Found] = []  # not released yet
    released: int = LONG_AGO  # everything before this sample was released
    second: int = LONG_AGO  # in which pulses are counted
    pulses: int = 0  # released in it
    crossings: list[tuple[int, int]] = []  # pulses lately, accepted or not: sample, entry


class Own(NamedTuple):
    """A trigger of the channel itself; `dropped` where the rate was too high for a record."""

    found: Found
    dropped: bool


class Finder:
    """The triggers of one channel; fills in what it costs in `dead`, in digitizer samples."""

    def __init__(
        self,
        channel: Channel,
        triggers: tuple[TriggerSettings, ...],
        seed: int,
        state: FinderState,
        dead: Mapping[str, Intervals],
        filtered: Filtered | None = None,
    ) -> None:
        self.channel, self.state, self._dead, self._seed = channel, state, dead, seed
        self._filtered = filtered
        self.lines: dict[int, int] = {}  # entry -> its line is known up to here
        self._second = round(channel.sample_rate_hz)
        self._set(triggers)

    def _set(self, triggers: tuple[TriggerSettings, ...]) -> None:
        c = self.channel
        self.triggers = triggers
        self._searches: list[Threshold | Blind | None] = [
            trigger.make(t, self._seed, c.name, c.record_rate_hz) for t in triggers
        ]
        kinds = [t.kind for t in triggers]
        self._main = next((i for i, kind in enumerate(kinds) if kind in PULSE_KINDS), -1)
        self._by_filter = kinds.index("matched") if "matched" in kinds else -1
        self._peaks = any(t.peak_search for t in triggers)
        self._history = max(
            (s.history for s in self._searches if isinstance(s, Threshold)), default=0
        )
        self.lines = {i: LONG_AGO for i, kind in enumerate(kinds) if kind == "external"}

    @property
    def by_filter(self) -> bool:
        """Whether the channel's first pulse trigger is its filter, so that live means by that."""
        return self._main >= 0 and self._main == self._by_filter

    @property
    def history(self) -> int:
        """Record samples before the searched ones that a search looks at."""
        return self._history

    @property
    def main_history(self) -> int:
        """Those of the channel's first pulse trigger."""
        if self._filtered is not None and self.by_filter:
            return self._filtered.head
        search = self._searches[self._main] if self._main >= 0 else None
        return search.history if isinstance(search, Threshold) else 0

    @property
    def tail(self) -> int:
        """Record samples before the end of a stretch in which the first pulse trigger is blind."""
        if self._filtered is not None and self.by_filter:
            return self._filtered.tail
        return 0

    @property
    def crossed(self) -> int:
        """Every pulse before this record sample is in `crossings`."""
        state = self.state
        if self._by_filter < 0:
            return state.searched
        return min(state.searched, state.entries[self._by_filter].filtered)

    def settled(self, first_of_stretch: int) -> int:
        """Nothing before this record sample will become dead by a trigger that still comes."""
        if self._filtered is None or not self.by_filter:
            return self.until
        behind = max(self._filtered.reach, self.channel.record_length - self.channel.pretrigger)
        return min(self.until, max(self.crossed - behind, first_of_stretch))

    @property
    def until(self) -> int:
        """No trigger before this record sample will still be accepted."""
        until = self.crossed
        if self._peaks:
            for entry in self.state.entries:
                if entry.peaking > LONG_AGO:
                    until = min(until, entry.peaking + 1)
        return min(until, *self.lines.values()) if self.lines else until

    @property
    def needs(self) -> int:
        """The first record sample that a search or a peak still needs."""
        peaks = [entry.peaking for entry in self.state.entries if entry.peaking > LONG_AGO]
        return min([self.state.searched - self.history, *peaks])

    def change(self, triggers: tuple[TriggerSettings, ...]) -> None:
        """Other triggers from the next sample to be searched on; what was accepted stays.

        A matched one stays in its place, with its threshold, and goes on.
        Where a peak is not known yet, the holdoff counts from the trigger.
        """
        for i, entry in enumerate(self.state.entries):
            while entry.waiting or entry.peaking > LONG_AGO:
                if entry.peaking > LONG_AGO:
                    sample, entry.peaking = entry.peaking, LONG_AGO
                    self._hold(i, sample, sample)
                if entry.waiting:
                    self._consider(i, entry.waiting.pop(0))
        before = self.state.entries
        self.state.entries = [EntryState() for _ in triggers]
        self._set(triggers)
        if self._by_filter >= 0:  # which stays in its place
            self.state.entries[self._by_filter] = before[self._by_filter]
        for entry, search in zip(self.state.entries, self._searches, strict=True):
            entry.armed = [False] * (search.arms if isinstance(search, Threshold) else 0)

    def open(self, first: int) -> None:
        """A new stretch begins at this record sample: nothing is known of what was before."""
        self.state.searched = first
        for entry, search in zip(self.state.entries, self._searches, strict=True):
            entry.armed = [False] * (search.arms if isinstance(search, Threshold) else 0)
            entry.peaking = LONG_AGO
            if search is not None:  # a line may go on across the gap
                entry.held = LONG_AGO
        if self._by_filter >= 0:
            entry = self.state.entries[self._by_filter]
            entry.held, entry.filtered = LONG_AGO, first

    def close(self, tape: Tape, first_of_stretch: int) -> None:
        """The stretch is over: what waits for a peak takes the highest that there is."""
        if self._filtered is not None:
            self._filtered.finish()
            self._take_filtered(self._filtered, first_of_stretch)
        self._decide(tape, final=True)

    def end(self) -> None:
        """The run is over: nothing more will be found."""
        self.state.searched = FOREVER
        if self._by_filter >= 0:
            self.state.entries[self._by_filter].filtered = FOREVER

    def offer(self, entry: int, sample: int) -> bool:
        """A line's trigger, in order; false where it comes too late."""
        if sample < self.state.released:
            return False
        self.state.entries[entry].waiting.append(sample)
        return True

    def order(self, sample: int) -> bool:
        """A record is asked for; false where it comes too late."""
        if sample < self.state.released:
            return False
        self.state.accepted.append(Found(sample, SOFTWARE, Cause.SOFTWARE))
        return True

    def search(self, tape: Tape, first_of_stretch: int) -> None:
        """Search everything that is on the tape and was not searched."""
        state = self.state
        if tape.stop > state.searched:
            for i, search in enumerate(self._searches):
                if isinstance(search, Blind):
                    earliest = max(state.searched, first_of_stretch + self.channel.pretrigger)
                    state.entries[i].waiting += search.between(earliest, tape.stop)
                elif search is not None:
                    self._search(i, search, tape, first_of_stretch)
            state.searched = tape.stop
        if self._filtered is not None:
            self._take_filtered(self._filtered, first_of_stretch)
        self._decide(tape, final=False)

    def release(self) -> list[Own]:
        """What was accepted and is final, in order, since the last time."""
        until, state = self.until, self.state
        state.released = max(state.released, until)
        if not state.accepted:
            return []
        ordered = sorted(state.accepted, key=lambda found: (found.sample, found.entry))
        n = sum(found.sample < until for found in ordered)
        state.accepted = ordered[n:]
        return [Own(found, self._too_many(found)) for found in ordered[:n]]

    # --- inside ---

    def _search(self, i: int, search: Threshold, tape: Tape, first_of_stretch: int) -> None:
        state, entry = self.state, self.state.entries[i]
        first = max(state.searched, first_of_stretch + search.history)
        while first < tape.stop:
            window = tape.window(first, search.history)
            stop = first + window.size - search.history
            found = search.find(window, first, entry.armed)
            if i == self._main:
                self._account(found, entry.armed, first, stop)
            entry.armed = found.armed
            if found.at:
                state.crossings += [(sample, i) for sample in found.at]
                earliest = first_of_stretch + self.channel.pretrigger
                entry.waiting += [sample for sample in found.at if sample >= earliest]
            first = stop

    def _take_filtered(self, filtered: Filtered, first_of_stretch: int) -> None:
        """Take the pulses that the filter has found, each once."""
        i, c = self._by_filter, self.channel
        entry = self.state.entries[i]
        for sample, height, chi2, offset_s, blind in filtered.take():
            if sample < entry.filtered:
                continue  # again, in a restart
            self.state.crossings.append((sample, i))
            if i == self._main:
                self._account_blind(max(sample - blind, first_of_stretch), sample, blind)
            if sample >= max(entry.held, first_of_stretch + c.pretrigger):
                found = Found(sample, i, Cause.MATCHED, height, chi2, offset_s)
                self.state.accepted.append(found)
                self._hold(i, sample, sample)
        entry.filtered = max(entry.filtered, filtered.complete_until)

    def _account_blind(self, first: int, sample: int, blind: int) -> None:
        """Beside a pulse another must be higher than the threshold to be seen."""
        factor = self.channel.decimation
        self._dead["holdoff"].add(first * factor, sample * factor)
        self._dead["holdoff"].add((sample + 1) * factor, (sample + blind + 1) * factor)
        if self.channel.pile_up == "isolated":
            self._account_isolated(sample)

    def _account(self, found: Crossings, armed: list[bool], first: int, stop: int) -> None:
        """Between firing and arming again, and until first armed, none can fire."""
        if not found.at and armed == [True] == found.armed:
            return  # it could fire all the while
        # of two directions the other one still could
        starts = [s + 1 for s in found.at] if len(armed) == 1 else []
        if not any(armed):
            starts.insert(0, first)
        factor = self.channel.decimation
        for i, start in enumerate(starts):
            end = found.freed[i] if i < len(found.freed) else stop
            self._dead["holdoff"].add(start * factor, end * factor)
        if self.channel.pile_up == "isolated":
            for sample in found.at:
                self._account_isolated(sample)

    def _account_isolated(self, sample: int) -> None:
        """Another pulse so near would have this one in its record, and neither would be kept."""
        c = self.channel
        first, last = sample + c.pretrigger - c.record_length + 1, sample + c.pretrigger
        self._dead["holdoff"].add(first * c.decimation, sample * c.decimation)
        self._dead["holdoff"].add((sample + 1) * c.decimation, (last + 1) * c.decimation)

    def _decide(self, tape: Tape, *, final: bool) -> None:
        for i, entry in enumerate(self.state.entries):
            if not entry.waiting and entry.peaking == LONG_AGO:
                continue  # as nearly always
            while entry.waiting or entry.peaking > LONG_AGO:
                if entry.peaking > LONG_AGO and not self._hold_from_peak(i, tape, final):
                    break
                if entry.waiting:
                    self._consider(i, entry.waiting.pop(0))

    def _consider(self, i: int, sample: int) -> None:
        """Accept a trigger unless it is in the holdoff."""
        entry, settings = self.state.entries[i], self.triggers[i]
        if sample < entry.held:
            return
        cause = Cause[settings.kind.upper()]
        self.state.accepted.append(Found(sample, i, cause))
        if settings.peak_search:
            entry.peaking = sample
        else:
            self._hold(i, sample, sample)

    def _hold_from_peak(self, i: int, tape: Tape, final: bool) -> bool:
        """Begin the holdoff at the peak; false where that is not known yet."""
        entry, settings = self.state.entries[i], self.triggers[i]
        stop = entry.peaking + settings.peak_search
        if tape.stop < stop and not final:
            return False
        values = tape.read(entry.peaking, min(stop, tape.stop)).astype(np.int32)
        away = {"rising": values, "falling": -values, "both": np.abs(values - values[0])}
        peak = entry.peaking + int(np.argmax(away[settings.direction]))
        trigger_sample, entry.peaking = entry.peaking, LONG_AGO
        self._hold(i, trigger_sample, peak)
        return True

    def _hold(self, i: int, sample: int, since: int) -> None:
        entry, holdoff = self.state.entries[i], self.triggers[i].holdoff
        entry.held = max(since + holdoff, sample + 1)
        if i == self._main:
            factor = self.channel.decimation
            self._dead["holdoff"].add((sample + 1) * factor, entry.held * factor)

    def _too_many(self, found: Found) -> bool:
        """Whether the second of the channel's clock has had its share of pulses already."""
        c, state = self.channel, self.state
        if not c.max_rate_hz or not PULSES >> found.cause & 1:
            return False
        second = found.sample * c.decimation // self._second
        if second != state.second:
            state.second, state.pulses = second, 0
        state.pulses += 1
        most = max(int(c.max_rate_hz), 1)
        if state.pulses == most:
            start, stop = (found.sample + 1) * c.decimation, (second + 1) * self._second
            self._dead["throttled"].add(start, stop)
        return state.pulses > most
