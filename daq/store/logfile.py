"""Reading one file of the write-ahead log: what is whole and committed, what is not, and why.

A commit is kept where all its frames are whole. Commits known to have been synced are each kept
on their own, for there damage means a bad disk. Behind them a power cut may have left any page
out, so the first one that is not whole ends the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from daq.errors import FormatError
from daq.store.frames import DERIVED, EXTERNAL, Damage, Frame, Kind, encode, file_key, scan
from daq.store.payloads import RECORD_ROW, ROWS

VERSION = 1
# The rows' layout: a log written by another version of the software is refused, not misread.
LAYOUT = zlib.crc32(repr([RECORD_ROW.descr, *(ROWS[kind].descr for kind in ROWS)]).encode())
# number of the commit, of the last one synced before it, seq of its first frame; then checkpoint
COMMIT = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first frame of a file: which it is, and the commit it goes on from (0: none yet)."""

    run: int
    file: int
    preallocated: Annotated[int, msgspec.Meta(ge=1)]
    first_seq: int
    commit: int
    commit_seq: int
    resumed: bool
    version: int = VERSION
    layout: int = LAYOUT


@dataclass(frozen=True, slots=True)
class External:
    """A frame that came from outside the pipeline, by its number in the run."""

    seq: int
    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unit:
    """One commit; `stop` is where it ends in the file."""

    number: int
    seq: int
    checkpoint: bytes
    frames: list[Frame]
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of the log, as far as it is to be believed.

    `problems` were once whole, `torn` never were: what a crash or power cut leaves, and what is
    just being written.
    """

    head: Head | None
    checkpoint: bytes | None
    units: list[Unit]
    external: list[External]
    next_seq: int
    head_stop: int
    problems: list[str]
    torn: list[str]

    @property
    def last_commit(self) -> int:
        """The number of the last commit, 0 where the run has none yet."""
        if self.units:
            return self.units[-1].number
        return self.head.commit if self.head else 0

    @property
    def last_seq(self) -> int:
        """The seq of the last commit; what is external and behind it is kept for the next file."""
        if self.units:
            return self.units[-1].seq
        return self.head.commit_seq if self.head else 0

    @property
    def run_start(self) -> External | None:
        """The run's start, which every file repeats."""
        return next((item for item in self.external if item.kind is Kind.RUN_START), None)

    @property
    def run_end(self) -> External | None:
        """The run's end, if it is committed."""
        ends = (item for item in self.external if item.kind is Kind.RUN_END)
        return next((item for item in ends if item.seq < self.last_seq), None)

    @property
    def pending(self) -> list[External]:
        """What came from outside behind the last commit, in order."""
        return [
            item
            for item in self.external
            if item.seq > self.last_seq and item.kind is not Kind.RUN_START
        ]


def encode_head(head: Head, checkpoint: bytes | None) -> bytes:
    """The payload of a HEAD frame."""
    return msgspec.json.encode(head) + b"\n" + (checkpoint or b"")


def parse(content: bytes, run: int, index: int, followed: bool) -> LogFile:
    """What the file `index` of run `run` holds; `followed` where the log goes on in another.

    Any bytes may come in; FormatError for a file of another version of the software.
    """
    found = list(scan(content, file_key(run, index)))
    frames = [item for item in found if isinstance(item, Frame)]
    damages = [item for item in found if isinstance(item, Damage)]
    head, checkpoint, head_stop = _head(frames)
    units, durable = _units(frames)
    sealed = bool(frames) and frames[-1].kind is Kind.SEAL and frames[-1].stop == len(content)
    if followed or sealed:
        durable = max([durable, *(unit.number for unit in units)])
    kept = _believed(units, max(durable, head.commit if head else 0))
    problems, torn = _sorted_out(damages, kept, whole=followed or sealed)
    problems += _missing_commits(head, kept)
    if not _is_torn_seal(content, frames, file_key(run, index)):
        problems += _wrong_end(content, head, sealed, followed)
    return LogFile(
        head=head,
        checkpoint=kept[-1].checkpoint if kept else checkpoint,
        units=kept,
        external=_external(frames),
        next_seq=max((frame.seq + 1 for frame in frames), default=0),
        head_stop=head_stop,
        problems=problems,
        torn=torn,
    )


