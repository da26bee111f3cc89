"""LJH 2.1 and 2.2 as a recording: the triggered records of one channel, and nothing between them.

Confirmed by files of two recording programs (MATTER, DASTARD): the header of lines `Key: value` up
to `#End of Header`, whose keys differ in capitals; records of unsigned 16 bit, little-endian, after
a stamp. In 2.1 the stamp is 4 us units (1 byte), a byte of no known meaning and milliseconds (4
bytes), since the header's timestamp offset; in 2.2 a subframe count and microseconds since 1970 (8
bytes each). The divisions of a sample that are counted stand in the header, as "Subframe divisions"
or, before these, as the number of rows.

Samples between records were never written: they are gaps, exact where the stamps count samples.
Where stamps are only times, a record that would begin before the one before has ended is moved
behind it, since the times of one such program have steps of 1 ms. Where they count, what two
records share is given once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq.errors import FormatError
from daq.model.block import Gap
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import End, Event, Samples
from drivers.digitizer.recording import UNRECORDED, Contents, Recording, opened, read_at, reopened

MAGIC, END = b"#LJH Memorial File Format", b"#End of Header"
LONGEST_HEADER = 1 << 20  # bytes
LONGEST_RECORD = 1 << 24  # samples
STAMPS = {
    "2.1": np.dtype([("ticks", "u1"), ("unknown", "u1"), ("ms", "<u4")]),
    "2.2": np.dtype([("count", "<i8"), ("us", "<i8")]),
}
TO_SIGNED = np.uint16(0x8000)  # flipping this bit takes 32768 from the counts

Numbers = npt.NDArray[np.int64]


class LjhRecording(Recording):
    """One LJH file; a sample is what is written less 32768, to fit into int16."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened(path) as file:
            top = file.read(LONGEST_HEADER)
        self._header = header = _Header(path, top)
        self._length = header.record_length
        self._record = np.dtype([("stamp", header.stamp), ("samples", "<u2", (self._length,))])
        stamps = self._stamps()
        self._starts, self._exact = header.starts(stamps)
        self.contents = Contents(
            name=header.text("channel name", f"chan{header.text('channel', '0')}"),
            channels=(header.text("channel name", f"chan{header.text('channel', '0')}"),),
            rate_hz=1 / header.timebase_s,
            volts_per_count=None,
            stream=self._fingerprint(top),
            oldest=0,
            stop=int(self._starts[-1]) + self._length,
            anchor=Anchor(0, header.first_ns(stamps)),
        )

    def events(self, sample: int) -> Iterator[Event]:
        at = max(sample, self.contents.oldest)
        first = int(np.searchsorted(self._starts + self._length, at, side="right"))
        with reopened(self._path) as file:
            for k in range(first, len(self._starts)):
                start = int(self._starts[k])
                if start > at:
                    yield Gap(at, start, self._exact, UNRECORDED)
                    at = start
                place = self._header.n_bytes + k * self._record.itemsize
                raw = read_at(file, place, self._record.itemsize)
                if start + self._length > at:
                    yield Samples(at, self._samples(raw)[:, at - start :].copy())
                    at = start + self._length
        yield End(at)

    def _samples(self, raw: bytes) -> npt.NDArray[np.int16]:
        words = np.frombuffer(raw, self._record)["samples"] ^ TO_SIGNED
        return words.view("<i2")

    def _stamps(self) -> npt.NDArray[np.void]:
        """The stamps of all records, which must be whole."""
        size, each = self._path.stat().st_size - self._header.n_bytes, self._record.itemsize
        n_records, left_over = divmod(size, each)
        if left_over:
            raise FormatError(
                f"{self._path}: expected whole records of {each} bytes, found {n_records} of them "
                f"and {left_over} bytes of another: the file is truncated"
            )
        if not n_records:
            raise FormatError(f"{self._path}: expected records after the header, found none")
        records = np.memmap(
            self._path, self._record, mode="r", offset=self._header.n_bytes, shape=(n_records,)
        )
        return np.array(records["stamp"])

    def _fingerprint(self, top: bytes) -> str:
        """A name for these samples: the same as long as nobody changes the file."""
        status = self._path.stat()
        text = f"{status.st_size} {status.st_mtime_ns}".encode()
        return f"ljh-{hashlib.sha256(top + text).hexdigest()[:16]}"


