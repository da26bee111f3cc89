"""Whatever is put and set free: what is not free stays as it was, and room is found again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daq.wire.shared import ALIGNED, TOKEN, Incoming, Outgoing

SIZE = 8192
LARGEST = SIZE // 2 - ALIGNED

steps = st.lists(st.tuples(st.integers(1, LARGEST), st.integers(0, 6)), max_size=60)


@given(steps)
def test_what_is_not_free_stays_as_it_was(steps):
    """Each step puts so many bytes, where there is room, and reads so many of the oldest."""
    memory, reader = Outgoing(SIZE), None
    kept: list[tuple[int, bytes]] = []
    freed = 0
    for number, (n, read) in enumerate(steps):
        samples = bytes([number % 251 + 1]) * n
        assert memory.takes(n)
        place = memory.put(memoryview(samples))
        if place is None:
            assert kept, "there is room for all that it takes when all is free"
        else:
            assert place.at >= TOKEN
            assert place.at % ALIGNED == 0
            reader = reader or Incoming(place)
            kept.append((place.at, samples))
        for at, was in kept:
            assert reader is not None
            assert bytes(reader.read(at, len(was))) == was
        freed += sum(len(was) for _, was in kept[:read])
        del kept[:read]
        memory.free(freed)
    memory.close()
