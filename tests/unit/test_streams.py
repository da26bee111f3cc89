"""The core's side of a stream: credit, acknowledgment, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from daq.errors import NotSharedError, WireError
from daq.services.streams import WINDOW, Stream
from daq.wire import shared
from daq.wire.schemas import AnchorItem, BlockHeader, GapItem, StreamAck, StreamEnd, StreamHello


def hello(epoch: str = "e", newest: int = 100) -> StreamHello:
    return StreamHello(
        digitizer="d",
        epoch=epoch,
        channels=["a", "b"],
        rate_hz=1e3,
        volts_per_count=1.0,
        oldest=0,
        newest=newest,
    )


def block(
    start: int, n: int, epoch: str = "e", channels: int = 2, asked: int = 1
) -> tuple[BlockHeader, memoryview]:
    header = BlockHeader(
        digitizer="d", epoch=epoch, asked=asked, start=start, n_channels=channels, n_samples=n,
        anchors=[AnchorItem(start, 7)], gaps=[GapItem(start - 1, start, True, "overflow")],
    )  # fmt: skip
    return header, memoryview(np.arange(channels * n, dtype="<i2").tobytes())


def streaming() -> Stream:
    stream = Stream("d", asked=0)
    assert stream.greet(b"d", hello())
    stream.want(100, now_s=1.0)
    return stream


def test_a_block_is_handed_on_with_its_gaps_and_anchors_and_cannot_be_changed():
    stream = streaming()
    gaps, taken = stream.take(b"d", *block(100, 5), now_s=2.0)
    assert [(g.start, g.stop, g.exact, g.cause) for g in gaps] == [(99, 100, True, "overflow")]
    assert taken.start == 100
    assert taken.samples.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert [(a.sample, a.t_ns) for a in taken.anchors] == [(100, 7)]
    assert stream.next == 105
    assert stream.heard_s == 2.0
    with pytest.raises(ValueError, match="read-only"):
        taken.samples[0, 0] = 1


def test_it_is_told_when_what_was_asked_for_began_to_come():
    stream = Stream("d", asked=0)
    assert stream.greet(b"d", hello())
    assert stream.n_begun == 0
    for peer, n_begun in ((b"d", 1), (b"another process", 2)):
        stream.greet(peer, hello())
        stream.want(100, now_s=1.0)
        assert stream.n_begun == n_begun - 1  # asked for, and nothing came yet
        for start in (100, 105):
            stream.take(peer, *block(start, 5, asked=n_begun), now_s=2.0)
            assert stream.n_begun == n_begun


def test_a_known_hello_is_no_news_and_a_new_epoch_is():
    stream = streaming()
    assert not stream.greet(b"d", hello())
    assert stream.streaming
    assert stream.greet(b"d", hello("f"))
    assert not stream.streaming


def test_a_hello_from_another_address_is_news():
    assert streaming().greet(b"other", hello())


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (block(100, 5, epoch="f"), "epoch f"),
        (block(100, 5, channels=3), "expected 2 channels"),
        ((block(100, 5)[0], memoryview(b"xy")), "in 2 bytes"),
    ],
)
def test_what_was_not_agreed_is_refused(bad, said):
    stream = streaming()
    with pytest.raises(WireError, match=said):
        stream.take(b"d", *bad, now_s=2.0)
    assert stream.next == 100


def test_nothing_is_taken_before_it_was_asked_for():
    stream = Stream("d", asked=0)
    stream.greet(b"d", hello())
    with pytest.raises(WireError, match="expected no block"):
        stream.take(b"d", *block(0, 5), now_s=0.0)


def test_the_end_of_another_stream_is_refused_by_name():
    stream = streaming()
    with pytest.raises(WireError, match="expected no end of d in epoch f, found one"):
        stream.end(b"d", StreamEnd(digitizer="d", epoch="f", stop=300))
    assert stream.ended is None
    stream.end(b"d", StreamEnd(digitizer="d", epoch="e", stop=300))
    assert stream.ended == 300


def test_a_want_names_the_epoch_of_the_hello():
    stream = streaming()
    stream.greet(b"d", hello("f"))
    assert stream.want(7, now_s=1.0).epoch == "f"


def test_acknowledgments_say_what_is_durable_and_extend_the_credit():
    stream = streaming()
    assert stream.acknowledgment(held=0) is None
    stream.durable = 103
    assert stream.acknowledgment(held=0) == StreamAck(epoch="e", durable=103, credit=WINDOW)
    assert stream.acknowledgment(held=0) is None
    stream.taken = WINDOW // 2
    assert stream.acknowledgment(held=0) == StreamAck(
        epoch="e", durable=103, credit=WINDOW + WINDOW // 2
    )


@pytest.fixture
def memory() -> Iterator[shared.Outgoing]:
    memory = shared.Outgoing(1 << 16)
    yield memory
    memory.close()


def sharing() -> Stream:
    stream = Stream("d", local=True, asked=0)
    stream.greet(b"d", hello())
    assert stream.want(100, now_s=1.0).shared
    return stream


def lying(
    memory: shared.Outgoing, start: int, n: int, asked: int = 1, **other: object
) -> tuple[BlockHeader, memoryview]:
    """A block whose samples lie in memory, or are said to lie elsewhere."""
    header, samples = block(start, n, asked=asked)
    place = memory.put(samples)
    assert place is not None
    place = msgspec.structs.replace(place, **other)
    return msgspec.structs.replace(header, shared=place), memoryview(b"")


def test_samples_that_lie_in_memory_are_handed_on_as_they_are(memory):
    stream = sharing()
    _, taken = stream.take(b"d", *lying(memory, 100, 5), now_s=2.0)
    assert taken.samples.tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    with pytest.raises(ValueError, match="read-only"):
        taken.samples[0, 0] = 1


def test_what_is_held_is_not_free(memory):
    stream = sharing()
    for start in (100, 105):
        stream.take(b"d", *lying(memory, start, 5), now_s=2.0)
    stream.durable = 105
    assert stream.acknowledgment(held=20) == StreamAck(
        epoch="e", durable=105, credit=WINDOW + 40, token=memory.token, free=20
    )
    stream.durable = 110
    assert stream.acknowledgment(held=0) == StreamAck(
        epoch="e", durable=110, credit=WINDOW + 40, token=memory.token, free=40
    )


def test_room_in_memory_is_news_like_credit(memory):
    stream = sharing()
    stream.take(b"d", *lying(memory, 100, 5), now_s=2.0)
    assert stream.acknowledgment(held=20) is None
    stream.in_memory = WINDOW // 4 + 20
    ack = stream.acknowledgment(held=20)
    assert isinstance(ack, StreamAck)
    assert ack.free == WINDOW // 4


def test_all_room_is_told_when_nothing_is_held_for_nothing_more_may_come(memory):
    stream = sharing()
    stream.take(b"d", *lying(memory, 100, 5), now_s=2.0)
    ack = stream.acknowledgment(held=0)
    assert isinstance(ack, StreamAck)
    assert (ack.durable, ack.free) == (0, 20)
    assert stream.acknowledgment(held=0) is None


def test_every_core_asks_by_numbers_of_its_own():
    wants = []
    for _ in range(2):
        stream = Stream("d")
        stream.greet(b"d", hello())
        wants.append(stream.want(100, now_s=1.0).asked)
    assert wants[0] != wants[1]


def test_what_is_free_is_counted_anew_in_another_memory(memory):
    stream = sharing()
    stream.take(b"d", *lying(memory, 100, 5), now_s=2.0)
    stream.want(105, now_s=2.0)
    other = shared.Outgoing(1 << 16)
    stream.take(b"d", *lying(other, 105, 7, asked=2), now_s=2.0)
    other.close()
    stream.durable = 112
    ack = stream.acknowledgment(held=0)
    assert isinstance(ack, StreamAck)
    assert (ack.token, ack.free) == (other.token, 28)


def test_memory_that_cannot_be_reached_is_not_wanted_again_on_this_connection(memory):
    stream = sharing()
    with pytest.raises(NotSharedError, match="found another at its place"):
        stream.take(b"d", *lying(memory, 100, 5, token="ab" * 16), now_s=2.0)
    assert stream.next == 100
    assert not stream.want(100, now_s=2.0).shared
    gaps, late = stream.take(b"d", *lying(memory, 100, 5), now_s=2.0)
    assert (gaps, late.samples.size, stream.next) == ([], 0, 100)
    with pytest.raises(WireError, match="expected samples of d by the socket"):
        stream.take(b"d", *lying(memory, 100, 5, asked=2), now_s=2.0)
    stream.take(b"d", *block(100, 5, asked=2), now_s=2.0)
    assert stream.next == 105
    assert stream.greet(b"another process", hello())
    assert stream.want(105, now_s=2.0).shared


def test_a_place_outside_of_memory_is_refused(memory):
    stream = sharing()
    with pytest.raises(WireError, match="expected samples within 65536 shared bytes"):
        stream.take(b"d", *lying(memory, 100, 5, at=1 << 40), now_s=2.0)
    assert stream.next == 100


def test_what_was_taken_before_is_cut_off():
    stream = streaming()
    stream.take(b"d", *block(100, 5), now_s=2.0)
    _, again = stream.take(b"d", *block(102, 5), now_s=3.0)
    assert again.start == 105
    assert again.samples.tolist() == [[3, 4], [8, 9]]
    _, old = stream.take(b"d", *block(100, 3), now_s=3.0)
    assert old.samples.shape == (2, 0)
    assert stream.next == 107


def test_a_late_block_of_a_lost_connection_is_refused():
    with pytest.raises(WireError, match="expected no block"):
        streaming().take(b"before", *block(100, 5), now_s=2.0)


def test_blocks_of_an_earlier_question_are_passed_over_when_it_is_asked_again():
    stream = streaming()
    stream.take(b"d", *block(100, 5), now_s=2.0)
    stream.want(50, now_s=3.0)
    gaps, late = stream.take(b"d", *block(105, 5), now_s=3.0)  # was under way already
    assert (gaps, late.samples.size, stream.next, stream.taken) == ([], 0, 50, 0)
    header, frame = block(60, 5, asked=2)
    header = msgspec.structs.replace(header, gaps=[GapItem(50, 60, True, "overflow")])
    gaps, first = stream.take(b"d", header, frame, now_s=3.0)
    assert ([(g.start, g.stop) for g in gaps], first.start, stream.next) == ([(50, 60)], 60, 65)
    lie = msgspec.structs.replace(block(105, 5)[0], n_channels=2**63 - 1)
    assert stream.take(b"d", lie, frame, now_s=3.0)[1].samples.shape == (2, 0)
    _, more = stream.take(b"d", *block(70, 5, asked=2), now_s=3.0)
    assert more.start == 70  # from here on a hole is a hole
