"""What eyes are told of a procedure: its steps, and its curves while they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from daq.errors import UsageError
from daq.readout.requests import (
    All,
    Average,
    Averaged,
    Begin,
    Done,
    End,
    Failed,
    Held,
    Picture,
    Put,
    Say,
    Several,
)
from daq.services.progress import MEASURED, MOST_STEPS, Relay, Teller, Told
from daq.settings.loader import load
from daq.wire import codec, sockets
from daq.wire.schemas import Progress


class Heard:
    """Everything that was sent, by a clock that goes on at every look."""

    def __init__(self) -> None:
        self.rows: list[Progress] = []
        self.now_s = 0.0
        self.teller = Teller(self.rows.append, lambda: 7, self._clock)

    def _clock(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def sweep(self, at: str, name: str, points: list[tuple[float, float]]) -> None:
        for x, volts in points:
            self.teller.saw(Put(at, name, x), Held(x))
            self.teller.saw(Average(at, 0.1), Averaged(volts, 0.0, 5))


@pytest.fixture
def told() -> Heard:
    return Heard()


def test_v_phi_is_seen_point_by_point_and_then_with_its_fit(told: Heard) -> None:
    told.teller.said(Begin("C11", "v-phi", "a modulation"))
    told.teller.saw(Put("C11", "bias", 1e-5), Held(1e-5))
    told.sweep("C11", "flux", [(1e-6, 0.001), (2e-6, 0.003)])
    begun, first, second = told.rows
    assert (begun.step, begun.state, begun.text, begun.curves) == (
        "v-phi",
        "runs",
        "a modulation",
        [],
    )
    assert [(c.name, c.x, c.y) for c in first.curves] == [(MEASURED, [1.0], [1.0])]
    assert (second.curves[0].x, second.curves[0].y) == ([1.0, 2.0], [1.0, 3.0])
    assert (second.title, second.x_label) == ("V-phi", "current in the flux line [uA]")
    curves = {"measured": ([0.0], [1.0]), "fit": ([0.0, 1.0], [2.0, 3.0])}
    picture = Picture("V-phi at 10 uA", "x [uA]", "y [mV]", curves, ("measured",))
    told.teller.said(End("C11", "v-phi", True, {}, "", (picture,)))
    ended = told.rows[-1]
    assert (ended.state, ended.title, ended.fraction) == ("passed", "V-phi at 10 uA", 1.0)
    assert [(c.name, c.points) for c in ended.curves] == [("measured", True), ("fit", False)]


def test_another_bias_current_is_another_curve(told: Heard) -> None:
    told.teller.said(Begin("C11", "v-phi", ""))
    told.sweep("C11", "flux", [(1e-6, 0.001)])
    told.teller.saw(Put("C11", "bias", 2e-5), Held(2e-5))
    told.sweep("C11", "flux", [(1e-6, 0.005)])
    assert told.rows[-1].curves[0].y == [5.0]


def test_what_is_done_to_several_at_once_is_told_apart(told: Heard) -> None:
    for at in ("C11", "C12"):
        told.teller.said(Begin(at, "iv", ""))
    put = All(tuple(Put(at, "tes_bias", 1e-6) for at in ("C11", "C12")))
    told.teller.saw(put, Several((Held(1e-6), Held(1e-6))))
    average = All(tuple(Average(at, 0.1) for at in ("C11", "C12")))
    told.teller.saw(average, Several((Averaged(0.25, 0, 1), Failed("CheckError", "frozen"))))
    with_curves = [row for row in told.rows if row.curves]
    assert [(row.at, row.step, row.curves[0].y) for row in with_curves] == [("C11", "iv", [0.25])]


def test_a_proof_is_no_v_phi_and_what_is_not_swept_no_point(told: Heard) -> None:
    told.teller.said(Begin("C11", "proof", "straight"))
    told.sweep("C11", "flux", [(1e-6, 0.1)])
    assert (told.rows[-1].step, told.rows[-1].title) == ("proof", "proof")
    n = len(told.rows)
    told.sweep("C11", "offset", [(1e-6, 0.1)])
    assert len(told.rows) == n


def test_an_iv_without_steps_is_one_and_is_over_at_the_end(told: Heard) -> None:
    told.sweep("C11", "tes_bias", [(9e-6, 0.4), (8e-6, 0.3)])
    told.teller.said(Say("C11", "IV", 0.5))
    told.teller.close()
    last = told.rows[-1]
    assert (last.step, last.state, last.text, last.fraction) == ("iv", "over", "IV", 0.5)
    assert last.curves[0].x == [9.0, 8.0]


def test_points_are_told_five_times_a_second_at_most() -> None:
    rows: list[Progress] = []
    teller = Teller(rows.append, lambda: 7, lambda: 0.0)
    teller.said(Begin("C11", "iv", ""))
    for _ in range(100):
        teller.saw(Put("C11", "tes_bias", 1e-6), Held(1e-6))
        teller.saw(Average("C11", 0.1), Averaged(0.1, 0.0, 1))
    assert len(rows) == 1
    teller.close()
    assert len(rows[-1].curves[0].x) == 100


def test_hands_that_are_watched_answer_as_they_do(told: Heard) -> None:
    hands = told.teller.watching(lambda _: Done())
    assert hands(Put("C11", "flux", 1.0)) == Done()


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setenv("SCHEELITE_RUNTIME", str(tmp_path))
    relay = Relay(load(Path("config/bench.toml")))
    yield relay
    relay.close()


def row(at: str = "C11", step: str = "v-phi", text: str = "") -> Told:
    return Told(Progress(at=at, step=step, state="runs", t_ns=1, text=text))


def test_who_comes_late_sees_the_latest_of_each_step(relay: Relay, tmp_path: Path) -> None:
    show = relay.verbs["progress"].act
    for told in (row(text="old"), row(text="new"), row(step="iv"), row(at="C12")):
        show(told)
    late = sockets.subscribe(f"ipc://{tmp_path}/run.progress")
    heard: dict[str, Progress] = {}
    for _ in range(500):
        relay.serve()
        while late.poll(10):
            topic, header = sockets.receive(late, 2)
            heard[topic.decode()] = codec.decode(header, Progress)
        if len(heard) == 3:
            break
    late.close(0)
    assert sorted(heard) == ["C11 iv", "C11 v-phi", "C12 v-phi"]
    assert heard["C11 v-phi"].text == "new"


def test_strangers_and_floods_are_refused(relay: Relay) -> None:
    show = relay.verbs["progress"].act
    with pytest.raises(UsageError, match=r"expected one of the detectors C11, .*, found 'SI'"):
        show(row(at="SI"))
    for i in range(MOST_STEPS * 9):
        show(row(step=f"s{i}"))
    with pytest.raises(UsageError, match="expected no more than 32 steps of C11, found another"):
        show(row(step="one more"))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"row": {"at": "C11", "step": "iv", "state": "dances", "t_ns": 1}}, Told)
