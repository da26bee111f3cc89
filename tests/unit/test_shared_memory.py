"""Memory between two processes: what is refused, what outlives whom, and where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from daq.errors import NotSharedError, WireError
from daq.wire.schemas import SharedItem
from daq.wire.shared import ALIGNED, Incoming, Outgoing
from tests.limits import no_memory

SIZE = 1 << 20
READER = """
import sys, msgspec
from daq.wire.schemas import SharedItem
from daq.wire.shared import Incoming
place = msgspec.json.decode(sys.argv[1], type=SharedItem)
sys.stdout.buffer.write(Incoming(place).read(place.at, int(sys.argv[2])))
"""


@contextmanager
def outgoing(size: int = SIZE) -> Iterator[Outgoing]:
    memory = Outgoing(size)
    yield memory
    memory.close()


def put(memory: Outgoing, samples: bytes) -> SharedItem:
    place = memory.put(memoryview(samples))
    assert place is not None
    return place


def test_another_process_reads_what_was_put():
    with outgoing() as memory:
        put(memory, b"something before")
        place = put(memory, bytes(range(256)) * 100)
        told = msgspec.json.encode(place).decode()
        command = [sys.executable, "-c", READER, told, "25600"]
        assert subprocess.run(command, check=True, capture_output=True).stdout == (
            bytes(range(256)) * 100
        )


def test_it_can_be_read_when_its_writer_is_gone_and_not_be_written():
    with outgoing() as memory:
        place = put(memory, b"samples")
        found = Incoming(place).read(place.at, 7)
    assert bytes(found) == b"samples"
    with pytest.raises(TypeError, match="read-only"):
        found[0] = 0


def test_nobody_can_make_it_smaller_under_its_reader():
    with outgoing() as memory:
        place = put(memory, b"samples")
        fd = os.open(f"/proc/{place.pid}/fd/{place.fd}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        os.close(fd)


def test_what_lies_outside_is_refused_with_its_place():
    with outgoing() as memory:
        place = put(memory, b"samples")
        with pytest.raises(WireError, match=f"within {SIZE} shared bytes, .* at {SIZE - 6} to"):
            Incoming(place).read(SIZE - 6, 7)


def test_memory_of_a_process_that_is_gone_is_refused():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(NotSharedError, match=f"process {ended.pid} shares, found: No such file"):
        Incoming(SharedItem(ended.pid, 3, "00", 64))


def test_another_memory_at_its_place_is_refused():
    with outgoing() as memory:
        place = msgspec.structs.replace(put(memory, b"samples"), token="ab" * 16)
        with pytest.raises(NotSharedError, match=f"memory {place.token}, found another"):
            Incoming(place)


def test_anything_else_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(bytes(SIZE))
    (tmp_path / "empty").touch()
    for name in ("fifo", "file", "empty"):
        fd = os.open(tmp_path / name, os.O_RDWR)
        with pytest.raises(NotSharedError, match="found something else"):
            Incoming(SharedItem(os.getpid(), fd, "00", 64))
        os.close(fd)


def test_memory_that_could_shrink_is_refused():
    fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.truncate(fd, SIZE)
    with pytest.raises(NotSharedError, match="found another at its place"):
        Incoming(SharedItem(os.getpid(), fd, "00" * 16, 64))
    os.close(fd)


def test_where_the_system_has_no_memory_it_says_so_at_once():
    before = set(Path("/proc/self/fd").iterdir())
    with no_memory(), pytest.raises(OSError, match="too large"):
        Outgoing(SIZE)
    assert {fd for fd in Path("/proc/self/fd").iterdir() if fd.exists()} <= before


def test_it_takes_what_leaves_room_for_as_much_again():
    with outgoing() as memory:
        assert memory.takes(SIZE // 2 - ALIGNED)
        assert not memory.takes(SIZE // 2)