def _head(frames: list[Frame]) -> tuple[Head | None, bytes | None, int]:
    """The head, the checkpoint it carries, where it ends; nothing where it is damaged."""
    if not frames or frames[0].kind is not Kind.HEAD or frames[0].start != 0:
        return None, None, 0
    text, _, checkpoint = bytes(frames[0].payload).partition(b"\n")
    try:
        head = msgspec.json.decode(text, type=Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"expected the head of a log, found {text[:80]!r}") from error
    if (head.version, head.layout) != (VERSION, LAYOUT):
        raise FormatError(
            f"expected a log of version {VERSION}, layout {LAYOUT}; "
            f"found version {head.version}, layout {head.layout}"
        )
    return head, checkpoint if head.commit else None, frames[0].stop


def _units(frames: list[Frame]) -> tuple[list[Unit], int]:
    """All whole commits, and the number of the last one that a later one knew to be synced."""
    units: list[Unit] = []
    durable, waiting = 0, list[Frame]()
    for frame in frames:
        if frame.kind in DERIVED:
            waiting.append(frame)
        elif frame.kind is Kind.COMMIT and len(frame.payload) >= COMMIT.size:
            number, synced, first_seq = COMMIT.unpack(frame.payload[: COMMIT.size])
            durable = max(durable, synced)
            members = [item for item in waiting if item.seq >= first_seq]
            if [item.seq for item in members] == list(range(first_seq, frame.seq)):
                checkpoint = bytes(frame.payload[COMMIT.size :])
                units.append(Unit(number, frame.seq, checkpoint, members, frame.stop))
            waiting = []
    return units, durable


def _believed(units: list[Unit], durable: int) -> list[Unit]:
    """The commits to keep: all that were synced, and behind them what has no hole."""
    kept = [unit for unit in units if unit.number <= durable]
    expected = durable + 1
    for unit in units[len(kept) :]:
        if unit.number != expected:
            break
        kept.append(unit)
        expected += 1
    return kept


def _sorted_out(
    damages: Sequence[Damage], kept: list[Unit], whole: bool
) -> tuple[list[str], list[str]]:
    """Damages as (problems, torn): where all was synced, or a kept commit follows, it is bad."""
    synced_stop = kept[-1].stop if kept else 0
    bad = [str(damage) for damage in damages if whole or damage.start < synced_stop]
    torn = [str(damage) for damage in damages if not whole and damage.start >= synced_stop]
    return bad, torn


def _missing_commits(head: Head | None, kept: list[Unit]) -> list[str]:
    if not kept:
        return []
    first = head.commit + 1 if head else kept[0].number
    missing = sorted(set(range(first, kept[-1].number)) - {unit.number for unit in kept})
    return [f"commit {number} is not whole: what it held is lost" for number in missing]


def _wrong_end(content: bytes, head: Head | None, sealed: bool, followed: bool) -> list[str]:
    if head is None:
        return ["bytes 0: expected the head of a log"]
    if not sealed and followed:
        return [f"byte {len(content)}: expected the seal at the end, found none"]
    if not sealed and (len(content) % head.preallocated or not content):
        return [f"expected a multiple of {head.preallocated} bytes, found {len(content)}"]
    return []


def _is_torn_seal(content: bytes, frames: list[Frame], key: int) -> bool:
    """Whether a power cut has kept the length of a sealed file and not, or not all of, its seal.

    All before a seal was synced before it was written, so nothing is missing.
    """
    if not frames:
        return False
    last = frames[-1]
    seal = b"".join(encode(Kind.SEAL, last.seq + 1, key, []))
    tail = content[last.stop :]
    return len(tail) == len(seal) and all(a in (0, b) for a, b in zip(tail, seal, strict=True))


def _external(frames: list[Frame]) -> list[External]:
    return [
        External(frame.seq, frame.kind, bytes(frame.payload))
        for frame in frames
        if frame.kind in EXTERNAL
    ]
