"""The console: who speaks, who is lost, what may be done, and what has to be read."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from daq.wire.schemas import State, Traces
from gui.model.console import Console
from gui.model.frames import Answer, Missed, TraceFrame, Trouble
from gui.model.headline import LOST, emptiness, look, sentences

BORN_S = 100.0


def console() -> Console:
    return Console(["C11", "C12"], born_s=BORN_S, utc_ns=lambda: 5)


def run_state(state: str = "idle", **body: object) -> State:
    return State(service="run", pid=1, boot="r1", state=state, t_ns=0, body=body)


def core_state(boot: str = "c1", **body: object) -> State:
    return State(service="core", pid=1, boot=boot, state="idle", t_ns=0, body=body)


def traces(digitizer: str = "targets", channel: str = "C11") -> TraceFrame:
    header = Traces(
        digitizer=digitizer, channels=[channel], start=0, bin_samples=1, rate_hz=1.0, t_ns=1
    )
    return TraceFrame(header, np.zeros((1, 4, 2), np.float32))


def heard(*items: object) -> Console:
    """A console that heard `items` at its birth."""
    it = console()
    for item in items:
        it.apply(item, BORN_S)  # type: ignore[arg-type]
    return it


def said(it: Console) -> list[str]:
    return [note.sentence for note in it.notes]


def test_commands_are_those_the_conductor_allows_now() -> None:
    it = heard(run_state(verbs=["start"]))
    assert it.may("start", BORN_S)
    assert not it.may("stop", BORN_S)


def test_nothing_may_be_commanded_to_a_lost_conductor() -> None:
    it = heard(run_state(verbs=["start"]))
    assert it.may("start", BORN_S + 2.0)
    assert not it.may("start", BORN_S + 2.1)
    assert not console().may("start", BORN_S)


def test_one_command_at_a_time() -> None:
    it = heard(run_state(verbs=["start", "stop"]))
    it.pending = "start"
    assert not it.may("stop", BORN_S)
    it.apply(Answer("start"), BORN_S)
    assert it.may("stop", BORN_S)
    assert said(it) == ["run started"]


def test_a_refusal_is_a_sentence_in_the_log() -> None:
    it = heard(Answer("start", "run 142 is running"))
    assert said(it) == ["start: run 142 is running"]
    assert it.notes[-1].tone == "alarm"


def test_a_silent_service_is_noted_once_and_so_is_its_return() -> None:
    it = heard(run_state(), core_state())
    for later_s in (1.0, 3.0, 4.0):
        it.apply(run_state(), BORN_S + later_s)
        it.watch(BORN_S + later_s)
    assert said(it) == ["core: no news for 3 s"]
    it.apply(core_state(), BORN_S + 5.0)
    it.watch(BORN_S + 5.0)
    assert said(it)[1:] == ["core: speaks again"]


def test_services_have_a_moment_to_speak_up_before_they_are_called_silent() -> None:
    it = console()
    it.watch(BORN_S + 1.0)
    assert said(it) == []
    it.watch(BORN_S + 3.0)
    assert said(it) == [
        "run: no news for 3 s: is the service up?",
        "core: no news for 3 s: is the service up?",
    ]


@pytest.mark.parametrize(
    ("state", "word", "tone"),
    [
        ("idle", "IDLE", "normal"),
        ("starting", "STARTING", "attention"),
        ("running", "RUNNING", "normal"),
        ("stopping", "STOPPING", "attention"),
        ("failed", "FAILED", "alarm"),
        ("paused", "PAUSED", "attention"),
    ],
)
def test_the_run_has_a_word_a_shape_and_a_tone(state: str, word: str, tone: str) -> None:
    found = look(heard(run_state(state)), BORN_S)
    assert (found.word, found.tone) == (word, tone)
    assert found.shape


def test_states_differ_in_shape_and_not_in_color_alone() -> None:
    states = ("idle", "starting", "running", "stopping", "failed")
    shapes = {look(heard(run_state(state)), BORN_S).shape for state in states}
    assert len(shapes | {LOST.shape}) == 6


def test_a_lost_conductor_is_lost_whatever_it_said_last() -> None:
    assert look(heard(run_state("running")), BORN_S + 2.5) == LOST


def test_problems_come_before_silences() -> None:
    it = heard(run_state("failed", problem="the disk is full"), core_state())
    assert sentences(it, BORN_S) == [("alarm", "run: the disk is full")]
    it.apply(run_state("failed", problem="the disk is full"), BORN_S + 3)
    assert sentences(it, BORN_S + 3) == [
        ("alarm", "run: the disk is full"),
        ("attention", "core: no news for 3 s"),
    ]


def test_the_same_problem_is_noted_once_until_it_was_gone() -> None:
    it = console()
    for problem in ("x", "x", "", "x"):
        it.apply(core_state(problem=problem), BORN_S)
    assert said(it) == ["core: x", "core: x"]


def test_a_body_that_is_not_as_documented_is_said_and_changes_nothing() -> None:
    it = heard(run_state(run=7), run_state(run="seven"))
    assert it.run.body.run == 7
    (sentence,) = said(it)
    assert sentence.startswith("expected the state of run, found: ")
    assert "$.run" in sentence


def test_what_the_window_does_not_know_yet_may_be_in_a_body() -> None:
    assert heard(run_state(run=7, moon="full")).run.body.run == 7


def test_other_services_do_not_disturb() -> None:
    other = State(service="folder", pid=1, boot="f", state="idle", t_ns=0)
    assert said(heard(other)) == []


def test_trouble_on_the_wire_is_noted_once() -> None:
    assert said(heard(Trouble("a"), Trouble("a"), Trouble("b"))) == ["a", "b"]


def test_missed_messages_add_up() -> None:
    assert heard(Missed(3), Missed(4)).n_missed == 7


def test_a_channel_that_the_config_does_not_have_is_shown_all_the_same() -> None:
    assert heard(traces(channel="X1")).channels == ["C11", "C12", "X1"]


def test_a_core_that_began_anew_leaves_no_old_traces() -> None:
    it = heard(core_state("c1"), traces())
    assert it.rolling.newest_ns > 0
    it.apply(core_state("c1"), BORN_S)
    assert it.rolling.newest_ns > 0
    it.apply(core_state("c2"), BORN_S)
    assert it.rolling.newest_ns == 0


def test_an_empty_plot_says_why() -> None:
    it = heard(core_state())
    assert emptiness(it, BORN_S) == "no data yet: is the digitizer service up?"
    assert emptiness(it, BORN_S + 12) == "no data: core: no news for 12 s"
    it.apply(traces(), BORN_S)
    assert emptiness(it, BORN_S) == ""


def test_the_models_need_no_qt() -> None:
    code = (
        "import gui.model.headline, gui.model.inbox, gui.model.lane, gui.palette, sys;"
        "sys.exit(any(name.startswith(('PySide6', 'pyqtgraph')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
