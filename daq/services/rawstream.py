"""The raw stream of a run on its way to the log: each sample of the chosen channels, once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daq.model.batch import RawBatch
from daq.model.block import Block, Samples
from daq.model.channel import Channel
from daq.settings.loader import Settings
from daq.settings.sections import Storage


def raw_channels(settings: Settings) -> list[str]:
    """The channels whose raw stream the config asks for, in its order."""
    chosen, known = settings.section(Storage).raw, settings.channel_names
    if isinstance(chosen, str):
        return list(known) if chosen == "all" else []
    return [name for name in known if name in chosen]


class RawTape:
    """What came of the raw streams since the last commit. For one thread."""

    def __init__(self, channels: Sequence[Channel], raw: Sequence[str]) -> None:
        self._chosen: dict[str, list[tuple[int, int]]] = {}  # by digitizer: (channel, row)
        for i, channel in enumerate(channels):
            if channel.name in raw:
                self._chosen.setdefault(channel.digitizer, []).append((i, channel.row))
        self._pieces: dict[str, list[tuple[int, Samples]]] = {}

    def keep(self, digitizer: str, block: Block, start: int, stop: int) -> None:
        """Keep what a block has of samples [start, stop) and earlier ones had not."""
        start, stop = max(start, block.start), min(stop, block.stop)
        if digitizer in self._chosen and start < stop:
            samples = block.samples[:, start - block.start : stop - block.start]
            self._pieces.setdefault(digitizer, []).append((start, samples))

    def take(self) -> tuple[RawBatch, ...]:
        """All that was kept, joined where it is contiguous."""
        taken, self._pieces = self._pieces, {}
        return tuple(
            RawBatch(channel, first, np.concatenate([samples[row] for samples in joined]))
            for digitizer, pieces in taken.items()
            for first, joined in _joined(pieces)
            for channel, row in self._chosen[digitizer]
        )


def _joined(pieces: list[tuple[int, Samples]]) -> list[tuple[int, list[Samples]]]:
    """The same as stretches without holes: (first sample, pieces)."""
    stretches: list[tuple[int, list[Samples]]] = []
    reached = -1
    for start, samples in pieces:
        if start != reached:
            stretches.append((start, []))
        stretches[-1][1].append(samples)
        reached = start + samples.shape[1]
    return stretches
