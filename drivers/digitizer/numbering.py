"""The numbering of a digitizer that counts no samples for us: from 0 at each start, with gaps."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from daq.model.block import Gap
from daq.model.block import Samples as SampleArray
from daq.model.clock import Anchor
from drivers.digitizer.clock import HostClock
from drivers.digitizer.digitizer import Event, Samples


class Numbering:
    """One uninterrupted numbering, named `stream`; samples come to it in order."""

    def __init__(self, rate_hz: float, now_ns: Callable[[], int]) -> None:
        self.stream = secrets.token_hex(8)
        self.next = 0
        self._clock = HostClock(rate_hz, now_ns)

    def begin(self, newest: int = 0) -> Anchor:
        """The first anchor, where sample `newest` is converted now."""
        return self._clock.begin(newest)

    def take(self, samples: SampleArray, waiting: int = 0) -> list[Event]:
        """The events of the next samples, of which `waiting` more are there already."""
        start = self.next
        self.next += samples.shape[1]
        self._clock.seen(self.next + waiting)
        anchor = self._clock.due(start)
        samples.flags.writeable = False
        packet = Samples(start, samples)
        return [packet] if anchor is None else [anchor, packet]

    def skip(self, count: int, *, exact: bool) -> Gap:
        """`count` samples were lost before the next ones; `exact` where the hardware counted."""
        gap = Gap(self.next, self.next + count, exact)
        self.next = gap.stop
        return gap

    def broken(self, cause: str) -> Gap:
        """It all ended: lost is what should have come until now, by the host's clock."""
        gap = Gap(self.next, max(self.next + 1, self._clock.sample_now()), exact=False, cause=cause)
        self.next = gap.stop
        return gap
