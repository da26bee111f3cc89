"""The sections of the config that belong to the acquisition itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"  # pydantic: $ is the very end, no newline
Name = Annotated[str, Field(pattern=NAME)]
FLATTEST = 0.2  # slope of a height by which a bias could be held
_LOOPBACK = re.compile(r"\A(ipc://[^#]+|tcp://(127\.0\.0\.1|localhost):[0-9]{1,5})\Z")
_BEYOND = re.compile(r"\Atcp://([A-Za-z0-9.-]+|\*):[0-9]{1,5}\Z")


class Section(BaseModel):
    """What every section has in common: no unknown key, no silent conversion, no change later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Experiment(Section):
    """What the data are called and where they go."""

    name: Name = Field(description="Name of the experiment, part of every file.")
    data_dir: Annotated[str, Field(min_length=1)] = Field(
        "runs", description="Folder of the run folders; relative to the working folder."
    )
    comment: str = Field("", max_length=2000, description="Goes into every run.")
    seed: int = Field(1, ge=0, le=2**32 - 1, description="Of everything random in the core.")
    calibration: str = Field("", description="Calibration file beside the config; empty: none.")


def _place(endpoint: str) -> str:
    if not _LOOPBACK.match(endpoint) and not _BEYOND.match(endpoint):
        raise ValueError(f"expected ipc://PATH or tcp://HOST:PORT, found {endpoint!r}")
    return endpoint


Endpoint = Annotated[str, AfterValidator(_place)]
SOCKETS = re.compile(
    r"\A(core\.(blocks|commands|raw|state|traces|pulses)|folder\.(commands|state)"
    r"|run\.(commands|state|progress)|instruments\.(commands|state)"
    r"|digitizer\.[A-Za-z][A-Za-z0-9_-]*\.(commands|state))\Z"
)


class Endpoints(RootModel[dict[str, Endpoint]]):
    """Where every socket is: `base`/NAME, or what is written for NAME itself."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="after")
    def _names_known(self) -> Endpoints:
        unknown = [n for n in self.root if n != "base" and not SOCKETS.match(n)]
        if unknown:
            raise ValueError(f"expected base or a socket such as core.blocks, found {unknown[0]!r}")
        if "base" in self.root and not self.root["base"].startswith("ipc://"):
            raise ValueError(f"expected base to be ipc://FOLDER, found {self.root['base']!r}")
        return self

    @property
    def beyond(self) -> dict[str, str]:
        """The sockets that other machines may reach, which needs keys."""
        return {name: at for name, at in self.root.items() if not _LOOPBACK.match(at)}

    def of(self, socket: str, runtime: Path) -> str:
        """The endpoint of a socket; {runtime} is the folder of this user's sockets."""
        base = self.root.get("base", "ipc://{runtime}")
        return self.root.get(socket, f"{base}/{socket}").replace("{runtime}", str(runtime))


class Security(Section):
    """What guards the sockets that other machines may reach."""

    keys: Annotated[str, Field(min_length=1, pattern=r"^[^#]+$")] = Field(
        description="Folder of CurveZMQ keys; scheelite keys makes it."
    )


