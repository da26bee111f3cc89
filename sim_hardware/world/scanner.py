"""The scanner of a resistance bridge: one measuring circuit that goes round its inputs."""

from __future__ import annotations

from dataclasses import dataclass

FOREVER_S = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A stay on an input: no valid reading for `pause_s`, then readings for `dwell_s`."""

    channel: str
    pause_s: float
    dwell_s: float = FOREVER_S

    @property
    def length_s(self) -> float:
        """From its switching on to the next."""
        return self.pause_s + self.dwell_s


class Scanner:
    """Knows when each input was measured last; what was never measured is as at time 0."""

    def __init__(self, round_: list[Visit]) -> None:
        self._round, self._since_s = round_, 0.0
        self._held: dict[str, float] = {}

    def begin(self, round_: list[Visit], now_s: float) -> None:
        """Begin another round, with its first visit, over and over."""
        visited = (visit.channel for visit in self._round)
        self._held |= {channel: self.measured_s(channel, now_s) for channel in visited}
        self._round, self._since_s = round_, now_s

    def channel(self, now_s: float) -> str:
        """The input that is switched on."""
        left_s = (now_s - self._since_s) % self._period_s()
        for visit in self._round:
            left_s -= visit.length_s
            if left_s < 0:
                break
        return visit.channel

    def measured_s(self, channel: str, now_s: float) -> float:
        """When the reading that the input shows now was taken."""
        since_s = self._since_s
        for visit in self._round:
            first_s = since_s + visit.pause_s
            if visit.channel == channel and first_s <= now_s:
                rounds, within_s = divmod(now_s - first_s, self._period_s())
                return first_s + rounds * self._period_s() + min(within_s, visit.dwell_s)
            since_s += visit.length_s
        return self._held.get(channel, 0.0)

    def _period_s(self) -> float:
        return sum(visit.length_s for visit in self._round)
