"""The core: blocks in, records out; one thread owns everything, between two polls nothing moves.

State body: {"run", "folder", "elapsed_s", "n_bytes" (of records, before compression), "last":
{"run", "folder", "reason"} or null, "channels": {name: {"rate_hz", "records", "livetime_s",
"exposure_g_d", "dead_s" by cause, "throttled", "efficiency" by salts ({"half_ev", "curve": rows of
energy_ev, placed, found, low, high}; null without), "threshold" ({"half_ev", "salts",
"noise_per_day", "sigma_ev", "text"}; null where neither salts nor a filter say anything), "blinded"
(records, of which nothing else is told), "guard" ({"jumps", "jumps_per_h", "quanta" taken off,
"hits" by kind, "standing": kind of hit or "", "for_s"}; null without), "gain" by heater pulses
({"value", "sigma", "in_force", "control", "pulses": control pulses, [UTC in s, height relative to
the first]}; null without), "drops" by cause}}, "epoch", "gaps",
"lost_samples", "safe": {"records", "until_ns"}, "unsafe", "digitizers": {name: {"state", "rate_hz",
"next", "begun" (times that blocks came which were asked for anew), "shared" (its samples come
through memory), "refused"}}, "disk_hours_left": number or null, "label" ("" without one),
"problem"}. A channel's records are those no salt reaches into.
State is one of "idle", "running", "paused", "paused-by-disk", "stopping", "failed".
"""

from __future__ import annotations

import gc
import getpass
import importlib.metadata
import logging
import math
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from daq.errors import (
    DiskFullError,
    NotSharedError,
    RefusedError,
    ScheeliteError,
    StorageError,
    UsageError,
    WireError,
)
from daq.model.batch import Batch
from daq.model.block import Block, joined
from daq.model.channel import Channel
from daq.model.record import DEAD_CAUSES
from daq.services import heap, marks
from daq.services.authority import LeaseWatch, sentence
from daq.services.diskwatch import HOUR_S, MOVING_S, DiskWatch, Rate
from daq.services.efficiency import efficiency_of
from daq.services.eyes import Eyes
from daq.services.filterfile import digest_of
from daq.services.filterload import at_sigmas, fitting, loaded_filters
from daq.services.gains import divided
from daq.services.guarding import guard_table
from daq.services.idle import Idle
from daq.services.inputs import Inputs
from daq.services.raw import RawServer
from daq.services.rawstream import raw_channels
from daq.services.readings import ReadingInbox, Readings
from daq.services.recording import Recording, RunFacts, Totals, record_bytes, unended_runs
from daq.services.salting import calibration_of
from daq.services.service import Beat, CommandServer, Nothing, Result, Verb, Waker
from daq.services.setup import log_settings, plan_of, triggers_of, wander_of, with_level
from daq.services.spectra import Spectra
from daq.services.streams import WINDOW, Stream
from daq.settings.loader import Settings
from daq.settings.sections import Experiment
from daq.store import names
from daq.wire import codec, sockets
from daq.wire.schemas import BlockHeader, Message, Request, StreamEnd, StreamHello

logger = logging.getLogger(__name__)

COMMIT_S = 0.1
POLL_MS = 40  # more than between blocks: what comes wakes us
TAKE_S = 0.02  # at most for blocks, until others are served
FLOOD = WINDOW // 4  # bytes between two commits
GARBAGE = 20_000  # objects more than before, until the collector looks for cycles
DAY_S = 86_400.0
REFUSED_S = 30.0  # a message that was refused is told for so long
RETRY_S = 2.0  # to go on, where there seemed to be room and was none
STALL_S = 0.5  # between two turns: a stopped process, or a disk that blocks


class StartRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "start". `samples` says where to begin in each stream; default: now."""

    run: int
    folder: str
    comment: str = ""
    duration_s: float | None = None
    samples: dict[str, int] | None = None
    label: marks.Label | None = None


def run_folder(data_dir: Path, run: int, asked: str) -> Path:
    """Where a run is written; UsageError where somebody asks for another place."""
    folder = names.run_folder(data_dir, run)
    if asked != str(folder):
        raise UsageError(f"expected the folder {folder} of run {run}, found {asked[:200]!r}")
    return folder


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "note": a sentence for the log of the run in progress."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


class StopRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "stop"."""

    reason: str = "stopped"


