"""The control lease among real processes: two commanders, an instrument, and the run's own log."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from daq.errors import RefusedError
from daq.model.operator import Operator
from daq.services import system
from daq.store.reader import open_run
from daq.wire import sockets
from tests.system.chain import bench, cli, services, until

ANNA, BEN = {"SCHEELITE_OPERATOR": "anna"}, {"SCHEELITE_OPERATOR": "ben"}


def by(person, *arguments, monkeypatch, code=0):
    """A command given by one person; its standard error."""
    monkeypatch.setenv("SCHEELITE_OPERATOR", person["SCHEELITE_OPERATOR"])
    done = cli(*arguments)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_one_commands_and_the_others_are_told_who(runtime, tmp_path, monkeypatch):
    with bench(tmp_path) as config, services(config) as settings:
        one_of_many_has_it(settings, 8)
        by(ANNA, "lease", "take", monkeypatch=monkeypatch)
        ticket = runtime / "tickets" / "anna"
        assert ticket.stat().st_mode & 0o777 == 0o600
        told = by(BEN, "run", "start", monkeypatch=monkeypatch, code=2)
        assert "anna holds the control lease" in told
        for procedure in ("tune", "characterize"):
            words = (procedure, config, "--channel", "C11")
            told = by(BEN, *words, monkeypatch=monkeypatch, code=2)
            assert "anna holds the control lease for another" in told
        until(
            lambda: "anna" in cli(*heater(0.5)).stderr,
            "the instruments to know of the lease",
        )
        run = Path(json.loads(as_anna("run", "start", "--json", monkeypatch=monkeypatch))["run"])
        for verb in ("mark_dead", "mark_alive"):
            with pytest.raises(RefusedError, match="anna holds the control lease"):
                mark(settings, verb, Operator("ben", "no ticket of hers"))
            assert mark(settings, verb, Operator("anna", ticket.read_text()))
        by(BEN, "lease", "take", monkeypatch=monkeypatch, code=2)
        by(BEN, "lease", "take", "--over", "anna sleeps", monkeypatch=monkeypatch)
        until(lambda: cli(*heater(0.0)).returncode == 0, "the instruments to obey ben")
        assert "ben holds" in as_anna("lease", "show", monkeypatch=monkeypatch)
        by(ANNA, "run", "stop", monkeypatch=monkeypatch)  # which needs no lease
        assert system.ask(settings, "run", "status")["lease"]["who"] == "ben"
    with open_run(run) as read:
        said = [row["text"].decode() for row in read.messages()]
    assert any(s.startswith("anna to run control: start(") and s.endswith("done") for s in said)
    assert "ben takes the control lease over from anna: anna sleeps" in said
    assert any(s.startswith("ben to instruments: write(instrument=fridge") for s in said)
    assert any(s.startswith("anna to run control: stop(") for s in said)
    refused = "ben to the core: mark_dead(cause=unlocked, channels=['C11']): refused: anna holds"
    assert any(s.startswith(refused) for s in said)


def mark(settings, verb, operator):
    """One channel of the run in progress, by somebody; the sample."""
    with sockets.calling(settings.endpoint("core.commands"), "core", operator) as caller:
        return caller.call(verb, 10.0, cause="unlocked", channels=["C11"])


def heater(value):
    return "instruments", "write", "fridge", "setpoint", f"{value}"


def as_anna(*arguments, monkeypatch):
    monkeypatch.setenv("SCHEELITE_OPERATOR", "anna")
    return cli(*arguments).stdout


def test_a_name_that_is_none_is_refused(runtime, monkeypatch):
    monkeypatch.setenv("SCHEELITE_OPERATOR", "../../etc/passwd")
    done = cli("lease", "show")
    assert done.returncode == 2


def one_of_many_has_it(settings, n):
    """Of many who take the lease at the same moment one gets it, and gives it back."""
    endpoint, won, lost = settings.endpoint("run.commands"), [], []
    together = threading.Barrier(n)

    def take(who: str) -> None:
        with sockets.calling(endpoint, "run", Operator(who, who)) as run:
            together.wait()
            try:
                run.call("lease-take", 10.0, who=who, ticket=who, for_s=60.0)
                won.append(who)
            except RefusedError:
                lost.append(who)

    threads = [threading.Thread(target=take, args=(f"p{i}",)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == n - 1
    assert system.lease()["who"] == won[0]
    system.ask(settings, "run", "lease-release", ticket=won[0])
