"""Pauses, comments and labels, from the command line to the run's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from daq.store.reader import open_run
from tests.system.chain import bench, cli, cli_json, core, kill, services, until


@pytest.mark.soak  # too long for the gate
def test_what_an_operator_says_of_a_run_is_in_its_file(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    with bench(tmp_path) as config, services(config) as settings:
        refused = cli("run", "pause")
        assert refused.returncode != 0
        assert "run control is idle, which allows start; found pause" in refused.stderr
        run = Path(cli_json("run", "start", "--label", "A")["run"])
        until(lambda: core(settings)["safe"]["records"] > 2, "records")
        cli_json("run", "comment", "the compressor knocks [again]")
        cli_json("run", "pause")
        assert cli_json("status")["state"] == "paused"
        assert "is paused" in cli("doctor").stdout.replace("\n", " ")
        kill("core")
        until(lambda: cli_json("status")["core"].get("state") == "paused", "the core to be back")
        assert "found pause" in cli("run", "pause").stderr
        cli_json("run", "label", "ignore")
        cli_json("run", "resume")
        before = core(settings)["safe"]["records"]
        until(lambda: core(settings)["safe"]["records"] > before, "records after the pause")
        assert core(settings)["state"] == "running"
        cli_json("run", "stop")
        shown = cli_json("show", run)
        told = cli("show", run).stdout
    remarks = [(remark["kind"], remark["text"]) for remark in shown["remarks"]]
    comment = ("comment", "anna: the compressor knocks [again]")
    assert remarks == [("label", "A"), comment, ("label", "ignore")]
    assert "[again]" in told
    assert all(channel["dead_s"]["paused"] > 0.1 for channel in shown["channels"])
    assert cli("verify", run).returncode == 0
    with open_run(run) as read:
        said = [row["text"].decode() for row in read.messages()]
        labels = [change["label"] for change in read.inputs() if change["input"] == "label"]
    assert "anna to run control: pause(): done" in said
    assert labels == ["A", "ignore"]
