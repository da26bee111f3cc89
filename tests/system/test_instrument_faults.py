"""Every fault of a wire against every driver that reads: nothing wrong is said, it comes back,
and the others are polled on time all the while.

`FAULTS_TABLE=FILE` adds the rows of recovery times to FILE: docs/instrument-faults.md is made so.
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
LATE_S = 3.5  # beyond every driver's deadline
STANDS_S = 1.5  # how long a fault stands
RECOVERED_S = 8.0  # a driver is back within this time of the fault's end: the stated bound
ON_TIME_S = 2.0  # the others are never older than this, at a poll period of 0.5 s
# by name: the driver's model, that of the simulated instrument, and more of its section
INSTRUMENTS = {
    "bridge": ("lakeshore372", "lakeshore372", "channels = [1, 2, 5, 6]"),
    "old_bridge": ("lakeshore370", "lakeshore370", "channels = [1, 2, 5, 6]"),
    "controller": ("lakeshore336", "lakeshore336", ""),
    "controller_350": ("lakeshore350", "lakeshore350", ""),
    "squids": ("magnicon-xxf1", "magnicon-xxf1", ""),
    "generator": ("keysight33500b", "keysight33500b", ""),
    "avs": ("avs47b", "avs47b", ""),
    "triton": ("triton", "triton", ""),
    "gas": ("leiden-ghs", "leiden-ghs", ""),
    "leiden": ("leiden-bridge", "leiden-bridge", ""),
    "old_leiden": ("leiden-avs", "avs47b", ""),
    "janis": ("janis", "lakeshore372", ""),
    "bluefors": ("bluefors-api", "bluefors-api", ""),
    "box": ("bftc", "bftc", ""),
}
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
        "instruments": {n: {"model": face, "port": 0} for n, (_, face, _) in INSTRUMENTS.items()},
        "control_port": 0,
    }
    with simulator("bench", spec, folder / "bench.log") as told:
        resources = {t["name"]: t["resource"] for t in told}
        lines = [HEADER]
        for name, (model, _, more) in INSTRUMENTS.items():
            lines.append(
                f'[instruments.{name}]\nmodel = "{model}"\nresource = "{resources[name]}"\n'
                f"poll_s = 0.5\nslow_poll_s = 1.0\n{more}\n"
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
        for turn in range(len(FAULTS) + 1):
            one_turn(watcher, control, failing_in(turn), recovered)
    assert len(recovered) == len(FAULTS) * len(INSTRUMENTS)
    assert {w.partition(":")[0] for w in watcher.wrong} == set()
    write_table(recovered)


def failing_in(turn: int) -> dict[str, str]:
    """The fault of each instrument in a turn, a different one for each; some have none."""
    faults = (*FAULTS, None)
    each = {n: faults[(turn + i) % len(faults)] for i, n in enumerate(INSTRUMENTS)}
    return {name: fault for name, fault in each.items() if fault is not None}


def one_turn(
    watcher: Watcher,
    control: BenchControl,
    failing: dict[str, str],
    recovered: dict[tuple[str, str], float],
) -> None:
    """Let most instruments fail for a while, each in its way; the others stay on time."""
    watcher.oldest = {}
    for name, fault in failing.items():
        control.order(name, fault, seconds=LATE_S if fault == "late" else None)
    began = time.monotonic()
    while time.monotonic() - began < STANDS_S:
        watcher.look(0.5)
    ended_ns, ended = time.time_ns(), time.monotonic()
    for name in failing:
        control.clear(name)
    waiting = set(failing)
    while waiting:
        watcher.look(0.5)
        for name in [n for n in waiting if watcher.newest_ns(n) > ended_ns]:
            recovered[failing[name], name] = time.monotonic() - ended
            waiting.discard(name)
        late = {name: failing[name] for name in waiting}
        said = f"{late} not back: {watcher.body['instruments']}"
        assert time.monotonic() - ended < RECOVERED_S, said
    for name in set(INSTRUMENTS) - set(failing):
        assert watcher.oldest[name] < ON_TIME_S, f"faults elsewhere delay {name}"


def write_table(recovered: dict[tuple[str, str], float]) -> None:
    """The rows of recovery times, where they are asked for."""
    target = os.environ.get("FAULTS_TABLE")
    if not target:
        return
    with Path(target).open("a") as file:
        for name, (model, _, _) in INSTRUMENTS.items():
            cells = (f"{recovered[fault, name]:.1f}" for fault in FAULTS)
            file.write(f"| {model} | {' | '.join(cells)} |\n")
