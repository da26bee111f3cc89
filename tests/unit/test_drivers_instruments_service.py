"""The instruments service: polls, obeys and delivers, whatever one of the instruments does."""

from __future__ import annotations

import contextlib
import queue
import threading
import time

import pytest

from daq.datatypes import Integer, Number
from daq.errors import (
    NoReplyError,
    NotConnectedError,
    OutOfRangeError,
    RefusedError,
    ServiceTimeoutError,
    UsageError,
)
from daq.services.service import Waker
from daq.wire import codec, sockets
from daq.wire.schemas import ErrorItem, Reply, Request, State
from drivers.instrument import Channel, Channels, Instrument
from drivers.parameter import Parameter, action
from drivers.services.delivery import Delivery
from drivers.services.instruments import Endpoints, Entry, InstrumentsService
from drivers.services.poller import MAX_JOBS, Poller
from drivers.transport import Line, SerialPort
from tests.line_server import Deed, LineServer

WAIT_S = 10.0


class Part(Channel):
    label = "part"

    size = Parameter("SIZE? {ch}", Integer(0, 9), "How big.", "SIZE {ch},{value}")


class Thing(Instrument):
    identity = r"THING"
    line = Line(
        send_end="\n",
        reply_end="\n",
        timeout_s=0.3,
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )

    parts = Channels(Part, (1,))
    heat = Parameter("HEAT?", Number(0, 2, "K"), "How hot.", "HEAT {value}")
    shadow = Parameter(None, Integer(), "Not to be asked.", "SHADOW {value}")
    age = Parameter("AGE?", Number(unit="s"), "How old.", slow=True)

    @action("Forget.")
    def forget(self) -> None:
        self.tell("FORGET")


class Device:
    """Holds what it is told; `deaf` makes it silent, and `asked` tells when somebody spoke."""

    def __init__(self) -> None:
        self.held = {"*IDN?": "THING", "HEAT?": "0.5", "AGE?": "3", "SIZE? 1": "4"}
        self.deaf = False
        self.asked = threading.Event()

    def __call__(self, line: str) -> bytes | Deed:
        self.asked.set()
        if self.deaf:
            return Deed.SILENCE
        command, _, value = line.partition(" ")
        if line in self.held:
            return f"{self.held[line]}\n".encode()
        if not line.endswith("?"):
            self.held[f"{command}?"] = value
        return Deed.SILENCE


@pytest.fixture
def devices():
    """Two devices behind two servers."""
    both = {name: Device() for name in ("good", "bad")}
    for device in both.values():
        device.server = LineServer(device)
    yield both
    for device in both.values():
        device.server.close()


