"""The fault table of a whole system: every fault once and quickly, and for hours by `make soak`.

One system is kept up for all of the quick ones; its runs are judged when the last one is over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from daq.errors import RefusedError
from daq.services import processes, system
from daq.settings.loader import runtime_dir
from daq.store.reader import open_run
from tests.faults.course import Outcome, judged, one
from tests.faults.faults import QUICK, Fault
from tests.faults.night import Night, night
from tests.system.chain import until

SEED = 20261126
HOLD_S = 1.5
OUTCOMES: list[Outcome] = []
REPLAYED_S = 60.0  # the run after the core was ended, with the supervisor's death in it
MEMORY_S = 8.0  # a gate's machine does two things at a time, and others besides


def patient(spec: dict[str, Any]) -> None:
    """Digitizers that remember for longer than the machine may be busy with something else."""
    for digitizer in spec["digitizers"].values():
        digitizer["memory_s"] = MEMORY_S


@pytest.fixture(scope="module")
def system_of_a_night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    with night(tmp_path_factory.mktemp("night"), SEED, patient) as made:
        made.begin()
        yield made


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name)
def test_a_fault_is_survived(system_of_a_night: Night, fault: Fault) -> None:
    OUTCOMES.append(one(system_of_a_night, fault, HOLD_S))
    if why := fault.skip(system_of_a_night):
        pytest.skip(why)  # of several at once the others were done


def test_a_killed_supervisor_leaves_a_system_that_records_and_can_be_ended(
    system_of_a_night: Night,
) -> None:
    up = processes.remembered(runtime_dir())
    assert up is not None
    os.kill(up.supervisor.pid, signal.SIGKILL)
    until(lambda: "supervisor" in system.status()["problem"], "status to say so")
    records = system_of_a_night.core()["safe"]["records"]
    until(lambda: system_of_a_night.core()["safe"]["records"] > records, "more records")
    with pytest.raises(RefusedError, match="is up already"):
        system.up(system_of_a_night.settings)
    assert set(system.down()) == set(up.services) - {"bench"}
    assert not processes.still_alive(up)
    with open_run(system_of_a_night.run) as run:
        assert run.complete


def test_nothing_that_was_acknowledged_is_missing_and_every_loss_is_counted(
    system_of_a_night: Night,
) -> None:
    found = judged(system_of_a_night, OUTCOMES, longest_s=REPLAYED_S)
    assert [run.problems for run in found] == [[] for _ in found]
    assert {o.fault.name: o.failure for o in OUTCOMES if o.failure} == {}
    assert all(run.records > 0 for run in found)
