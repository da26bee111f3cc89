"""A night on a bench that is faster than time and has faults by a script; for tests of nights."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from daq.services import system
from daq.services.bench import keep_truth, simulator
from daq.services.demo import bench_of, connected, default_config
from daq.settings.loader import Settings, load
from tests.bench_control import BenchControl
from tests.system.chain import until

RATE_HZ = 50_000.0  # of every channel: what a night records
MXC = "fridge.input 6.temperature"

WATCH = """
[night]
speed = {speed}

[notify.shift]
kind = "command"
command = [{python!r}, "-c", "import sys; open({told!r}, 'a').write(sys.argv[1] + chr(10))"]

[alarms.warm]
watch = "{mxc}"
above = "{warm_k} K"
hysteresis = "1 mK"
severity = "critical"
tell = ["shift"]

[alarms.deaf]
watch = "{mxc}"
stale = true
grace = "10 s"
tell = ["shift"]
advice = "is the bridge switched on?"

[heartbeat]
file = {pulse!r}
every_s = 1.0

[web]
port = 0
"""


@dataclass
class Course:
    """A system that is up, and what there is to do to it."""

    settings: Settings
    control: BenchControl
    folder: Path

    @property
    def told(self) -> str:
        """What the shift was told so far."""
        path = self.folder / "told"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def night(self) -> dict[str, Any]:
        """What run control says of the night; its last word where it is just being killed."""
        return dict(system.ask(self.settings, "run", "status", timeout_s=60.0)["night"])

    def kill(self, service: str) -> None:
        """SIGKILL, and wait until the supervisor has started it again."""
        before = self.pid(service)
        os.kill(before, signal.SIGKILL)
        until(lambda: self.pid(service) not in (0, before), f"a new {service}")

    def pid(self, service: str) -> int:
        return int(system.status()["services"].get(service, {}).get("pid") or 0)


@contextmanager
def course(
    folder: Path, *, speed: float, scenario: list[dict[str, Any]], warm_k: float = 0.012
) -> Iterator[Course]:
    """Services beside such a bench, up and streaming."""
    given = load(default_config())
    spec = bench_of(given) | {"speed": speed, "scenario": scenario, "control_port": 0}
    for digitizer in spec["digitizers"].values():
        digitizer["sample_rate_hz"] = RATE_HZ
        digitizer["memory_s"] = 30.0 * speed
    keep_truth(spec, folder / "runs")
    with simulator("bench", spec, folder / "bench.log") as told:
        config = folder / "night.toml"
        config.write_text(
            _config(connected(given, told, folder / "runs"), folder, speed, warm_k),
            encoding="utf-8",
        )
        resources = {each["name"]: each["resource"] for each in told}
        settings = load(config)
        with BenchControl(resources["control"]) as control, system.running(settings):
            system.wait_until_streaming(settings, 60.0)
            yield Course(settings, control, folder)


def _config(text: str, folder: Path, speed: float, warm_k: float) -> str:
    document: Any = tomlkit.parse(text)  # Any: tomlkit's tables are typed as unions
    for kind in document["kinds"].values():
        kind["decimation"] = 1
    watch = WATCH.format(
        speed=speed,
        python=sys.executable,
        told=str(folder / "told"),
        pulse=str(folder / "pulse"),
        mxc=MXC,
        warm_k=warm_k,
    )
    return tomlkit.dumps(document) + watch
