"""LJH 2.1 and 2.2, the pulse files of the NIST microcalorimeters: one channel's records."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint16]
Records = npt.NDArray[np.void]
Number = TypeVar("Number", bound=np.integer)

MAGIC = b"#LJH Memorial File Format"
END = b"#End of Header"
LONGEST_HEADER = 1 << 20  # bytes
# of other writers' files the usual reader takes the trigger to be 3 samples after the presamples
SOFTWARE = "Software Version: Scheelite, with the presamples of DASTARD"

# keys in lower case, since writers disagree on that
VERSION, WORD_SIZE = "save file format version", "digitized word size in bytes"
PRESAMPLES, TOTAL, TIMEBASE = "presamples", "total samples", "timebase"
CHANNEL, CHANNEL_NAME = "channel", "channel name"
OFFSET, DIVISIONS, ROWS = "timestamp offset (s)", "subframe divisions", "number of rows"


class LjhError(ValueError):
    """An LJH file that is missing or damaged, cannot be written, or does not suit the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a version puts before the samples of each record, and what fits into it."""

    dtype: np.dtype[np.void]
    decode: Callable[[Records], tuple[Ints, Ints]]
    encode: Callable[[Ints, Ints], tuple[Ints, ...]]
    time_step_us: int
    time_stop_us: int
    count_stop: int
    counts_time: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LjhFile:
    """The records of one channel, and the header as it stands in the file.

    `times_us` are the recorded times of the triggers: in 2.1 since `timestamp_offset_s`, in 2.2
    since 1970. `counts` is what else is stored: a byte of no known meaning (2.1), the subframe
    count (2.2). `samples` is uint16, [record, sample], read-only. `header` has its keys in lower
    case, and of a key that comes twice the first.
    """

    path: Path
    header_text: str
    header: dict[str, str]
    version: str
    timebase_s: float
    presamples: int
    record_length: int
    channel: str
    channel_number: int
    timestamp_offset_s: float
    times_us: Ints
    counts: Ints
    samples: Words

    @property
    def n_records(self) -> int:
        """Records in the file."""
        return len(self.samples)

    @property
    def subframes(self) -> int | None:
        """Subframe counts per sample, where the counts are a clock and the header says so."""
        known = self.header.get(DIVISIONS) or self.header.get(ROWS) or ""
        counts_time = STAMPS[_kind(self.version)].counts_time
        return int(known) if counts_time and known.isdecimal() and int(known) else None

    @property
    def posix_us(self) -> Ints:
        """The recorded times in microseconds since 1970, as far as the header tells."""
        since_1970 = STAMPS[_kind(self.version)].counts_time
        return self.times_us + (0 if since_1970 else round(self.timestamp_offset_s * 1e6))


def read_ljh(path: Path) -> LjhFile:
    """The file at `path`, its samples mapped from the disk; LjhError where it is not whole."""
    try:
        return _read(path)
    except OSError as error:
        raise LjhError(f"{path}: expected an LJH file, found: {error.strerror}") from error


def new_ljh(
    *,
    version: str,
    timebase_s: float,
    presamples: int,
    times_us: Ints,
    samples: Words,
    counts: Ints | None = None,
    channel_number: int = 1,
    timestamp_offset_s: float = 0.0,
    subframes: int | None = None,
    path: Path = Path("new.ljh"),
) -> LjhFile:
    """An LJH file in memory, with a header of our own, to be given to `write_ljh`."""
    if samples.ndim != 2 or samples.dtype != np.uint16:
        found = f"{samples.dtype} in {samples.ndim}"
        raise LjhError(f"{path}: expected uint16 samples in 2 dimensions, found {found}")
    lines = [
        MAGIC.decode(),
        f"Save File Format Version: {version}",
        SOFTWARE,
        *([] if subframes is None else [f"Subframe divisions: {subframes}"]),
        f"Channel name: chan{channel_number}",
        f"Channel: {channel_number}",
        "Digitized Word Size In Bytes: 2",
        f"Presamples: {presamples}",
        f"Total Samples: {samples.shape[1]}",
        f"Timestamp offset (s): {timestamp_offset_s!r}",
        f"Timebase: {timebase_s!r}",
        END.decode(),
    ]
    header = _Header(path, "".join(f"{line}\n" for line in lines))
    others = np.zeros(len(samples), np.int64) if counts is None else counts
    return _file(header, times_us, others, samples)


def write_ljh(path: Path, content: LjhFile) -> None:
    """Write `content` to `path`, its header word for word."""
    records = np.empty(content.n_records, _record(content.version, content.record_length))
    stamp = STAMPS[_kind(content.version)]
    columns = stamp.encode(content.times_us, content.counts)
    for name, column in zip(stamp.dtype.names or (), columns, strict=True):
        records[name] = column
    records["samples"] = content.samples
    try:
        path.write_bytes(_encoded(content.header_text) + records.tobytes())
    except OSError as error:
        raise LjhError(f"{path}: cannot be written: {error.strerror}") from error


class _Header:
    """What the header of a file says, each item checked."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.items = path, text, _items(text)
        self.version = self._version()
        self._whole(WORD_SIZE, 2, 2)
        self.record_length = self._whole(TOTAL, 1, 1 << 24)
        self.presamples = self._whole(PRESAMPLES, 0, self.record_length - 1)
        self.timebase_s = self._number(TIMEBASE, 1e-9, 1.0)
        self.timestamp_offset_s = self._number(OFFSET, 0.0, 1e10, "0")
        self.channel_number = self._whole(CHANNEL, 0, 1 << 32, "0")
        self.channel = self.items.get(CHANNEL_NAME) or f"chan{self.channel_number}"

    def _version(self) -> str:
        version = self._text(VERSION)
        if _kind(version) not in STAMPS:
            raise LjhError(f"{self.path}: expected LJH {' or '.join(STAMPS)}, found {version!r}")
        return version

    def _text(self, key: str, default: str | None = None) -> str:
        value = self.items.get(key) or default
        if value is None:
            raise LjhError(f"{self.path}: expected {key!r} in the header, found none")
        return value

    def _whole(self, key: str, low: int, high: int, default: str | None = None) -> int:
        value = self._text(key, default)
        if not (value.isdecimal() and len(value) < 12 and low <= int(value) <= high):
            wanted = f"expected {key!r} to be a whole number from {low} to {high}"
            raise LjhError(f"{self.path}: {wanted}, found {value!r}")
        return int(value)

    def _number(self, key: str, low: float, high: float, default: str | None = None) -> float:
        value = self._text(key, default)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            wanted = f"expected {key!r} to be a number from {low:g} to {high:g}"
            raise LjhError(f"{self.path}: {wanted}, found {value!r}")
        return number


