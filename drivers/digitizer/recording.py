"""What a recorded file offers to whoever plays it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from daq.errors import FormatError, NotConnectedError, ReplyError
from daq.model.clock import Anchor
from drivers.digitizer.digitizer import Event

UNRECORDED, DAMAGED = "unrecorded", "damaged"  # why samples of a recording are missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in a file: samples [oldest, stop) of one numbering, with gaps.

    `volts_per_count` is None where the file does not say it.
    """

    name: str
    channels: tuple[str, ...]
    rate_hz: float
    volts_per_count: float | None
    stream: str
    oldest: int
    stop: int
    anchor: Anchor


class Recording(ABC):
    """One file of samples, known to be whole; its samples are read when they are asked for."""

    contents: Contents

    @abstractmethod
    def events(self, sample: int) -> Iterator[Event]:
        """Everything from `sample` on, the end included.

        NotConnectedError where the file cannot be read any more, ReplyError where it has changed.
        """


def opened(path: Path) -> BinaryIO:
    """The file; FormatError where there is none."""
    try:
        return path.open("rb")
    except OSError as error:
        raise FormatError(f"{path}: expected a recording, found: {error.strerror}") from error


def reopened(path: Path) -> BinaryIO:
    """The file, which was there before; NotConnectedError where it is no longer."""
    try:
        return path.open("rb")
    except OSError as error:
        raise NotConnectedError(f"cannot read {path}: {error.strerror}") from error


def read_at(file: BinaryIO, place: int, n_bytes: int) -> bytes:
    """So many bytes from there; ReplyError where they are no longer there."""
    try:
        file.seek(place)
        found = file.read(n_bytes)
    except OSError as error:
        raise NotConnectedError(f"cannot read {file.name}: {error.strerror}") from error
    if len(found) != n_bytes:
        raise ReplyError(
            f"expected {n_bytes} bytes at byte {place} of {file.name}, found {len(found)}: "
            "it became shorter"
        )
    return found
