"""A whole system of one's own that records while things are done to it, and what was seen of it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomlkit

from daq.errors import NotConnectedError, ScheeliteError
from daq.services import processes, system
from daq.services.bench import simulator
from daq.services.demo import bench_of, connected, default_config
from daq.settings.loader import Settings, load, runtime_dir
from daq.store.reader import open_run
from tests.bench_control import BenchControl
from tests.faults.disk import SmallDisk, small_disk
from tests.faults.fakeclock import FakeClock, fake_clock
from tests.system.chain import until

RAW = ("C11", "SI")  # whose whole stream is kept: one of each digitizer
START_UTC = "2026-01-01T00:00:00Z"  # of sample 0: with the seed it makes every sample known
UP_S, HEALTHY_S = 90.0, 60.0
LOOK_S = 0.25
DISK = "1g"
Seen = set[tuple[str, int]]  # (channel, trigger) of records that were on the disk


@dataclass
class Watch:
    """What the services take, and what the core says is safe, several times a second."""

    settings: Settings
    memory: dict[tuple[str, int], list[tuple[float, int]]] = field(default_factory=dict)
    safe: dict[int, int] = field(default_factory=dict)  # by run: the most that was ever said

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    @property
    def last_s(self) -> float:
        """When anything was seen last."""
        return max((rows[-1][0] for rows in self.memory.values()), default=0.0)

    @property
    def most_rss(self) -> int:
        """The most memory that any service ever took."""
        return max(rss for rows in self.memory.values() for _, rss in rows)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_S):
            with suppress(ScheeliteError):
                told = system.ask(self.settings, "core", "status", timeout_s=1.0)
                if told["run"] is not None:
                    most = max(self.safe.get(told["run"], 0), told["safe"]["records"])
                    self.safe[told["run"]] = most
            for name, process in services_now().items():
                with suppress(psutil.NoSuchProcess):
                    rss = psutil.Process(process.pid).memory_info().rss
                    row = (time.monotonic(), rss)
                    self.memory.setdefault((name, process.pid), []).append(row)


@dataclass(frozen=True)
class Snapshot:
    """The system at a moment."""

    pids: dict[str, int]
    next: dict[str, int]  # by digitizer: the sample that comes next
    begun: dict[str, int]  # and how often the core's blocks began to come
    safe: dict[str, int]
    run: int
    t_s: float


class Night:
    """The system; `runs` are those that were begun, the last one is recording."""

    def __init__(
        self,
        settings: Settings,
        *,
        control: BenchControl,
        disk: SmallDisk,
        clock: FakeClock | None,
        spec: dict[str, Any],
        rng: random.Random,
    ) -> None:
        self.settings, self.control, self.disk, self.clock = settings, control, disk, clock
        self.spec, self.rng = spec, rng
        self.runs: list[Path] = []
        self.n_judged = 0  # of these
        self.seen: dict[Path, Seen] = {}
        self.watch = Watch(settings)

    # --- runs ---

    @property
    def run(self) -> Path:
        """The run that is recording."""
        return self.runs[-1]

    def begin(self) -> None:
        """Begin a run and wait until it has something to lose."""
        until(lambda: self.is_idle, "the run before to be complete")
        started = self._started()
        self._began_s = time.monotonic()
        self.runs.append(Path(started["run"]))
        until(lambda: self.core()["safe"]["records"] > 3, "records that are safe")

    def _started(self) -> dict[str, Any]:
        """A run is refused by name until run control has heard of a service that came back."""
        deadline = time.monotonic() + HEALTHY_S
        while True:
            try:
                return system.start_run(self.settings, comment="faults")
            except NotConnectedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_S)

    def end(self) -> None:
        """End the run, complete on disk."""
        system.stop_run(self.settings, "enough")

    @property
    def is_up(self) -> bool:
        """Whether any service is."""
        return bool(services_now())

    @property
    def is_idle(self) -> bool:
        """Whether the last run is complete."""
        return bool(system.status()["state"] == "idle")

    @property
    def age_s(self) -> float:
        """How long the run has been recording."""
        return time.monotonic() - self._began_s

    # --- what is known now ---

    def rate_hz(self, digitizer: str) -> float:
        return float(self.spec["digitizers"][digitizer]["sample_rate_hz"])

    def core(self) -> dict[str, Any]:
        return system.ask(self.settings, "core", "status", timeout_s=30.0)

    def pid(self, name: str) -> int:
        """Of a service; 0 while there is none."""
        process = services_now().get(name)
        return process.pid if process else 0

    def instrument(self, name: str) -> str:
        """State of an instrument, as the service that asks it says."""
        return self.instruments()[name]

    def instruments(self) -> dict[str, str]:
        """State of each."""
        told = system.ask(self.settings, "instruments", "status", timeout_s=30.0)
        return {name: str(row["state"]) for name, row in told["instruments"].items()}

    def look(self) -> Snapshot:
        """Note what is on the disk: from now on it must never be missing."""
        core = self.core()
        assert core["run"] is not None
        self.seen.setdefault(self.run, set()).update(records_in(self.run))
        return Snapshot(
            pids={name: process.pid for name, process in services_now().items()},
            next={name: row["next"] for name, row in core["digitizers"].items()},
            begun={name: row["begun"] for name, row in core["digitizers"].items()},
            safe=core["safe"],
            run=core["run"],
            t_s=time.monotonic(),
        )

    def healthy(self, than: dict[str, int]) -> str:
        """Why it is not: empty where all are up, nothing is wrong and samples become durable."""
        told = system.status()
        if told["problem"]:
            return f"problem: {told['problem']}"
        for name, row in told["services"].items():
            if row["state"] in ("lost", "given up") or row.get("problem"):
                return f"{name}: {row['state']}: {row.get('problem')}"
        if told["state"] != "running":
            return f"state {told['state']}"
        for name, row in told["core"]["digitizers"].items():
            if row["state"] != "streaming" or row["next"] <= than.get(name, 0):
                return f"{name} {row}"
        return "; ".join(f"{n} is {said}" for n, said in self.instruments().items() if said != "ok")

    def wait_healthy(self, timeout_s: float = HEALTHY_S) -> None:
        """Until everything is as it should be and newer samples than now are durable."""
        why = [""]
        deadline = time.monotonic() + timeout_s
        than: dict[str, int] = {}
        while True:
            with suppress(ScheeliteError):
                if not (why := [self.healthy(than)])[0]:
                    break
            assert time.monotonic() < deadline, f"not well after {timeout_s:g} s: {why[0]}"
            time.sleep(0.1)
        until_ns = self.core()["safe"]["until_ns"]
        until(lambda: self.core()["safe"]["until_ns"] > until_ns, "new samples to be durable")


def records_in(run: Path) -> Seen:
    """What can be read of a run now."""
    with open_run(run) as read:
        return {
            (channel.name, trigger)
            for channel in read.channels
            for trigger in read.records(channel.name)[0]["trigger"].tolist()
        }


def services_now() -> dict[str, processes.Process]:
    """What the supervisor remembers of those that run."""
    found = processes.remembered(runtime_dir())
    return {} if found is None else {n: p for n, p in found.services.items() if p.pid}


def died(pid: int) -> bool:
    """Whether a process is gone, or only waits to be noticed."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def config_text(text: str, told: list[dict[str, Any]], data: Path) -> str:
    """The default config connected to a bench, with two raw streams and small files."""
    document: Any = tomlkit.parse(text)  # Any: tomlkit's tables are typed as unions
    storage = document["storage"]
    storage.update({"raw": list(RAW), "rotate_s": 10.0, "rotate_bytes": 16 << 20})
    storage.update({"reserve_bytes": 4 << 20, "bytes_per_hour": 100 << 20})
    for digitizer in document["digitizers"].values():
        digitizer["silent_after_s"] = 4.0
    return tomlkit.dumps(document)


