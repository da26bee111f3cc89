"""Whether a run makes sense as a whole: numbers without holes, times in order, sums that add up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows
from daq.model.record import HitKind
from daq.store.parts import Part
from daq.store.summary import LEDGER_COLUMNS

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def problems_in(parts: Sequence[Part], whole: bool) -> list[str]:
    """A sentence for each thing that is wrong; `whole` where `parts` are all of a run."""
    found = [*_commits(parts, whole), *_channels_agree(parts)]
    if found:
        return found  # the rest would only repeat it
    found += [*_records(parts, whole), *_ledgers(parts, whole), *_events(parts, whole)]
    found += [*_anchors(parts), *_gaps(parts), *_inputs(parts), *_guard(parts)]
    if whole and not found:
        found += [*_gap_columns(parts), *_guarded_columns(parts), *_members(parts), *_raw(parts)]
    return found


# --- the parts ---


def _commits(parts: Sequence[Part], whole: bool) -> Iterator[str]:
    if whole and parts[0].facts.first_commit != 1:
        found = parts[0].facts.first_commit
        yield f"{parts[0].name}: expected to begin with commit 1, found {found}"
    for before, after in pairwise(parts):
        expected, first = before.facts.last_commit + 1, after.facts.first_commit
        if first != expected:
            yield f"{after.name}: expected to begin with commit {expected}, found {first}"


def _channels_agree(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts[1:]:
        if part.facts.start_text != parts[0].facts.start_text:
            yield f"{part.name}: expected the same start of the run as {parts[0].name}"


# --- records ---


def _records(parts: Sequence[Part], whole: bool) -> Iterator[str]:
    for channel in parts[0].facts.start.channels:
        tables = [(part.name, part.record_table(channel.name)) for part in parts]
        what = f"channel {channel.name}, record"
        yield from _numbered(tables, "record", what, whole)
        yield from _rising(tables, "trigger", what, step=1)
        yield from _rising(tables, "t_ns", what, step=0)
        for name, table in tables:
            wrong = table["start"] > table["trigger"]
            yield from _said(name, what, wrong, table["record"], "starts after its trigger")


def _numbered(
    tables: Sequence[tuple[str, Rows]], column: str, what: str, whole: bool
) -> Iterator[str]:
    """The numbers must count from 0, or within a part of the run from wherever it begins."""
    expected: int | None = 0 if whole else None
    for name, table in tables:
        if not len(table):
            continue
        numbers = table[column]
        first = int(numbers[0]) if expected is None else expected
        wrong = numbers != np.arange(first, first + len(numbers))
        if wrong.any():
            at = int(wrong.argmax())
            yield f"{name}: row {at}: expected {what} {first + at}, found {numbers[at]}"
        expected = int(numbers[-1]) + 1


def _rising(
    tables: Sequence[tuple[str, Rows]], column: str, what: str, *, step: int
) -> Iterator[str]:
    """Each value must be at least `step` above the one before."""
    last: int | None = None
    for name, table in tables:
        values = table[column].astype(np.int64)
        before = np.concatenate([values[:1] - step if last is None else [last], values[:-1]])
        wrong = values - before[: len(values)] < step
        yield from _said(name, f"{what} row", wrong, np.arange(len(values)), f"{column} runs back")
        last = int(values[-1]) if len(values) else last


# --- the ledger ---


def _ledgers(parts: Sequence[Part], whole: bool) -> Iterator[str]:
    yield from _in_range(parts, "livetime", "channel", len(parts[0].facts.start.channels))
    start, end = parts[-1].facts.start, parts[-1].facts.end
    begins = {digitizer.name: digitizer.start for digitizer in start.digitizers}
    for i, channel in enumerate(start.channels):
        reached = begins[channel.digitizer] if whole else None
        for part in parts:
            rows = _of(part.table("livetime"), "channel", i)
            what = f"{part.name}: livetime of channel {channel.name}"
            yield from _tiles(rows, reached, what)
            yield from _adds_up(rows, what)
            reached = int(rows["stop"][-1]) if len(rows) else reached
        stop = end.stops.get(channel.digitizer) if end and whole else None
        if stop is not None and reached != stop:
            yield f"livetime of channel {channel.name}: expected to reach {stop}, found {reached}"


def _tiles(rows: Rows, reached: int | None, what: str) -> Iterator[str]:
    if not len(rows):
        return
    first = rows["start"][:1] if reached is None else [reached]
    expected = np.concatenate([first, rows["stop"][:-1]])
    wrong = (rows["start"] != expected) | (rows["stop"] < rows["start"])
    if wrong.any():
        at = int(wrong.argmax())
        found = f"{rows['start'][at]} to {rows['stop'][at]}"
        yield f"{what}: row {at}: expected samples from {expected[at]} on, found {found}"


def _adds_up(rows: Rows, what: str) -> Iterator[str]:
    total = sum((rows[name] for name in LEDGER_COLUMNS), np.zeros(len(rows), np.int64))
    wrong = total != rows["stop"] - rows["start"]
    for name in LEDGER_COLUMNS:
        wrong |= rows[name] < 0
    if wrong.any():
        at = int(wrong.argmax())
        length = rows["stop"][at] - rows["start"][at]
        yield f"{what}: row {at}: expected columns that add up to {length}, found {total[at]}"


def _gap_columns(parts: Sequence[Part]) -> Iterator[str]:
    """What the ledger says of gaps must be what the gaps are."""
    start = parts[0].facts.start
    digitizers = [digitizer.name for digitizer in start.digitizers]
    gaps, ledger = _all(parts, "gaps"), _all(parts, "livetime")
    for i, channel in enumerate(start.channels):
        own = _of(gaps, "digitizer", digitizers.index(channel.digitizer))
        rows = _of(ledger, "channel", i)
        full = own["cause"] == b"disk_full"
        lost, no_room = _lost(own[~full], rows), _lost(own[full], rows)
        yield from _column(channel.name, rows, "gap", lost, rows["gap"] != lost)
        # a pause comes before a full disk, and a disk may be full without a loss
        short = rows["disk_full"] + rows["paused"] < no_room
        yield from _column(channel.name, rows, "disk_full", no_room, short)


def _column(channel: str, rows: Rows, cause: str, expected: Ints, wrong: Bools) -> Iterator[str]:
    if wrong.any():
        at = int(wrong.argmax())
        yield (
            f"livetime of channel {channel}, from sample {rows['start'][at]}: "
            f"expected {expected[at]} samples in {cause}, found {rows[cause][at]}"
        )


def _lost(gaps: Rows, rows: Rows) -> Ints:
    """How many samples of each ledger row lie in gaps."""
    lost: Ints = _lost_before(gaps, rows["stop"]) - _lost_before(gaps, rows["start"])
    return lost


def _lost_before(gaps: Rows, samples: Ints) -> Ints:
    """How many samples before each of `samples` lie in gaps; the gaps are in order."""
    lost = np.concatenate([[0], np.cumsum(gaps["stop"] - gaps["start"])])
    begun = np.searchsorted(gaps["start"], samples, side="left")
    stops = np.concatenate([[np.iinfo(np.int64).min], gaps["stop"]])
    behind: Ints = lost[begun] - np.maximum(0, stops[begun] - samples) * (begun > 0)
    return behind


# --- the guard ---


def _guard(parts: Sequence[Part]) -> Iterator[str]:
    """Hits of known kinds, none empty; jumps, and only jumps, have quanta."""
    for part in parts:
        rows = part.table("guard")
        unknown = ~np.isin(rows["kind"], [int(kind) for kind in HitKind])
        yield from _said(part.name, "hit at", unknown, rows["start"], "is of no known kind")
        empty = rows["stop"] <= rows["start"]
        yield from _said(part.name, "hit at", empty, rows["start"], "is empty")
        wrong = (rows["quanta"] != 0) != (rows["kind"] == HitKind.JUMP)
        yield from _said(
            part.name,
            "hit at",
            wrong,
            rows["start"],
            "is no jump with quanta and nothing else",
        )
    yield from _in_range(parts, "guard", "channel", len(parts[0].facts.start.channels))


def _guarded_columns(parts: Sequence[Part]) -> Iterator[str]:
    """No sample of a hit may be live; within a rail's there may be some between its touches."""
    hits, ledger = _all(parts, "guard"), _all(parts, "livetime")
    hits = hits[hits["kind"] != HitKind.RAIL]
    for i, channel in enumerate(parts[0].facts.start.channels):
        rows = _of(ledger, "channel", i)
        hit = _lost(_united(_of(hits, "channel", i)), rows)
        wrong = rows["live"] + hit > rows["stop"] - rows["start"]
        if wrong.any():
            at = int(wrong.argmax())
            yield (
                f"livetime of channel {channel.name}, from sample {rows['start'][at]}: expected "
                f"{hit[at]} samples of the guard's hits not to be live, found "
                f"{rows['live'][at]} live"
            )


