"""What numbers were over days, in bounded memory: extremes of each minute."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from daq.run.quantities import Quantity

SLOT_S = 60.0
KEPT = 10 * 24 * 60  # slots of one quantity: ten days
SAME_SLOTS = 10  # what stands still is kept this seldom
GROWING = ("channels", "run", "disk")
Row = tuple[float, float, float]  # begin of the slot (UTC) [s], lowest, highest


@dataclass(slots=True)
class _Track:
    """One quantity: rows one behind the other, and the slot that is not over."""

    rows: array[float] = field(default_factory=lambda: array("d"))
    now: Row | None = None

    def add(self, slot_s: float, value: float) -> None:
        if self.now is None or self.now[0] != slot_s:
            self._close()
            self.now = (slot_s, value, value)
        else:
            self.now = (slot_s, min(self.now[1], value), max(self.now[2], value))

    def all_rows(self) -> list[Row]:
        whole = self.rows.tolist()
        rows = list(zip(whole[::3], whole[1::3], whole[2::3], strict=True))
        return rows if self.now is None else [*rows, self.now]

    def _close(self) -> None:
        if self.now is None or self._stands_still(self.now):
            return
        self.rows.extend(self.now)
        if len(self.rows) > 3 * KEPT:
            del self.rows[:3]

    def _stands_still(self, row: Row) -> bool:
        if not self.rows or row[0] - self.rows[-3] >= SAME_SLOTS * SLOT_S:
            return False
        return (row[1], row[2]) == (self.rows[-2], self.rows[-1])


class Past:
    """Rates, and all readings that have a unit, by name."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def add(self, t_s: float, quantities: Mapping[str, Quantity]) -> None:
        """Take in what is known and fresh now."""
        slot_s = t_s // SLOT_S * SLOT_S
        for name, found in quantities.items():
            if found.value is not None and not found.stale and _is_kept(name, found.unit):
                self._tracks.setdefault(name, _Track()).add(slot_s, found.value)

    def of(self, names: Iterable[str], most: int) -> dict[str, list[Row]]:
        """Rows of quantities, oldest first; where there are more than `most`, of several slots."""
        return {n: _merged(self._tracks[n].all_rows(), most) for n in names if n in self._tracks}


def _is_kept(name: str, unit: str) -> bool:
    """Whether it is a reading with a unit, or a rate: what only grows is left out."""
    return name.endswith(".rate_hz") or bool(unit and name.partition(".")[0] not in GROWING)


def _merged(rows: list[Row], most: int) -> list[Row]:
    step = -(-len(rows) // most) or 1
    groups = [rows[i : i + step] for i in range(0, len(rows), step)]
    return [(g[0][0], min(r[1] for r in g), max(r[2] for r in g)) for g in groups]