class Copy(Section):
    """Where sealed files are copied to, how that is proven, and how long they then stay here."""

    to: str = Field("", description="Folder of another disk, which must be there.")
    command: str = Field("", description="Or a command, such as rsync -a {source} host:{run}/.")
    proof: str = Field("", description="Prints the copy's SHA-256: ssh host sha256sum {run}/{name}")
    keep_days: float | None = Field(
        None, gt=0, le=36500, description="A proven run is deleted here after this [days]."
    )
    keep_bytes: int | None = Field(
        None,
        ge=0,
        le=1 << 50,
        description="The oldest proven ones go beyond this [bytes].",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Copy:
        if bool(self.to) == bool(self.command):
            raise ValueError("expected either to or command, found both or none")
        if self.command and not self.proof:
            raise ValueError("expected a proof for the command, found none")
        return self


class Storage(Section):
    """How records reach the disk."""

    sync_s: float = Field(0.1, gt=0, le=10, description="Records are durable at least this often.")
    rotate_s: float = Field(60.0, ge=0.5, le=3600, description="A file is closed after this time.")
    rotate_bytes: int = Field(
        33_554_432, ge=1 << 20, le=1 << 30, description="A file is closed beyond this size."
    )
    compression: Literal["gzip", "bitshuffle-lz4", "none"] = Field(
        "gzip", description="Of the files: gzip opens everywhere, bitshuffle-lz4 is smaller."
    )

    raw: Literal["all", "none"] | list[Name] = Field(
        "none", description="Channels whose whole stream is recorded, too, or all, or none."
    )
    reserve_bytes: int = Field(
        1 << 30, ge=0, le=1 << 50, description="A run pauses while less than this is free [bytes]."
    )
    bytes_per_hour: int = Field(
        0, ge=0, le=1 << 50, description="What a run writes, for its start; 0: as triggers come."
    )

    copies: Copy | None = Field(None, alias="copy", description="A second place for the files.")

    @field_validator("compression")
    @classmethod
    def _can_be_made(cls, value: str) -> str:
        if value == "bitshuffle-lz4" and find_spec("hdf5plugin") is None:
            raise ValueError(
                "expected hdf5plugin for bitshuffle-lz4, found none: "
                "pip install 'scheelite[compress]'"
            )
        return value


Members = Annotated[list[Name], Field(min_length=1)]


class Group(Section):
    """Channels that are read out because others triggered."""

    sources: Members = Field(description="Channels or kinds that order the read-out.")
    receivers: Members = Field(description="Channels or kinds that are read out.")
    causes: Annotated[
        list[Literal["level", "edge", "matched", "external", "software", "periodic", "random"]],
        Field(min_length=1),
    ] = Field(["level", "edge", "matched"], description="Triggers of the sources that count.")


class Veto(Section):
    """Records that are tagged around the triggers of other channels; none is ever dropped."""

    kind: Literal["veto", "gate", "heater"] = Field("veto", description="What a tag means.")
    sources: Members = Field(description="Channels or kinds whose triggers count.")
    tagged: Members = Field(description="Channels or kinds whose records are tagged.")
    before_s: float = Field(ge=0, le=1, description="Tags so long before a trigger of a source.")
    after_s: float = Field(ge=0, le=1, description="Tags so long after it.")
    timing_s_counts: float = Field(
        0.0, ge=0, le=1e3, description="Gate: time resolution times pulse height [s ADC counts]."
    )
    timing_sigmas: float = Field(
        3.0, ge=0, le=10, description="Gate: wider on both sides by so many of the resolution."
    )

    @model_validator(mode="after")
    def _only_gates_widen(self) -> Veto:
        if self.kind != "gate" and self.timing_s_counts:
            raise ValueError(
                f"expected timing_s_counts for a gate alone, found {self.timing_s_counts:g}"
            )
        return self


class Events(Section):
    """What belongs together."""

    coincidence_window_s: float = Field(
        0.002, ge=0, le=1, description="Records closer than this to the last one join its event."
    )
    groups: dict[Name, Group] = Field({}, description="Who is read out because of whom, by name.")
    vetoes: Annotated[dict[Name, Veto], Field(max_length=32)] = Field(
        {}, description="What tags records, by name; their order is that of the bits."
    )


class _Trigger(Section):
    """What every trigger has: lengths are in record samples."""

    holdoff: int = Field(0, ge=0, le=2**24, description="Shortest distance of triggers [samples].")


class _Threshold(_Trigger):
    """What fires at a height; levels are in ADC counts."""

    threshold: float = Field(ge=-65536, le=65536, description="Fires at this level [counts].")
    rearm: float = Field(ge=-65536, le=65536, description="Arms again below this [counts].")
    direction: Literal["rising", "falling", "both"] = Field(
        "rising", description="Falling: both levels count downward; both: either way."
    )
    peak_search: int = Field(
        0,
        ge=0,
        le=2**20,
        description="Holdoff counts from the highest of so many samples; 0: from the trigger.",
    )

    @model_validator(mode="after")
    def _rearm_below(self) -> _Threshold:
        if self.rearm >= self.threshold:
            raise ValueError(
                f"expected rearm below the threshold {self.threshold:g}, found {self.rearm:g}"
            )
        return self


class LevelTrigger(_Threshold):
    """Fires where a sample reaches the threshold."""

    kind: Literal["level"]


class EdgeTrigger(_Threshold):
    """Fires where x[i] - x[i - edge_span] reaches the threshold."""

    kind: Literal["edge"]
    edge_span: int = Field(4, ge=1, le=4096, description="Edge: x[i] - x[i - span] [samples].")


class RandomTrigger(_Trigger):
    """Fires at random times, for noise."""

    kind: Literal["random"]
    rate_hz: float = Field(gt=0, le=1000, description="Mean rate.")


class PeriodicTrigger(_Trigger):
    """Fires again and again."""

    kind: Literal["periodic"]
    period_s: float = Field(ge=0.001, le=86400, description="From one to the next.")
    phase_s: float = Field(0.0, ge=0, le=86400, description="Of the first, from sample 0 on.")


class ExternalTrigger(_Trigger):
    """Fires where another channel does: a digital line, as a beam gate or a heater's pulser."""

    kind: Literal["external"]
    line: Name = Field(description="The channel; its own triggers must not be external.")


class MatchedTrigger(_Trigger):
    """Fires where the channel's optimum filter finds a pulse."""

    kind: Literal["matched"]
    threshold_sigma: float | None = Field(
        None, gt=0, le=1000, description="Lowest pulse height, in resolutions of the filter."
    )
    threshold_ev: float | None = Field(
        None, gt=0, le=1e9, description="The same as an energy, where the filter knows it [eV]."
    )

    @model_validator(mode="after")
    def _one_threshold(self) -> MatchedTrigger:
        given = [self.threshold_sigma, self.threshold_ev]
        if given.count(None) != 1:
            found = "both" if None not in given else "neither"
            raise ValueError(f"expected threshold_sigma or threshold_ev, found {found}")
        return self


Trigger = Annotated[
    LevelTrigger | EdgeTrigger | RandomTrigger | PeriodicTrigger | ExternalTrigger | MatchedTrigger,
    Field(discriminator="kind"),
]


class Salting(Section):
    """Pulses of known energy that software adds, tagged, to measure what the triggers find."""

    rate_hz: float = Field(gt=0, le=100, description="Mean rate in each channel.")
    energies_ev: Annotated[
        list[Annotated[float, Field(gt=0, le=1e9)]], Field(min_length=1, max_length=32)
    ] = Field(description="Each salt has one of these energies [eV].")
    filters: str = Field(min_length=1, description="Filter file with the templates of the pulses.")
    calibration: str = Field(min_length=1, description="Calibration that gives their heights.")


class Blinding(Section):
    """Which pulses are kept from everybody: their records go to the run's restricted file."""

    fraction: float = Field(0.0, ge=0, le=1, description="Each pulse with this probability.")
    from_ev: float | None = Field(None, ge=0, le=1e9, description="All from this energy [eV] ...")
    to_ev: float | None = Field(None, gt=0, le=1e9, description="... to below this one [eV].")

    @model_validator(mode="after")
    def _something(self) -> Blinding:
        if (self.from_ev is None) != (self.to_ev is None):
            raise ValueError("expected both from_ev and to_ev or neither, found one")
        if self.from_ev is not None and self.to_ev is not None and self.from_ev >= self.to_ev:
            raise ValueError(f"expected from_ev below to_ev {self.to_ev:g}, found {self.from_ev:g}")
        if not self.fraction and self.to_ev is None:
            raise ValueError("expected a fraction above 0 or an energy window, found neither")
        return self


Band = tuple[
    Annotated[float, Field(ge=-65536, le=65536)], Annotated[float, Field(ge=-65536, le=65536)]
]


class Guard(Section):
    """What watches over the SQUID in the stream, per channel; docs/guard.md."""

    phi0_v: float | None = Field(
        None, gt=0, le=1000, description="Output of a flux quantum [V]; without it no jumps."
    )
    tolerance_phi0: float = Field(
        0.2, gt=0, le=0.4, description="A step so near a whole number of quanta is a jump."
    )
    step_s: float = Field(32e-6, gt=0, le=0.01, description="A jump is over within this time [s].")
    hold_s: float = Field(0.05, gt=0, le=5, description="A jump lasts, a pulse does not [s].")
    settle_s: float = Field(0.002, gt=0, le=1, description="What a jump costs of live time [s].")
    storm: int = Field(
        20, ge=2, le=10_000, description="So many jumps within a second are an unlocked loop."
    )
    frozen_s: float = Field(
        0.02, ge=0, le=60, description="So long without any change is no signal [s]; 0: not looked."
    )
    rails_counts: Band = Field((-32768, 32767), description="Ends of the output [counts].")
    window_s: float = Field(0.25, gt=0, le=60, description="Noise and baseline are judged so long.")
    noise_counts: Band | None = Field(
        None, description="Least and largest noise of a quiet piece, rms [counts]; none: any."
    )
    baseline_counts: Band | None = Field(
        None, description="Least and largest baseline, without flux quanta [counts]; none: any."
    )

    @field_validator("rails_counts", "noise_counts", "baseline_counts", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value  # TOML knows no tuples

    @model_validator(mode="after")
    def _bands_in_order(self) -> Guard:
        for name in ("rails_counts", "noise_counts", "baseline_counts"):
            band = getattr(self, name)
            if band is not None and band[0] >= band[1]:
                raise ValueError(
                    f"expected {name} as [low, high], found [{band[0]:g}, {band[1]:g}]"
                )
        return self

    @model_validator(mode="after")
    def _lasts_longer_than_its_step(self) -> Guard:
        if self.hold_s < 4 * self.step_s:
            raise ValueError(
                f"expected hold_s of 4 step_s {self.step_s:g} or more, found {self.hold_s:g}"
            )
        return self


class Kind(Section):
    """What channels of one kind share."""

    decimation: int = Field(1, ge=1, le=64, description="Digitizer samples per record sample.")
    record_length: int = Field(ge=16, le=1 << 20, description="Samples of a record.")
    pretrigger: int = Field(ge=8, description="Samples of a record before its trigger.")
    triggers: Annotated[list[Trigger], Field(max_length=8)] = Field(
        description="Several at once; what falls together is one record with all its causes."
    )
    merge_window: int = Field(
        1, ge=1, le=2**20, description="Triggers of different kinds this close are one [samples]."
    )
    pile_up: Literal["keep", "shorten", "isolated", "one"] = Field(
        "keep",
        description="Two pulses in a record: keep both, shorten the first, keep only isolated "
        "ones, or one of each pile.",
    )
    second_pulse_sigma: float = Field(
        0.0,
        ge=0,
        le=100,
        description="A rise of so many sigma in a record is a second pulse; 0: not looked for.",
    )
    second_pulse_span: int = Field(
        24, ge=1, le=4096, description="Samples over which the rise is measured."
    )
    max_rate_hz: float = Field(
        0.0, ge=0, le=1e6, description="Pulses above this are dropped to the second's end; 0: none."
    )
    salting: Salting | None = Field(None, description="Pulses that software adds; none without.")
    blinding: Blinding | None = Field(None, description="Pulses kept from everybody; none without.")
    guard: Guard | None = Field(None, description="What watches over the SQUID; none without.")
    recorded: bool = Field(True, description="False: only to veto, gate or trigger others.")

    @model_validator(mode="after")
    def _pretrigger_inside(self) -> Kind:
        if self.pretrigger >= self.record_length:
            raise ValueError(
                f"expected pretrigger below record_length {self.record_length}, "
                f"found {self.pretrigger}"
            )
        return self

    @model_validator(mode="after")
    def _one_filter(self) -> Kind:
        n = sum(isinstance(trigger, MatchedTrigger) for trigger in self.triggers)
        if n > 1:
            raise ValueError(f"expected at most one matched trigger, found {n}")
        return self

    @model_validator(mode="after")
    def _noise_before_the_second_pulse(self) -> Kind:
        if self.second_pulse_sigma and self.pretrigger < 3 * self.second_pulse_span:
            raise ValueError(
                f"expected a pretrigger of 3 second_pulse_span {self.second_pulse_span} or more "
                f"where a second pulse is looked for, found {self.pretrigger}"
            )
        return self


class Filters(Section):
    """Where the optimum filters of the matched triggers are."""

    file: str = Field("", description="What scheelite train wrote; relative to the working folder.")


class Kinds(RootModel[dict[Name, Kind]]):
    """Kinds of channels by name."""

    model_config = ConfigDict(frozen=True, strict=True)


class ChannelEntry(Section):
    """One detector readout chain."""

    kind: Name = Field(description="Which of [kinds] it is.")
    digitizer: Name = Field(description="Which of [digitizers] reads it.")
    input: int = Field(ge=0, le=1023, description="Input of that digitizer, from 0.")
    mass_g: float = Field(0.0, ge=0, le=1e6, description="Mass of the crystal [g]; 0: no target.")
    squid: str = Field(
        "",
        pattern=r"^(|[A-Za-z][A-Za-z0-9_-]{0,31}\.[a-z][a-z0-9 ]{0,31})$",
        description="What locks its SQUID: instrument and part, as squids1.squid 1; empty: nobody.",
    )
    enabled: bool = Field(True, description="False: it is left out, as if it were not here.")
    counts_offset: int = Field(
        0, ge=-65536, le=65536, description="Added to a sample gives the source's own counts."
    )


class Relock(Section):
    """How a lock that the guard finds lost is made again, without anybody."""

    after_s: float = Field(
        1.0, ge=0, le=3600, description="What the guard finds must last so long [s]."
    )
    most_phi0: int = Field(5, ge=1, le=1000, description="So far slipped, it is locked anew.")
    prove_s: float = Field(
        0.5, gt=0, le=60, description="Samples that must be faultless for a proof [s]."
    )
    tries: int = Field(6, ge=1, le=100, description="Then it is given up, and an alarm says so.")
    first_wait_s: float = Field(2.0, gt=0, le=3600, description="After the first failure [s].")
    longest_wait_s: float = Field(
        300.0, gt=0, le=86400, description="Each wait is twice the one before, up to this [s]."
    )


class Servo(Section):
    """Holds working points by the TES bias, on what the control pulse says; docs/guard.md."""

    channels: list[Name] | None = Field(
        None, min_length=1, description="Which; all of [detectors], without."
    )
    slope: float = Field(
        -3.0,
        ge=-20,
        le=20,
        description="d ln(height of the control pulse over bias) / d ln(bias); negative in the "
        "transition.",
    )
    gain: float = Field(0.3, gt=0, le=0.5, description="Share of a deviation that a step corrects.")
    dead_band: float = Field(
        0.02, gt=0, le=0.5, description="Relative deviation that is left alone."
    )
    max_step: float = Field(0.02, gt=0, le=0.05, description="Relative, of the bias, in one step.")
    max_total: float = Field(
        0.1, gt=0, le=0.2, description="Relative, from the run's beginning; beyond, it gives up."
    )
    pulses: int = Field(8, ge=4, le=16, description="Control pulses that are looked at together.")
    every_s: float = Field(300.0, gt=0, le=86400, description="From one step to the next.")
    settle_s: float = Field(
        2.0, gt=0, le=60, description="After a step the sensor is not there yet; dead time."
    )
    bath_within_k: float = Field(
        0.5e-3,
        gt=0,
        le=0.1,
        description="No step while the bath is further from where it was when the run began.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Servo:
        if abs(self.slope) < FLATTEST:
            raise ValueError(
                f"expected a slope of {FLATTEST:g} or more, or of {-FLATTEST:g} or less, "
                f"found {self.slope:g}"
            )
        if self.max_step > self.max_total:
            raise ValueError(
                f"expected max_step up to max_total {self.max_total:g}, found {self.max_step:g}"
            )
        reach = self.max_total * abs(self.slope)
        if self.dead_band >= reach:
            raise ValueError(
                f"expected a dead_band below what max_total can correct, {reach:g}, "
                f"found {self.dead_band:g}"
            )
        return self


class Stability(Section):
    """Heater pulses that run control sends in a run, to follow the gain; docs/guard.md."""

    generator: str = Field(
        "",
        pattern=r"^(|[A-Za-z][A-Za-z0-9_-]{0,31}\.[a-z][a-z0-9 ]{0,31})$",
        description="What sends them: instrument and part, as pulser.output 1; empty: nothing.",
    )
    load: float | Literal["INF"] = Field("INF", description="At the generator [ohm], or INF.")
    width_s: float = Field(100e-6, ge=16e-9, le=1, description="Of a pulse.")
    every_s: float = Field(5.0, ge=0.05, le=3600, description="From one pulse to the next.")
    ladder_v: list[Annotated[float, Field(gt=0, le=10)]] = Field(
        [0.5],
        min_length=1,
        max_length=16,
        description="Heights of test pulses, which follow the gain; the control pulse in between.",
    )
    control_v: float = Field(
        5.0, gt=0, le=10, description="Height of the control pulse, which saturates the sensor."
    )
    pulses: int = Field(
        1, ge=1, le=1000, description="Of each height, before the generator is told the next."
    )
    wander_per_rth: float = Field(
        0.01, gt=0, le=1, description="How far a gain goes in an hour as a random walk, relative."
    )
    servo: Servo | None = Field(None, description="What holds working points; none without.")

    @model_validator(mode="after")
    def _servo_has_pulses(self) -> Stability:
        if self.servo is None:
            return self
        if not self.generator:
            raise ValueError("expected a generator of the servo's control pulses, found none")
        needed_s = 2 * self.servo.pulses * self.every_s  # every other one is of the ladder
        if self.servo.every_s < needed_s + self.servo.settle_s:
            raise ValueError(
                f"expected servo.every_s of {needed_s + self.servo.settle_s:g} or more, in which "
                f"{self.servo.pulses} control pulses come, found {self.servo.every_s:g}"
            )
        return self


class Channels(RootModel[dict[Name, ChannelEntry]]):
    """Channels by name, in the order of the tables and pictures."""

    model_config = ConfigDict(frozen=True, strict=True)


class Digitizer(Section):
    """What the acquisition must know of any digitizer; its driver's section says the rest."""

    model: str = Field(description="Its driver's name.")
    resource: str = Field(min_length=1, max_length=200, description="Where it is.")
    silent_after_s: float = Field(
        5.0, ge=0.2, le=3600, description="It counts as silent after this time without samples [s]."
    )


class Digitizers(RootModel[Mapping[Name, Digitizer]]):
    """Digitizers by name; the drivers put their own sections in its place."""

    model_config = ConfigDict(frozen=True, strict=True)
