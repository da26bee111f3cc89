"""A working point that drifts in a run is brought back by the services alone, through the wires."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import tomlkit

from daq.model.record import Cause
from daq.services import system
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.system.chain import bench, core, services, until
from tests.wired_bench import QUIET

RATE_HZ = 50e3
HELD, LEFT = "C11", "C12"
CODE_A = 10.934 / (16384 * 43600)  # of the bias: 1.6 % of it, and 3.7 % of height over bias
DEAD_BAND, SETTLE_S = 0.03, 0.5
DRIFT_V = 0.02  # at all heaters, for good: R0 goes from 42 to 47 % of the normal resistance
STABILITY = {
    "generator": "pulser.output 1", "every_s": 0.25, "ladder_v": [2.0], "control_v": 5.0,
    "pulses": 4,
    "servo": {
        "channels": [HELD], "slope": -2.3, "gain": 0.5, "dead_band": DEAD_BAND, "pulses": 8,
        "every_s": 5.0, "settle_s": SETTLE_S,
    },
}  # fmt: skip
PULSER = {
    "kind": "heater", "sources": ["SYNC"], "tagged": ["target"], "before_s": 0.001, "after_s": 0.1,
}  # fmt: skip
LINE = {"kind": "level", "threshold": 5000.0, "rearm": 2000.0}


def change(spec):
    for digitizer in spec["digitizers"].values():
        digitizer["sample_rate_hz"], digitizer["memory_s"] = RATE_HZ, 60.0
    spec["digitizers"]["targets"]["channels"] = [HELD, LEFT, "SYNC"]
    spec["wiring"]["squids"] = {name: spec["wiring"]["squids"][name] for name in (HELD, LEFT)}
    spec["wiring"]["sync"] = {"SYNC": "pulser:1"}
    spec["sources"] = QUIET


def narrow(path: Path) -> None:
    """Two channels of the config and their pulser's line, with a servo for one of them."""
    config = tomlkit.parse(path.read_text())
    for table in ("channels", "detectors"):
        for name in set(config[table]) - {HELD, LEFT, "all"}:
            del config[table][name]
    for table, name in (("digitizers", "vetoes"), ("kinds", "silicon"), ("kinds", "cwo")):
        del config[table][name]
    for number in (2, 3, 4, 5):
        del config["instruments"][f"squids{number}"]
    config["channels"]["SYNC"] = {"kind": "sync", "digitizer": "targets", "input": 2}
    kind = {"record_length": 32, "pretrigger": 8, "triggers": [LINE], "recorded": False}
    config["kinds"]["sync"] = kind
    target = config["kinds"]["target"]
    target["record_length"], target["pretrigger"] = 1024, 256
    target["triggers"] = [{"kind": "external", "line": "SYNC"}]
    config["events"]["vetoes"] = {"pulser": PULSER}
    config["stability"] = STABILITY
    path.write_text(tomlkit.dumps(config))


def servo(settings):
    return system.ask(settings, "run", "status")["servo"].get(HELD, {"deviation": None})


def is_back(settings):
    row = servo(settings)
    found = row["deviation"]
    return row.get("steps", 0) > 1 and found is not None and abs(found) < DEAD_BAND + 0.01


def control_heights(run: Run, name: str, from_ns: int, to_ns: int) -> float:
    """The median height of the control pulses of a time."""
    table, _ = run.records(name)
    rungs = [i for i in run.inputs() if i["input"] == "rung"]
    of = np.searchsorted([i["t_ns"] for i in rungs], table["t_ns"], "right") - 1
    chosen = np.array([rungs[k]["control"] and rungs[k]["volts"] > 0 for k in of])
    chosen &= table["causes"] & (1 << Cause.EXTERNAL) > 0
    chosen &= (table["t_ns"] > from_ns) & (table["t_ns"] < to_ns)
    assert chosen.sum() >= 8
    return float(np.median(table["height"][chosen]))


@pytest.mark.soak  # some 50 s: so many control pulses make a reference, and each step needs eight
@pytest.mark.timeout(300)
def test_a_working_point_is_brought_back_that_another_sensor_loses(runtime, tmp_path):
    with bench(tmp_path, change) as path:
        narrow(path)
        with services(path) as settings:
            system.ask(settings, "run", "start", timeout_s=30.0)
            begun_ns = time.time_ns()
            until(lambda: servo(settings)["deviation"] is not None, "control pulses")
            begin_a, drifted_ns = servo(settings)["begin_a"], time.time_ns()
            system.ask(
                settings, "instruments", "write",
                instrument="pulser", parameter="output 1.low", value=DRIFT_V,
            )  # fmt: skip
            until(lambda: is_back(settings), "the working point", 100.0)
            row = servo(settings)
            assert system.ask(settings, "run", "status")["problem"] == ""
            assert core(settings)["channels"][HELD]["gain"]["control"] < 1.0
            system.ask(settings, "run", "stop")
            until(lambda: system.ask(settings, "run", "status")["state"] == "idle", "the end")
            folder = system.ask(settings, "run", "status")["last"]["folder"]
    codes = round((row["bias_a"] - begin_a) / CODE_A)
    assert -6 < codes <= -2
    with open_run(Path(folder)) as run:
        assert verify(run.folder).problems == []
        lives = [i["until"][HELD] for i in run.inputs() if i["input"] == "alive"]
        assert len(lives) == row["steps"] == -codes
        at_ns = 1 + max(m["t_ns"] for m in run.messages() if b"servo moved" in bytes(m["text"]))
        was = {n: control_heights(run, n, begun_ns, drifted_ns) for n in (HELD, LEFT)}
        now = {n: control_heights(run, n, int(at_ns), time.time_ns()) for n in (HELD, LEFT)}
        # what a resistance alone decides, by the bias that was written
        quotient = now[HELD] / was[HELD] / (row["bias_a"] / begin_a)
        assert abs(quotient - 1) < DEAD_BAND + 0.02
        assert now[LEFT] / was[LEFT] < 0.92
        ledger = run.ledger()
        names = [channel.name for channel in run.channels]
        rows = {n: ledger[ledger["channel"] == names.index(n)] for n in (HELD, LEFT)}
        charged = rows[HELD]["heater"].sum() - rows[LEFT]["heater"].sum()
        assert charged > 0.4 * SETTLE_S * RATE_HZ * row["steps"]  # a pulse in it is charged anyway
        texts = [bytes(m["text"]).decode() for m in run.messages()]
        assert any(f"servo moved {HELD}'s TES bias from" in text for text in texts)
    (log,) = (tmp_path / "runs" / "truth").glob("commands-*.jsonl")
    commands = [json.loads(line) for line in log.read_text().splitlines()]
    biases = [c for c in commands if c["what"] == "tes_bias_a"]
    assert {c["source"] for c in biases} == {"squids1:1"}
    assert biases[-1]["value"] == pytest.approx(row["bias_a"], rel=1e-6)  # it stays there
