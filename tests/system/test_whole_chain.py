"""All processes on one bench: what a user does, and what happens when things die or are wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from daq.services import processes, system
from daq.settings.loader import Settings
from daq.store.reader import open_run
from daq.store.verify import verify
from tests.faults.night import died
from tests.system.chain import (
    DEADLINE_S,
    SCHEELITE,
    bench,
    cli,
    cli_json,
    core,
    kill,
    pid_of,
    services,
    until,
)
from tests.truth import newest_truth, read_truth

INSTRUMENTS = {"fridge", "pulser", *(f"squids{n}" for n in range(1, 6))}  # of the default bench


def flat_out(spec: dict) -> None:
    """A seeded bench that waits for its reader: every sample is the same in every run of it."""
    spec["pace"] = "flat-out"
    spec["start_utc"] = "2026-01-01T00:00:00Z"
    spec["seed"] = 5


def everything(folder: Path) -> dict[str, bytes]:
    """All that a run says of its samples, as bytes."""
    with open_run(folder) as run:
        result = {}
        for channel in run.channels:
            table, samples = run.records(channel.name)
            result[f"{channel.name} table"] = table.tobytes()
            result[f"{channel.name} samples"] = np.asarray(samples[:]).tobytes()
        tables = {"events": run.events(), "members": run.members(), "gaps": run.gaps()}
        tables["ledger"] = np.sort(run.ledger(), order=["channel", "start"])
        tables["anchors"] = np.sort(run.anchors(), order=["digitizer", "sample"])
        return result | {name: rows.tobytes() for name, rows in tables.items()}


def recorded(tmp_path: Path, duration_s: float, kills: int) -> Path:
    """A run on the seeded bench whose core is killed `kills` times in the middle of it."""
    with bench(tmp_path, flat_out) as config, services(config) as settings:
        started = system.start_run(settings, duration_s=duration_s)
        for n in range(1, kills + 1):
            share = n / (kills + 1)
            until(
                lambda share=share: core(settings)["elapsed_s"] > share * duration_s,
                "the moment to kill the core",
            )
            kill("core")
        system.wait_for_end(settings, started["number"])
        return Path(started["run"])


@pytest.mark.soak  # too long for the gate
@pytest.mark.timeout(240)
def test_a_core_killed_in_mid_run_writes_what_its_undisturbed_twin_writes(runtime, tmp_path):
    twin = recorded(tmp_path / "twin", 60.0, kills=0)
    killed = recorded(tmp_path / "killed", 60.0, kills=2)
    assert verify(killed).problems == []
    with open_run(killed) as run:
        assert sum(run.n_records().values()) > 300
        assert run.gaps().size == 0
        names = [channel.name for channel in run.channels]
        silicon, cwo = (1 << names.index(name) for name in ("SI", "CWO"))
        muons = [e for e in run.events() if int(e["channels"]) & silicon]
        # a muon is in both vetoes and in some crystals within 1 us, by two digitizers' clocks;
        # a channel misses it while in its holdoff: CWO about one in ten, a crystal one in eight
        both = [e for e in muons if int(e["channels"]) & cwo]
        assert len(muons) > 10
        assert len(both) >= 0.75 * len(muons)
        assert sum(int(e["channels"]) & (silicon - 1) > 0 for e in both) >= 0.6 * len(both)
        assert np.all(np.diff(run.events()["t_ns"]) >= 0)
    assert everything(killed) == everything(twin)


def test_up_run_status_stop_down_as_a_user_does_it(runtime, tmp_path):
    with bench(tmp_path) as config:
        told = cli_json("up", config)
        assert {
            "folder",
            "core",
            "instruments",
            "digitizer.targets",
            "digitizer.vetoes",
            "run",
        } == set(told["services"])
        again = cli("up", config)
        assert again.returncode == 2
        assert "is up already" in again.stderr
        system.wait_until_streaming(system.settings_of_what_is_up(), 30.0)
        started = cli_json("run", "start", "--comment", "by hand")
        second = cli("run", "start")
        assert second.returncode == 2
        assert (
            "run control is running, which allows pause, comment, label, stop; found start"
            in second.stderr
        )
        running = cli_json("status")
        assert running["run"] == started["run"]
        assert running["state"] == "running"
        assert all(row["pid"] for row in running["services"].values())
        stopped = cli_json("run", "stop")
        assert stopped == started
        assert cli("run", "stop").returncode == 2
        ended = cli_json("down")["ended"]
        assert "supervisor" in ended
        assert cli("down").returncode == 2
        assert cli_json("status")["state"] == "down"
    assert cli_json("verify", started["run"])["ok"]
    with open_run(Path(started["run"])) as run:
        assert run.comment == "by hand"
        assert {r["instrument"].decode() for r in run.readings()} == INSTRUMENTS


def test_a_run_is_readable_with_nothing_but_h5py(runtime, tmp_path):
    out = cli_json("demo", "--seconds", 3, "--out", tmp_path)
    with h5py.File(Path(out["run"]) / "run_000001.h5") as file:
        for name, n in out["records"].items():
            assert len(file[f"records/{name}/table"]) == n
            assert file[f"records/{name}/samples"].shape[0] == n
        ledger = file["livetime"][:]
        parts = [ledger[name] for name in ledger.dtype.names[3:]]
        assert np.array_equal(np.sum(parts, axis=0), ledger["stop"] - ledger["start"])
        assert len(file["readings"]) > 0
        assert len(file["events"]) > 0
        triggers_ns = {name: file[f"records/{name}/table"]["t_ns"] for name in out["records"]}
    late_ns = np.concatenate([_after_truth_ns(tmp_path, *each) for each in triggers_ns.items()])
    # a trigger comes with its pulse's rise; a few may be noise, or the tail of a large pulse
    assert np.mean(np.abs(late_ns) < 2e6) > 0.9, late_ns
    assert out["gaps"] == 0
    assert out["seconds"] == 3.0
    assert Path(out["report"]).read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def _after_truth_ns(folder: Path, channel: str, t_ns: np.ndarray) -> np.ndarray:
    """How long after the nearest true hit of its channel each trigger came."""
    rows = read_truth(newest_truth(folder / "truth"))
    true_ns = np.array([row.t_ns for row in rows if row.channel == channel])
    distances = t_ns[:, None] - true_ns
    return distances[np.arange(len(t_ns)), np.abs(distances).argmin(axis=1)]


@pytest.mark.soak  # the fault table of the gate kills each of them, too
@pytest.mark.parametrize("name", ["folder", "run", "instruments", "digitizer.vetoes"])
def test_any_service_can_be_killed_and_the_run_goes_on_whole(runtime, tmp_path, name):
    with bench(tmp_path) as config, services(config) as settings:
        started = system.start_run(settings)
        until(lambda: core(settings)["safe"]["records"] > 3, "some records")
        before = pid_of(name)
        kill(name)
        until(lambda: system.status()["services"][name]["pid"] not in (None, before), "a new one")
        until(lambda: system.status()["services"][name]["state"] != "lost", "news of it")
        records = core(settings)["safe"]["records"]
        until(lambda: core(settings)["safe"]["records"] > records + 3, "more records")
        until(lambda: system.status()["state"] == "running", "run control to know")
        system.stop_run(settings, "enough")
    assert verify(Path(started["run"])).problems == []


@pytest.mark.timeout(240)
def test_sigterm_ends_runs_cleanly_however_long_the_core_is_away_and_however_often_it_comes(
    runtime, tmp_path
):
    """To the core alone, which is away for longer than a buffer; then to all, by the impatient."""
    with bench(tmp_path) as config:
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("buffer_s = 30.0", "buffer_s = 2.0"), encoding="utf-8")
        assert cli("up", config).returncode == 0
        settings = system.settings_of_what_is_up()
        first = begun(settings)
        supervisor = remembered(runtime).supervisor
        os.kill(supervisor.pid, signal.SIGSTOP)  # nobody starts another core for now
        ended = pid_of("core")
        os.kill(ended, signal.SIGTERM)
        until(lambda: died(ended), "the core's end")
        until(lambda: lost_samples(settings) > 0, "more than the buffer holds")
        os.kill(supervisor.pid, signal.SIGCONT)
        until(lambda: system.status()["state"] == "idle", "the first run to be complete")
        second = begun(settings)
        found = remembered(runtime)
        while processes.alive(supervisor):
            with suppress(ProcessLookupError):
                os.kill(supervisor.pid, signal.SIGTERM)
            time.sleep(0.1)
        assert processes.still_alive(found) == []
        assert processes.remembered(runtime) is None  # it came to its own end
    reasons = {first: "core terminated", second: "services go down"}
    for folder, reason in reasons.items():
        assert verify(folder).problems == []
        with open_run(folder) as run:
            assert (run.complete, run.reason, run.gaps().size) == (True, reason, 0)


def begun(settings: Settings) -> Path:
    """A run that has something to lose."""
    system.wait_until_streaming(settings, DEADLINE_S)
    started = system.start_run(settings)
    until(lambda: core(settings)["safe"]["records"] > 3, "some records")
    with open_run(Path(started["run"])) as run:  # as it is written
        assert not run.complete
        assert sum(run.n_records().values()) > 0
    return Path(started["run"])


def remembered(runtime: Path) -> processes.Up:
    """What is up."""
    found = processes.remembered(runtime)
    assert found is not None
    return found


def lost_samples(settings: Settings) -> int:
    """What the service of a digitizer had to drop."""
    return int(system.ask(settings, "digitizer.targets", "status")["lost_samples"])


def test_ctrl_c_ends_a_demo_cleanly_with_a_verified_run(runtime, tmp_path):
    command = [str(SCHEELITE), "demo", "--seconds", "600", "--out", str(tmp_path), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("run_*/log/*.log")), "the run to begin")
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert cli_json("verify", json.loads(out)["run"])["ok"]


@pytest.mark.soak  # waits for a buffer's 30 s
def test_a_digitizer_that_stops_sending_ends_a_demo_by_name_and_loses_nothing(runtime, tmp_path):
    command = [str(SCHEELITE), "demo", "--seconds", "600", "--out", str(tmp_path), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("run_*/log/*.log")), "the run to begin")
    simulator = next(
        p for p in psutil.Process(child.pid).children() if "sim_hardware" in " ".join(p.cmdline())
    )
    simulator.suspend()
    out, err = child.communicate(timeout=100)
    simulator.wait(10)
    assert child.returncode == 3
    assert "stopped sending" in err
    assert len(err.strip().splitlines()) == 1
    assert cli_json("verify", json.loads(out)["run"])["ok"]


# --- bad input: one sentence, an exit code, nothing lost ---


def refused(code: int, *arguments: object, said: str) -> None:
    done = cli(*arguments)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(runtime, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = Path("config/bench.toml").read_text().replace("port = 7777", f"port = {port}", 1)
        config = tmp_path / "taken.toml"
        config.write_text(text)
        refused(2, "sim", config, said=f"fridge: cannot listen on 127.0.0.1:{port}")


def test_an_endpoint_in_use_is_named_by_up(runtime, tmp_path):
    with socket.socket() as taken, bench(tmp_path) as config:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = config.read_text().replace(
            "[endpoints]", f'[endpoints]\n"core.raw" = "tcp://127.0.0.1:{port}"'
        )
        config.write_text(text)
        refused(2, "up", config, said=f"cannot listen on tcp://127.0.0.1:{port}")
        assert cli_json("status")["state"] == "down"


def test_a_config_with_mistakes_names_all_of_them(runtime, tmp_path):
    config = tmp_path / "bad.toml"
    text = Path("config/bench.toml").read_text()
    for a, b in (
        ("pretrigger = 2048", "pretrigger = 9000"),
        ("coincidence_window_s = 0.002", 'coincidence_window = "2 mV"'),
        ('digitizer = "vetoes", input = 1', 'digitizer = "veto", input = 1'),
        ("seed = 1", "sed = 1"),
        ("poll_s = 2.0", "poll_s = -2.0"),
    ):
        assert a in text
        text = text.replace(a, b, 1)
    config.write_text(text)
    done = cli("config", "check", config)
    assert done.returncode == 2
    for said in (
        "kinds.target", "events.coincidence_window", "channels.CWO.digitizer", "bench.sed",
        "instruments.squids1.poll_s",
    ):  # fmt: skip
        assert said in done.stderr
    assert "5 mistakes" in done.stderr
    assert cli("up", config).returncode == 2
    told = json.loads(cli("config", "check", config, "--json").stdout)
    assert len(told["problems"]) == 5


@pytest.mark.parametrize("command", ["verify", "replay", "show"])
def test_missing_foreign_and_truncated_files_are_refused(runtime, tmp_path, command):
    more = ["--out", tmp_path / "out"] if command == "replay" else []
    refused(2, command, tmp_path / "nix", *more, said="nix")
    foreign = tmp_path / "foreign.h5"
    foreign.write_bytes(b"certainly neither HDF5 nor LJH\n" * 10)
    refused(2, command, foreign, *more, said="foreign.h5")


def test_an_output_folder_that_cannot_be_is_a_storage_error(runtime, tmp_path):
    (tmp_path / "file").write_text("")
    refused(4, "demo", "--seconds", 2, "--out", tmp_path / "file" / "runs", said="file/runs")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_the_bench_announces_each_instrument(runtime, tmp_path):
    text = Path("config/bench.toml").read_text()
    text = re.sub(r"^port = \d+", "port = 0", text, flags=re.MULTILINE)
    config = tmp_path / "free.toml"
    config.write_text(text)
    child = subprocess.Popen(
        [str(SCHEELITE), "sim", str(config), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    told = [json.loads(child.stdout.readline()) for _ in range(2 + len(INSTRUMENTS))]
    assert {t["name"] for t in told} == {"targets", "vetoes", *INSTRUMENTS}
    assert all(set(t) == {"name", "model", "resource"} for t in told)
    child.terminate()
    assert child.wait(10) == 0
    child.stdout.close()


@pytest.mark.soak  # too long for the gate
def test_the_window_dies_and_the_run_does_not_notice(runtime, tmp_path):
    with bench(tmp_path) as config, services(config) as settings:
        started = system.start_run(settings)
        window = subprocess.Popen(
            [sys.executable, "-m", "gui", str(config)],
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            stderr=subprocess.DEVNULL,
        )
        until(lambda: core(settings)["safe"]["records"] > 5, "some records")
        window.kill()
        window.wait()
        records = core(settings)["safe"]["records"]
        until(lambda: core(settings)["safe"]["records"] > records + 3, "more records")
        system.stop_run(settings, "enough")
    report = verify(Path(started["run"]))
    assert report.problems == []
