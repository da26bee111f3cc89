"""The fridge view, and values that bring their own time through the instruments service."""

from __future__ import annotations

import threading

import pytest
from pydantic import ValidationError

from daq.datatypes import Number
from daq.errors import NotConnectedError
from daq.services.service import Waker
from drivers.fridge.fridge import Fridge, Row, view
from drivers.parameter import AbsentError, Dated, NoValueError, Reading
from drivers.services.instruments import Endpoints, Entry, InstrumentsService
from drivers.settings import Instrument

S = 10**9
RESOURCE = "TCPIP::127.0.0.1::1::SOCKET"


def reading(name, value=1.0, t_s=100, **more):
    return Reading(name, value, "K", "read", t_s * S, **more)


def test_the_view_is_made_from_names_alone():
    seen = view(
        [reading("temperature.mxc", 0.01), reading("valve.v9", True), reading("setpoint", 3.0)],
        now_ns=100 * S,
        good_for_s=2.0,
    )
    assert seen.temperature["mxc"].value == 0.01
    assert (seen.temperature["mxc"].unit, seen.temperature["mxc"].source) == ("K", "read")
    assert seen.valve["v9"].value is True


def test_what_a_fridge_does_not_have_is_absent_not_zero():
    seen = view([reading("temperature.mxc")], now_ns=100 * S, good_for_s=2.0)
    assert "still" not in seen.temperature
    assert dict(seen.pressure) == {}


@pytest.mark.parametrize(
    ("found", "stale"),
    [
        (reading("flow.circulation", t_s=99), False),
        (reading("flow.circulation", t_s=97), True),
        (reading("flow.circulation", t_s=103), True),  # a clock that is ahead
        (reading("flow.circulation", stale=True), True),
    ],
)
def test_old_values_are_marked_stale(found, stale):
    seen = view([found], now_ns=100 * S, good_for_s=2.0)
    assert seen.flow["circulation"].stale is stale


def test_of_two_instruments_with_one_name_the_first_counts():
    both = [reading("pressure.p1", 1.0), reading("pressure.p1", 2.0), reading("pressure.p2", 3.0)]
    seen = view(both, now_ns=100 * S, good_for_s=2.0)
    assert {name: q.value for name, q in seen.pressure.items()} == {"p1": 1.0, "p2": 3.0}


class Held(Number):
    """Plain numbers here; "old" is dated, others fail as they say."""

    def parse(self, text):
        if text == "old":
            return Dated(0.5, 90 * S, "an earlier value")
        if text == "gone":
            raise AbsentError("it has no such thing")
        if text == "gap":
            raise NoValueError("no value now")
        return Number.parse(self, text)


class Small(Fridge):
    """A refrigerator whose answers are its questions."""

    identity = ""

    def __init__(self, resource, **options):
        super().__init__(resource, wire=Echo(), **options)

    def _check_identity(self):
        pass

    def rows(self):
        names = ("old", "gone", "gap", "1.5", "dead")
        return [
            Row(kind="temperature", name=n, ask=n, datatype=Held(unit="K"), title=n) for n in names
        ]


class Echo:
    """A wire that answers with the question."""

    resource, is_open, lock = RESOURCE, True, threading.RLock()

    def is_in_step(self):
        return True

    def open(self):
        pass

    def close(self):
        pass

    def ask(self, text):
        if text == "dead":
            raise NotConnectedError("it is dead")
        return text


def test_a_fridge_is_read_with_what_it_lacks_left_out():
    found = {r.name: r for r in Small(RESOURCE).readings(lambda: 100 * S)}
    assert list(found) == [f"temperature.{n}" for n in ("old", "gap", "1.5", "dead")]
    old = found["temperature.old"]
    assert (old.value, old.t_ns, old.stale, old.text) == (0.5, 90 * S, True, "an earlier value")
    assert (found["temperature.gap"].source, found["temperature.gap"].value) == ("error", None)
    assert found["temperature.1.5"].t_ns == 100 * S


def test_the_service_keeps_an_instruments_own_times_and_delivers_each_once(runtime):
    now_ns = [100 * S]
    stop, waker = threading.Event(), Waker()
    entry = Entry(
        model="small", resource=RESOURCE, instrument=Small(RESOURCE), poll_s=1.0, slow_poll_s=60.0
    )
    service = InstrumentsService(
        {"fridge": entry},
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
    poller = service._pollers["fridge"]
    for _ in range(2):
        poller._poll()
        service._step()
        now_ns[0] += S
    shown = service.status()["readings"]
    assert "fridge.temperature.gone" not in shown
    old = shown["fridge.temperature.old"]
    assert (old["t_ns"], old["stale"], old["text"]) == (90 * S, True, "an earlier value")
    assert shown["fridge.temperature.1.5"]["stale"] is False
    rows = [row[2] for row in service._delivery.outbox.batch(99)[1]]
    assert rows.count("temperature.old") == 1
    assert rows.count("temperature.1.5") == 2
    service._pollers = {}
    service._end()
    waker.close()


# --- what the config takes ----------------------------------------------------------------------

KINDS = {
    "triton": "TCPIP::10.0.0.1::33576::SOCKET",
    "bluefors-logs": "/fridge/logs",
    "bluefors-api": "https://10.0.0.1:49098",
    "bftc": "http://10.0.0.1:5001",
    "leiden-bridge": "TCPIP::10.0.0.1::5611::SOCKET",
    "leiden-ghs": "ASRL/dev/ttyUSB0::INSTR",
    "leiden-avs": "TCPIP::10.0.0.1::1234::SOCKET",
    "janis": "TCPIP::10.0.0.1::7777::SOCKET",
}
REFUSED = {
    "triton": ("http://10.0.0.1:33576", "expected a resource like TCPIP::"),
    "bluefors-logs": ("logs", "expected the absolute path of a folder of logs, found 'logs'"),
    "bluefors-api": ("10.0.0.1", "expected http://HOST:PORT or https://HOST:PORT, found '10.0.0.1"),
    "bftc": ("TCPIP::10.0.0.1::5001::SOCKET", "expected http://HOST:PORT or https://HOST:PORT"),
    "leiden-bridge": ("ASRL/dev/ttyUSB0::INSTR", "expected a resource like TCPIP::"),
    "leiden-ghs": ("/dev/ttyUSB0", "expected a resource like TCPIP::"),
    "leiden-avs": ("GPIB0::21::INSTR", "expected a resource like TCPIP::"),
    "janis": ("/logs", "expected a resource like TCPIP::"),
}


@pytest.mark.parametrize("model", KINDS)
def test_each_model_takes_its_own_kind_of_resource_and_refuses_others(model):
    assert Instrument(model=model, resource=KINDS[model]).resource == KINDS[model]
    resource, sentence = REFUSED[model]
    with pytest.raises(ValidationError) as refused:
        Instrument(model=model, resource=resource)
    assert sentence in str(refused.value)


def test_settings_that_a_model_does_not_take_are_refused():
    given = Instrument(model="triton", resource=KINDS["triton"], stages={"4k": "T2"})
    assert given.extras == {"stages": {"4k": "T2"}}
    with pytest.raises(ValidationError, match="expected no zone, which triton does not take"):
        Instrument(model="triton", resource=KINDS["triton"], zone="Europe/Vienna")
