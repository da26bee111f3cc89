"""Back-off: when to try again what has just failed."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """The wait before the next attempt: `first_s` after a failure, doubled up to `longest_s`."""

    def __init__(self, first_s: float, longest_s: float, clock: Callable[[], float]) -> None:
        self._first_s, self._longest_s, self._clock = first_s, longest_s, clock
        self._wait_s = 0.0
        self._ready_at = clock()

    @property
    def remaining_s(self) -> float:
        """How long to wait still; 0 when an attempt may be made."""
        return max(0.0, self._ready_at - self._clock())

    def failed(self) -> None:
        """An attempt failed just now."""
        self._wait_s = min(max(2 * self._wait_s, self._first_s), self._longest_s)
        self._ready_at = self._clock() + self._wait_s

    def succeeded(self) -> None:
        """It works: the next failure waits the shortest time again."""
        self._wait_s, self._ready_at = 0.0, self._clock()
