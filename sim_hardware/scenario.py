"""A night's script: what goes wrong in the physics, and when."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Particle = Literal[
    "cevns", "excess", "flat", "beta", "surface", "gamma", "muon", "neutron", "capture",
    "iron55", "copper", "tungsten", "xrf", "thallium", "beam",
]  # fmt: skip
LONGEST_S = 1e9  # thirty years
MOST_JUMPS = 1e6  # of one storm: a second's work

Name = Annotated[str, Field(min_length=1, max_length=64)]
E = TypeVar("E", bound="Entry")


class Entry(BaseModel):
    """Something that begins `at_s` after the bench's start, in the bench's time."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    at_s: float = Field(ge=0, le=LONGEST_S, description="when it begins, after the start [s]")

    @property
    def stop_s(self) -> float:
        """When it is over, exclusive; for what has no duration it is when it happened."""
        return self.at_s

    @property
    def where(self) -> str | None:
        """The channel or the digitizer it concerns; None where it concerns everything."""
        return None


class Lasting(Entry):
    """Something that has a duration."""

    for_s: float = Field(gt=0, le=LONGEST_S, description="how long it lasts [s]")

    @property
    def stop_s(self) -> float:
        """When it is over, exclusive."""
        return self.at_s + self.for_s


class FluxJump(Entry):
    """A locked SQUID loses its lock and finds another one, whole flux quanta away."""

    kind: Literal["flux_jump"]
    channel: Name
    n_phi0: int = Field(ge=-100, le=100, description="how many, and to which side [phi0]")

    @property
    def where(self) -> str:
        """The channel."""
        return self.channel

    @model_validator(mode="after")
    def _somewhere(self) -> FluxJump:
        if self.n_phi0 == 0:
            raise ValueError("expected n_phi0 other than 0, found a jump to where it is")
        return self


class UnlockStorm(Lasting):
    """A SQUID that loses its lock again and again, at random times."""

    kind: Literal["unlock_storm"]
    channel: Name
    rate_hz: float = Field(gt=0, le=1e3, description="how often, on average [Hz]")

    @property
    def where(self) -> str:
        """The channel."""
        return self.channel

    @model_validator(mode="after")
    def _not_too_many(self) -> UnlockStorm:
        """Refuse more than can be drawn before the bench starts."""
        if self.rate_hz * self.for_s > MOST_JUMPS:
            found = f"{self.rate_hz * self.for_s:g}"
            raise ValueError(f"expected at most {MOST_JUMPS:g} jumps in a storm, found {found}")
        return self


class BaselineRamp(Lasting):
    """A baseline that drifts steadily and stays where it has got to."""

    kind: Literal["baseline_ramp"]
    channel: Name
    counts_per_s: float | None = Field(
        default=None, ge=-65536e3, le=65536e3, description="how fast [counts/s]"
    )
    fraction: float | None = Field(
        default=None, ge=-1, le=1, description="how far in all, of half the converter's range"
    )

    @property
    def where(self) -> str:
        """The channel."""
        return self.channel

    @property
    def slope(self) -> float:
        """Counts per second."""
        if self.counts_per_s is not None:
            return self.counts_per_s
        assert self.fraction is not None
        return self.fraction * 2**15 / self.for_s

    @model_validator(mode="after")
    def _one_of_both(self) -> BaselineRamp:
        if (self.counts_per_s is None) == (self.fraction is None):
            found = "none" if self.fraction is None else "both"
            raise ValueError(f"expected one of counts_per_s and fraction, found {found}")
        return self


class TriggerStorm(Lasting):
    """More particles of all kinds, or of some, than there should be."""

    kind: Literal["trigger_storm"]
    factor: float = Field(gt=1, le=1e5, description="how many times as many")
    particles: tuple[Particle, ...] | None = Field(
        default=None, min_length=1, description="kinds of particles; without it all"
    )


class FridgeWarmUp(Lasting):
    """Heat on the mixing chamber that nobody ordered."""

    kind: Literal["fridge_warm_up"]
    heat_w: float = Field(gt=0, le=10, description="on the mixing chamber [W]")


class CompressorTrip(Lasting):
    """The pulse tube's compressor is off until it is started again."""

    kind: Literal["compressor_trip"]


class DeadChannel(Entry):
    """An input that nothing arrives at: it reads 0, without noise."""

    kind: Literal["dead_channel"]
    channel: Name
    for_s: float | None = Field(
        default=None, gt=0, le=LONGEST_S, description="how long [s]; without it for ever"
    )

    @property
    def where(self) -> str:
        """The channel."""
        return self.channel

    @property
    def stop_s(self) -> float:
        """When it is over, exclusive."""
        return inf if self.for_s is None else self.at_s + self.for_s


class AdcOverflow(Lasting):
    """An input beyond the converter's range: it reads the range's end."""

    kind: Literal["adc_overflow"]
    channel: Name
    side: Literal["+", "-"] = Field(default="+", description="which end of the range")

    @property
    def where(self) -> str:
        """The channel."""
        return self.channel


class DigitizerGap(Lasting):
    """Samples that the digitizer's memory lost before anybody could have read them."""

    kind: Literal["digitizer_gap"]
    digitizer: Name

    @property
    def where(self) -> str:
        """The digitizer."""
        return self.digitizer


class ClockDrift(Entry):
    """A digitizer's clock that changes its speed, from then on."""

    kind: Literal["clock_drift"]
    digitizer: Name
    ppm: float = Field(ge=-1000, le=1000, description="how much faster than nominal then [ppm]")

    @property
    def where(self) -> str:
        """The digitizer."""
        return self.digitizer


AnyEntry = Annotated[
    FluxJump
    | UnlockStorm
    | BaselineRamp
    | TriggerStorm
    | FridgeWarmUp
    | CompressorTrip
    | DeadChannel
    | AdcOverflow
    | DigitizerGap
    | ClockDrift,
    Field(discriminator="kind"),
]


class Schedule:
    """The entries of a script in the order of their times, asked by time: nothing is remembered."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.at_s))

    def due(self, start_s: float, stop_s: float) -> list[Entry]:
        """What begins in [start_s, stop_s), in order."""
        return [entry for entry in self.entries if start_s <= entry.at_s < stop_s]

    def active(self, of: type[E], where: str | None, true_s: float) -> list[E]:
        """The entries of a kind that last at a time, of a channel, a digitizer or the bench."""
        return [each for each in self.of(of, where) if each.at_s <= true_s < each.stop_s]

    def of(self, of: type[E], where: str | None = None) -> list[E]:
        """All entries of a kind, of a channel, a digitizer or (None) anywhere."""
        found = [entry for entry in self.entries if isinstance(entry, of)]
        return [each for each in found if where in (None, each.where)]


def read_entries(path: Path) -> object:
    """The list `entry` of a TOML file, not yet checked; ValueError where there is none."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: expected a scenario, found: {error.strerror}") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number of more than 4300 digits
        raise ValueError(f"{path}: expected TOML, found: {error}") from error
    if set(tables) != {"entry"}:
        found = ", ".join(tables) or "nothing"
        raise ValueError(f"{path}: expected [[entry]] alone, found {found}")
    return tables["entry"]
