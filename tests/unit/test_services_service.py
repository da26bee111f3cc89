"""What every service is made of: verbs, states, wake-ups."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import msgspec
import pytest

from daq.errors import RefusedError, ScheeliteError, ServiceTimeoutError, UsageError
from daq.services.service import Beat, CommandServer, Nothing, Verb, Waker, stop_on_signals
from daq.wire import codec, sockets
from daq.wire.schemas import Reply, Request, State

WAIT_S = 10.0


class Add(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    a: int
    b: int = 0


def refuse(_: Nothing):
    raise RefusedError("not now")


class Serving:
    """A command server in a thread, with a verb of each kind."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.later: Future[dict[str, object]] = Future()
        self.server = CommandServer(
            endpoint,
            {
                "add": Verb(Add, lambda a: {"sum": a.a + a.b}),
                "refuse": Verb(Nothing, refuse),
                "break": Verb(Nothing, lambda _: {"one": 1 / 0}),
                "unspeakable": Verb(Nothing, lambda _: {"it": object()}),
                "later": Verb(Nothing, lambda _: self.later),
            },
        )
        self._stop, self._waker = threading.Event(), Waker()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wake(self) -> None:
        self._waker.wake()

    def close(self) -> None:
        self._stop.set()
        self.wake()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        self.server.close()
        self._waker.close()

    def _run(self) -> None:
        poller = sockets.poller(self.server.socket, self._waker)
        while not self._stop.is_set():
            poller.poll()
            self._waker.clear()
            self.server.serve()


@pytest.fixture
def serving(runtime):
    with contextlib.closing(Serving(f"ipc://{runtime}/commands")) as serving:
        yield serving


@pytest.fixture
def caller(serving):
    with sockets.calling(serving.endpoint, "test") as caller:
        yield caller


@pytest.fixture
def stranger(serving):
    """A peer that sends what it likes."""
    with contextlib.closing(sockets.join_requests(serving.endpoint)) as socket:
        deadline = time.monotonic() + WAIT_S
        while not sockets.offer(socket, codec.encode(Request(id=1, verb="add"))):
            assert time.monotonic() < deadline
        reply_at(socket)
        yield socket


def reply_at(socket) -> Reply:
    assert socket.poll(1000 * WAIT_S)
    return codec.decode(sockets.receive(socket, 1)[0], Reply)


def test_a_verb_answers(caller):
    assert caller.call("add", a=1, b=2) == {"sum": 3}


@pytest.mark.parametrize(
    ("verb", "arguments", "kind", "message"),
    [
        ("refuse", {}, RefusedError, "not now"),
        ("break", {}, ScheeliteError, "internal error, ZeroDivisionError: division by zero"),
        ("unspeakable", {}, ScheeliteError, "internal error, TypeError: Encoding objects"),
        ("dance", {}, UsageError, "expected one of the verbs add, refuse, .*, found 'dance'"),
        ("add", {}, UsageError, "add: Object missing required field `a`"),
        ("add", {"a": "1"}, UsageError, r"add: Expected `int`, got `str` - at `\$.a`"),
        ("add", {"a": 1, "c": 2}, UsageError, "add: Object contains unknown field `c`"),
        ("refuse", {"now": True}, UsageError, "unknown field `now`"),
    ],
)
def test_what_goes_wrong_is_answered_by_name(caller, verb, arguments, kind, message):
    with pytest.raises(kind, match=message):
        caller.call(verb, WAIT_S, **arguments)
    assert caller.call("add", a=1) == {"sum": 1}


def test_an_answer_that_takes_time_keeps_nobody_waiting(serving, caller):
    answered = []
    thread = threading.Thread(target=lambda: answered.append(caller.call("later", WAIT_S)))
    thread.start()
    with sockets.calling(serving.endpoint, "test") as other:
        assert other.call("add", a=2) == {"sum": 2}
        assert answered == []
        serving.later.set_result({"at": "last"})
        serving.wake()
        thread.join(WAIT_S)
    assert answered == [{"at": "last"}]


def test_a_failure_that_takes_time_is_answered_by_name(serving, caller):
    serving.later.set_exception(ServiceTimeoutError("too busy"))
    with pytest.raises(ServiceTimeoutError, match="too busy"):
        caller.call("later", WAIT_S)


