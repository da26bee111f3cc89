"""A digitizer's clock: from its sample numbers to UTC, by the anchors in its stream.

Causal: the time of sample s uses only anchors at or before s, also when it is asked later.
Continuous and increasing: between two anchors the clock runs straight, and at each anchor it takes
the slope that removes the error found there over the next anchor interval.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from daq.model.clock import Anchor

FITTED = 16  # anchors over which the period is averaged
KEPT = 64  # straight pieces that can still be asked for
MAX_SLEW = 5e-4  # relative; a larger error is a step of the source, followed at this speed


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """From `sample` on, which is at `t_ns`, a sample lasts `period_ns`."""

    sample: int
    t_ns: int
    period_ns: float


class ClockState(msgspec.Struct):
    """All that a clock knows."""

    nominal_ns: float
    anchors: list[tuple[int, int]] = []
    pieces: list[Piece] = []
    error_ns: int = 0


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
        state.pieces = [*state.pieces[-KEPT + 1 :], Piece(anchor.sample, at, self._slewed())]
        return True

    @property
    def known(self) -> bool:
        """Whether there was an anchor at all."""
        return bool(self.state.pieces)

    def t_ns(self, sample: int) -> int:
        """UTC of a sample [ns since 1970]; by the first anchor for samples before it."""
        at = bisect_right(self.state.pieces, sample, key=lambda piece: piece.sample)
        piece = self.state.pieces[max(at - 1, 0)]
        return piece.t_ns + round((sample - piece.sample) * piece.period_ns)

    def sample_at(self, t_ns: int) -> int:
        """The sample converted at or just before a time, by the latest piece."""
        piece = self.state.pieces[-1]
        return piece.sample + int((t_ns - piece.t_ns) // piece.period_ns)

    def anchors(self) -> list[Anchor]:
        """The anchors in use, oldest first."""
        return [Anchor(*anchor) for anchor in self.state.anchors]

    def _slewed(self) -> float:
        anchors, nominal = self.state.anchors, self.state.nominal_ns
        if len(anchors) == 1:
            return nominal
        (first, first_ns), (last, last_ns) = anchors[0], anchors[-1]
        fitted = (last_ns - first_ns) / (last - first)
        slew = self.state.error_ns / (last - anchors[-2][0])
        return fitted + min(max(slew, -MAX_SLEW * nominal), MAX_SLEW * nominal)
