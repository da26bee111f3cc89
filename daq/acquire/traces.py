"""What eyes see of a stream: minimum and maximum per bin, so that no pulse is missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daq.acquire import kernels
from daq.model.block import Block, Samples


@dataclass(frozen=True, slots=True)
class Strip:
    """Bins of one digitizer: float32 [channel, bin, (minimum, maximum)], from sample `start` on."""

    start: int
    bins: npt.NDArray[np.float32]


class TraceMaker:
    """Bins lie on absolute sample numbers, so that where blocks are cut does not show."""

    def __init__(self, rows: list[int], bin_samples: int, scale: float) -> None:
        self._rows, self.bin_samples, self._scale = rows, bin_samples, scale
        self._all = rows == list(range(len(rows)))
        self._kept: Samples = np.empty((len(rows), 0), np.int16)
        self._next = 0

    def feed(self, block: Block) -> Strip:
        """The bins that the block completes."""
        x = block.samples if self._all else block.samples[self._rows]
        if block.start != self._next or not self._kept.shape[1]:
            start = -(-block.start // self.bin_samples) * self.bin_samples
            x = x[:, start - block.start :]
        else:
            x = np.concatenate([self._kept, x], axis=1)
            start = block.start - self._kept.shape[1]
        n = x.shape[1] // self.bin_samples
        bins = np.empty((len(self._rows), n, 2), np.float32)
        kernels.min_max(np.ascontiguousarray(x), self.bin_samples, self._scale, bins)
        self._kept, self._next = x[:, n * self.bin_samples :].copy(), block.stop
        return Strip(start, bins)
