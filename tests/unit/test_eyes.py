"""What the core shows: only while somebody looks, and so that whoever does sees what it missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daq.acquire.clocks import Clock
from daq.model.batch import RecordBatch
from daq.model.block import Block
from daq.model.clock import Anchor
from daq.model.record import RECORD, plain
from daq.services.eyes import Eyes
from daq.wire import codec, sockets
from daq.wire.schemas import Pulses, Traces
from tests.offline import channel

RATE_HZ, BIN = 50e3, 50
CLOCK = Clock.at_rate(RATE_HZ, [Anchor(0, 10**18)])
CHANNELS = [channel("A", 0, RATE_HZ), channel("B", 1, RATE_HZ)]
WAIT_MS = 10_000


class Looker:
    """Somebody who looks."""

    def __init__(self, endpoint: str, topic: bytes = b"") -> None:
        self.socket = sockets.subscribe(endpoint, topics=(topic,))

    def sees(self, kind):
        """The next header."""
        assert self.socket.poll(WAIT_MS), "nothing comes"
        return codec.decode(sockets.receive(self.socket)[1], kind)


@pytest.fixture
def eyes(tmp_path: Path) -> Iterator[Eyes]:
    made = Eyes(f"ipc://{tmp_path}/traces", f"ipc://{tmp_path}/pulses")
    made.watch("d", CHANNELS)
    yield made
    made.close()


@pytest.fixture
def look(tmp_path: Path):
    """Makes a looker at traces or pulses; all are gone afterwards."""
    lookers: list[Looker] = []

    def one(what: str, topic: bytes = b"") -> Looker:
        lookers.append(Looker(f"ipc://{tmp_path}/{what}", topic))
        return lookers[-1]

    yield one
    for looker in lookers:
        looker.socket.close(0)


def wait_until(publisher: sockets.Publisher, topic: bytes, watched: bool = True) -> None:
    """A subscription, or its end, is on its way: until it has come."""
    while publisher.watched(topic) is not watched:
        assert publisher.socket.poll(WAIT_MS), "it does not become so"
        publisher.serve()


def block(i: int, n: int = 3 * BIN) -> Block:
    return Block(i * n, np.full((2, n), i, np.int16))


def batch(*triggers: int) -> RecordBatch:
    table = np.zeros(len(triggers), plain(RECORD))
    table["trigger"] = triggers
    return RecordBatch(0, table, np.zeros((len(triggers), CHANNELS[0].record_length), np.int16))


def test_a_strip_tells_of_the_triggers_since_the_one_before(eyes, look):
    looker = look("traces")
    wait_until(eyes.traces, b"d")
    eyes.block("d", block(0), CLOCK)
    eyes.records(CHANNELS[0], batch(70, 90))
    eyes.block("d", block(1), CLOCK)
    eyes.block("d", block(2), CLOCK)
    first, second, third = (looker.sees(Traces) for _ in range(3))
    assert [one.start for one in (first, second, third)] == [0, 150, 300]
    assert [one.seq for one in (first, second, third)] == [1, 2, 3]
    assert (first.channels, first.bin_samples) == (["A", "B"], BIN)
    assert [one.triggers for one in (first, second, third)] == [[], [(0, 70), (0, 90)], []]


def test_what_is_too_short_for_a_bin_waits_with_its_triggers(eyes, look):
    looker = look("traces")
    wait_until(eyes.traces, b"d")
    eyes.records(CHANNELS[1], batch(3))
    for i in range(2):
        eyes.block("d", block(i, BIN // 2), CLOCK)
    told = looker.sees(Traces)
    assert (told.seq, told.start, told.triggers) == (1, 0, [(1, 3)])


def test_who_looks_late_sees_how_much_it_missed_and_nothing_of_it(eyes, look):
    for i in range(3):
        eyes.records(CHANNELS[0], batch(i))
        eyes.block("d", block(i), CLOCK)
    traces, pulses = look("traces"), look("pulses", b"A")
    wait_until(eyes.traces, b"d")
    wait_until(eyes.pulses, b"A")
    eyes.block("d", block(3), CLOCK)
    eyes.records(CHANNELS[0], batch(700))
    told = traces.sees(Traces)
    assert (told.seq, told.start, told.triggers) == (4, 450, [])
    assert pulses.sees(Pulses).seq == 4
    assert not eyes.pulses.watched(b"B")


def test_records_are_counted_though_nobody_looks(eyes):
    eyes.block("d", block(0, 4 * int(RATE_HZ)), CLOCK)
    eyes.records(CHANNELS[0], batch(5, 6, 150_000))
    assert eyes.rate_hz(CHANNELS[0]) == 3 / 5.0
    assert eyes.rate_hz(CHANNELS[1]) == 0.0
    assert eyes.rate_hz(channel("nobody", 0, RATE_HZ)) == 0.0


def test_nothing_is_made_for_who_has_gone(eyes, look):
    looker = look("traces")
    wait_until(eyes.traces, b"d")
    looker.socket.close(0)
    wait_until(eyes.traces, b"d", watched=False)
