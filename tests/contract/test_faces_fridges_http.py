"""The simulated Bluefors refrigerators over HTTP, against what their clients expect."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sim_hardware.face import Face
from sim_hardware.faces.bftc import Bftc
from sim_hardware.faces.bluefors_api import BlueforsApi
from sim_hardware.http import Request, self_signed
from sim_hardware.serve import HOST, Loop, listen
from sim_hardware.settings import BenchError
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.controller import TemperatureController
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling

T0 = 1_782_864_000  # 2026-07-01T00:00:00Z
DEADLINE_S = 20.0
CALENDAR = Calendar(T0 * 10**9)
TEMPERATURE_6 = "driver.bftc.data.channels.channel_6.temperature"
SETPOINT_4 = "driver.bftc.data.heaters.heater_4.setpoint"


class Bench:
    """A controller box and the software beside it, on one cryostat."""

    def __init__(self, key: str | None = None, null_share: float = 0.0) -> None:
        self.cryostat = Cryostat(1)
        self.controller = TemperatureController(self.cryostat)
        self.box = Bftc(self.controller, CALENDAR, null_share=null_share)
        self.api = BlueforsApi(self.controller, GasHandling(self.cryostat), CALENDAR, key=key)

    def ask(self, endpoint: str, now_s: float, **asked: object) -> dict[str, Any]:
        """What the box replies."""
        body = json.dumps(asked).encode() if asked else b""
        reply = self.box.respond(Request("POST", f"/{endpoint}", {}, body), now_s)
        return dict(json.loads(json.dumps(reply.content)))

    def get(self, path: str, now_s: float, **query: str) -> Any:
        """What the software replies to a GET."""
        reply = self.api.respond(Request("GET", path, query, b""), now_s)
        return json.loads(json.dumps(reply.content))

    def post(self, now_s: float, **contents: object) -> Any:
        """What the software replies to a POST; names have / for dots."""
        data = {path.replace("/", "."): {"content": content} for path, content in contents.items()}
        body = json.dumps({"data": data}).encode()
        reply = self.api.respond(Request("POST", "/values/", {}, body), now_s)
        return json.loads(json.dumps(reply.content))

    def latest(self, path: str, now_s: float) -> dict[str, Any]:
        entry = self.get("/values/" + path.replace(".", "/"), now_s)["data"][path]
        assert entry["name"] == path
        return dict(entry["content"]["latest_value"])


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    assert made.box.complaints == made.api.complaints == []


# --- the controller box


def test_every_reply_is_ok_and_has_a_date(bench: Bench) -> None:
    reply = bench.ask("system", 1.25)
    assert reply["status"] == "OK"
    assert reply["datetime"] == "2026-07-01T00:00:01.250000Z"


def test_the_latest_measurement_is_of_one_channel_after_another(bench: Bench) -> None:
    found = [bench.ask("channel/measurement/latest", 3.0 + 7 * n)["channel_nr"] for n in range(8)]
    first = found.index(1)
    assert found[first : first + 4] == [1, 2, 5, 6]
    assert found[:4] == found[4:]


def test_a_measurement_is_of_the_time_when_it_ended(bench: Bench) -> None:
    one = bench.ask("channel/measurement/latest", 100.0)
    another = bench.ask("channel/measurement/latest", 100.5)
    assert one["temperature"] == another["temperature"]
    measured_s = one["timestamp"] - T0
    assert 93.0 < measured_s <= 100.0
    stage = {1: "50K", 2: "4K", 5: "still", 6: "mixing"}[one["channel_nr"]]
    assert one["temperature"] == pytest.approx(bench.cryostat.temperature_k(stage, measured_s))


def test_one_channel_can_be_measured_alone_and_later_all_again(bench: Bench) -> None:
    for number in (1, 2, 5):
        bench.ask("channel/update", 10.0, channel_nr=number, active=False)
    found = {bench.ask("channel/measurement/latest", t)["channel_nr"] for t in (17.0, 30.0, 50.0)}
    assert found == {6}
    bench.ask("statemachine/update", 60.0, wait_time=1, meas_time=5)
    assert bench.ask("statemachine", 60.0)["meas_time"] == 5.0
    bench.ask("channel/update", 60.0, channel_nr=1, active=True)
    channels = [bench.ask("channel/measurement/latest", t)["channel_nr"] for t in (66.0, 72.0)]
    assert channels == [1, 6]
    assert bench.ask("channel", 72.0, channel_nr=2)["active"] is False


def test_a_channel_without_a_thermometer_has_no_temperature(bench: Bench) -> None:
    for number in (1, 2, 5, 6):
        bench.ask("channel/update", 0.0, channel_nr=number, active=number == 6)
    bench.ask("channel/update", 0.0, channel_nr=3, active=True)
    latest = bench.ask("channel/measurement/latest", 7.0)
    assert latest["channel_nr"] == 3
    assert latest["temperature"] is None
    assert latest["status_flags"]


def test_a_share_of_the_temperatures_is_null() -> None:
    bench = Bench(null_share=0.2)
    found = [bench.ask("channel/measurement/latest", 7.0 * n)["temperature"] for n in range(1, 201)]
    assert 20 <= found.count(None) <= 60  # 40 expected, 3.5 sigma is 20


def test_history_has_what_was_measured_between_two_dates(bench: Bench) -> None:
    for start, stop in [("2026-07-01T00:00:00Z", "2026-07-01T00:01:52Z"),
                        ("2026-07-01 00:00:00", "2026-07-01 00:01:52")]:  # fmt: skip
        reply = bench.ask("channel/historical-data", 200.0, channel_nr=6, start_time=start,
                          stop_time=stop, fields=["temperature"])  # fmt: skip
        stamps = reply["measurements"]["timestamp"]
        assert len(stamps) == len(reply["measurements"]["temperature"]) == 4
        assert all(0 < stamp - T0 <= 112 for stamp in stamps)
        assert {round(b - a) for a, b in pairwise(stamps)} == {28}
        assert reply["over_limit"] is False


def test_a_long_history_is_cut_and_says_so(bench: Bench) -> None:
    reply = bench.ask("channel/historical-data", 0.0, channel_nr=6, fields=["temperature"],
                      start_time="2026-06-30T00:00:00Z", stop_time="2026-07-01T00:00:00Z",
                      )  # fmt: skip
    assert reply["over_limit"] is True
    assert len(reply["measurements"]["temperature"]) == 1000


def heater(bench: Bench, now_s: float, **settings: object) -> dict[str, Any]:
    return bench.ask("heater/update", now_s, heater_nr=4, **settings)


def powers(bench: Bench, now_s: float) -> list[float]:
    start, stop = CALENDAR.utc(0.0) - timedelta(seconds=1), CALENDAR.utc(now_s)
    reply = bench.ask("heater/historical-data", now_s, heater_nr=4, fields=["power"],
                      start_time=start.isoformat(), stop_time=stop.isoformat())  # fmt: skip
    return list(reply["measurements"]["power"])


def test_a_heater_that_regulates_shows_its_power_in_its_history_alone(bench: Bench) -> None:
    settings = {"proportional": 0.02, "integral": 80}
    heater(bench, 100.0, active=True, pid_mode=1, setpoint=0.02,
           control_algorithm_settings=settings)  # fmt: skip
    shown = bench.ask("heater", 200.0, heater_nr=4)
    assert (shown["power"], shown["pid_mode"], shown["setpoint"]) == (0.0, 1, 0.02)
    assert shown["control_algorithm_settings"]["proportional"] == 0.02
    assert bench.cryostat.true_k("mixing", 600.0) == pytest.approx(0.02, abs=3e-5)
    found = powers(bench, 200.0)
    assert len(found) == 21  # every 5 s since it is on
    assert found[-1] == pytest.approx(13.81e-6, rel=0.01)


def test_a_heater_that_is_off_has_no_history(bench: Bench) -> None:
    heater(bench, 10.0, active=True, power=1e-6)
    heater(bench, 20.0, active=False)
    assert powers(bench, 100.0) == pytest.approx([1e-6, 1e-6])
    assert bench.ask("heaters", 100.0)["data"][3]["power"] == 1e-6
    assert bench.cryostat.heater_w(100.0) == 0.0


def test_a_manual_power_is_cut_at_its_maximum_and_the_still_has_a_heater(bench: Bench) -> None:
    bench.ask("heater/update", 0.0, heater_nr=3, active=True, max_power=2e-3, power=5e-3)
    assert bench.ask("heater", 0.0, heater_nr=3)["power"] == 2e-3
    assert bench.cryostat.true_k("still", 2400.0) == pytest.approx(0.747, abs=4e-3)
    assert bench.ask("channel/heater/update", 0.0, channel_nr=6, heater_nr=2)["status"] == "OK"
    assert bench.ask("channel", 0.0, channel_nr=6)["coupled_heater_nr"] == 2
    assert len(bench.ask("channels", 0.0)["data"]) == 12


@pytest.mark.parametrize(
    ("endpoint", "asked", "said"),
    [
        ("nothing", {}, "expected an endpoint, found /nothing"),
        ("heater", {}, "expected heater_nr from 1 to 4, found None"),
        ("heater/update", {"heater_nr": 4, "power": -1}, "expected a number from 0 to 1, found -1"),
        ("heater/update", {"heater_nr": 4, "active": "yes"}, "true or false, found 'yes'"),
        ("heater/update", {"heater_nr": 4, "colour": 1}, "a setting of a heater, found 'colour'"),
        ("heater/update", {"heater_nr": 4, "control_algorithm_settings": 1}, "by name, found 1"),
        ("channel", {"channel_nr": 13}, "expected channel_nr from 1 to 12, found 13"),
        ("channel/update", {"channel_nr": 1}, "expected active true or false, found None"),
        ("statemachine/update", {"meas_time": 4}, "expected meas_time from 5 to 100, found 4"),
        ("channel/historical-data", {"channel_nr": 1}, "expected start_time as YYYY"),
        ("channel/historical-data", {"channel_nr": 1, "start_time": "2026-07-01T00:00:00Z",
         "stop_time": "2026-07-01T00:01:00Z", "fields": ["colour"]}, "found ['colour']"),
        ("channel/historical-data", {"channel_nr": 1, "start_time": "2026-07-01T00:00:00Z",
         "stop_time": "2026-07-01T00:01:00Z", "fields": "x"}, "fields as a list, found 'x'"),
    ],
)  # fmt: skip
def test_what_the_box_refuses(endpoint: str, asked: dict[str, object], said: str) -> None:
    bench = Bench()
    reply = bench.ask(endpoint, 100.0, **asked)
    assert reply["status"] == "ERROR"
    assert said in reply["error"]
    assert len(bench.box.complaints) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    box = Bench().box
    content = box.respond(Request("POST", "/heater", {}, body), 0.0).content
    assert isinstance(content, dict)
    assert content["status"] == "ERROR"


# --- the control software


def test_values_are_text_with_a_date_and_a_status(bench: Bench) -> None:
    latest = bench.latest(TEMPERATURE_6, 100.0)
    assert isinstance(latest["value"], str)
    assert float(latest["value"]) == pytest.approx(0.008, abs=5e-5)
    assert (latest["outdated"], latest["status"]) == (False, "INDEPENDENT")
    assert 60_000 < latest["date"] - T0 * 1000 <= 100_000


def test_all_values_or_those_below_a_path_can_be_had(bench: Bench) -> None:
    everything = bench.get("/values/", 0.0)["data"]
    assert {TEMPERATURE_6, SETPOINT_4, "driver.vc.flow"} < set(everything)
    pressures = bench.get("/values/driver/maxigauge/pressures/", 0.0)["data"]
    assert len(pressures) == 6
    assert bench.get("/system", 0.0)["data"]["api_version"] == "v2.2"
    value = bench.latest("driver.maxigauge.pressures.p5", 0.0)["value"]
    assert float(value) == pytest.approx(3.7)


def test_a_channel_that_is_no_longer_measured_is_outdated(bench: Bench) -> None:
    bench.ask("channel/update", 100.0, channel_nr=6, active=False)
    assert bench.latest(TEMPERATURE_6, 130.0)["outdated"] is False
    assert bench.latest(TEMPERATURE_6, 1000.0)["outdated"] is True


def test_what_can_no_longer_be_had_is_empty_beside_a_stale_valid_value(bench: Bench) -> None:
    before = bench.latest(TEMPERATURE_6, 100.0)
    bench.ask("channel/update", 100.0, channel_nr=6, active=False)
    entry = bench.get(f"/values/{TEMPERATURE_6.replace('.', '/')}", 5000.0)["data"][TEMPERATURE_6]
    latest, valid = entry["content"]["latest_value"], entry["content"]["latest_valid_value"]
    assert (latest["value"], latest["status"]) == ("", "INVALID")
    assert (valid["value"], valid["outdated"]) == (before["value"], True)


def test_a_write_takes_two_posts_and_a_while(bench: Bench) -> None:
    bench.post(10.0, **{SETPOINT_4: {"value": 0.02}})
    bench.post(10.0, **{"driver.bftc.data.heaters.heater_4.pid_mode": {"value": 1},
                        "driver.bftc.data.heaters.heater_4.active": {"value": "1"}})  # fmt: skip
    assert bench.latest(SETPOINT_4, 11.0) | {"date": 0} == {
        "value": "0.02", "date": 0, "outdated": False, "status": "CHANGED",
    }  # fmt: skip
    assert bench.ask("heater", 11.0, heater_nr=4)["setpoint"] == 0.0
    bench.post(12.0, **{"driver.bftc.write": {"call": 1}})
    assert bench.latest(SETPOINT_4, 12.1)["status"] == "QUEUED"
    assert bench.latest(SETPOINT_4, 12.6)["status"] == "SYNCHRONIZED"
    assert bench.latest(SETPOINT_4, 12.6)["value"] == "0.02"
    assert bench.ask("heater", 12.6, heater_nr=4)["active"] is True
    # the last seventh comes with the integral of 250 s
    assert bench.cryostat.true_k("mixing", 2000.0) == pytest.approx(0.02, abs=3e-5)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({SETPOINT_4: {"value": "warm"}}, "could not convert string to float"),
        ({SETPOINT_4: {"value": -1}}, "expected a number from 0 to 300, found -1.0"),
        ({SETPOINT_4: {"value": None}}, "expected a number, found None"),
        ({SETPOINT_4: {}}, "expected content with value"),
        ({"driver.vc.flow": {"value": 1}}, "driver.vc.flow: cannot be written"),
        ({"driver.bftc.write": {"call": 0}}, "expected call 1"),
    ],
)
def test_what_cannot_be_written_gives_the_error_object(
    contents: dict[str, object], said: str
) -> None:
    bench = Bench()
    error = bench.post(0.0, **contents)["error"]
    assert said in error["description"]
    assert set(error) == {"name", "description", "code", "details", "query"}
    assert bench.latest(SETPOINT_4, 0.0)["status"] == "SYNCHRONIZED"


def test_a_path_there_is_not_and_a_body_that_is_none_are_errors() -> None:
    bench = Bench()
    assert "driver.nothing" in bench.get("/values/driver/nothing", 0.0)["error"]["description"]
    assert bench.get("/nothing", 0.0)["status"] == "ERROR"
    for body in (b"{", b"[]", b'{"data": 1}'):
        assert bench.api.respond(Request("POST", "/values", {}, body), 0.0).status == 400


def test_the_key_opens_and_nothing_else_does() -> None:
    bench = Bench(key="secret")
    assert bench.get("/system", 0.0, key="secret")["data"]["api_version"] == "v2.2"
    for query in ({}, {"key": "wrong"}):
        assert bench.get("/system", 0.0, **query)["error"]["code"] == 403


# --- on sockets


@contextmanager
def serving(face: Face) -> Iterator[int]:
    listener = listen("it", 0)
    loop = Loop([(listener, face)], lambda: 100.0)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_one_connection_serves_request_after_request() -> None:
    bench = Bench()
    with serving(bench.box) as port:
        connection = http.client.HTTPConnection(HOST, port, timeout=DEADLINE_S)
        for method, body in [("GET", None), ("POST", b'{"heater_nr": 4}')]:
            connection.request(method, "/heater" if body else "/channels", body)
            reply = connection.getresponse()
            assert reply.status == 200
            assert json.loads(reply.read())["status"] == "OK"
        connection.close()


def test_https_has_a_certificate_that_nobody_signed() -> None:
    bench = Bench()
    face = BlueforsApi(
        bench.controller, GasHandling(bench.cryostat), CALENDAR, tls=self_signed(), key="k"
    )
    assert face.scheme == "https"
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with serving(face) as port:
        with (
            socket.create_connection((HOST, port), DEADLINE_S) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")
        connection = http.client.HTTPSConnection(HOST, port, timeout=DEADLINE_S, context=trusting)
        for _ in range(2):
            connection.request("GET", "/values/?key=k")
            assert TEMPERATURE_6 in json.loads(connection.getresponse().read())["data"]
        connection.close()


def test_http_on_the_https_port_ends_the_connection() -> None:
    bench = Bench()
    face = BlueforsApi(bench.controller, GasHandling(bench.cryostat), CALENDAR, tls=self_signed())
    with serving(face) as port, socket.create_connection((HOST, port), DEADLINE_S) as plain:
        plain.sendall(b"GET /system HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in plain.recv(4096)
    assert any("expected TLS" in complaint for complaint in face.complaints)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HELLO\r\n\r\n", "expected a request of HTTP/1.1, found 'HELLO'"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "found transfer-encoding"),
        (b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", "expected a content-length up to"),
        (b"x" * 20_000, "expected a head of 16384 bytes at most"),
    ],
)
def test_what_is_no_http_is_a_bad_request_and_the_end(sent: bytes, said: str) -> None:
    box = Bench().box
    with serving(box) as port, socket.create_connection((HOST, port), DEADLINE_S) as plain:
        plain.sendall(sent)
        assert plain.recv(4096).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert said in box.complaints[0]


def test_a_request_may_come_in_pieces() -> None:
    talk = Bench().box.connect(0.0)
    request = b'POST /heater HTTP/1.1\r\nContent-Length: 16\r\n\r\n{"heater_nr": 4}'
    for byte in request[:-1]:
        talk.receive(bytes([byte]), 0.0)
    assert talk.send(0.0) == []
    talk.receive(request[-1:] + request, 0.0)
    assert len(talk.send(0.0)) == 2


def test_without_openssl_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchError, match="expected the program openssl"):
        self_signed()


def test_a_failing_openssl_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "openssl"
    program.write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="expected a certificate of openssl, found: no entropy"):
        self_signed()
