"""A short night with everything that goes wrong in one, from its plan to its morning report."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from daq.services import system
from daq.services.report_command import write
from daq.store.names import run_folder
from daq.store.reader import open_run
from tests.night_course import MXC, course
from tests.system.chain import cli, cli_json, until
from tests.truth import newest_truth, read_truth

SPEED = 3.0
PLAN = f"""
name = "short"

[[first]]
kind = "wait"
watch = "{MXC}"
below = "20 mK"
stable = "5 s"
timeout = "10 min"

[[first]]
kind = "run"
label = "A"
comment = "a short night"
duration = "60 s"

[[last]]
kind = "write"
instrument = "fridge"
parameter = "setpoint"
value = 0.0
"""
HEAT = {"kind": "fridge_warm_up", "at_s": 5.0, "for_s": 600.0, "heat_w": 2e-4}
TRIP = {"kind": "compressor_trip", "at_s": 30.0, "for_s": 20.0}
STORMS = [
    {"kind": "unlock_storm", "channel": "C12", "at_s": at, "for_s": 5.0, "rate_hz": 2.0}
    for at in range(30, 600, 30)
]


def test_a_night_with_every_fault_ends_with_a_report_that_agrees_with_the_truth(runtime, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    with course(tmp_path, speed=SPEED, scenario=[HEAT, TRIP, *STORMS]) as night:
        settings = night.settings
        rehearsed = cli_json("night", plan, "--dry-run")["steps"]
        assert [row["part"] for row in rehearsed] == ["first", "first", "last"]
        folder = Path(cli_json("night", plan)["folder"])
        until(lambda: system.ask(settings, "core", "status")["elapsed_s"] > 5.0, "the run to move")
        assert cli("night", plan).returncode == 2  # one at a time
        night.kill("core")
        night.control.order("fridge", "silent")
        night.kill("run")
        until(lambda: "deaf" in night.told, "the shift to hear of the dead instrument")
        rows = {row["name"]: row for row in system.alarms(settings)}
        assert rows["deaf"]["state"] == "standing"
        system.acknowledge(settings, "deaf")
        night.control.clear("fridge")
        until(lambda: night.night()["state"] == "over", "the night's end", timeout_s=120.0)
        until(lambda: night.night()["report"], "the morning report", timeout_s=120.0)
        told = night.night()
        assert told["outcome"] == "done", told
        assert (tmp_path / "pulse").exists()
    check(folder, told, tmp_path)


def check(folder: Path, told, tmp_path: Path) -> None:
    """The report, the run's own log and the catalogue against the bench's truth."""
    runs = [run for row in told["steps"] for run in row["runs"]]
    page = (folder / "report.html").read_text(encoding="utf-8")
    (run,) = (run_folder(tmp_path / "runs", number) for number in runs)
    found = write([folder], tmp_path / "again.html")
    assert found["whole"]
    assert abs(found["duration_s"] - 60.0) < 0.01
    dead_s = sum(found["dead_s"].values())
    assert abs(found["live_s"] + dead_s - found["real_s"]) < 1e-6
    assert abs(found["exposure_g_d"] - found["live_s"] * 0.75 / 86400) < 1e-9
    said = cli_json("runs", "search", "short night", "--data", tmp_path / "runs")["runs"]
    assert [row["run"] for row in said] == runs
    assert abs(said[0]["exposure_g_d"] - found["exposure_g_d"]) < 1e-9
    with open_run(run) as read:
        messages = [row["text"].decode() for row in read.messages()]
        compare_with_truth(read, tmp_path / "runs" / "truth")
        sums = [file.sha256 for file in read.files()]
    assert all(sum_ in page for sum_ in sums)
    assert re.search(r"alarm deaf \(warning\): .* is stale; is the bridge switched on\?", page)
    assert any(re.search(r"alarm deaf: acknowledged by ", each) for each in messages)
    assert any("write" in each and "setpoint" in each for each in messages) or "setpoint" in str(
        told
    )


def compare_with_truth(read, truth: Path) -> None:
    """Every big pulse of the truth within the run is a record, or in time that counts as dead."""
    hits = read_truth(newest_truth(truth))
    digitizers = {d.name: d for d in read.digitizers}
    expected, found = Counter(), Counter()
    for channel in read.channels:
        if not channel.mass_g:
            continue
        of, stop = digitizers[channel.digitizer], read.stops[channel.digitizer]
        triggers = sorted(read.records(channel.name)[0]["trigger"].tolist())
        for hit in hits:
            inside = of.start + 20_000 < hit.sample < stop - 20_000
            if hit.channel == channel.name and inside and 4000 < hit.energy_ev < 8000:
                expected[channel.name] += 1
                near = any(hit.sample - 500 < t < hit.sample + 8192 for t in triggers)
                found[channel.name] += near
    assert sum(expected.values()) > 100
    quiet = set(expected) - {"C12"}  # which loses its lock again and again
    share = sum(found[c] for c in quiet) / sum(expected[c] for c in quiet)
    assert share > 0.9, (found, expected)
