"""Whether what is read again and again has become stable."""

from __future__ import annotations

from daq.readout.requests import WaitStable

LEAST_LOOKS = 10  # in a row: a few may be near by chance while it passes


class Dwell:
    """Judges readings by their times [s]; those that are late make it no shorter."""

    def __init__(self, request: WaitStable) -> None:
        self._request = request
        self._since, self._looks = 0.0, 0

    def is_over(self, value: float, at_s: float) -> bool:
        """Take note of a reading; whether all were near the target for long enough by now."""
        if abs(value - self._request.target) > self._request.tolerance:
            self._looks = 0
            return False
        if not self._looks:
            self._since = at_s
        self._looks += 1
        return self._looks >= LEAST_LOOKS and at_s - self._since >= self._request.dwell_s
