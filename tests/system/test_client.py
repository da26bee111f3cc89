"""The Python client against a running system: all of it in one, as a notebook would."""

from __future__ import annotations

import re

import httpx
import pytest

from daq.client import Laboratory, check, rebuild_catalogue, report, runs, verify_all
from daq.errors import CheckError, OutOfRangeError, RefusedError, UsageError
from tests.system.chain import bench, services, until

WATCH = """
[alarms.recording]
watch = "run.recording"
above = 0.5

[web]
port = 0
"""


def test_nothing_up_is_one_sentence(runtime):
    with pytest.raises(RefusedError, match="nothing is up"):
        Laboratory()


def test_a_notebook_does_all_that_the_command_line_does(runtime, tmp_path):
    with bench(tmp_path) as config:
        config.write_text(config.read_text(encoding="utf-8") + WATCH, encoding="utf-8")
        with services(config):
            lab = Laboratory()
            with lab.run("from a notebook", label="A") as run:
                until(lambda: lab.status().exposure_g_d > 0, "exposure")
                status = lab.status()
                assert status.state == "running"
                assert status.run == run.folder
                assert status.services["core"] == "running"
                assert status.channels["C11"].livetime_s > 0
                lab.pause()
                until(lambda: lab.status().state == "paused", "the pause")
                lab.resume()
                lab.comment("helium was filled")
                lab.label("B")
                until(lab.alarms, "the alarm")
                lab.silence("recording", 60.0)
                lab.acknowledge("recording")
                assert lab.alarms()[0].acknowledged_by
                with pytest.raises(UsageError, match="one of the alarms recording"):
                    lab.acknowledge("nothing")
                reading = lab.readings()["fridge.input 6.temperature"]
                assert reading.unit == "K"
                assert 0.005 < reading.value < 0.05
                assert lab.write("fridge", "setpoint", 0.01) == 0.01
                assert lab.read("fridge", "setpoint") == 0.01
                with pytest.raises(OutOfRangeError):
                    lab.write("fridge", "setpoint", 300.0)
                assert lab.instruments()["fridge"]["model"] == "lakeshore372"
                assert lab.quantities()["fridge.input 6.temperature"] == "K"
                lab.take_lease(0.1)
                held = lab.lease()
                assert held is not None
                lab.release_lease()
                assert lab.lease() is None
                with pytest.raises(UsageError, match="expected a tuning in"):
                    lab.undo_tune()
                for busy in (lab.tune, lab.ivs):
                    with pytest.raises(RefusedError, match="is being recorded"):
                        busy()
                assert lab.tune_steps("C11")["C11"][0][0] == "identify"
                with pytest.raises(CheckError, match="random records so far, found none"):
                    lab.levels(sigmas=5.0)
                assert all(f.ok for f in lab.why() if f.link.startswith("service"))
                url = lab._ask("run", "status")["web"]
                told = httpx.get(f"{url}metrics").text
                assert float(re.search(r"(?m)^scheelite_run_recording (\S+)", told)[1]) == 1.0
                assert 'parameter="input 6.temperature"' in told
                until(lambda: httpx.get(f"{url}state").json()["pulses"], "a record on the page")
            assert run.verify().ok
            until(lambda: runs(lab.data_dir), "the catalogue")
    (row,) = runs(lab.data_dir, text="helium", label="B", channel="C11")
    assert (row.run, row.labels) == (run.number, "A B")
    assert abs(row.exposure_g_d - sum(c.exposure_g_d for c in run.summary().channels)) < 1e-12
    assert rebuild_catalogue(lab.data_dir) == []
    assert verify_all([run.folder]).ok
    assert check(lab._settings.path) == []
    assert runs(lab.data_dir) == [row]
    table, samples = run.read().records("C11")
    assert len(table) == len(samples)
    page = report([run.folder], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "helium was filled" in page
    assert "alarm recording" in page
    assert "instruments: write" in page
