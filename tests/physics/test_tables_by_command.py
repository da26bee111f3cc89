"""The proposal's tables by the commands that a user types, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.physics.test_materials import PER_GRAM, PRINTED, RECOILS
from tests.physics.test_neutrinos import NOTED

SCHEELITE = Path(sys.executable).with_name("scheelite")
RISES_UK = {
    ("CaWO4", 0.75): {"20": 23.75, "100": 118.78},
    ("CaWO4", 1.0): {"20": 17.81},
    ("W", 2.42): {"20": 7.99},
}
# per day at 4.6 GW, 30 m, 10 eV, in 1 g and in 9 g: the proposal prints 0.16 and 1.46
PER_DAY = {"proposal": (0.1622, 1.459), "best": (0.1790, 1.611)}
RATE = 0.01


# Any: JSON
def told(*arguments: str) -> Any:
    command = [str(SCHEELITE), "physics", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_the_table_of_crystals_is_the_proposals() -> None:
    """C of a gram to two digits, as printed, and to 0.1 % of what those were rounded from; the
    rises to 0.35 %."""
    rows = {(row["material"], row["mass_g"]): row for row in told("table")}
    for name, (printed, digits) in PER_GRAM.items():
        per_k4 = rows[name, 1.0]["c_j_per_k"] / 0.010**3
        assert float(f"{per_k4:.1e}") == printed
        assert per_k4 == pytest.approx(digits, rel=1e-3)
    assert rows["PbWO4", 0.5]["c_j_per_k"] == pytest.approx(1.60e-13, rel=PRINTED)
    for crystal, rises in RISES_UK.items():
        for energy, printed in rises.items():
            assert rows[crystal]["dt_uk"][energy] == pytest.approx(printed, rel=PRINTED)


def test_every_row_of_the_table_is_an_energy_over_a_heat_capacity() -> None:
    for row in told("table"):
        for energy, rise_uk in row["dt_uk"].items():
            joule = float(energy) * 1.602177e-19
            assert rise_uk == pytest.approx(1e6 * joule / row["c_j_per_k"], rel=1e-6)


def test_the_largest_recoils_are_the_proposals() -> None:
    found = {row["nuclide"]: row["recoil_ev"] for row in told("endpoints", "--neutrino-mev", "3")}
    assert found == pytest.approx({name: ev for name, (_, ev) in RECOILS.items()}, rel=1e-3)


@pytest.mark.parametrize("model", PER_DAY)
def test_the_rates_are_the_proposals_and_the_best_estimates(model: str) -> None:
    for mass, per_day in zip(("1", "9"), PER_DAY[model], strict=True):
        found = told("rate", "--model", model, "--mass-g", mass)["per_day"]
        assert found == pytest.approx(per_day, rel=min(RATE, NOTED))
