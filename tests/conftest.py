"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# machines are shared and kernels compile at their first call: a deadline would test neither
settings.register_profile("scheelite", deadline=None)
settings.load_profile("scheelite")


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own, short enough for ipc sockets."""
    folder = tmp_path_factory.mktemp("rt")
    folder.chmod(0o700)
    monkeypatch.setenv("SCHEELITE_RUNTIME", str(folder))
    return folder
