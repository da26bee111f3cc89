"""A short night from its plan to its report: a fridge that warms, a compressor that trips, a storm
of lost locks, a dead instrument and killed services."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from daq.errors import RefusedError, ScheeliteError
from daq.services import system
from tests.night_course import MXC, Course, course, judge
from tests.system.chain import cli_json, until

SPEED = 1.5
LEAST_S = 30.0  # of samples
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
duration = "1 h"

[[last]]
kind = "write"
instrument = "fridge"
parameter = "setpoint"
value = 0.0
"""
WARM_K = 0.0082  # beyond the usual 8.02 mK; the sensors' own plate is still where they work
# a machine that is busy brings the services up late: they come again and again
SCENARIO = [
    {**entry, "at_s": entry["at_s"] + later}
    for later in range(0, 600, 40)
    for entry in (
        {"kind": "unlock_storm", "channel": "C12", "at_s": 20.0, "for_s": 5.0, "rate_hz": 2.0},
        {"kind": "fridge_warm_up", "at_s": 25.0, "for_s": 3.0, "heat_w": 1e-5},
        {"kind": "compressor_trip", "at_s": 30.0, "for_s": 10.0},
    )
]


def test_a_night_with_faults_ends_with_a_report_that_agrees_with_the_truth(runtime, tmp_path):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN, encoding="utf-8")
    with course(tmp_path, speed=SPEED, scenario=SCENARIO, warm_k=WARM_K) as night:
        settings = night.settings
        rehearsed = cli_json("night", plan, "--dry-run")["steps"]
        assert [row["part"] for row in rehearsed] == ["first", "first", "last"]
        folder = Path(system.start_night(settings, plan)["folder"])
        with pytest.raises(RefusedError, match="night short is in progress"):
            system.start_night(settings, plan)
        until(lambda: elapsed_s(night) > 3.0, "the run to move")
        night.kill("core")
        night.control.order("fridge", "silent")
        night.kill("run")
        until(lambda: "deaf" in night.told, "the shift to hear of the dead instrument")
        assert {row["name"]: row["state"] for row in system.alarms(settings)}["deaf"] == "standing"
        system.acknowledge(settings, "deaf")
        night.control.clear("fridge")
        until(lambda: elapsed_s(night) > LEAST_S, "enough data")
        for alarm in ("warm", "compressor"):
            until(lambda alarm=alarm: alarm in night.told, f"the shift to hear of {alarm}")
        system.stop_night(settings)  # what comes at seven o'clock in a real one
        until(lambda: night.night()["report"], "the morning report", timeout_s=300.0)
        told = night.night()
        assert (tmp_path / "pulse").exists()
    assert told["outcome"].startswith("stopped by the operator")
    assert [row["outcome"] for row in told["steps"]][-1] == "done"  # the heater is off
    morning = judge(folder, told, tmp_path)
    assert len(morning.runs) == 1  # the core was killed, and none of it lost
    assert morning.report["duration_s"] > LEAST_S
    assert any(said.startswith("alarm deaf: acknowledged by ") for said in morning.said)
    quiet = set(morning.isolated) - {"C12"}  # which loses its lock again and again
    placed = sum(morning.isolated[channel] for channel in quiet)
    assert placed > 20
    assert sum(morning.found[channel] for channel in quiet) >= 0.97 * placed, morning


def elapsed_s(night: Course) -> float:
    """Of the run's samples."""
    with suppress(ScheeliteError):  # the core is just being started again
        return float(system.ask(night.settings, "core", "status")["elapsed_s"])
    return 0.0
