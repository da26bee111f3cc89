"""A channel: one detector readout chain, ending in one digitizer input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """How one channel triggers; levels in ADC counts, lengths in record samples.

    `kind` is "level" (against an absolute or baseline-relative level), "edge" (difference over
    `edge_span` samples) or "off". `rearm` is where the trigger arms again: threshold - rearm is
    the hysteresis. `holdoff` is the shortest distance between two triggers.
    """

    kind: str
    threshold: float
    rearm: float
    falling: bool
    edge_span: int
    holdoff: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel as the core sees it; `sample_rate_hz` is the digitizer's, before decimation.

    `counts_offset` is what to add to a sample to get the source's own counts (recorded files).
    """

    name: str
    digitizer: str
    row: int
    sample_rate_hz: float
    decimation: int
    record_length: int
    pretrigger: int
    volts_per_count: float
    trigger: TriggerSettings
    mass_g: float = 0.0
    counts_offset: int = 0

    @property
    def record_rate_hz(self) -> float:
        """Rate of the samples in a record, after decimation."""
        return self.sample_rate_hz / self.decimation
