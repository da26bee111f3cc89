"""Drivers against the simulated bench: two independent readings of one manual, on real sockets."""

from __future__ import annotations

import contextlib
import json
import math
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from daq.errors import NoReplyError, NotConnectedError, WrongInstrumentError
from daq.model.clock import Anchor
from daq.wire import codec, sockets
from daq.wire.schemas import BlockHeader, Reply, Request, StreamHello, StreamWant
from drivers import catalogue
from drivers.digitizer.digitizer import Samples
from drivers.digitizer.stream import StreamDigitizer
from drivers.parameter import NoValueError, to_plain
from drivers.squid.magnicon import LoopMode, Magnicon
from drivers.temperature.lakeshore372 import HeaterRange, Lakeshore372

WAIT_S = 60.0
CONFIG = Path(__file__).parents[2] / "config" / "bench.toml"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """The default bench in a process of its own; name -> resource."""
    table = tomllib.loads(CONFIG.read_text())["bench"]
    for device in [*table["digitizers"].values(), *table["instruments"].values()]:
        device["port"] = 0
    for device in table["digitizers"].values():
        device["memory_s"] = 60.0  # nothing is lost where a loaded machine reads late
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    path.write_text(json.dumps(table))
    command = [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        count = len(table["digitizers"]) + len(table["instruments"])
        lines = [json.loads(process.stdout.readline()) for _ in range(count)]
        yield {line["name"]: line["resource"] for line in lines}
        process.terminate()


@pytest.fixture(scope="module")
def config(bench, tmp_path_factory):
    """The default config, with the resources of this bench."""
    text = CONFIG.read_text()
    for name, resource in bench.items():
        section = r"(\[(?:digitizers|instruments)\." + name + r"\][^\[]*?resource = )\"[^\"]*\""
        text = re.sub(section, lambda m, r=resource: f'{m[1]}"{r}"', text)
    path = tmp_path_factory.mktemp("config") / "bench.toml"
    path.write_text(text)
    return path


@pytest.fixture
def lakeshore(bench):
    with contextlib.closing(Lakeshore372(bench["fridge"], channels=[1, 6])) as instrument:
        yield instrument


@pytest.fixture
def magnicon(bench):
    with contextlib.closing(Magnicon(bench["squids1"])) as instrument:
        yield instrument


@pytest.fixture
def started(runtime, config):
    """Starts one of our services; it must end well on SIGTERM."""
    processes = []

    def start(*arguments):
        command = [sys.executable, "-W", "error", "-m", "drivers", *arguments, str(config)]
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said, said


@pytest.mark.parametrize(
    ("name", "model", "channels"),
    [
        ("fridge", "lakeshore372", [1, 6]),
        ("squids1", "magnicon-xxf1", None),
        ("pulser", "keysight33500b", None),
    ],
)
def test_every_parameter_of_every_instrument_is_answered(bench, name, model, channels):
    driver = catalogue.instrument(model)
    with contextlib.closing(driver(bench[name], channels=channels)) as instrument:
        for bound in instrument.parameters():
            try:
                for reading in bound.as_readings(bound.read(), 0):
                    assert isinstance(reading.value, str) or math.isfinite(reading.value)
            except NoValueError:
                assert bound.source == "shadow" or bound.name.endswith("temperature")


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("setpoint", 0.0123, 0.0123),
        ("heater_range", "MA_1", HeaterRange.MA_1),
        ("heater_range", "OFF", HeaterRange.OFF),
        ("still_output", 12.5, 12.5),
        ("control", {"integral": 30.0}, {"integral": 30.0}),
        ("output", {"mode": "OPEN_LOOP"}, {"input": 6}),
        ("manual_output", 2.0, 2.0),
        ("scan", {"input": 6, "auto": False}, {"input": 6, "auto": False}),
        ("scan", {"auto": True}, {"auto": True}),
        ("input 6.scanning", {"dwell": 5}, {"dwell": 5, "enabled": True}),
        ("input 6.measuring", {"range": 12}, {"range": 12}),
        ("input 6.filter", {"on": True, "settle": 3}, {"on": True, "settle": 3}),
        ("input 6.name", "mixing", "mixing"),
    ],
)
def test_the_lake_shore_holds_what_is_written(lakeshore, name, value, held):
    (bound,) = [b for b in lakeshore.parameters() if b.name == name]
    assert_holds(bound.write(value), held)


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("squid 1.mode", "LOCKED", LoopMode.LOCKED),
        ("squid 1.tes_bias", {"current": 100, "range": "UA_500"}, {"current": 100.0}),
        ("squid 1.tes_bias", {"range": "UA_125"}, {"current": 100.0}),
        ("squid 2.ib", 20.0, 20.0),
        ("squid 2.vb", 100.0, 100.0),
        ("squid 1.phib", -10.0, -10.0),
        ("squid 1.feedback", 30.0, 30.0),
        ("squid 1.pulse_height", 10.0, 10.0),
        (
            "squid 1.pulse",
            {"width": 100, "interval": 50.0, "on": True},
            {"interval": 50.0, "on": True},
        ),
        ("box 3.coil", 1.0, 1.0),
        ("box 3.coil_connected", False, False),
        ("box 3.coil_connected", True, True),
    ],
)
def test_the_magnicon_holds_what_is_written_within_a_step(magnicon, name, value, held):
    (bound,) = [b for b in magnicon.parameters() if b.name == name]
    assert_holds(bound.write(value), held)


