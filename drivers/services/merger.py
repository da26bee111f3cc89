"""The merger: small packets joined into blocks worth a message."""

from __future__ import annotations

import numpy as np

from drivers.digitizer.digitizer import Samples

BLOCK_S, BLOCK_BYTES = 0.025, 1 << 20  # so long that traces still come 40 times a second


class Merger:
    """Joins contiguous packets up to about 25 ms or 1 MB; bigger ones pass without a copy."""

    def __init__(self, *, rate_hz: float, n_channels: int) -> None:
        by_size = BLOCK_BYTES // (2 * n_channels)
        self._enough = max(1, min(round(BLOCK_S * rate_hz), by_size))
        self._waiting: list[Samples] = []

    def add(self, packet: Samples) -> list[Samples]:
        """The blocks that are complete with `packet`, which must follow on the one before."""
        blocks = self.flush() if packet.samples.shape[1] >= self._enough else []
        self._waiting.append(packet)
        if packet.stop - self._waiting[0].start < self._enough:
            return blocks
        return blocks + self.flush()

    def flush(self) -> list[Samples]:
        """What is waiting, as one block, if anything is."""
        waiting, self._waiting = self._waiting, []
        if len(waiting) < 2:
            return waiting
        joined = np.concatenate([packet.samples for packet in waiting], axis=1)
        joined.flags.writeable = False
        return [Samples(waiting[0].start, joined)]
