"""A command log told to a bench once more: the same samples, without anybody who commands."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from sim_hardware.settings import BenchError
from sim_hardware.world.chain import Chain
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.timeline import ALONE, CRYOSTAT, Track

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

V = TypeVar("V", bound="DataclassInstance")


class Told(BaseModel):
    """A line of a command log."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    t_s: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    samples: dict[str, int]
    source: str
    what: str
    value: JsonValue


def read_commands(path: Path) -> list[Told]:
    """The lines of a log; BenchError with the place of a mistake.

    A last line without its end, which a kill leaves, is none.
    """
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: expected a command log, found: {error}") from error
    return [_line(path, number, line) for number, line in enumerate(lines, start=1)]


class Retold:
    """What a log says, on its way into a bench of the same settings."""

    def __init__(self, path: Path | None) -> None:
        """Without a log there is nothing to tell."""
        self._path = path
        self._lock = threading.Lock()  # guards the orders: every digitizer's thread gives them
        self._lines = [] if path is None else read_commands(path)
        of_cryostat = [line for line in self._lines if line.source == CRYOSTAT]
        for line in of_cryostat:
            self._check_order(line)
        self._orders = sorted(of_cryostat, key=lambda line: line.t_s)

    def to_tracks(self, tracks: Sequence[Track[V]]) -> None:
        """Let tracks change as they did; whoever follows them was made before."""
        by_source = {track.source: track for track in tracks}
        mine = (line for line in self._lines if line.source in by_source)
        for (source, t_s), lines in groupby(mine, key=lambda line: (line.source, line.t_s)):
            track = by_source[source]
            given = {line.what: line.value for line in lines}
            track.append(t_s, self._changed(track, given))

    def to_chain(self, digitizer: str, channel: str, chain: Chain) -> None:
        """Leave a chain alone where it was."""
        for line in self._lines:
            if (line.source, line.what) == (channel, ALONE):
                if not isinstance(line.value, int) or digitizer not in line.samples:
                    raise self._wrong(f"{channel}: expected samples, found {line}")
                chain.leave_alone(line.value, line.samples[digitizer])

    def to_cryostat(self, cryostat: Cryostat, until_s: float) -> None:
        """Give the orders that are due."""
        with self._lock:
            while self._orders and self._orders[0].t_s <= until_s:
                line = self._orders.pop(0)
                cryostat.obey(line.t_s, line.what, _mapping(line.value))

    def refuse_others(self, known: Sequence[str]) -> None:
        """BenchError where the log is that of another bench."""
        others = {line.source for line in self._lines} - {CRYOSTAT, *known}
        if others:
            expected = f"commands to {', '.join(known) or 'nobody'}"
            raise self._wrong(f"expected {expected}, found some to {', '.join(sorted(others))}")

    def _check_order(self, line: Told) -> None:
        """Let another cryostat be told first: a mistake is found before anything is served."""
        try:
            Cryostat(0).obey(0.0, line.what, _mapping(line.value))
        except UnphysicalError as error:
            raise self._wrong(str(error)) from error

    def _changed(self, track: Track[V], given: Mapping[str, object]) -> V:
        before = track.latest
        unknown = set(given) - set(asdict(before))
        if unknown:
            raise self._wrong(f"{track.source}: expected what it gives, found {sorted(unknown)}")
        try:
            return TypeAdapter(type(before)).validate_python({**asdict(before), **given})
        except ValidationError as error:
            raise self._wrong(f"{track.source}: {error.errors()[0]['msg']}, {given}") from error

    def _wrong(self, what: str) -> BenchError:
        return BenchError(f"{self._path}: {what}")


def _mapping(value: JsonValue) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _line(path: Path, number: int, line: str) -> Told:
    try:
        return Told.model_validate_json(line)
    except ValidationError as error:
        expected = f"expected a command: {error.errors()[0]['msg']}"
        raise BenchError(f"{path}:{number}: {expected}, found {line[:80]!r}") from error