@contextmanager
def night(
    folder: Path, seed: int, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> Iterator[Night]:
    """A system that is up and streams; everything that was started is ended."""
    given = load(default_config())
    spec = bench_of(given) | {
        "seed": seed,
        "start_utc": START_UTC,
        "control_port": 0,
        "late": "lose",
    }
    spec["truth_dir"] = str(folder / "truth")
    change(spec)
    runtime = folder / "rt"
    runtime.mkdir(0o700)
    with (
        pytest.MonkeyPatch.context() as patch,
        small_disk(DISK) as disk,
        simulator("bench", spec, folder / "bench.log") as told,
    ):
        patch.setenv("SCHEELITE_RUNTIME", str(runtime))
        config = folder / "bench.toml"
        text = connected(given, told, disk.path / "runs")
        config.write_text(config_text(text, told, disk.path), encoding="utf-8")
        resources = {each["name"]: each["resource"] for each in told}
        clock = fake_clock(folder)
        settings = load(config)
        with BenchControl(resources["control"]) as control:
            with clock.for_children() if clock else nullcontext():
                supervisor = system.up(settings)
            system.wait_until_streaming(settings, UP_S)
            made = Night(
                settings,
                control=control,
                disk=disk,
                clock=clock,
                spec=spec,
                rng=random.Random(seed),
            )
            try:
                yield made
            finally:
                made.watch.stop()
                if supervisor.poll() is None:
                    supervisor.terminate()
                supervisor.wait(120)
                for process in services_now().values():  # where a supervisor was killed
                    with suppress(ProcessLookupError):
                        os.kill(process.pid, 9)