def _read(path: Path) -> LjhFile:
    with path.open("rb") as file:
        top = _top(path, file.read(LONGEST_HEADER))
    header = _Header(path, top.decode("utf-8", "surrogateescape"))
    record = _record(header.version, header.record_length)
    n_records, left_over = divmod(path.stat().st_size - len(top), record.itemsize)
    if left_over:
        raise LjhError(
            f"{path}: expected whole records of {record.itemsize} bytes, "
            f"found {n_records} of them and {left_over} bytes left over"
        )
    if not n_records:
        raise LjhError(f"{path}: expected records after the header, found none")
    records = np.memmap(path, record, mode="r", offset=len(top), shape=(n_records,))
    times_us, counts = STAMPS[_kind(header.version)].decode(records)
    return _file(header, times_us, counts, records["samples"])


def _file(header: _Header, times_us: Ints, counts: Ints, samples: Words) -> LjhFile:
    """The file of these parts, once they fit each other and their version."""
    _check_stamps(header.path, STAMPS[_kind(header.version)], times_us, counts, len(samples))
    return LjhFile(
        path=header.path,
        header_text=header.text,
        header=header.items,
        version=header.version,
        timebase_s=header.timebase_s,
        presamples=header.presamples,
        record_length=header.record_length,
        channel=header.channel,
        channel_number=header.channel_number,
        timestamp_offset_s=header.timestamp_offset_s,
        times_us=_read_only(times_us),
        counts=_read_only(counts),
        samples=_read_only(samples),
    )


