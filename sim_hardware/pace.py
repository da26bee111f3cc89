"""The one place that turns the wall's time into the bench's time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sim_hardware.face import Chunk, Conversation, Face

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
