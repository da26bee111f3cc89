"""A long command holds the control lease: it is renewed, never shortened, and given back."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daq.errors import RefusedError
from daq.run.lease import NS, Lease, seal
from daq.services import commanding, system
from daq.settings import operator
from daq.settings.loader import Settings

HOUR_S = 3600.0


class RunControl:
    """Run control's verbs of the lease, answered here."""

    def __init__(self) -> None:
        self.lease = Lease(time.time_ns)
        self.took = threading.Semaphore(0)

    def ask(self, _: Settings, service: str, verb: str, **arguments: Any) -> dict[str, Any]:
        assert service == "run"
        if verb == "lease-take":
            self.lease.take(**arguments)
            self.took.release()
        elif verb == "lease-release":
            self.lease.release(**arguments)
        held = self.lease.held
        return {"lease": None if held is None else msgspec.to_builtins(held)}

    @property
    def left_s(self) -> float:
        assert self.lease.held is not None
        return (self.lease.held.until_ns - time.time_ns()) / NS


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunControl:
    monkeypatch.setenv("SCHEELITE_RUNTIME", str(tmp_path))
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    control = RunControl()
    monkeypatch.setattr(system, "ask", control.ask)
    return control


def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "x.toml", "", {})


def test_it_is_taken_with_a_ticket_of_our_own_and_given_back(
    control: RunControl, tmp_path: Path
) -> None:
    with commanding.commanding(settings(tmp_path)) as mine:
        assert control.lease.held is not None
        assert control.lease.held.who == "anna"
        assert control.lease.held.seal == seal(mine.ticket)
        assert operator.current() == mine
        assert control.left_s <= commanding.FOR_S
    assert control.lease.held is None


def test_while_another_holds_it_nothing_is_done(control: RunControl, tmp_path: Path) -> None:
    control.lease.take("ben", "b", HOUR_S)
    with (
        pytest.raises(RefusedError, match="ben holds the control lease for another"),
        commanding.commanding(settings(tmp_path)),
    ):
        pytest.fail("it was refused")
    assert control.lease.held is not None
    assert control.lease.held.who == "ben"


def test_a_lease_that_was_ours_for_longer_stays_ours(control: RunControl, tmp_path: Path) -> None:
    mine = operator.with_ticket(operator.current())
    control.lease.take("anna", mine.ticket, HOUR_S)
    with commanding.commanding(settings(tmp_path)):
        assert control.left_s > commanding.FOR_S
    assert control.left_s > commanding.FOR_S


def test_it_is_renewed_and_one_that_is_taken_over_is_left_alone(
    control: RunControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "RENEW_S", 0.01)
    with commanding.commanding(settings(tmp_path)):
        assert control.took.acquire(timeout=10)
        assert control.took.acquire(timeout=10)
        control.lease.take("ben", "b", HOUR_S, over="anna sleeps")
        (keeper,) = [each for each in threading.enumerate() if each.name == "lease"]
        keeper.join(10)
        assert not keeper.is_alive()
    assert control.lease.held is not None
    assert control.lease.held.who == "ben"
