"""The whole chain on one machine: bench, digitizer services, core, log, files."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from daq.services import system
from daq.store.reader import open_run
from tests.bench.results import memcpy_s, note
from tests.system.chain import bench, core, pid_of, services

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
CHANNELS = 11
SECONDS = 20.0
NAMES = ("digitizer.targets", "digitizer.vetoes", "core", "folder", "instruments", "run")


def at_rate(rate_hz: float, pace: str):
    def change(spec: dict) -> None:
        spec["pace"] = pace
        for digitizer in spec["digitizers"].values():
            digitizer["sample_rate_hz"] = rate_hz

    return change


def with_decimation(config: Path, factor: int) -> None:
    """Records at 50 kS/s whatever the digitizer's rate."""
    config.write_text(config.read_text().replace("decimation = 5", f"decimation = {factor}"))


def bench_process() -> psutil.Process:
    return next(
        child
        for child in psutil.Process().children()
        if "sim_hardware" in " ".join(child.cmdline())
    )


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@pytest.mark.parametrize("rate_hz", [50e3, 250e3, 1e6])
def test_eleven_channels_in_real_time_without_a_gap(runtime, tmp_path, rate_hz):
    with bench(tmp_path, at_rate(rate_hz, "clock")) as config:
        with_decimation(config, round(rate_hz / 50e3))
        with services(config) as settings:
            processes = {name: psutil.Process(pid_of(name)) for name in NAMES}
            processes["bench"] = bench_process()
            started = system.start_run(settings, duration_s=SECONDS)
            before, began = {n: cpu_s(p) for n, p in processes.items()}, time.monotonic()
            while core(settings)["elapsed_s"] < SECONDS - 0.5:
                time.sleep(0.2)
            elapsed = time.monotonic() - began
            used = {n: (cpu_s(p) - before[n]) / elapsed for n, p in processes.items()}
            system.wait_for_end(settings, started["number"])
    with open_run(Path(started["run"])) as run:
        assert run.gaps().size == 0
        samples = sum(int(row["stop"] - row["start"]) for row in run.ledger())
    assert samples == round(CHANNELS * rate_hz * SECONDS)
    label = f"chain, 11 x {rate_hz / 1e3:g} kS/s"
    copy = memcpy_s(2 * samples) / SECONDS
    for name, share in used.items():
        note(f"{label}: CPU of {name}", share, "cores", share / copy, "memcpy of the same bytes")
    total = sum(used.values())
    note(f"{label}: CPU of all", total, "cores", total / copy, "memcpy of the same bytes")
    note(f"{label}: margin on two cores", 2 / total, "times")
    note(f"{label}: samples", samples / SECONDS / 1e6, "MS/s, 0 gaps")


def test_flat_out(runtime, tmp_path):
    """As fast as it goes: a source that waits, so that nothing can be lost."""
    seconds = 60.0
    with bench(tmp_path, at_rate(1e6, "flat-out")) as config:
        with_decimation(config, 20)
        with services(config) as settings:
            processes = {name: psutil.Process(pid_of(name)) for name in NAMES}
            before = {n: cpu_s(p) for n, p in processes.items()}
            began = time.monotonic()
            started = system.start_run(settings, duration_s=seconds)
            while core(settings)["run"] is not None:
                time.sleep(0.05)
            elapsed = time.monotonic() - began
            system.wait_for_end(settings, started["number"])  # the folder has made its files
            used = {n: (cpu_s(p) - before[n]) for n, p in processes.items()}
    samples = CHANNELS * 1e6 * seconds
    copy = memcpy_s(round(2 * samples))
    note(
        "chain flat out, simulator included",
        samples / elapsed / 1e6,
        "MS/s",
        copy / elapsed,
        "memcpy",
    )
    for name in ("core", "digitizer.targets", "folder"):
        rate = samples / used[name] / 1e6
        note(f"chain flat out: {name}", rate, "MS/s per CPU second", copy / used[name], "memcpy")
