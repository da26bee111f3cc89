"""A tape against the plain array, however it was given."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daq.acquire.tape import Tape


@given(st.lists(st.integers(0, 9), min_size=1), st.data())
def test_what_is_read_is_what_was_given_however_it_was_cut(lengths, data):
    start, n = data.draw(st.integers(0, 50)), sum(lengths)
    x, tape = np.arange(n, dtype=np.int16), Tape(start)
    for piece in np.split(x, np.cumsum(lengths)[:-1]):
        tape.append(piece)
    assert tape.stop == start + n
    i = data.draw(st.integers(0, n))
    j = data.draw(st.integers(i, n))
    assert tape.read(start + i, start + j).tolist() == x[i:j].tolist()


@given(st.lists(st.integers(1, 9), min_size=1), st.integers(0, 20))
def test_windows_one_after_the_other_are_all_that_was_given(lengths, history):
    n = sum(lengths)
    x, tape = np.arange(n, dtype=np.int16), Tape(0)
    for piece in np.split(x, np.cumsum(lengths)[:-1]):
        tape.append(piece)
    at = history
    while at < n:
        window = tape.window(at, history)
        assert window.size > history
        assert window.tolist() == x[at - history : at - history + window.size].tolist()
        at += window.size - history
    assert at in (n, history)
