"""A night on a bench that is faster than time and has faults by a script; for tests of nights."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from daq.client import runs
from daq.services import system
from daq.services.bench import keep_truth, simulator
from daq.services.demo import bench_of, connected, default_config
from daq.services.report_command import write
from daq.settings.loader import Settings, load
from daq.store.names import run_folder
from daq.store.reader import Run, open_run
from tests.bench_control import BenchControl
from tests.system.chain import until
from tests.truth import Row, newest_truth, read_truth

RATE_HZ = 50_000.0  # of every channel: what a night records
MEMORY_S = 2.0  # of ours: what the digitizers hold, and integrate in vain where they are too slow
AWAY_S = 20.0  # of ours: for so long a core may be away, without a sample lost
UNDECIMATED = 2.2  # times the noise of samples that are the mean of five
MXC, FOUR_K = "fridge.input 6.temperature", "fridge.input 2.temperature"

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

[alarms.compressor]
watch = "{four_k}"
above = "3.8 K"
hysteresis = "50 mK"
severity = "critical"
tell = ["shift"]
advice = "is the pulse tube's compressor running?"

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


ALONE_S, MATCH_S = 0.4, 0.17  # no other hit so near; a record holds the hit
LINE_EV = (4000.0, 8000.0)  # 55Fe and what is as large


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
    folder: Path, *, speed: float, scenario: list[dict[str, Any]], warm_k: float = 0.010
) -> Iterator[Course]:
    """Services beside such a bench, up and streaming."""
    given = load(default_config())
    spec = bench_of(given) | {
        "speed": speed,
        "scenario": scenario,
        "control_port": 0,
        "late": "lose",
    }
    for digitizer in spec["digitizers"].values():
        digitizer["sample_rate_hz"] = RATE_HZ
        digitizer["memory_s"] = MEMORY_S
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
        for trigger in kind["triggers"]:
            for level in {"threshold", "rearm"} & set(trigger):
                trigger[level] *= UNDECIMATED
    for digitizer in document["digitizers"].values():
        digitizer["buffer_s"] = max(digitizer["buffer_s"], AWAY_S * speed)
    watch = WATCH.format(
        speed=speed,
        python=sys.executable,
        told=str(folder / "told"),
        pulse=str(folder / "pulse"),
        mxc=MXC,
        four_k=FOUR_K,
        warm_k=warm_k,
    )
    return tomlkit.dumps(document) + watch


# --- the morning: what the report says against what the bench knows ---------------------------


@dataclass(frozen=True)
class Morning:
    """A night that is over; `isolated` are large hits of the truth, `found` those in records."""

    runs: list[int]
    report: dict[str, Any]
    said: list[str]
    isolated: dict[str, int]
    found: dict[str, int]


def judge(folder: Path, told: dict[str, Any], home: Path) -> Morning:
    """Compare the report of a night with the runs' own log, the catalogue and the bench's truth."""
    numbers = [run for row in told["steps"] for run in row["runs"]]
    by_chance = {n for row in told["steps"] if row["what"].startswith("noise") for n in row["runs"]}
    page = (folder / "report.html").read_text(encoding="utf-8")
    report = write([folder], home / "again.html")
    assert report["whole"], "a run is not whole"
    dead_s = sum(report["dead_s"].values())
    assert abs(report["live_s"] + dead_s - report["real_s"]) < 1e-6
    assert abs(report["exposure_g_d"] - report["live_s"] * 0.75 / 86400) < 1e-9
    rows = [row for row in runs(home / "runs") if row.run in numbers]
    assert [row.run for row in rows] == numbers
    assert abs(sum(row.exposure_g_d for row in rows) - report["exposure_g_d"]) < 1e-9
    hits = read_truth(newest_truth(home / "runs" / "truth"))
    said: list[str] = []
    isolated: dict[str, int] = {}
    found: dict[str, int] = {}
    for number in numbers:
        with open_run(run_folder(home / "runs", number)) as run:
            said += [row["text"].decode() for row in run.messages()]
            assert all(file.sha256 in page for file in run.files())
            if number in by_chance:
                continue  # pulses do not trigger there
            for channel, (n, n_found) in matched(run, hits).items():
                isolated[channel] = isolated.get(channel, 0) + n
                found[channel] = found.get(channel, 0) + n_found
    assert json.loads((folder / "journal.json").read_text())["outcome"] == told["outcome"]
    assert re.search(r"alarm deaf \(warning\): .* is stale; is the bridge switched on\?", page)
    return Morning(numbers, report, said, isolated, found)


def matched(run: Run, hits: list[Row]) -> dict[str, tuple[int, int]]:
    """By target: hits of the truth that are large and alone, in time that no gap took, and those
    of them that lie in a record."""
    clocks = {d.name: d for d in run.digitizers}
    gaps = run.gaps()
    found = {}
    for channel in run.channels:
        if not channel.mass_g:
            continue
        clock, rate = clocks[channel.digitizer], channel.sample_rate_hz
        own = sorted((h.sample, h.energy_ev) for h in hits if h.channel == channel.name)
        at, energy = np.array([s for s, _ in own]), np.array([e for _, e in own])
        before, after = np.diff(at, prepend=-np.inf), np.diff(at, append=np.inf)
        good = (before > ALONE_S * rate) & (after > ALONE_S * rate)
        good &= (energy > LINE_EV[0]) & (energy < LINE_EV[1])
        good &= (at > clock.start + rate) & (at < run.stops[clock.name] - rate)
        for gap in gaps:
            good &= (at < gap["start"] - rate) | (at > gap["stop"] + rate)
        triggers = np.sort(run.records(channel.name)[0]["trigger"])
        next_one = np.searchsorted(triggers, at[good] - 0.01 * rate)
        near = np.append(triggers, 1 << 62)[next_one] < at[good] + MATCH_S * rate
        found[channel.name] = int(good.sum()), int(near.sum())
    return found
