"""The optimum filter on the stream of a group of channels: triggers with height, time and chi2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
import numpy.typing as npt

from daq.acquire.filters import Filter
from daq.acquire.kernels import F32, I16, I64


class Near(IntFlag):
    """Bits of a candidate's `near`."""

    LARGER = 1  # a larger pulse is within reach: it had to stand out of its side lobes
    CHANGED = 2  # within a filter's length of a change of filters


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pulses of one channel, in order of time; each array is [pulse].

    `sample` is where the template's trigger sample stands, as the nearest record sample (int64),
    `offset` what is to be added to it (float32, within half a sample), `amplitude` the height
    [counts] (float32), `chi2` per degree of freedom of which there are `ndf` (float32), `blind`
    the record samples on either side in which the pulse raises the threshold by more than a sigma
    (int64), `near` bits of Near (uint8), `generation` how often the filters were changed before.
    """

    sample: I64
    offset: F32
    amplitude: F32
    chi2: F32
    blind: I64
    near: npt.NDArray[np.uint8]
    generation: npt.NDArray[np.uint16]
    ndf: int


class MatchedFilters:
    """One search for the channels of one digitizer that share record rate and template length.

    `thresholds` are heights in counts (`Filter.counts` converts). `start` is the number of the
    first record sample of the present stretch. What comes out depends on the samples alone: not
    on how they are cut, not on which channels are in the group.
    """

    def __init__(
        self,
        filters: Sequence[Filter],
        thresholds: Sequence[float],
        start: int,
        *,
        factor: int | None = None,
    ) -> None:
        """`factor` is the decimation of the search: 1 for the full rate, None to let it choose."""
        raise NotImplementedError

    @property
    def fed(self) -> int:
        """Record samples were taken in up to here, counting anew after a restart."""
        raise NotImplementedError

    @property
    def complete_until(self) -> int:
        """No candidate before this record sample will still come."""
        raise NotImplementedError

    @property
    def history(self) -> int:
        """Record samples before the last fed one that a restart needs again."""
        raise NotImplementedError

    def feed(self, samples: I16) -> None:
        """Take the next record samples [channel, sample] in."""
        raise NotImplementedError

    def take(self) -> list[Candidates]:
        """What was found since the last time, per channel, complete up to `complete_until`."""
        raise NotImplementedError

    def with_filters(
        self, filters: Sequence[Filter], thresholds: Sequence[float], sample: int
    ) -> None:
        """Other filters for pulses from record sample `sample` on, not before complete_until."""
        raise NotImplementedError

    def gap(self, start: int) -> None:
        """The stretch is over; the next begins at `start`. Take what is left before feeding."""
        raise NotImplementedError

    def finish(self) -> None:
        """Nothing more comes: search to the end of what was fed."""
        raise NotImplementedError

    def restart(self, sample: int) -> None:
        """Samples come again from `sample` on, in the present stretch.

        Gives what comes again too: whoever restarts drops what is before its own watermark.
        """
        raise NotImplementedError
