"""One channel's chain: decimate, search, cut records, account for every sample.

All positions are absolute. `state` holds everything that cannot be had again from the samples
that a restart needs; feeding those again changes nothing that was already done, because every
step begins at its own watermark.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np

from daq.acquire import kernels
from daq.acquire.decimate import Decimator, reach
from daq.acquire.filtered import Filtered
from daq.acquire.finder import SECONDARY, EntryState, Finder, FinderState, Found, Own
from daq.acquire.guard import Guard, GuardHit, GuardState
from daq.acquire.intervals import FOREVER, LONG_AGO, Interval, Intervals, kept, shares
from daq.acquire.kernels import I16
from daq.acquire.piles import NOISE, Piles, PilesState, Shot
from daq.acquire.records import Beside, Cutter
from daq.acquire.salts import Salter
from daq.acquire.tape import Tape
from daq.model.batch import RecordBatch, Rows, no_rows
from daq.model.channel import Channel, TriggerSettings
from daq.model.record import DEAD_CAUSES, LEDGER, PULSES, SALT, Cause, plain

LOOK_BACK = 4096  # record samples that are kept for triggers that are set in the run
FORGET_EVERY = 1024  # record samples: the tape and what a restart needs lag by no more
NO_SALTS = no_rows(SALT)
NO_RECORDS = ("paused", "disk_full")  # a trigger in them has no record
# no causes of the ledger's: where a hit of the guard lies, where a jump may look like a pulse,
# and what a line says of heater pulses, which counts with what the door says
GUARDED = ("guard", "jump", "pulser")


class Closed(msgspec.Struct, frozen=True, array_like=True):
    """The end of a stretch before a gap, for records that still wait for other channels."""

    start: int
    samples: bytes


class Loaded(msgspec.Struct, frozen=True, array_like=True):
    """A filter that was loaded in the run: from which record sample on, and its threshold
    [counts]."""

    since: int
    sha256: str
    threshold: float


class ChainState(msgspec.Struct):
    """What a chain must remember. Digitizer samples: start, railed, told, stop, dead, windows; the
    others are record samples (digitizer sample / decimation)."""

    start: int  # first digitizer sample of the present stretch
    railed: int  # searched for saturation up to here
    told: int  # the ledger is written up to here
    finder: FinderState
    piles: PilesState = msgspec.field(default_factory=PilesState)
    stop: int = FOREVER  # the run ends here
    reached: int = LONG_AGO  # the stretch has record samples up to here
    keep: int = LONG_AGO  # samples before this one are not needed any more
    closed: list[Closed] = []
    next_record: int = 0
    # from this sample on, this settings epoch
    epochs: list[tuple[int, int]] = msgspec.field(default_factory=lambda: [(LONG_AGO, 0)])
    drops: dict[str, int] = {}  # triggers without a record, by cause
    triggers: tuple[TriggerSettings, ...] | None = None  # where they were changed in the run
    # filters that may still find a pulse; the run's own, if it may, has no hash
    loaded: list[Loaded] = []
    dead: dict[str, list[Interval]] = {}
    salted: int = LONG_AGO  # salts before this record sample were told
    salts_found: list[int] = []  # record samples of those that are not told and have a trigger
    windows: list[list[Interval]] = []  # what each of the plan's windows tags
    guard: GuardState | None = None


class Chain:
    """One channel of one run: digitizer samples go in, records and ledger rows come out."""

    def __init__(
        self,
        index: int,
        channel: Channel,
        seed: int,
        state: ChainState,
        filtered: Filtered | None = None,
    ) -> None:
        self.index, self.channel, self.state = index, channel, state
        causes = (*DEAD_CAUSES, *GUARDED)
        self._dead = {cause: Intervals(state.dead.get(cause, [])) for cause in causes}
        self.windows = [Intervals(parts) for parts in state.windows]
        self.filtered = filtered
        self._finder = Finder(channel, self.triggers, seed, state.finder, self._dead, filtered)
        self._piles = Piles(channel, state.piles, self._dead["holdoff"])
        self._salter = Salter(channel, seed)
        self._cutter = Cutter(index, channel, self._dead, self._salter)
        self._guard = self._guarded(state)
        self._row_samples = round(channel.sample_rate_hz)
        self._past = [
            Tape.holding(c.start, np.frombuffer(c.samples, np.int16)) for c in state.closed
        ]
        self._begin(state.start)

    @classmethod
    def fresh(cls, index: int, channel: Channel, seed: int, windows: int, start: int) -> Chain:
        """A chain without a filter whose run begins at digitizer sample `start`; so many windows
        may tag it."""
        chain = cls(index, channel, seed, beginning(channel, windows, start))
        chain.open(start)
        return chain

    # --- how it stands ---

    @property
    def fed(self) -> int:
        """Digitizer samples were taken in up to here, counting anew after a restart."""
        return self._fed

    @property
    def needed_from(self) -> int:
        """The first digitizer sample that a restart needs again."""
        factor = self.channel.decimation
        if self.state.stop < FOREVER:
            return self.state.stop
        keep = max(self.state.keep * factor - reach(factor), self.state.start)
        return keep if self._guard is None else min(keep, self._guard.needs)

    @property
    def own_until(self) -> int:
        """No trigger of its own before this record sample will still come."""
        return self._finder.until

    @property
    def complete_until(self) -> int:
        """No record with a trigger before this digitizer sample will still come."""
        pending, first = self.state.piles.pending, self._piles.first
        if pending:
            first = min(pending[0].sample, first)
        return first * self.channel.decimation if first < FOREVER else FOREVER

    @property
    def settled(self) -> int:
        """Nothing of its own that comes can change what was before this digitizer sample."""
        c, state = self.channel, self.state
        if state.stop < FOREVER:
            return min(state.stop, self._until_digitizer())
        whole = (state.reached - self._room_after) * c.decimation
        return min(max(whole, state.start), self._until_digitizer(), self._judged_until)

    @property
    def next_row(self) -> int:
        """Where the next row of the ledger can end."""
        edge = (self.state.told // self._row_samples + 1) * self._row_samples
        return min(edge, max(self.state.stop, self.state.told))

    @property
    def empty(self) -> bool:
        """Whether everything that was fed has come out."""
        return self.complete_until == FOREVER and self.state.told >= self.state.stop

    @property
    def salted(self) -> bool:
        """Whether pulses are added to it."""
        return self._salter.active

    @property
    def throttled(self) -> bool:
        """Whether its rate is too high at present."""
        return self._dead["throttled"].holds(self._fed)

    # --- what goes in ---

    def feed(self, samples: I16) -> None:
        """Take the next digitizer samples of the stretch in."""
        self._search_rails(samples)
        self._fed += samples.size
        self._pass(samples if self._guard is None else self._guard.feed(samples))

    def _pass(self, samples: I16) -> None:
        fresh = self._decimator.feed(samples)
        if self._salter.active:
            fresh = self._salter.add(fresh, self._tape.stop)
        self._tape.append(fresh)
        if self.filtered is not None:
            self.filtered.feed(fresh)
        self.state.reached = max(self.state.reached, self._tape.stop)

    def flush(self) -> None:
        """The stretch is over: what the guard held back passes, before any chain of the
        digitizer closes its own."""
        if self._guard is not None:
            self._pass(self._guard.finish())

    def close(self, start: int, stop: int, cause: str) -> None:
        """Samples [start, stop) are lost; the ledger has a column for a full disk."""
        self._close_stretch(start)
        self._dead[cause if cause == "disk_full" else "gap"].add(start, stop)

    def open(self, start: int) -> None:
        """A new contiguous stretch, when all chains of the digitizer have closed theirs: nothing
        is known of what was before it."""
        state, c = self.state, self.channel
        state.start = state.railed = start
        if self._guard is not None:
            self._guard.open(start)
        self._begin(start)
        first = state.reached = self._decimator_first
        self._finder.open(first)
        whole = first + max(self._finder.main_history, c.pretrigger)
        self._dead["edge"].add(start, whole * c.decimation)

    def finish(self, stop: int) -> None:
        """The run ends at `stop`."""
        self._close_stretch(stop)
        self.state.stop = stop
        self._finder.end()

    def restart(self, sample: int) -> None:
        """Samples come again from `sample` on, which is in the present stretch."""
        self._begin(max(sample, self.state.start))

    def change(self, triggers: tuple[TriggerSettings, ...], epoch: int) -> None:
        """Other triggers from the next sample on, in a new settings epoch."""
        self.search()
        self._finder.change(triggers)
        if not self._finder.by_filter:  # which goes on as it was
            self._dead["holdoff"].end_at(self.state.finder.searched * self.channel.decimation)
        self.state.triggers = triggers
        self.new_epoch(epoch)

    def load(self, sha256: str, threshold: float) -> int:
        """Another filter, which its bank is told of: from which record sample on."""
        self.search()
        since, before = self.state.reached, self.triggers
        at = next(i for i, t in enumerate(before) if t.kind == "matched")
        if not self.state.loaded:
            self.state.loaded = [Loaded(LONG_AGO, "", before[at].threshold)]
        self.state.loaded.append(Loaded(since, sha256, threshold))
        after = replace(before[at], threshold=threshold)
        self.state.triggers = (*before[:at], after, *before[at + 1 :])
        return since

    @property
    def triggers(self) -> tuple[TriggerSettings, ...]:
        """Those that are in force."""
        changed = self.state.triggers
        return self.channel.triggers if changed is None else changed

    def new_epoch(self, epoch: int) -> None:
        """Records from the next sample on are of this settings epoch."""
        self.search()
        at = self.state.finder.searched
        before = [(sample, old) for sample, old in self.state.epochs if sample < at]
        self.state.epochs = [*before, (at, epoch)]

    # --- what other channels and the door have to say; in record samples where not said ---

    def offer(self, entry: int, sample: int) -> None:
        """Its line triggered."""
        if not self._finder.offer(entry, sample):
            self._drop("late")

    def line_reaches(self, entry: int, until: int) -> None:
        """Its line will not trigger before this sample any more."""
        self._finder.lines[entry] = until

    def read_out(self, sample: int) -> None:
        """Another channel that it is read out with triggered."""
        if sample < self.state.piles.merged:
            self._drop("late")
        else:
            self._piles.add([Found(sample, SECONDARY, Cause.SECONDARY)])

    def miss(self) -> None:
        """It was told of a trigger that it can wait for no longer."""
        self._drop("late")

    def order(self, sample: int) -> None:
        """A record at this digitizer sample is asked for."""
        if not self._finder.order(-(-sample // self.channel.decimation)):
            self._drop("late")

    def tag(self, window: int, start: int, stop: int, costs: str) -> None:
        """A window tags digitizer samples [start, stop), which costs live time where not ""."""
        self.windows[window].add(start, stop)
        if costs:
            self._dead[costs].add(max(start, self.state.told), stop)

    def begin_dead(self, cause: str, sample: int) -> None:
        """From this digitizer sample on it is dead for a cause."""
        self._dead[cause].add(sample, FOREVER)
        if cause == "unlocked" and self._guard is not None:
            self._guard.relock(sample)

    def end_dead(self, cause: str, sample: int) -> None:
        """Until this digitizer sample it was."""
        self._dead[cause].end_at(sample)
        if cause == "unlocked" and self._guard is not None:
            self._guard.relocked(sample)

    # --- what comes out ---

    def search(self) -> None:
        """Search everything that was fed."""
        self._finder.search(self._tape, self._decimator_first)

    def release(self) -> list[Own]:
        """Its own triggers that are final, since the last time."""
        own = self._finder.release()
        self._piles.add([one.found for one in own if not one.dropped])
        for one in own:
            if one.dropped:
                self._drop("throttled")
            elif self.is_salt(one):
                self._note_salt(one.found.sample)
        return own

    def _note_salt(self, sample: int) -> None:
        salt = self._salter.of(sample)
        if salt is not None and salt.sample not in self.state.salts_found:
            self.state.salts_found.append(salt.sample)

    def records(self, until: int) -> list[RecordBatch]:
        """The records that can be cut now, as one batch or none; no trigger before the record
        sample `until` will still come from other channels."""
        for shot in self._piles.group(min(until, self._finder.until)):
            if self._wanted(shot):
                self.state.piles.pending.append(shot)
        ready = self._ready() if self.state.piles.pending else []
        batch = [self._cut(ready)] if ready else []
        if batch or self._past or self._tape.stop >= self._forget_at:
            self._forget()
        return batch

    def is_salt(self, own: Own) -> bool:
        """Whether a trigger is of a pulse that software added, so that nobody else may hear."""
        return bool(self._salter.active and PULSES >> own.found.cause & 1) and (
            self._salter.of(own.found.sample) is not None
        )

    def salts(self) -> Rows:
        """Those of which it is settled what became of them, since the last time; t_ns is 0."""
        if not self._salter.active:
            return NO_SALTS
        factor = self.channel.decimation
        start, stop = self.state.salted, self.settled // factor - self._salter.near
        if stop <= start:
            return NO_SALTS
        self.state.salted = stop
        told = self._salter.between(start, stop)
        found = self.state.salts_found
        self.state.salts_found = [sample for sample in found if sample >= stop]
        rows = np.zeros(len(told), plain(SALT))
        for row, salt in zip(rows, told, strict=True):
            row["channel"], row["sample"] = self.index, salt.sample * factor
            row["energy_ev"], row["height"] = salt.energy_ev, salt.height
            row["found"] = salt.sample in found
            row["counts"] = row["found"] or not self._is_dead(salt.sample * factor)
        return rows

    def _is_dead(self, sample: int) -> bool:
        """Whether it could not trigger there, for any cause that stops a trigger."""
        return any(
            self._dead[cause].holds(sample)
            for cause in DEAD_CAUSES
            if cause not in ("vetoed", "salted")
        )

    def ledger(self, until: int) -> Rows:
        """Rows of one second each that are settled, where nothing before the digitizer sample
        `until` can still become vetoed; the last row ends where the run does."""
        stop = min(until, self.settled)
        cuts = []
        while self.next_row <= stop and self.next_row > self.state.told:
            cuts.append((self.state.told, self.next_row))
            self.state.told = self.next_row
        rows = [self._row(*cut) for cut in cuts]
        return np.array(rows, plain(LEDGER))

    def hits(self) -> list[GuardHit]:
        """What the guard found and is over, since the last time."""
        return self._guard.take() if self._guard is not None else []

    @property
    def guard(self) -> Guard | None:
        """What guards it, if anything does."""
        return self._guard

    def forget_windows(self, sample: int) -> None:
        """What tags digitizer samples before this one will not be asked for again."""
        for window in self.windows:
            window.forget_before(sample)

    def checkpoint(self) -> ChainState:
        """The state with everything in it."""
        if len(self.state.loaded) > 1:
            self._forget_loaded()
        self.state.dead = kept(self._dead)
        self.state.windows = [window.parts() for window in self.windows]
        return self.state

    def _forget_loaded(self) -> None:
        """A filter is needed until its successor has found all pulses that both may find."""
        loaded, sure = self.state.loaded, self._finder.crossed - 2 * self.channel.record_length
        n = sum(later.since <= sure for later in loaded[1:])
        self.state.loaded = loaded[n:]

    # --- stretches ---

    def _guarded(self, state: ChainState) -> Guard | None:
        """The guard, where the channel has one, as the state knows it."""
        if self.channel.guarding is None:
            return None
        state.guard = state.guard or Guard.at(state.start)
        return Guard(self.channel.guarding, self.channel.sample_rate_hz, state.guard, self._dead)

    @property
    def _judged_until(self) -> int:
        """The guard will find nothing before this digitizer sample any more."""
        return FOREVER if self._guard is None else self._guard.settled

    @property
    def _first_of_stretch(self) -> int:
        return first_record_sample(self.channel, self.state.start)

    @property
    def _room_after(self) -> int:
        """Record samples that must follow a trigger for it to be found and have its record."""
        return max(self.channel.record_length - self.channel.pretrigger, self._finder.tail)

    def _begin(self, start: int) -> None:
        self._fed = start
        self._decimator = Decimator(self.channel.decimation, start)
        self._tape = Tape(self._decimator.first)
        self._forget_at = self._tape.stop
        self._decimator_first = self._first_of_stretch
        if self.filtered is not None:
            self.filtered.begin(self._decimator_first, self._tape.start)
        if self._guard is not None:
            self._guard.begin(start)

    def _close_stretch(self, stop: int) -> None:
        """The stretch ends at `stop`: what has no room for its record there has none."""
        self.search()
        self._finder.close(self._tape, self._decimator_first)
        c, state = self.channel, self.state
        last = state.reached - self._room_after
        self._dead["edge"].add(max((last + 1) * c.decimation, state.start), stop)
        for cause in ("edge", "saturated", "holdoff"):
            self._dead[cause].end_at(stop)
        self._piles.account()
        self._past.append(self._tape)
        self._note_closed()

    def _note_closed(self) -> None:
        keep = self._oldest()
        for tape in self._past:
            tape.forget_before(keep)
        self._past = [tape for tape in self._past if tape.stop > tape.start]
        self.state.closed = [
            Closed(tape.start, tape.read(tape.start, tape.stop).tobytes()) for tape in self._past
        ]

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
        after = self.channel.decimation
        room = fresh.size // (after + 1) + 2
        starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
        n = kernels.rail_stretches(fresh, after, starts, stops)
        for a, b in zip(starts[:n].tolist(), stops[:n].tolist(), strict=True):
            self._dead["saturated"].add(start + a, start + b)

    # --- cutting ---

    def _wanted(self, shot: Shot) -> bool:
        """Whether a shot is to become a record; what is dropped is counted by its cause."""
        piled = self._piles.in_a_pile(shot)
        if not self.channel.recorded:
            return False
        at = shot.sample * self.channel.decimation
        causes = [cause for cause in NO_RECORDS if self._dead[cause].holds(at)]
        if shot.causes & PULSES and self._dead["jump"].holds(at):
            causes.append("jump")
        if causes or piled:
            self._drop(causes[0] if causes else "pile_up")
            return False
        return True

    def _ready(self) -> list[tuple[Shot, Tape, Beside]]:
        """Pending shots whose samples are there; those that will never be whole are dropped."""
        pending, found = self.state.piles.pending, []
        crossings = self.state.finder.crossings
        while pending:
            tape = self._tape_of(pending[0])
            if tape is None and not self._is_cut_off(pending[0]):
                break
            if tape is not None and self._span(pending[0])[1] > self._finder.crossed:
                break
            if tape is self._tape and self._ends(pending[0]) > self._judged_until:
                break
            shot = pending.pop(0)
            if tape is None:
                self._drop("truncated")
                continue
            beside = self._cutter.beside(shot, crossings)
            if self._spoiled(shot, beside):
                self._drop("pile_up")
            else:
                found.append((shot, tape, beside))
        return found

    def _spoiled(self, shot: Shot, beside: Beside) -> bool:
        """Whether a pulse, or noise, is to be isolated and is not."""
        pulse_or_noise = shot.causes & (PULSES | NOISE)
        return self.channel.pile_up == "isolated" and bool(pulse_or_noise) and beside.piled_up

    def _span(self, shot: Shot) -> Interval:
        start = shot.sample - self.channel.pretrigger
        return start, start + self.channel.record_length

    def _ends(self, shot: Shot) -> int:
        """One past the last digitizer sample that a shot's record stands for."""
        return (self._span(shot)[1] - 1) * self.channel.decimation + 1

    def _tape_of(self, shot: Shot) -> Tape | None:
        """The tape of the stretch that holds all of a shot's record, as far as there is one yet."""
        start, stop = self._span(shot)
        for tape in (*self._past, self._tape):
            if tape.start <= start and stop <= tape.stop:
                return tape
        return None

    def _is_cut_off(self, shot: Shot) -> bool:
        """Whether nothing that comes can complete its record."""
        start, _ = self._span(shot)
        return self.state.stop < FOREVER or start < self._decimator_first

    def _cut(self, ready: list[tuple[Shot, Tape, Beside]]) -> RecordBatch:
        epochs = [self._epoch(shot.sample) for shot, _, _ in ready]
        batch = self._cutter.cut(ready, self.state.next_record, epochs)
        self.state.next_record += len(ready)
        return batch

    def _epoch(self, sample: int) -> int:
        return next(epoch for since, epoch in reversed(self.state.epochs) if since <= sample)

    def _drop(self, cause: str) -> None:
        self.state.drops[cause] = self.state.drops.get(cause, 0) + 1

    def _oldest(self) -> int:
        """The first record sample that a record or a search can still need."""
        state = self.state
        pending = [state.piles.pending[0].sample] if state.piles.pending else []
        first = min([*pending, self._piles.first])
        look_back = max(self.channel.pretrigger, LOOK_BACK)
        return min(first - look_back, self._finder.needs, state.finder.searched - look_back)

    def _forget(self) -> None:
        """Drop what neither a record nor a search can still need."""
        keep = self._oldest()
        again = keep if self.filtered is None else self.state.reached - self.filtered.history
        self.state.keep = max(self.state.keep, min(keep, again, self._tape.stop))
        self._tape.forget_before(keep)
        if self._guard is not None:
            self._guard.forget_before(self.needed_from)
        self._forget_at = self._tape.stop + FORGET_EVERY
        if self._past:
            self._note_closed()
        crossings = self.state.finder.crossings
        if crossings and crossings[0][0] < keep:
            self.state.finder.crossings = [x for x in crossings if x[0] >= keep]
        if len(self.state.epochs) > 1:
            old = [one for one in self.state.epochs if one[0] <= keep]
            self.state.epochs = [*old[-1:], *(one for one in self.state.epochs if one[0] > keep)]

    # --- the ledger ---

    def _until_digitizer(self) -> int:
        until = self._finder.settled(self._decimator_first)
        if self.channel.pile_up == "one":
            until = min(until, self._piles.first)
        return until * self.channel.decimation if until < FOREVER else FOREVER

    def _row(self, start: int, stop: int) -> tuple[int, ...]:
        """A row of `LEDGER`, in its order."""
        self._account_salts(start, stop)
        taken = shares([self._costs(cause, start, stop) for cause in DEAD_CAUSES], start, stop)
        needed = min(stop, self._flags_need()) - self._salter.near * self.channel.decimation
        for parts in self._dead.values():
            parts.forget_before(needed)
        return self.index, start, stop, stop - start - sum(taken), *taken

    def _costs(self, cause: str, start: int, stop: int) -> Intervals:
        """What a cause takes of a row; heater pulses are told by the door and by a line."""
        if cause != "heater":
            return self._dead[cause]
        both = (self._dead["heater"], self._dead["pulser"])
        return Intervals(part for one in both for part in one.within(start, stop))

    def _account_salts(self, start: int, stop: int) -> None:
        """Where a record would hold a part of a salt."""
        c = self.channel
        if not self._salter.active:
            return
        first, last = start // c.decimation, stop // c.decimation + 1
        reach = first - c.pretrigger, last - c.pretrigger + c.record_length
        for salt in self._salter.beside(*reach):
            a, b = self._salter.span(salt, c.pretrigger, c.record_length)
            self._dead["salted"].add(max(a * c.decimation, start), min(b * c.decimation, stop))

    def _flags_need(self) -> int:
        """Saturation and pauses must be known as far back as a record can begin."""
        first = self.complete_until
        if first == FOREVER:
            return FOREVER
        return first - self.channel.pretrigger * self.channel.decimation


def beginning(channel: Channel, windows: int, start: int) -> ChainState:
    """The state of a chain before it opens its first stretch at digitizer sample `start`."""
    entries = [EntryState() for _ in channel.triggers]
    state = ChainState(start, start, start, FinderState(entries))
    state.windows = [[] for _ in range(windows)]
    state.salted = -(-start // channel.decimation)
    return state


def first_record_sample(channel: Channel, start: int) -> int:
    """Of a stretch that begins at digitizer sample `start`."""
    return -(-(start + reach(channel.decimation)) // channel.decimation)


def drops_of(chains: Iterable[Chain]) -> dict[str, dict[str, int]]:
    """Triggers without a record by channel and cause."""
    return {chain.channel.name: dict(chain.state.drops) for chain in chains}
