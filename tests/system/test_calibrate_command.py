"""`scheelite calibrate`: lines in a run to a calibration file, and energies by it."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from daq.errors import CheckError, UsageError
from daq.readout.calibration import Calibration
from daq.services.calibrate import (
    Known,
    calibrate_runs,
    energies_of,
    read_calibration,
    run_energies,
)
from daq.services.cli import app
from daq.services.demo import connected
from daq.settings.loader import load
from tests import filters as made
from tests.offline import T_NS, channel, record
from tests.system.test_levels_command import CONFIG

RATE_HZ, RMS, COUNTS_PER_EV = 2500.0, 4.0, 0.5
LINES = (1000.0, 3000.0)


SALTED = """
[kinds.k.salting]
rate_hz = 1.0
energies_ev = [10.0]
filters = "f"
calibration = "/c.json"
"""


def height(energy_ev: float) -> float:
    """6 % less than in proportion at 1 keV."""
    return COUNTS_PER_EV * energy_ev * (1 - 6e-5 * energy_ev)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    rng, n = np.random.default_rng(4), round(150 * RATE_HZ)
    at = np.arange(2500, n - 2500, 2500)
    energies = rng.choice(LINES, at.size)
    x = made.noise(rng, n, lambda f: made.white(f, RMS, RATE_HZ), RATE_HZ)
    shape = made.template(2000, 128, RATE_HZ)
    x = made.with_pulses(x, shape, 128, at, [height(e) for e in energies])
    return record(tmp_path_factory.mktemp("lines"), [channel("A", 0, RATE_HZ)], made.adc(x)[None])


def test_lines_of_a_run_give_energies(run, tmp_path):
    out = tmp_path / "calibration.json"
    options = ["--line", "3000", "--line", "1000", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, ["calibrate", str(run.folder), *options])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    # the height is the highest of samples with noise: up to 2 sigma above the pulse's own
    assert told["curves"]["A"]["counts_per_ev"] == pytest.approx(COUNTS_PER_EV, rel=0.03)
    calibration = read_calibration(out)
    curve = calibration.at("A", T_NS)
    assert (curve.quantity, curve.from_ns) == ("height", T_NS)
    table = run.records("A")[0]
    pulses = table[table["height"] > 100]
    energies = energies_of(calibration, "A", pulses)
    for line in LINES:
        near = energies[np.abs(energies - line) < 100]
        assert near.size > 30
        assert near.mean() == pytest.approx(line, rel=0.005)


def test_a_run_knows_its_energies_by_the_curve_it_was_taken_with(run, tmp_path):
    found = calibrate_runs([run.folder], None, Known(lines_ev=LINES, heater_ev=[]))
    text = Calibration([found[0].curve]).to_json().decode()
    samples = np.zeros((1, 30_000), np.int16)
    samples[0, 10_000:] += made.adc(height(1000.0) * made.template(20_000, 128, RATE_HZ), 0)
    one = record(tmp_path, [channel("A", 0, RATE_HZ)], samples, number=2, calibration=text)
    energies, table = run_energies(one, "A"), one.records("A")[0]
    assert energies[table["height"] > 100] == pytest.approx([1000.0], rel=0.02)
    assert np.isnan(run_energies(run, "A")).all()


def test_a_second_calibration_keeps_the_first_for_its_time(run, tmp_path):
    out = tmp_path / "calibration.json"
    command = ["calibrate", str(run.folder), "--line", "1000", "--line", "3000", "--out", str(out)]
    assert CliRunner().invoke(app, command).exit_code == 0
    result = CliRunner().invoke(app, command)
    assert "counts per eV" in result.output
    assert len(read_calibration(out).curves) == 1  # of the same time: it took the first one's place


def test_what_cannot_be_calibrated_is_said(run, tmp_path):
    with pytest.raises(UsageError, match="expected the energy of a line or of heater pulses"):
        calibrate_runs([run.folder], None, Known(lines_ev=[], heater_ev=[]))
    with pytest.raises(UsageError, match="expected one of the targets A, found 'B'"):
        calibrate_runs([run.folder], "B", Known(lines_ev=[1.0], heater_ev=[]))
    with pytest.raises(CheckError, match="no channel could be calibrated: A: expected 20 pulses"):
        calibrate_runs([run.folder], None, Known(lines_ev=[], heater_ev=[20.0]))
    result = CliRunner().invoke(
        app, ["calibrate", str(run.folder), "--heater", "20;30", "--out", str(tmp_path / "c")]
    )
    assert "expected energies such as 20,100,500, found '20;30'" in str(result.exception)


def test_a_demo_finds_the_files_beside_its_config(tmp_path):
    text = CONFIG.replace('name = "t"', 'name = "t"\ncalibration = "cal.json"') + SALTED
    (tmp_path / "c.toml").write_text(text)
    made_of_it = connected(load(tmp_path / "c.toml"), [], tmp_path)
    told = tomllib.loads(made_of_it)
    assert told["experiment"]["calibration"] == str(tmp_path / "cal.json")
    salting = told["kinds"]["k"]["salting"]
    assert (salting["filters"], salting["calibration"]) == (str(tmp_path / "f"), "/c.json")