@pytest.mark.parametrize("frames", [[b"nonsense"], [b""], [b"a", b"b"], [b"\xff\xfe"], [b"[]"]])
def test_what_is_no_request_is_counted_and_stops_nothing(serving, stranger, caller, frames):
    assert sockets.offer(stranger, *frames)
    deadline = time.monotonic() + WAIT_S
    while not serving.server.refused:
        assert time.monotonic() < deadline
        assert caller.call("add", a=1) == {"sum": 1}
    assert serving.server.refused == 1


def test_a_peer_of_another_version_is_told(serving, stranger):
    other = b'{"schema":"request","version":9,"id":1,"verb":"add"}'
    assert sockets.offer(stranger, other)
    error = reply_at(stranger).error
    assert error is not None
    assert (error.name, error.message) == (
        "VersionError",
        "expected request in version 1, found version 9",
    )


def test_a_state_is_due_when_it_changes_and_every_so_often(runtime):
    now = [0.0]
    beat = Beat(f"ipc://{runtime}/state", "test", every_s=0.5, clock=lambda: now[0])
    assert beat.due("fine")
    beat.publish("fine", progress=1, body={})
    assert not beat.due("fine")
    assert beat.due("ill")
    now[0] = 0.5
    assert beat.due("fine")
    beat.close()


def test_who_comes_late_gets_the_latest_state(runtime):
    beat = Beat(f"ipc://{runtime}/state", "test", now_ns=lambda: 77)
    beat.publish("fine", progress=1, body={"a": 1})
    beat.publish("fine", progress=2, body={"a": 2})
    with contextlib.closing(sockets.subscribe(f"ipc://{runtime}/state")) as subscriber:
        assert sockets.poller(beat.socket).poll(1000 * WAIT_S)
        beat.serve()
        assert subscriber.poll(1000 * WAIT_S)
        topic, header = sockets.receive(subscriber, 2)
    beat.close()
    state = codec.decode(header, State)
    assert (topic, state.progress, state.body) == (b"test", 2, {"a": 2})
    assert (state.pid, state.boot, state.t_ns) == (os.getpid(), beat.boot, 77)


def test_a_waker_wakes_from_another_thread_and_keeps_the_news_until_it_is_cleared():
    waker = Waker()
    poller = sockets.poller(waker)
    assert not poller.poll(0)
    thread = threading.Thread(target=waker.wake)
    thread.start()
    assert poller.poll(1000 * WAIT_S)
    thread.join()
    assert poller.poll(0)
    waker.clear()
    assert not poller.poll(0)
    waker.close()
    waker.wake()  # nobody is left, which is no error


def test_a_waker_can_be_woken_for_ever():
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.clear()
    assert not sockets.poller(waker).poll(0)
    waker.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops(number):
    stop, waker = threading.Event(), Waker()
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop_on_signals(stop, waker)
        with stop._cond:  # as within `wait`, in the thread that the signal interrupts
            signal.raise_signal(number)
        assert stop.wait(10.0)
        assert sockets.poller(waker).poll(10_000)
    finally:
        for n, was in before.items():
            signal.signal(n, was)
        waker.close()


STUBBORN = """
import sys, threading
from daq.services.service import Waker, stop_on_signals
stop_on_signals(threading.Event(), Waker(){again})
print("begun", flush=True)
for line in sys.stdin:
    print("alive", flush=True)
"""


def stubborn(again: str = "") -> subprocess.Popen[str]:
    """A service that never looks whether it is to end; it has taken one SIGTERM."""
    command = [sys.executable, "-c", STUBBORN.format(again=again)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    child.terminate()
    assert answers(child)
    return child


def answers(child: subprocess.Popen[str]) -> bool:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("?\n")
    return child.stdout.readline() == "alive\n"


def test_a_second_sigterm_ends_what_hangs():
    with stubborn() as child:
        child.terminate()
        assert child.wait(20) == -signal.SIGTERM


def test_the_supervisor_may_not_go_before_what_it_started():
    with stubborn(", lambda _: None") as child:
        child.terminate()
        assert answers(child)
        child.kill()
