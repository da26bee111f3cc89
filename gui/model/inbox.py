"""The box between the socket thread and the window: the newest stays, the oldest is let go."""

from __future__ import annotations

import threading
from collections import deque

from daq.wire.schemas import Progress, State
from gui.model.frames import (
    Answer,
    Examined,
    Item,
    Missed,
    PulseFrame,
    Stream,
    TraceFrame,
    Trouble,
    TuneLine,
)

# how many of one topic wait for a window that falls behind; a state replaces the last
KEEP: dict[type, int] = {
    TraceFrame: 64,
    PulseFrame: 8,
    State: 1,
    Progress: 1,
    Missed: 1,
    Trouble: 1,
    Answer: 64,
    Stream: 4,
    Examined: 1,
    TuneLine: 256,
}


class Inbox:
    """Items by topic, from the socket thread to the window.

    The lock guards the boxes and the count: two threads put, one takes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boxes: dict[tuple[type, str], deque[Item]] = {}
        self._missed = 0

    def put(self, topic: str, item: Item) -> None:
        """Never waits: a full box lets its oldest item go, and a trace so lost is counted."""
        with self._lock:
            kind = type(item)
            box = self._boxes.setdefault((kind, topic), deque(maxlen=KEEP[kind]))
            self._missed += kind is TraceFrame and len(box) == box.maxlen
            box.append(item)

    def miss(self, n_messages: int) -> None:
        """Count messages that were lost before they came here."""
        with self._lock:
            self._missed += n_messages

    def take(self) -> list[Item]:
        """Everything that waits, in order within its topic; then the box is empty."""
        with self._lock:
            items = [item for box in self._boxes.values() for item in box]
            self._boxes.clear()
            if self._missed:
                items.append(Missed(self._missed))
            self._missed = 0
        return items


class Sequences:
    """The last sequence number of each topic, to tell how many messages were missed.

    Publishers number each topic for itself, so that who listens to one only can tell, too.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def skipped(self, topic: str, seq: int) -> int:
        """Messages missed before `seq`; a number that goes back is a publisher that began anew."""
        last = self._last.get(topic, seq - 1)
        self._last[topic] = seq
        return max(seq - last - 1, 0)
