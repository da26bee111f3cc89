"""The guard against the bench's truth: samples by the wire, the real pipeline, log and reader.

Every jump that the script makes is found where it was, with its size, and becomes no pulse; where
none is scripted none is found; what else the script does to a channel is found and charged.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daq.model.block import Block
from daq.model.channel import Channel, Guarding, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.model.record import PULSES, Flag, HitKind
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.store import names
from daq.store.folder import Folder
from daq.store.log import LogSettings
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.offline import T_NS
from tests.wired_bench import LSB_V, QUIET, VOLTS_PER_PHI0, Wired, spec, wired

RATE_HZ = 250e3
PIECE_S = 4.0
LIVELY = QUIET | {
    "iron55_rate_hz": 1.0,
    "excess_per_kg_kev_d": 3.7e9,
    "flat_per_kg_kev_d": 7.2e6,
    "muon_target_rate_hz": 0.3,  # beyond what a crystal can take: a full swing within a sample
}
GUARD = Guarding(
    phi0=VOLTS_PER_PHI0 / LSB_V, span=8, hold=12_500, settle=500, lead=65, frozen=5000,
    window=8 * 8192, noise_low=3.0, noise_high=60.0,
)  # fmt: skip

# the same at 50 kS/s, for an hour
SLOW = replace(GUARD, span=2, hold=2500, settle=100, lead=0, frozen=1024, window=2 * 8192)


def guarded(name: str, row: int, rate_hz: float) -> Channel:
    return Channel(
        name=name, digitizer="targets", row=row, sample_rate_hz=rate_hz,
        decimation=round(rate_hz / 50e3),
        record_length=8192, pretrigger=2048, volts_per_count=LSB_V, mass_g=0.75, merge_window=64,
        triggers=(TriggerSettings(kind="edge", threshold=40, rearm=20, edge_span=24, holdoff=4096),
                  TriggerSettings(kind="random", rate_hz=0.2)),
        guarding=GUARD if rate_hz == RATE_HZ else SLOW,
    )  # fmt: skip


def recorded(bench: Wired, seconds: float, folder: Path) -> Run:
    """The bench's samples from 0 on, read from its socket and recorded; open."""
    names_, rate_hz = bench.settings.digitizers["targets"].channels, bench.rate_hz
    channels = [guarded(c, i, rate_hz) for i, c in enumerate(names_)]
    start = DigitizerFacts(name="targets", rate_hz=rate_hz, epoch="e", start=0, anchors=[(0, T_NS)])
    facts = RunFacts(
        run=1, name="guard", comment="", settings_toml="", settings={}, channels=channels,
        digitizers=[start], plan=Plan(), software="scheelite test", host="h", user="u", t_ns=T_NS,
    )  # fmt: skip
    path, stop = folder / "run_000001", round(seconds * rate_hz)
    names.log_folder(path).mkdir(parents=True)
    recording = Recording.begin(path, facts, LogSettings(), {"targets": stop})
    piece = round(PIECE_S * rate_hz)
    for at in range(0, stop, piece):
        samples = bench.again(at, min(at + piece, stop)).astype(np.int16)
        anchors = (Anchor(0, T_NS),) if at == 0 else ()
        recording.feed("targets", [], Block(start=at, samples=samples, anchors=anchors))
        recording.commit()
        recording.fresh()
    recording.end(T_NS + round(seconds * 1e9))
    Folder(folder, lambda: T_NS).finish(1)
    return open_run(path)