def _check_stamps(path: Path, stamp: Stamp, times_us: Ints, counts: Ints, n_records: int) -> None:
    if not len(times_us) == len(counts) == n_records > 0:
        raise LjhError(
            f"{path}: expected a time and a count for each record and at least one, "
            f"found {len(times_us)}, {len(counts)} and {n_records} records"
        )
    _check_range(path, "times in us", times_us, stamp.time_stop_us)
    _check_range(path, "counts", counts, stamp.count_stop)
    _check_order(path, "times", times_us)
    if stamp.counts_time:
        _check_order(path, "subframe counts", counts)
    if (times_us % stamp.time_step_us).any():
        raise LjhError(f"{path}: expected times in steps of {stamp.time_step_us} us, found others")


def _check_range(path: Path, what: str, values: Ints, stop: int) -> None:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= stop:
        raise LjhError(f"{path}: expected {what} from 0 to {stop - 1}, found {low} to {high}")


def _check_order(path: Path, what: str, values: Ints) -> None:
    back = np.flatnonzero(np.diff(values) < 0)
    if len(back):
        at = int(back[0])
        raise LjhError(
            f"{path}: expected {what} that never run backwards, "
            f"found {values[at + 1]} in record {at + 1} after {values[at]}"
        )


def _read_only(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    view = array.view()
    view.flags.writeable = False
    return view


def _top(path: Path, beginning: bytes) -> bytes:
    """The header's bytes, the line that ends it included."""
    if not beginning.startswith(MAGIC):
        raise LjhError(f"{path}: expected {MAGIC.decode()!r}, found {beginning[:24]!r}")
    last = beginning.find(b"\n" + END)
    stop = beginning.find(b"\n", last + 1) + 1
    if last < 0 or not stop:
        raise LjhError(
            f"{path}: expected {END.decode()!r} within the first {LONGEST_HEADER} bytes, "
            f"found none in {len(beginning)}"
        )
    return beginning[:stop]


def _items(text: str) -> dict[str, str]:
    items: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            items.setdefault(key.strip().lower(), value.strip())
    return items


def _kind(version: str) -> str:
    """Of "2.1.0", "2.1"."""
    return ".".join(version.split(".")[:2])


def _record(version: str, record_length: int) -> np.dtype[np.void]:
    fields = STAMPS[_kind(version)].dtype.descr
    return np.dtype([*fields, ("samples", "<u2", (record_length,))])


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode_2_1(records: Records) -> tuple[Ints, Ints]:
    times_us = 1000 * records["ms"].astype(np.int64) + 4 * records["ticks"].astype(np.int64)
    return times_us, records["byte"].astype(np.int64)


def _encode_2_1(times_us: Ints, counts: Ints) -> tuple[Ints, ...]:
    return times_us % 1000 // 4, counts, times_us // 1000


def _decode_2_2(records: Records) -> tuple[Ints, Ints]:
    return records["us"].astype(np.int64), records["count"].astype(np.int64)


def _encode_2_2(times_us: Ints, counts: Ints) -> tuple[Ints, ...]:
    return counts, times_us


STAMPS = {
    "2.1": Stamp(
        dtype=np.dtype([("ticks", "u1"), ("byte", "u1"), ("ms", "<u4")]),  # a tick is 4 us
        decode=_decode_2_1,
        encode=_encode_2_1,
        time_step_us=4,
        time_stop_us=1000 << 32,
        count_stop=1 << 8,
        counts_time=False,
    ),
    "2.2": Stamp(
        dtype=np.dtype([("count", "<i8"), ("us", "<i8")]),
        decode=_decode_2_2,
        encode=_encode_2_2,
        time_step_us=1,
        time_stop_us=(1 << 62) // 1000,  # in the year 2116: in ns far from the end of 64 bits
        count_stop=(1 << 63) - 1,
        counts_time=True,
    ),
}
