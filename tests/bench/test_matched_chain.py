"""The whole chain with optimum filters: blocks from another process, core, log, folder, HDF5.

Sixteen channels at 1 MS/s, 5 pulses/s in each, searched and recorded at their full rate: templates
and records of 8192 samples. The sender is the test's own thread, which repeats samples made before:
it stands for the digitizer service, whose cost is measured in test_chain_speed.py. Counted: the
processes of the core and of the folder.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from daq.errors import ScheeliteError
from daq.services import system
from daq.services.filterfile import write_filters
from daq.settings.loader import Settings, load
from daq.store import numbers
from daq.store.reader import open_run
from daq.wire import codec, sockets
from daq.wire.schemas import AnchorItem, BlockHeader, StreamEnd
from tests.bench.results import memcpy_s, note
from tests.filters import adc, template, tes_filter, with_pulses
from tests.system.chain import until
from tests.system.digitizer_double import T0_NS, DigitizerDouble

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
LENGTH, PRETRIGGER, RATE_HZ, BLOCK = 8192, 2048, 1_000_000, 25_000
WARM_S = 3.0
FILE_S = 25.5  # after which a file of the log is full
MADE_S = 3  # seconds of samples, which are repeated
# pulses of 0.3 and 3.6 ms would not fit into 8 ms: four times faster ones
FILTER = replace(tes_filter(LENGTH, PRETRIGGER, 250e3), rate_hz=float(RATE_HZ))
CONFIG = """
[experiment]
name = "bench"
data_dir = "{data}"
[storage]
reserve_bytes = 0
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
silent_after_s = 20.0
[kinds.k]
record_length = 8192
pretrigger = 2048
triggers = [{{ kind = "{kind}", {more}, holdoff = 4096 }}]
[filters]
file = "{file}"
[channels]
{channels}
"""
KINDS = {
    "matched": "threshold_sigma = 6.0",
    "edge": "edge_span = 100, threshold = 150.0, rearm = 50.0",
}


class Repeating(DigitizerDouble):
    """Sends blocks made before over and over, numbered on, until `seconds` were sent."""

    def __init__(self, endpoint: str, x: np.ndarray, seconds: float, *, paced: bool) -> None:
        super().__init__(endpoint, x, rate_hz=float(RATE_HZ), n=BLOCK)
        self._blocks = [x[:, i : i + BLOCK].tobytes() for i in range(0, x.shape[1], BLOCK)]
        self._until, self._paced, self._began = round(seconds * RATE_HZ), paced, 0.0
        self.samples = np.broadcast_to(
            x[:, :1], (len(x), self._until + 1)
        )  # only its shape matters

    def _held(self, at: int | None) -> bool:
        if at is None or at >= self._until:
            return at is not None
        self._began = self._began or time.monotonic()
        return self._paced and time.monotonic() < self._began + (at + BLOCK) / RATE_HZ

    def _block(self, at: int) -> int:
        second = -(-at // RATE_HZ)
        marks = [AnchorItem(second * RATE_HZ, T0_NS + second * 10**9)]
        header = BlockHeader(
            digitizer=self.digitizer,
            epoch=self.epoch,
            asked=self._asked,
            start=at,
            n_channels=len(self.samples),
            n_samples=BLOCK,
            anchors=marks if second * RATE_HZ < at + BLOCK else [],
            gaps=[],
        )
        payload = self._blocks[at // BLOCK % len(self._blocks)]
        if not self._send(header, memoryview(payload)):
            return at
        if at + BLOCK >= self._until:
            end = StreamEnd(digitizer=self.digitizer, epoch=self.epoch, stop=at + BLOCK)
            self._socket.send(codec.encode(end))
        return at + BLOCK


def stream(channels: int) -> np.ndarray:
    """White noise of 10 counts, and 5 pulses/s of 400 counts in each channel."""
    n, shape = MADE_S * RATE_HZ, template(2 * LENGTH, PRETRIGGER, 250e3)
    rows = []
    for seed in range(channels):
        rng = np.random.default_rng(seed)
        at = rng.integers(0, n, 5 * MADE_S)
        base = rng.standard_normal(n, np.float32) * 10
        rows.append(adc(with_pulses(base, shape, PRETRIGGER, at, [400] * at.size)))
    return np.array(rows)


@contextmanager
def chain(tmp_path: Path, channels: int, kind: str) -> Iterator[tuple[Settings, list[int]]]:
    """A core and a folder as processes, and their ids."""
    names = [f"C{i}" for i in range(channels)]
    write_filters(tmp_path / "filters", dict.fromkeys(names, FILTER))
    rows = [f'{n} = {{ kind = "k", digitizer = "d", input = {i} }}' for i, n in enumerate(names)]
    text = CONFIG.format(
        data=tmp_path / "runs", file=tmp_path / "filters", channels="\n".join(rows), kind=kind,
        more=KINDS[kind],
    )  # fmt: skip
    config = tmp_path / "bench.toml"
    config.write_text(text)
    started = [
        subprocess.Popen([sys.executable, "-m", "daq", service, config])
        for service in ("core", "folder")
    ]
    try:
        yield load(config), [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
            process.wait(30)


def cpus_s(processes: list[int]) -> dict[str, float]:
    """CPU seconds of core and folder so far."""
    times = [psutil.Process(one).cpu_times() for one in processes]
    return {n: float(t.user + t.system) for n, t in zip(("core", "folder"), times, strict=True)}


@contextmanager
def running(
    tmp_path: Path, channels: int, seconds: float, kind: str, *, paced: bool
) -> Iterator[tuple[Settings, list[int]]]:
    """A run of so many seconds of samples, past the first few, in which kernels are loaded, and
    the ids of core and folder; afterwards every pulse must be there."""
    with chain(tmp_path, channels, kind) as (settings, processes):
        sender = Repeating(settings.endpoint("core.blocks"), stream(channels), seconds, paced=paced)
        sender.start()
        until(lambda: _streaming(settings), "the stream")
        path = numbers.new_run(settings.data_dir)  # the first
        system.ask(settings, "core", "start", run=1, folder=str(path), timeout_s=60.0)
        until(lambda: _elapsed_s(settings) > WARM_S, "the kernels to be loaded", 300)
        yield settings, processes
        until(lambda: _done(settings), "the end of the run", 300)
        _finish(settings)
        sender.done.set()
        sender.join()
    with open_run(path) as run:
        found = sum(len(run.records(channel.name)[0]) for channel in run.channels)
        assert run.gaps().size == 0
        assert found > 0.8 * 5 * channels * seconds


def flat_out(
    tmp_path: Path, channels: int, seconds: float, kind: str = "matched"
) -> tuple[float, dict[str, float]]:
    """Wall seconds, and CPU seconds of core and folder, per second of samples, to the run's end."""
    with running(tmp_path, channels, seconds, kind, paced=False) as (settings, processes):
        before, skipped, began = cpus_s(processes), _elapsed_s(settings), time.monotonic()
        until(lambda: _done(settings), "the end of the run", 300)
        wall, left = time.monotonic() - began, seconds - skipped
        _finish(settings)
        used = cpus_s(processes)
    return wall / left, {n: (u - before[n]) / left for n, u in used.items()}