def scripted(n: int, seconds: float, seed: int) -> list[dict[str, object]]:
    """Jumps of 1 to 3 quanta at random moments: some closer than a pulse is long."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0.5, seconds - 0.5, n))
    sizes = rng.choice([-3, -2, -1, 1, 2, 3], n)
    total, jumps = 0, []
    for at, size in zip(times.tolist(), sizes.tolist(), strict=True):
        n_phi0 = -size if abs(total + size) > 5 else size  # within the range of the output
        total += n_phi0
        jumps.append({"kind": "flux_jump", "at_s": at, "channel": "C11", "n_phi0": n_phi0})
    return jumps


def scored(run: Run, jumps: list[dict[str, object]]) -> None:
    """Every jump at its sample with its size, and nothing else; none is a pulse, none is live."""
    hits = run.guard()
    hits = hits[np.argsort(hits["start"])]
    found = [(int(h["start"]), int(h["quanta"])) for h in hits if h["kind"] == HitKind.JUMP]
    truth = [(int(np.ceil(float(str(j["at_s"])) * RATE_HZ)), j["n_phi0"]) for j in jumps]
    assert found == truth
    assert set(hits["kind"].tolist()) <= {HitKind.JUMP}
    measured = hits["size"] - hits["quanta"]
    assert np.abs(measured).max(initial=0.0) < GUARD.tolerance
    table, _ = run.records("C11")
    pulses = table[table["causes"] & PULSES > 0]
    for at, _ in truth:
        assert not ((pulses["trigger"] >= at - 120) & (pulses["trigger"] < at + 500)).any()
        over = (table["start"] <= at) & (at < table["start"] + 8192 * 5)
        assert (table["flags"][over] & Flag.GUARD > 0).all()
    ledger = run.ledger()
    dead = np.unique(np.concatenate([np.arange(at, at + GUARD.settle) for at, _ in truth]))
    assert int(ledger["unlocked"].sum()) == len(dead)


@pytest.fixture(scope="module")
def jumps() -> list[dict[str, object]]:
    return scripted(30, 40.0, seed=5)


def test_every_jump_is_found_with_its_size_and_none_becomes_a_pulse(jumps, tmp_path):
    with (
        wired(spec(RATE_HZ, sources=LIVELY, scenario=jumps)) as bench,
        recorded(bench, 40.0, tmp_path) as run,
    ):
        scored(run, jumps)
        table, _ = run.records("C11")
        assert np.count_nonzero(table["causes"] & PULSES) > 40  # there were pulses in between
        assert verify(run.folder).problems == []


def test_what_is_no_signal_is_found_where_the_script_says_and_charged(tmp_path):
    """A dead input for 1.5 s, an output at its end for half a second; a ramp is no jump."""
    script = [
        {"kind": "dead_channel", "at_s": 2.0, "for_s": 1.5, "channel": "C11"},
        {"kind": "adc_overflow", "at_s": 5.0, "for_s": 0.5, "channel": "C11"},
        {"kind": "baseline_ramp", "at_s": 7.0, "for_s": 2.0, "channel": "C11", "counts_per_s": 1e3},
    ]
    with (
        wired(spec(RATE_HZ, scenario=script)) as bench,
        recorded(bench, 10.0, tmp_path) as run,
    ):
        hits, ledger = run.guard(), run.ledger()
        (frozen,) = hits[(hits["kind"] == HitKind.FROZEN) & (hits["start"] < 4 * RATE_HZ)]
        assert (frozen["start"], frozen["stop"]) == (2.0 * RATE_HZ, 3.5 * RATE_HZ)
        (rail,) = hits[hits["kind"] == HitKind.RAIL]
        assert (rail["start"], rail["stop"]) == (5.0 * RATE_HZ, 5.5 * RATE_HZ)
        saturated = int(ledger["saturated"].sum())
        assert 0.5 * RATE_HZ <= saturated <= 0.5 * RATE_HZ + 5
        assert not (hits["kind"] == HitKind.JUMP).any()
        seconds = ledger["start"] // round(RATE_HZ)
        assert (ledger["live"][np.isin(seconds, [2])] == 0).all()
        assert verify(run.folder).problems == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_of_two_hundred_jumps_all_are_found(tmp_path):
    script = scripted(200, 300.0, seed=11)
    with (
        wired(spec(RATE_HZ, sources=LIVELY, scenario=script)) as bench,
        recorded(bench, 300.0, tmp_path) as run,
    ):
        scored(run, script)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_in_an_hour_without_jumps_none_is_invented(tmp_path):
    """At 50 kS/s, with some thousand pulses up to the full swing."""
    with wired(spec(50e3, sources=LIVELY)) as bench, recorded(bench, 3600.0, tmp_path) as run:
        assert len(run.guard()) == 0
        table, _ = run.records("C11")
        assert np.count_nonzero(table["causes"] & PULSES) > 3000
        assert run.ledger()["unlocked"].sum() == 0
