"""What the core produced between two commits: one unit, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from daq.model.record import ANCHOR, EVENT, GAP, GUARD, LEDGER, MEMBER, SALT, plain

Rows = npt.NDArray[np.void]


def no_rows(dtype: np.dtype[np.void]) -> Rows:
    """An empty table of a described dtype."""
    return np.empty(0, plain(dtype))


def together(tables: Iterable[Rows], dtype: np.dtype[np.void]) -> Rows:
    """Tables of one plain dtype as one, read-only; numpy's own way asks each table for its type."""
    return np.frombuffer(b"".join(np.ascontiguousarray(table).data for table in tables), dtype)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of one channel: plain(RECORD) rows and int16 [record, sample]."""

    channel: int
    table: Rows
    samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Contiguous samples of one channel as the digitizer sent them: int16, the first is `start`."""

    channel: int
    start: int
    samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything derived from the samples since the last commit, in the dtypes of `record`.

    What is `blinded` is for the restricted file alone: records with numbers of their own, the
    events that hold them, and as members these records.
    """

    records: tuple[RecordBatch, ...] = ()
    blinded: tuple[RecordBatch, ...] = ()
    blinded_events: Rows = field(default_factory=lambda: no_rows(EVENT))
    blinded_members: Rows = field(default_factory=lambda: no_rows(MEMBER))
    raw: tuple[RawBatch, ...] = ()
    events: Rows = field(default_factory=lambda: no_rows(EVENT))
    members: Rows = field(default_factory=lambda: no_rows(MEMBER))
    gaps: Rows = field(default_factory=lambda: no_rows(GAP))
    ledger: Rows = field(default_factory=lambda: no_rows(LEDGER))
    anchors: Rows = field(default_factory=lambda: no_rows(ANCHOR))
    salts: Rows = field(default_factory=lambda: no_rows(SALT))
    guard: Rows = field(default_factory=lambda: no_rows(GUARD))

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        tables = (self.events, self.members, self.gaps, self.ledger, self.anchors, self.salts)
        hidden = (*self.blinded, *self.blinded_events, *self.blinded_members)
        some = self.records or self.raw or len(self.guard) or any(len(table) for table in tables)
        return not some and not hidden
