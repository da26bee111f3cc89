"""A run with raw streams once more through the same pipeline, and what comes out differently.

The pipeline is a deterministic function of the samples and of the inputs at their samples: both are
in the run. Its raw streams are fed, with their gaps and anchors, up to where each input entered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from daq.errors import CheckError, FormatError, ScheeliteError, UsageError
from daq.model.batch import Rows
from daq.model.block import Block, Gap, Samples
from daq.model.channel import Channel
from daq.model.clock import Anchor
from daq.services.filterfile import keep_filters, kept_filters
from daq.services.recording import Recording, RunFacts
from daq.store import numbers
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.reader import Run, open_run

SLICE_S = 1.0  # of samples that are fed between two commits
# where an input names digitizers (stop) or channels (the others) that a replay may not have
NAMED_IN = {
    "stop": "stops",
    "dead": "since",
    "alive": "until",
    "record": "samples",
    "filters": "thresholds",
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """The new run, and a sentence for each thing in which it differs from the old one."""

    run: Path
    differences: list[str]

    def check(self) -> None:
        """CheckError that says what differs."""
        if self.differences:
            raise CheckError("\n".join([f"{self.run} differs:", *self.differences]))


def replay_run(source: Path, out: Path, now_ns: Callable[[], int] = time.time_ns) -> Replayed:
    """Record a run of the raw streams of `source` below `out`, and compare the two.

    UsageError where `source` has no raw streams.
    """
    with open_run(source) as run:
        facts = _facts(run)
        folder = numbers.new_run(out)
        facts = msgspec.structs.replace(facts, run=numbers.run_number(folder))
        _record(run, folder, facts)
        Folder(out, now_ns).finish(facts.run)
        with open_run(folder) as copy:
            return Replayed(folder, list(differences(run, copy)))


def differences(run: Run, copy: Run) -> Iterator[str]:
    """What is not the same, bit for bit, of the channels that both have."""
    names = [channel.name for channel in copy.channels]
    for name in names:
        (table, samples), (other, others) = run.records(name), copy.records(name)
        if table.tobytes() != other.tobytes():
            yield f"channel {name}: expected the same {len(table)} records, found {len(other)}"
        elif samples[:].tobytes() != others[:].tobytes():
            yield f"channel {name}: expected the same samples in its records, found others"
    if names != [channel.name for channel in run.channels]:
        return  # events and the ledger's numbers are those of all channels
    for what in ("events", "members", "gaps", "anchors"):
        expected, found = _by_digitizer(getattr(run, what)()), _by_digitizer(getattr(copy, what)())
        if expected.tobytes() != found.tobytes():
            yield f"{what}: expected the same {len(expected)} rows, found {len(found)}"
    if _ledger(run) != _ledger(copy):
        yield f"ledger: expected {_ledger(run)}, found {_ledger(copy)}"


def _by_digitizer(rows: Rows) -> Rows:
    """Rows in the order of each clock: which of two clocks was first is no property of a run."""
    if "digitizer" not in (rows.dtype.names or ()):
        return rows
    ordered: Rows = rows[np.argsort(rows["digitizer"], kind="stable")]
    return ordered


def _ledger(run: Run) -> dict[str, dict[str, int]]:
    """Samples by channel and column: how often the ledger is written is no property of a run."""
    rows = run.ledger()
    columns = [column for column in rows.dtype.names or () if column not in ("channel", "start")]
    found = {}
    for i, channel in enumerate(run.channels):
        own = rows[rows["channel"] == i]
        found[channel.name] = {column: int(own[column].sum()) for column in columns}
        found[channel.name]["stop"] = int(own["stop"].max(initial=0))
    return found


def _facts(run: Run) -> RunFacts:
    """The facts of the old run, of the channels that have a raw stream."""
    if not run.raw_channels:
        raise UsageError(f"{run.folder}: expected a run with raw streams, found none in it")
    facts = msgspec.json.decode(run.start_text, type=RunFacts)
    channels = [channel for channel in facts.channels if channel.name in run.raw_channels]
    used = {channel.digitizer for channel in channels}
    return msgspec.structs.replace(
        facts,
        channels=channels,
        digitizers=[digitizer for digitizer in facts.digitizers if digitizer.name in used],
        comment=f"replay of run {facts.run}: {facts.comment}".rstrip(": "),
        raw=[],
    )


def _record(run: Run, folder: Path, facts: RunFacts) -> None:
    names = [digitizer.name for digitizer in facts.digitizers]
    # a stop that nobody asked for later was known from the start
    asked = {name for change in run.inputs() for name in change.get("stops", {})}
    stops = {name: run.stops[name] for name in run.stops if name in names and name not in asked}
    filters = kept_filters(run.folder, facts.filters)
    recording = Recording.begin(folder, facts, LogSettings(), stops, filters)
    recording.reason = run.reason
    try:
        _play(run, recording, facts)
    except ScheeliteError:
        recording.drop()
        raise
    recording.end(run.stop_ns or facts.t_ns)


def _play(run: Run, recording: Recording, facts: RunFacts) -> None:
    """Everything that the old run took in, in the order in which it did."""
    names = [digitizer.name for digitizer in facts.digitizers]
    tapes = [_Tape(run, digitizer.name, facts, recording) for digitizer in facts.digitizers]
    for change in run.inputs():
        if change.get("digitizer", names[0]) not in names:
            continue
        _feed(recording, tapes, change.get("fed", {}))
        _bring_filters(run, recording, change)
        recording.enter(_of(change, names, [channel.name for channel in facts.channels]))
    _feed(recording, tapes, dict.fromkeys(names))
    if not recording.pipeline.done:
        fed = {name: recording.pipeline.fed(name) for name in names}
        recording.stop_at(fed, run.reason)


# Any: each input has its own few fields
def _bring_filters(run: Run, recording: Recording, change: Mapping[str, Any]) -> None:
    """The copy needs the filters that were loaded as well; Any: JSON."""
    if change["input"] == "filters":
        keep_filters(recording.folder, kept_filters(run.folder, change["filters"]))


# Any: the same
def _of(change: dict[str, Any], names: list[str], channels: list[str]) -> dict[str, Any]:
    """An input without the digitizers and channels that are not replayed."""
    replayed = names if change["input"] == "stop" else channels
    key = NAMED_IN.get(change["input"])
    if key is None:
        return change
    return change | {key: {n: told for n, told in change[key].items() if n in replayed}}


def _feed(recording: Recording, tapes: list[_Tape], until: Mapping[str, int | None]) -> None:
    """Feed all streams side by side up to these samples, None for all there is."""
    going = [tape for tape in tapes if tape.name in until]
    while going:
        going = [tape for tape in going if tape.feed(until[tape.name])]
        recording.commit()
        recording.fresh()


class _Tape:
    """The raw streams of one digitizer on their way into a recording."""

    def __init__(self, run: Run, name: str, facts: RunFacts, recording: Recording) -> None:
        self.name, self._recording = name, recording
        digitizer = next(d for d in facts.digitizers if d.name == name)
        self._slice = max(1, round(SLICE_S * digitizer.rate_hz))
        self._at = digitizer.start
        index = [d.name for d in run.digitizers].index(name)
        self._gaps = [_gap(row) for row in run.gaps() if row["digitizer"] == index]
        rows = run.anchors()
        self._anchors = rows[rows["digitizer"] == index]
        self._stream = _blocks(run, [c for c in facts.channels if c.digitizer == name])
        self._next: tuple[int, Samples] | None = next(self._stream, None)

    def feed(self, until: int | None) -> bool:
        """Feed a slice, or up to `until`; whether there is more to feed before it."""
        goal = self._at + self._slice if until is None else min(self._at + self._slice, until)
        while self._step(goal):
            pass
        return self._at >= goal and goal != until

    def _step(self, goal: int) -> bool:
        """Feed the next gap or piece that begins before `goal`; false where there is none."""
        if self._gaps and self._gaps[0].start <= self._at < goal:
            gap = self._gaps.pop(0)
            self._recording.feed(self.name, [gap], None)
            self._at = gap.stop
            return True
        if self._next is None or self._at >= goal:
            return False
        start, samples = self._next
        if start != self._at:
            raise FormatError(
                f"raw stream of {self.name}: expected samples or a gap from {self._at} on, found "
                f"{start}: see scheelite verify"
            )
        stop = min(goal, start + samples.shape[1])
        piece = samples[:, : stop - start]
        self._recording.feed(self.name, [], Block(start, piece, self._marks(start, stop)))
        rest = samples[:, stop - start :]
        self._next = (stop, rest) if rest.size else next(self._stream, None)
        self._at = stop
        return True

    def _marks(self, start: int, stop: int) -> tuple[Anchor, ...]:
        """The anchors in [start, stop)."""
        first, last = np.searchsorted(self._anchors["sample"], [start, stop])
        return tuple(Anchor(int(a["sample"]), int(a["t_ns"])) for a in self._anchors[first:last])


def _blocks(run: Run, channels: list[Channel]) -> Iterator[tuple[int, Samples]]:
    """The pieces of all channels of a digitizer as rows of one array; rows nobody reads are 0."""
    n_rows = max(channel.row for channel in channels) + 1
    for pieces in zip(*(run.raw(channel.name) for channel in channels), strict=True):
        start, length = pieces[0][0], len(pieces[0][1])
        samples = np.zeros((n_rows, length), np.int16)
        for channel, (_, row) in zip(channels, pieces, strict=True):
            samples[channel.row] = row
        samples.flags.writeable = False
        yield start, samples


def _gap(row: Any) -> Gap:  # Any: a row of a structured array
    cause = bytes(row["cause"]).decode()
    return Gap(int(row["start"]), int(row["stop"]), bool(row["exact"]), cause)
