"""Where Qt cannot start there is one sentence with the way out, and no crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gui import startup
from gui.startup import LIBRARIES, qt_problem
from tests.qt import qt_missing

ROOT = Path(__file__).parents[2]


def in_vain(platform: str = "no-such-platform") -> dict[str, str]:
    return {**os.environ, "QT_QPA_PLATFORM": platform}


def test_where_qt_aborts_the_sentence_names_the_packages() -> None:
    sentence = qt_problem(in_vain())
    assert sentence.startswith("Qt cannot start here (")
    assert sentence.endswith(f"apt-get install {LIBRARIES}")
    assert "\n" not in sentence


@pytest.mark.skipif(bool(qt_missing()), reason=qt_missing())
def test_where_qt_starts_there_is_nothing_to_say() -> None:
    assert qt_problem({**os.environ, "QT_QPA_PLATFORM": "offscreen"}) == ""


def test_a_qt_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PROBE", "import threading; threading.Event().wait()")
    monkeypatch.setattr(startup, "PROBE_S", 0.2)
    assert qt_problem(os.environ) == "Qt does not start within 0.2 s"


def test_the_reason_is_the_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "ImportError: libGL.so.1: cannot open shared object file"
    monkeypatch.setattr(startup, "PROBE", f"import sys; print('x'); sys.exit({sentence!r})")
    assert "(libGL.so.1: cannot open shared object file)" in qt_problem(os.environ)


def test_the_script_installs_what_the_sentence_names() -> None:
    script = (ROOT / ".ci" / "qt-libraries").read_text(encoding="utf-8")
    found = re.search(r'^PACKAGES="(.*?)"', script, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert found[1].replace("\\\n", "").split() == LIBRARIES.split()


def test_the_script_is_quiet_and_succeeds_where_qt_is_not_asked_for(tmp_path: Path) -> None:
    """A project without PySide6: a python that says so stands in for it."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    script = ["sh", str(ROOT / ".ci" / "qt-libraries")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def command(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    full = [sys.executable, "-m", "gui", *arguments]
    return subprocess.run(full, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_command_says_so_and_exits_with_2() -> None:
    done = command("config/bench.toml", env=in_vain())
    assert done.returncode == 2
    assert done.stderr.startswith("Qt cannot start here (")
    assert done.stderr.count("\n") == 1


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = command(str(tmp_path / "none.toml"), env=dict(os.environ))
    assert done.returncode == 2
    assert "none.toml: there is no such config" in done.stderr
