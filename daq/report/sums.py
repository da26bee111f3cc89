"""What several runs have together: exposure, live and dead time of the targets, records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daq.model.record import DEAD_CAUSES
from daq.report.show import RunSummary, summary
from daq.report.source import RunSource


# Any: JSON
def sums(runs: Sequence[RunSummary]) -> dict[str, Any]:
    """Seconds are of all targets together, or of all channels where none is a veto's partner."""
    targets = [channel for run in runs for channel in run.channels if not channel.veto]
    return {
        "duration_s": sum(run.duration_s for run in runs),
        "records": sum(channel.records for run in runs for channel in run.channels),
        "exposure_g_d": sum(channel.exposure_g_d for channel in targets),
        "live_s": sum(channel.live_s for channel in targets),
        "real_s": sum(channel.real_s for channel in targets),
        "dead_s": {cause: sum(c.dead_s[cause] for c in targets) for cause in DEAD_CAUSES},
    }


# Any: JSON
def sums_of(runs: Sequence[RunSource]) -> dict[str, Any]:
    """The same of runs that are to be read."""
    return sums([summary(run) for run in runs])
