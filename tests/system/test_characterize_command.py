"""`scheelite characterize` on services in processes of their own, against the bench's truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daq.errors import UsageError
from daq.services import cli
from sim_hardware.world.tes import BATH_K, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear
from tests.tuning_bench import tuning_bench

P = TesParameters()
DEADLINE_S = 280.0
UNHEATED = {"initial": "tuned", "tes": {"all": {"heater_w": 0.0}}}


def scheelite(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daq.services.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_ivs_of_several_at_once(tmp_path: Path) -> None:
    with tuning_bench(tmp_path, ["C11", "C12"], rate_hz=20e3, initial="tuned") as settings:
        done = scheelite("characterize", str(settings.path), "--all", "--json")
        assert done.returncode == 0, done.stderr
    for found in json.loads(done.stdout)["channels"].values():
        assert found["iv"]["r_normal_ohm"][0] == pytest.approx(P.r_normal_ohm, rel=0.01)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_heated_sensor_is_measured_by_the_command(tmp_path: Path) -> None:
    with tuning_bench(tmp_path, ["C11"], rate_hz=50e3, **UNHEATED) as settings:
        config = str(settings.path)
        wanted = ("--bias-ua", "0.93", "--heater-fw", "23.5", "--json")
        done = scheelite("characterize", config, "--channel", "C11", *wanted)
        assert done.returncode == 0, done.stderr
        refused = scheelite("characterize", config, "--channel", "C77")
        assert refused.returncode == 2
        assert "expected one of the detectors C11, found 'C77'" in refused.stderr
    found = json.loads(done.stdout)
    assert found["iv"]["r_normal_ohm"][0] == pytest.approx(P.r_normal_ohm, rel=0.01)
    assert found["iv"]["r_load_ohm"][0] == pytest.approx(P.r_load_ohm, rel=0.02)
    (point,) = found["points"]
    op = operating_point(P, bias_a=point["bias_a"], bath_k=BATH_K, heater_w=23.5e-15)
    assert point["r_ohm"] == pytest.approx(op.r_ohm, rel=0.02)
    assert point["loop_gain"][0] == pytest.approx(op.loop_gain, rel=0.05)
    assert point["tau_eff_s"][0] == pytest.approx(Linear(P, op).tau_eff_s, rel=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--channel", "C1", "--map-ua", "1"), "expected --map-ua and --map-fw together"),
        ((), "expected either --channel NAME or --all"),
        (("--all", "--bath-mk", "10"), "expected one --channel for more than an IV"),
    ],
)
def test_what_does_not_go_together_is_refused(options: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(cli.app, ["characterize", "config/bench.toml", *options])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)
