"""The drivers of refrigerators against the simulated bench: two readings of one manual."""

from __future__ import annotations

import contextlib
import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from daq.errors import OutOfRangeError
from daq.wire import sockets
from drivers import catalogue
from drivers.fridge.composed import Janis
from drivers.fridge.fridge import view

WAIT_S = 60.0
CONFIG = Path(__file__).parents[2] / "config" / "bench.toml"
MODELS = {
    "triton": "triton",
    "api": "bluefors-api",
    "bftc": "bftc",
    "bridge": "leiden-bridge",
    "ghs": "leiden-ghs",
    "logs": "bluefors-logs",
}
WITH_STAGES = ("triton", "api", "bftc", "bridge", "logs")
# what each must have on the bench, beside whatever else is there
EXPECTED = {
    "triton": {"temperature.mxc", "temperature.still", "heater.still", "pressure.p6", "valve.v9",
               "pump.turb1", "control.setpoint"},
    "api": {"temperature.mxc", "temperature.still", "temperature.4k", "temperature.50k",
            "heater.heater_4", "pressure.p1", "flow.circulation"},
    "bftc": {"temperature.mxc", "temperature.still", "temperature.4k", "temperature.50k",
             "heater.heater_4", "heater.heater_4.active", "control.heater_4.setpoint"},
    "bridge": {"temperature.mxc", "temperature.still", "pressure.p1"},
    "ghs": {"pressure.p7", "flow.circulation", "valve.v9", "status.state"},
    "logs": {"temperature.mxc", "temperature.still", "temperature.4k", "temperature.50k",
             "pressure.p1", "flow.circulation", "valve.v9", "pump.turbo1"},
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A bench with every refrigerator in a process of its own; name -> resource."""
    table = tomllib.loads(CONFIG.read_text())["bench"]
    folder = tmp_path_factory.mktemp("fridges")
    (folder / "logs").mkdir()
    made = {name: {"model": model, "port": 0} for name, model in MODELS.items() if name != "logs"}
    made["logs"] = {"model": "bluefors-logs", "folder": str(folder / "logs")}
    made["lakeshore"] = {"model": "lakeshore372", "port": 0}
    path = folder / "bench.json"
    path.write_text(json.dumps({**table, "digitizers": {}, "instruments": made, "wiring": {}}))
    command = [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [json.loads(process.stdout.readline()) for _ in made]
        yield {line["name"]: line["resource"] for line in lines}
        process.terminate()


@pytest.fixture
def connected(bench):
    with contextlib.ExitStack() as stack:

        def connect(name):
            driver = catalogue.instrument(MODELS[name])
            return stack.enter_context(contextlib.closing(driver(bench[name])))

        yield connect


def readings(fridge, until):
    """All readings, taken again until there is what must be there; with a deadline."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = {r.name: r for r in fridge.readings(time.time_ns)}
        if until({name for name, r in found.items() if r.source == "read"}):
            return found
        assert time.monotonic() < deadline, {n: r.text for n, r in found.items() if r.text}
        threading.Event().wait(0.1)


def named(fridge, name):
    (bound,) = [b for b in fridge.parameters() if b.name == name]
    return bound


@pytest.mark.parametrize("name", MODELS)
def test_every_refrigerator_has_what_the_bench_gives_it(connected, name):
    found = readings(connected(name), until=lambda names: names >= EXPECTED[name])
    for reading in found.values():
        assert reading.source in ("read", "error")
        assert isinstance(reading.value, str | None) or math.isfinite(reading.value)
        assert abs(reading.t_ns - time.time_ns()) < 300e9


@pytest.mark.parametrize("name", WITH_STAGES)
def test_all_of_them_see_one_mixing_chamber(connected, name):
    wanted = {"temperature.mxc", "temperature.still"}
    found = readings(connected(name), until=lambda names: names >= wanted)
    seen = view(found.values(), now_ns=time.time_ns(), good_for_s=120.0)
    assert 0.005 < seen.temperature["mxc"].value < 0.1
    assert 0.3 < seen.temperature["still"].value < 1.5
    assert (seen.temperature["mxc"].unit, seen.temperature["mxc"].stale) == ("K", False)


def test_what_a_refrigerator_does_not_have_is_absent(connected):
    found = readings(connected("triton"), until=lambda names: "temperature.mxc" in names)
    seen = view(found.values(), now_ns=time.time_ns(), good_for_s=60.0)
    assert "t13" not in seen.temperature
    assert dict(seen.flow) == {}


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("triton", "control.setpoint", 0.015),
        ("triton", "control.range", 0.001),
        ("triton", "control.pid", {"proportional": 7.0, "integral": 3.0, "derivative": 0.0}),
        ("triton", "heater.still", 1e-3),
        ("bftc", "heater.heater_4.active", True),
        ("bftc", "heater.heater_4", 1e-6),
        ("bftc", "control.heater_4.setpoint", 0.02),
        ("api", "control.heater_4.setpoint", 0.021),
    ],
)
def test_they_hold_what_is_written(connected, name, parameter, value):
    fridge = connected(name)
    readings(
        fridge, until=lambda names: parameter.split(".")[0] in {n.split(".")[0] for n in names}
    )
    held = named(fridge, parameter).write(value)
    assert getattr(held, "value", held) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_out_of_range_is_refused(connected, name):
    fridge = connected(name)
    readings(fridge, until=lambda names: names >= EXPECTED[name])
    for bound in fridge.parameters():
        description = bound.parameter.datatype.describe()
        if bound.parameter.tell is not None and description.maximum is not None:
            with pytest.raises(OutOfRangeError, match="is outside"):
                bound.write(description.maximum + 1)


