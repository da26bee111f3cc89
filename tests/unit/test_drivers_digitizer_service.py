"""The digitizer service between a digitizer and a core, through what happens to either."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from daq.errors import UsageError
from daq.services.service import Waker
from daq.wire import codec, shared, sockets
from daq.wire.schemas import BlockHeader, State, StreamAck, StreamEnd, StreamHello, StreamWant
from drivers.digitizer.stream import StreamDigitizer
from drivers.services.digitizer import DigitizerService, Endpoints, Limits
from tests.digitizer_server import T0_NS, DigitizerServer, values
from tests.limits import no_memory

WAIT_S = 10.0
PLENTY = 1 << 30


class Core:
    """The core's end of `blocks`, as far as a digitizer can tell; it checks what it gets."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.socket = sockets.serve_blocks(endpoint)
        self.expected, self.asked, self.epoch = 0, 0, ""
        self.gaps, self.anchors = [], []
        self.samples = np.empty((2, 0), np.int16)
        self.memory: shared.Incoming | None = None  # that the last block lay in
        self.n_memories = 0

    def restart(self) -> None:
        """Die, and come back knowing nothing."""
        self.close()
        self.socket = sockets.serve_blocks(self._endpoint)

    def close(self) -> None:
        self.socket.close(0)

    def next(self):
        """The next message, and the samples behind it."""
        assert self.socket.poll(1000 * WAIT_S), "nothing comes"
        self.peer, header, *rest = sockets.receive(self.socket)
        return codec.decode(header, StreamHello, BlockHeader, StreamEnd), rest

    def hello(self, epoch: str = "") -> StreamHello:
        """The next hello, of one epoch if it is given."""
        while True:
            message, _ = self.next()
            if isinstance(message, StreamHello) and message.epoch.startswith(epoch):
                self.epoch = message.epoch
                return message

    def want(self, start: int, credit: int = PLENTY, shared: bool = False) -> None:
        self.expected = start
        self.asked += 1
        self._tell(
            StreamWant(
                epoch=self.epoch, start=start, asked=self.asked, credit=credit, shared=shared
            )
        )

    def acknowledge(
        self, durable: int, credit: int = PLENTY, epoch: str = "", free: int = 0
    ) -> None:
        token = self.memory.token if self.memory is not None else ""
        self._tell(
            StreamAck(
                epoch=epoch or self.epoch, durable=durable, credit=credit, token=token, free=free
            )
        )

    def receive(self, until: int) -> None:
        """Blocks, until sample `until` is there; those that do not follow are not for us."""
        while self.expected < until:
            header, rest = self.next()
            if isinstance(header, BlockHeader):
                self._take(header, rest)

    def receive_what_comes(self) -> None:
        """Blocks, until none comes between two hellos."""
        came = True
        while came:
            came = False
            header, rest = self.next()
            while isinstance(header, BlockHeader):
                self._take(header, rest)
                came = True
                header, rest = self.next()

    def end(self) -> StreamEnd:
        while True:
            message, _ = self.next()
            if isinstance(message, StreamEnd):
                return message

    def _take(self, header: BlockHeader, rest: list[bytes]) -> None:
        if header.asked != self.asked:
            return  # sent for a want before this one
        frame = rest[0] if rest else self._shared(header)
        assert self.expected == (header.gaps[0].start if header.gaps else header.start)
        samples = np.frombuffer(frame, "<i2").reshape(header.n_channels, header.n_samples)
        stop = header.start + header.n_samples
        np.testing.assert_array_equal(samples, values(header.start, stop, header.n_channels))
        self.gaps += [(g.start, g.stop, g.exact, g.cause) for g in header.gaps]
        self.anchors += [(a.sample, a.t_ns) for a in header.anchors]
        self.expected = stop

    def _shared(self, header: BlockHeader) -> memoryview:
        place = header.shared
        assert place is not None
        if self.memory is None or self.memory.token != place.token:
            self.memory, self.n_memories = shared.Incoming(place), self.n_memories + 1
        return self.memory.read(place.at, 2 * header.n_channels * header.n_samples)

    def _tell(self, message) -> None:
        assert sockets.offer(self.socket, self.peer, codec.encode(message))


