"""The truth file: what hit the detectors while samples were converted, for scoring an analysis.

docs/truth-and-scenarios.md describes the format. The file is written by one thread of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from math import ceil
from pathlib import Path

from sim_hardware.settings import BenchError
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.particles import Hit, Truth

EVERY_S, RETRY_S = 0.5, 10.0
HEADER = "true_s [s],t_ns [ns UTC],digitizer,sample,channel,energy_ev [eV],kind,event\n"
MARGIN_S = 1e-3  # more than a clock's floats are off

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Converting:
    """A digitizer that converts samples; `converted` tells how many it has at a bench time."""

    name: str
    channels: frozenset[str]
    clock: SampleClock
    converted: Callable[[float], int]
    written: int = field(default=0)  # samples whose hits are in the file


class TruthFile:
    """Appends each hit once the first sample that can show it was converted."""

    def __init__(
        self, folder: Path, start_ns: int, truth: Truth, digitizers: list[Converting]
    ) -> None:
        """BenchError where the file cannot be made. An existing file is left alone."""
        self._truth, self._start_ns, self._digitizers = truth, start_ns, digitizers
        self._next_s = 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = unused(folder, "truth", start_ns, "csv")
            self._file = self.path.open("xb", buffering=0)
            self._length = self._file.write(HEADER.encode())
        except OSError as error:
            raise BenchError(f"{folder}: no truth file can be made: {error.strerror}") from error

    def wait_s(self, now_s: float) -> float:
        """Seconds until `write` has something to do."""
        return max(0.0, self._next_s - now_s)

    def write(self, now_s: float) -> None:
        """Append what is new; where that fails nothing of it is in the file, and it is tried again.

        A bench goes on without: a full disk is a fault of those that the rest must stand.
        """
        stops = [digitizer.converted(now_s) for digitizer in self._digitizers]
        lines = [
            line
            for digitizer, stop in zip(self._digitizers, stops, strict=True)
            for line in self._lines(digitizer, stop)
        ]
        try:
            self._append("".join(lines).encode())
        except OSError as error:
            logger.error("%s: cannot be written: %s", self.path, error.strerror)
            self._file.truncate(self._length)
            self._next_s = now_s + RETRY_S
        else:
            self._next_s = now_s + EVERY_S
            for digitizer, stop in zip(self._digitizers, stops, strict=True):
                digitizer.written = stop

    def close(self, now_s: float) -> None:
        """Append the last, and write no more."""
        self.write(now_s)
        self._file.close()

    def _append(self, new: bytes) -> None:
        """All of it, or OSError."""
        self._file.seek(self._length)
        left = memoryview(new)
        while left:
            left = left[self._file.write(left) :]
        self._length += len(new)

    def _lines(self, digitizer: Converting, stop: int) -> Iterator[str]:
        start, clock = digitizer.written, digitizer.clock
        if start >= stop:
            return
        times_s = clock.time_s(start - 1) - MARGIN_S, clock.time_s(stop) + MARGIN_S
        for hit in self._truth.truth(max(0.0, times_s[0]), times_s[1]):
            position = clock.position(hit.true_s)
            if hit.channel in digitizer.channels and start <= ceil(position) < stop:
                yield self._line(hit, digitizer.name, position)

    def _line(self, hit: Hit, digitizer: str, sample: float) -> str:
        t_ns = self._start_ns + round(hit.true_s * 1e9)
        return (
            f"{hit.true_s:.9f},{t_ns},{digitizer},{sample:.4f},{hit.channel},"
            f"{hit.energy_ev:.9g},{hit.kind},{hit.event}\n"
        )


def unused(folder: Path, what: str, start_ns: int, suffix: str) -> Path:
    """`what`-<start UTC>, with a number behind where a bench of that start was here."""
    seconds, rest_ns = divmod(start_ns, 10**9)
    start = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")
    name = f"{what}-{start}.{rest_ns // 1000:06d}Z"
    paths = (folder / f"{name}{'' if n == 1 else f'-{n}'}.{suffix}" for n in count(1))
    return next(path for path in paths if not path.exists())
