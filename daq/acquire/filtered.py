"""Optimum filters in the chains: alike channels are fed in step and searched as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from daq.acquire.filters import Filter
from daq.acquire.kernels import I16
from daq.acquire.matched import MatchedFilters
from daq.acquire.tape import Tape

Taken = tuple[int, float, float, float, int]  # sample, height [counts], chi2, offset [s], blind


class Turn(NamedTuple):
    """A filter of a channel, with its threshold [counts], from a record sample on."""

    since: int
    filter: Filter
    threshold: float


class Bank:
    """The filters of channels of one digitizer that share record rate, length and pretrigger.

    The engine gets what all of them have: a guard may hold some samples of one channel back for
    a while. At the end of a stretch all have the same. A channel gets what it would get alone.
    """

    def __init__(self, channels: Sequence[Sequence[Turn]], start: int) -> None:
        """The filters of each channel, in order; a stretch begins at record sample `start`."""
        self._now = [_at(turns, start) for turns in channels]
        self.rate_hz = self._now[0].filter.rate_hz
        self.engine = MatchedFilters(*self._both(), start)
        later = {turn.since for turns in channels for turn in turns[1:] if turn.since > start}
        for since in sorted(later):
            self._now = [_at(turns, since) for turns in channels]
            self.engine.with_filters(*self._both(), since)
        self._rows = [Tape(start) for _ in channels]  # what the engine has not yet
        self._awaited = len(self._rows)  # how many of them are empty
        self._begun: tuple[int, int] | None = (start, start)  # where, while nothing was fed since

    def channel(self, i: int) -> Filtered:
        """One of the channels."""
        return Filtered(self, i)

    def begin(self, start: int, first: int) -> None:
        """A stretch that begins at `start`, of which samples come from `first` on; each channel
        says so, when all have taken what was found before."""
        if self._begun == (start, first):
            return
        self.engine.gap(start)
        if first > start:
            self.engine.restart(first)
        self._rows = [Tape(first) for _ in self._rows]
        self._awaited = len(self._rows)
        self._begun = start, first

    def feed(self, i: int, samples: I16) -> None:
        """The next samples of a channel."""
        row = self._rows[i]
        self._awaited -= row.stop == row.start
        row.append(samples)
        if not self._awaited:
            start, stop = row.start, min(each.stop for each in self._rows)
            self.engine.feed([each.read(start, stop) for each in self._rows])
            for each in self._rows:
                each.forget_before(stop)
            self._awaited = sum(each.stop == stop for each in self._rows)
            self._begun = None

    def change(self, turns: Mapping[int, Turn], since: int) -> None:
        """Other filters of some channels from record sample `since` on."""
        self._now = [turns.get(i, turn) for i, turn in enumerate(self._now)]
        self.engine.with_filters(*self._both(), since)

    def _both(self) -> tuple[list[Filter], list[float]]:
        return [turn.filter for turn in self._now], [turn.threshold for turn in self._now]


def _at(turns: Sequence[Turn], sample: int) -> Turn:
    """The last that began by then; the first where none did."""
    return next((turn for turn in reversed(turns) if turn.since <= sample), turns[0])


class Filtered:
    """The search for one channel's pulses; positions are record samples.

    What it finds is the same from any restart on, but found again: the caller knows what it had.
    """

    def __init__(self, bank: Bank, i: int) -> None:
        self.bank, self.index, self._engine = bank, i, bank.engine

    @property
    def complete_until(self) -> int:
        """No pulse before this sample will still be found in this stretch."""
        return self._engine.until(self.index)

    @property
    def history(self) -> int:
        """Samples before the last one that a restart needs again."""
        return self._engine.history

    @property
    def head(self) -> int:
        """So near the start of a stretch a pulse may not be found."""
        return self._engine.head(self.index)

    @property
    def tail(self) -> int:
        """So near its end it may not."""
        return self._engine.tail(self.index)

    @property
    def reach(self) -> int:
        """A pulse raises the threshold no farther away than this."""
        return self._engine.reach(self.index)

    def begin(self, start: int, first: int) -> None:
        """A stretch that begins at `start`, of which samples come from `first` on."""
        self.bank.begin(start, first)

    def feed(self, samples: I16) -> None:
        """Take the next samples in; they must not change afterwards."""
        if samples.size:
            self.bank.feed(self.index, samples)

    def finish(self) -> None:
        """The stretch is over, for all channels of the bank."""
        self._engine.finish()

    def take(self) -> list[Taken]:
        """Pulses in order."""
        rate_hz = self.bank.rate_hz
        return [
            (p.sample, p.amplitude, p.chi2, p.offset / rate_hz, p.blind)
            for p, _ in self._engine.take_of(self.index)
        ]
