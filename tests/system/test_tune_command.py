"""`scheelite tune` through the wires: killed, resumed, compared with the truth, undone, loaded."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daq.readout import guide
from daq.services import system, tunefile
from daq.settings.loader import Settings
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BATH_K, TesParameters, operating_point
from sim_hardware.world.tes_linear import Linear
from sim_hardware.world.thermal import PLATE_W, PLATE_W_PER_K2
from tests.system.chain import SCHEELITE, bench, cli, cli_json, services, until
from tests.tuning_bench import NINE, tuning_bench

SQUID, TES = SquidParameters(), TesParameters()
HEATER_W = 23.51e-15  # that holds the simulated sensors at their working point
TUNE_S = 600.0
BATH_SPEED, SETPOINT_K = 5.0, 10e-3
COLD = {"tes": {"all": {"heater_w": 0.0}}, "cryostat": {"plate_setpoint_k": 0.0}}
V_PHI_BYTES = 20_000  # of a journal: well within the sweeps of one channel


def held(settings: Settings, parameter: str, instrument: str = "squids0") -> Any:
    """What an instrument holds."""
    answer = system.ask(settings, "instruments", "read", instrument=instrument, parameter=parameter)
    return answer["value"]


def is_cold(settings: Settings, number: int = 1, instrument: str = "squids0") -> bool:
    """Whether nothing flows and the loop is open."""
    prefix = f"squid {number}."
    currents = [
        held(settings, f"{prefix}ib", instrument),
        held(settings, f"{prefix}tes_bias", instrument)["current"],
        held(settings, f"{prefix}vb", instrument),
    ]
    open_ = held(settings, f"{prefix}mode", instrument) == "OPEN"
    return open_ and np.allclose(currents, 0.0, atol=1e-9)


def steps_of(told: Mapping[str, Any], channel: str) -> dict[str, dict[str, float]]:
    return {step["name"]: step["values"] for step in told["channels"][channel]["steps"]}


def check_against_truth(steps: Mapping[str, Mapping[str, float]]) -> None:
    """The claims of the issue for a SQUID, and what the sensor's steps say."""
    curve = steps["v-phi"]
    assert curve["period_a"] == pytest.approx(SQUID.feedback_a_per_phi0, rel=5e-3)
    assert slope_share(curve["bias_a"], steps["lock point"]["offset_v"]) > 0.98
    assert steps["proof"]["volts_per_phi0"] == pytest.approx(30e3 * 40e-6, rel=0.02)
    assert steps["iv"]["r_normal_ohm"] == pytest.approx(TES.r_normal_ohm, rel=0.02)
    point = steps["bias point"]
    assert point["r_ohm"] == pytest.approx(0.35 * TES.r_normal_ohm, rel=0.05)
    op = operating_point(TES, bias_a=point["tes_bias_a"], bath_k=BATH_K, heater_w=HEATER_W)
    assert steps["dI/dV"]["loop_gain"] == pytest.approx(op.loop_gain, rel=0.05)
    assert steps["dI/dV"]["tau_eff_s"] == pytest.approx(Linear(TES, op).tau_eff_s, rel=0.05)
    assert 0 < steps["noise"]["nep_100hz_w_rthz"] < 1e-17


def slope_share(bias_a: float, lock_v: float) -> float:
    """The true slope where V-phi is at a voltage, as a share of the steepest; rising side."""
    phi0 = np.linspace(-0.25, 0.25, 20_001)
    volts = SQUID.v_phi(phi0, bias_a)
    slopes = np.gradient(volts, phi0)
    return float(np.interp(lock_v, volts, slopes) / slopes.max())


def journal_of(settings: Settings) -> Path:
    (folder,) = tunefile.folders(settings.data_dir)
    return folder / tunefile.JOURNAL


def is_long(settings: Settings, size: int) -> bool:
    if not tunefile.folders(settings.data_dir):
        return False
    path = journal_of(settings)
    return path.exists() and path.stat().st_size > size


def as_it_is(spec: dict[str, Any]) -> None:
    """The default bench, late where it is too slow."""
    spec["late"] = "wait"


@pytest.mark.soak  # two minutes on a machine that does something else besides
@pytest.mark.timeout(1200)
def test_a_channel_of_the_default_bench_is_tuned_among_particles(
    runtime: Path, tmp_path: Path
) -> None:
    """All channels at 250 kS/s, biased and locked to begin with, on its lively site."""
    del runtime
    with bench(tmp_path, as_it_is) as config, services(config) as settings:
        told = cli_json("tune", settings.path, "--channel", "C11", timeout_s=TUNE_S)
        steps = steps_of(told, "C11")
        assert list(steps) == list(guide.STEPS)
        assert steps["iv"]["r_normal_ohm"] == pytest.approx(TES.r_normal_ohm, rel=0.02)
        assert steps["bias point"]["r_ohm"] == pytest.approx(0.35 * TES.r_normal_ohm, rel=0.05)
        assert slope_share(steps["v-phi"]["bias_a"], steps["lock point"]["offset_v"]) > 0.98
        status = system.ask(settings, "digitizer.targets", "status")
        assert status["lost_samples"] == 0


