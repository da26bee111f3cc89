"""Sorted, disjoint half-open intervals of sample numbers, and how much of a stretch they cover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Interval = tuple[int, int]
LONG_AGO, FOREVER = -(2**62), 2**62  # before and after every sample


class Intervals:
    """A growing union of [start, stop); what lies before a sample can be forgotten."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Iterable[Interval] = ()) -> None:
        self._parts: list[Interval] = []
        for start, stop in sorted(parts):
            self.add(start, stop)

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._parts)

    def add(self, start: int, stop: int) -> None:
        """Take [start, stop) in; nothing where it is empty."""
        if stop <= start:
            return
        at = len(self._parts)
        while at and self._parts[at - 1][1] >= start:
            at -= 1
        end = at
        while end < len(self._parts) and self._parts[end][0] <= stop:
            start, stop = min(start, self._parts[end][0]), max(stop, self._parts[end][1])
            end += 1
        self._parts[at:end] = [(start, stop)]

    def within(self, start: int, stop: int) -> list[Interval]:
        """The parts of the union inside [start, stop)."""
        if not self._parts:
            return []  # as nearly always
        cut = [(max(a, start), min(b, stop)) for a, b in self._parts if a < stop and b > start]
        return [(a, b) for a, b in cut if b > a]

    def holds(self, sample: int) -> bool:
        """Whether a sample is in it."""
        return any(start <= sample < stop for start, stop in reversed(self._parts))

    def end_at(self, sample: int) -> None:
        """Drop what lies from `sample` on."""
        self._parts = self.within(LONG_AGO, sample)

    def forget_before(self, sample: int) -> None:
        """Drop what lies before `sample`."""
        if not self._parts or self._parts[0][0] >= sample:
            return
        self._parts = [(max(a, sample), b) for a, b in self._parts if b > sample]

    def parts(self) -> list[Interval]:
        """The union as a list, sorted."""
        return list(self._parts)


def kept(named: Mapping[str, Intervals]) -> dict[str, list[Interval]]:
    """The parts of those that have any, sorted; not to be changed nor to be kept for long."""
    return {name: one._parts for name, one in named.items() if one._parts}


def measure(parts: Iterable[Interval]) -> int:
    """How many samples disjoint intervals hold."""
    return sum(stop - start for start, stop in parts)


def shares(causes: list[Intervals], start: int, stop: int) -> list[int]:
    """Samples of [start, stop) that each cause takes; one in several causes is the first's."""
    taken = Intervals()
    result, before = [], 0
    for cause in causes:
        parts = cause.within(start, stop)
        for part in parts:
            taken.add(*part)
        covered = measure(taken.parts()) if parts else before
        result.append(covered - before)
        before = covered
    return result
