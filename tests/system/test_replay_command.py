"""The replay command over its real socket: all of the stream, then it ends."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from sim_hardware.ljh import write_ljh
from sim_hardware.replay_command import SpecError, layout, open_source, read_spec
from tests.recorded import pulses

HEADER = struct.Struct("<4sBBHIIQqIIQ")
SAMPLES, ANCHOR, END = 1, 2, 4
DEADLINE_S = 60.0
COMMAND = "import typer; from sim_hardware.replay_command import replay; typer.run(replay)"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A replay of two channels of 8 pulses each."""
    for seed, name in enumerate(("a.ljh", "b.ljh")):
        write_ljh(tmp_path / name, pulses(8, seed=seed))
    return rewritten(tmp_path / "spec.json")


def rewritten(path: Path, **changes: object) -> Path:
    files = [{"path": str(path.parent / f"{c}.ljh"), "channel": c.upper()} for c in "ab"]
    path.write_text(json.dumps({"name": "xray", "files": files, "seed": 5} | changes))
    return path


@contextmanager
def started(spec: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The command, and what it announced; it is killed where it does not end by itself."""
    command = [sys.executable, "-c", COMMAND, str(spec), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def reading(resource: str, start: int) -> Iterator[tuple[dict[str, Any], BinaryIO]]:
    """The hello, and the packets from `start` on."""
    host, port = resource.removeprefix("tcp://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection,
        connection.makefile("rb") as stream,
    ):
        hello = json.loads(stream.readline())
        connection.sendall(f"START {start}\n".encode())
        yield hello, stream


def packets(stream: BinaryIO) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, start, value and payload, until the server closes."""
    while head := stream.read(HEADER.size):
        _, _, kind, _, _, n_bytes, start, value, _, _, _ = HEADER.unpack(head)
        yield kind, start, value, stream.read(n_bytes)


def test_the_stream_is_the_sources_to_the_end_and_then_the_command_ends(spec: Path) -> None:
    source = open_source(read_spec(spec))
    with started(spec) as (process, said):
        assert said | {"resource": ""} == {
            "name": "xray",
            "model": "scheelite-stream",
            "resource": "",
        }
        with reading(said["resource"], 0) as (hello, stream):
            got = list(packets(stream))
        assert process.wait(DEADLINE_S) == 0
    assert (hello["channels"], hello["can_wait"]) == (["A", "B"], True)
    assert (hello["rate_hz"], hello["name"]) == (195312.5, "xray")
    blocks = [np.frombuffer(p, "<i2").reshape(2, -1) for kind, _, _, p in got if kind == SAMPLES]
    assert np.array_equal(np.concatenate(blocks, axis=1), source.samples(0, source.length))
    assert [(kind, start) for kind, start, _, _ in got][-1] == (END, source.length)
    anchors = [(start, value) for kind, start, value, _ in got if kind == ANCHOR]
    assert anchors == [(0, source.t_ns(0))]


def test_who_left_before_the_end_can_come_back_for_the_rest(spec: Path) -> None:
    source = open_source(read_spec(spec))
    with started(spec) as (process, said):
        with reading(said["resource"], 0) as (_, stream):
            next(packets(stream))
        with reading(said["resource"], 4321) as (_, stream):
            got = [packet for packet in packets(stream) if packet[0] == SAMPLES]
        assert process.wait(DEADLINE_S) == 0
    assert got[0][1] == 4321
    assert sum(len(payload) for *_, payload in got) == 4 * (source.length - 4321)


def test_a_reader_who_stops_early_does_not_end_it(spec: Path) -> None:
    with started(spec) as (process, said):
        host, port = said["resource"].removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
            connection.sendall(b"START 0\nSTOP\n")
            while connection.recv(1 << 16):
                pass
        with reading(said["resource"], 0) as (_, stream):
            last = list(packets(stream))[-1]
        assert process.wait(DEADLINE_S) == 0
    assert last[:2] == (END, open_source(read_spec(spec)).length)


def test_it_ends_when_it_is_told_to(spec: Path) -> None:
    with started(spec) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def test_the_layout_says_where_each_record_lies(spec: Path, tmp_path: Path) -> None:
    rewritten(spec, layout=str(tmp_path / "layout.json"))
    source = open_source(read_spec(spec))
    with started(spec):
        written = json.loads((tmp_path / "layout.json").read_text())
    assert written == json.loads(json.dumps(layout(source)))
    first = source.records[0]
    b = written["channels"]["B"]
    assert written["channels"]["A"]["records"][0] == [0, first.start, first.stop, 0]
    assert len(b["rises"]) == 8
    assert b["trigger"] == source.suggested_trigger()["B"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"files": []}, "files: Tuple should have at least 1 item"),
        ({"speed": 2}, "speed: Extra inputs are not permitted"),
        ({"rate_hz": 0}, "rate_hz: Input should be greater than or equal to 0.001"),
        ({"noise": ["a.ljh"]}, "expected 2 noise files or null, one for each file, or none at all"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
    ],
)
def test_a_spec_with_a_mistake_is_refused_with_its_place(
    spec: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SpecError, match=sentence) as refusal:
        read_spec(rewritten(spec, **changes))
    assert str(refusal.value).startswith(f"{spec}: expected a replay, found\n  ")


def test_a_spec_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected a replay as JSON, found: No such file"):
        read_spec(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"files": [{"path": "none.ljh", "channel": "A"}]}, "none.ljh: expected an LJH file"),
        ({"layout": "none/layout.json"}, "none/layout.json: cannot be written"),
        ({"rate_hz": "fast"}, "rate_hz: Input should be a valid number"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    spec: Path, changes: dict[str, object], sentence: str
) -> None:
    command = [sys.executable, "-c", COMMAND, str(rewritten(spec, **changes))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
