"""When the samples of a finished run were converted: its anchors, read once more."""

from __future__ import annotations

import numpy as np

from daq.report.source import Loaded


class Clocks:
    """The clocks of all digitizers of a run, which number them like its tables."""

    def __init__(self, loaded: Loaded) -> None:
        digitizers, table = loaded.run.digitizers, loaded.anchors
        known = [np.array(d.anchors, np.int64).reshape(-1, 2) for d in digitizers]
        logged = [table[table["digitizer"] == i] for i in range(len(digitizers))]
        later = [np.stack([rows["sample"], rows["t_ns"]], axis=1) for rows in logged]
        self._anchors = [
            np.unique(np.vstack(pair), axis=0) for pair in zip(known, later, strict=True)
        ]
        self._rates = [d.rate_hz for d in digitizers]
        self._loaded = loaded

    def t_ns(self, digitizer: int, sample: int) -> int | None:
        """UTC of a sample at nominal rate from the anchor before it; None without any anchor."""
        anchors = self._anchors[digitizer]
        if not len(anchors):
            return None
        before = int(np.searchsorted(anchors[:, 0], sample, side="right")) - 1
        at, t_ns = anchors[max(before, 0)].tolist()
        elapsed_s: float = (sample - at) / self._rates[digitizer]
        return int(t_ns) + round(elapsed_s * 1e9)

    def span_ns(self) -> tuple[int, int]:
        """First and last moment of the data; both the host's start where there are none."""
        moments = [self.t_ns(*end) for end in self._ends()]
        known = [moment for moment in moments if moment is not None]
        known = known or [self._loaded.run.start_ns]
        return min(known), max(known)

    def _ends(self) -> list[tuple[int, int]]:
        """(digitizer, sample) of the two ends of each channel's ledger."""
        run, ledger = self._loaded.run, self._loaded.ledger
        digitizers = [d.name for d in run.digitizers]
        found = []
        for i, channel in enumerate(run.channels):
            rows = ledger[ledger["channel"] == i]
            ends = (rows["start"].min(), rows["stop"].max()) if len(rows) else ()
            found += [(digitizers.index(channel.digitizer), int(sample)) for sample in ends]
        return found
