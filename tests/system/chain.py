"""The whole system as real processes, for tests: a bench of the test's own, services, the CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from daq.services import system
from daq.services.bench import keep_truth, simulator
from daq.services.demo import bench_of, connected, default_config
from daq.settings.loader import Settings, load

DEADLINE_S = 60.0
SCHEELITE = Path(sys.executable).with_name("scheelite")


def cli(
    *arguments: object, timeout_s: float = 120.0, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run `scheelite ...` as a user would."""
    command = [str(SCHEELITE), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, **more
    )


def cli_json(*arguments: object, **more: Any) -> Any:
    """What `scheelite ... --json` prints; the test fails where it does not exit with 0."""
    done = cli(*arguments, "--json", **more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cli_rows(*arguments: object, **more: Any) -> list[dict[str, Any]]:
    """What a command prints as one JSON object per line."""
    done = cli(*arguments, "--json", **more)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def until(done: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait for what only another process can bring about."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.02)


@contextmanager
def bench(
    folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> Iterator[Path]:
    """A simulated bench with ports of the system's choice, and a config connected to it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load(default_config())
    spec = bench_of(settings)
    keep_truth(spec, folder / "runs")
    spec["late"] = "lose"  # as a real one: faults, and UTC that the machine shares
    change(spec)
    with simulator("bench", spec, folder / "bench.log") as told:
        config = folder / "bench.toml"
        config.write_text(connected(settings, told, folder / "runs"), encoding="utf-8")
        yield config


@contextmanager
def services(config: Path) -> Iterator[Settings]:
    """All services of a config, up and streaming."""
    settings = load(config)
    with system.running(settings):
        system.wait_until_streaming(settings, DEADLINE_S)
        yield settings


def core(settings: Settings) -> dict[str, Any]:
    return system.ask(settings, "core", "status", timeout_s=DEADLINE_S)


def pid_of(name: str) -> int:
    return int(system.status()["services"][name]["pid"])


def kill(name: str) -> None:
    """SIGKILL a service that this test started."""
    process = psutil.Process(pid_of(name))
    process.kill()
    process.wait(10) if process.ppid() == os.getpid() else None