@pytest.fixture
def server():
    server = DigitizerServer()
    yield server
    server.close()


@pytest.fixture
def core(runtime):
    core = Core(f"ipc://{runtime}/core.blocks")
    yield core
    core.close()


@pytest.fixture
def serve(runtime, server, request):
    """Runs the service in a thread; what it returns asks for its status."""

    def run(*, buffer_s=30.0, silent_after_s=30.0, resource=None):
        stop, waker = threading.Event(), Waker()
        service = DigitizerService(
            "targets",
            StreamDigitizer("targets", resource or server.resource),
            resource=resource or server.resource,
            limits=Limits(buffer_s=buffer_s, buffer_bytes=1e9, silent_after_s=silent_after_s),
            endpoints=Endpoints(
                blocks=f"ipc://{runtime}/core.blocks",
                state=f"ipc://{runtime}/state",
                commands=f"ipc://{runtime}/commands",
            ),
            stop=stop,
            waker=waker,
        )
        thread = threading.Thread(target=service.run)
        thread.start()
        caller = sockets.Caller(f"ipc://{runtime}/commands", "digitizer")

        def end() -> None:
            stop.set()
            waker.wake()
            thread.join(WAIT_S)
            assert not thread.is_alive()
            caller.close()
            waker.close()

        request.addfinalizer(end)
        return caller

    return run


