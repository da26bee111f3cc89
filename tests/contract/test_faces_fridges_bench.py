"""The refrigerators on a bench: one cryostat behind all of them, and what a bench refuses."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sim_hardware.bench import OpenBench
from sim_hardware.settings import Bench

DEADLINE_S = 20.0


@contextmanager
def running(**tables: Any) -> Iterator[dict[str, str]]:
    """A bench that runs; gives the resources by name."""
    opened = OpenBench(Bench.model_validate(tables))
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield {each.name: each.resource for each in opened.announced}
    finally:
        opened.stop()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def port(resource: str) -> int:
    return int(next(part for part in resource.split(":") if part.isdecimal()))


def told(resource: str, message: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port(resource)), DEADLINE_S) as client:
        client.sendall(message)
        return client.recv(4096)


def test_what_one_is_told_another_shows(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    instruments = {
        "triton": {"model": "triton"},
        "box": {"model": "bftc"},
        "software": {"model": "bluefors-api"},
        "secure": {"model": "bluefors-api", "tls": True, "key": "k"},
        "bridge": {"model": "leiden-bridge"},
        "gas": {"model": "leiden-ghs"},
        "logs": {"model": "bluefors-logs", "folder": str(folder), "every_s": 0.1},
    }
    with running(instruments=instruments) as at:
        assert at["triton"].startswith("TCPIP::127.0.0.1::")
        assert at["triton"].endswith("::SOCKET")
        assert at["secure"].startswith("https://127.0.0.1:")
        assert at["gas"].startswith("ASRLsocket://127.0.0.1:")
        assert at["logs"] == str(folder)
        order = b"SET:SYS:DR:ACTN:COLL\r\n"
        assert told(at["triton"], order) == b"STAT:SET:SYS:DR:ACTN:COLL:VALID\n"
        lamps = told(at["gas"], b"LEDS?\n").split(b"\t")[1].split(b",")
        assert lamps[31 - 1] == b"1"
        assert told(at["bridge"], b"all_temperatures").count(b",") == 3
        _wait_for(lambda: any(folder.glob("*/Channels*")) and b",v1,0," in _channels(folder))
        heater = json.dumps({"heater_nr": 4, "active": True, "power": 1e-5}).encode()
        assert _http(at["box"] + "/heater/update", heater)["status"] == "OK"
        assert told(at["triton"], b"READ:DEV:H1:HTR:SIG:POWR\n").endswith(b":10uW\n")
        path = "/values/driver/bftc/data/heaters/heater_4/power"
        assert '"value": "1e-05"' in json.dumps(_http(at["software"] + path))


def _channels(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("*/Channels*"))


def _wait_for(condition: Any) -> None:
    """Ask again and again, as the writer's own thread writes; fails at the deadline."""
    until_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until_s


def _http(url: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, body, DEADLINE_S) as reply:
        return json.loads(reply.read())


def test_a_red_pitaya_is_a_digitizer_of_the_bench() -> None:
    digitizer = {"model": "redpitaya", "port": 0, "sample_rate_hz": 1e4, "channels": ["C11"],
                 "header_bytes": 56}  # fmt: skip
    with (
        running(digitizers={"board": digitizer}) as at,
        socket.create_connection(("127.0.0.1", port(at["board"])), DEADLINE_S) as client,
    ):
        received = client.recv(24, socket.MSG_WAITALL)
        assert received[:16] == bytes.fromhex("FFFFFFFFA0A0A0A0" * 2)
        assert int.from_bytes(received[16:], "little") == 56 + 400


@pytest.mark.parametrize(
    ("instrument", "said"),
    [
        ({"model": "bluefors-logs"}, "expected the folder of bluefors-logs, found none"),
        ({"model": "bftc", "folder": "x"}, "expected folder with bluefors-logs alone, found it"),
        ({"model": "triton", "key": "x"}, "expected key with bluefors-api alone, found it with"),
        ({"model": "bftc", "wrong_share": 0.1}, "expected wrong_share with triton alone"),
        ({"model": "triton", "wrong_share": 1.0}, "less than 1"),
        ({"model": "bftc", "null_share": -0.1}, "greater than or equal to 0"),
        ({"model": "bluefors-logs", "folder": "x", "every_s": 0.0}, "greater than or equal to 0.1"),
    ],
)
def test_what_a_refrigerator_cannot_be(instrument: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Bench.model_validate({"instruments": {"fridge": instrument}})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"header_bytes": 64}, "Input should be 56 or 57"),
        ({"channels": list("abcde")}, "expected a redpitaya with 4 inputs, found 5"),
    ],
)
def test_what_a_red_pitaya_cannot_be(changes: dict[str, Any], said: str) -> None:
    digitizer = {"model": "redpitaya", "port": 0, "sample_rate_hz": 1e4, "channels": ["a"]}
    with pytest.raises(ValidationError) as refused:
        Bench.model_validate({"digitizers": {"board": digitizer | changes}})
    assert said in str(refused.value)
