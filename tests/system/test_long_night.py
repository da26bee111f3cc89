"""`make night`: eight hours with every fault, faster than time, from the plan to the report."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daq.services.nightclock import night_clock
from daq.settings.loader import runtime_dir
from tests.night_course import MXC, course, judge
from tests.system.chain import cli_json, until

HOURS = float(os.environ.get("NIGHT_HOURS", "8"))
SPEED = float(os.environ.get("NIGHT_SPEED", "8"))
HOUR_S = 3600.0
KILLS = ((0.3, "core"), (0.45, "run"), (0.5, "instruments"), (0.9, "folder"))  # shares of it
PLAN = """
name = "a night of {hours:g} h"
until = "{until}"

[[first]]
kind = "wait"
watch = "{mxc}"
below = "12 mK"
stable = "1 min"
timeout = "30 min"

[[first]]
kind = "noise"
duration_s = {noise_s}
rate_hz = 2.0

[[repeat]]
kind = "wait"
watch = "{mxc}"
below = "12 mK"
stable = "2 min"
timeout = "4 h"
otherwise = "go-on"

[[repeat]]
kind = "run"
label = "A"
comment = "physics"
duration_s = {run_s}
stop_if = [{{ watch = "{mxc}", above = "12 mK", for = "5 s" }}]

[[last]]
kind = "write"
instrument = "fridge"
parameter = "setpoint"
value = 0.0
"""


def scenario(length_s: float) -> list[dict[str, object]]:
    """Unlock storm, warm-up and compressor trip, at shares of the night; after ten minutes without
    its compressor the cryostat needs two hours to be cold again."""
    minute_s = length_s / (8 * 60)  # of a night of eight hours
    return [
        {"kind": "unlock_storm", "channel": "C12", "at_s": 0.2 * length_s, "for_s": 5 * minute_s,
         "rate_hz": 1.0},
        {"kind": "fridge_warm_up", "at_s": 0.35 * length_s, "for_s": 10 * minute_s, "heat_w": 2e-5},
        {"kind": "compressor_trip", "at_s": 0.55 * length_s, "for_s": 10 * minute_s},
    ]  # fmt: skip


@pytest.mark.night
@pytest.mark.timeout(0)
def test_a_whole_night_needs_nobody(runtime, tmp_path, capsys):
    length_s = HOURS * HOUR_S
    with course(tmp_path, speed=SPEED, scenario=scenario(length_s)) as night:
        now_ns = night_clock(SPEED, runtime_dir())
        began_s, wall_s = now_ns() / 1e9, time.monotonic()
        ends = datetime.fromtimestamp(began_s).astimezone() + timedelta(seconds=length_s + 60)
        plan = tmp_path / "plan.toml"
        plan.write_text(
            PLAN.format(hours=HOURS, until=f"{ends:%H:%M}", mxc=MXC, run_s=length_s / 8,
                        noise_s=length_s / 48),
            encoding="utf-8",
        )  # fmt: skip
        folder = Path(cli_json("night", plan)["folder"])
        at(now_ns, began_s + 0.25 * length_s, "the dead instrument")
        night.control.order("fridge", "silent")
        until(lambda: "deaf" in night.told, "the shift to hear of it", timeout_s=600)
        night.control.clear("fridge")
        for share, service in KILLS:
            at(now_ns, began_s + share * length_s, f"the end of {service}")
            night.kill(service)
        until(lambda: night.night()["state"] == "over", "the end", length_s / SPEED + 1800)
        until(lambda: night.night()["report"], "the morning report", timeout_s=1800)
        told = night.night()
        wall_s = time.monotonic() - wall_s
    told["steps"] = json.loads((folder / "journal.json").read_text())["rows"]
    morning = judge(folder, told, tmp_path)
    assert told["outcome"] == "done"
    for alarm in ("warm", "compressor"):
        assert any(said.startswith(f"alarm {alarm} (critical): ") for said in morning.said)
    quiet = set(morning.isolated) - {"C12"}
    placed = sum(morning.isolated[channel] for channel in quiet)
    found = sum(morning.found[channel] for channel in quiet)
    report = morning.report
    with capsys.disabled():
        print(
            f"\n{HOURS:g} h at {SPEED:g} times time in {wall_s / 60:.1f} min: runs {morning.runs}, "
            f"{report['records']} records, {report['exposure_g_d']:.4g} g d, "
            f"live {100 * report['live_s'] / report['real_s']:.2f} %, "
            f"{found} of {placed} isolated 4 to 8 keV hits in records, report {told['report']}"
        )
    assert found >= 0.97 * placed


def at(now_ns, then_s: float, what: str) -> None:
    """Wait for a time of the night."""
    until(lambda: now_ns() / 1e9 >= then_s, what, timeout_s=2 * HOURS * HOUR_S / SPEED + 60)
