"""Headers on the wire: another version is refused by name, a stranger's bytes are harmless."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daq.errors import ScheeliteError, VersionError, WireError, by_name
from daq.wire import codec, schemas
from daq.wire.schemas import BlockHeader, GapItem, Message, Request, State, StreamHello

HELLO = StreamHello(
    digitizer="d", epoch="e", channels=["a"], rate_hz=1e6, volts_per_count=1e-4, oldest=0, newest=9
)
BLOCK = BlockHeader(
    digitizer="d",
    epoch="e",
    asked=1,
    start=5,
    n_channels=1,
    n_samples=2,
    gaps=[GapItem(1, 5, True, "overflow")],
)


def kinds() -> list[type[Message]]:
    return [k for k in vars(schemas).values() if isinstance(k, type) and issubclass(k, Message)]


@pytest.mark.parametrize("message", [HELLO, BLOCK, Request(id=3, verb="stop")])
def test_a_message_comes_back_as_it_went(message):
    assert codec.decode(codec.encode(message), type(message)) == message
    assert codec.decode(codec.encode(message), StreamHello, BlockHeader, Request) == message


def test_every_message_has_its_own_schema_and_the_version():
    tags = [kind.__struct_config__.tag for kind in kinds()[1:]]
    assert len(set(tags)) == len(tags)


def test_another_version_is_refused_by_name():
    frame = codec.encode(HELLO).replace(b'"version":1', b'"version":2')
    with pytest.raises(VersionError, match="stream-hello in version 1, found version 2"):
        codec.decode(frame, StreamHello)


def test_another_version_with_other_fields_is_still_told_by_its_version():
    frame = b'{"schema":"stream-hello","version":7,"entirely":"new"}'
    with pytest.raises(VersionError, match="found version 7"):
        codec.decode(frame, StreamHello)


def test_another_message_is_refused_with_both_names():
    with pytest.raises(WireError, match="expected stream-hello, found 'request'"):
        codec.decode(codec.encode(Request(id=1, verb="x")), StreamHello)


@pytest.mark.parametrize(
    "change",
    [
        (b'"oldest":0', b'"oldest":-1'),
        (b'"oldest":0', b'"oldest":true'),
        (b'"rate_hz":1000000.0', b'"rate_hz":1e999'),
        (b'"digitizer":"d"', b'"digitizer":""'),
        (b'"digitizer":"d"', b'"digitizer":"d","more":1'),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(change):
    frame = codec.encode(HELLO)
    assert change[0] in frame
    with pytest.raises(WireError):
        codec.decode(frame.replace(*change), StreamHello)


@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b'{"schema":"' + b"\xff" * 4 + b'"}')
def test_any_bytes_are_a_message_or_a_named_refusal(data):
    with contextlib.suppress(WireError):
        codec.decode(data, *kinds()[1:])


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_changed_byte_never_does_worse_than_a_refusal(at, value):
    frame = bytearray(codec.encode(BLOCK))
    frame[at % len(frame)] = value
    with contextlib.suppress(WireError):
        codec.decode(bytes(frame), BlockHeader, State)


def test_an_error_keeps_its_name_over_the_wire():
    assert by_name("VersionError") is VersionError
    assert by_name("Unheard") is ScheeliteError


def test_structs_are_frozen():
    with pytest.raises(AttributeError):
        HELLO.epoch = "x"  # type: ignore[misc]
    assert msgspec.structs.replace(HELLO, seq=4).seq == 4
