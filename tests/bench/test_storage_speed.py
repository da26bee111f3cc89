"""Storage: the log, the folding, the compression, and what the default bench writes in an hour."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from daq.services import system
from daq.store import names
from daq.store.chunks import shuffle_pairs
from daq.store.compression import chunk_rows, write_dataset
from daq.store.folder import Folder
from daq.store.frames import Kind
from daq.store.log import LogSettings, LogWriter
from daq.store.reader import open_run
from daq.store.verify import verify
from tests.bench.results import memcpy_s, note
from tests.bench.test_chain_speed import at_rate
from tests.store_storm import SAMPLES, batch, storm_start
from tests.system.chain import bench, services

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
TRIGGERED_S, CONTINUOUS_S = 300.0, 60.0
N_COMMITS = 2000


def cpu_s(act: Callable[[], object], n: int = 3) -> float:
    """Median CPU seconds of a call."""
    act()
    times = []
    for _ in range(n):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return float(np.median(times))


def recorded(tmp_path: Path, raw: str, seconds: float) -> Path:
    """A run of the default bench, as fast as it goes."""
    with bench(tmp_path, at_rate(250e3, "flat-out")) as config:
        text = config.read_text().replace("[storage]", f'[storage]\nraw = "{raw}"')
        config.write_text(text)
        with services(config) as settings:
            started = system.start_run(settings, duration_s=seconds)
            system.wait_for_end(settings, started["number"], timeout_s=600.0)
    return Path(started["run"])


def per_hour(folder: Path, what: str, seconds: float) -> None:
    n_bytes = sum(path.stat().st_size for path in folder.glob("*.h5"))
    note(f"default bench, {what}", n_bytes / seconds * 3600 / 1e9, "GB per hour")


def test_bytes_per_hour_and_compression_of_pulses(runtime, tmp_path) -> None:
    folder = recorded(tmp_path, "none", TRIGGERED_S)
    per_hour(folder, "triggered", TRIGGERED_S)
    with open_run(folder) as run:
        targets = [c.name for c in run.channels if c.mass_g]
        pulses = np.concatenate([run.records(name)[1][:] for name in targets])[:2000]
    compare("records of the bench's targets", pulses)
    noise = np.random.default_rng(1).normal(0, 4, (1000, 8192)).astype("<i2")
    compare("white noise of 4 counts", noise)


def test_bytes_per_hour_with_all_raw_streams(runtime, tmp_path) -> None:
    folder = recorded(tmp_path, "all", CONTINUOUS_S)
    per_hour(folder, "continuous and triggered", CONTINUOUS_S)
    with open_run(folder) as run:
        stream = np.concatenate([samples for _, samples in run.raw("C11")])
    compare("raw stream of a target", stream[: 1 << 23])


def compare(what: str, samples: np.ndarray) -> None:
    """Each compression against h5py's own gzip in the same run."""
    theirs, their_bytes = written(lambda file: h5py_gzip(file, samples))
    note(f"{what}: h5py gzip-1", samples.nbytes / theirs / 1e6, "MB per CPU second")
    note(f"{what}: h5py gzip-1, ratio", samples.nbytes / their_bytes, "times smaller")
    for kind in ("gzip", "bitshuffle-lz4", "none"):
        ours, n_bytes = written(lambda file, kind=kind: write_dataset(file, "x", samples, kind))
        speed = samples.nbytes / ours / 1e6
        note(f"{what}: {kind}", speed, "MB per CPU second", theirs / ours, "h5py gzip-1")
        ratio = samples.nbytes / n_bytes
        note(f"{what}: {kind}, ratio", ratio, "times smaller", their_bytes / n_bytes, "h5py gzip-1")
    raw = samples.reshape(-1).view(np.uint8)
    copy, out = memcpy_s(raw.size), np.empty_like(raw)
    spent = cpu_s(lambda: shuffle_pairs(raw, out))
    note(f"{what}: shuffle", raw.size / spent / 1e6, "MB per CPU second", copy / spent, "memcpy")


def written(write: Callable[[h5py.File], h5py.Dataset]) -> tuple[float, int]:
    """CPU seconds of making an image, and the bytes of its dataset."""
    sizes = []

    def act() -> None:
        with h5py.File("x", "w", driver="core", backing_store=False, block_size=1 << 22) as file:
            dataset = write(file)
            file.flush()
            sizes.append(dataset.id.get_storage_size())

    return cpu_s(act), sizes[0]


def h5py_gzip(file: h5py.File, samples: np.ndarray) -> h5py.Dataset:
    chunks = (chunk_rows(samples), *samples.shape[1:])
    filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    return file.create_dataset("x", data=samples, chunks=chunks, **filters)


def commits(folder: Path, pause_s: float, n: int) -> Iterator[float]:
    """Seconds that each of `n` commits of 131 kB took to hand over, then to sync them all."""
    folder.mkdir(parents=True)
    with LogWriter(folder, LogSettings(), lambda _: None, time.monotonic) as writer:
        writer.external(Kind.RUN_START, storm_start())
        for k in range(n):
            began = time.perf_counter()
            writer.commit(batch(k), b"%d" % k)
            yield time.perf_counter() - began
            time.sleep(pause_s)
        began = time.perf_counter()
        writer.sync()
        yield time.perf_counter() - began


def test_the_log_and_the_folding(tmp_path: Path) -> None:
    folder = tmp_path / "run_000007"
    n_bytes = N_COMMITS * SAMPLES.nbytes
    copy = memcpy_s(n_bytes)
    spent = sum(commits(folder, 0.0, N_COMMITS))
    note("log: commit and sync, unthrottled", n_bytes / spent / 1e6, "MB/s", copy / spent, "memcpy")
    folding = Folder(tmp_path, time.time_ns)
    began, cpu = time.perf_counter(), time.process_time()
    folding.finish(7, abandoned=True)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    note("fold: log to proven segments", n_bytes / wall / 1e6, "MB/s", copy / cpu, "memcpy")
    note("fold: log to proven segments", n_bytes / cpu / 1e6, "MB per CPU second")
    assert names.complete_path(folder).exists()
    began = time.perf_counter()
    assert verify(folder).problems == []
    spent = time.perf_counter() - began
    note("verify", n_bytes / spent / 1e6, "MB/s", copy / spent, "memcpy")
    paced = sorted(list(commits(tmp_path / "slow" / "run_000008", 0.004, 1000))[:-1])
    for name, value in (("median", paced[500]), ("p99", paced[990]), ("longest", paced[-1])):
        note(f"log: put at 25 MB/s, {name}", value * 1e3, "ms")
