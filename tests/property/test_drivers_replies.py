"""Whatever an instrument answers: a value, or an error with a name."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.datatypes import Patching
from daq.errors import InstrumentError, OutOfRangeError
from drivers.parameter import to_plain
from drivers.squid.magnicon import BIAS, BiasRange, Magnicon, checked, framed
from drivers.temperature.lakeshore372 import Lakeshore372

NOWHERE = "TCPIP::127.0.0.1::1::SOCKET"
BOUND = [
    *Lakeshore372(NOWHERE, channels=[1]).parameters(),
    *Magnicon(NOWHERE, channels=[1, 3]).parameters(),
]
DATATYPES = [pytest.param(bound.parameter.datatype, id=bound.name) for bound in BOUND]

replies = st.one_of(
    st.text(max_size=30),
    st.text("0123456789ABCDEF", max_size=26),
    st.text("0123456789+-.eE,; ", max_size=40),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["current", "range", "on", "width", "dwell", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=40)
@given(reply=replies)
def test_a_reply_is_a_value_or_an_error_by_name(datatype, reply):
    try:
        value = datatype.parse(reply)
    except InstrumentError:
        return
    for part in value.values() if isinstance(value, dict) else [value]:
        plain = to_plain(part)
        assert isinstance(plain, str) or math.isfinite(plain)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=40)
@given(value=values, held=replies)
def test_what_is_asked_for_is_written_or_refused(datatype, value, held):
    try:
        assert datatype.format(datatype.refuse(value)).isprintable()
        if isinstance(datatype, Patching):
            assert datatype.patch(held, value).isprintable()
    except (OutOfRangeError, InstrumentError):
        return


@given(st.text(st.characters(codec="ascii", exclude_characters="\r"), min_size=1, max_size=30))
def test_a_frame_is_what_its_checksum_says(text):
    assert checked(framed(text)) == text


@given(st.text(st.characters(codec="ascii"), max_size=30))  # the line refuses other bytes
def test_a_reply_is_checked_whatever_it_is(reply):
    try:
        assert framed(checked(reply)) == reply
    except InstrumentError:
        return


@given(st.sampled_from(BiasRange), st.floats(-500, 500))
def test_a_bias_is_read_back_within_half_a_step(chosen, current):
    dac = BIAS[chosen]
    try:
        text = dac.format(dac.refuse(current))
    except OutOfRangeError:
        assert abs(current) > 125
        return
    assert len(text) == 5
    assert abs(dac.parse(text) - current) <= dac.step / 2 * (1 + 1e-9)
