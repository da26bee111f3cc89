"""A digitizer's clock as this computer sees it: anchors for hardware that stamps no time."""

from __future__ import annotations

from collections.abc import Callable

from daq.model.clock import Anchor

EVERY_S = 1.0


class HostClock:
    """Estimates when samples were converted from when they were seen to be there.

    An estimate only: what is seen was converted earlier, by the shortest way that samples took in
    the last second (usually below a millisecond), and it is as good as this computer's UTC.
    Between two anchors the nominal rate counts.
    """

    def __init__(self, rate_hz: float, now_ns: Callable[[], int], every_s: float = EVERY_S) -> None:
        self._period_ns, self._now_ns = 1e9 / rate_hz, now_ns
        self._every = max(1, round(every_s * rate_hz))  # samples
        self._offset_ns: int | None = None  # time of sample 0, by the promptest since the last
        self._anchor = Anchor(0, 0)

    def begin(self, newest: int = 0) -> Anchor:
        """The anchor of sample 0, where `newest` is the one that is converted now."""
        self._anchor = Anchor(0, self._now_ns() - self._lasts_ns(newest))
        self._offset_ns = None
        return self._anchor

    def seen(self, newest: int) -> None:
        """All samples before `newest` are there by now."""
        offset_ns = self._now_ns() - self._lasts_ns(newest)
        if self._offset_ns is None or offset_ns < self._offset_ns:
            self._offset_ns = offset_ns

    def due(self, sample: int) -> Anchor | None:
        """An anchor for `sample`, once a second of samples has passed since the last one."""
        if self._offset_ns is None or sample < self._anchor.sample + self._every:
            return None
        self._anchor = Anchor(sample, self._offset_ns + self._lasts_ns(sample))
        self._offset_ns = None
        return self._anchor

    def sample_now(self) -> int:
        """The sample that is converted now, by the latest anchor and the nominal rate."""
        elapsed_ns = self._now_ns() - self._anchor.t_ns
        return self._anchor.sample + round(elapsed_ns / self._period_ns)

    def _lasts_ns(self, n_samples: int) -> int:
        return round(n_samples * self._period_ns)