def assert_holds(found, expected):
    """Equal; a number within 0.5 %, which is more than half a step of any converter here."""
    if isinstance(expected, dict):
        for name, part in expected.items():
            assert_holds(found[name], part)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0.005)
    else:
        assert to_plain(found) == to_plain(expected)


def test_the_loop_is_reset_and_the_counters_cleared(magnicon):
    magnicon.squids[1].reset_loop()
    assert magnicon.squids[1].mode.read() is LoopMode.LOCKED
    magnicon.squids[1].clear_overloads()
    assert set(magnicon.squids[1].overloads.read().values()) == {0}


def test_the_wrong_instrument_is_noticed(bench):
    resource = bench["squids1"].replace("ASRLsocket://", "TCPIP::").replace("::INSTR", "::SOCKET")
    resource = re.sub(r":(\d+)::SOCKET", r"::\1::SOCKET", resource)
    with contextlib.closing(Lakeshore372(resource)) as wrong, pytest.raises(NoReplyError):
        wrong.setpoint.read()
    swapped = StreamDigitizer("vetoes", bench["targets"])
    with contextlib.closing(swapped), pytest.raises(WrongInstrumentError, match="'vetoes'"):
        swapped.connect()


def test_the_stream_is_whole_and_comes_again_as_it_was(bench):
    with contextlib.closing(StreamDigitizer("targets", bench["targets"])) as digitizer:
        facts = digitizer.connect()
        assert len(facts.channels) == 9
        start = facts.next
        digitizer.start(start)
        first, anchors = collected(digitizer, start, 100_000)
        second = StreamDigitizer("targets", bench["targets"])
        with contextlib.closing(second), pytest.raises(NotConnectedError, match="busy"):
            second.connect()
        digitizer.connect()
        digitizer.start(start)
        again, _ = collected(digitizer, start, 100_000)
    np.testing.assert_array_equal(first, again)
    assert all(anchor.sample % facts.rate_hz == 0 for anchor in anchors)


def collected(digitizer, start, n_samples):
    """Samples from `start`, which must follow on each other, and the anchors between them."""
    blocks, anchors, at = [], [], start
    while at < start + n_samples:
        event = digitizer.read(WAIT_S)
        if isinstance(event, Samples):
            assert event.start == at
            at = event.stop
            blocks.append(event.samples)
        else:
            assert isinstance(event, Anchor), event
            anchors.append(event)
    return np.concatenate(blocks, axis=1)[:, :n_samples], anchors


def test_the_digitizer_service_delivers_the_bench_to_a_core(started, runtime):
    with contextlib.closing(sockets.serve_blocks(f"ipc://{runtime}/core.blocks")) as core:
        started("digitizer", "vetoes")
        assert core.poll(1000 * WAIT_S)
        peer, header = sockets.receive(core)
        hello = codec.decode(header, StreamHello)
        start = at = hello.oldest
        want = StreamWant(epoch=hello.epoch, start=start, asked=1, credit=1 << 30)
        assert sockets.offer(core, peer, codec.encode(want))
        while at < start + 250_000:
            assert core.poll(1000 * WAIT_S)
            message = codec.decode(sockets.receive(core)[1], StreamHello, BlockHeader)
            if isinstance(message, BlockHeader):
                assert (message.start, message.gaps) == (at, [])
                at = message.start + message.n_samples


def test_the_instruments_service_reads_writes_and_delivers(started, runtime):
    instruments = tomllib.loads(CONFIG.read_text())["instruments"]
    with contextlib.closing(sockets.serve_requests(f"ipc://{runtime}/core.commands")) as core:
        started("instruments")
        rows = delivered(core, until=lambda rows: {r[1] for r in rows} == set(instruments))
    assert [row[2] for row in rows if row[1] == "fridge"][:2] == ["scan.input", "scan.auto"]
    with sockets.calling(f"ipc://{runtime}/instruments.commands", "instruments") as caller:
        written = caller.call(
            "write", 20.0, instrument="fridge", parameter="setpoint", value=0.0137
        )
        assert (written["value"], written["unit"], written["source"]) == (0.0137, "K", "read")


def delivered(core, until):
    """The rows of readings that come, with each batch taken."""
    rows, deadline = [], time.monotonic() + WAIT_S
    while not until(rows):
        assert time.monotonic() < deadline
        assert core.poll(1000 * WAIT_S)
        peer, header = sockets.receive(core)
        request = codec.decode(header, Request)
        assert (request.verb, request.arguments["first"]) == ("readings", len(rows))
        rows += request.arguments["rows"]
        reply = Reply(id=request.id, result={"taken": len(rows)})
        assert sockets.offer(core, peer, codec.encode(reply))
    return rows


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digitizer", "nope"], "expected one of the digitizers targets, vetoes, found 'nope'"),
        (["digitizer", "targets", "/no/such.toml"], "/no/such.toml: there is no such config"),
        (["instruments", "/no/such.toml"], "/no/such.toml: there is no such config"),
    ],
)
def test_a_service_that_cannot_start_says_why_in_one_sentence(config, runtime, arguments, sentence):
    if arguments == ["digitizer", "nope"]:
        arguments = [*arguments, str(config)]
    command = [sys.executable, "-m", "drivers", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{sentence}\n")
