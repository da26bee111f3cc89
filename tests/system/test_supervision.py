"""What dies or hangs is started again; the doctor says so of a real system."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from daq.services import doctor, processes, system
from daq.services.supervisor import RUN_END_S, STOP_S, Supervisor
from daq.settings.loader import Settings, load, runtime_dir
from tests.system.chain import bench, cli, kill, pid_of, services, until

HUNG_S = 6.0  # longer than a loaded machine lets a sound service wait


def remembered(name: str) -> processes.Process:
    up = processes.remembered(runtime_dir())
    assert up is not None
    return up.services[name]


def told_by_cli(*config: Path) -> str | None:
    """What `scheelite doctor` says; its exit code must agree."""
    done = cli("doctor", *config, "--json")
    broken = json.loads(done.stdout)["first_broken"]
    assert done.returncode == (0 if broken is None else 1)
    return broken


def first_broken(settings: Settings) -> str | None:
    broken = doctor.first_broken(doctor.diagnose(settings))
    return broken.link if broken else None


def test_a_service_that_hangs_is_killed_and_started_again(runtime, tmp_path):
    with bench(tmp_path) as config:
        stop = threading.Event()
        supervisor = Supervisor(load(config), stop, hung_s=HUNG_S)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        try:
            until(
                lambda: system.status()["services"].get("folder", {}).get("state") == "idle", "up"
            )
            hung = remembered("folder")
            os.kill(hung.pid, signal.SIGSTOP)
            until(lambda: remembered("folder").restarts == 1, "the folder's second life")
            assert not psutil.pid_exists(hung.pid)
            until(
                lambda: system.status()["services"]["folder"]["state"] == "idle", "its first word"
            )
            assert "signal 9" in remembered("folder").problem
        finally:
            stop.set()
            thread.join(RUN_END_S + 5 * STOP_S)
        assert not thread.is_alive()


@pytest.mark.soak  # too long for the gate
def test_the_doctor_walks_a_real_chain(runtime, tmp_path):
    with bench(tmp_path) as config:
        assert told_by_cli(config) == "services"
        with services(config) as settings:
            assert told_by_cli() == "run"
            system.start_run(settings)
            until(lambda: first_broken(settings) is None, "a sound chain")
            os.kill(pid_of("digitizer.vetoes"), signal.SIGSTOP)
            stopped = "service digitizer.vetoes"
            until(lambda: first_broken(settings) == stopped, "the doctor to see it")
            kill("digitizer.vetoes")
            until(lambda: first_broken(settings) is None, "a sound chain again")
