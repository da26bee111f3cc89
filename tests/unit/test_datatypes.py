"""What datatypes accept, refuse, write and say of themselves."""

from __future__ import annotations

import enum
import math

import pytest

from daq.datatypes import Code, Fields, Flags, Integer, Number, Switch, Text
from daq.errors import OutOfRangeError, ReplyError


class Mode(enum.IntEnum):
    OFF = 0
    ON = 10


class Fault(enum.IntFlag):
    HOT = 1
    OPEN = 4


BOTH = Fields({"on": Switch(), "dwell": Integer(1, 200, "s")})


@pytest.mark.parametrize(
    ("datatype", "text", "value"),
    [
        (Number(), "+293.873E+00", 293.873),
        (Number(), " -1.5 ", -1.5),
        (Number(0, 1), "7", 7.0),  # the range binds what we write, not what is measured
        (Integer(), "007", 7),
        (Code(Mode), "10", Mode.ON),
        (Code(Mode, base=16), "A", Mode.ON),
        (Flags(Fault), "005", Fault.HOT | Fault.OPEN),
        (Flags(Fault), "000", Fault(0)),
        (Switch(), "1", True),
        (Text(), " Channel 01 ", "Channel 01"),
        (BOTH, "1,010", {"on": True, "dwell": 10}),
    ],
)
def test_a_reply_is_parsed(datatype, text, value):
    assert datatype.parse(text) == value


@pytest.mark.parametrize(
    ("datatype", "text", "message"),
    [
        (Number(unit="K"), "nan", "expected a number of K, found 'nan'"),
        (Number(), "inf", "expected a number, found 'inf'"),
        (Number(), "1_000", "expected a number, found '1_000'"),
        (Number(), "1e999", "expected a number, found '1e999'"),
        (Number(), "", "expected a number, found ''"),
        (Integer(), "1.0", "expected a whole number, found '1.0'"),
        (Code(Mode), "3", "expected one of the codes 0, 10, found '3'"),
        (Code(Mode), "1_0", "expected one of the codes 0, 10, found '1_0'"),
        (Flags(Fault), "9", "expected flags between 0 and 5, found '9'"),
        (Flags(Fault), "-1", "expected flags between 0 and 5, found '-1'"),
        (Switch(), "on", "expected 0 or 1, found 'on'"),
        (Text(), "a\x00b", r"expected printable text, found 'a\\x00b'"),
        (BOTH, "1", "expected 2 fields, found 1 in '1'"),
    ],
)
def test_what_is_no_value_is_a_reply_error(datatype, text, message):
    with pytest.raises(ReplyError, match=message):
        datatype.parse(text)


@pytest.mark.parametrize(
    ("datatype", "value", "message"),
    [
        (Number(0, 2, "K"), 300, "300 K is outside 0 to 2 K"),
        (Number(0, 2, "K"), "1", "expected a number of K, found '1'"),
        (Number(), True, "expected a number, found True"),
        (Number(), math.nan, "expected a number, found nan"),
        (Number(), math.inf, "expected a number, found inf"),
        (Number(), 10**400, "expected a number, found 1000"),
        (Integer(1, 5), 6, "6 is outside 1 to 5"),
        (Integer(), 1.0, "expected a whole number, found 1.0"),
        (Integer(), False, "expected a whole number, found False"),
        (Code(Mode), "FAST", "expected one of OFF, ON, found 'FAST'"),
        (Code(Mode), 10, "expected one of OFF, ON, found 10"),
        (Flags(Fault), 1, "expected Fault, found 1"),
        (Switch(), 1, "expected true or false, found 1"),
        (Text(3), "four", "expected at most 3 characters, found 4"),
        (Text(), 'a"b', "expected plain text without quotes"),
        (Text(), "a;b", "expected plain text without quotes"),
        (Text(), "a\nb", "expected plain text without quotes"),
        (Text(), 1, "expected plain text without quotes, found 1"),
        (BOTH, {"on": True}, "expected a value for dwell, found none"),
        (BOTH, {"on": True, "dwell": 0}, "dwell: 0 s is outside 1 to 200 s"),
        (BOTH, {"off": True}, "expected values for on, dwell, found {'off': True}"),
        (BOTH, 7, "expected values for on, dwell, found 7"),
    ],
)
def test_what_is_not_allowed_is_refused(datatype, value, message):
    with pytest.raises(OutOfRangeError, match=message):
        datatype.refuse(value)


@pytest.mark.parametrize(
    ("datatype", "value", "text"),
    [
        (Number(), 0.012, "0.012"),
        (Number(), 1e-6, "0.000001"),
        (Number(), 300, "300"),
        (Number(decimals=0), 20.0, "20"),
        (Integer(), 7, "7"),
        (Code(Mode), "ON", "10"),
        (Code(Mode, base=16), Mode.ON, "A"),
        (Flags(Fault), Fault.OPEN, "4"),
        (Switch(), False, "0"),
        (Text(), "still", "still"),
        (BOTH, {"on": True, "dwell": 3}, "1,3"),
    ],
)
def test_what_is_allowed_is_written(datatype, value, text):
    assert datatype.format(datatype.refuse(value)) == text


def test_writing_one_field_keeps_the_others():
    assert BOTH.patch("1,010", {"dwell": 20}) == "1,20"


def test_a_field_that_is_not_allowed_is_refused_by_name():
    with pytest.raises(OutOfRangeError, match="dwell: 500 s is outside 1 to 200 s"):
        BOTH.patch("1,010", {"dwell": 500})


def test_every_datatype_describes_itself():
    described = {
        "number": Number(0, 2, "K"),
        "integer": Integer(1, 5),
        "code": Code(Mode),
        "flags": Flags(Fault),
        "switch": Switch(),
        "text": Text(),
        "fields": BOTH,
    }
    assert {kind: d.describe().kind for kind, d in described.items()} == {k: k for k in described}
    assert Number(unit="K").describe().maximum is None
    assert Code(Mode).describe().choices == ("OFF", "ON")
    fields = BOTH.describe().fields
    assert fields is not None
    assert fields["dwell"].unit == "s"
