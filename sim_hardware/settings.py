"""The `[bench]` table of the configuration: what is simulated, where, and how it behaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sim_hardware.scenario import AnyEntry, read_entries
from sim_hardware.sensors import ALL, Sensor, sensor
from sim_hardware.wiring import BenchWiring, Initial
from sim_hardware.world.cryostat import PLATE_K
from sim_hardware.world.fridges import COLDEST_K, FRIDGES, WARMEST_BASE_K

NOW = "now"
CONTROL = "control"  # the name of the control socket

Kind = Literal["target", "silicon", "cwo", "gate", "sync"]
KINDS: dict[str, Kind] = {"SI": "silicon", "CWO": "cwo", "GATE": "gate", "SYNC": "sync"}
MASS_G = 0.75  # of a target crystal: a cube of 5 mm
FridgeModel = Literal[
    "bluefors-xld400",
    "bluefors-xld1000",
    "oxford-du7-300",
    "oxford-du7-500",
    "leiden-cf-1000",
    "leiden-cf-1400",
    "leiden-cf-2000",
]
Pace = Literal["clock", "flat-out"]
Late = Literal["lose", "wait"]
REDPITAYA_INPUTS = 4  # of the largest model
SETTINGS_OF = {  # which instrument has them
    "folder": "bluefors-logs",
    "every_s": "bluefors-logs",
    "leading_space": "bluefors-logs",
    "tls": "bluefors-api",
    "key": "bluefors-api",
    "null_share": "bftc",
    "wrong_share": "triton",
    "stuck_share": "triton",
}
Name = Annotated[str, Field(min_length=1, max_length=64)]
Port = Annotated[int, Field(ge=0, le=65535, description="TCP port; 0: chosen by the system")]


class BenchError(Exception):
    """A bench that cannot be, said in one sentence or, for settings, in one per mistake."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _start_utc(value: object) -> object:
    """RFC 3339 text of a time given as text or as TOML's own date-time."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if value != NOW and isinstance(value, str):
        _instant(value)
    return value


def _instant(text: str) -> datetime:
    expected = f'expected "{NOW}" or an RFC 3339 time with its offset, found "{text}"'
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(expected) from error
    if instant.tzinfo is None or not 1970 <= instant.year < 2200:
        raise ValueError(expected)
    return instant


def _scenario(value: object) -> object:
    """The entries of the file that is named."""
    return read_entries(Path(value)) if isinstance(value, str) else value


class BenchDigitizer(_Table):
    """One simulated digitizer."""

    model: Literal["scheelite-stream", "redpitaya"] = Field(
        default="scheelite-stream", description="which digitizer it is"
    )
    header_bytes: Literal[56, 57] = Field(
        default=57, description="redpitaya: length of its headers, by version of its software"
    )
    port: Port
    sample_rate_hz: float = Field(
        ge=1e3, le=2e6, multiple_of=1, description="samples per second of its nominal clock [Hz]"
    )
    memory_s: float = Field(
        default=2.0,
        ge=0.1,
        le=600.0,
        description="what it holds while nobody reads, at pace clock, by the wall where the bench "
        "goes faster [s]",
    )
    clock_ppm: float = Field(
        default=0.0,
        ge=-1000.0,
        le=1000.0,
        description="how much faster than nominal its clock runs [ppm]",
    )
    channels: tuple[Name, ...] = Field(
        min_length=1, max_length=64, description="names of its inputs, in order"
    )

    @model_validator(mode="after")
    def _inputs_of_its_model(self) -> BenchDigitizer:
        """Refuse more inputs than a Red Pitaya has."""
        if self.model == "redpitaya" and len(self.channels) > REDPITAYA_INPUTS:
            found = len(self.channels)
            raise ValueError(f"expected a redpitaya with {REDPITAYA_INPUTS} inputs, found {found}")
        return self


class BenchInstrument(_Table):
    """One simulated instrument that is asked and told in text."""

    model: Literal[
        "lakeshore372",
        "lakeshore370",
        "lakeshore336",
        "lakeshore350",
        "avs47b",
        "keysight33500b",
        "magnicon-xxf1",
        "starcryo-pfl102",
        "triton",
        "bluefors-logs",
        "bluefors-api",
        "bluefors-valves",
        "bftc",
        "leiden-bridge",
        "leiden-ghs",
    ] = Field(description="which instrument it is")
    port: Port = 0
    folder: str | None = Field(
        default=None, min_length=1, description="bluefors-logs: where the day folders are written"
    )
    every_s: float = Field(
        default=10.0, ge=0.1, le=3600.0, description="bluefors-logs: from line to line [s]"
    )
    leading_space: bool = Field(
        default=False, description="bluefors-logs: lines and numbers as older versions write them"
    )
    tls: bool = Field(
        default=False, description="bluefors-api: HTTPS with a self-signed certificate"
    )
    key: str | None = Field(default=None, min_length=1, description="bluefors-api: what it expects")
    null_share: float = Field(
        default=0.0, ge=0.0, le=1.0, description="bftc: measurements without a temperature"
    )
    wrong_share: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="triton: replies that are the one before"
    )
    stuck_share: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="triton: valve commands that move nothing"
    )

    @model_validator(mode="after")
    def _own_settings(self) -> BenchInstrument:
        """Refuse settings of other models, and a log without a folder."""
        for name, model in SETTINGS_OF.items():
            default = type(self).model_fields[name].default
            if self.model != model and getattr(self, name) != default:
                raise ValueError(f"expected {name} with {model} alone, found it with {self.model}")
        if self.model == "bluefors-logs" and self.folder is None:
            raise ValueError("expected the folder of bluefors-logs, found none")
        return self


def _rate(default: float, description: str, most: float = 1e3) -> float:
    """A rate in [bench.sources]."""
    found: float = Field(default=default, ge=0, le=most, description=description)
    return found


class BenchSources(_Table):
    """How often things happen in the detectors. docs/physics.md says what each of them leaves.

    The defaults are those of a shielded site near a power reactor, without calibration sources.
    """

    reactor_power_gw: float = Field(default=4.6, gt=0, le=50, description="thermal power [GW]")
    reactor_distance_m: float = Field(
        default=30.0, ge=3.0, le=1.3e7, description="from the core's center [m]"
    )
    cevns_multiplier: float = _rate(1.0, "of the physical rate of CEvNS recoils", 1e9)
    cevns_min_ev: float = Field(
        default=1.0, ge=0.1, le=1e3, description="CEvNS recoils below this are left out [eV]"
    )
    excess_per_kg_kev_d: float = _rate(
        3e6, "low-energy excess A exp(-E/E0) at 0 eV [1/(kg keV d)]", 1e13
    )
    excess_e0_ev: float = Field(default=20.0, gt=0, le=1e4, description="E0 of the excess [eV]")
    excess_min_ev: float = Field(
        default=5.0, ge=0, le=1e4, description="excess below this is left out [eV]"
    )
    excess_life_d: float | None = Field(
        default=None, gt=0, le=1e6, description="1/e of the excess is left after it [d]; for ever"
    )
    flat_per_kg_kev_d: float = _rate(250.0, "flat background [1/(kg keV d)]", 1e10)
    flat_max_ev: float = Field(
        default=40e3, gt=0, le=1e7, description="where the flat background ends [eV]"
    )
    beta_per_kg_d: float = _rate(50.0, "beta decays of U and Th inside crystals [1/(kg d)]", 1e9)
    surface_per_cm2_d: float = _rate(
        0.02, "decays of 210Pb and its daughters on crystal surfaces [1/(cm² d)]", 1e8
    )
    gamma_rate_hz: float = _rate(10.0, "external gammas of U, Th and 40K in the CWO [Hz]")
    gamma_target_share: float = Field(
        default=2e-4, ge=0, le=1, description="of these gammas, how many scatter in a crystal too"
    )
    muon_rate_hz: float = _rate(2.5, "muons through the CWO, most of them past the crystals [Hz]")
    muon_target_rate_hz: float = _rate(
        0.0, "more muons, all of them through at least one crystal: for tests [Hz]"
    )
    neutron_rate_hz: float = _rate(2e-5, "fast neutrons that scatter in the array [Hz]")
    capture_rate_hz: float = _rate(0.0, "neutrons captured by 182W, per crystal [Hz]")
    iron55_rate_hz: float = _rate(0.0, "55Fe X-rays, per crystal [Hz]")
    copper_rate_hz: float = _rate(0.0, "copper fluorescence, per crystal [Hz]")
    tungsten_rate_hz: float = _rate(0.0, "tungsten fluorescence, L lines, per crystal [Hz]")
    xrf_rate_hz: float = _rate(0.0, "fluorescence of F, Al and Si, per crystal [Hz]")
    thallium_rate_hz: float = _rate(0.0, "2614.5 keV of 208Tl in the CWO [Hz]")
    beam_rate_hz: float = Field(default=60.0, ge=2, le=1e3, description="beam gates [Hz]")
    beam_gate_s: float = Field(default=10e-6, gt=0, le=1e-3, description="width of a gate [s]")
    beam_phase_s: float = Field(default=0.0, ge=0, le=0.5, description="of the first gate [s]")
    beam_nu_rate_hz: float = _rate(0.0, "beam neutrinos seen, in the whole array [Hz]")

    @model_validator(mode="after")
    def _gates_apart(self) -> BenchSources:
        if self.beam_gate_s * self.beam_rate_hz >= 1:
            raise ValueError(
                f"expected beam gates that close before the next one, found {self.beam_gate_s:g} s"
                f" at {self.beam_rate_hz:g} Hz"
            )
        return self


class BenchCryostat(_Table):
    """Which refrigerator it is, and how it begins."""

    model: FridgeModel = Field(default="bluefors-xld400", description="which refrigerator it is")
    start: Literal["cold", "warm"] = Field(
        default="cold",
        description='"cold": at its base temperature; "warm": at 300 K, and about to cool down',
    )
    base_k: float | None = Field(
        default=None,
        ge=COLDEST_K,
        le=WARMEST_BASE_K,
        description="base temperature of the mixing chamber; without it that of the model [K]",
    )
    plate_setpoint_k: float = Field(
        default=PLATE_K,
        ge=0.0,
        le=0.1,
        description="at which the detector plate is regulated; 0: it is not [K]",
    )

    @model_validator(mode="after")
    def _plate_above_base(self) -> BenchCryostat:
        """Refuse a plate colder than what cools it."""
        base_k = FRIDGES[self.model].base_k if self.base_k is None else self.base_k
        if 0 < self.plate_setpoint_k < base_k:
            raise ValueError(
                f"expected a plate no colder than the mixing chamber's base of {base_k:g} K, "
                f"found {self.plate_setpoint_k:g} K"
            )
        return self


class Bench(_Table):
    """All of the simulated bench."""

    seed: int = Field(default=1, ge=0, lt=2**63, description="of everything random")
    start_utc: Annotated[str, BeforeValidator(_start_utc)] = Field(
        default=NOW,
        description="UTC of sample 0 of every digitizer, which is when the bench starts: "
        '"now" or an RFC 3339 time, from which the bench\'s time then runs',
    )
    pace: Pace = Field(
        default="clock",
        description='"clock": samples exist when their time has come; '
        '"flat-out": as fast as somebody reads, which loses nothing',
    )
    speed: float = Field(
        default=1.0,
        gt=0,
        le=1000.0,
        description="bench seconds for every second on the wall, at pace clock",
    )
    late: Late = Field(
        default="lose",
        description='where samples take longer than that to make: "lose" some, and say so, as a '
        'digitizer that is read too slowly; "wait": all of the bench is late, and loses nothing; '
        "at pace clock",
    )
    initial: Initial = Field(
        default="tuned",
        description='"tuned": every wired sensor is at its working point and locked; "detuned": '
        "unbiased and open, which is what a tuning begins with",
    )
    wiring: BenchWiring = Field(default=BenchWiring(), description="which wire goes where")
    tes: dict[Name, dict[Name, float]] = Field(
        default={},
        description=f'of a target channel or of "{ALL}": parameters of the sensor, and bias_a and '
        "heater_w of its working point",
    )
    squid: dict[Name, dict[Name, float]] = Field(
        default={}, description=f'of a target channel or of "{ALL}": parameters of the SQUID'
    )
    spread: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="how much the sensors' collection of energy differs, relative, rms",
    )
    kinds: dict[Name, Kind] = Field(
        default={},
        description="what the channels are; without it SI is silicon, CWO is cwo, the others are "
        "target crystals",
    )
    digitizers: dict[Name, BenchDigitizer] = Field(default={}, description="by name")
    instruments: dict[Name, BenchInstrument] = Field(default={}, description="by name")
    cryostat: BenchCryostat = Field(
        default=BenchCryostat(), description="what everything stands in"
    )
    sources: BenchSources = Field(
        default=BenchSources(), description="what happens in the detectors"
    )
    masses_g: dict[Name, Annotated[float, Field(ge=1e-3, le=1e3)]] = Field(
        default={}, description=f"of target crystals [g]; those that are not named have {MASS_G} g"
    )
    scenario: Annotated[tuple[AnyEntry, ...], BeforeValidator(_scenario)] = Field(
        default=(),
        description="what goes wrong and when: a list of entries, or the name of a TOML file with "
        "[[entry]] tables, relative to where you start scheelite",
    )
    truth_dir: str | None = Field(
        default=None,
        min_length=1,
        description="where the truth of every deposit is written; without it nowhere",
    )
    commands: str | None = Field(
        default=None,
        min_length=1,
        description="a command log that is told once more, with the seed and the settings it was "
        "written with; no instrument is then served, since nobody else may command",
    )
    control_port: Port | None = Field(
        default=None, description="where faults are ordered; without it there is no such socket"
    )

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel of every digitizer."""
        return tuple(c for digitizer in self.digitizers.values() for c in digitizer.channels)

    @property
    def ports(self) -> dict[str, int]:
        """Where each digitizer and instrument listens."""
        ports = {name: digitizer.port for name, digitizer in self.digitizers.items()}
        if self.commands is not None:
            return ports
        wired = {name: each for name, each in self.instruments.items() if each.folder is None}
        ports |= {name: instrument.port for name, instrument in wired.items()}
        return ports if self.control_port is None else ports | {CONTROL: self.control_port}

    def kind(self, channel: str) -> Kind:
        """What a channel is."""
        return self.kinds.get(channel) or KINDS.get(channel, "target")

    def mass_g(self, target: str) -> float:
        """What a target crystal weighs."""
        return self.masses_g.get(target, MASS_G)

    def sensor(self, target: str) -> Sensor:
        """The sensor on a target crystal, with its SQUID."""
        tes = {**self.tes.get(ALL, {}), **self.tes.get(target, {})}
        squid = {**self.squid.get(ALL, {}), **self.squid.get(target, {})}
        return sensor(tes, squid, mass_g=self.mass_g(target))

    def memory_s(self, digitizer: str) -> float:
        """What a digitizer holds, of the bench's time: who reads is not as fast as the bench."""
        return self.digitizers[digitizer].memory_s * max(1.0, self.speed)

    def start_ns(self, now_ns: int) -> int:
        """UTC of sample 0 in ns, where it is `now_ns` now."""
        if self.start_utc == NOW:
            return now_ns
        since = _instant(self.start_utc) - datetime.fromisoformat("1970-01-01T00:00:00Z")
        return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000

    @field_validator("digitizers")
    @classmethod
    def _channels_once(cls, found: dict[str, BenchDigitizer]) -> dict[str, BenchDigitizer]:
        _once("channel", (c for digitizer in found.values() for c in digitizer.channels))
        return found

    @model_validator(mode="after")
    def _names_and_ports_once(self) -> Bench:
        control = [CONTROL] if self.control_port is not None else []
        _once("name", [*self.digitizers, *self.instruments, *control])
        _once("port", filter(None, self.ports.values()))
        return self

    @model_validator(mode="after")
    def _kinds_of_channels(self) -> Bench:
        unknown = set(self.kinds) - set(self.channels)
        if unknown:
            raise ValueError(f"expected kinds of channels there are, found {sorted(unknown)}")
        others = {c for c in self.masses_g if c not in self.channels or self.kind(c) != "target"}
        if others:
            raise ValueError(f"expected masses_g of target channels, found {sorted(others)}")
        return self

    @model_validator(mode="after")
    def _speed_by_the_clock(self) -> Bench:
        if self.pace != "clock" and self.speed != 1.0:
            raise ValueError(f"expected speed with pace clock alone, found {self.speed:g}")
        return self

    @model_validator(mode="after")
    def _wires_of_what_there_is(self) -> Bench:
        kinds = {channel: self.kind(channel) for channel in self.channels}
        models = {name: instrument.model for name, instrument in self.instruments.items()}
        mistakes = list(self.wiring.mistakes(kinds, models))
        if mistakes:
            raise ValueError("wiring: " + "; ".join(mistakes))
        return self

    @model_validator(mode="after")
    def _physical_sensors(self) -> Bench:
        targets = [c for c in self.channels if self.kind(c) == "target"]
        for table, found in (("tes", self.tes), ("squid", self.squid)):
            unknown = set(found) - {ALL, *targets}
            if unknown:
                raise ValueError(f"{table}: expected target channels, found {sorted(unknown)}")
        for target in targets:
            try:
                self.sensor(target)
            except ValueError as error:
                raise ValueError(f"{target}: {error}") from error
        return self

    @model_validator(mode="after")
    def _script_of_what_there_is(self) -> Bench:
        known = {"channel": set(self.channels), "digitizer": set(self.digitizers)}
        mistakes = [
            f"entry {number} ({entry.kind}): expected a {what} that there is, found {found}"
            for number, entry in enumerate(self.scenario)
            for what, names in known.items()
            if (found := getattr(entry, what, None)) is not None and found not in names
        ]
        if mistakes:
            raise ValueError("scenario: " + "; ".join(mistakes))
        return self


def read_bench(path: Path) -> Bench:
    """The bench in a JSON file; BenchError with every mistake, each with its place."""
    try:
        return Bench.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BenchError(f"{path}: expected the bench as JSON, found: {error.strerror}") from error
    except ValidationError as error:
        mistakes = [_mistake(each["loc"], each["msg"]) for each in error.errors()]
        raise BenchError("\n".join([f"{path}: expected a bench, found", *mistakes])) from error


def _mistake(place: tuple[int | str, ...], message: str) -> str:
    return f"  {'.'.join(map(str, place)) or 'bench'}: {message}"


def _once(what: str, values: Iterable[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"expected each {what} once, found {', '.join(map(str, twice))} twice")
