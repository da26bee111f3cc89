"""What the bench was told, and from which moment of its time on each of it applies.

Samples that were converted stay as they are: whatever changes is stamped at or after everything
converted so far, on any digitizer. So samples are a function of their number and of this.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

V = TypeVar("V", bound="DataclassInstance")

CRYOSTAT = "cryostat"  # the source of changes of no track
ALONE = "left alone since sample"  # what a chain was, that nobody asked for so long


@dataclass(frozen=True, slots=True)
class Stamped(Generic[V]):
    """A value that applies from a bench time on."""

    t_s: float
    value: V


@dataclass(frozen=True, slots=True)
class Change:
    """One field of what an instrument's channel gives, changed at a bench time."""

    t_s: float
    source: str
    what: str
    value: object


class Track(Generic[V]):
    """Everything that one output of an instrument ever gave, in the order of time."""

    def __init__(self, source: str, initial: V) -> None:
        self.source = source
        self.entries: tuple[Stamped[V], ...] = (Stamped(0.0, initial),)

    @property
    def latest(self) -> V:
        """What it gives now."""
        return self.entries[-1].value

    def at(self, t_s: float) -> V:
        """What it gave at a time."""
        number = bisect_right(self.entries, t_s, key=lambda entry: entry.t_s)
        return self.entries[max(0, number - 1)].value

    def append(self, t_s: float, value: V) -> None:
        """Give something else from a time on, which is not before the latest change."""
        self.entries = (*self.entries, Stamped(t_s, value))

    def between(self, start_s: float, stop_s: float) -> list[Stamped[V]]:
        """What applied in [start_s, stop_s): the entry before it, and those within."""
        begin = bisect_right(self.entries, start_s, key=lambda entry: entry.t_s)
        end = bisect_right(self.entries, stop_s, key=lambda entry: entry.t_s)
        return list(self.entries[max(0, begin - 1) : end])


class Timeline:
    """How far samples were converted, and the moments at which the tracks changed."""

    def __init__(self, now_s: Callable[[], float], report: Callable[[Change], None]) -> None:
        # guards the order of conversions and of changes: digitizers and instruments have threads
        self._lock = threading.Lock()
        self._reached_s = 0.0
        self._now_s, self._report = now_s, report

    @property
    def reached_s(self) -> float:
        """The bench time up to which samples were converted."""
        return self._reached_s

    def reach(self, stop_s: float) -> None:
        """Samples before `stop_s` are converted now: nothing changes before it any more."""
        with self._lock:
            self._reached_s = max(self._reached_s, stop_s)

    def note(self, source: str, t_s: float, what: str, value: object) -> None:
        """Report what changed and is on no track."""
        self._report(Change(t_s, source, what, value))

    def enter(self, track: Track[V], make: Callable[[float, V], V]) -> None:
        """Let a track have `make(stamp, latest)` from a stamp of now on, if that is new."""
        now_s = self._now_s()
        with self._lock:
            before = track.entries[-1]
            t_s = max(now_s, self._reached_s, before.t_s)
            value = make(t_s, before.value)
            if value == before.value:
                return
            track.append(t_s, value)
        for what, field in _differing(before.value, value).items():
            self._report(Change(t_s, track.source, what, field))


def _differing(before: DataclassInstance, after: DataclassInstance) -> Mapping[str, object]:
    """The fields that are other than before."""
    names = (field.name for field in fields(after))
    return {n: getattr(after, n) for n in names if getattr(after, n) != getattr(before, n)}
