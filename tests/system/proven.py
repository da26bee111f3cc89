"""One course of runs on simulated benches for the proofs: train, calibrate, then prove.

Each step is a bench process that runs flat out, its digitizers' drivers, the core and the folder;
what a step makes is written by the commands that a user has, and used by the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daq.acquire.filters import Filter
from daq.model.batch import Rows
from daq.model.record import Cause
from daq.readout.calibration import Curve
from daq.services import system
from daq.services.bench import simulator
from daq.services.calibrate import energies_of, read_calibration
from daq.services.filterfile import read_filters
from daq.settings.loader import load
from daq.store.reader import Run, open_run
from tests.system.chain import DEADLINE_S, cli_json
from tests.truth import Row, newest_truth, read_truth

SEED = 20261126
RATE_HZ, DECIMATION, LENGTH, PRETRIGGER = 100e3, 2, 8192, 2048
RECORD_HZ = RATE_HZ / DECIMATION
TARGETS, SALTED = ("C11", "C12"), "C13"
LINES_EV = (112.45, 676.8, 1486.7, 1740.0)
SALTS_EV = (8.0, 11.0, 13.0, 14.5, 16.0, 18.0, 22.0, 35.0)
VETO_S = 0.005  # to both sides
GATE_S, GATE_HZ = 0.25e-3, 150.0  # to both sides: a filter's own idea of when a pulse begins
GATE_SIGMAS = 4.0  # of a pulse's time, on both sides
THRESHOLD = 4.0  # sigma
APART_S = 0.2  # a pulse is isolated where no other is so near
NONE = {
    "excess_per_kg_kev_d": 0.0, "flat_per_kg_kev_d": 0.0, "beta_per_kg_d": 0.0,
    "surface_per_cm2_d": 0.0, "cevns_multiplier": 0.0, "muon_rate_hz": 0.0,
    "gamma_rate_hz": 0.0, "neutron_rate_hz": 0.0,
}  # fmt: skip
DAY_S, MASS_G = 86_400.0, 0.75

CONFIG = """
[experiment]
name = "proof"
data_dir = "{data}"
{calibration}
[digitizers.targets]
model = "scheelite-stream"
resource = "{targets}"
[digitizers.vetoes]
model = "scheelite-stream"
resource = "{vetoes}"
[storage]
compression = "none"
[events]
coincidence_window_s = 0.0005
[events.vetoes.outer]
sources = ["cwo"]
tagged = ["C11", "C12", "C13"]
before_s = {veto_s}
after_s = {veto_s}
{gate}
{filters}
[kinds.target]
decimation = 2
record_length = 8192
pretrigger = 2048
merge_window = 64
second_pulse_sigma = 8.0
triggers = [{pulse}, {{ kind = "random", rate_hz = {random_hz} }}]
[kinds.salted]
decimation = 2
record_length = 8192
pretrigger = 2048
triggers = [{pulse}]
{salting}
[kinds.cwo]
decimation = 2
record_length = 512
pretrigger = 128
triggers = [{{ kind = "edge", threshold = 30.0, rearm = 15.0, edge_span = 24, holdoff = 64 }}]
[channels]
C11 = {{ kind = "target", digitizer = "targets", input = 0, mass_g = 0.75 }}
C12 = {{ kind = "target", digitizer = "targets", input = 1, mass_g = 0.75 }}
C13 = {{ kind = "{third}", digitizer = "targets", input = 2, mass_g = 0.75 }}
CWO = {{ kind = "cwo", digitizer = "vetoes", input = 0 }}
{line}
"""
GATE = """
[events.vetoes.beam]
kind = "gate"
sources = ["GATE"]
tagged = ["target"]
before_s = {gate_s}
after_s = {gate_s}
timing_s_counts = {timing}
timing_sigmas = {sigmas}
[kinds.gate]
record_length = 64
pretrigger = 16
triggers = [{{ kind = "level", threshold = 1000.0, rearm = 500.0, holdoff = 16 }}]
"""
LINE = 'GATE = { kind = "gate", digitizer = "vetoes", input = 1 }'
FILTERS = '[filters]\nfile = "{home}/filters"'
EDGE = '{ kind = "edge", threshold = 45.0, rearm = 22.0, edge_span = 24, holdoff = 4096 }'
SALTING = """
[kinds.salted.salting]
rate_hz = 2.0
energies_ev = {energies}
filters = "filters"
calibration = "calibration.json"
"""


def matched(sigmas: float) -> str:
    return f'{{ kind = "matched", threshold_sigma = {sigmas}, holdoff = 100 }}'


def per_kg(rate_hz: float, kev: float) -> float:
    """The flat background of so many pulses a second in a crystal."""
    return rate_hz * DAY_S / (MASS_G / 1000 * kev)


# Any: the [bench] table
def table(home: Path, name: str, seed: int, masses: dict[str, float], sources: dict[str, Any]):
    return {
        "seed": seed,
        "pace": "flat-out",
        "start_utc": f"2026-07-0{1 + seed - SEED}T00:00:00Z",
        "truth_dir": str(home / f"truth-{name}"),
        "digitizers": {
            "targets": {"port": 0, "sample_rate_hz": RATE_HZ, "channels": ["C11", "C12", "C13"]},
            "vetoes": {"port": 0, "sample_rate_hz": RATE_HZ, "clock_ppm": 1.7, "channels": ["CWO"]},
        },
        "masses_g": masses,
        "sources": NONE | sources,
    }


def take(home: Path, name: str, spec: dict[str, Any], duration_s: float, **parts: Any) -> Path:
    """The folder of a run on a bench of its own."""
    data = home / name
    with simulator("bench", spec, home / f"{name}.log") as told:
        resources = {each["name"]: each["resource"] for each in told}
        config = home / f"{name}.toml"
        parts = {"gate": "", "line": ""} | parts
        config.write_text(CONFIG.format(data=data, veto_s=VETO_S, **resources, **parts))
        settings = load(config)
        with system.running(settings):
            system.wait_until_streaming(settings, DEADLINE_S)
            started = system.start_run(settings, duration_s=duration_s)
            system.wait_for_end(settings, started["number"])
    return Path(started["run"])


def trained(home: Path, seconds: float) -> Path:
    """A run of flat pulses and noise by an edge trigger, and the filters of it."""
    flat = {"flat_per_kg_kev_d": per_kg(1.2, 0.6), "flat_max_ev": 600.0}
    spec = table(home, "train", SEED, {}, flat)
    run = take(
        home, "train", spec, seconds, pulse=EDGE, random_hz=3.0, calibration="", filters="",
        salting="", third="target",
    )  # fmt: skip
    cli_json("train", run, "--least", 90, "--most", 240, "--out", home / "filters")
    return run


def calibrated(home: Path, seconds: float) -> Path:
    """A run of lines by the filters, and the calibration of it."""
    sources = {"capture_rate_hz": 1.0, "xrf_rate_hz": 2.0}
    spec = table(home, "calibrate", SEED + 1, {}, sources)
    run = take(
        home, "calibrate", spec, seconds, pulse=matched(6.0), random_hz=0.5, calibration="",
        filters=FILTERS.format(home=home), salting="", third="target",
    )  # fmt: skip
    lines = [part for line in LINES_EV for part in ("--line", line)]
    cli_json("calibrate", run, *lines, "--out", home / "calibration.json")
    return run


def proven(home: Path, seconds: float) -> Path:
    """A run by the filters at 4 sigma: two crystals with pulses, and a quiet one with salts."""
    sources = {
        "capture_rate_hz": 0.5, "gamma_rate_hz": 30.0, "gamma_target_share": 0.0,
        "flat_per_kg_kev_d": per_kg(0.8, 0.6), "flat_max_ev": 600.0,
    }  # fmt: skip
    spec = table(home, "prove", SEED + 2, {SALTED: 0.001}, sources)
    return take(
        home, "prove", spec, seconds, pulse=matched(THRESHOLD), random_hz=5.0, third="salted",
        calibration='calibration = "calibration.json"', filters=FILTERS.format(home=home),
        salting=SALTING.format(energies=list(SALTS_EV)),
    )  # fmt: skip


def beamed(home: Path, seconds: float) -> Path:
    """A run by the filters with a beam's gate, its neutrinos, and pulses that are none of it."""
    sources = {
        "beam_nu_rate_hz": 2.0, "beam_rate_hz": GATE_HZ,
        "flat_per_kg_kev_d": per_kg(0.8, 0.6), "flat_max_ev": 600.0,
    }  # fmt: skip
    spec = table(home, "beam", SEED + 3, {}, sources)
    spec["digitizers"]["vetoes"]["channels"] += ["GATE"]
    timing = max(one.time_sigma_s(1.0) for one in read_filters(home / "filters").values())
    gate = GATE.format(gate_s=GATE_S, timing=timing, sigmas=GATE_SIGMAS)
    return take(
        home, "beam", spec, seconds, pulse=matched(THRESHOLD), random_hz=0.1, third="target",
        calibration='calibration = "calibration.json"', filters=FILTERS.format(home=home),
        salting="", gate=gate, line=LINE,
    )  # fmt: skip


