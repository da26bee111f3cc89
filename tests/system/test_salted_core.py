"""The running core with a calibration and salts from its config: live, and in the file."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from daq.readout.calibration import Calibration, Point, fit
from daq.services import system
from daq.services.calibrate import run_energies, write_calibration
from daq.services.filterfile import write_filters
from daq.services.inspect import status_table
from daq.settings.loader import parse
from daq.store.reader import open_run
from tests import filters as made
from tests.system.test_core_service import (
    AT,
    CONFIG,
    core_of,
    digitizer_of,
    pulses,
    start,
    status,
    until,
)

RATE_HZ = 10_000.0
SALTING = """
[kinds.k.salting]
rate_hz = 8.0
energies_ev = [100.0, 600.0]
filters = "filters"
calibration = "cal.json"
"""


def test_a_salted_core_tells_pulses_from_salts(runtime, tmp_path):
    one = made.tes_filter(length=256, pretrigger=64, rate_hz=RATE_HZ)
    write_filters(tmp_path / "filters", {"A": one, "B": one})
    curves = [fit(name, "height", [Point(1000.0, 500.0, 1.0)]) for name in ("A", "B")]
    write_calibration(tmp_path / "cal.json", Calibration(curves))
    text = CONFIG.format(data=tmp_path / "runs").replace(
        "[storage]", 'calibration = "cal.json"\n[storage]'
    )
    settings = parse(text + SALTING, tmp_path / "t.toml")
    with core_of(settings), digitizer_of(settings, pulses()):
        folder = start(settings)
        until(lambda: status(settings)["run"] is None, "the end of the run")
        spectra = system.ask(settings, "core", "spectra")["spectra"]
    run = open_run(folder)
    table, salts = run.records("A")[0], run.salts()
    salts = salts[salts["channel"] == 0]
    assert len(salts) > 10
    assert set(salts["energy_ev"].tolist()) == {100.0, 600.0}
    clean = table[table["flags"] == 0]
    assert spectra["A"]["unit"] == "eV"
    assert sum(spectra["A"]["counts"]) == len(clean) <= len(AT)
    energies = run_energies(run, "A")
    assert np.isfinite(energies).all()
    high = salts[(salts["energy_ev"] == 600.0) & (salts["counts"] > 0)]
    assert high["found"].all()  # 300 counts over noise of 10 and a threshold of 100


def test_status_shows_exposure_and_where_half_are_found():
    said = {"text": "50 % at 14.6 eV, by 9 salts, 71 noise triggers per day"}
    row = {"livetime_s": 86_400.0, "exposure_g_d": 0.75}
    told = {
        "state": "running",
        "run": "r",
        "services": {},
        "problem": "",
        "channels": {
            "C11": row | {"threshold": said},
            "C12": row | {"threshold": None},
        },
    }
    console = Console(record=True, width=200, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(status_table(told))
    text = captured.get()
    assert "50 % at 14.6 eV, by 9 salts, 71 noise triggers per day" in text
    assert "1.500000" in text
