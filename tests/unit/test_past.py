"""Numbers over days: run control keeps extremes of each minute, a window begins with them."""

from __future__ import annotations

import pytest

from daq.run.past import KEPT, SAME_SLOTS, Past
from daq.run.quantities import Quantity
from daq.wire.schemas import State
from gui.model.console import PAST_AT_ONCE, Console
from gui.model.frames import Answer
from gui.model.history import Series

MXC = "fridge.input 6.temperature"


def fed(values: list[float], every_s: float = 60.0) -> Past:
    past = Past()
    for i, value in enumerate(values):
        past.add(6000.0 + every_s * i, {MXC: Quantity(value, "K")})
    return past


def test_a_minute_is_its_extremes() -> None:
    past = fed([0.010, 0.012, 0.009, 0.020], every_s=20.0)
    assert past.of([MXC], 100) == {MXC: [(6000.0, 0.009, 0.012), (6060.0, 0.020, 0.020)]}


def test_what_is_unknown_old_or_a_count_is_not_kept() -> None:
    past = Past()
    past.add(0.0, {"a": Quantity(None, "K"), "b": Quantity(1.0, "K", True), "c": Quantity(1.0)})
    past.add(0.0, {"channels.C11.livetime_s": Quantity(5.0, "s")})
    past.add(0.0, {"channels.C11.rate_hz": Quantity(5.0, "Hz")})
    assert past.of(["a", "b", "c", "nothing", "channels.C11.livetime_s"], 10) == {}
    assert past.of(["channels.C11.rate_hz"], 10) == {"channels.C11.rate_hz": [(0.0, 5.0, 5.0)]}


def test_what_stands_still_is_kept_now_and_then() -> None:
    rows = fed([0.01] * 101).of([MXC], 1000)[MXC]
    assert [row[0] for row in rows] == [6000.0 + 60 * SAME_SLOTS * i for i in range(11)]


def test_ten_days_are_kept() -> None:
    rows = fed([float(i) for i in range(KEPT + 50)]).of([MXC], 10**6)[MXC]
    assert len(rows) == KEPT + 1
    assert rows[-1][1] == KEPT + 49


def test_more_than_fits_into_a_message_is_merged() -> None:
    rows = fed([float(i) for i in range(1000)]).of([MXC], 100)[MXC]
    assert len(rows) == 100
    assert rows[3] == (6000.0 + 60 * 30, 30.0, 39.0)


def test_a_series_begins_before_the_window_did() -> None:
    series = Series()
    series.add(6100.0, 5.0)
    series.put_before([(5940.0, 1.0, 2.0), (6000.0, 3.0, 4.0), (6060.0, 9.0, 9.0)])
    t_s, values = series.since(0.0)
    assert t_s.tolist() == [5940.0, 5940.0, 6000.0, 6000.0, 6100.0]
    assert values.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.fixture
def console() -> Console:
    return Console(["C11", "C12"], born_s=0.0, utc_ns=lambda: 7 * 10**12)


def heard(console: Console, boot: str = "b") -> None:
    reading = {"value": 0.01, "unit": "K", "t_ns": 6999 * 10**9}
    readings = {f"fridge.input {i}.temperature": reading for i in range(30)}
    for service, body in (("run", {}), ("instruments", {"readings": readings})):
        state = State(service=service, pid=1, boot=boot, state="idle", t_ns=0, body=body)
        console.apply(state, 0.0)


def test_the_past_is_asked_for_once_for_each_run_control(console: Console) -> None:
    assert console.past_to_ask(0.0) == []  # nobody is there yet
    heard(console)
    first, second = console.past_to_ask(0.0), console.past_to_ask(0.0)
    assert len(first) == PAST_AT_ONCE
    assert first[:2] == ["channels.C11.rate_hz", "channels.C12.rate_hz"]
    assert len(set(first + second)) == 32
    assert console.past_to_ask(0.0) == []
    heard(console, boot="c")
    assert console.past_to_ask(0.0) == first


def test_the_past_is_drawn_as_what_came_later(console: Console) -> None:
    rows = [[6000.0, 0.1, 0.2]]
    told = {"series": {"channels.C11.rate_hz": rows, MXC: rows}}
    console.apply(Answer("history", "", "run", told), 0.0)
    for name in ("rate C11", MXC):
        assert console.history.since(name, 0.0)[1].tolist() == [0.1, 0.2]
    assert console.n_notes == 0
    console.apply(Answer("history", "expected one of the verbs", "run"), 0.0)  # an older system's
    assert console.n_notes == 0
