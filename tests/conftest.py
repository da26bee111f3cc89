"""What all tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# machines are shared and kernels compile at their first call: a deadline would test neither
settings.register_profile("scheelite", deadline=None)
settings.load_profile("scheelite")
# a shell that starts us in the background lets us and all our children ignore Ctrl-C
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bench CONFIG`: real instruments in place of simulated ones; the others are for soaks."""
    parser.addoption(
        "--bench",
        type=Path,
        metavar="CONFIG",
        help="run the contract tests of parameters against the instruments of this config",
    )

    parser.addoption("--hours", type=float, default=0.2, help="how long the night of faults is")
    parser.addoption("--seed", type=int, default=20261126, help="of the soak tests")
    parser.addoption("--page", type=Path, help="docs/reliability.md, where soak tests write to it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`subject`: each model that is simulated and driven, or each instrument of --bench."""
    if "subject" not in metafunc.fixturenames:
        return
    config = metafunc.config.getoption("--bench")
    found = _of_config(config) if config else _simulated()
    metafunc.parametrize("subject", list(found.values()), ids=list(found))


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own, short enough for ipc sockets."""
    folder = tmp_path_factory.mktemp("rt")
    folder.chmod(0o700)
    monkeypatch.setenv("SCHEELITE_RUNTIME", str(folder))
    return folder


# imported only where parameters are tested: other tests need none of this
def _simulated() -> dict[str, str]:
    from drivers import catalogue
    from tests.served_bench import MODELS

    return {model: model for model in MODELS if model in catalogue.models()}


# the settings section of an instrument, by its name
def _of_config(path: Path) -> dict[str, object]:
    from daq.settings import loader
    from drivers.settings import Instruments

    return dict(loader.load(path).section(Instruments).root)
