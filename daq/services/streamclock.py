"""Which sample a digitizer converts now, as seen from here: an upper bound of what is past."""

from __future__ import annotations

ON_THE_WAY_S = 0.1  # from a digitizer to its service, on a machine that is busy


class StreamClock:
    """Follows the newest sample that a digitizer's service has, against our own clock.

    On the way here samples can only be late, so the earliest ever seen say how the two clocks lie.
    Where the stream falls behind for a while, `now` goes on. `speed` is that of a simulated
    bench, in its seconds per second of ours. One whose clock waits for its samples is up to
    `ahead_s` ahead of those it sent; then `now` is no more than that beyond the newest.
    """

    def __init__(self, rate_hz: float, speed: float = 1.0, ahead_s: float | None = None) -> None:
        self.rate_hz, self._per_s = rate_hz, rate_hz * speed
        self._most = None if ahead_s is None else round((ahead_s + ON_THE_WAY_S) * rate_hz)
        self._ahead = -float("inf")  # samples at our time 0, by the earliest that were seen

    def now(self, newest: int, at_s: float) -> int:
        """The sample that is converted at our time `at_s`, when `newest` is the newest one here."""
        self._ahead = max(self._ahead, newest - at_s * self._per_s)
        now = max(newest, round(self._ahead + at_s * self._per_s))
        return now if self._most is None else min(now, newest + self._most)
