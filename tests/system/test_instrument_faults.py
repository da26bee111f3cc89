"""Every fault of a wire against every driver that reads: nothing wrong is said, it comes back,
and the others are polled on time all the while.

`FAULTS_TABLE=FILE` writes the table of recovery times: docs/instrument-faults.md was made so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daq.services.bench import simulator
from daq.settings.loader import Settings, load
from daq.wire import codec, sockets
from daq.wire.schemas import State
from tests.bench_control import BenchControl

FAULTS = ("late", "silent", "half", "garbled", "fin", "rst", "stuck")
LATE_S = 3.0  # beyond the drivers' deadline of 1 s
STANDS_S = 2.5  # how long a fault stands
RECOVERED_S = 8.0  # a driver is back within this time of the fault's end: the stated bound
ON_TIME_S = 2.0  # the others are never older than this, at a poll period of 0.5 s
# model of the bench, parameter that must never change because nobody changes it
INSTRUMENTS = {
    "bridge": "lakeshore372",
    "old_bridge": "lakeshore370",
    "controller": "lakeshore336",
    "squids": "magnicon-xxf1",
    "generator": "keysight33500b",
    "avs": "avs47b",
    "triton": "triton",
    "gas": "leiden-ghs",
    "leiden": "leiden-bridge",
    "bluefors": "bluefors-api",
    "box": "bftc",
}
# those that fail at one time; the others watch
GROUPS = (tuple(INSTRUMENTS)[::2], tuple(INSTRUMENTS)[1::2])
HEADER = """
[experiment]
name = "faults"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 64
pretrigger = 16
triggers = []
[channels]
A = { kind = "k", digitizer = "d", input = 0 }
"""


class Watcher:
    """What the instrument service publishes, as a client sees it."""

    def __init__(self, settings: Settings) -> None:
        self._socket = sockets.subscribe(settings.endpoint("instruments.state"))
        self.body: dict[str, Any] = {"readings": {}, "instruments": {}}
        self.oldest: dict[str, float] = {}  # the greatest age seen, by instrument
        self.wrong: list[str] = []
        self.truth: dict[str, Any] = {}

    def look(self, timeout_s: float = 2.0) -> None:
        """Take the next news in."""
        if not self._socket.poll(round(timeout_s * 1000)):
            return
        self.body = codec.decode(sockets.receive(self._socket, 2)[1], State).body
        for name in INSTRUMENTS:
            self.oldest[name] = max(self.oldest.get(name, 0.0), self.age_s(name))
        for name, value in self.truth.items():
            row = self.body["readings"].get(name, {})
            if row.get("source") == "read" and row.get("value") != value:
                self.wrong.append(f"{name}: {row.get('value')!r} instead of {value!r}")

    def until(self, done: Callable[[], object], what: str, timeout_s: float) -> float:
        """Look until it is so; how long it took."""
        began = time.monotonic()
        while not done():
            assert time.monotonic() - began < timeout_s, f"{what}: {self.body['instruments']}"
            self.look(0.5)
        return time.monotonic() - began

    def rows(self, name: str) -> dict[str, dict[str, Any]]:
        return {k: r for k, r in self.body["readings"].items() if k.startswith(f"{name}.")}

    def newest_ns(self, name: str) -> int:
        """When the instrument last gave a value."""
        return max(
            (r["t_ns"] for r in self.rows(name).values() if r["source"] == "read"), default=0
        )

    def age_s(self, name: str) -> float:
        return (time.time_ns() - self.newest_ns(name)) * 1e-9

    def close(self) -> None:
        self._socket.close(0)


@contextmanager
def instruments(folder: Path) -> Iterator[tuple[Watcher, BenchControl]]:
    """A bench of all these instruments and the service that polls them."""
    spec = {
        "instruments": {n: {"model": m, "port": 0} for n, m in INSTRUMENTS.items()},
        "control_port": 0,
    }
    with simulator("bench", spec, folder / "bench.log") as told:
        resources = {t["name"]: t["resource"] for t in told}
        lines = [HEADER]
        for name, model in INSTRUMENTS.items():
            lines.append(
                f'[instruments.{name}]\nmodel = "{model}"\nresource = "{resources[name]}"\n'
                "poll_s = 0.5\nslow_poll_s = 1.0\n"
            )
        config = folder / "faults.toml"
        config.write_text("".join(lines))
        watcher, control = Watcher(load(config)), BenchControl(resources["control"])
        service = subprocess.Popen(
            [sys.executable, "-m", "drivers", "instruments", str(config)], stderr=subprocess.DEVNULL
        )
        try:
            yield watcher, control
        finally:
            watcher.close()
            control.close()
            service.terminate()
            service.wait(20)


def constants(watcher: Watcher) -> dict[str, Any]:
    """Readings that nobody changes: the same twice, a second apart, and no temperature."""
    moving = (
        *("temperature", "resistance", "pressure", "flow", "output", "power", "sensor", "scan"),
        *("counters", "largest", "smallest", "average", "deviation", "adc", "reading"),
    )
    return {
        name: row["value"]
        for name, row in watcher.body["readings"].items()
        if row["source"] == "read" and not any(word in name for word in moving)
    }


@pytest.mark.timeout(280)
def test_every_fault_against_every_driver(runtime, tmp_path):
    recovered: dict[tuple[str, str], float] = {}
    with instruments(tmp_path) as (watcher, control):
        watcher.until(
            lambda: all(watcher.newest_ns(name) for name in INSTRUMENTS), "first values", 60.0
        )
        first = constants(watcher)
        watcher.until(lambda: watcher.age_s("bridge") < 1.0, "news", 10.0)
        watcher.truth = {n: v for n, v in constants(watcher).items() if first.get(n) == v}
        assert len(watcher.truth) > 20
        for fault in FAULTS:
            for failing in GROUPS:
                one_fault(watcher, control, fault, failing, recovered)
    assert {w.partition(":")[0] for w in watcher.wrong} == set()
    write_table(recovered)


def one_fault(
    watcher: Watcher,
    control: BenchControl,
    fault: str,
    failing: tuple[str, ...],
    recovered: dict[tuple[str, str], float],
) -> None:
    """Let some instruments fail for a while; the others stay on time, all come back."""
    watching = [name for name in INSTRUMENTS if name not in failing]
    watcher.oldest = {}
    for name in failing:
        control.order(name, fault, seconds=LATE_S if fault == "late" else None)
    began = time.monotonic()
    while time.monotonic() - began < STANDS_S:
        watcher.look()
    ended_ns, ended = time.time_ns(), time.monotonic()
    for name in failing:
        control.clear(name)
    waiting = set(failing)
    while waiting:
        watcher.look(0.5)
        for name in [n for n in waiting if watcher.newest_ns(n) > ended_ns]:
            recovered[fault, name] = time.monotonic() - ended
            waiting.discard(name)
        late = time.monotonic() - ended > RECOVERED_S
        assert not late, f"{fault}: {waiting} not back: {watcher.body['instruments']}"
    for name in watching:
        assert watcher.oldest[name] < ON_TIME_S, f"{fault} elsewhere delays {name}"


def write_table(recovered: dict[tuple[str, str], float]) -> None:
    """The table of recovery times, where one is asked for."""
    target = os.environ.get("FAULTS_TABLE")
    if not target:
        return
    rows = [
        "| " + " | ".join([fault, *(f"{recovered[fault, n]:.1f}" for n in INSTRUMENTS)]) + " |"
        for fault in FAULTS
    ]
    head = [
        "| fault | " + " | ".join(INSTRUMENTS.values()) + " |",
        "| --- |" + " --- |" * len(INSTRUMENTS),
    ]
    Path(target).write_text("\n".join([*head, *rows]) + "\n")