def status_with(caller, condition):
    """The first status for which `condition` holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition(status := caller.call("status")):
        assert time.monotonic() < deadline, status
    return status


def test_the_core_gets_every_sample_and_anchor_from_where_it_wants(serve, server, core):
    server.produce(2500)
    caller = serve()
    hello = core.hello()
    assert (hello.seq, hello.epoch, hello.channels) == (0, "stream-1", ["C0", "C1"])
    assert (hello.rate_hz, hello.oldest, hello.can_wait) == (1000.0, 0, False)
    core.want(7)
    core.receive(2500)
    assert core.gaps == []
    assert core.anchors == [(1000, T0_NS + 10**9), (2000, T0_NS + 2 * 10**9)]
    status = status_with(caller, lambda s: s["state"] == "streaming")
    assert (status["newest"], status["lost_samples"], status["problem"]) == (2500, 0, "")


def test_only_the_credit_is_sent(serve, server, core):
    server.produce(1000)
    caller = serve()
    core.hello()
    status_with(caller, lambda s: s["newest"] == 1000)
    core.want(0, credit=4 * 120)
    core.receive(120)
    for _ in range(2):  # hellos go on, blocks do not
        assert isinstance(core.next()[0], StreamHello)
    core.acknowledge(0, credit=4 * 240)
    core.receive(240)


def test_samples_come_through_memory_where_the_core_wants_that(serve, server, core):
    server.produce(1000)
    serve()
    core.hello()
    core.want(0, shared=True)
    core.receive(1000)
    first = core.memory
    core.want(300, shared=True)
    core.receive(1000)
    assert core.n_memories == 2
    assert first is not None
    core.want(0)
    server.produce(500)
    core.receive(1500)
    assert core.n_memories == 2  # the rest by the socket


def test_what_the_core_still_reads_is_not_overwritten(serve, server, core, monkeypatch):
    size = 8192  # bytes
    monkeypatch.setattr(shared, "SIZE", size)
    server.produce(5000)
    caller = serve()
    core.hello()
    status_with(caller, lambda s: s["newest"] == 5000)
    core.want(0, shared=True)
    core.receive_what_comes()
    assert size // 2 < 4 * core.expected <= size  # and every sample was the right one
    core.acknowledge(0, free=4 * core.expected)
    core.receive(core.expected + 1)
    assert core.gaps == []


def test_without_memory_samples_go_by_the_socket(serve, server, core, caplog):
    server.produce(1000)
    serve()
    core.hello()
    with no_memory():
        core.want(0, shared=True)
        core.receive(1000)
    assert core.n_memories == 0
    assert "Samples go by the socket; no memory for them" in caplog.text


def test_what_is_durable_is_not_kept(serve, server, core):
    server.produce(1000)
    caller = serve()
    core.hello()
    core.want(0)
    core.receive(1000)
    core.acknowledge(1000)
    status = status_with(caller, lambda s: s["oldest"] == 1000)
    assert status["buffered_s"] == 0.0


def test_a_core_that_comes_back_gets_again_what_was_not_durable(serve, server, core):
    server.produce(1000)
    caller = serve()
    core.hello()
    core.want(0)
    core.receive(1000)
    core.acknowledge(420)
    status_with(caller, lambda s: s["oldest"] == 420)
    core.restart()
    server.produce(500)
    assert core.hello().oldest == 420
    core.want(420)
    core.receive(1500)
    assert core.gaps == []


def test_a_core_that_comes_late_gets_everything(serve, server, core):
    core.close()
    server.produce(700)
    caller = serve()
    status_with(caller, lambda s: s["newest"] == 700)
    assert caller.call("status")["state"] == "waiting"
    core.restart()
    core.hello()
    core.want(0)
    core.receive(700)


def test_a_lost_connection_to_the_digitizer_loses_no_sample(serve, server, core):
    server.produce(300)
    serve()
    core.hello()
    core.want(0)
    core.receive(300)
    server.drop()
    server.produce(300)
    core.receive(600)
    assert core.gaps == []
    assert server.starts == [0, 300]


def test_what_the_digitizer_forgot_meanwhile_is_an_exact_gap(serve, server, core):
    server.produce(300)
    caller = serve()
    core.hello()
    core.want(0)
    core.receive(300)
    server.forget_before(450)
    server.produce(300)
    server.drop()
    core.receive(600)
    # what the service had read when the connection broke is for the machine to say
    ((start, stop, exact, cause),) = core.gaps
    assert 300 <= start < stop == 450
    assert (exact, cause) == (True, "overflow")
    assert caller.call("status")["lost_samples"] == stop - start


def test_a_digitizer_that_was_switched_off_and_on_begins_a_new_epoch_after_the_old(
    serve, server, core
):
    server.produce(300)
    caller = serve()
    core.hello()
    status_with(caller, lambda s: s["newest"] == 300)
    server.restart("stream-2")
    server.produce(200)
    status_with(caller, lambda s: s["newest"] == 200)
    assert core.hello().epoch == "stream-1"
    core.want(0)
    core.receive(300)
    core.acknowledge(300)
    hello = core.hello("stream-2")
    assert (hello.seq, hello.oldest) == (0, 0)
    core.want(0)
    core.receive(200)


def test_what_is_said_late_of_the_epoch_before_is_refused_by_name(serve, server, core):
    server.produce(300)
    caller = serve()
    core.hello()
    core.want(0)
    core.receive(300)
    core.acknowledge(300)
    server.restart("stream-2")
    server.produce(500)
    core.hello("stream-2")
    status_with(caller, lambda s: s["newest"] == 500)
    core.acknowledge(300, epoch="stream-1")
    status = status_with(caller, lambda s: s["problem"] != "")
    assert (status["problem"], status["oldest"]) == (
        "expected a stream-ack for epoch stream-2, found epoch stream-1",
        0,
    )
    core.want(0)
    core.receive(500)
    core.acknowledge(120)
    status_with(caller, lambda s: (s["oldest"], s["problem"]) == (120, ""))


def test_an_old_epoch_is_left_when_its_last_acknowledgments_do_not_come(serve, server, core):
    server.produce(300)
    serve()
    core.hello()
    core.want(0)
    core.receive(300)
    core.acknowledge(250)
    server.restart("stream-2")
    server.produce(100)
    core.hello("stream-2")
    core.want(0)
    core.receive(100)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"next": 100}, "expected stream stream-1 to have come to sample 300, found 100"),
        ({"n_channels": 3}, "stream-1 to keep its 2 channels at 1000 Hz, found 3 at 1000 Hz"),
        ({"rate_hz": 500.0}, "stream-1 to keep its 2 channels at 1000 Hz, found 2 at 500 Hz"),
    ],
)
def test_a_stream_that_contradicts_itself_is_named(serve, server, change, problem):
    server.produce(300)
    caller = serve()
    status_with(caller, lambda s: s["newest"] == 300)
    for name, value in change.items():
        setattr(server, name, value)
    server.drop()
    status = status_with(caller, lambda s: problem in s["problem"])
    assert status["state"] == "connecting"


def test_without_a_core_the_oldest_is_dropped_and_named_as_a_gap(serve, server, core):
    caller = serve(buffer_s=0.1)
    server.produce(1000)
    status = status_with(caller, lambda s: s["newest"] == 1000)
    assert 900 <= status["oldest"] < 1000
    assert status["lost_samples"] == status["oldest"]
    assert status["gaps"] == 1
    core.hello()
    core.want(0)
    core.receive(1000)
    assert core.gaps == [(0, status["oldest"], True, "overflow")]


def test_a_source_that_can_wait_waits(serve, server, core):
    server.can_wait = True
    server.produce(20_000)
    caller = serve(buffer_s=0.1, silent_after_s=0.2)
    status = status_with(caller, lambda s: s["newest"] >= 100)
    assert status["oldest"] == 0
    core.hello()
    core.want(0, credit=4 * 1000)
    at = 0
    while at < 20_000:
        at = min(at + 100, 20_000)
        core.receive(at)
        core.acknowledge(core.expected, credit=4 * (core.expected + 1000))
    assert core.gaps == []
    assert caller.call("status")["lost_samples"] == 0


def test_the_end_of_the_stream_is_told_after_the_last_sample(serve, server, core):
    server.produce(250)
    server.end()
    caller = serve()
    core.hello()
    core.want(0)
    core.receive(250)
    assert core.end() == StreamEnd(digitizer="targets", epoch="stream-1", stop=250)
    core.restart()
    core.hello()
    core.want(100)
    core.receive(250)
    assert core.end().stop == 250
    assert caller.call("status")["state"] == "ended"


def test_a_silent_digitizer_is_named_and_the_core_still_learns_of_it(serve, server, core):
    caller = serve(silent_after_s=0.3)
    status = status_with(caller, lambda s: s["state"] == "silent")
    assert status["silent_s"] > 0.3
    core.hello()
    server.produce(100)
    status = status_with(caller, lambda s: s["newest"] == 100)
    assert status["problem"] == ""


def test_a_digitizer_that_is_away_is_said_to_be(serve, core):
    caller = serve(resource="tcp://127.0.0.1:1")
    status = status_with(caller, lambda s: s["problem"] != "")
    assert status["state"] == "connecting"
    assert status["connected"] is False
    assert "cannot reach tcp://127.0.0.1:1" in status["problem"]


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([b"nonsense"], "expected stream-want or stream-ack, found 8 bytes"),
        ([b'{"schema":"stream-ack","version":9}'], "in version 1, found version 9"),
        ([b"a", b"b"], "expected 1 frames, found 2"),
    ],
)
def test_nonsense_from_the_core_stops_nothing_and_is_named(serve, server, core, frames, problem):
    server.produce(100)
    caller = serve()
    core.hello()
    assert sockets.offer(core.socket, core.peer, *frames)
    status = status_with(caller, lambda s: s["problem"] != "")
    assert problem in status["problem"]
    core.want(0)
    core.receive(100)


def test_the_state_is_published_to_who_comes_late(serve, server, runtime):
    server.produce(100)
    caller = serve()
    status_with(caller, lambda s: s["newest"] == 100)
    subscriber = sockets.subscribe(f"ipc://{runtime}/state")
    with contextlib.closing(subscriber):
        assert subscriber.poll(1000 * WAIT_S)
        topic, header = sockets.receive(subscriber, 2)
    state = codec.decode(header, State)
    assert (topic, state.service) == (b"digitizer.targets", "digitizer.targets")
    assert set(state.body) == {
        "connected", "resource", "rate_hz", "channels", "newest", "oldest", "buffered_s", "ahead_s",
        "lost_samples", "gaps", "silent_s", "problem",
    }  # fmt: skip


def test_an_unknown_verb_is_refused(serve, server):
    with pytest.raises(UsageError, match="expected one of the verbs ping, status, found 'dance'"):
        serve().call("dance")
