"""What tunings and IVs tell of themselves, whoever runs them: the latest of each step."""

from __future__ import annotations

from collections.abc import Iterable

from daq.wire.schemas import Progress

RUNS_S = 10.0  # news of a step that goes on; what is older was left by one that died


class TuningBook:
    """By detector and step."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Progress]] = {}

    def take(self, row: Progress) -> None:
        """Take in a message."""
        self._rows.setdefault(row.at, {})[row.step] = row

    def drawn(self, channel: str, steps: Iterable[str]) -> Progress | None:
        """The one of these steps that goes on now; else the first of them that has curves."""
        rows = [row for step in steps if (row := self._of(channel).get(step)) and row.curves]
        now = [row for row in rows if row.state == "runs"]
        return max(now, key=lambda row: row.t_ns, default=rows[0] if rows else None)

    def under_way(self, channel: str, utc_ns: int) -> str:
        """The step that a channel is at now, in words; "" where none is."""
        row = max(self._of(channel).values(), key=lambda row: row.t_ns, default=None)
        if row is None or row.state != "runs" or utc_ns - row.t_ns > RUNS_S * 1e9:
            return ""
        return f"{row.step} {100 * row.fraction:.0f} %"

    def _of(self, channel: str) -> dict[str, Progress]:
        return self._rows.get(channel, {})
