"""The commands table, rate and figures, and the document that holds their figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sim_hardware.physics_command import UNUSABLE, app
from sim_hardware.physics_figures import comparisons, figures
from sim_hardware.world.materials import MATERIALS
from sim_hardware.world.neutrinos import MODELS

DOCUMENT = Path(__file__).parents[2] / "docs" / "physics.md"
ISSUE = (
    "--power-gw=4.6", "--distance-m=30", "--threshold-ev=10", "--mass-g=1", "--target=CaWO4",
)  # fmt: skip


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == UNUSABLE
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(("model", "per_day"), [("proposal", 0.162), ("best", 0.179)])
def test_rate_for_machines(model, per_day):
    said = json.loads(run("rate", *ISSUE, "--model", model, "--json"))
    assert set(said) == {"per_day", "by_element", "assumptions"}
    assert said["per_day"] == pytest.approx(per_day, rel=0.003)
    assert sum(said["by_element"].values()) == pytest.approx(said["per_day"])
    assert all(isinstance(each, str) for each in said["assumptions"])
    assert len(said["assumptions"]) > 5


def test_the_default_is_the_best_estimate_of_the_proposals_experiment():
    assert run("rate", "--json") == run("rate", *ISSUE, "--model", "best", "--json")


def test_the_help_names_every_model():
    said = re.sub(r"\W+", " ", run("rate", "--help"))
    assert " ".join(MODELS) in said


def test_nine_grams_of_the_proposal():
    said = json.loads(run("rate", "--mass-g", "9", "--model", "proposal", "--json"))
    assert said["per_day"] == pytest.approx(1.46, rel=0.01)


def test_rate_for_readers_prints_its_assumptions():
    said = run("rate", "--model", "proposal")
    assert said.startswith("0.1622 per day (W 0.1622)\nassuming\n")
    for each in json.loads(run("rate", "--model", "proposal", "--json"))["assumptions"]:
        assert each in said


def test_table_for_machines():
    rows = json.loads(run("table", "--json"))
    assert {row["material"] for row in rows} == set(MATERIALS)
    keys = {"material", "mass_g", "t_mk", "c_j_per_k", "dt_uk"}
    assert all(set(row) == keys and set(row["dt_uk"]) == {"20", "100"} for row in rows)
    (row,) = [row for row in rows if (row["material"], row["mass_g"]) == ("CaWO4", 0.75)]
    assert row["t_mk"] == 10
    assert row["c_j_per_k"] == pytest.approx(1.347e-13, rel=0.0035)
    assert row["dt_uk"] == pytest.approx({"20": 23.75, "100": 118.78}, rel=0.0035)


def test_table_of_one_crystal_with_all_its_atoms():
    one = ("table", "--material", "CaWO4", "--mass-g", "0.75", "--n-atoms", "6", "--json")
    (row,) = json.loads(run(*one))
    assert row["dt_uk"]["20"] == pytest.approx(3.96, rel=2e-3)


def test_table_with_the_exact_rise():
    one = ("table", "--material", "CaWO4", "--mass-g", "0.75", "--json")
    (linear,), (exact,) = json.loads(run(*one)), json.loads(run(*one, "--exact"))
    assert exact["dt_uk"]["100"] / linear["dt_uk"]["100"] == pytest.approx(1 - 0.0174, abs=1e-4)


def test_endpoints_for_readers():
    head, first, *_ = run("endpoints").splitlines()
    assert head.split() == ["nucleus", "[MeV]", "recoil", "[eV]"]
    assert first.split() == ["Ge-73", "67911.42", "265.03"]


def test_table_for_readers():
    head, *lines = run("table", "--material", "CaWO4", "--t-mk", "20").splitlines()
    assert head.split()[:3] == ["g", "mK", "C"]
    assert [line.split()[:3] for line in lines] == [
        ["CaWO4", "0.5", "20"],
        ["CaWO4", "0.75", "20"],
        ["CaWO4", "1", "20"],
    ]
    assert lines[1].split()[4] == "2.97"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("rate", "--power-gw", "-4.6"), "power_gw: expected 0 to 50"),
        (("rate", "--power-gw", "4600"), "power_gw: expected 0 to 50"),
        (("rate", "--distance-m", "0"), "distance_m: expected 3 to"),
        (("rate", "--threshold-ev", "nan"), "threshold_ev: expected 0 to"),
        (("rate", "--mass-g", "0"), "mass_g: expected"),
        (("rate", "--target", "NaI"), "expected one of Ge, Zn"),
        (("rate", "--target", "Ge", "--model", "proposal"), "target: expected CaWO4"),
        (("rate", "--model", "worst"), "expected one of best, proposal"),
        (("table", "--material", "NaI"), "expected one of Ge, Zn"),
        (("table", "--mass-g", "-1"), "mass_g: expected"),
        (("table", "--t-mk", "0"), "t_k: expected"),
        (("table", "--t-mk", "9000"), "T³ law"),
        (("endpoints", "--neutrino-mev", "-3"), "neutrino_mev: expected"),
        (("endpoints", "--neutrino-mev", "nan"), "neutrino_mev: expected"),
        (("table", "--n-atoms", "0"), "n_atoms: expected 1 to 100"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, named):
    said = refusal(*arguments)
    assert re.fullmatch(r"scheelite: .*, found .*\n", said)
    assert named in said


def test_the_documents_figures_are_those_of_the_code():
    _, _, rest = DOCUMENT.read_text(encoding="utf-8").partition("<!-- figures -->\n\n")
    inside, end, _ = rest.partition("\n\n<!-- end of figures -->")
    assert end, "docs/physics.md: expected figures between their two markers"
    assert inside == figures(), "paste what `scheelite physics figures` prints"
    assert run("figures").strip() == figures()


def test_every_test_that_the_document_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(test_\w+))?`", DOCUMENT.read_text("utf-8"))
    assert len(named) > 20
    for file, name in named:
        code = (DOCUMENT.parents[1] / file).read_text(encoding="utf-8")
        assert f"def {name}" in code, f"{file}::{name}"


def test_no_printed_figure_is_missed_by_more_than_its_rounding():
    """0.35 % of three printed digits; C/T³ and the rate of one gram are printed with two."""
    coarse = ("C/T³", "recoils a day in 1 g")
    for each in comparisons():
        tolerance = 0.03 if each.what.startswith(coarse) else 0.0035
        assert abs(each.deviation) < tolerance, each


def test_the_pictures_are_those_of_the_document_and_small(tmp_path):
    paths = [Path(line) for line in run("pictures", str(tmp_path / "made")).split()]
    assert [path.stem for path in paths] == ["iv", "v-phi", "noise-budget", "pulses"]
    for path in paths:
        drawn = path.read_bytes()
        assert drawn.startswith(b"\x89PNG")
        assert 10_000 < len(drawn) < 80_000
        assert (DOCUMENT.parent / "pictures" / path.name).exists()
        assert f"(pictures/{path.name})" in DOCUMENT.read_text(encoding="utf-8")


def test_pictures_without_a_place_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    said = refusal("pictures", str(tmp_path / "file"))
    assert "folder: expected one that can be written, found" in said
    assert said.endswith("/file: File exists\n")
