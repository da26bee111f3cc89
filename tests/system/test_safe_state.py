"""Limits and the safe state on a real chain: through the service, the driver and the face."""

from __future__ import annotations

import os
import signal

import pytest

from daq.errors import OutOfRangeError
from daq.services import system
from tests.system.chain import bench, pid_of, services, until

POLICY = """
[safety]
without_run_control_s = 5.0
limits = { "fridge.setpoint" = { least = 0.0, most = 0.05 } }
orders = [
    { instrument = "fridge", parameter = "setpoint", value = 0.0 },
]
"""


def write(settings, value):
    return system.ask(
        settings, "instruments", "write", instrument="fridge", parameter="setpoint", value=value
    )


def held(settings):
    told = system.ask(settings, "instruments", "read", instrument="fridge", parameter="setpoint")
    return told["value"]


def test_limits_hold_and_without_run_control_the_safe_state_is_taken(runtime, tmp_path):
    with bench(tmp_path) as config:
        config.write_text(config.read_text() + POLICY)
        with services(config) as settings:
            with pytest.raises(OutOfRangeError, match=r"which .safety. or .detectors. allow here"):
                write(settings, 0.3)
            assert write(settings, 0.04)["value"] == pytest.approx(0.04)
            conductor = pid_of("run")
            os.kill(conductor, signal.SIGSTOP)
            try:
                until(lambda: held(settings) == 0.0, "the safe state")
            finally:
                os.kill(conductor, signal.SIGCONT)
