"""docs/howto/add-an-instrument.md, followed to the letter: its code is run as it stands there."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import threading
import time
from pathlib import Path

import pytest

from drivers import catalogue
from sim_hardware.serve import Loop, listen

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "add-an-instrument.md").read_text()
DRIVER, FACE, TESTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ENTRY_POINTS, _ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The page's package, installed as a laboratory's own would be."""
    (tmp_path / "sim921_driver.py").write_text(DRIVER)
    (tmp_path / "sim921_face.py").write_text(FACE)
    installed = tmp_path / "sim921-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: sim921\nVersion: 1.0\n")
    entry_points = ENTRY_POINTS.replace('project.entry-points."scheelite.drivers"', catalogue.GROUP)
    (installed / "entry_points.txt").write_text(entry_points.replace('"', ""))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("sim921_driver", "sim921_face"):
        sys.modules.pop(name, None)


@pytest.fixture
def face(package):
    return importlib.import_module("sim921_face").Sim921Face()


@pytest.fixture
def driver(face):
    """The page's driver, found by its model, on the page's face."""
    listener = listen("bridge", 0)
    loop = Loop([(listener, face)], time.monotonic)
    thread = threading.Thread(target=loop.run)
    resource = f"ASRLsocket://127.0.0.1:{listener.getsockname()[1]}::INSTR"
    thread.start()
    try:
        with contextlib.closing(catalogue.instrument("sim921")(resource)) as instrument:
            yield instrument
    finally:
        loop.stop()
        thread.join(10)


def test_the_page_s_driver_speaks_with_its_face(driver):
    assert [bound.read() for bound in driver.parameters()][:3] == [1234.5, 0.012345, 0]


def collected():
    """The tests of the page, by name."""
    names: dict[str, object] = {}
    exec(compile(TESTS, "add-an-instrument.md", "exec"), names)
    return {name: test for name, test in names.items() if name.startswith("test_")}


@pytest.mark.parametrize("name", collected())
def test_the_page_s_tests_pass(name, request):
    test = collected()[name]
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(**{fixture: request.getfixturevalue(fixture) for fixture in wanted})