def _united(hits: Rows) -> Rows:
    """Rows of which each begins where those before have ended; what they cover is the same."""
    rows = np.sort(hits, order=["start", "stop"])
    reached = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], rows["stop"]]))[:-1]
    rows["start"] = np.maximum(rows["start"], reached)
    united: Rows = rows[rows["stop"] > rows["start"]]
    return united


# --- raw streams ---


def _raw(parts: Sequence[Part]) -> Iterator[str]:
    """Pieces and gaps together are every sample of the run, from its start to its end, once."""
    start, end = parts[-1].facts.start, parts[-1].facts.end
    digitizers = [digitizer.name for digitizer in start.digitizers]
    gaps = _all(parts, "gaps")
    for channel in start.channels:
        if channel.name not in start.raw:
            continue
        at = digitizers.index(channel.digitizer)
        pieces = np.concatenate([part.raw_pieces(channel.name) for part in parts])
        begins = np.array([start.digitizers[at].start], np.int64)
        ends = end.stops.get(channel.digitizer) if end else None
        yield from _covered(channel.name, pieces, _of(gaps, "digitizer", at), begins, ends)


def _covered(name: str, pieces: Rows, gaps: Rows, begins: Ints, ends: int | None) -> Iterator[str]:
    lasts = [] if ends is None else [ends]
    befores = np.concatenate([begins, pieces["stop"]])[: len(pieces) + len(lasts)]
    afters = np.concatenate([pieces["start"], np.array(lasts, np.int64)])
    lost = _lost_before(gaps, afters) - _lost_before(gaps, befores)
    wrong = lost != afters - befores
    if wrong.any():
        at = int(wrong.argmax())
        yield (
            f"raw stream of channel {name}: expected samples or a gap from {befores[at]} to "
            f"{afters[at]}, found {lost[at]} samples in gaps"
        )


