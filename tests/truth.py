"""Reads a truth file by docs/truth-and-scenarios.md, without the simulator's code: for scoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

HEADER = "true_s [s],t_ns [ns UTC],digitizer,sample,channel,energy_ev [eV],kind,event"


class TruthFileError(ValueError):
    """A truth file that is none, or a line of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One deposit; `sample` has a fraction, `event` is the same for all hits of a particle."""

    true_s: float
    t_ns: int
    digitizer: str
    sample: float
    channel: str
    energy_ev: float
    kind: str
    event: int


def read_truth(path: Path) -> list[Row]:
    """Every row of a file; a last line without its end, which a kill leaves, is no row."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[0] != HEADER:
        raise TruthFileError(f"{path}:1: expected the header {HEADER!r}, found {lines[0][:80]!r}")
    return list(_rows(path, lines[1:-1]))


def newest_truth(folder: Path) -> Path:
    """The file that was begun last."""
    return max(folder.glob("truth-*.csv"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def _rows(path: Path, lines: list[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=2):
        try:
            yield _row(line)
        except ValueError as error:
            expected = "8 fields as the header names them"
            raise TruthFileError(f"{path}:{number}: expected {expected}: {error}") from error


def _row(line: str) -> Row:
    true_s, t_ns, digitizer, sample, channel, energy_ev, kind, event = line.split(",")
    row = Row(
        float(true_s), int(t_ns), digitizer, float(sample), channel, float(energy_ev), kind,
        int(event),
    )  # fmt: skip
    if not all(map(isfinite, (row.true_s, row.sample, row.energy_ev))) or row.energy_ev < 0:
        raise ValueError(f"found {line!r}")
    if not (digitizer and channel and kind):
        raise ValueError(f"found an empty name in {line!r}")
    return row