def steadily(tmp_path: Path, channels: int, kind: str) -> dict[str, float]:
    """CPU seconds of core and folder per second of samples at 1 MS/s, while the run goes on: from
    one segment to the next but one."""
    seconds = 3.7 * FILE_S
    with running(tmp_path, channels, seconds, kind, paced=True) as (settings, processes):
        until(lambda: _segments(settings) == 1, "a segment", 60)
        before, since = cpus_s(processes), _elapsed_s(settings)
        threading.Event().wait(1.9 * FILE_S)  # asking costs something
        until(lambda: _segments(settings) == 3, "two more", 60)
        used, until_s = cpus_s(processes), _elapsed_s(settings)
        assert until_s < seconds
    return {name: (cpu - before[name]) / (until_s - since) for name, cpu in used.items()}


def _finish(settings: Settings) -> None:
    system.ask(settings, "folder", "finish", run=1, timeout_s=120.0)


def _streaming(settings: Settings) -> bool:
    try:
        state = system.ask(settings, "core", "status", timeout_s=5.0)["digitizers"]["d"]["state"]
    except ScheeliteError:  # the core is coming up
        return False
    return state in ("waiting", "streaming")


def _segments(settings: Settings) -> int:
    threading.Event().wait(0.5)
    runs = system.ask(settings, "folder", "status", timeout_s=30.0)["runs"]
    return int(runs.get("1", {"segments": 0})["segments"])


def _elapsed_s(settings: Settings) -> float:
    threading.Event().wait(0.05)
    return float(system.ask(settings, "core", "status", timeout_s=30.0)["elapsed_s"])


def _done(settings: Settings) -> bool:
    threading.Event().wait(0.05)  # longer would be a share of the time measured
    return system.ask(settings, "core", "status", timeout_s=30.0)["run"] is None


@pytest.mark.parametrize("kind", ["matched", "edge"])
def test_paced(runtime, tmp_path, kind):
    used = steadily(tmp_path, 16, kind)
    copy = memcpy_s(2 * 16 * RATE_HZ)
    for name, share in used.items():
        note(f"chain, 16 x 1 MS/s {kind}: {name}", share, "cores", share / copy, "memcpy")


def test_paced_while_a_window_looks(runtime, tmp_path):
    """With what a console subscribes to; its own cost is measured in test_gui_speed.py."""
    endpoints, over, seen = [f"ipc://{runtime}/core.{of}" for of in ("traces", "pulses")], [], []

    def look() -> None:
        with closing(sockets.subscribe(*endpoints)) as socket:
            while not over:
                if socket.poll(100):
                    seen.append(len(sockets.receive(socket)))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        used = steadily(tmp_path, 16, "matched")
    finally:
        over.append(True)
        looking.join()
    assert len(seen) > 30 * 3 * FILE_S  # traces of more than 30 blocks a second
    for name, share in used.items():
        note(f"chain, 16 x 1 MS/s matched, looked at: {name}", share, "cores")


@pytest.mark.parametrize("kind", ["matched", "edge"])
def test_flat_out(runtime, tmp_path, kind):
    wall, used = flat_out(tmp_path, 16, 180.0, kind)
    samples = 16 * RATE_HZ
    copy = memcpy_s(round(2 * samples))
    note(f"chain flat out, 16 ch {kind}", samples / wall / 1e6, "MS/s", copy / wall, "memcpy")
    for name, cpu in used.items():
        note(f"chain flat out, 16 ch {kind}: {name}", samples / cpu / 1e6, "MS/s per CPU second",
             copy / cpu, "memcpy")  # fmt: skip


def test_cost_by_channels(runtime, tmp_path):
    for channels in (4, 8, 16, 32, 64):
        folder = tmp_path / str(channels)
        folder.mkdir()
        _, used = flat_out(folder, channels, 1600.0 / channels)
        rate = channels * RATE_HZ / used["core"] / 1e6
        note(f"chain flat out, core, {channels} ch", rate, "MS/s per CPU second")
