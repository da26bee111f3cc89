"""Blocks, as digitizers deliver them, and the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.model.clock import Anchor

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples [start, stop) of one digitizer were lost; `exact` where the hardware counted them."""

    start: int
    stop: int
    exact: bool = True
    cause: str = "overflow"


@dataclass(frozen=True, slots=True)
class Block:
    """Contiguous samples of all channels of one digitizer.

    `samples` is int16, [channel, sample], read-only; `start` is the 64-bit number of its first
    sample. `anchors` lie in [start, stop) and are part of the stream, like the samples.
    """

    start: int
    samples: Samples
    anchors: tuple[Anchor, ...] = ()

    @property
    def stop(self) -> int:
        """One past the number of the last sample."""
        return self.start + int(self.samples.shape[1])


def joined(blocks: Sequence[Block]) -> Block:
    """Contiguous blocks of one digitizer, at least one, as one block with samples of its own."""
    samples = np.concatenate([block.samples for block in blocks], axis=1)
    samples.flags.writeable = False
    anchors = tuple(anchor for block in blocks for anchor in block.anchors)
    return Block(blocks[0].start, samples, anchors)