Cause = Literal["paused", "disk_full", "unlocked", "heater", "temperature"]


class Dead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "mark_dead" and "mark_alive": from now on, or no longer, for this cause."""

    cause: Cause
    channels: list[str]


class OrderRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "record": a record of each of these channels, now."""

    channels: list[str]


class Rung(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "rung": from this UTC on heater pulses have so many volts, 0: not known."""

    t_ns: int
    volts: float
    control: bool = False


class SetTriggers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "set_triggers": triggers as in the config's [kinds]."""

    channel: str
    triggers: list[dict[str, Any]]  # Any: each kind of trigger has its own keys, checked there


class SetFilters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "set_filters": a file that the core can read, and the SHA-256 of its bytes."""

    file: str
    sha256: str
    channels: list[str] = []  # none: all matched channels that the file has


class NewLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Threshold and rearm [counts] of a channel's trigger, by its place in the list."""

    channel: str
    entry: int
    threshold: float
    rearm: float


class SetLevels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "set_levels": of level and edge triggers, which stay what they are else."""

    levels: list[NewLevel]


class SetThresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "set_thresholds": of matched triggers, in resolutions of their filters."""

    sigmas: dict[str, float]


@dataclass(frozen=True, slots=True)
class Paused:
    """A run that waits for room on the disk: as it was, and why it is to end, if it is."""

    folder: Path | None = None
    recording: Recording | None = None
    stop: str = ""
    retry_s: float = 0.0  # not before

    def __bool__(self) -> bool:
        return self.folder is not None


class Core:
    """The service. `stop` ends it; a run in progress is ended cleanly first."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        waker: Waker,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._stop, self._waker = settings, stop, waker
        self._now_ns, self._clock = now_ns, clock
        # silence is judged by when a turn began: what stalls us within a turn is found first
        self._inputs = Inputs(settings, lambda: self._turned)
        self._streams, self._clocks = self._inputs.streams, self._inputs.clocks
        self._calibration = calibration_of(settings)
        self._spectra = Spectra(self._calibration)
        self._idle: dict[str, Idle] = {}
        self._recording: Recording | None = None
        self._disk, self._paused = DiskWatch(settings, clock), Paused()
        self._failed, self._problem = False, ""
        self._refused = (0.0, "")  # until when to tell it, and what
        self._last: Result | None = None
        self._progress, self._commit_due, self._turned = 0, 0.0, clock()
        self._flood, self._counted, self._counted_until = False, 0, 0.0  # bytes of samples
        self._inbox = ReadingInbox()
        self._open_sockets()

    def run(self) -> None:
        """Serve until told to stop."""
        self._resume()
        heap.keep()
        gc.freeze()  # what is there now stays: the collector need not look at it again and again
        gc.set_threshold(GARBAGE)
        try:
            while not self._stop.is_set():
                self._turn()
            self._end_now("core terminated")
        finally:
            self._close_sockets()

    # --- the loop ---

    def _turn(self) -> None:
        self._excuse_own_stall()
        ready = self._wait()
        self._waker.clear()
        self._take_blocks()
        for one, serve in self._served:
            if one in ready:
                serve()
        self._commands.answer()
        self._guard(self._advance)
        if self._beat.due(self._state()):
            self._beat.publish(self._state(), progress=self._progress, body=self._body())

    def _wait(self) -> list[object]:
        """The sockets that can be served. Until the next commit is due, blocks may gather: every
        time that we wake costs as much as what we do then."""
        if not self._may_gather():
            return [one for one, _ in self._poller.poll(POLL_MS)]
        due = self._commit_due if self._recording is not None else self._turned + COMMIT_S
        wait_s = min(max(due - self._clock(), 0.0), COMMIT_S)
        return [one for one, _ in self._patient.poll(math.ceil(1000 * wait_s))]

    def _may_gather(self) -> bool:
        """Whether nobody is kept waiting by that: no eyes, no process, and no flood of samples."""
        looked_at = self._eyes.looked_at or self._raw.is_asked
        steady = all(stream.streaming for stream in self._streams.values())
        return steady and not looked_at and not self._flooded()

    def _flooded(self) -> bool:
        """Whether so much comes between two commits that its sender would have to wait for us."""
        if self._turned >= self._counted_until:
            self._flood, self._counted = self._counted >= FLOOD, 0
            self._counted_until = self._turned + COMMIT_S
        return self._flood

    def _excuse_own_stall(self) -> None:
        """Where it was we who stood still, nobody else was silent."""
        now = self._clock()
        stalled_s, self._turned = now - self._turned, now
        if stalled_s > STALL_S:
            logger.warning("The core stood still for %.1f s.", stalled_s)
            for stream in self._streams.values():
                stream.heard_s += stalled_s

    def _take_blocks(self) -> None:
        until = self._clock() + TAKE_S
        while sockets.readable(self._blocks) and self._clock() < until:
            try:
                peer, header, samples = sockets.receive_block(self._blocks)
                message = codec.decode(header, BlockHeader, StreamHello, StreamEnd)
            except WireError as error:
                self._refuse(b"", error)
                continue
            self._dispatch(peer, message, samples)

    def _dispatch(self, peer: bytes, message: Message, samples: memoryview) -> None:
        stream = self._streams.get(message.digitizer)  # type: ignore[attr-defined]
        if stream is None:
            self._refuse(peer, WireError(f"{peer!r} is no digitizer of this config"))
            return
        try:
            if isinstance(message, StreamHello):
                self._greet(stream, peer, message)
            elif isinstance(message, BlockHeader):
                self._block(stream, peer, message, samples)
            elif isinstance(message, StreamEnd):
                self._ended(stream, peer, message)
        except (WireError, UsageError) as error:  # a hello that does not fit the config as well
            stream.refused += 1
            self._refuse(peer, error)

    def _refuse(self, peer: bytes, error: ScheeliteError) -> None:
        sentence = f"{peer.decode(errors='replace') or 'a stranger'} was refused: {error}"
        self._refused = (self._clock() + REFUSED_S, sentence)
        logger.warning(sentence)

    # --- streams ---

    def _greet(self, stream: Stream, peer: bytes, hello: StreamHello) -> None:
        if not self._inputs.greet(stream, peer, hello):
            return
        self._eyes.watch(stream.name, self._inputs.channels[stream.name])
        start = self._where_to_begin(stream, hello)
        if start is not None:
            self._ask(stream, start)

    def _where_to_begin(self, stream: Stream, hello: StreamHello) -> int | None:
        """In a run, where it stands; without one, now; a source that can wait, waits for a run."""
        recording = self._recording
        if recording is not None:
            if recording.epoch_of(stream.name) == hello.epoch:
                return recording.pipeline.resumes_at(stream.name)
            reason = f"digitizer {stream.name} began to number its samples anew"
            self._guard(lambda: self._stop_run(recording, reason, gone=stream.name))
        return None if hello.can_wait else max(hello.newest, hello.oldest)

    def _ask(self, stream: Stream, start: int) -> None:
        self._idle[stream.name] = self._fresh_idle(stream.name, start)
        self._send(stream, stream.want(start, self._clock()))

    def _fresh_idle(self, name: str, start: int) -> Idle:
        channels, anchors = self._inputs.channels[name], self._clocks[name].anchors()
        return Idle(name, channels, start, anchors, self._inputs.filters)

    def _send(self, stream: Stream, message: Message) -> None:
        sockets.offer(self._blocks, stream.peer, codec.encode(message))

    def _block(self, stream: Stream, peer: bytes, header: BlockHeader, samples: memoryview) -> None:
        try:
            gaps, block = stream.take(peer, header, samples, self._clock())
        except NotSharedError:
            self._ask(stream, stream.next)
            raise
        self._progress += 1
        self._counted += block.samples.nbytes
        for anchor in block.anchors:
            self._clocks[stream.name].take(anchor)
        recording = self._recording
        if recording is not None and not recording.stopped(stream.name):
            self._guard(lambda: recording.feed(stream.name, gaps, block))
        else:
            # in a run, or one that pauses, what it took of this stream may not be durable yet
            if recording is None and not self._paused:
                stream.durable = block.stop
            for batch in self._idle[stream.name].feed(gaps, joined([block])):
                self._show(batch, self._inputs.channels[stream.name])
        if block.samples.size:
            self._look(stream, block)

    def _look(self, stream: Stream, block: Block) -> None:
        self._eyes.block(stream.name, block, self._clocks[stream.name])
        self._raw.feed(stream.name, block)

    def _converted_ns(self, digitizer: str, sample: int) -> int:
        """UTC of a sample; 0 while its clock is not known."""
        clock = self._clocks[digitizer]
        return clock.t_ns(sample) if clock.known else 0

    def _ended(self, stream: Stream, peer: bytes, end: StreamEnd) -> None:
        stream.end(peer, end)
        recording = self._recording
        if recording is not None and not recording.stopped(stream.name):
            stops = {stream.name: end.stop}
            self._guard(lambda: recording.stop_at(stops, "the stream ended"))

    # --- what happens between blocks ---

    def _advance(self) -> None:
        self._mind_the_disk()
        recording = self._recording
        if recording is not None:
            if self._clock() >= self._commit_due or recording.done:
                self._commit_due = self._clock() + COMMIT_S
                recording.commit()
                recording.follow_gains()
            for batch in recording.fresh():
                self._show(batch, recording.facts.channels)
                for records in batch.records:
                    name = recording.facts.channels[records.channel].name
                    gain = recording.gains.in_force.get(name, 1.0)
                    table = records.table if gain == 1.0 else divided(records.table, gain)
                    self._spectra.count(name, table)
            for name, sample in recording.settle().items():
                self._streams[name].durable = sample
            self._watch_silence(recording)
            if recording.done:
                self._finish(recording)
        self._inbox.settle(self._recording)
        for stream in self._streams.values():
            held = self._recording.held_bytes(stream.name) if self._recording is not None else 0
            message = stream.acknowledgment(held)
            if message is not None:
                self._send(stream, message)

    def _watch_silence(self, recording: Recording) -> None:
        """A digitizer without blocks for too long no longer holds the events, nor the end, up."""
        for name in self._streams:
            if not self._inputs.silent(name) or recording.stopped(name):
                continue
            if recording.stopping:
                recording.abandon(name)
            elif not recording.silent(name):
                logger.warning(self._inputs.silence_of(name))
                recording.silence(name)

    def _finish(self, recording: Recording) -> None:
        recording.end(self._now_ns())
        self._last = {
            "run": recording.facts.run,
            "folder": str(recording.folder),
            "reason": recording.reason,
            "records": dict(recording.totals.records),
        }
        self._recording = None
        for name, stream in self._streams.items():
            if stream.streaming:
                self._idle[name] = self._fresh_idle(name, stream.next)
                stream.durable = stream.next

    def _show(self, batch: Batch, channels: list[Channel]) -> None:
        for records in batch.records:
            self._eyes.records(channels[records.channel], records)

    def _guard(self, act: Callable[[], None]) -> None:
        """A full disk pauses the recording, one that fails ends it; the rest stays alive."""
        try:
            act()
        except DiskFullError as error:
            self._pause(str(error))
        except StorageError as error:
            self._fail(error)

    def _fail(self, error: StorageError) -> None:
        recording, self._recording, self._paused = self._recording, None, Paused()
        self._failed, self._problem = True, str(error)
        logger.error(self._problem)
        if recording is None:
            return
        self._last = {
            "run": recording.facts.run,
            "folder": str(recording.folder),
            "reason": self._problem,
            "records": dict(recording.totals.records),
        }
        try:
            recording.drop()
        except StorageError:
            logger.warning("The log of run %d closed with the same error.", recording.facts.run)

    # --- a full disk ---

    def _mind_the_disk(self) -> None:
        """Pause while the reserve is touched, go on when there is room again."""
        recording = self._recording
        if recording is not None and self._disk.short and not recording.stopping:
            self._pause(f"less than {self._disk.reserve} bytes are free")
        elif self._paused and self._disk.roomy and self._clock() >= self._paused.retry_s:
            self._go_on()

    def _pause(self, why: str) -> None:
        """Close the log behind what is durable; the digitizers keep what they can of the rest."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        self._problem = f"run {recording.facts.run} pauses: {why}"
        logger.error(self._problem)
        self._paused = Paused(recording.folder, recording)
        with suppress(StorageError):  # where it is full; what was durable stays so
            recording.drop()
        recording.settle()
        for name, stream in self._streams.items():
            if stream.streaming:
                self._idle[name] = self._fresh_idle(name, stream.next)

    def _go_on(self) -> None:
        """Take the run up where its log ends, and ask for all that came since."""
        paused = self._paused
        if paused.folder is None:
            return
        reached = {n: s.next for n, s in self._streams.items() if s.streaming}
        try:
            recording = Recording.gone_on(paused.folder, log_settings(self._settings), reached)
        except DiskFullError:  # somebody else took the room
            self._paused = replace(paused, retry_s=self._clock() + RETRY_S)
            return
        self._recording, self._paused = recording, Paused()
        self._problem = ""
        self._adopt(recording)
        for stream in self._streams.values():
            self._ask_again(recording, stream)
        if paused.stop and self._recording is recording:
            fed = {d.name: recording.pipeline.fed(d.name) for d in recording.facts.digitizers}
            recording.stop_at(fed, paused.stop)

    def _ask_again(self, recording: Recording, stream: Stream) -> None:
        if stream.hello is None or self._recording is not recording:
            return  # it will be asked when it says hello
        start = self._where_to_begin(stream, stream.hello)
        if start is not None:
            self._ask(stream, start)

    # --- runs ---

    def _start(self, arguments: StartRun) -> Result:
        if self._recording is not None:
            run = self._recording.facts.run
            raise RefusedError(f"run {run} is being recorded; expected none")
        if self._paused:
            raise RefusedError(f"{self._paused.folder} waits for room on the disk; expected no run")
        folder = run_folder(self._settings.data_dir, arguments.run, arguments.folder)
        self._disk.check_fits(arguments.duration_s, self._rate())
        facts = self._facts(arguments)
        stops = {
            d.name: d.start + round(arguments.duration_s * d.rate_hz)
            for d in facts.digitizers
            if arguments.duration_s is not None
        }
        logging_as, filters = log_settings(self._settings), self._inputs.filters
        recording = Recording.begin(folder, facts, logging_as, stops, filters)
        if arguments.duration_s is not None:
            recording.reason = f"{arguments.duration_s:g} s are over"
        self._recording, self._failed, self._problem = recording, False, ""
        self._spectra = Spectra(self._calibration)
        self._inbox.begin(recording)
        if arguments.label is not None:
            marks.set_label(recording, arguments.label, self._now_ns())
        for stream in self._streams.values():
            if self._inputs.can_wait(stream.name):
                self._ask(stream, recording.pipeline.resumes_at(stream.name))
        return {"folder": str(folder), "starts": recording.pipeline.starts()}

    def _facts(self, arguments: StartRun) -> RunFacts:
        starts = self._inputs.starts(arguments.samples or {})
        digitizers = [self._inputs.facts(name, start) for name, start in starts.items()]
        return RunFacts(
            run=arguments.run,
            name=self._settings.section(Experiment).name,
            comment=arguments.comment,
            settings_toml=self._settings.text,
            settings=self._settings.validated(),
            channels=self._inputs.all_channels(),
            digitizers=digitizers,
            plan=plan_of(self._settings),
            software=f"scheelite {importlib.metadata.version('scheelite')}",
            host=socket.gethostname(),
            user=getpass.getuser(),
            t_ns=self._now_ns(),
            raw=raw_channels(self._settings),
            calibration=self._calibration.to_json().decode() if self._calibration.curves else "",
            filters=digest_of(self._inputs.filters),
            wander_per_rth=wander_of(self._settings),
        )

    def _stop_verb(self, arguments: StopRun) -> Result:
        if self._paused:
            return self._stop_paused(arguments.reason)
        recording = self._recording
        if recording is None:
            raise RefusedError("no run is being recorded; expected one")
        self._stop_run(recording, arguments.reason)
        return {"folder": str(recording.folder), "stops": recording.pipeline.stops()}

    def _note(self, note: Note) -> Result:
        """Keep a sentence of another service; durable with the next commit."""
        recording = self._recording
        if recording is not None:
            self._guard(lambda: recording.keep_message(self._now_ns(), note.level, note.text))
        return {"kept": recording is not None}

    def _audit(self, request: Request, outcome: str) -> None:
        self._note(Note(sentence("the core", request, outcome)))

    def _readings(self, readings: Readings) -> Result | Future[Result]:
        """While a run waits for room its readings must wait where they come from."""
        if self._paused:
            raise DiskFullError(f"{self._paused.folder} waits for room on the disk")
        return self._inbox.take(readings, self._recording)

    def _stop_paused(self, reason: str) -> Result:
        """The run ends where it paused, as soon as its end can be written: that needs little."""
        folder = self._paused.folder
        self._paused = replace(self._paused, stop=reason)
        self._go_on()
        stops = self._recording.pipeline.stops() if self._recording else {}
        return {"folder": str(folder), "stops": stops}

    def _stop_run(self, recording: Recording, reason: str, gone: str = "") -> None:
        """End the run at the moment that the fastest stream has reached."""
        fed = {d.name: recording.pipeline.fed(d.name) for d in recording.facts.digitizers}
        moment = max(recording.pipeline.t_ns(name, sample) for name, sample in fed.items())
        stops = {
            name: max(sample, self._inputs.sample_at(name, moment, sample))
            for name, sample in fed.items()
        }
        recording.stop_at(stops, reason)
        if gone:
            recording.abandon(gone)

    # --- what enters a run ---

    def _hold(self) -> Result:
        recording = self._recorded([])
        if recording.paused:
            raise RefusedError(f"run {recording.facts.run} is paused already")
        return {"since": marks.pause(recording), "t_ns": self._now_ns()}

    def _let_go(self) -> Result:
        recording = self._recorded([])
        if not recording.paused:
            raise RefusedError(f"run {recording.facts.run} is not paused; expected a paused run")
        return {"until": marks.resume(recording), "t_ns": self._now_ns()}

    def _comment(self, said: marks.Comment) -> Result:
        marks.comment(self._recorded([]), said, self._now_ns())
        return {}

    def _label(self, asked: marks.SetLabel) -> Result:
        return {"since": marks.set_label(self._recorded([]), asked.label, self._now_ns())}

    def _mark_dead(self, arguments: Dead) -> Result:
        recording = self._recorded(arguments.channels)
        return {"since": recording.dead(arguments.cause, arguments.channels)}

    def _mark_alive(self, arguments: Dead) -> Result:
        recording = self._recorded(arguments.channels)
        return {"until": recording.alive(arguments.cause, arguments.channels)}

    def _order_record(self, arguments: OrderRecord) -> Result:
        recording = self._recorded(arguments.channels)
        return {"samples": recording.order(arguments.channels)}

    def _set_triggers(self, arguments: SetTriggers) -> Result:
        recording = self._recorded([arguments.channel])
        of = next(c for c in recording.facts.channels if c.name == arguments.channel)
        in_force = recording.pipeline.triggers(of.name)
        triggers = triggers_of(arguments.triggers, of, recording.filters.get(of.name), in_force)
        return {"from": recording.set_triggers(of.name, triggers)}

    def _rung(self, arguments: Rung) -> Result:
        recording, control = self._recorded([]), arguments.control
        recording.rung(arguments.t_ns, arguments.volts, control=control)
        return {}

    def _set_levels(self, arguments: SetLevels) -> Result:
        recording = self._recorded([level.channel for level in arguments.levels])
        triggers = {
            one.channel: recording.pipeline.triggers(one.channel) for one in arguments.levels
        }
        for one in arguments.levels:
            given = one.entry, one.threshold, one.rearm
            triggers[one.channel] = with_level(one.channel, triggers[one.channel], *given)
        return {"from": {name: recording.set_triggers(name, t) for name, t in triggers.items()}}

    def _set_filters(self, arguments: SetFilters) -> Result:
        recording = self._recorded(arguments.channels)
        found = loaded_filters(Path(arguments.file), arguments.sha256)
        return recording.set_filters(*fitting(found, arguments.channels, recording))

    def _set_thresholds(self, arguments: SetThresholds) -> Result:
        recording = self._recorded(list(arguments.sigmas))
        return recording.set_filters(*at_sigmas(arguments.sigmas, recording))

    def _recorded(self, channels: list[str]) -> Recording:
        """The recording that has these channels; RefusedError or UsageError where there is none."""
        recording = self._recording
        if recording is None:
            raise RefusedError("no run is being recorded; expected one")
        known = [channel.name for channel in recording.facts.channels]
        for channel in channels:
            if channel not in known:
                raise UsageError(
                    f"expected one of the channels {', '.join(known)}, found {channel!r}"
                )
        return recording

    def _end_now(self, reason: str) -> None:
        """End the run with what is there: nobody will feed it any more."""
        recording = self._recording
        if recording is None:
            return

        def act() -> None:
            fed = {d.name: recording.pipeline.fed(d.name) for d in recording.facts.digitizers}
            recording.stop_at(fed, reason)
            self._finish(recording)

        self._guard(act)

    def _resume(self) -> None:
        """Go on with the newest run that has no end; give older ones theirs."""
        runs = unended_runs(self._settings.data_dir)
        for i, folder in enumerate(runs):
            try:
                recording = Recording.resume(folder, log_settings(self._settings))
            except DiskFullError as error:
                self._problem = f"run {names.run_number(folder)} pauses: {error}"
                self._paused = Paused(folder)
                continue
            except ScheeliteError as error:
                self._problem = f"run {names.run_number(folder)} cannot go on: {error}"
                logger.warning(self._problem)
                continue
            self._recording = recording
            if i < len(runs) - 1:
                self._end_now("abandoned")
            else:
                self._adopt(recording)

    def _adopt(self, recording: Recording) -> None:
        logger.warning("Run %d goes on where its log ends.", recording.facts.run)
        self._inbox.go_on(recording)
        for stream in self._streams.values():
            stream.heard_s = self._clock()

    # --- what is told ---

    def _state(self) -> str:
        if self._paused:
            return "paused-by-disk"
        if self._recording is not None:
            if self._recording.stopping:
                return "stopping"
            return "paused" if self._recording.paused else "running"
        return "failed" if self._failed else "idle"

    # Any: the body's shape is documented at the top of this module
    def _body(self) -> dict[str, Any]:
        recording = self._recording or self._paused.recording
        folder = recording.folder if recording else self._paused.folder
        return {
            "run": names.run_number(folder) if folder else None,
            "folder": str(folder) if folder else None,
            "elapsed_s": recording.elapsed_s if recording else 0.0,
            "n_bytes": recording.totals.n_bytes if recording else 0,
            "last": self._last,
            "channels": self._channel_table(),
            "epoch": recording.told.epoch if recording else 0,
            "gaps": recording.told.gaps if recording else 0,
            "lost_samples": recording.told.lost if recording else 0,
            "safe": {
                "records": recording.safe_records if recording else 0,
                "until_ns": recording.safe_until_ns if recording else 0,
            },
            "unsafe": recording.unsafe_records if recording else 0,
            "digitizers": self._inputs.table(),
            "disk_hours_left": self._disk.hours_left(self._rate()),
            "label": recording.label if recording else "",
            "problem": self._trouble(),
        }

    def _trouble(self) -> str:
        """What is wrong now; what was and is over is in the log."""
        until_s, refused = self._refused
        sentences = [self._problem, refused if self._clock() < until_s else ""]
        if self._recording is not None:
            sentences += [self._inputs.silence_of(n) for n in self._streams if self._awaited(n)]
        return "; ".join(filter(None, sentences))

    def _awaited(self, name: str) -> bool:
        """Whether a run waits for a stream that is silent."""
        recording = self._recording
        return recording is not None and self._inputs.silent(name) and not recording.stopped(name)

    def _rate(self) -> Rate:
        """What a run writes: as it does, else as the config says, else as the triggers come."""
        recording = self._recording
        if recording is not None and recording.elapsed_s > MOVING_S:
            hours = recording.elapsed_s / HOUR_S
            return Rate(recording.totals.n_bytes / hours, "as this run writes")
        if self._disk.expected:
            return Rate(self._disk.expected, "storage.bytes_per_hour")
        channels, raw = self._inputs.all_channels(), raw_channels(self._settings)
        found = [self._eyes.rate_hz(c) * record_bytes(c) for c in channels]
        found += [2.0 * c.sample_rate_hz for c in channels if c.name in raw]
        return Rate(sum(found) * HOUR_S, "as triggers and raw streams come now")

    def _channel_table(self) -> dict[str, dict[str, Any]]:
        recording = self._recording or self._paused.recording
        totals = recording.totals if recording else None
        drops = recording.told.drops() if recording else {}
        blinded = recording.told.blinded() if recording else {}
        thresholds = recording.thresholds() if recording else {}
        guards = guard_table(recording) if recording else {}
        throttled = recording.told.throttled() if recording else []
        known = {c.name: c for c in self._inputs.all_channels()}
        table = {}
        for name in self._settings.channel_names:
            channel = known.get(name)
            rate = channel.sample_rate_hz if channel else 1.0
            live_s = totals.livetime[name] / rate if totals else 0.0
            table[name] = {
                "rate_hz": self._eyes.rate_hz(channel) if channel else 0.0,
                "records": _unsalted(totals, name) if totals else 0,
                "efficiency": efficiency_of(totals.salts.get(name, {})) if totals else None,
                "livetime_s": live_s,
                "exposure_g_d": live_s * channel.mass_g / DAY_S if channel else 0.0,
                "dead_s": _dead_s(totals, name, rate),
                "throttled": name in throttled,
                "guard": guards.get(name),
                "gain": recording.gains.told(name) if recording else None,
                "drops": drops.get(name, {}),
                "blinded": blinded.get(name, 0),
                "threshold": thresholds.get(name),
            }
        return table

    # --- sockets ---

    def _open_sockets(self) -> None:
        endpoint = self._settings.endpoint
        self._blocks = sockets.serve_blocks(endpoint("core.blocks"))
        verbs: dict[str, Verb[Any]] = {  # Any: each verb has its own arguments
            "start": Verb(StartRun, self._start),
            "stop": Verb(StopRun, self._stop_verb),
            "note": Verb(Note, self._note),
            "pause": Verb(Nothing, lambda _: self._hold()),
            "resume": Verb(Nothing, lambda _: self._let_go()),
            "comment": Verb(marks.Comment, self._comment),
            "label": Verb(marks.SetLabel, self._label),
            "mark_dead": Verb(Dead, self._mark_dead, "act"),
            "mark_alive": Verb(Dead, self._mark_alive, "act"),
            "record": Verb(OrderRecord, self._order_record, "act"),
            "rung": Verb(Rung, self._rung),
            "set_triggers": Verb(SetTriggers, self._set_triggers, "act"),
            "set_filters": Verb(SetFilters, self._set_filters, "act"),
            "set_levels": Verb(SetLevels, self._set_levels, "act"),
            "set_thresholds": Verb(SetThresholds, self._set_thresholds, "act"),
            "readings": Verb(Readings, self._readings),
            "spectra": Verb(Nothing, lambda _: {"spectra": self._spectra.told()}),
            "status": Verb(Nothing, lambda _: {"state": self._state(), **self._body()}),
        }
        self._lease = LeaseWatch(endpoint("run.state"))
        self._commands = CommandServer(
            endpoint("core.commands"), verbs, guard=self._lease.check, audit=self._audit
        )
        self._raw = RawServer(endpoint("core.raw"), self._inputs.source_of, self._converted_ns)
        self._eyes = Eyes(endpoint("core.traces"), endpoint("core.pulses"))
        self._beat = Beat(endpoint("core.state"), "core")
        served = (self._commands, self._raw, self._beat, self._eyes.traces, self._eyes.pulses)
        self._served = [(part.socket, part.serve) for part in served]
        others = [part.socket for part in served]
        self._poller = sockets.poller(self._blocks, self._waker, *others)
        self._patient = sockets.poller(self._waker, *others)

    def _close_sockets(self) -> None:
        self._blocks.close(0)
        for part in (self._commands, self._raw, self._eyes, self._beat, self._lease):
            part.close()


def _dead_s(totals: Totals | None, channel: str, rate_hz: float) -> dict[str, float]:
    """The ledger of a run so far without the live time."""
    dead = totals.dead.get(channel, {}) if totals else {}
    return {cause: dead.get(cause, 0) / rate_hz for cause in DEAD_CAUSES}


def _unsalted(totals: Totals, channel: str) -> int:
    """Records that no salt reaches into."""
    return totals.records[channel] - totals.salted.get(channel, 0)
