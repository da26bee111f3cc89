"""The outbox: rows that are kept until their receiver has them for good."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

Row = list[Any]  # Any: a row of a message, whose fields have different types


class Outbox:
    """Numbered rows, from 0; of more than `limit` the oldest are dropped, and counted."""

    def __init__(self, limit: int) -> None:
        self.first = 0  # number of the oldest row that is kept
        self.n_dropped = 0
        self._limit = limit
        self._rows: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep rows until they are taken."""
        self._rows.extend(rows)
        for _ in range(len(self._rows) - self._limit):
            self._rows.popleft()
            self.first += 1
            self.n_dropped += 1

    def batch(self, n_rows: int) -> tuple[int, list[Row]]:
        """The number of the oldest row, and up to `n_rows` rows from there."""
        return self.first, list(islice(self._rows, n_rows))

    def taken(self, following: int) -> None:
        """The receiver has every row before number `following`."""
        for _ in range(min(following - self.first, len(self._rows))):
            self._rows.popleft()
            self.first += 1
