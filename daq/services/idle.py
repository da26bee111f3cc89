"""A stream while no run records it: triggers are found and shown, and forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from daq.acquire.pipeline import Filters, Pipeline, Start
from daq.model.batch import Batch
from daq.model.block import Block, Gap
from daq.model.channel import Channel
from daq.model.clock import Anchor
from daq.model.plan import Plan


class Idle:
    """The pipeline of one digitizer from `start` on, without a log."""

    def __init__(
        self,
        digitizer: str,
        channels: list[Channel],
        start: int,
        anchors: Sequence[Anchor],
        filters: Filters,
    ) -> None:
        self._digitizer, self._channels = digitizer, channels
        rate_hz = channels[0].sample_rate_hz
        begin = Start(
            digitizer=digitizer,
            rate_hz=rate_hz,
            sample=start,
            anchors=tuple(anchors) or (Anchor(0, 0),),
        )
        self._pipeline = Pipeline.fresh(channels, Plan(), [begin], filters)

    def feed(self, gaps: list[Gap], block: Block) -> list[Batch]:
        """What a block leads to."""
        for gap in gaps:
            self._pipeline.gap(self._digitizer, gap)
        self._pipeline.feed(self._digitizer, block)
        return [self._pipeline.take()]
