"""The bench as a process: what it announces, how it ends, what it refuses."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sim_hardware.bench import particles
from sim_hardware.settings import read_bench
from tests.system.chain import until
from tests.truth import newest_truth, read_truth

ROOT = Path(__file__).parents[2]
STORM = {"kind": "trigger_storm", "at_s": 0.0, "for_s": 1.0, "factor": 1e4}
DEADLINE_S = 60.0  # a first start compiles the kernels


def bench_file(folder: Path, **changes: Any) -> Path:
    bench = {
        "digitizers": {"targets": {"port": 0, "sample_rate_hz": 1e4, "channels": ["C11", "SI"]}},
        "instruments": {
            "fridge": {"model": "lakeshore372", "port": 0},
            "squids": {"model": "magnicon-xxf1", "port": 0},
        },
    }
    file = folder / "bench.json"
    file.write_text(json.dumps(bench | changes))
    return file


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "sim_hardware", "bench", *map(str, arguments)]
    process = subprocess.Popen(
        # unbuffered, so that select() sees what readline() has not taken
        command,
        cwd=ROOT,
        bufsize=0,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def announced(process: subprocess.Popen[bytes]) -> str:
    """The next line of what a process says."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
    assert ready, f"nothing was said in {DEADLINE_S} s"
    return process.stdout.readline().decode()


def hello(resource: str) -> dict[str, Any]:
    port = int(resource.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as connected:
        return dict(json.loads(connected.makefile("rb").readline()))


def test_the_bench_announces_what_it_serves_and_ends_when_told(tmp_path: Path) -> None:
    file = bench_file(tmp_path, start_utc="2026-07-01T00:00:00Z")
    with running(file, "--json") as process:
        said = [json.loads(announced(process)) for _ in range(3)]
        assert [(one["name"], one["model"]) for one in said] == [
            ("targets", "scheelite-stream"),
            ("fridge", "lakeshore372"),
            ("squids", "magnicon-xxf1"),
        ]
        targets, fridge, squids = (one["resource"] for one in said)
        assert targets.startswith("tcp://127.0.0.1:")
        assert fridge.startswith("TCPIP::127.0.0.1::")
        assert fridge.endswith("::SOCKET")
        assert squids.startswith("ASRLsocket://127.0.0.1:")
        assert squids.endswith("::INSTR")
        greeting = hello(targets)
        assert greeting["channels"] == ["C11", "SI"]
        assert 0 <= greeting["oldest"] <= greeting["next"]
        sample, t_ns = greeting["anchor"]  # of the oldest sample still held
        assert t_ns == 1_782_864_000 * 10**9 + sample * 10**5  # at 10 kS/s
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def test_an_interrupt_ends_it_too_and_lines_can_be_read(tmp_path: Path) -> None:
    with running(bench_file(tmp_path)) as process:
        assert announced(process).startswith("targets: scheelite-stream at tcp://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        instruments = {"fridge": {"model": "lakeshore372", "port": port}}
        with running(bench_file(tmp_path, instruments=instruments), "--json") as process:
            said, complained = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, said) == (2, b"")
    assert (
        complained.decode()
        == f"fridge: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sources": {"gamma_rate_hz": 1e3}, "scenario": [STORM]}, "of kind gamma: expected 0 to"),
        ({"truth_dir": "/dev/null/truth"}, "/dev/null/truth: no "),
    ],
)
def test_a_bench_that_cannot_be_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    digitizers = {"vetoes": {"port": 0, "sample_rate_hz": 1e4, "channels": ["C11", "CWO"]}}
    with running(bench_file(tmp_path, digitizers=digitizers, **changes)) as process:
        _, complained = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert said in complained.decode()
    assert complained.count(b"\n") == 1


def test_the_truth_is_whole_when_the_bench_has_ended(tmp_path: Path) -> None:
    """At pace clock the digitizers convert also what nobody reads, up to the end."""
    sources = {"iron55_rate_hz": 200.0}
    file = bench_file(tmp_path, sources=sources, truth_dir=str(tmp_path / "truth"), seed=9)
    with running(file, "--json") as process:
        resource = json.loads(announced(process))["resource"]
        before = hello(resource)["next"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    rows = read_truth(newest_truth(tmp_path / "truth"))
    last = max(row.sample for row in rows)
    assert last > before - 1000  # 20 hits are due in a tenth of a second
    hits = particles(read_bench(file)).truth(0.0, last / 1e4 + 1e-6)
    assert [(row.channel, row.event) for row in rows] == [(h.channel, h.event) for h in hits]


def test_a_bench_that_is_killed_leaves_a_truth_file_that_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "truth"
    file = bench_file(tmp_path, sources={"iron55_rate_hz": 200.0}, truth_dir=str(folder))
    with running(file) as process:
        announced(process)
        until(lambda: read_truth(newest_truth(folder)), "a hit")
        process.kill()
        process.wait(DEADLINE_S)
    rows = read_truth(newest_truth(folder))
    hits = particles(read_bench(file)).truth(0.0, rows[-1].true_s + 1e-6)
    assert [row.event for row in rows] == [hit.event for hit in hits]


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"pace": "fast"}', "  pace: Input should be"), ("[", "expected a bench, found")],
)
def test_a_file_that_is_no_bench_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(content)
    with running(file) as process:
        _, complained = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2
    assert said in complained.decode()
    assert b"Traceback" not in complained
