"""The `raw` channel: what was asked for, whole, and nothing from before it was wanted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daq.model.block import Block
from daq.services.raw import RawServer, Source
from daq.wire import codec, sockets
from daq.wire.schemas import RawReply, RawRequest

SOURCE = Source("d", 1, 10e3, 1e-4)
WAIT_MS = 5000


@pytest.fixture
def server(runtime: Path) -> Iterator[tuple[RawServer, sockets.Socket]]:
    at = f"ipc://{runtime}/raw"
    server, client = RawServer(at, lambda _: SOURCE), sockets.join_requests(at)
    yield server, client
    server.close()
    client.close(0)


def asked(server: RawServer, client: sockets.Socket, request: RawRequest) -> None:
    while not sockets.offer(client, codec.encode(request)):
        client.poll(10)
    assert server.socket.poll(WAIT_MS)
    server.serve()


def block(start: int, n: int) -> Block:
    samples = np.stack([np.zeros(n), np.arange(start, start + n)]).astype(np.int16)
    return Block(start, samples)


def answer(client: sockets.Socket) -> tuple[int, list[int]]:
    assert client.poll(WAIT_MS)
    header, samples = sockets.receive(client, 2)
    return codec.decode(header, RawReply).start, np.frombuffer(samples, "<i2").tolist()


@pytest.mark.parametrize("size", [1, 7, 40, 300])
def test_nothing_is_given_from_before_the_sample_that_was_named(
    server: tuple[RawServer, sockets.Socket], size: int
) -> None:
    asked(*server, RawRequest(id=1, channel="C11", n_samples=50, not_before=123))
    for start in range(0, 300, size):
        server[0].feed("d", block(start, size))
    assert answer(server[1]) == (123, list(range(123, 173)))


def test_a_gap_begins_anew(server: tuple[RawServer, sockets.Socket]) -> None:
    asked(*server, RawRequest(id=1, channel="C11", n_samples=50, not_before=10))
    for each in (block(0, 40), block(60, 20), block(80, 40)):
        server[0].feed("d", each)
    assert answer(server[1]) == (60, list(range(60, 110)))
