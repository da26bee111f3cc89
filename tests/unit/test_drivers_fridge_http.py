"""The HTTP refrigerators against servers that play the JSON of public sources."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time

import pytest

from daq.errors import (
    InstrumentError,
    NoReplyError,
    NotConnectedError,
    OutOfRangeError,
    ReplyError,
    UsageError,
    WrongInstrumentError,
)
from drivers.fridge.bftc import Bftc
from drivers.fridge.bluefors_api import BlueforsApi
from drivers.fridge.fridge import view
from drivers.http import HttpLink, key_in
from drivers.parameter import AbsentError, NoValueError
from tests.http_server import HttpServer

MS = 1_631_106_116_076
MXC = "mapper.bf.temperatures.tmixing"
SETPOINT = "driver.bftc.data.heaters.heater_4.setpoint"


def sample(value, *, status="SYNCHRONIZED", date=MS, outdated=False):
    return {"value": value, "outdated": outdated, "date": date, "status": status}


class Software:
    """A control software: its values, what was posted, and how it misbehaves."""

    def __init__(self):
        self.values = {
            MXC: sample("0.0123"),
            "mapper.bf.flow": sample("1.23"),
            "mapper.bf.valves.v1": sample("1"),
            "mapper.bf.pumps.turbo1": sample("0"),
            "driver.maxigauge.pressures.p1": sample("2.5e-3"),
            "driver.bftc.data.channels.channel_6.temperature": sample("0.0124"),
            "driver.bftc.data.heaters.heater_4.active": sample("0", status="INDEPENDENT"),
            SETPOINT: sample("0.01"),
            "driver.unknown.thing": sample("7"),
        }
        self.valid, self.posted, self.queries, self.queued = {}, [], [], 0
        self.lists_write, self.override = True, None

    def __call__(self, method, path, query, body):
        self.queries.append(query)
        if self.override:
            return self.override(method, path, body)
        if path == "/system":
            return 200, {"data": {"system_name": "BF1", "api_version": "v2.2"}}
        if method == "POST":
            return self._post(body["data"])
        name = path.removeprefix("/values/").strip("/").replace("/", ".")
        names = self.values if not name else [name]
        return 200, {"data": {n: self._node(n) for n in [*names, *self._calls(name)]}}

    def _calls(self, name):
        return ["driver.bftc.write"] if self.lists_write and not name else []

    def _node(self, name):
        if name not in self.values:
            return {"name": name, "type": "Method", "content": {"parameters": []}}
        latest = dict(self.values[name])
        if latest["status"] == "QUEUED":
            self.queued -= 1
            if self.queued <= 0:
                self.values[name]["status"] = "SYNCHRONIZED"
        valid = self.valid.get(name, latest)
        return {"name": name, "content": {"latest_value": latest, "latest_valid_value": valid}}

    def _post(self, data):
        ((name, node),) = data.items()
        self.posted.append((name, node["content"]))
        if name in self.values:
            self.values[name] = sample(str(node["content"]["value"]), status="CHANGED")
        elif name == "driver.bftc.write":
            self.values[SETPOINT]["status"] = "QUEUED" if self.queued else "SYNCHRONIZED"
        return 200, {"data": {name: {"name": name, "content": {}}}}


@pytest.fixture
def software():
    return Software()


@pytest.fixture
def served():
    with contextlib.ExitStack() as stack:
        yield lambda *of: stack.enter_context(contextlib.closing(HttpServer(*of))).url


@pytest.fixture
def api(software, served):
    with contextlib.closing(BlueforsApi(served(software), stages={"plate": 6})) as api:
        api.pause = lambda _: None
        list(api.readings(lambda: 0))
        yield api


def named(fridge, name):
    (bound,) = [b for b in fridge.parameters() if b.name == name]
    return bound


def test_values_are_listed_and_those_we_know_are_read(api):
    seen = view(api.readings(lambda: 0), now_ns=MS * 10**6, good_for_s=1.0)
    assert {n: q.value for n, q in seen.temperature.items()} == {"mxc": 0.0123, "plate": 0.0124}
    mxc = seen.temperature["mxc"]
    assert (mxc.unit, mxc.t_ns, mxc.stale) == ("K", MS * 10**6, False)
    assert (seen.valve["v1"].value, seen.pump["turbo1"].value) == (True, False)
    assert (seen.pressure["p1"].value, seen.pressure["p1"].unit) == (0.0025, "mbar")
    assert seen.flow["circulation"].value == 1.23
    assert seen.status["system"].value == "BF1"


@pytest.mark.parametrize(
    ("latest", "valid", "value", "stale"),
    [
        (sample("0.02"), None, 0.02, ""),
        (sample("0.02", outdated=True), None, 0.02, "the control software calls it outdated"),
        (sample("0.02", status="QUEUED"), None, 0.02, "not yet at the device: it is QUEUED"),
        (sample("", status="DISCONNECTED"), sample("0.03", date=MS - 9), 0.03,
         "an earlier value: it is DISCONNECTED now"),
        (sample("0.02", status="INVALID"), sample("0.03", date=MS - 9), 0.03,
         "an earlier value: it is INVALID now"),
        (sample("outdated"), sample("0.03", date=MS - 9), 0.03,
         "an earlier value: it is SYNCHRONIZED now"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_of_now_says_so(api, software, latest, valid, value, stale):
    software.values[MXC] = latest
    if valid:
        software.valid[MXC] = valid
    held = named(api, "temperature.mxc").read()
    assert (held.value, held.stale) == (value, stale)
    assert held.t_ns == (valid or latest)["date"] * 10**6


def test_no_valid_value_at_all_is_a_gap(api, software):
    software.values[MXC] = sample("", status="DISCONNECTED")
    software.valid[MXC] = sample("")
    with pytest.raises(NoValueError, match="there is no valid value: it is DISCONNECTED"):
        named(api, "temperature.mxc").read()


@pytest.mark.parametrize("lists_write", [True, False])
def test_a_write_is_two_posts_and_waits_until_it_is_taken(api, software, lists_write):
    software.lists_write, software.queued = lists_write, 3
    held = named(api, "control.heater_4.setpoint").write(0.025)
    assert (held.value, held.stale) == (0.025, "")
    assert software.posted == [(SETPOINT, {"value": "0.025"}), ("driver.bftc.write", {"call": 1})]


def test_a_write_that_stays_queued_is_an_error(software, served):
    software.queued, ticks = 10**6, iter(range(10**6))
    fridge = BlueforsApi(served(software), clock=lambda: float(next(ticks)))
    with contextlib.closing(fridge) as api:
        api.pause = lambda _: None
        list(api.readings(lambda: 0))
        with pytest.raises(NoReplyError, match="within 5 s, found it QUEUED"):
            named(api, "control.heater_4.setpoint").write(0.025)


def test_what_is_out_of_range_is_refused_before_a_byte_is_sent(api, software):
    with pytest.raises(OutOfRangeError, match="301 K is outside 0 to 300 K"):
        named(api, "control.heater_4.setpoint").write(301)
    with pytest.raises(UsageError, match=r"valve.v1 cannot be written"):
        named(api, "valve.v1").write(False)
    assert software.posted == []


def test_the_key_is_sent_and_never_shown(software, served, tmp_path):
    path = tmp_path / "key"
    path.write_text("0352ebaa-6de5\n")
    with contextlib.closing(BlueforsApi(served(software), key_file=str(path))) as api:
        list(api.readings(lambda: 0))
        assert all(query["key"] == ["0352ebaa-6de5"] for query in software.queries)
        software.override = lambda *_: (403, {"status": "ERROR"})
        with pytest.raises(InstrumentError, match="refused the key") as refused:
            named(api, "temperature.mxc").read()
    assert "0352ebaa" not in str(refused.value)


def test_a_refusal_is_told_in_its_own_words(api, software):
    error = {"name": "Parameter error", "description": "no such parameter", "code": 1001}
    software.override = lambda *_: (200, {"status": "ERROR", "error": error})
    with pytest.raises(InstrumentError, match=r"refused .*: no such parameter"):
        named(api, "temperature.mxc").read()


def test_a_value_that_is_no_more_is_absent(api):
    api._paths = frozenset()
    with pytest.raises(AbsentError, match=f"the control software has no {MXC}"):
        named(api, "temperature.mxc").read()


@pytest.mark.parametrize(
    "content",
    [b"<html>", b'{"data": 7}', {"data": {MXC: {"name": MXC}}}, [1],
     {"data": {MXC: {"content": {"latest_value": {"value": "1"}}}}},
     {"data": {MXC: {"content": {"latest_value": sample("cold")}}}},
     {"data": {MXC: {"content": {"latest_value": sample("1", date=-1)}}}}],
)  # fmt: skip
def test_replies_that_make_no_sense_are_refused(api, software, content):
    mxc = named(api, "temperature.mxc")
    software.override = lambda *_: (200, content)
    with pytest.raises((ReplyError, WrongInstrumentError), match="expected"):
        mxc.read()


def test_another_server_is_named(served):
    url = served(lambda *_: (200, {"data": {"hello": "world"}}))
    wrong = contextlib.closing(BlueforsApi(url))
    with wrong as api, pytest.raises(WrongInstrumentError, match="control software of Bluefors"):
        named(api, "status.system").read()


# --- the transport -------------------------------------------------------------------------------


def test_a_certificate_of_its_own_must_be_allowed(software, served, tmp_path):
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=fridge", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    url = served(software, (certificate, key))
    refusing = contextlib.closing(BlueforsApi(url))
    with refusing as api, pytest.raises(NotConnectedError, match="self_signed = true"):
        named(api, "status.system").read()
    with contextlib.closing(BlueforsApi(url, self_signed=True)) as api:
        assert named(api, "status.system").read() == "BF1"


def test_a_server_that_does_not_answer_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = HttpLink(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.1)
        link.open()
        with pytest.raises(NoReplyError, match=r"expected a reply within 0.1 s, found nothing"):
            link.get("/system")
    assert not link.is_open


def test_a_server_that_is_not_there_is_not_connected(served, software):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    link = HttpLink(f"http://127.0.0.1:{port}")
    with pytest.raises(NotConnectedError, match="is closed"):
        link.get("/system")
    link.open()
    with pytest.raises(NotConnectedError, match=r"cannot reach http://.*: Connection ref"):
        link.get("/system")


def test_what_has_no_body_cannot_be_told():
    with pytest.raises(UsageError, match="expected a body"):
        HttpLink("http://127.0.0.1:1").tell("/values/")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, "cannot read the key in"), ("two keys", "expected one key"), ("", "expected one key")],
)
def test_a_key_that_is_none_is_refused(tmp_path, text, sentence):
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        key_in(str(path))


# --- the temperature controller ------------------------------------------------------------------


class Box:
    """A BFTC: channels are measured in turn, one with every look."""

    def __init__(self):
        self.channels = {1: 47.0, 2: 3.6, 5: 0.7, 6: 0.0123}
        self.heaters = {
            n: {"heater_nr": n, "active": False, "power": 0.0, "max_power": 0.1, "setpoint": 0.0,
                "pid_mode": 0, "relay_mode": 1, "relay_status": 1}
            for n in (1, 4)
        }  # fmt: skip
        self.history = {"timestamp": [1_542_117_983.719, 1_542_117_984.0], "power": [1e-6, 2e-6]}
        self.past = {}
        self.looks, self.asked, self.only, self.refuse = 0, [], None, ""

    def __call__(self, method, path, query, body):
        self.asked.append((path, body))
        if path == self.refuse:
            return 200, {"status": "ERROR", "datetime": "x", "error": "nothing here"}
        return 200, {
            "status": "OK",
            "datetime": "2024-01-31T13:04:43.060313Z",
            **self._of(path, body),
        }

    def _of(self, path, body):
        if path == "/channel/measurement/latest":
            self.looks += 1
            number = self.only or list(self.channels)[self.looks % len(self.channels)]
            return {"channel_nr": number, "temperature": self.channels[number],
                    "resistance": 1e4 + number, "timestamp": 1_700_000_000.5,
                    "status_flags": [] if number != 2 else [3, 17]}  # fmt: skip
        if path == "/heaters":
            return {"data": list(self.heaters.values())}
        if path == "/heater/update":
            self.heaters[body["heater_nr"]].update(body)
        if path == "/channel/historical-data":
            return {"measurements": self.past.get(body["channel_nr"], {}), "over_limit": False}
        if path == "/heater/historical-data":
            return {"measurements": self.history, "over_limit": False}
        return {}


@pytest.fixture
def box():
    return Box()


@pytest.fixture
def bftc(box, served):
    with contextlib.closing(Bftc(served(box), now=lambda: 1_700_000_001.0)) as bftc:
        yield bftc


def test_each_channel_waits_for_its_turn(bftc, box):
    seen = view(bftc.readings(lambda: 0), now_ns=1_700_000_001 * 10**9, good_for_s=5.0)
    kelvin = {name: q.value for name, q in seen.temperature.items()}
    assert kelvin == {"50k": 47.0, "4k": 3.6, "still": 0.7, "mxc": 0.0123}
    assert seen.temperature["mxc"].t_ns == 1_700_000_000_500_000_000
    assert seen.resistance["mxc"].value == 10_006
    assert {name: q.value for name, q in seen.alarm.items()} == {
        "50k": "none", "4k": "3 17", "still": "none", "mxc": "none",
        "heater_1": False, "heater_4": False,
    }  # fmt: skip
    assert "heater_2" not in seen.heater


def test_a_temperature_that_is_null_is_a_gap(bftc, box):
    box.channels[6] = None
    with pytest.raises(NoValueError, match="no temperature was measured; the flags are"):
        named(bftc, "temperature.mxc").read()


def test_a_channel_that_is_not_measured_is_waited_for_once(box, served):
    box.only, waits = 5, []
    with contextlib.closing(Bftc(served(box))) as bftc:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(NoValueError, match="channel 6 was not measured since we connected"):
                named(bftc, "temperature.mxc").read()
            waits.append(time.monotonic() - began)
        assert waits[0] > 0.9
        assert waits[1] < 0.5
        box.only = 6
        assert named(bftc, "temperature.mxc").read().value == 0.0123


def test_what_was_measured_before_we_came_is_recalled(bftc, box):
    box.only = 5
    box.past[6] = {"timestamp": [1.5, 2.5], "temperature": [0.02, 0.03], "resistance": [1.0]}
    held = named(bftc, "temperature.mxc").read()
    assert (held.value, held.t_ns) == (0.03, 2_500_000_000)
    with pytest.raises(NoValueError, match="no resistance was measured"):
        named(bftc, "resistance.mxc").read()
    box.past[6] = {"timestamp": [1_699_999_999.0], "temperature": [0.04]}
    assert named(bftc, "temperature.mxc").read().value == 0.04  # it was old news
    box.only = 6
    assert named(bftc, "temperature.mxc").read().value == 0.0123


def test_heaters_are_told_and_read_back(bftc, box):
    assert named(bftc, "heater.heater_4").write(2e-6).value == 2e-6
    assert named(bftc, "heater.heater_4.active").write(True) is True
    assert named(bftc, "control.heater_4.setpoint").write(0.02) == 0.02
    told = [body for path, body in box.asked if path == "/heater/update"]
    assert told == [
        {"heater_nr": 4, "power": 2e-6},
        {"heater_nr": 4, "active": True},
        {"heater_nr": 4, "setpoint": 0.02},
    ]


def test_the_power_of_a_heater_that_is_controlled_is_in_its_history(bftc, box):
    box.heaters[4].update(pid_mode=1, power=0.0)
    held = named(bftc, "heater.heater_4").read()
    assert (held.value, held.t_ns) == (2e-6, 1_542_117_984 * 10**9)
    (asked,) = [body for path, body in box.asked if path == "/heater/historical-data"]
    assert asked["heater_nr"] == 4
    assert (asked["start_time"], asked["stop_time"]) == (
        "2024-01-31T13:03:44Z", "2024-01-31T13:04:44Z",
    )  # fmt: skip
    box.history = {"timestamp": [], "power": []}
    with pytest.raises(NoValueError, match="has no history of its power"):
        named(bftc, "heater.heater_4").read()
    box.history = {"timestamp": [1.0], "power": []}
    with pytest.raises(ReplyError, match="expected as many powers as times"):
        named(bftc, "heater.heater_4").read()


def test_a_relay_that_keeps_a_heater_from_heating_is_an_alarm(bftc, box):
    box.heaters[4].update(active=True, relay_status=0)
    assert named(bftc, "alarm.heater_4").read() is True


def test_the_box_refuses_in_its_own_words(bftc, box):
    named(bftc, "temperature.mxc").read()
    box.refuse = "/heater/update"
    with pytest.raises(InstrumentError, match=r"the box refused /heater/update: .*nothing here"):
        named(bftc, "heater.heater_4").write(1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("heater.heater_4", 1.1), ("control.heater_4.setpoint", -1)]
)
def test_the_box_is_told_nothing_out_of_range(bftc, box, name, value):
    with pytest.raises(OutOfRangeError, match="is outside 0 to"):
        named(bftc, name).write(value)
    assert all(path != "/heater/update" for path, _ in box.asked)


def test_another_server_is_no_bftc(served):
    wrong = contextlib.closing(Bftc(served(lambda *_: (200, {"hello": "world"}))))
    with (
        wrong as bftc,
        pytest.raises(WrongInstrumentError, match="expected a Bluefors temperature"),
    ):
        named(bftc, "heater.heater_1").read()


def test_a_channel_that_there_is_not_is_refused():
    with pytest.raises(OutOfRangeError, match="stage mxc: 13 is outside 1 to 12"):
        Bftc("http://127.0.0.1:1", stages={"mxc": 13})


def test_two_threads_share_one_connection(bftc):
    failures = []

    def read():
        try:
            for _ in range(20):
                assert named(bftc, "temperature.mxc").read().value == 0.0123
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