class _Header:
    """The lines before the records, with what follows from them."""

    def __init__(self, path: Path, top: bytes) -> None:
        self._path = path
        self.n_bytes = self._end_of(top)
        lines = top[: self.n_bytes].decode("utf-8", "replace").splitlines()
        pairs = [line.partition(":") for line in lines if ":" in line]
        self._texts = {key.strip().lower(): value.strip() for key, _, value in reversed(pairs)}
        self._version = ".".join(self.text("save file format version").split(".")[:2])
        if self._version not in STAMPS:
            found = self.text("save file format version")
            raise FormatError(f"{path}: expected LJH {' or '.join(STAMPS)}, found {found!r}")
        self.stamp = STAMPS[self._version]
        self.number("digitized word size in bytes", 2, 2)
        self.record_length = int(self.number("total samples", 1, LONGEST_RECORD))
        self.timebase_s = self.number("timebase", 1e-9, 1.0)
        self._offset_s = self.number("timestamp offset (s)", 0, 1e10, "0")

    def text(self, key: str, otherwise: str | None = None) -> str:
        """What stands behind a key; FormatError where it is missing and must not be."""
        found = self._texts.get(key) or otherwise
        if found is None:
            raise FormatError(f"{self._path}: expected a header with {key!r}, found none")
        return found

    def number(self, key: str, low: float, high: float, otherwise: str | None = None) -> float:
        """The number behind a key, within its limits."""
        text = self.text(key, otherwise)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            limits = f"{low:g} to {high:g}" if low < high else f"{low:g}"
            raise FormatError(f"{self._path}: expected {key!r} of {limits}, found {text!r}")
        return value

    def starts(self, stamps: npt.NDArray[np.void]) -> tuple[Numbers, bool]:
        """The sample at which each record begins, from 0 on; whether that was counted."""
        divisions = self._divisions()
        if divisions:
            counts = stamps["count"].astype(np.int64)
            starts = (counts - counts[0]) // divisions
            self._check_order(starts)
            return starts, True
        since_us = self._us(stamps)
        starts = np.rint((since_us - since_us[0]) * 1e-6 / self.timebase_s).astype(np.int64)
        self._check_order(starts)
        return _apart(starts, self.record_length + 1), False

    def first_ns(self, stamps: npt.NDArray[np.void]) -> int:
        """UTC of the first record, as far as the header tells."""
        offset_ns = round(self._offset_s * 1e9) if self._version == "2.1" else 0
        return max(0, int(self._us(stamps[:1])[0]) * 1000 + offset_ns)

    def _divisions(self) -> int:
        """Counts per sample; 0 where nothing counts."""
        rows = self.text("subframe divisions", self.text("number of rows", "0"))
        return int(rows) if self._version == "2.2" and rows.isdecimal() else 0

    def _us(self, stamps: npt.NDArray[np.void]) -> Numbers:
        if self._version == "2.2":
            return stamps["us"].astype(np.int64)
        return stamps["ms"].astype(np.int64) * 1000 + stamps["ticks"].astype(np.int64) * 4

    def _check_order(self, starts: Numbers) -> None:
        back = np.flatnonzero(np.diff(starts) < 0)
        if len(back):
            raise FormatError(
                f"{self._path}: expected records in the order of their times, "
                f"found record {back[0] + 1} before record {back[0]}"
            )

    def _end_of(self, top: bytes) -> int:
        if not top.startswith(MAGIC):
            raise FormatError(f"{self._path}: expected {MAGIC.decode()!r}, found {top[:24]!r}")
        last = top.find(b"\n" + END)
        stop = top.find(b"\n", last + 1) + 1
        if last < 0 or not stop:
            raise FormatError(
                f"{self._path}: expected {END.decode()!r} in the first {LONGEST_HEADER} bytes, "
                f"found none in {len(top)}: the file is truncated"
            )
        return stop


def _apart(starts: Numbers, distance: int) -> Numbers:
    """No two nearer than `distance`: what comes too early comes later."""
    steps = np.arange(len(starts), dtype=np.int64) * distance
    return np.maximum.accumulate(starts - steps) + steps
