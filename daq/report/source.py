"""What a report needs of a run and of its verification; the store's reader provides it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows
from daq.model.channel import Channel
from daq.model.plan import Window


class Samples(Protocol):
    """Samples of all records of a channel; those asked for are read, int16 [record, sample]."""

    def __getitem__(self, records: slice, /) -> npt.NDArray[np.int16]: ...


class Digitizer(Protocol):
    """A sample clock of the run."""

    @property
    def name(self) -> str: ...

    @property
    def rate_hz(self) -> float: ...

    @property
    def anchors(self) -> Sequence[tuple[int, int]]:
        """(sample, t_ns) known when the run began."""
        ...


class File(Protocol):
    """A file of a complete run, with its sum."""

    @property
    def name(self) -> str: ...

    @property
    def bytes(self) -> int: ...

    @property
    def sha256(self) -> str: ...


class RunSource(Protocol):
    """A run, complete or not; tables have the plain dtypes of `daq.model.record`."""

    @property
    def folder(self) -> Path: ...

    @property
    def number(self) -> int: ...

    @property
    def name(self) -> str: ...

    @property
    def comment(self) -> str: ...

    @property
    def complete(self) -> bool: ...

    @property
    def recovered(self) -> bool:
        """Whether the run was finished by somebody else than who recorded it."""
        ...

    @property
    def reason(self) -> str:
        """Why it ended; empty while it has not."""
        ...

    @property
    def software(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def start_ns(self) -> int:
        """UTC of the start by the host's clock."""
        ...

    @property
    def settings_toml(self) -> str: ...

    @property
    def channels(self) -> Sequence[Channel]: ...

    @property
    def digitizers(self) -> Sequence[Digitizer]: ...

    @property
    def windows(self) -> Sequence[Window]:
        """What tags records, in the order of the bits."""
        ...

    @property
    def drops(self) -> Mapping[str, Mapping[str, int]]:
        """Triggers without a record by channel and cause."""
        ...

    @property
    def blinded(self) -> Mapping[str, int]:
        """Records that are kept from everybody, by channel."""
        ...

    @property
    def thresholds(self) -> Mapping[str, str]:
        """What salts and noise say of each channel's triggers, in words."""
        ...

    def records(self, channel: str) -> tuple[Rows, Samples]: ...

    def events(self) -> Rows: ...

    def gaps(self) -> Rows: ...

    def ledger(self) -> Rows: ...

    def anchors(self) -> Rows: ...

    def salts(self) -> Rows: ...

    def guard(self) -> Rows: ...

    def readings(self) -> Rows: ...

    def messages(self) -> Rows: ...

    def files(self) -> Sequence[File]:
        """The files of a complete run; none before."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A run with all of its tables, each read once; samples are read when they are asked for."""

    run: RunSource
    records: list[tuple[Channel, Rows, Samples]]
    events: Rows
    gaps: Rows
    ledger: Rows
    anchors: Rows
    readings: Rows
    messages: Rows


def load(run: RunSource) -> Loaded:
    """Read the tables of a run."""
    return Loaded(
        run=run,
        records=[(channel, *run.records(channel.name)) for channel in run.channels],
        events=run.events(),
        gaps=run.gaps(),
        ledger=run.ledger(),
        anchors=run.anchors(),
        readings=run.readings(),
        messages=run.messages(),
    )


class Verification(Protocol):
    """What verifying a run found."""

    @property
    def ok(self) -> bool: ...

    @property
    def problems(self) -> Sequence[str]: ...

    @property
    def records(self) -> Mapping[str, int]: ...
