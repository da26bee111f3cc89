"""A short night with everything that goes wrong in one, from its plan to its morning report."""

from __future__ import annotations

from pathlib import Path

from daq.services import system
from tests.night_course import MXC, course, judge
from tests.system.chain import cli, cli_json, until

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
# a machine that is busy brings the services up late: each fault comes again and again
HEATS = [
    {"kind": "fridge_warm_up", "at_s": at, "for_s": 10.0, "heat_w": 2e-5}
    for at in range(60, 600, 40)
]
TRIPS = [{"kind": "compressor_trip", "at_s": at, "for_s": 10.0} for at in range(70, 600, 40)]
STORMS = [
    {"kind": "unlock_storm", "channel": "C12", "at_s": at, "for_s": 5.0, "rate_hz": 2.0}
    for at in range(30, 600, 30)
]


def test_a_night_with_every_fault_ends_with_a_report_that_agrees_with_the_truth(runtime, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    with course(tmp_path, speed=SPEED, warm_k=0.009, scenario=[*HEATS, *TRIPS, *STORMS]) as night:
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
    morning = judge(folder, told, tmp_path)
    assert len(morning.runs) == 1
    assert abs(morning.report["duration_s"] - 60.0) < 0.01
    assert any(said.startswith("alarm deaf: acknowledged by ") for said in morning.said)
    assert any(said.startswith("alarm warm (critical): ") for said in morning.said)
    quiet = set(morning.isolated) - {"C12"}  # which loses its lock again and again
    placed = sum(morning.isolated[channel] for channel in quiet)
    assert placed > 100
    assert sum(morning.found[channel] for channel in quiet) >= 0.97 * placed, morning