@pytest.mark.soak  # too long for the gate
@pytest.mark.timeout(1200)
def test_a_channel_is_tuned_although_the_program_is_killed(runtime: Path, tmp_path: Path) -> None:
    del runtime
    with tuning_bench(tmp_path, ("C11",), rate_hz=10e3) as settings:
        first = subprocess.Popen(
            [SCHEELITE, "tune", settings.path, "--all", "--json"], stdout=subprocess.DEVNULL
        )
        until(lambda: is_long(settings, V_PHI_BYTES), "half of V-phi", TUNE_S)
        first.kill()
        first.wait()
        assert not is_cold(settings)
        told = cli_json("tune", settings.path, "--resume", timeout_s=TUNE_S)
        assert told["channels"]["C11"]["passed"]
        assert list(steps_of(told, "C11")) == list(guide.STEPS)
        check_against_truth(steps_of(told, "C11"))
        assert "<svg" in Path(told["report"]).read_text()
        assert held(settings, "squid 1.mode") == "LOCKED"

        undone = cli_json("tune", "undo", timeout_s=TUNE_S)
        assert undone["channels"]["C11"]["passed"]
        assert is_cold(settings)
        loaded = cli_json("tune", "load", told["tune"], timeout_s=TUNE_S)
        assert loaded["channels"]["C11"]["passed"]
        assert held(settings, "squid 1.mode") == "LOCKED"
        wanted = tunefile.read(Path(told["tune"])).channels["C11"].held
        assert tunefile.read(Path(loaded["tune"])).channels["C11"].held == wanted

        no = cli("tune", settings.path, "--resume")
        assert no.returncode == 2
        assert "expected an interrupted tuning" in no.stderr
        with pytest.raises(Exception, match="is outside -40 to 40"):
            system.ask(
                settings, "instruments", "write",
                instrument="squids0", parameter="squid 1.tes_bias", value=41.0,
            )  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_dead_squid_is_named_and_nothing_is_left_biased(runtime: Path, tmp_path: Path) -> None:
    """C12 is dead, C11 passes beside it."""
    del runtime
    dead = {"C12": {"critical_current_a": 1e-7}}
    with tuning_bench(tmp_path, ("C11", "C12"), speed=0.5, squid=dead) as settings:
        done = cli("tune", settings.path, "--all", "--speed", 0.5, "--json", timeout_s=2 * TUNE_S)
        assert done.returncode == 1
        told = json.loads(done.stdout)
        assert told["channels"]["C11"]["passed"]
        assert not told["channels"]["C12"]["passed"]
        last = told["channels"]["C12"]["steps"][-1]
        assert (last["name"], last["passed"]) == ("v-phi", False)
        assert "a modulation above" in last["values"]["expected"]
        assert "a modulation of" in last["values"]["found"]
        assert "C12, v-phi: expected" in done.stderr
        assert held(settings, "squid 1.mode") == "LOCKED"
        assert is_cold(settings, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_stopped_tuning_puts_everything_back(runtime: Path, tmp_path: Path) -> None:
    del runtime
    with tuning_bench(tmp_path, ("C11", "C12"), speed=0.5) as settings:
        words = [SCHEELITE, "tune", settings.path, "--all", "--speed", "0.5"]
        running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        until(lambda: is_long(settings, 2 * V_PHI_BYTES), "half of V-phi", TUNE_S)
        running.terminate()
        _, said = running.communicate(timeout=TUNE_S)
        assert running.returncode == 1
        assert "stopped by the operator" in said
        assert is_cold(settings, 1)
        assert is_cold(settings, 2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [7, 23])
def test_all_nine_reach_pass_without_a_human(runtime: Path, tmp_path: Path, seed: int) -> None:
    del runtime
    speed, rate_hz = 0.3, 10e3
    with tuning_bench(tmp_path, NINE, rate_hz=rate_hz, speed=speed, seed=seed) as settings:
        begun, before = time.monotonic(), newest(settings)
        told = cli_json("tune", settings.path, "--all", "--speed", speed, timeout_s=3 * TUNE_S)
        wall_s, bench_s = time.monotonic() - begun, (newest(settings) - before) / rate_hz
        assert [c for c in NINE if not told["channels"][c]["passed"]] == []
        for channel in NINE:
            check_against_truth(steps_of(told, channel))
        print(f"nine channels: {bench_s:.0f} s of the bench, {wall_s:.0f} s on the wall")


def newest(settings: Settings) -> int:
    return int(system.ask(settings, "digitizer.targets", "status")["newest"])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_star_cryo_is_tuned_as_well_although_it_never_answers(
    runtime: Path, tmp_path: Path
) -> None:
    del runtime
    with tuning_bench(tmp_path, ("C11",), model="starcryo-pfl102", feedback_ohm=10e3) as settings:
        told = cli_json("tune", settings.path, "--all", timeout_s=TUNE_S)
        steps = steps_of(told, "C11")
        assert list(steps) == [*guide.SQUID_STEPS, "verify"]
        assert steps["identify"]["n_shadows"] > 5
        assert steps["v-phi"]["period_a"] == pytest.approx(SQUID.feedback_a_per_phi0, rel=5e-3)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_deep_tuning_finds_tc_and_g_and_brings_the_bath_back(
    runtime: Path, tmp_path: Path
) -> None:
    del runtime
    warmer = {"heater": None, "bath_warmer_k2": 2 * PLATE_W / PLATE_W_PER_K2}
    with tuning_bench(
        tmp_path, ("C11",), rate_hz=10e3, speed=BATH_SPEED, detectors=warmer, **COLD
    ) as settings:
        regulate(settings)
        words = ("tune", settings.path, "--all", "--deep", "--speed", BATH_SPEED)
        steps = steps_of(cli_json(*words, timeout_s=3 * TUNE_S), "C11")
        assert list(steps) == [*guide.SQUID_STEPS, "iv", "Tc and G", *guide.TES_STEPS[1:], "verify"]
        assert steps["Tc and G"]["tc_k"] == pytest.approx(TES.tc_k, abs=0.1e-3)
        g_at_tc = 2 * TES.k_eb_w_per_k2 * TES.tc_k + 5 * TES.k_ea_w_per_k5 * TES.tc_k**4
        assert steps["Tc and G"]["g_w_per_k"] == pytest.approx(g_at_tc, rel=0.05)
        assert held(settings, "setpoint", "fridge") == pytest.approx(SETPOINT_K)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_deep_tuning_that_is_killed_on_a_warm_bath_is_resumed_or_undone(
    runtime: Path, tmp_path: Path
) -> None:
    del runtime
    more = {"heater": None, "baths_k": [10e-3, 11.5e-3, 13e-3]}
    with tuning_bench(
        tmp_path, ("C11",), rate_hz=10e3, speed=BATH_SPEED, detectors=more, late="wait", **COLD
    ) as settings:
        regulate(settings)
        words = ("tune", settings.path, "--deep", "--speed", BATH_SPEED)
        kill_when_warm(settings, *words, "--all")
        kill_when_warm(settings, *words, "--resume", above_k=12e-3)
        undone = cli_json("tune", "undo", "--speed", BATH_SPEED, timeout_s=TUNE_S)
        assert undone["channels"]["C11"]["passed"]
        assert is_cold(settings)
        assert held(settings, "setpoint", "fridge") == pytest.approx(SETPOINT_K)


def kill_when_warm(settings: Settings, *words: object, above_k: float = 10.5e-3) -> None:
    """Kill a deep tuning that has told the bath to be warmer than that."""
    begun = subprocess.Popen([SCHEELITE, *map(str, words)], stderr=subprocess.DEVNULL)
    try:
        until(lambda: held(settings, "setpoint", "fridge") > above_k, "a warm bath", 2 * TUNE_S)
    finally:
        begun.kill()
        begun.wait()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_deep_tuning_works_where_its_map_is_best(runtime: Path, tmp_path: Path) -> None:
    del runtime
    alone = {"thermometer": None, "setpoint": None}
    with tuning_bench(tmp_path, ("C11",), rate_hz=10e3, detectors=alone) as settings:
        told = cli_json("tune", settings.path, "--all", "--deep", timeout_s=3 * TUNE_S)
        steps = steps_of(told, "C11")
        names = [*guide.SQUID_STEPS, "iv", "working point", *guide.TES_STEPS[1:], "verify"]
        assert list(steps) == names
        best, point = steps["working point"], steps["bias point"]
        assert point["tes_bias_a"] == pytest.approx(best["best_bias_a"], rel=1e-3)
        assert point["share"] == pytest.approx(best["best_share"], abs=0.02)
        assert 0 < best["sigma_ev"] < 10
        assert not held(settings, "output 1.on", "pulser")


def regulate(settings: Settings) -> None:
    """The fridge holds its mixing chamber by its own heater, which the setpoint then moves."""

    def tell(parameter: str, value: Any) -> None:
        system.ask(
            settings, "instruments", "write",
            instrument="fridge", parameter=parameter, value=value,
        )  # fmt: skip

    tell("scan", {"input": 6, "auto": False})
    output = held(settings, "output", "fridge")
    tell("output", output | {"mode": "CLOSED_LOOP", "input": 6})
    tell("setpoint", SETPOINT_K)
    tell("heater_range", "MA_1")
