"""The reader: a thread that reads one digitizer for ever, and hands over what came."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from daq.errors import InstrumentError, ReplyError, SilentError
from daq.model.clock import Anchor
from drivers.backoff import Backoff
from drivers.digitizer.digitizer import Digitizer, End, Event, Facts, Samples
from drivers.services.merger import Merger

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
READ_S = 0.1  # how soon the reader notices that it shall stop, or that a block need not wait
QUEUE_LENGTH = 32  # blocks between the two threads; behind them the digitizer's own memory


@dataclass(frozen=True, slots=True)
class Connected:
    """The digitizer answered; its events come from sample `start` on."""

    facts: Facts
    start: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """The connection was given up, and will be tried again."""

    error: InstrumentError


Item = Connected | Event | Trouble


class Reader(threading.Thread):
    """Reads until told to stop; reconnects, and resumes at the sample that is missing.

    `items` is what came, in order; it is bounded, so who does not take stops the reading.
    `wake` is called after each item.
    """

    def __init__(
        self,
        digitizer: Digitizer,
        wake: Callable[[], None],
        *,
        silent_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="digitizer-reader", daemon=True)
        self.items: queue.Queue[Item] = queue.Queue(QUEUE_LENGTH)
        self._digitizer, self._wake, self._clock = digitizer, wake, clock
        self._silent_after_s = silent_after_s
        self._backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, clock)
        self._stopping = threading.Event()
        self._facts: Facts | None = None  # of the latest connection
        self._next = 0  # the sample that comes next in its stream

    def stop(self) -> None:
        """Have the thread end within a moment."""
        self._stopping.set()

    def run(self) -> None:
        """Connect, read until it fails or ends, wait, again."""
        ended = False
        while not ended and not self._stopping.is_set():
            try:
                ended = self._session()
            except InstrumentError as error:
                self._backoff.failed()
                logger.warning("Digitizer connection given up: %s", error)
                self._hand(Trouble(error))
            finally:
                self._digitizer.close()
            self._stopping.wait(self._backoff.remaining_s)

    def _session(self) -> bool:
        """Read one connection; whether the stream came to its end."""
        merger = self._begin()
        try:
            return self._read_on(merger)
        finally:
            self._hand_blocks(merger.flush())

    def _read_on(self, merger: Merger) -> bool:
        heard_at = self._clock()
        while not self._stopping.is_set():
            try:
                event = self._digitizer.read(READ_S)
            except SilentError:
                self._hand_blocks(merger.flush())
                self._check_silence(heard_at)
                continue
            self._take(event, merger)
            heard_at = self._clock()
            if isinstance(event, End):
                return True
        return False

    def _begin(self) -> Merger:
        facts = self._digitizer.connect()
        start = self._next if self._goes_on(facts) else facts.oldest
        self._digitizer.start(start)
        self._facts, self._next = facts, start
        self._hand(Connected(facts, start))
        return Merger(rate_hz=facts.rate_hz, n_channels=len(facts.channels))

    def _goes_on(self, facts: Facts) -> bool:
        """Whether it is the stream that we know; ReplyError where that became impossible."""
        known = self._facts
        if known is None or known.stream != facts.stream:
            return False
        if (known.channels, known.rate_hz) != (facts.channels, facts.rate_hz):
            raise ReplyError(
                f"expected stream {facts.stream} to keep its {len(known.channels)} channels at "
                f"{known.rate_hz:g} Hz, found {len(facts.channels)} at {facts.rate_hz:g} Hz"
            )
        if self._next > facts.next:
            raise ReplyError(
                f"expected stream {facts.stream} to have come to sample {self._next}, "
                f"found {facts.next}"
            )
        return True

    def _check_silence(self, heard_at: float) -> None:
        silent_s = self._clock() - heard_at
        if silent_s > self._silent_after_s:  # perhaps only this connection is dead
            raise SilentError(f"the digitizer is connected and sent nothing for {silent_s:.1f} s")

    def _take(self, event: Event, merger: Merger) -> None:
        """An anchor goes ahead of the samples that wait for more; a gap or the end goes behind."""
        if isinstance(event, Samples):
            self._backoff.succeeded()
            self._hand_blocks(merger.add(event))
            return
        if not isinstance(event, Anchor):
            self._hand_blocks(merger.flush())
            self._next = event.stop
        self._hand(event)

    def _hand_blocks(self, blocks: list[Samples]) -> None:
        for block in blocks:
            self._hand(block)
            self._next = block.stop

    def _hand(self, item: Item) -> None:
        while not self._stopping.is_set():
            try:
                self.items.put(item, timeout=READ_S)
            except queue.Full:
                continue
            self._wake()
            return
