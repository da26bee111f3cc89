"""The table of moves: what it allows, what it refuses, and that nobody is stuck in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import RefusedError
from daq.run.states import MOVES, VERBS, RunState

ALL = sorted({move for moves in MOVES.values() for move in moves})


def test_every_move_leads_to_a_state_of_the_table():
    assert {after for moves in MOVES.values() for after in moves.values()} <= set(MOVES)


@given(st.lists(st.sampled_from(ALL), max_size=30))
def test_only_moves_of_the_table_change_the_state(moves):
    state = RunState()
    for move in moves:
        before = state.name
        if move in MOVES[before]:
            state.move(move)
            assert state.name == MOVES[before][move]
        else:
            with pytest.raises(RefusedError, match=f"{before}.*found {move}"):
                state.move(move)
            assert state.name == before
        assert state.verbs == [v for v in VERBS if v in MOVES[state.name]]


def test_from_every_state_a_new_run_can_be_reached():
    for first in MOVES:
        reached, before = {first}, set()
        while reached != before:
            before = set(reached)
            reached |= {after for state in before for after in MOVES[state].values()}
        assert "running" in reached


def test_an_operator_may_do_what_the_table_says():
    state = RunState()
    for move, verbs in [
        ("start", []),
        ("begin", ["pause", "comment", "label", "stop"]),
        ("pause", ["resume", "comment", "label", "stop"]),
        ("no room", ["stop"]),
        ("room in a pause", ["resume", "comment", "label", "stop"]),
        ("resume", ["pause", "comment", "label", "stop"]),
    ]:
        state.move(move)
        assert state.verbs == verbs
