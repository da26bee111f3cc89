"""A run in memory, made of pulses on noise, for the tests of the report."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from daq.model.batch import Rows, no_rows
from daq.model.channel import Channel, TriggerSettings
from daq.model.plan import Window
from daq.model.record import (
    ANCHOR,
    DEAD_CAUSES,
    EVENT,
    GAP,
    GUARD,
    LEDGER,
    MEMBER,
    MESSAGE,
    READING,
    RECORD,
    SALT,
    Flag,
    plain,
)

RATE_HZ = 250_000.0
START_NS = 1_790_000_000_000_000_000
VOLTS_PER_COUNT = 20.0 / 65536
NOISE_RMS = 6.0  # counts
TARGETS = ("C11", "C12", "C13", "C21", "C22", "C23", "C31", "C32", "C33")
TRIGGER = TriggerSettings(kind="level", threshold=40.0, rearm=20.0, edge_span=4, holdoff=4096)
SETTINGS = '[experiment]\nname = "bench"\n'
Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class FakeDigitizer:
    name: str
    rate_hz: float = RATE_HZ
    anchors: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class FakeFile:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class FakeVerification:
    ok: bool = True
    problems: Sequence[str] = ()
    records: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FakeRun:
    """What `RunSource` asks for, as plain values."""

    folder: Path
    channels: tuple[Channel, ...]
    number: int = 142
    name: str = "bench"
    comment: str = "55Fe at 10 mK, all nine crystals"
    complete: bool = True
    recovered: bool = False
    reason: str = "after 60 s"
    software: str = "scheelite 0.1.0"
    host: str = "daq1"
    start_ns: int = START_NS
    settings_toml: str = SETTINGS
    windows: tuple[Window, ...] = (
        Window(name="inner", kind="veto", sources=("SI",), tagged=TARGETS, before_ns=10**6,
               after_ns=10**6),
    )  # fmt: skip
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    blinded: Mapping[str, int] = field(default_factory=dict)
    thresholds: Mapping[str, str] = field(default_factory=dict)
    digitizers: tuple[FakeDigitizer, ...] = (FakeDigitizer("targets"), FakeDigitizer("vetoes"))
    all_records: Mapping[str, tuple[Rows, Samples]] = field(default_factory=dict)
    tables: Mapping[str, Rows] = field(default_factory=dict)
    all_files: Sequence[FakeFile] = ()

    def records(self, channel: str) -> tuple[Rows, Samples]:
        empty = no_rows(RECORD), np.empty((0, 8192), np.int16)
        return self.all_records.get(channel, empty)

    def _table(self, name: str, dtype: np.dtype[np.void]) -> Rows:
        return self.tables.get(name, no_rows(dtype))

    def events(self) -> Rows:
        return self._table("events", EVENT)

    def gaps(self) -> Rows:
        return self._table("gaps", GAP)

    def ledger(self) -> Rows:
        return self._table("ledger", LEDGER)

    def anchors(self) -> Rows:
        return self._table("anchors", ANCHOR)

    def salts(self) -> Rows:
        return self._table("salts", SALT)

    def guard(self) -> Rows:
        return self._table("guard", GUARD)

    def files(self) -> Sequence[FakeFile]:
        return self.all_files

    def readings(self) -> Rows:
        return self._table("readings", READING)

    def messages(self) -> Rows:
        return self._table("messages", MESSAGE)


def channel(name: str, **changes: object) -> Channel:
    """A target of the default bench."""
    facts = {
        "name": name,
        "digitizer": "targets",
        "row": 0,
        "sample_rate_hz": RATE_HZ,
        "decimation": 5,
        "record_length": 8192,
        "pretrigger": 2048,
        "volts_per_count": VOLTS_PER_COUNT,
        "triggers": (TRIGGER,),
        "mass_g": 0.75,
    }
    return Channel(**(facts | changes))  # type: ignore[arg-type]


def veto(name: str) -> Channel:
    """A veto of the default bench: shorter records, another clock, no crystal."""
    return channel(name, digitizer="vetoes", record_length=2048, pretrigger=512, mass_g=0.0)


def rows(dtype: np.dtype[np.void], *found: tuple[object, ...]) -> Rows:
    """A table from its rows."""
    return np.array(list(found), plain(dtype))


def pulse(length: int, pretrigger: int, rate_hz: float) -> npt.NDArray[np.float64]:
    """Unit height, rise 0.3 ms, decay 3.6 ms and 28 ms."""
    t = np.clip(np.arange(length) - pretrigger, 0, None) / rate_hz
    decay = 0.7 * np.exp(-t / 3.6e-3) + 0.3 * np.exp(-t / 28e-3)
    shape = decay - np.exp(-t / 0.3e-3)
    return np.asarray(shape / shape.max())


def made_records(
    of: Channel, triggers: Samples, heights: Samples, rng: np.random.Generator
) -> tuple[Rows, Samples]:
    """Records with pulses of these heights [counts] at these digitizer samples."""
    n = len(triggers)
    white = rng.normal(0.0, NOISE_RMS, (n, of.record_length))
    shape = pulse(of.record_length, of.pretrigger, of.record_rate_hz)
    samples = np.clip(np.round(1000 + white + heights[:, None] * shape), -32768, 32767)
    samples = samples.astype(np.int16)
    table = np.zeros(n, plain(RECORD))
    table["record"] = np.arange(n)
    table["trigger"] = triggers
    table["start"] = triggers - of.pretrigger * of.decimation
    table["t_ns"] = START_NS + np.round(triggers / of.sample_rate_hz * 1e9).astype(np.int64)
    table["cause"] = 1
    near = np.diff(triggers, append=triggers[-1:] + 10**9) < of.record_length * of.decimation
    table["flags"] = np.where(near, Flag.PILED_UP, 0) | np.where(samples.max(1) == 32767, 1, 0)
    pretriggers = samples[:, : of.pretrigger]
    table["baseline"], table["baseline_rms"] = pretriggers.mean(1), pretriggers.std(1)
    table["height"] = samples.max(1) - table["baseline"]
    table["crc"] = [zlib.crc32(record.tobytes()) for record in samples]
    return table, samples


def made_run(folder: Path, *, seconds: float, rng: np.random.Generator) -> FakeRun:
    """Nine targets and two vetoes for so long, at the rates of the default bench."""
    channels = (*(channel(name) for name in TARGETS), veto("SI"), veto("CWO"))
    muons = _moments(0.5, seconds, rng)
    records = {of.name: made_records(of, *_pulses(of, muons, seconds, rng), rng) for of in channels}
    return FakeRun(
        folder=folder,
        channels=channels,
        all_records=records,
        tables={
            **_events(records),
            "gaps": rows(
                GAP,
                (0, 1_000_000, 1_050_000, 1, b"overflow"),
                (0, 2_000_000, 2_400_000, 0, b"restart"),
            ),
            "ledger": _ledger(channels, records, seconds),
            "anchors": _anchors(seconds),
            "readings": _readings(seconds, rng),
            "messages": rows(
                MESSAGE,
                (START_NS, b"info", b"The run began."),
                (START_NS + 36 * 10**9, b"warning", b"C31: flux jump of -1 phi0, locked again."),
            ),
        },
    )


def with_channels(run: FakeRun, n: int) -> FakeRun:
    """The same run with its first n channels only; its events stay as they were."""
    ledger = run.ledger()
    tables = {**run.tables, "ledger": ledger[ledger["channel"] < n]}
    return replace(run, channels=run.channels[:n], tables=tables)


def _moments(rate_hz: float, seconds: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    n = rng.poisson(rate_hz * seconds)
    return np.sort(rng.integers(100_000, int(seconds * RATE_HZ) - 100_000, n))


def _pulses(
    of: Channel, muons: npt.NDArray[np.int64], seconds: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    own = _moments(1.5 if of.mass_g else 3.0, seconds, rng)
    low = 60 * rng.pareto(0.7, len(own)) + 60
    line = rng.random(len(own)) < (0.33 if of.mass_g else 0.0)
    heights = np.where(line, rng.normal(2600, 25, len(own)), np.clip(low, None, 20000))
    triggers = np.concatenate([own, muons])
    heights = np.concatenate([heights, rng.normal(26000, 5000, len(muons))])
    order = np.argsort(triggers)
    return triggers[order], heights[order]


def _events(records: Mapping[str, tuple[Rows, Samples]]) -> dict[str, Rows]:
    """Events and their members: records within 2 ms of the one before."""
    times = np.concatenate([table["t_ns"] for table, _ in records.values()])
    order = np.argsort(times, kind="stable")
    new = np.diff(times[order], prepend=0) > 2_000_000
    members = np.zeros(len(times), plain(MEMBER))
    lengths = [len(table) for table, _ in records.values()]
    members["channel"] = np.repeat(np.arange(len(lengths)), lengths)[order]
    members["record"] = np.concatenate([np.arange(n) for n in lengths])[order]
    members["event"] = np.cumsum(new) - 1
    events = np.zeros(int(new.sum()), plain(EVENT))
    events["event"] = np.arange(len(events))
    events["t_ns"] = times[order][new]
    events["n_records"] = np.bincount(members["event"])
    bits = np.uint64(1) << members["channel"].astype(np.uint64)
    np.bitwise_or.at(events["channels"], members["event"], bits)
    return {"events": events, "members": members}


def _ledger(
    channels: tuple[Channel, ...], records: Mapping[str, tuple[Rows, Samples]], seconds: float
) -> Rows:
    stop = int(seconds * RATE_HZ)
    found = []
    for i, of in enumerate(channels):
        holdoff = len(records[of.name][0]) * of.triggers[0].holdoff * of.decimation // 4
        gap = 450_000 if of.digitizer == "targets" else 0
        saturated = 40_000 * i
        edge = of.record_length * of.decimation
        live = stop - holdoff - gap - saturated - edge
        dead = {"gap": gap, "saturated": saturated, "edge": edge, "holdoff": holdoff}
        found.append((i, 0, stop, live, *(dead.get(cause, 0) for cause in DEAD_CAUSES)))
    return rows(LEDGER, *found)


def _anchors(seconds: float) -> Rows:
    return rows(
        ANCHOR,
        *(
            (digitizer, int(second * RATE_HZ), START_NS + second * 10**9)
            for second in range(int(seconds) + 1)
            for digitizer in (0, 1)
        ),
    )


def _readings(seconds: float, rng: np.random.Generator) -> Rows:
    found: list[tuple[object, ...]] = []
    for second in range(int(seconds)):
        t_ns = START_NS + second * 10**9
        for name, kelvin, spread in (("1", 46.2, 0.05), ("2", 3.41, 0.004), ("6", 0.0102, 1e-5)):
            value = kelvin + spread * (np.sin(second / 9) + 0.3 * rng.normal())
            row = (
                t_ns,
                b"fridge",
                f"inputs.{name}.temperature".encode(),
                value,
                b"K",
                b"read",
                b"",
            )
            found.append(row)
        failed = 6 <= second < 9
        found.append(
            (
                t_ns,
                b"fridge",
                b"heater_output",
                np.nan if failed else 12 + rng.normal(),
                b"%",
                b"error" if failed else b"read",
                b"HTR?: expected a reply within 1 s, found none" if failed else b"",
            )
        )
        if second % 5 == 0:
            found.append((t_ns, b"squids", b"channels.1.bias", 12.5, b"uA", b"shadow", b""))
            found.append((t_ns, b"squids", b"channels.1.mode", np.nan, b"", b"shadow", b"FLL"))
    return rows(READING, *found)
