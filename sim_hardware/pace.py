"""The one place that turns the wall's time into the bench's time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sim_hardware.face import Chunk, Conversation, Face
from sim_hardware.source import Samples, Source

log = logging.getLogger(__name__)

AHEAD_S = 0.1  # that a clock which waits may be ahead of what is made, by the wall
AT_WORK_S = 0.1  # between two stretches of samples, before a reader that is away is to blame [wall]
LOOK_S = 0.02  # at pace flat-out, how often what waits for the bench's time looks at it [wall]


class BenchClock(Protocol):
    """The bench's time as a function of the wall's, both in seconds since the bench started."""

    def bench_s(self, wall_s: float) -> float:
        """The bench's time; it never goes back."""

    def wall_wait_s(self, bench_wait_s: float) -> float:
        """How long, by the wall, until that much of the bench's time may have passed."""


class RunningClock:
    """Pace "clock": `speed` bench seconds for every second on the wall."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed

    def bench_s(self, wall_s: float) -> float:
        """In proportion."""
        return wall_s * self._speed

    def wall_wait_s(self, bench_wait_s: float) -> float:
        """In proportion."""
        return bench_wait_s / self._speed


@dataclass(slots=True)
class _Work:
    """What a digitizer has made, up to a bench time, and when it ended its last stretch [wall]."""

    made_s: float = 0.0
    busy: bool = False
    ended_wall_s: float = -float("inf")


class WaitingClock:
    """Pace "clock", where a bench that is too slow is late as a whole and loses nothing.

    While a digitizer makes samples the time goes no more than `ahead_s` beyond them; a reader that
    does not read is not waited for. The wall's time that was waited for is lost for good.
    """

    def __init__(self, speed: float, wall_s: Callable[[], float]) -> None:
        self.ahead_s = AHEAD_S * max(1.0, speed)
        self._speed, self._wall_s = speed, wall_s
        self._works: dict[str, _Work] = {}
        self._latest_s = self._late_s = 0.0
        self._told_s = 1.0  # how late it may be before that is said, and twice as much then
        # guards all of the above: each digitizer has a thread, and the instruments have one
        self._lock = threading.Lock()

    def bench_s(self, wall_s: float) -> float:
        """In proportion, but for what was waited for."""
        with self._lock:
            now_s = max(self._latest_s, wall_s * self._speed - self._late_s)
            at_work = [w.made_s for w in self._works.values() if _at_work(w, wall_s)]
            most_s = max(self._latest_s, min(at_work, default=now_s) + self.ahead_s)
            self._late_s += max(0.0, now_s - most_s)
            self._latest_s = min(now_s, most_s)
            self._tell()
            return self._latest_s

    def wall_wait_s(self, bench_wait_s: float) -> float:
        """In proportion, or later."""
        return bench_wait_s / self._speed

    def begin(self, digitizer: str) -> None:
        """It makes samples from now on."""
        self.bench_s(self._wall_s())  # what passed before was nobody's work
        with self._lock:
            self._works.setdefault(digitizer, _Work()).busy = True

    def end(self, digitizer: str, made_s: float) -> None:
        """It has made all before a bench time."""
        with self._lock:
            self._works[digitizer] = _Work(made_s, False, self._wall_s())

    def _tell(self) -> None:
        if self._late_s >= self._told_s:
            self._told_s *= 2
            log.warning("The bench is too slow for its clock: it is %.3g s late.", self._late_s)


def _at_work(work: _Work, wall_s: float) -> bool:
    return work.busy or wall_s - work.ended_wall_s < AT_WORK_S


class Unhurried:
    """A source whose clock waits for its samples."""

    def __init__(self, source: Source, clock: WaitingClock) -> None:
        self.name, self.channels, self.rate_hz = source.name, source.channels, source.rate_hz
        self.volts_per_count, self.length = source.volts_per_count, source.length
        self._source, self._clock = source, clock

    def t_ns(self, sample: int) -> int:
        """UTC at which a sample is converted, in ns."""
        return self._source.t_ns(sample)

    def samples(self, start: int, stop: int) -> Samples:
        """The samples [start, stop), int16, [channel, sample]; the clock is told."""
        self._clock.begin(self.name)
        try:
            return self._source.samples(start, stop)
        finally:
            self._clock.end(self.name, (self.t_ns(stop) - self.t_ns(0)) / 1e9)


class ReadClock:
    """Pace "flat-out": the bench's time is that of the sample that was read farthest.

    It stands still while nobody reads.
    """

    def __init__(self, reached_s: Callable[[], float]) -> None:
        self._reached_s = reached_s

    def bench_s(self, wall_s: float) -> float:
        """What was reached."""
        del wall_s
        return self._reached_s()

    def wall_wait_s(self, bench_wait_s: float) -> float:
        """Nobody knows, so look again soon."""
        return min(bench_wait_s, LOOK_S)


class PacedFace:
    """A device in the bench's time, behind a wire in the wall's time.

    Everything that a device does in time (message gaps, scans, settling, samples) follows the
    bench's time; what is wrong with its wire (replies that are late) follows the wall's.
    """

    def __init__(self, face: Face, clock: BenchClock) -> None:
        self.model, self.max_clients = face.model, face.max_clients
        self.refusal, self.complaints = face.refusal, face.complaints
        self._face, self._clock = face, clock

    def connect(self, now_s: float) -> PacedConversation:
        """Begin to talk with a new client."""
        inner = self._face.connect(self._clock.bench_s(now_s))
        return PacedConversation(inner, self._clock)


class PacedConversation:
    """A conversation whose times are the bench's."""

    def __init__(self, inner: Conversation, clock: BenchClock) -> None:
        self._inner, self._clock = inner, clock

    @property
    def over(self) -> bool:
        """True once nothing more will be said."""
        return self._inner.over

    def receive(self, received: bytes, now_s: float) -> None:
        """Pass on what is heard."""
        self._inner.receive(received, self._clock.bench_s(now_s))

    def send(self, now_s: float) -> Sequence[Chunk]:
        """What the device says now."""
        return self._inner.send(self._clock.bench_s(now_s))

    def wait_s(self, now_s: float) -> float | None:
        """Wall seconds until the device may have more to say."""
        wait_s = self._inner.wait_s(self._clock.bench_s(now_s))
        return None if wait_s is None else self._clock.wall_wait_s(wait_s)
