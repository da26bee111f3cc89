"""The date and time at a time of the bench."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Calendar:
    """The bench's time 0 is `start_ns` UTC."""

    def __init__(self, start_ns: int) -> None:
        self._start = EPOCH + timedelta(microseconds=start_ns // 1000)

    def utc(self, now_s: float) -> datetime:
        """The date and time, with its zone."""
        return self._start + timedelta(seconds=now_s)

    def unix_s(self, now_s: float) -> float:
        """Seconds since 1970."""
        return (self.utc(now_s) - EPOCH).total_seconds()

    def now_s(self, instant: datetime) -> float:
        """The bench's time at a date and time with its zone."""
        return (instant - self._start).total_seconds()
