"""Salvaging in a process of its own: `python -m daq.store.salvaging`.

HDF5 can crash or hang on a damaged file, and what it has read of one may spoil what the same
process writes afterwards. So the child reads the damaged file, and its answer is a whole new one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from daq.store.checker import died, start
from daq.store.contents import facts_of
from daq.store.salvage import empty, lost, salvage
from daq.store.segment import segment_image


class Order(msgspec.Struct, frozen=True):
    """A damaged segment, and what the file that stands for it is to say of itself.

    Where the segment does not tell its own facts, it is of the run `start_text` and holds no commit
    behind `last_commit`, so that whoever verifies finds the hole.
    """

    path: str
    start_text: bytes
    last_commit: int
    index: int
    t_ns: int


class Salvaged(msgspec.Struct, frozen=True):
    """The file that stands for a damaged one, and a sentence for each thing that was lost."""

    image: bytes
    problems: list[str]


def salvaged(order: Order, timeout_s: float) -> Salvaged:
    """What a child could read of a segment; nothing where it died of it or was silent too long."""
    with start("daq.store.salvaging") as child:
        try:
            answer, _ = child.communicate(msgspec.msgpack.encode(order), timeout_s)
            return msgspec.msgpack.decode(answer, type=Salvaged)
        except subprocess.TimeoutExpired:
            why = f"no answer within {timeout_s:g} s"
        except msgspec.DecodeError:
            why = died(child)
        finally:
            child.kill()
    last = order.last_commit
    nothing = empty(facts_of(order.start_text, b" ", (last + 1, last), resumed=True))
    image = segment_image(nothing, order.index, order.t_ns)
    return Salvaged(image, [lost(Path(order.path), why)])


def _main() -> None:
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    found = salvage(Path(order.path), order.start_text, order.last_commit)
    image = segment_image(found.contents, order.index, order.t_ns)
    sys.stdout.buffer.write(msgspec.msgpack.encode(Salvaged(image, found.problems)))


if __name__ == "__main__":
    _main()