# --- gaps and anchors ---


def _gaps(parts: Sequence[Part]) -> Iterator[str]:
    for i, digitizer in enumerate(parts[0].facts.start.digitizers):
        reached = np.iinfo(np.int64).min
        for part in parts:
            rows = _of(part.table("gaps"), "digitizer", i)
            before = np.concatenate([[reached], rows["stop"]])[: len(rows)]
            wrong = (rows["start"] < before) | (rows["stop"] <= rows["start"])
            what = f"gap of {digitizer.name} at"
            yield from _said(part.name, what, wrong, rows["start"], "is empty or out of order")
            reached = int(rows["stop"][-1]) if len(rows) else reached
    yield from _in_range(parts, "gaps", "digitizer", len(parts[0].facts.start.digitizers))


def _anchors(parts: Sequence[Part]) -> Iterator[str]:
    for i, digitizer in enumerate(parts[0].facts.start.digitizers):
        tables = [(part.name, _of(part.table("anchors"), "digitizer", i)) for part in parts]
        what = f"anchor of {digitizer.name},"
        yield from _rising(tables, "sample", what, step=1)
        yield from _rising(tables, "t_ns", what, step=0)
    yield from _in_range(parts, "anchors", "digitizer", len(parts[0].facts.start.digitizers))


def _inputs(parts: Sequence[Part]) -> Iterator[str]:
    """Numbers rise from input to input, and the pieces of one text are all there, in order."""
    reached = -1
    for part in parts:
        rows = part.table("inputs")
        seqs = np.concatenate([[reached], rows["seq"]])
        pieces = np.concatenate([[-1], rows["part"].astype(np.int64)])
        follows = (seqs[1:] == seqs[:-1]) & (pieces[1:] == pieces[:-1] + 1)
        begins = (seqs[1:] > seqs[:-1]) & (pieces[1:] == 0)
        yield from _said(part.name, "input", ~(follows | begins), rows["seq"], "is out of order")
        reached = int(seqs[-1])