def test_a_controlled_heater_shows_the_power_of_its_history(connected):
    bftc = connected("bftc")
    named(bftc, "heater.heater_4.active").write(True)
    named(bftc, "control.heater_4.setpoint").write(0.05)
    named(bftc, "control.heater_4.closed_loop").write(True)
    found = readings(bftc, until=lambda names: "heater.heater_4" in names)
    assert found["heater.heater_4"].value >= 0.0
    assert named(bftc, "control.heater_4.closed_loop").write(False) is False


def test_a_janis_is_the_lake_shore_of_the_bench(bench):
    with contextlib.closing(Janis(bench["lakeshore"])) as janis:
        seen = view(janis.readings(time.time_ns), now_ns=time.time_ns(), good_for_s=60.0)
    assert set(seen.temperature) == {"50k", "4k", "still", "mxc"}
    assert 0.005 < seen.temperature["mxc"].value < 0.1
    assert "still" in seen.heater


def test_the_service_polls_all_of_them_side_by_side(bench, runtime, tmp_path):
    others = CONFIG.read_text().partition("[instruments.")[0]
    sections = [re.sub(r', squid = "[^"]*"', "", others)]  # of electronics that are not here
    for name, model in {**MODELS, "janis": "janis"}.items():
        resource = bench["lakeshore" if name == "janis" else name]
        sections.append(
            f'[instruments.{name}]\nmodel = "{model}"\nresource = "{resource}"\npoll_s = 0.5\n'
        )
    path = tmp_path / "fridges.toml"
    path.write_text("\n".join(sections))
    command = [sys.executable, "-W", "error", "-m", "drivers", "instruments", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with sockets.calling(f"ipc://{runtime}/instruments.commands", "instruments") as caller:
            status = status_with(caller, everybody_well)
            written = caller.call(
                "write", 20.0, instrument="triton", parameter="control.setpoint", value=0.016
            )
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=WAIT_S)
    assert (process.returncode, "Traceback" in said) == (0, False), said
    assert (written["value"], written["unit"], written["source"]) == (0.016, "K", "read")
    published = status["readings"]
    for name in (*WITH_STAGES, "janis"):
        assert published[f"{name}.temperature.mxc"]["unit"] == "K"
        assert published[f"{name}.temperature.mxc"]["stale"] is False
    assert "triton.temperature.t13" not in published


def everybody_well(status):
    wanted = [f"{name}.temperature.mxc" for name in (*WITH_STAGES, "janis")]
    found = [status["readings"].get(name, {"value": None, "stale": True}) for name in wanted]
    well = all(instrument["state"] == "ok" for instrument in status["instruments"].values())
    # the first poll reads every setting as well, and takes longer than a reading is good for
    return well and all(each["value"] is not None and not each["stale"] for each in found)


def status_with(caller, condition):
    """The first status for which `condition` holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition(status := caller.call("status", 20.0)):
        assert time.monotonic() < deadline, status["instruments"]
        threading.Event().wait(0.1)
    return status
