"""A channel: one detector readout chain, ending in one digitizer input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerSettings:
    """One trigger of a channel; levels in ADC counts, lengths in record samples.

    `kind` is "level" (an absolute level), "edge" (difference over `edge_span` samples), "random"
    (Poisson, at `rate_hz`), "periodic" (every `period` samples from `phase` on), "external"
    (where the channel `line` triggers) or "matched" (where its optimum filter finds a height of
    `threshold`). `rearm` is where it arms again: threshold - rearm is the hysteresis. `direction`
    is "rising", "falling" or "both". `holdoff` is the shortest distance between two of them;
    counted from the highest of the `peak_search` samples from the trigger on
    where that is not 0.
    """

    kind: str
    threshold: float = 0.0
    rearm: float = 0.0
    direction: str = "rising"
    edge_span: int = 4
    holdoff: int = 0
    peak_search: int = 0
    rate_hz: float = 0.0
    period: int = 0
    phase: int = 0
    line: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Salting:
    """Pulses of known energy that software adds to a channel, at random with a mean rate.

    Each has one of `energies_ev` by chance, and its one of `heights` [counts, negative where
    pulses fall]. `template` is little-endian float32 at the record rate, of height 1, its sample
    `pretrigger` at the trigger. A trigger within `near` record samples of one is the salt's.
    """

    rate_hz: float
    energies_ev: tuple[float, ...]
    heights: tuple[float, ...]
    template: bytes
    pretrigger: int
    near: int


PIECES = 16  # of a window of the guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarding:
    """What the guard looks for in a channel; lengths in digitizer samples, levels in counts.

    A flux quantum is `phi0` (0: jumps are not looked for). A step is over within `span`, is a
    whole number of quanta within `tolerance` of one, and a jump if it lasts for `hold`; it costs
    `settle`, and tells of itself up to `lead` before (a filter does). More than `storm` of them in
    a second are no jumps any more. `frozen` equal samples are no signal (0: not looked for).
    Beyond the rails the output is at its end. Over each `window` (0: not looked at) the standard
    deviation and the mean of the quietest of PIECES pieces must be in their bands.
    """

    phi0: float = 0.0
    tolerance: float = 0.2
    span: int = 8
    hold: int = 12_500
    settle: int = 500
    lead: int = 0
    storm: int = 20
    frozen: int = 0
    rail_low: int = -32768
    rail_high: int = 32767
    window: int = 0
    noise_low: float = 0.0
    noise_high: float = 65536.0
    baseline_low: float = -65536.0
    baseline_high: float = 65536.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blinding:
    """Which pulses of a channel are kept from everybody: their records go to a restricted file.

    Each with the probability `fraction`, and all whose `quantity` ("amplitude" or "height")
    [counts] is in [low, high); no window where that is empty.
    """

    fraction: float = 0.0
    quantity: str = "height"
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel as the core sees it; `sample_rate_hz` is the digitizer's, before decimation.

    Triggers of different kinds closer than `merge_window` record samples are one record.
    `pile_up` is "keep", "shorten", "isolated" or "one"; a second pulse in a record is a rise of
    `second_pulse_sigma` over `second_pulse_span` samples (0: not looked for). Above `max_rate_hz`
    (0: no limit) the rest of the second is dropped. Where not `recorded`, its triggers count for
    vetoes, gates, groups and external triggers alone. `counts_offset` is what to add to a sample
    to get the source's own counts (recorded files).
    """

    name: str
    digitizer: str
    row: int
    sample_rate_hz: float
    decimation: int
    record_length: int
    pretrigger: int
    volts_per_count: float
    triggers: tuple[TriggerSettings, ...]
    merge_window: int = 1
    pile_up: str = "keep"
    second_pulse_sigma: float = 0.0
    second_pulse_span: int = 24
    max_rate_hz: float = 0.0
    recorded: bool = True
    mass_g: float = 0.0
    counts_offset: int = 0
    salting: Salting | None = None
    blinding: Blinding | None = None
    guarding: Guarding | None = None

    @property
    def record_rate_hz(self) -> float:
        """Rate of the samples in a record, after decimation."""
        return self.sample_rate_hz / self.decimation

    @property
    def direction(self) -> str:
        """Which way its pulses go: that of its first trigger that has one."""
        return next((t.direction for t in self.triggers if t.kind in PULSE_KINDS), "rising")


PULSE_KINDS = ("level", "edge", "matched")