# --- events ---


def _events(parts: Sequence[Part], whole: bool) -> Iterator[str]:
    tables = [(part.name, part.table("events")) for part in parts]
    yield from _numbered(tables, "event", "event", whole)
    on_time = [(name, table[table["late"] == 0]) for name, table in tables]
    yield from _rising(on_time, "t_ns", "event,", step=0)


def _members(parts: Sequence[Part]) -> Iterator[str]:
    channels = parts[0].facts.start.channels
    events, members = _all(parts, "events"), _all(parts, "event_members")
    if ((members["event"] < 0) | (members["event"] >= len(events))).any():
        yield f"event_members: expected events below {len(events)}, found another"
        return
    if (members["channel"] >= len(channels)).any():
        yield f"event_members: expected channels below {len(channels)}, found another"
        return
    counts = np.array([sum(p.n_records(c.name) for p in parts) for c in channels], np.int64)
    gone = (members["record"] < 0) | (members["record"] >= counts[members["channel"]])
    yield from _said("event_members", "event", gone, members["event"], "has a record that is not")
    pairs, n_times = np.unique(members[["channel", "record"]], return_counts=True)
    twice = n_times > 1
    yield from _said("event_members", "record", twice, pairs["record"], "is in two events")
    yield from _events_agree(events, members)


def _events_agree(events: Rows, members: Rows) -> Iterator[str]:
    """An event must say how many records of which channels it has, as its members do."""
    n_members = np.bincount(members["event"], minlength=len(events))
    wrong = n_members != events["n_records"]
    yield from _said("events", "event", wrong, events["event"], "has more or fewer members")
    bits = np.zeros(len(events), np.uint64)
    np.bitwise_or.at(bits, members["event"], np.uint64(1) << members["channel"].astype(np.uint64))
    yield from _said(
        "events", "event", bits != events["channels"], events["event"], "has other channels"
    )


# --- small things ---


def _said(name: str, what: str, wrong: Bools, numbers: Ints, claim: str) -> Iterator[str]:
    """One sentence for the first row that is wrong, and how many there are."""
    if wrong.any():
        more = f", so do {n - 1} more" if (n := int(wrong.sum())) > 1 else ""
        yield f"{name}: {what} {numbers[wrong.argmax()]} {claim}{more}"


def _in_range(parts: Sequence[Part], table: str, column: str, count: int) -> Iterator[str]:
    for part in parts:
        rows = part.table(table)
        if (rows[column] >= count).any():
            highest = rows[column].max()
            yield f"{part.name}: {table}: expected a {column} below {count}, found {highest}"


def _of(rows: Rows, column: str, number: int) -> Rows:
    chosen: Rows = rows[rows[column] == number]
    return chosen


def _all(parts: Sequence[Part], table: str) -> Rows:
    return np.concatenate([part.table(table) for part in parts])
