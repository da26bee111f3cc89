"""Whether this machine's clock can be believed: steps of the wall clock, and NTP's own word.

No data depend on the wall clock (the sample number is the clock), but anchors to UTC, alarms and
file times do. Steps are found against the monotonic clock, which NTP only slews.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass

STEP_S = 0.05  # a smaller one is slewing and scheduling
EVERY_S = 1.0
UNSYNCHRONIZED = 0x0040  # STA_UNSYNC of ntp_adjtime(3)


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 256),
    )


def ntp_synchronized() -> bool | None:
    """What the kernel says of NTP; None where it may not be asked."""
    libc, told = ctypes.CDLL(None, use_errno=True), _Timex()
    if libc.adjtimex(ctypes.byref(told)) < 0:
        return None
    return not told.status & UNSYNCHRONIZED


@dataclass(frozen=True, slots=True)
class Step:
    """The wall clock jumped by `by_s`, ahead where that is positive, some time before `t_ns`."""

    t_ns: int
    by_s: float

    def __str__(self) -> str:
        direction = "ahead" if self.by_s > 0 else "back"
        return f"the wall clock was set {direction} by {abs(self.by_s):.3f} s"


class ClockHealth:
    """Looks once a second; for one thread."""

    def __init__(
        self,
        now_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        synchronized: Callable[[], bool | None] = ntp_synchronized,
    ) -> None:
        self._now_ns, self._clock, self._ntp = now_ns, clock, synchronized
        self.synchronized = synchronized()
        self.last_step: Step | None = None
        self.steps = 0
        self._offset_ns, self._next_s = self._offset(), clock() + EVERY_S

    def look(self) -> Step | None:
        """A step that happened since the last look; None where all is well, or it is too soon."""
        if self._clock() < self._next_s:
            return None
        self._next_s = self._clock() + EVERY_S
        self.synchronized = self._ntp()
        offset_ns = self._offset()
        by_s, self._offset_ns = (offset_ns - self._offset_ns) / 1e9, offset_ns
        if abs(by_s) < STEP_S:
            return None
        self.steps, self.last_step = self.steps + 1, Step(self._now_ns(), by_s)
        return self.last_step

    def table(self) -> dict[str, object]:
        """For a state body: {"synchronized" or null, "steps", "last_step_s" or null}."""
        last_s = self.last_step.by_s if self.last_step else None
        return {"synchronized": self.synchronized, "steps": self.steps, "last_step_s": last_s}

    def _offset(self) -> int:
        return self._now_ns() - round(self._clock() * 1e9)