def apart(places: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How far the nearest of `places`, which are in order, is; of those that are one the next."""
    ends = np.concatenate([[-np.inf], places, [np.inf]])
    after = np.searchsorted(ends, at, side="right")
    before = np.searchsorted(ends, at, side="left") - 1
    return np.minimum(at - ends[before], ends[after] - at)


@dataclass(frozen=True)
class Course:
    """The runs in a folder; `run` is the one of this name, which proves."""

    home: Path
    name: str = "prove"

    @classmethod
    def taken(cls, home: Path, train_s: float, calibrate_s: float, prove_s: float) -> Course:
        """Three of them, each so long [s], one after the other."""
        trained(home, train_s)
        calibrated(home, calibrate_s)
        proven(home, prove_s)
        return cls(home)

    @cached_property
    def run(self) -> Run:
        return open_run(next((self.home / self.name).glob("run_*")))

    @cached_property
    def filters(self) -> dict[str, Filter]:
        """By channel."""
        return read_filters(self.home / "filters")

    @cached_property
    def truth(self) -> list[Row]:
        """What hit the detectors of the proof."""
        return read_truth(newest_truth(self.home / f"truth-{self.name}"))

    @cached_property
    def chains(self) -> dict[str, Scored]:
        """The crystals with pulses, beside their truth."""
        return {name: self.scored(name) for name in TARGETS}

    @cached_property
    def seconds(self) -> float:
        """How long the run was."""
        rows = self.chains[TARGETS[0]].ledger
        return float((rows["stop"] - rows["start"]).sum() / RATE_HZ)

    @cached_property
    def salts(self) -> Rows:
        """Those of the salted channel."""
        return self.run.salts()

    def curve(self, name: str) -> Curve:
        """The calibration of a channel."""
        calibration = read_calibration(self.home / "calibration.json")
        return next(one for one in calibration.curves if one.channel == name)

    def tags(self, chain: Scored) -> npt.NDArray[np.int64]:
        """The windows' bits of each record of a channel, as the event table has them."""
        members = self.run.members()
        of = members[members["channel"] == chain.index]
        found = np.full(len(chain.table), -1, np.int64)
        found[of["record"]] = of["tags"]
        assert (found >= 0).all()  # each record is in an event
        return found

    def is_clear(self, chain: Scored, at: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether nothing was at these times but noise: no hit within 0.2 s, and no salt."""
        clear = chain.inside(at) & (chain.apart(at) > APART_S * RATE_HZ)
        if chain.name == SALTED:
            salts = self.salts["sample"].astype(np.float64)
            clear &= apart(salts, at) > APART_S * RATE_HZ
        return clear

    def clear_s(self, chain: Scored) -> float:
        """How much time that is in all, by 200 000 places."""
        at = np.linspace(*chain.span, 200_000)
        return float(self.is_clear(chain, at).mean()) * self.seconds

    def scored(self, name: str) -> Scored:
        """One channel beside its truth."""
        index = [channel.name for channel in self.run.channels].index(name)
        ledger = self.run.ledger()
        rows = ledger[ledger["channel"] == index]
        table, samples = self.run.records(name)
        calibration = read_calibration(self.home / "calibration.json")
        hits = sorted((row for row in self.truth if row.channel == name), key=lambda r: r.sample)
        return Scored(
            name=name, one=self.filters[name], table=table, samples=samples, index=index,
            ledger=rows, energy_ev=energies_of(calibration, name, table), hits=hits,
            span=(int(rows["start"].min()), int(rows["stop"].max())),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A channel's records and what made them; times are digitizer samples with their fraction."""

    name: str
    one: Filter
    table: Rows
    samples: npt.NDArray[np.int16]
    index: int
    ledger: Rows
    energy_ev: npt.NDArray[np.float64]
    hits: list[Row]
    span: tuple[int, int]

    @cached_property
    def matched(self) -> npt.NDArray[np.int64]:
        """Places of the records that the filter triggered."""
        return np.flatnonzero(self.table["causes"] >> Cause.MATCHED & 1)

    @cached_property
    def random(self) -> npt.NDArray[np.int64]:
        """Places of those by chance alone."""
        return np.flatnonzero(self.table["causes"] == 1 << Cause.RANDOM)

    @cached_property
    def at(self) -> npt.NDArray[np.float64]:
        """When each record's pulse came."""
        offset = np.nan_to_num(self.table["offset_s"].astype(np.float64))
        return np.asarray(self.table["trigger"] + offset * RATE_HZ)

    @cached_property
    def hit_at(self) -> npt.NDArray[np.float64]:
        """When each hit came."""
        return np.array([row.sample for row in self.hits])

    def apart(self, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How far the nearest hit is from each time; for a hit, the nearest other one."""
        return apart(self.hit_at, at)

    def inside(self, at: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which times are not within 0.2 s of the run's ends."""
        return (at > self.span[0] + APART_S * RATE_HZ) & (at < self.span[1] - APART_S * RATE_HZ)

    @cached_property
    def isolated(self) -> list[Row]:
        """Hits above 30 eV with no other in the crystal within 0.2 s."""
        good = self.inside(self.hit_at) & (self.apart(self.hit_at) > APART_S * RATE_HZ)
        return [row for row, ok in zip(self.hits, good, strict=True) if ok and row.energy_ev > 30]

    def near(self, at: float, within_s: float) -> npt.NDArray[np.int64]:
        """Places of the filter's records so near to a time."""
        return self.matched[np.abs(self.at[self.matched] - at) < within_s * RATE_HZ]

    @cached_property
    def pairs(self) -> list[tuple[Row, int]]:
        """Isolated hits, each with its record, which is the nearest one within 1 ms."""
        found = []
        for row in self.isolated:
            places = self.near(row.sample, 0.001)
            if places.size:
                nearest = np.argmin(np.abs(self.at[places] - row.sample))
                found.append((row, int(places[nearest])))
        return found
