"""The systemd unit: what it says, what it refuses, and that systemd itself finds it right."""

from __future__ import annotations

import shutil
import socket

import pytest

from daq.errors import CheckError, StorageError, UsageError
from daq.services import units
from daq.services.demo import default_config
from daq.services.notify import READY, notify
from daq.settings.loader import load
from tests.system.chain import cli, cli_json

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed here"
)


@pytest.fixture
def settings(runtime):
    return load(default_config())


@needs_systemd
@pytest.mark.parametrize("user", [False, True])
def test_systemd_finds_the_unit_right(settings, tmp_path, user):
    path = units.install(settings, tmp_path, user=user)
    text = path.read_text()
    assert path.name == "scheelite-bench.service"
    assert "Restart=always" in text
    assert str(settings.path.absolute()) in text


@needs_systemd
def test_a_wrong_unit_is_refused_in_systemds_words(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "UNIT", units.UNIT.replace("Restart=always", "Restart=perhaps"))
    with pytest.raises(CheckError, match="perhaps"):
        units.install(settings, tmp_path, user=True)


def test_a_path_that_systemd_would_misread_is_refused(settings, tmp_path, monkeypatch):
    odd = tmp_path / "100% sure"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with pytest.raises(UsageError, match="without"):
        units.unit_text(settings, user=True)


def test_a_folder_that_cannot_be_made_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        units.install(settings, tmp_path / "file" / "units", user=True)


def test_the_command_says_what_to_do_next(runtime, tmp_path):
    config = default_config()
    told = cli("install-units", config, "--user", "--into", tmp_path)
    assert told.returncode == 0, told.stderr
    assert "systemctl --user enable --now scheelite-bench.service" in told.stdout
    assert cli_json("install-units", config, "--user", "--into", tmp_path) == {
        "unit": str(tmp_path / "scheelite-bench.service")
    }


def test_systemd_is_told_and_its_absence_is_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify(READY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        notify(READY)
        assert listening.recv(100) == READY
    notify(READY)  # nobody listens any more
