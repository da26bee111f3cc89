"""One run being recorded: the pipeline, its log, and the door by which inputs enter.

No sockets. What is not a sample is logged and synced before it is applied; samples are
acknowledged only when everything they led to is durable.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from daq.acquire.pipeline import NO_FILTERS, Filters, Pipeline, Start
from daq.errors import FormatError, StorageError
from daq.model.batch import Batch, Rows
from daq.model.block import Block, Gap, joined
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.model.record import DEAD_CAUSES, MESSAGE, READING, RECORD, Flag, HitKind, plain
from daq.services.efficiency import threshold_of
from daq.services.filterfile import digest_of, keep_filters, kept_filters
from daq.services.gains import Gains
from daq.services.rawstream import RawTape
from daq.store import names
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter, recover

logger = logging.getLogger(__name__)

SALTED = int(Flag.SALTED)
AT_ONCE = 1 << 17  # samples: what is fed together at most, of each channel


class DigitizerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run remembers of a digitizer as it was at the start."""

    name: str
    rate_hz: float
    epoch: str
    start: int
    anchors: list[tuple[int, int]]


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a run is made of; the payload of its first frame, and what a restart reads."""

    run: int
    name: str
    comment: str
    settings_toml: str
    settings: dict[str, Any]  # Any: the validated config, whatever its sections hold
    channels: list[Channel]
    digitizers: list[DigitizerFacts]
    plan: Plan
    software: str
    host: str
    user: str
    t_ns: int
    raw: list[str] = []  # channels whose whole stream is recorded
    calibration: str = ""  # the text of the file that energies are by; empty: none
    wander_per_rth: float = 0.0  # of gains that heater pulses follow; 0: none do
    filters: str = ""  # SHA-256 of the matched channels' filters, which the run folder has


class Totals(msgspec.Struct):
    """What has been produced, by channel; `livetime` in digitizer samples, before compression."""

    records: dict[str, int]
    livetime: dict[str, int]
    n_bytes: int = 0
    salted: dict[str, int] = {}  # records that a salt reaches into
    salts: dict[str, dict[float, tuple[int, int]]] = {}  # by energy: could be found, were found
    hits: dict[str, dict[str, int]] = {}  # of the guard, by kind
    dead: dict[str, dict[str, int]] = {}  # digitizer samples by cause

    def count(self, batch: Batch, channels: list[Channel]) -> None:
        """Add what a batch holds."""
        for records in batch.records:
            self.records[channels[records.channel].name] += len(records.table)
            name, flags = channels[records.channel].name, records.table["flags"]
            salted = int(np.count_nonzero(flags & SALTED))
            self.salted[name] = self.salted.get(name, 0) + salted
            self.n_bytes += records.table.nbytes + records.samples.nbytes
        self.n_bytes += sum(b.table.nbytes + b.samples.nbytes for b in batch.blinded)
        self.n_bytes += sum(raw.samples.nbytes for raw in batch.raw)
        for row in batch.salts[batch.salts["counts"] > 0]:
            of = self.salts.setdefault(channels[int(row["channel"])].name, {})
            placed, found = of.get(float(row["energy_ev"]), (0, 0))
            of[float(row["energy_ev"])] = placed + 1, found + int(row["found"])
        for row in batch.guard:
            hits = self.hits.setdefault(channels[int(row["channel"])].name, {})
            kind = HitKind(int(row["kind"])).name.lower()
            hits[kind] = hits.get(kind, 0) + 1
        for row in batch.ledger:
            name = channels[int(row["channel"])].name
            self.livetime[name] += int(row["live"])
            dead = self.dead.setdefault(name, {})
            for cause in DEAD_CAUSES:
                dead[cause] = dead.get(cause, 0) + int(row[cause])


class _Promise(msgspec.Struct, frozen=True):
    """What a commit makes safe once it is durable."""

    number: int
    needed_from: dict[str, int]
    records: int
    until_ns: int


class Saved(msgspec.Struct):
    """A checkpoint: the pipeline's, the totals so far, and up to where there was no room."""

    pipeline: bytes
    totals: Totals
    reason: str
    no_room_until: dict[str, int] = {}
    paused: bool = False
    label: str = ""
    loaded: list[str] = []  # SHA-256 of the sets of filters that were loaded in the run
    gains: Gains = msgspec.field(default_factory=Gains)


class _Durable:
    """The last durable commit: written by the log's thread, read by ours; one int, no lock."""

    def __init__(self) -> None:
        self.number = 0

    def reach(self, number: int) -> None:
        """Everything up to this commit is synced."""
        self.number = number


