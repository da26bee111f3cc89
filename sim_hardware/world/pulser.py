"""What a generator's output does besides its volts: heater pulses in the truth, and its sync."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from sim_hardware.world.drive import SHORT_S, Lines
from sim_hardware.world.materials import EV_J
from sim_hardware.world.particles import ELSEWHERE, Hit
from sim_hardware.world.timeline import Track
from sim_hardware.world.waves import EDGE_S, Wave

KIND = "heater"
ENTRY_BITS, COUNT_BITS = 20, 40  # of an event's number


class HeaterPulses:
    """The deposits of short pulses, at the middle of each; all heaters get every pulse."""

    def __init__(self, track: Track[Wave], lines: Lines, channels: tuple[str, ...]) -> None:
        self._track, self._lines, self._channels = track, lines, channels

    def truth(self, start_s: float, stop_s: float) -> list[Hit]:
        """All hits in [start_s, stop_s), in the order of time."""
        return list(self._hits(start_s, stop_s))

    def _hits(self, start_s: float, stop_s: float) -> Iterator[Hit]:
        for number, since_s, until_s, wave in spans(self._track, start_s, stop_s):
            if not (wave.moves and wave.function == "PULS" and wave.width_s <= SHORT_S):
                continue
            energy_ev = self.energy_ev(wave)
            half_s = wave.width_s / 2
            for begin_s, _ in wave.highs(since_s - half_s, until_s - half_s):
                count = round((begin_s - wave.begun_s) * wave.frequency_hz)
                event = ELSEWHERE + (number << COUNT_BITS) + count
                for channel in self._channels:
                    yield Hit(begin_s + half_s, channel, energy_ev, KIND, event)

    def energy_ev(self, wave: Wave) -> float:
        """What one pulse leaves besides the power of the resting level; never less than nothing."""
        rest_v, other_v = wave.levels_v
        power_w = float(self._lines.heat_w(other_v) - self._lines.heat_w(rest_v))
        return max(0.0, power_w * wave.width_s / EV_J)


class Sync:
    """High while the output's pulse is, or the upper half of its wave."""

    def __init__(self, track: Track[Wave]) -> None:
        self._track = track

    def openings(self, start_s: float, stop_s: float) -> list[tuple[float, float]]:
        """(begin, end) of every time it is high that touches [start_s, stop_s)."""
        found = []
        for _, since_s, until_s, wave in spans(self._track, start_s - LONGEST_HIGH_S, stop_s):
            for begin_s, end_s in wave.highs(max(since_s, start_s - wave.high_s), until_s):
                if end_s > start_s:
                    found.append((begin_s - EDGE_S, min(end_s, until_s)))
        return found


LONGEST_HIGH_S = 10.0  # of a sync: what is high for longer is shown for this long


def spans(
    track: Track[Wave], start_s: float, stop_s: float
) -> Iterator[tuple[int, float, float, Wave]]:
    """(number, begin, end, wave) of each wave in [start_s, stop_s), cut to it."""
    entries = track.entries
    first = max(0, bisect_right(entries, start_s, key=lambda entry: entry.t_s) - 1)
    for number in range(first, len(entries)):
        entry = entries[number]
        if entry.t_s >= stop_s:
            return
        until_s = entries[number + 1].t_s if number + 1 < len(entries) else stop_s
        since_s, until_s = max(entry.t_s, start_s), min(until_s, stop_s)
        if since_s < until_s:
            yield number, since_s, until_s, entry.value