@pytest.fixture
def service(runtime, devices, request):
    """The service with both, polling every 50 ms; what it returns are callers of its verbs."""
    stop, waker = threading.Event(), Waker()
    entries = {
        name: Entry(
            model="thing",
            resource=device.server.tcp,
            instrument=Thing(device.server.tcp),
            poll_s=0.05,
            slow_poll_s=60.0,
        )
        for name, device in devices.items()
    }
    service = InstrumentsService(
        entries,
        endpoints=Endpoints(
            readings=f"ipc://{runtime}/core.commands",
            state=f"ipc://{runtime}/state",
            commands=f"ipc://{runtime}/commands",
            lease=f"ipc://{runtime}/run.state",
        ),
        stop=stop,
        waker=waker,
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    callers = [sockets.Caller(f"ipc://{runtime}/commands", "instruments") for _ in range(2)]
    yield callers
    stop.set()
    waker.wake()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    for caller in callers:
        caller.close()
    waker.close()


@pytest.fixture
def core(runtime):
    """The core's `commands`, as far as readings can tell."""
    socket = sockets.serve_requests(f"ipc://{runtime}/core.commands")
    yield socket
    socket.close(0)


def status_with(caller, condition):
    """The first status for which `condition` holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition(status := caller.call("status")):
        assert time.monotonic() < deadline, status
    return status


def everything_read(status) -> bool:
    return len(status["readings"]) == 8


def request_at(core) -> tuple[bytes, Request]:
    assert core.poll(1000 * WAIT_S)
    peer, header = sockets.receive(core)
    return peer, codec.decode(header, Request)


def answer(core, peer: bytes, request: Request, **result) -> None:
    assert sockets.offer(core, peer, codec.encode(Reply(id=request.id, result=result)))


def test_every_parameter_is_read_and_says_where_it_comes_from(service):
    status = status_with(service[0], everything_read)
    heat = status["readings"]["good.heat"]
    assert (heat["value"], heat["unit"], heat["source"], heat["stale"]) == (0.5, "K", "read", False)
    assert status["readings"]["bad.part 1.size"]["value"] == 4
    shadow = status["readings"]["good.shadow"]
    assert (shadow["value"], shadow["source"]) == (None, "error")
    assert "was not written since" in shadow["text"]


def test_a_shadow_that_is_unknown_is_no_trouble(service):
    status = status_with(service[0], lambda s: s["instruments"]["good"]["state"] != "connecting")
    assert status["instruments"]["good"] == {"state": "ok", "problem": ""}


def test_a_write_answers_with_what_is_held_then_and_is_a_reading(service, devices):
    status_with(service[0], everything_read)
    answered = service[0].call("write", instrument="good", parameter="heat", value=1.5)
    assert (answered["value"], answered["unit"], answered["source"]) == (1.5, "K", "read")
    assert devices["good"].held["HEAT?"] == "1.5"
    status_with(service[0], lambda s: s["readings"]["good.heat"]["value"] == 1.5)


def test_a_read_answers_and_an_action_acts(service, devices):
    assert service[0].call("read", instrument="good", parameter="age")["value"] == 3.0
    assert service[0].call("act", instrument="good", action="forget") == {}
    service[0].call("read", instrument="good", parameter="age")  # answered after what came before
    assert devices["good"].held["FORGET?"] == ""


def test_what_there_is_is_listed(service):
    listed = service[0].call("list")["instruments"]["good"]
    assert listed["model"] == "thing"
    assert [p["name"] for p in listed["parameters"]] == ["heat", "shadow", "age", "part 1.size"]
    heat = listed["parameters"][0]
    assert (heat["writable"], heat["slow"], heat["title"]) == (True, False, "How hot.")
    assert (heat["datatype"]["unit"], heat["datatype"]["maximum"]) == ("K", 2.0)
    assert listed["actions"] == [{"name": "forget", "title": "Forget."}]


@pytest.mark.parametrize(
    ("verb", "arguments", "kind", "message"),
    [
        ("write", {"instrument": "good", "parameter": "heat", "value": 3}, OutOfRangeError,
         "3 K is outside 0 to 2 K"),
        ("write", {"instrument": "good", "parameter": "age", "value": 3}, UsageError,
         "age cannot be written"),
        ("write", {"instrument": "ugly", "parameter": "heat", "value": 1}, UsageError,
         "expected one of the instruments good, bad, found 'ugly'"),
        ("read", {"instrument": "good", "parameter": "cold"}, UsageError,
         "expected one of the parameters heat, shadow, age, part 1.size, found 'cold'"),
        ("act", {"instrument": "good", "action": "dance"}, UsageError,
         "expected one of the actions forget, found 'dance'"),
        ("write", {"instrument": "good"}, UsageError, "missing required field `parameter`"),
        ("read", {"instrument": 7, "parameter": "heat"}, UsageError, "Expected `str`, got `int`"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(service, verb, arguments, kind, message):
    with pytest.raises(kind, match=message):
        service[0].call(verb, WAIT_S, **arguments)


def test_an_instrument_that_hangs_delays_no_other(service, devices):
    status_with(service[0], everything_read)
    bad = devices["bad"]
    bad.deaf = True
    bad.asked.clear()
    assert bad.asked.wait(WAIT_S)  # from now on its thread waits
    waits = []
    for value in (0.1, 0.2, 0.3):
        began = time.monotonic()
        service[1].call("write", instrument="good", parameter="heat", value=value)
        waits.append(time.monotonic() - began)
    assert min(waits) < Thing.line.timeout_s / 3
    status = status_with(service[0], lambda s: s["instruments"]["bad"]["state"] == "trouble")
    assert "expected a reply within 0.3 s, found nothing" in status["instruments"]["bad"]["problem"]
    assert status["instruments"]["good"]["state"] == "ok"
    with pytest.raises((NoReplyError, NotConnectedError)):
        service[0].call("read", WAIT_S, instrument="bad", parameter="heat")
    bad.deaf = False
    status_with(service[0], lambda s: s["instruments"]["bad"]["state"] == "ok")


def test_readings_go_to_the_core_in_order_and_once(service, core):
    status_with(service[0], everything_read)
    peer, first = request_at(core)
    assert (first.verb, first.arguments["first"]) == ("readings", 0)
    rows = first.arguments["rows"]
    assert ["good", "heat", 0.5, "K", "read", ""] in [row[1:] for row in rows]
    answer(core, peer, first, taken=len(rows))
    _, second = request_at(core)
    assert second.arguments["first"] == len(rows)
    assert second.arguments["boot"] == first.arguments["boot"]


def test_readings_that_were_not_taken_come_again(service, core):
    status_with(service[0], everything_read)
    peer, first = request_at(core)
    refusal = Reply(id=first.id, error=ErrorItem("RefusedError", "no run is there"))
    assert sockets.offer(core, peer, codec.encode(refusal))
    peer, again = request_at(core)
    assert again.arguments["first"] == 0
    assert again.arguments["rows"][: len(first.arguments["rows"])] == first.arguments["rows"]
    problem = service[0].call("status")["problem"]
    assert problem == "the core did not take readings: no run is there"
    answer(core, peer, again, taken=len(again.arguments["rows"]))
    status_with(service[0], lambda s: s["problem"] == "")


def test_a_dead_instrument_is_one_row_per_parameter(service, core, devices):
    status_with(service[0], everything_read)
    devices["bad"].deaf = True
    status_with(service[0], lambda s: s["instruments"]["bad"]["state"] == "trouble")
    errors, seen = [], 0
    while seen < 50:
        peer, request = request_at(core)
        rows = request.arguments["rows"]
        seen += len(rows)
        errors += [row[2] for row in rows if row[1] == "bad" and row[5] == "error"]
        answer(core, peer, request, taken=request.arguments["first"] + len(rows))
    assert sorted(set(errors)) == sorted(errors)


def test_the_state_is_published(service, runtime):
    status_with(service[0], everything_read)
    deadline = time.monotonic() + WAIT_S
    with contextlib.closing(sockets.subscribe(f"ipc://{runtime}/state")) as subscriber:
        while True:
            assert subscriber.poll(1000 * WAIT_S)
            state = codec.decode(sockets.receive(subscriber, 2)[1], State)
            assert (state.service, state.state) == ("instruments", "running")
            if state.body["instruments"]["good"] == {"state": "ok", "problem": ""}:
                break
            assert time.monotonic() < deadline
    assert state.progress > 0


# --- its parts --------------------------------------------------------------------------------


def test_a_reading_is_stale_after_two_polls(runtime, devices):
    now_ns = [10**18]
    device = devices["good"].server.tcp
    stop, waker = threading.Event(), Waker()
    entry = Entry(
        model="thing", resource=device, instrument=Thing(device), poll_s=1.0, slow_poll_s=60.0
    )
    service = InstrumentsService(
        {"good": entry},
        endpoints=Endpoints(
            readings=f"ipc://{runtime}/c",
            state=f"ipc://{runtime}/s",
            commands=f"ipc://{runtime}/v",
            lease=f"ipc://{runtime}/r",
        ),
        stop=stop,
        waker=waker,
        now_ns=lambda: now_ns[0],
    )
    poller = service._pollers["good"]
    (heat,) = [b for b in poller.instrument.parameters() if b.name == "heat"]
    poller.take(heat, 0.5)
    stop.set()
    service._step()
    assert service.status()["readings"]["good.heat"]["stale"] is False
    now_ns[0] += 2_000_000_001
    assert service.status()["readings"]["good.heat"]["stale"] is True
    assert service.status()["instruments"]["good"]["state"] == "dead"  # its thread never began
    service._pollers = {}
    service._end()
    waker.close()


def test_too_many_requests_for_one_instrument_are_refused():
    poller = Poller(
        "slow", Thing("TCPIP::127.0.0.1::1::SOCKET"), lambda _: None, poll_s=1, slow_poll_s=1
    )
    for _ in range(MAX_JOBS):
        poller.submit(dict)
    with pytest.raises(RefusedError, match="slow is busy: 16 requests are waiting for it"):
        poller.submit(dict)


def test_a_request_that_waited_too_long_is_not_obeyed_late(devices):
    now, done = [0.0], []
    poller = Poller(
        "good",
        Thing(devices["good"].server.tcp),
        lambda _: None,
        poll_s=1000.0,
        slow_poll_s=1000.0,
        clock=lambda: now[0],
    )
    future = poller.submit(lambda: done.append(1) or {})
    now[0] = 5.1
    poller.start()
    with pytest.raises(ServiceTimeoutError, match="good was busy for 5 s"):
        future.result(WAIT_S)
    poller.stop()
    poller.join(WAIT_S)
    assert done == []


def test_settings_are_read_as_soon_as_an_instrument_is_back(devices):
    device, reports = devices["bad"], queue.SimpleQueue()
    device.deaf = True
    poller = Poller("bad", Thing(device.server.tcp), reports.put, poll_s=0.05, slow_poll_s=1000.0)
    poller.start()
    ages = []
    while not ages or ages[-1].source != "read":
        report = reports.get(timeout=WAIT_S)
        ages += [r for r in getattr(report, "readings", ()) if r.name == "age"]
        device.deaf = device.deaf and not ages
    poller.stop()
    poller.join(WAIT_S)
    assert ages[0].source == "error"
    assert ages[-1].value == 3.0


def test_a_mistake_in_a_job_is_told_and_the_polls_go_on(devices):
    poller = Poller(
        "good", Thing(devices["good"].server.tcp), lambda _: None, poll_s=1000.0, slow_poll_s=1000.0
    )
    poller.start()
    with pytest.raises(ZeroDivisionError):
        poller.submit(lambda: {"one": 1 / 0}).result(WAIT_S)
    assert poller.submit(dict).result(WAIT_S) == {}
    poller.stop()
    poller.join(WAIT_S)


def test_the_delivery_goes_on_where_the_core_says(core, runtime):
    delivery = Delivery(f"ipc://{runtime}/core.commands", "boot", time.monotonic)
    delivery.outbox.add([[number] for number in range(5)])
    deadline = time.monotonic() + WAIT_S
    while not core.poll(10):
        delivery.serve()
        assert time.monotonic() < deadline
    peer, request = request_at(core)
    assert sockets.offer(core, peer, b"nonsense")
    answer(core, peer, request, taken=3)
    while len(delivery.outbox) > 2:
        delivery.socket.poll(100)
        delivery.serve()
        assert time.monotonic() < deadline
    assert delivery.outbox.batch(9) == (3, [[3], [4]])
    assert request_at(core)[1].arguments == {"boot": "boot", "first": 3, "rows": [[3], [4]]}
    delivery.close()
