"""Reading runs: complete ones, running ones, and what a crash left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np

from daq.errors import FormatError, RefusedError, UsageError
from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.plan import Window
from daq.model.record import EVENT, MEMBER, RECORD, plain
from daq.store import names
from daq.store.contents import Samples, texts_of
from daq.store.parts import Part, SegmentPart, parts_of, restricted_part
from daq.store.payloads import json_object
from daq.store.samples import RecordSamples
from daq.store.start import RunDigitizer
from daq.store.summary import FileSum, read_manifest


class Marker(msgspec.Struct, frozen=True):
    """What the file `complete` says."""

    complete: str
    recovered: bool
    manifest_sha256: str


def open_run(path: Path, *, unblind: bool = False) -> Run:
    """The run in a folder, or that a file belongs to, as it is now.

    Of a running run that is all up to its last commit. FormatError where there is no run, or
    where what is there cannot be read. Only with `unblind` can what is blinded be asked for.
    """
    return Run(run_folder_of(path), unblind=unblind)


def run_folder_of(path: Path) -> Path:
    """The run folder that `path` is or lies in; FormatError where it is no part of a run."""
    found = path.resolve()
    if not found.exists():
        raise FormatError(f"{path}: expected a run, found nothing")
    for folder in (found, *found.parents[:2]):
        if folder.is_dir() and names.RUN.fullmatch(folder.name):
            return folder
    raise FormatError(f"{path}: expected a run folder such as run_000123, or a file in it")


def read_marker(folder: Path) -> Marker | None:
    """What marks a run as complete; None where it is not yet."""
    path = names.complete_path(folder)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Marker)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected the marker of a complete run: {error}") from error


class Run:
    """One run; tables have the plain dtypes of `daq.model.record`. Nothing is kept open."""

    def __init__(self, folder: Path, *, unblind: bool = False) -> None:
        self.folder, self._unblind = folder, unblind
        self._marker = read_marker(folder)
        self._parts = parts_of(folder)
        self._start, self._end = self._parts[-1].facts.start, self._parts[-1].facts.end

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is kept open: a run can be used in a with block, and need not be."""

    # --- what it is ---

    @property
    def number(self) -> int:
        """The run's number."""
        return self._start.run

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self._start.name

    @property
    def comment(self) -> str:
        """What the operator wrote at the start."""
        return self._start.comment

    @property
    def software(self) -> str:
        """Name and version of what recorded it."""
        return self._start.software

    @property
    def host(self) -> str:
        """The machine that recorded it."""
        return self._start.host

    @property
    def user(self) -> str:
        """The account that recorded it."""
        return self._start.user

    @property
    def start_ns(self) -> int:
        """UTC of the start."""
        return self._start.t_ns

    @property
    def stop_ns(self) -> int | None:
        """UTC of the end; None while it has none."""
        return self._end.t_ns if self._end else None

    @property
    def stops(self) -> dict[str, int]:
        """One past the last sample, by digitizer; empty while the run has no end."""
        return dict(self._end.stops) if self._end else {}

    @property
    def reason(self) -> str:
        """Why it ended; "abandoned" where it was finished without an end, "" while it runs."""
        if self._end is not None:
            return self._end.reason
        return "abandoned" if self.complete else ""

    @property
    def complete(self) -> bool:
        """Whether it has ended and nothing is left to be done."""
        return self._marker is not None

    @property
    def recovered(self) -> bool:
        """Whether it was taken up after a crash, or ended without who recorded it."""
        if self._marker is not None:
            return self._marker.recovered
        return any(part.facts.resumed for part in self._parts)

    @property
    def settings_toml(self) -> str:
        """The configuration as it was written."""
        return self._start.settings_toml

    @property
    def calibration(self) -> str:
        """The text of the calibration that was in force; empty where there was none."""
        return self._start.calibration

    @property
    def settings(self) -> dict[str, Any]:  # Any: whatever the config's sections hold
        """The validated configuration."""
        return self._start.settings

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels, in the order that tables number them."""
        return self._start.channels

    @property
    def windows(self) -> tuple[Window, ...]:
        """What tags records, in the order of the bits."""
        return self._start.plan.windows

    @property
    def drops(self) -> Mapping[str, Mapping[str, int]]:
        """Triggers without a record by channel and cause; known once the run has ended."""
        return self._end.drops if self._end else {}

    @property
    def blinded(self) -> Mapping[str, int]:
        """Records in the restricted files by channel; known once the run has ended."""
        return self._end.blinded if self._end else {}

    @property
    def thresholds(self) -> Mapping[str, str]:
        """What salts and noise say of each channel's triggers; known once the run has ended."""
        return self._end.thresholds if self._end else {}

    @property
    def digitizers(self) -> tuple[RunDigitizer, ...]:
        """The sample clocks, in the order that tables number them."""
        return self._start.digitizers

    def files(self) -> tuple[FileSum, ...]:
        """The files of a complete run as its manifest has them; none before."""
        if not self.complete:
            return ()
        manifest = read_manifest(names.manifest_path(self.folder))
        return (manifest.master, *manifest.segments)

    # --- what it holds ---

    def records(self, channel: str) -> tuple[Rows, RecordSamples]:
        """Rows of a channel's records, and their samples, which are read when they are asked."""
        found = self._channel(channel)
        table = np.concatenate([part.record_table(channel) for part in self._parts])
        readers = [partial(part.samples, channel) for part in self._parts]
        counts = [part.n_records(channel) for part in self._parts]
        return table, RecordSamples(readers, counts, found.record_length)

    def batches(self, channel: str) -> Iterator[tuple[Rows, Samples]]:
        """The same in the pieces that it is stored in, for runs that do not fit in memory."""
        self._channel(channel)
        for part in self._parts:
            yield part.record_table(channel), part.samples(channel, slice(None))

    @property
    def blinds(self) -> bool:
        """Whether a part of it is kept in restricted files."""
        return self._start.blinds

    def blinded_records(self, channel: str) -> tuple[Rows, Samples]:
        """Rows of a channel's blinded records, and their samples; RefusedError without `unblind`.

        Their numbers are their own: 0, 1, 2 ... among the channel's blinded ones.
        """
        found, parts = self._channel(channel), self._restricted()
        none = np.empty((0, found.record_length), np.int16)
        table = [np.empty(0, plain(RECORD)), *(part.record_table(channel) for part in parts)]
        samples = [none, *(part.samples(channel, slice(None)) for part in parts)]
        return np.concatenate(table), np.concatenate(samples)

    def blinded_events(self) -> tuple[Rows, Rows]:
        """EVENT rows of whole events that have blinded records, and these as MEMBER rows."""
        parts = self._restricted()
        events = [np.empty(0, plain(EVENT)), *(part.table("events") for part in parts)]
        members = [np.empty(0, plain(MEMBER)), *(part.table("event_members") for part in parts)]
        return np.concatenate(events), np.concatenate(members)

    def _restricted(self) -> list[Part]:
        if not self._unblind:
            raise RefusedError(
                f"{self.folder}: expected open_run(..., unblind=True) for blinded records, "
                "found a run that was opened without"
            )
        sealed: list[Part] = [SegmentPart(path) for path in names.restricted(self.folder).values()]
        return [*sealed, *(part for part in map(restricted_part, self._parts) if part)]

    @property
    def raw_channels(self) -> tuple[str, ...]:
        """Channels whose whole stream was recorded."""
        return self._start.raw

    def raw_pieces(self, channel: str) -> Rows:
        """RAW_PIECE rows: the stretches of a channel's raw stream."""
        self._raw_channel(channel)
        return np.concatenate([part.raw_pieces(channel) for part in self._parts])

    def raw(self, channel: str) -> Iterator[tuple[int, Samples]]:
        """A channel's raw stream, piece by piece: the first sample's number, and the samples."""
        self._raw_channel(channel)
        for part in self._parts:
            samples, at = part.raw_samples(channel), 0
            for row in part.raw_pieces(channel):
                stop = at + int(row["stop"] - row["start"])
                yield int(row["start"]), samples[at:stop]
                at = stop

    @property
    def start_text(self) -> bytes:
        """All that was known when the run began, as JSON."""
        return self._parts[-1].facts.start_text

    def events(self) -> Rows:
        """EVENT rows."""
        return self._table("events")

    def members(self) -> Rows:
        """MEMBER rows."""
        return self._table("event_members")

    def gaps(self) -> Rows:
        """GAP rows."""
        return self._table("gaps")

    def ledger(self) -> Rows:
        """LEDGER rows."""
        return self._table("livetime")

    def anchors(self) -> Rows:
        """ANCHOR rows."""
        return self._table("anchors")

    def salts(self) -> Rows:
        """SALT rows."""
        return self._table("salts")

    def guard(self) -> Rows:
        """GUARD rows."""
        return self._table("guard")

    def readings(self) -> Rows:
        """READING rows."""
        return self._table("readings")

    def messages(self) -> Rows:
        """MESSAGE rows."""
        return self._table("messages")

    def inputs(self) -> list[dict[str, Any]]:  # Any: each input has its own few fields
        """Everything that entered and was no sample, in order."""
        return [json_object(text) for text in texts_of(self._table("inputs"))]

    def n_records(self) -> dict[str, int]:
        """Records by channel."""
        return {
            channel.name: sum(part.n_records(channel.name) for part in self._parts)
            for channel in self.channels
        }

    def livetime_s(self) -> dict[str, float]:
        """Seconds in which each channel could trigger, by its own clock's nominal rate."""
        ledger = self.ledger()
        live = np.bincount(ledger["channel"], ledger["live"], minlength=len(self.channels))
        pairs = zip(self.channels, live.tolist(), strict=True)
        return {channel.name: samples / channel.sample_rate_hz for channel, samples in pairs}

    def _table(self, name: str) -> Rows:
        return np.concatenate([part.table(name) for part in self._parts])

    def _raw_channel(self, name: str) -> None:
        if name not in self.raw_channels:
            known = ", ".join(self.raw_channels) or "none"
            raise UsageError(
                f"run {self.number}: expected a channel with a raw stream ({known}), found {name!r}"
            )

    def _channel(self, name: str) -> Channel:
        for channel in self.channels:
            if channel.name == name:
                return channel
        known = ", ".join(channel.name for channel in self.channels)
        raise UsageError(f"run {self.number}: expected one of the channels {known}, found {name!r}")
