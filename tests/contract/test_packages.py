"""The four packages are ours alone, in a checkout and in a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

from daq.errors import UsageError
from daq.services import ours

ROOT = Path(__file__).parents[2]


def test_the_four_names_are_ours():
    ours.check_packages_are_ours()


def test_a_foreign_wheel_with_our_name_is_named(monkeypatch):
    found = {"drivers": ["scheelite", "some-lab-drivers"]}
    monkeypatch.setattr(ours, "packages_distributions", lambda: found)
    with pytest.raises(UsageError, match=r"package drivers .* some-lab-drivers"):
        ours.check_packages_are_ours()


def test_a_package_that_comes_from_elsewhere_is_named(tmp_path):
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers" / "__init__.py").write_text('"""A stranger."""\n')
    done = subprocess.run(
        [sys.executable, "-m", "daq.services.cli", "status"],
        env={"PYTHONPATH": f"{tmp_path}", "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # python -m puts the working folder first, so daq is ours and drivers too: nothing to refuse
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-c", "from daq.services.cli import main; main()", "status"],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "package drivers" in done.stderr
    assert str(tmp_path) in done.stderr


def test_every_entry_point_leads_somewhere():
    for group in ("scheelite.settings", "scheelite.commands", "scheelite.drivers"):
        for entry in entry_points(group=group):
            assert entry.load() is not None
    assert distribution("scheelite").metadata["Name"] == "scheelite"


def test_a_wheel_holds_the_packages_the_config_and_the_template(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "-w", str(tmp_path), str(ROOT)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in (
        *(f"{name}/__init__.py" for name in ours.OURS),
        "daq/report/report.html.j2",
        "daq/report/run.html.j2",
        "daq/services/page.html",
    ):
        assert part in names
    assert any(name.endswith("share/scheelite/config/bench.toml") for name in names)
    assert not any(name.startswith("tests/") for name in names)
