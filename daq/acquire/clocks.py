"""A digitizer's clock: from its sample numbers to UTC, by the anchors in its stream.

Causal: the time of sample s uses only anchors at or before s, also when it is asked later.
Continuous and increasing: between two anchors the clock runs straight, and at each anchor it takes
the slope that removes the error found there over the next anchor interval.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from daq.model.clock import Anchor

FITTED = 16  # anchors over which the period is averaged
KEPT = 64  # straight pieces that can still be asked for
MAX_UNCERTAINTY_NS = 1_000_000  # what a window is widened by at most
MAX_SLEW = 5e-4  # relative; a larger error is a step of the source, followed at this speed


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """From `sample` on, which is at `t_ns`, a sample lasts `period_ns`; times before the next
    anchor are uncertain by `error_ns`, the largest error that the last anchors found."""

    sample: int
    t_ns: int
    period_ns: float
    error_ns: int = 0


class ClockState(msgspec.Struct):
    """All that a clock knows."""

    nominal_ns: float
    anchors: list[tuple[int, int]] = []
    pieces: list[Piece] = []
    error_ns: int = 0
    errors_ns: list[int] = []  # of the last anchors


class Clock:
    """The map of one digitizer; anchors come in the order of their samples."""

    def __init__(self, state: ClockState) -> None:
        self.state = state

    @classmethod
    def at_rate(cls, rate_hz: float, anchors: Sequence[Anchor] = ()) -> Clock:
        """A clock of nominal rate that has seen `anchors`."""
        clock = cls(ClockState(nominal_ns=1e9 / rate_hz))
        for anchor in anchors:
            clock.take(anchor)
        return clock

    def take(self, anchor: Anchor) -> bool:
        """Use an anchor for samples from its own on; false where it was known already."""
        state = self.state
        if state.anchors and anchor.sample <= state.anchors[-1][0]:
            return False  # after a reconnection the digitizer repeats what it knows
        at = self.t_ns(anchor.sample) if state.anchors else anchor.t_ns
        state.anchors = [*state.anchors[-FITTED + 1 :], (anchor.sample, anchor.t_ns)]
        state.error_ns = anchor.t_ns - at
        state.errors_ns = [*state.errors_ns[-FITTED + 1 :], abs(state.error_ns)]
        piece = Piece(anchor.sample, at, self._slewed(), self._uncertainty())
        state.pieces = [*state.pieces[-KEPT + 1 :], piece]
        return True

    @property
    def known(self) -> bool:
        """Whether there was an anchor at all."""
        return bool(self.state.pieces)

    def t_ns(self, sample: int) -> int:
        """UTC of a sample [ns since 1970]; by the first anchor for samples before it."""
        piece = self._piece(sample)
        return piece.t_ns + round((sample - piece.sample) * piece.period_ns)

    def uncertainty_ns(self, sample: int) -> int:
        """How far the time of a sample may be off, by the errors found at the last anchors."""
        return self._piece(sample).error_ns

    def first_at(self, t_ns: int) -> int:
        """The first sample that is not before a time.

        Final once every anchor up to that sample was taken.
        """
        pieces = self.state.pieces
        piece = pieces[-1]
        if t_ns < piece.t_ns:
            piece = pieces[max(bisect_right(pieces, t_ns, key=lambda one: one.t_ns) - 1, 0)]
        sample = piece.sample + math.floor((t_ns - piece.t_ns) / piece.period_ns) - 1
        while self.t_ns(sample) < t_ns:
            sample += 1
        return sample

    def sample_at(self, t_ns: int) -> int:
        """The sample converted at or just before a time, by the latest piece."""
        piece = self.state.pieces[-1]
        return piece.sample + int((t_ns - piece.t_ns) // piece.period_ns)

    def anchors(self) -> list[Anchor]:
        """The anchors in use, oldest first."""
        return [Anchor(*anchor) for anchor in self.state.anchors]

    def _piece(self, sample: int) -> Piece:
        pieces = self.state.pieces
        if sample >= pieces[-1].sample:
            return pieces[-1]  # nearly always
        at = bisect_right(pieces, sample, key=lambda piece: piece.sample)
        return pieces[max(at - 1, 0)]

    def _uncertainty(self) -> int:
        """The first two anchors say nothing: until then the rate is only nominal."""
        if len(self.state.errors_ns) < 3:
            return MAX_UNCERTAINTY_NS
        return min(max(self.state.errors_ns[-FITTED + 2 :]), MAX_UNCERTAINTY_NS)

    def _slewed(self) -> float:
        anchors, nominal = self.state.anchors, self.state.nominal_ns
        if len(anchors) == 1:
            return nominal
        (first, first_ns), (last, last_ns) = anchors[0], anchors[-1]
        fitted = (last_ns - first_ns) / (last - first)
        slew = self.state.error_ns / (last - anchors[-2][0])
        return fitted + min(max(slew, -MAX_SLEW * nominal), MAX_SLEW * nominal)
