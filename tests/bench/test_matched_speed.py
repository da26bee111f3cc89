"""The optimum filter's search against memcpy: decimated, at full rate, per trigger, by channels."""

from __future__ import annotations

import json
import os
import subprocess
import time
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daq.acquire import kernels
from daq.acquire.coarse import chi2_of, coarse
from daq.acquire.matched import MatchedFilters
from tests.bench.results import memcpy_s, note
from tests.filters import adc, template, tes_filter, with_pulses

pytestmark = pytest.mark.bench
LENGTH, PRETRIGGER, SHAPE_RATE_HZ = 16384, 4096, 50e3  # 16384 samples hold the whole pulse
RATE_HZ = 1e6
CHUNK = 65536
SIGMAS = 6.0
PEERS = Path(__file__).parents[2] / "build" / "peers-venv"
FILTER = replace(tes_filter(LENGTH, PRETRIGGER, SHAPE_RATE_HZ), rate_hz=RATE_HZ)


def stream(channels: int, seconds: float = 1.0) -> np.ndarray:
    """White noise of 10 counts and 5 pulses/s of 20 sigma and more in each, at 1 MS/s."""
    n = int(RATE_HZ * seconds)
    shape = template(LENGTH, PRETRIGGER, SHAPE_RATE_HZ)
    rows = []
    for seed in range(channels):
        rng = np.random.default_rng(seed)
        at = rng.integers(0, n, round(5 * seconds))
        rows.append(adc(with_pulses(rng.normal(0, 10, n), shape, PRETRIGGER, at, [60] * at.size)))
    return np.array(rows)


def rate(x: np.ndarray, factor: int | None, repeats: int = 3) -> tuple[float, int]:
    """Samples per CPU second, median, and the triggers of one pass."""
    search = MatchedFilters([FILTER] * len(x), [SIGMAS * FILTER.sigma] * len(x), 0, factor=factor)
    times = []
    for _ in range(repeats + 1):
        began, found = time.process_time(), 0
        for i in range(0, x.shape[1], CHUNK):
            search.feed(x[:, i : i + CHUNK])
            found += sum(c.sample.size for c in search.take())
        times.append(time.process_time() - began)
    return x.size / float(np.median(times[1:])), found  # the first compiles


def test_sixteen_channels():
    x = stream(16)
    copy = memcpy_s(x.nbytes) / x.size
    for name, factor in (("decimated", None), ("full rate", 1)):
        per_s, found = rate(x, factor)
        name = f"optimum filter, 16 ch, 16384 samples, 5 pulses/s/ch, {name}"
        note(name, per_s / 1e6, "MS/s per CPU second", copy * per_s, "memcpy")
        assert found > 16 * 3


def peers_python() -> Path | None:
    """Python with the peers, made at the first time; None where they cannot be installed."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        venv.create(PEERS, with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "detprocess==0.7.3", "lmfit", "cait==1.3.0"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    return python if done.returncode == 0 else None


@pytest.mark.parametrize("peer", ["detprocess", "cait"])
def test_peers(peer, tmp_path):
    """The same four channels of a second, single-threaded; ours found in the same run."""
    python, x = peers_python(), stream(4)
    if python is None:
        pytest.skip(f"{peer} cannot be installed here: its ratio is left out")
    np.savez(
        tmp_path / "stream.npz",
        **{name: getattr(FILTER, name) for name in ("template", "psd", "rate_hz", "pretrigger")},
        x=x,
        sigma=FILTER.sigma,
        sigmas=SIGMAS,
    )
    run = [python, "-W", "ignore", Path(__file__).with_name("peers.py"), peer]
    done = subprocess.run(
        [*run, tmp_path / "stream.npz"],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    per_s = x.size / theirs["cpu_s"]
    note(f"optimum filter, 4 ch, {peer}", per_s / 1e6, "MS/s per CPU second")
    many = stream(16)  # theirs takes one channel after the other, ours all at once
    for name, factor in (("decimated", None), ("full rate", 1)):
        ours, _ = rate(many, factor)
        note(f"optimum filter, 16 ch, {name}, for {peer}", ours / 1e6, "MS/s", ours / per_s, peer)
        ours, found = rate(x, factor)
        note(f"optimum filter, 4 ch, {name}, for {peer}", ours / 1e6, "MS/s", ours / per_s, peer)
    assert theirs["found"] == pytest.approx(found, rel=0.5)  # they merge and cut ends otherwise


def test_cost_by_channels():
    for channels in (1, 4, 8, 16, 32, 64):
        per_s, _ = rate(stream(channels), None)
        note(f"optimum filter, {channels} ch", per_s / 1e6, "MS/s per CPU second")


def test_a_refinement():
    x = stream(1)[0]
    weights = FILTER.kernel.astype(np.float32)
    begins = np.random.default_rng(1).integers(100, x.size - LENGTH - 100, 2000)
    one = coarse(FILTER, 1.0, 32)
    for begin in begins[:5].tolist():
        kernels.climb(x, weights, begin, begin - 16, begin + 16)
        chi2_of([(one, x[begin:], 0.0, 1.0)])
    began = time.process_time()
    for begin in begins.tolist():
        kernels.climb(x, weights, begin, begin - 16, begin + 16)
    climbs = (time.process_time() - began) / begins.size
    began = time.process_time()
    for begin in begins.tolist():
        chi2_of([(one, x[begin:], 0.0, 1.0)])
    chi2 = (time.process_time() - began) / begins.size
    note("refinement of a trigger to full rate, 16384 samples", climbs * 1e6, "us")
    note("its chi2", chi2 * 1e6, "us")


def found_nothing(search, x: np.ndarray, chunk: int) -> None:
    room = np.empty(chunk, np.int64), np.empty(chunk, np.int64)
    for row in x:
        for i in range(0, row.size, chunk):
            search(row[i : i + chunk], *room)


@pytest.mark.parametrize("chunk", [8192, 65536])
def test_level_and_edge(chunk):
    x = adc(np.random.default_rng(1).normal(0, 10, (16, 1 << 21)))
    copy = memcpy_s(x.nbytes)
    kinds = {
        "level": lambda y, a, b: kernels.level_crossings(y, 2000, 1500, True, a, b),
        "edge": lambda y, a, b: kernels.edge_crossings(y, 16, 2000, 1500, True, a, b),
    }
    for name, search in kinds.items():
        times = []
        for _ in range(6):
            began = time.process_time()
            found_nothing(search, x, chunk)
            times.append(time.process_time() - began)
        took = float(np.median(times[1:]))
        label = f"{name} trigger, 16 ch, chunks of {chunk}"
        note(label, x.size / took / 1e6, "MS/s per CPU second", copy / took, "memcpy")