class Recording:
    """A run from its start to its last durable frame. One thread owns it."""

    def __init__(
        self,
        folder: Path,
        facts: RunFacts,
        pipeline: Pipeline,
        totals: Totals,
        writer: LogWriter,
        durable: _Durable,
        filters: Filters,
    ) -> None:
        self.filters = dict(filters)  # those in force, by channel
        self._sets: dict[str, Filters] = {}  # loaded in the run, by their SHA-256
        self.folder, self.facts, self.totals = folder, facts, totals
        self._pipeline = pipeline
        self._held: dict[str, list[Block]] = {}  # by digitizer: contiguous, to be fed as one
        self.reason = ""  # why it is ending; empty while it is not
        self.gains = Gains(facts.wander_per_rth)
        self._no_room_until: dict[str, int] = {}  # by digitizer: what is dropped before is for that
        self.paused, self.label = False, ""  # by the operator
        self.safe_records, self.safe_until_ns = sum(totals.records.values()), facts.t_ns
        self._writer, self._durable = writer, durable
        self._tape = RawTape(facts.channels, facts.raw)
        self._promises: deque[_Promise] = deque()
        self._fresh: list[Batch] = []
        self.next_commit = 0  # of the log; what is logged before it is durable with it
        self.readings_behind_commit: frozenset[bytes] = frozenset()

    # --- beginnings ---

    @classmethod
    def begin(
        cls,
        folder: Path,
        facts: RunFacts,
        settings: LogSettings,
        stops: Mapping[str, int],
        filters: Filters = NO_FILTERS,
    ) -> Recording:
        """A new run: its facts and filters are durable before the first sample is taken in."""
        pipeline = Pipeline.fresh(facts.channels, facts.plan, _starts(facts), filters)
        pipeline.stop_at(stops)
        names = [c.name for c in facts.channels]
        totals = Totals(dict.fromkeys(names, 0), dict.fromkeys(names, 0))
        durable = _Durable()
        writer = LogWriter(folder, settings, durable.reach, time.monotonic)
        recording = cls(folder, facts, pipeline, totals, writer, durable, filters)
        try:
            keep_filters(folder, filters)
            writer.external(Kind.RUN_START, msgspec.json.encode(facts))
            recording.commit()
            writer.sync()
        except StorageError:
            with suppress(StorageError):  # the same one again: what matters is to let the run go
                writer.close()
            raise
        return recording

    @classmethod
    def resume(cls, folder: Path, settings: LogSettings) -> Recording:
        """A run whose core is gone, at its last commit; feed it from `pipeline.resumes_at` on."""
        durable = _Durable()
        writer, recovery = LogWriter.resume(folder, settings, durable.reach, time.monotonic)
        if recovery.checkpoint is None:
            writer.close()
            raise StorageError(f"{folder}: its log ends before the run began")
        facts = msgspec.json.decode(recovery.run_start, type=RunFacts)
        saved = msgspec.msgpack.decode(recovery.checkpoint, type=Saved)
        try:
            filters = kept_filters(folder, facts.filters)
            sets = {digest: kept_filters(folder, digest) for digest in saved.loaded}
        except StorageError:
            writer.close()
            raise
        loaded = {one.content_hash: one for of in sets.values() for one in of.values()}
        pipeline = Pipeline.resumed(facts.channels, facts.plan, saved.pipeline, filters, loaded)
        recording = cls(folder, facts, pipeline, saved.totals, writer, durable, filters)
        recording._sets |= sets
        recording.filters |= {
            name: loaded[hashes[-1]] for name, hashes in pipeline.loaded().items()
        }
        recording.reason, recording._no_room_until = saved.reason, saved.no_room_until
        recording.gains = saved.gains
        recording.paused, recording.label = saved.paused, saved.label
        for frame in recovery.external:
            if frame.kind is Kind.INPUT:
                recording._apply(msgspec.json.decode(frame.payload))
        tables = [f.payload for f in recovery.external if f.kind is Kind.READINGS]
        rows = np.frombuffer(b"".join(tables), plain(READING))
        recording.readings_behind_commit = frozenset(row.tobytes() for row in rows)
        return recording

    @classmethod
    def gone_on(
        cls, folder: Path, settings: LogSettings, no_room_until: Mapping[str, int]
    ) -> Recording:
        """A run that had no room up to these samples, where it can be written again."""
        recording = cls.resume(folder, settings)
        try:
            recording.enter({"input": "disk_full", "until": dict(no_room_until)})
        except StorageError:
            with suppress(StorageError):  # the same one again
                recording.drop()
            raise
        return recording

    # --- samples ---

    def feed(self, digitizer: str, gaps: list[Gap], block: Block | None) -> None:
        """Take what came from a digitizer in.

        Blocks without gaps between them are fed as one before anything else happens: that costs
        much the same however long they are, and by the pipeline's rules gives the same.
        """
        for gap in gaps:
            self.pipeline.gap(digitizer, self._explained(digitizer, gap))
        if block is not None:
            self._hear(digitizer, block)
            self._hold(digitizer, block)

    @property
    def pipeline(self) -> Pipeline:
        """What makes records of the samples, with all that came taken in."""
        for digitizer in list(self._held):
            self._pass_on(digitizer)
        return self._pipeline

    @property
    def told(self) -> Pipeline:
        """The same without what is held at present: for whoever only tells how it stands."""
        return self._pipeline

    @property
    def done(self) -> bool:
        """Whether every digitizer has reached its stop."""
        return self._pipeline.done

    def held_bytes(self, digitizer: str) -> int:
        """Of the samples that came last, so many are still to be read where they lie."""
        return sum(block.samples.nbytes for block in self._held.get(digitizer, ()))

    def _hold(self, digitizer: str, block: Block) -> None:
        held = self._held.setdefault(digitizer, [])
        if held and held[-1].stop != block.start:
            self._pass_on(digitizer)
            held = self._held[digitizer] = []
        held.append(block)
        enough = min(held[0].start + AT_ONCE, self._pipeline.stops()[digitizer])
        if block.stop >= enough:
            self._pass_on(digitizer)

    def _pass_on(self, digitizer: str) -> None:
        block = joined(self._held.pop(digitizer))
        fed, stop = self._pipeline.fed(digitizer), self._pipeline.stops()[digitizer]
        self._tape.keep(digitizer, block, fed, stop)
        self._pipeline.feed(digitizer, block)

    def commit(self) -> None:
        """Hand everything that became complete to the log, with the state behind it."""
        batch = replace(self.pipeline.take(), raw=self._tape.take())
        self.totals.count(batch, self.facts.channels)
        self.gains.take(batch, self.facts.channels)
        saved = Saved(
            self.pipeline.checkpoint(),
            self.totals,
            self.reason,
            self._no_room_until,
            self.paused,
            self.label,
            list(self._sets),
            self.gains,
        )
        number = self._writer.commit(batch, msgspec.msgpack.encode(saved))
        self._promises.append(self._promise(number))
        self.next_commit = number + 1
        self._fresh.append(batch)

    def fresh(self) -> list[Batch]:
        """The batches since the last time, to be shown."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def settle(self) -> dict[str, int]:
        """Per digitizer, the sample before which nothing need be kept any more; {} for no news."""
        news: dict[str, int] = {}
        while self._promises and self._promises[0].number <= self._durable.number:
            promise = self._promises.popleft()
            news = promise.needed_from
            self.safe_records, self.safe_until_ns = promise.records, promise.until_ns
        return news

    @property
    def unsafe_records(self) -> int:
        """Records that exist and are not durable yet."""
        return sum(self.totals.records.values()) - self.safe_records

    @property
    def durable(self) -> int:
        """The last durable commit."""
        return self._durable.number

    # --- how it stands ---

    @property
    def stopping(self) -> bool:
        """Whether a stream has reached its end, so that the run will end soon."""
        return any(self.stopped(d.name) for d in self.facts.digitizers)

    # Any: JSON
    def thresholds(self) -> dict[str, dict[str, Any]]:
        """What salts and noise say of the channels' triggers, of those of which they do."""
        found = {
            c.name: threshold_of(
                self.told.triggers(c.name),
                self.filters.get(c.name),
                self.totals.salts.get(c.name, {}),
            )
            for c in self.facts.channels
        }
        return {name: told for name, told in found.items() if told is not None}

    @property
    def elapsed_s(self) -> float:
        """Seconds of samples taken in, of the digitizer that is farthest."""
        starts, fed = self.told.starts(), self.told.fed
        return max((fed(d.name) - starts[d.name]) / d.rate_hz for d in self.facts.digitizers)

    def epoch_of(self, digitizer: str) -> str:
        """The numbering of samples that the run began in; "" for a digitizer it has none of."""
        return next((d.epoch for d in self.facts.digitizers if d.name == digitizer), "")

    def stopped(self, digitizer: str) -> bool:
        """Whether the run wants no more samples of a digitizer."""
        return self._pipeline.fed(digitizer) >= self._pipeline.stops()[digitizer]

    def silent(self, digitizer: str) -> bool:
        """Whether events no longer wait for a digitizer."""
        return self._pipeline.silent(digitizer)

    # --- the door ---

    def enter(self, change: dict[str, Any]) -> None:
        """Log an input, sync it, then apply it. Any: each input has its own few fields.

        `fed` says between which samples it entered, of all digitizers: a replay needs no more.
        """
        self.commit()
        change = {
            **change,
            "fed": {d.name: self.pipeline.fed(d.name) for d in self.facts.digitizers},
        }
        self._writer.external(Kind.INPUT, msgspec.json.encode(change))
        self._writer.sync()
        self._apply(change)

    def stop_at(self, stops: Mapping[str, int], reason: str) -> None:
        """The run ends at these samples, for this reason."""
        self.enter({"input": "stop", "stops": dict(stops), "reason": reason})

    def silence(self, digitizer: str) -> None:
        """A digitizer sends nothing; events no longer wait for it."""
        self.enter({"input": "silent", "digitizer": digitizer, "at": self.pipeline.fed(digitizer)})

    def abandon(self, digitizer: str) -> None:
        """Nothing more will come from a digitizer before the stop."""
        self.enter({"input": "abandon", "digitizer": digitizer, "at": self.pipeline.fed(digitizer)})

    def dead(self, cause: str, channels: Sequence[str]) -> dict[str, int]:
        """From now on channels are dead for a cause; from which samples."""
        since = self._now(channels)
        self.enter({"input": "dead", "cause": cause, "since": since})
        return since

    def alive(self, cause: str, channels: Sequence[str]) -> dict[str, int]:
        """They no longer are; until which samples they were."""
        until = self._now(channels)
        self.enter({"input": "alive", "cause": cause, "until": until})
        return until

    def order(self, channels: Sequence[str]) -> dict[str, int]:
        """A record of each channel, now; with its trigger at which samples."""
        samples = self._now(channels)
        self.enter({"input": "record", "samples": samples})
        return samples

    def set_label(self, label: str) -> dict[str, int]:
        """What the data are of from now on; from which samples, by digitizer."""
        since = {d.name: self.pipeline.fed(d.name) for d in self.facts.digitizers}
        self.enter({"input": "label", "label": label, "since": since})
        return since

    def set_triggers(self, channel: str, triggers: Sequence[TriggerSettings]) -> dict[str, int]:
        """Other triggers of a channel; from which sample on, and in which settings epoch."""
        at, epoch = self.pipeline.now(channel), self.pipeline.epoch + 1
        given = msgspec.to_builtins(triggers)
        change = {"channel": channel, "at": at, "epoch": epoch, "triggers": given}
        self.enter({"input": "triggers", **change})
        return {"at": at, "epoch": epoch}

    def rung(self, t_ns: int, volts: float, *, control: bool) -> None:
        """From a UTC on heater pulses have so many volts; 0: the generator is being told."""
        self.enter({"input": "rung", "t_ns": t_ns, "volts": volts, "control": control})

    def follow_gains(self) -> None:
        """Let what heater pulses say of gains come into force, where it is news."""
        gains = self.gains.news()
        if gains:
            told = {name: list(gain) for name, gain in gains.items()}
            self.enter({"input": "gain", "at": self._now(list(gains)), "gains": told})

    def set_filters(self, filters: Filters, thresholds: Mapping[str, float]) -> dict[str, Any]:
        """Other optimum filters of channels, with their thresholds [counts]; from which samples on,
        and in which settings epoch. The run's folder has them before the log names them."""
        keep_filters(self.folder, filters)
        since, epoch = self._now(list(filters)), self.pipeline.epoch + 1
        self.enter({
            "input": "filters", "since": since, "epoch": epoch, "filters": digest_of(filters),
            "thresholds": dict(thresholds),
            "sha256": {name: one.content_hash for name, one in filters.items()},
        })  # fmt: skip
        return {"since": since, "epoch": epoch}

    def _load(self, change: Mapping[str, Any]) -> None:
        """Apply filters that the run's folder has; Any: JSON."""
        digest, thresholds = str(change["filters"]), change["thresholds"]
        known = kept_filters(self.folder, digest)
        filters = {name: known[name] for name in thresholds}
        self.pipeline.set_filters(filters, thresholds)
        self.filters |= filters
        needed = {sha256 for hashes in self.pipeline.loaded().values() for sha256 in hashes}
        kept = {
            old: of
            for old, of in self._sets.items()
            if needed & {one.content_hash for one in of.values()}
        }
        self._sets = kept | {digest: known}

    def _now(self, channels: Sequence[str]) -> dict[str, int]:
        return {channel: self.pipeline.now(channel) for channel in channels}

    def keep_readings(self, rows: Rows) -> None:
        """Readings of the instruments, durable when this returns."""
        self._writer.external(Kind.READINGS, np.ascontiguousarray(rows).tobytes())
        self._writer.sync()

    def keep_message(self, t_ns: int, level: str, text: str) -> None:
        """One line of the run's own log; what is too long for its field is cut there."""
        row = np.array([(t_ns, level.encode(), text.encode())], plain(MESSAGE))
        self._writer.external(Kind.MESSAGES, row.tobytes())

    def keep_comment(self, t_ns: int, text: str) -> None:
        """A person's sentence in the run's own log, durable when this returns."""
        self.keep_message(t_ns, "comment", text)
        self._writer.sync()

    # --- the end ---

    def end(self, t_ns: int) -> None:
        """Everything was taken in: write the last frame and close the log."""
        self.commit()  # everything comes out, so that the drops are all counted
        end = {
            "reason": self.reason,
            "t_ns": t_ns,
            "stops": self.pipeline.stops(),
            "drops": self.pipeline.drops(),
            "blinded": self.pipeline.blinded(),
            "thresholds": {name: told["text"] for name, told in self.thresholds().items()},
        }
        self._writer.external(Kind.RUN_END, msgspec.json.encode(end))
        self.commit()  # which makes the end count
        self._writer.sync()
        self.settle()
        self._writer.close()

    def drop(self) -> None:
        """Let go of the log after it failed, and of what was not fed; what was durable stays."""
        self._held.clear()
        self._writer.close()

    def _hear(self, digitizer: str, block: Block) -> None:
        """Log that a silent digitizer sends again: which events went without it hangs on when."""
        if self.silent(digitizer) and block.stop > self.pipeline.fed(digitizer):
            self.enter({"input": "heard", "digitizer": digitizer})

    def _explained(self, digitizer: str, gap: Gap) -> Gap:
        """What a digitizer dropped because nothing was acknowledged, for there was no room."""
        if gap.cause == "overflow" and gap.start < self._no_room_until.get(digitizer, 0):
            return replace(gap, cause="disk_full")
        return gap

    def _apply(self, change: Mapping[str, Any]) -> None:
        match change["input"]:
            case "stop":
                self.reason = str(change["reason"])
                self.pipeline.stop_at(change["stops"])
            case "silent":
                self.pipeline.silence(change["digitizer"])
            case "abandon":
                self.pipeline.abandon(change["digitizer"])
            case "dead":
                self.paused = self.paused or change["cause"] == "paused"
                self.pipeline.dead(change["cause"], change["since"])
            case "alive":
                self.paused = self.paused and change["cause"] != "paused"
                self.pipeline.alive(change["cause"], change["until"])
            case "record":
                self.pipeline.order(change["samples"])
            case "triggers":
                triggers = msgspec.convert(change["triggers"], list[TriggerSettings])
                self.pipeline.set_triggers(change["channel"], triggers)
            case "rung":
                self.gains.rung(change["t_ns"], change["volts"], control=change["control"])
            case "gain":
                self.gains.enter(change["gains"])
            case "filters":
                self._load(change)
            case "heard":
                self.pipeline.hear(change["digitizer"])
            case "label":
                self.label = change["label"]
            case "disk_full":
                self._no_room_until = dict(change["until"])

    def _promise(self, number: int) -> _Promise:
        names = [d.name for d in self.facts.digitizers]
        until = min(self.pipeline.t_ns(n, self.pipeline.fed(n)) for n in names)
        needed = {n: self.pipeline.needed_from(n) for n in names}
        return _Promise(number, needed, sum(self.totals.records.values()), until)


def record_bytes(channel: Channel) -> int:
    """What a record of a channel takes, before compression."""
    return 2 * channel.record_length + plain(RECORD).itemsize


def _starts(facts: RunFacts) -> list[Start]:
    return [
        Start(
            digitizer=d.name,
            rate_hz=d.rate_hz,
            sample=d.start,
            anchors=tuple(Anchor(*anchor) for anchor in d.anchors),
        )
        for d in facts.digitizers
    ]


def unended_runs(data_dir: Path) -> list[Path]:
    """Folders of the runs whose log has no end, oldest first; what is unreadable is passed over."""
    folders = names.run_folders(data_dir).values() if data_dir.is_dir() else []
    return [folder for folder in folders if names.logs(folder) and _unended(folder)]


def _unended(folder: Path) -> bool:
    try:
        return not recover(folder).ended
    except (StorageError, FormatError) as error:  # a damaged old run must not stop new ones
        logger.warning("%s is left as it is: %s", folder, error)
        return False
