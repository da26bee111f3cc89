"""The alarms' engine by a clock of its own: graces, hysteresis, latching, silence, escalation."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import UsageError
from daq.run.alarms import NS, Alarms, Rule
from daq.run.quantities import Quantity, gathered, known

T0 = 1_790_000_000 * NS
MXC = "fridge.input 6.temperature"


def rule(**given) -> Rule:
    return Rule(**({"name": "warm", "watch": MXC, "above": 0.015} | given))


class Course:
    """One rule, and its values at times [s]."""

    def __init__(self, **given) -> None:
        self.alarms = Alarms({"warm": rule(**given)})

    def at(self, t_s: float, value: float | None, *, stale: bool = False) -> list[str]:
        found = {MXC: Quantity(value, "K", stale)}
        return [e.what for e in self.alarms.update(found, T0 + round(t_s * NS))]

    def row(self, t_s: float = 0.0):
        rows = self.alarms.table(T0 + round(t_s * NS))
        return rows[0] if rows else None


def test_it_is_raised_once_after_its_grace_and_clears_beyond_the_hysteresis():
    course = Course(grace_s=10.0, hysteresis=0.001, latching=False)
    assert course.at(0, 0.020) == []
    assert course.at(9.9, 0.020) == []
    assert course.row() is None
    assert course.at(10, 0.020) == ["raised"]
    assert course.at(11, 0.021) == []
    assert course.at(12, 0.0145) == []  # within the hysteresis
    assert course.row()["value"] == 0.0145
    assert course.at(13, 0.0139) == ["cleared"]
    assert course.row() is None


def test_what_is_over_within_the_grace_is_no_alarm():
    course = Course(grace_s=10.0)
    assert course.at(0, 0.020) == []
    assert course.at(5, 0.010) == []
    assert course.at(11, 0.020) == []
    assert course.at(20.9, 0.020) == []
    assert course.at(21, 0.020) == ["raised"]


def test_a_latching_alarm_stays_until_it_was_seen():
    course = Course()
    assert course.at(0, 0.020) == ["raised"]
    assert course.at(1, 0.010) == ["cleared"]
    assert course.row()["state"] == "over"
    again = course.alarms.update({MXC: Quantity(0.02, "K")}, T0 + 2 * NS)
    assert [(e.what, e.silent) for e in again] == [("raised", True)]  # logged, not told again
    assert course.at(3, 0.010) == ["cleared"]
    assert course.alarms.acknowledge("warm", "anna").sentence == "alarm warm: acknowledged by anna"
    assert course.row() is None


def test_a_seen_alarm_goes_when_it_is_over():
    course = Course()
    course.at(0, 0.020)
    course.alarms.acknowledge("warm", "anna")
    assert course.row()["acknowledged_by"] == "anna"
    assert course.at(1, 0.010) == ["cleared"]
    assert course.row() is None


def test_nobody_can_acknowledge_what_is_well_or_unknown():
    course = Course()
    with pytest.raises(UsageError, match="warm is well"):
        course.alarms.acknowledge("warm", "anna")
    with pytest.raises(UsageError, match="one of the alarms warm, found 'cold'"):
        course.alarms.acknowledge("cold", "anna")


def test_a_stale_value_neither_raises_nor_clears_a_limit():
    course = Course()
    assert course.at(0, 0.020, stale=True) == []
    assert course.at(1, 0.020) == ["raised"]
    assert course.at(2, 0.010, stale=True) == []
    assert course.at(3, None) == []
    assert course.row()["state"] == "standing"


def test_a_stale_value_is_an_alarm_of_its_own():
    course = Course(above=None, stale=True, grace_s=5.0)
    assert course.at(0, 0.01) == []
    assert course.alarms.update({}, T0 + NS) == []
    assert course.at(6, 0.02, stale=True) == ["raised"]
    assert "is stale" in course.row()["sentence"]
    assert course.at(7, 0.02) == ["cleared"]


def test_a_change_is_judged_over_its_time():
    course = Course(above=0.5, over_s=10.0, latching=False)
    assert course.at(0, 0.0) == []
    assert course.at(5, 100.0) == []  # not yet so long known
    assert course.at(10, 4.0) == []
    assert course.at(15, 106.0) == ["raised"]
    assert course.row()["unit"] == "K/s"


def test_nobody_listening_escalates_once():
    course = Course(grace_s=10.0, escalate_after_s=60.0)
    course.at(0, 0.020)
    assert course.at(10, 0.020) == ["raised"]
    assert course.at(69, 0.020) == []
    assert course.at(70, 0.020) == ["escalated"]
    assert course.at(71, 0.020) == []


def test_who_acknowledges_in_time_is_not_escalated():
    course = Course(escalate_after_s=60.0)
    course.at(0, 0.020)
    course.alarms.acknowledge("warm", "anna")
    assert course.at(100, 0.020) == []


def test_a_silenced_alarm_is_logged_and_told_to_nobody():
    course = Course(escalate_after_s=1.0)
    course.alarms.silence("warm", T0 + 100 * NS, "anna")
    assert course.row()["silent_until_ns"] == T0 + 100 * NS
    events = course.alarms.update({MXC: Quantity(0.02, "K")}, T0)
    assert [(e.what, e.silent) for e in events] == [("raised", True)]
    assert course.at(50, 0.020) == []
    assert course.at(100, 0.020) == ["escalated"]  # the silence is over


def test_what_was_known_is_known_after_a_restart():
    first = Course(escalate_after_s=60.0)
    first.at(0, 0.020)
    first.alarms.acknowledge("warm", "anna")
    second = Course(escalate_after_s=60.0)
    second.alarms.remember({**first.alarms.memory(), "gone": {"state": "standing"}})
    assert second.row() == first.row()
    assert second.at(61, 0.020) == []


def test_the_worst_comes_first():
    rules = {
        "a": rule(name="a", severity="info"),
        "b": rule(name="b", severity="critical"),
        "c": rule(name="c"),
    }
    alarms = Alarms(rules)
    alarms.update({MXC: Quantity(1.0, "K")}, T0)
    assert [row["name"] for row in alarms.table(T0)] == ["b", "c", "a"]


@given(st.lists(st.tuples(st.floats(0.1, 30), st.floats(0, 0.03)), max_size=60))
def test_raised_and_cleared_take_turns_and_no_grace_is_cut_short(steps):
    course, t_s, said, since = Course(grace_s=20.0, latching=False), 0.0, [], None
    for step_s, value in steps:
        t_s += step_s
        bad = value > 0.015
        since = (t_s if since is None else since) if bad else None
        for what in course.at(t_s, value):
            if what == "raised":
                assert since is not None
                assert t_s - since >= 20.0 - 1e-6
            said.append(what)
    assert all(a != b for a, b in pairwise(said))
    assert said[:1] in ([], ["raised"])


CORE = {
    "run": 3, "elapsed_s": 5.0, "n_bytes": 10, "gaps": 1, "lost_samples": 2, "unsafe": 0,
    "disk_hours_left": None,
    "channels": {"C11": {"rate_hz": 2.5, "records": 4, "livetime_s": 4.5, "exposure_g_d": 0.1,
                         "dead_s": {"unlocked": 0.5}}},
    "digitizers": {"targets": {"state": "silent"}},
}  # fmt: skip
INSTRUMENTS = {
    "readings": {MXC: {"value": 0.011, "unit": "K", "stale": False, "source": "read"},
                 "fridge.heater_range": {"value": "OFF", "unit": "", "stale": True,
                                         "source": "read"}},
    "instruments": {"fridge": {"state": "ok"}},
}  # fmt: skip


def test_every_quantity_has_a_name():
    found = gathered(CORE, INSTRUMENTS, {"core": {"state": "lost"}})
    assert found[MXC] == Quantity(0.011, "K")
    assert found["fridge.heater_range"] == Quantity(None, "", stale=True)
    assert found["channels.C11.dead_s.unlocked"] == Quantity(0.5, "s")
    assert found["run.exposure_g_d"] == Quantity(0.1, "g d")
    assert found["run.recording"].value == 1.0
    assert found["digitizers.targets.silent"].value == 1.0
    assert found["services.core.lost"].value == 1.0
    assert found["instruments.fridge.trouble"].value == 0.0
    assert found["disk.hours_left"].value is None
    names = known(["C11"], ["targets"], ["core"], {MXC: "K", "fridge.heater_range": ""})
    assert set(found) <= set(names)
    assert {n: names[n] for n in found} == {n: q.unit for n, q in found.items()}


def test_a_service_without_news_has_no_quantities():
    assert gathered(None, None, {"core": {"state": "idle"}}) == {
        "services.core.lost": Quantity(0.0)
    }
