"""The back-off of relocks, with services that a list plays."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from daq.errors import CheckError, InstrumentError, RefusedError
from daq.services.relock import SOON_S, Relocker
from daq.settings.loader import parse

CONFIG = """
[experiment]
name = "t"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 64
pretrigger = 16
triggers = []
guard = { phi0_v = 1.2 }
[channels]
A = { kind = "k", digitizer = "d", input = 0, squid = "s.squid 1" }
B = { kind = "k", digitizer = "d", input = 1 }
[relock]
tries = 3
first_wait_s = 2.0
longest_wait_s = 3.0
"""


class Bench:
    """Time, the core's state, and what the services answer next."""

    def __init__(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SCHEELITE_RUNTIME", str(tmp_path))
        settings = parse(CONFIG, tmp_path / "t.toml")
        self.now, self.asked, self.told, self.overloads = 100.0, [], [], 5.0
        self.answers: list[Exception | None] = []
        self.relocker = Relocker(settings, threading.Event(), lambda: self.now, lambda: 0)
        self.relocker._neighbors = self
        self.relocker._notes = SimpleNamespace(tell=lambda text, level: self.told.append(text))
        self.relocker._ask = self.ask
        self.relocker._prove = self.prove
        self.guard, self.run = {"standing": "noise", "for_s": 5.0, "quanta": 0}, 1

    def state(self, name):
        if name == "instruments":
            readings = {"s.squid 1.overloads.overload_up": {"value": self.overloads},
                        "s.squid 1.overloads.overload_down": {"value": 3.0}}  # fmt: skip
            return SimpleNamespace(body={"readings": readings})
        channels = {"A": {"guard": self.guard}, "B": {"guard": self.guard}}
        return SimpleNamespace(state="running", body={"run": self.run, "channels": channels})

    def ask(self, service, verb, **arguments):
        self.asked.append(verb)
        if verb == "act" and self.answers and self.answers[0] is not None:
            raise self.answers.pop(0)
        return {"value": "LOCKED"}

    def prove(self, name, since_ns):
        if self.answers and (error := self.answers.pop(0)):
            raise error

    def look(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.relocker._look()
        return self.asked

    @property
    def a(self):
        return self.relocker.told()["A"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    return Bench(tmp_path, monkeypatch)


def test_a_lost_lock_is_marked_reset_read_proven_and_unmarked(bench):
    assert bench.look(None) == ["mark_dead", "act", "read", "mark_alive"]
    assert (bench.a["state"], bench.a["relocks"], bench.a["tries"]) == ("locked", 1, 1)
    assert "B" not in bench.relocker.told()  # nobody could lock it
    assert bench.told[0] == "A is unlocked: noise for 5.0 s"


def test_what_fails_stays_dead_is_tried_again_later_each_time_and_given_up(bench):
    broken = CheckError("no lock")
    assert bench.look(broken) == ["mark_dead", "act"]
    assert bench.a["next_try_s"] == 2.0
    bench.now += 1.9
    assert bench.look() == []
    bench.now += 0.2
    assert "mark_dead" not in bench.look(broken)
    assert bench.a["next_try_s"] == 3.0
    bench.now += 3.1
    bench.look(broken)
    assert bench.a["state"] == "given up"
    assert bench.relocker.problem == "A could not be locked: no lock"
    bench.now += 1000.0
    assert bench.look() == []
    bench.run = 2  # a new run begins anew
    assert bench.look(None)[-1] == "mark_alive"
    assert bench.relocker.problem == ""


def test_who_is_refused_by_the_lease_waits_without_counting(bench):
    for _ in range(5):
        bench.look(RefusedError("somebody holds the control lease"))
        assert (bench.a["state"], bench.a["tries"]) == ("unlocked", 0)
        bench.now += 2.1
    assert bench.look(None)[-1] == "mark_alive"


def test_a_lock_that_does_not_last_waits_longer_each_time(bench):
    assert bench.look(None)
    assert bench.look(None)  # at once, the first time
    assert bench.look(None) == []
    bench.now += 3.1
    assert bench.look(None)
    assert bench.look(None) == []
    bench.now += SOON_S + 3.1
    assert bench.look(None)
    assert bench.look(None)


def test_short_hits_and_few_quanta_are_left_alone(bench):
    bench.guard = {"standing": "rail", "for_s": 0.3, "quanta": 4}
    assert bench.look() == []
    bench.guard = {"standing": "", "for_s": 0.0, "quanta": -5}
    assert bench.look(None)
    assert bench.told[0] == "A is unlocked: -5 flux quanta slipped"


def test_what_the_electronics_count_as_an_overload_need_not_last(bench):
    bench.guard = {"standing": "rail", "for_s": 0.1, "quanta": 0}
    assert bench.look() == []
    bench.overloads = 7.0
    assert bench.look(None)[-1] == "mark_alive"
    assert bench.told[0] == "A: 2 overloads of the electronics"
    assert bench.told[1] == "A is unlocked: rail for 0.1 s, and an overload of the electronics"


def test_a_run_control_that_is_restarted_goes_on_where_it_was(bench, tmp_path, monkeypatch):
    bench.look(CheckError("no lock"))
    again = Bench(tmp_path, monkeypatch)
    again.guard = {"standing": "", "for_s": 0.0, "quanta": 0}  # nothing is judged meanwhile
    assert again.look(None) == ["act", "read", "mark_alive"]
    other = Bench(tmp_path, monkeypatch)
    other.run, other.guard = 2, again.guard
    assert other.look() == []


def test_a_core_that_cannot_be_told_begins_nothing(bench):
    def ask(service, verb, **arguments):
        raise InstrumentError("no core")

    bench.relocker._ask = ask
    bench.look()
    assert bench.a["state"] == "locked"
    bench.relocker._ask = bench.ask
    bench.now += 2.1
    assert bench.look(None)[0] == "mark_dead"


def test_an_alarm_may_order_what_the_guard_finds_well_or_was_given_up(bench):
    bench.guard = {"standing": "", "for_s": 0.0, "quanta": 0}
    assert bench.look() == []
    bench.relocker.order("A", "alarm unlocked (warning): too much dead time")
    assert bench.look(None) == ["mark_dead", "act", "read", "mark_alive"]
    assert bench.told[0] == "A is unlocked: alarm unlocked (warning): too much dead time"
    assert (bench.a["state"], bench.a["relocks"]) == ("locked", 1)
    assert bench.look() == []  # once
