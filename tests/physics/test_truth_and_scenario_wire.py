"""What a client reads from a simulated digitizer against the truth file, and against a script."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import ceil, floor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from sim_hardware.bench import OpenBench, particles, sample_clocks
from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.settings import Bench
from sim_hardware.world.detectors import DETECTORS, VOLTS_PER_COUNT
from sim_hardware.world.pulses import proebst
from tests.physics.test_particles import PER_SECOND, SOURCES, TARGETS, within_999
from tests.stream_client import Stream, read_stream
from tests.truth import Row, newest_truth, read_truth

RATE_HZ = 20e3
SECONDS = 100
JOIN_S = 30.0
START_NS = 1_782_864_000 * 10**9
KINDS = {"C11": "target", "C12": "target", "C21": "target", "SI": "silicon", "CWO": "cwo"}
# counts: above the raw noise by far, so that nothing but pulses is there
THRESHOLD = {"target": 100.0, "silicon": 100.0, "cwo": 20.0}
LARGEST = {"target": 3e3, "silicon": 1e6, "cwo": 1e9}  # eV: above, the onset is not the shape's
ALONE_S = {"target": 0.5, "silicon": 0.05, "cwo": 0.05}  # until nothing is left of a large pulse
SEARCH_S = {"target": 0.5e-3, "silicon": 0.06e-3, "cwo": 0.12e-3}


# of a target, at its working point
COUNTS_PER_EV = {"target": 25.78 / 76} | {k: each.counts_per_ev for k, each in DETECTORS.items()}
SHAPES = {
    "target": proebst(
        fast=0.689, slow=0.0725, rise_s=0.30e-3, decay_s=3.61e-3, slow_decay_s=28.2e-3
    )
} | {k: each.shape for k, each in DETECTORS.items()}


def bench(**changes: Any) -> Bench:
    digitizers = {
        "targets": {"port": 0, "sample_rate_hz": RATE_HZ, "channels": ["C11", "C12", "C21", "SI"]},
        "vetoes": {
            "port": 0, "sample_rate_hz": RATE_HZ, "clock_ppm": 25.0, "channels": ["CWO"],
        },
    }  # fmt: skip
    sources = {
        "iron55_rate_hz": 0.1,
        "excess_per_kg_kev_d": 1.5e8,
        "excess_e0_ev": 600.0,
        "excess_min_ev": 400.0,
        "muon_target_rate_hz": 0.3,
        "gamma_rate_hz": 2.0,
        "thallium_rate_hz": 1.0,
        "surface_per_cm2_d": 1e4,
    }
    given = {"seed": 11, "pace": "flat-out", "start_utc": "2026-07-01T00:00:00Z"}
    return Bench.model_validate({**given, "digitizers": digitizers, "sources": sources} | changes)


@contextmanager
def running(given: Bench) -> Iterator[tuple[OpenBench, dict[str, str]]]:
    opened = OpenBench(given)
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield opened, {each.name: each.resource for each in opened.announced}
    finally:
        opened.stop()
        thread.join(JOIN_S)
        assert not thread.is_alive()


@cache
def minute() -> tuple[dict[str, Stream], list[Row], dict[str, int]]:
    """A minute over the wire, its truth file, and how many samples were converted for it."""
    with TemporaryDirectory() as folder:
        with running(bench(truth_dir=folder)) as (opened, resources):
            n = round(SECONDS * RATE_HZ)
            streams = {name: read_stream(resources[name], 0, n) for name in resources}
            faces = [face for each in opened.served if isinstance(face := each.face, DigitizerFace)]
        converted = {face.source.name: face.memory.next(0.0) for face in faces}
        return streams, read_truth(newest_truth(Path(folder))), converted


def test_the_truth_has_exactly_the_hits_whose_samples_were_converted() -> None:
    _, rows, converted = minute()
    given = bench()
    clocks, all_hits = sample_clocks(given, START_NS), particles(given).truth(0.0, 2 * SECONDS)
    expected = Counter(
        (name, hit.channel, hit.kind, hit.event, f"{hit.true_s:.9f}")
        for name, digitizer in given.digitizers.items()
        for hit in all_hits
        if hit.channel in digitizer.channels
        and ceil(clocks[name].position(hit.true_s)) < converted[name]
    )
    found = Counter((r.digitizer, r.channel, r.kind, r.event, f"{r.true_s:.9f}") for r in rows)
    assert found == expected
    assert min(converted.values()) >= SECONDS * RATE_HZ
    assert {"muon", "gamma", "iron55", "excess", "thallium", "surface"} <= {r.kind for r in rows}
    for row in rows:
        assert row.t_ns == pytest.approx(START_NS + row.true_s * 1e9, abs=2)
        assert row.sample == pytest.approx(clocks[row.digitizer].position(row.true_s), abs=1e-3)


def test_hits_of_one_muon_share_their_event_across_digitizers() -> None:
    _, rows, _ = minute()
    muons = {row.event for row in rows if row.kind == "muon" and row.channel.startswith("C1")}
    of_each = {e: {row.digitizer for row in rows if row.event == e} for e in muons}
    assert len(muons) > 3
    assert all(found == {"targets", "vetoes"} for found in of_each.values())


@pytest.mark.parametrize("channel", KINDS)
def test_isolated_pulses_begin_where_the_truth_says_within_a_sample(channel: str) -> None:
    streams, rows, _ = minute()
    kind = KINDS[channel]
    own = [row for row in rows if row.channel == channel]
    samples = streams[own[0].digitizer].row(channel)
    isolated = [row for row in own if _isolated(row, own) and row.sample < len(samples) - 5000]
    assert len(isolated) >= 10
    off = [_onset(samples, row, kind) - row.sample for row in isolated]
    assert np.abs(off).max() < 1.0, list(zip(off, isolated, strict=True))


@pytest.mark.parametrize("channel", KINDS)
def test_no_pulse_is_there_that_the_truth_does_not_know(channel: str) -> None:
    streams, rows, _ = minute()
    kind = KINDS[channel]
    true = np.array([row.sample for row in rows if row.channel == channel])
    samples = streams["vetoes" if channel == "CWO" else "targets"].row(channel)
    width = round(SEARCH_S[kind] * RATE_HZ)
    sums = np.cumsum(np.concatenate([[0], samples]))
    means = (sums[width:] - sums[:-width]) / width
    rise = means[width:] - means[:-width]  # of the mean after a sample over the mean before it
    over = np.flatnonzero(rise > THRESHOLD[kind]) + width
    firsts = over[np.diff(over, prepend=-1) > 1]
    assert len(firsts) >= 10
    # a rise is seen from where its window begins to see the pulse
    before = true[np.searchsorted(true, firsts + width) - 1]
    assert (firsts - before).max() <= 4 * width


def _isolated(row: Row, own: list[Row]) -> bool:
    """Above the threshold, of the pulse's shape, and alone for its kind's time."""
    kind = KINDS[row.channel]
    high = row.energy_ev * COUNTS_PER_EV[kind] > 1.5 * THRESHOLD[kind]
    return (
        high
        and row.energy_ev < LARGEST[kind]
        and row.sample > RATE_HZ
        and not any(0 < abs(o.sample - row.sample) < ALONE_S[kind] * RATE_HZ for o in own)
    )


def _onset(samples: npt.NDArray[np.int64], row: Row, kind: str) -> float:
    """Where a fit of the shape's beginning, with free height, finds that a pulse begins."""
    near, n_after = floor(row.sample), max(8, round(SEARCH_S[kind] * RATE_HZ))
    stretch = np.arange(near - 6, near + n_after)
    baseline = samples[near - 60 : near - 6].mean()
    rise = samples[stretch] - baseline
    shape = SHAPES[kind]
    onsets = near + np.arange(-5.0, 6.0, 0.02)
    models = np.array([shape.at(np.maximum(0.0, stretch - t0) / RATE_HZ) for t0 in onsets])
    heights = models @ rise / (models**2).sum(axis=1)
    misfit = ((rise - heights[:, None] * models) ** 2).sum(axis=1)
    return float(onsets[np.argmin(misfit)])


# --- how many there are of every source, while a digitizer is read

LONG_S, LONG_HZ = 60, 1e3
ALL = (*TARGETS, "SI", "CWO")


@cache
def particles_read() -> Counter[str]:
    """How many particles of each kind are in the truth of what was read: a minute, seed 11."""
    digitizers = {"targets": {"port": 0, "sample_rate_hz": LONG_HZ, "channels": ALL}}
    with TemporaryDirectory() as folder:
        given = bench(digitizers=digitizers, sources=SOURCES.model_dump(), truth_dir=folder)
        n = round(LONG_S * LONG_HZ)
        with running(given) as (_, resources):
            read_stream(resources["targets"], 0, n, exactly=True)
        rows = [row for row in read_truth(newest_truth(Path(folder))) if row.sample < n]
    return Counter(kind for kind, _ in {(row.kind, row.event) for row in rows})


@pytest.mark.parametrize("kind", PER_SECOND)
def test_every_source_has_its_rate_on_the_wire(kind: str) -> None:
    # seed 11, 60 s: 108 to 1800 particles expected of each kind
    found = particles_read()[kind]
    assert within_999(found, PER_SECOND[kind] * LONG_S), found


# --- a script, through the wire

SLOW_HZ = 10e3
SCRIPT = [
    {"kind": "dead_channel", "at_s": 1.0, "for_s": 1.5, "channel": "C11"},
    {"kind": "adc_overflow", "at_s": 3.0, "for_s": 0.5, "channel": "C12", "side": "-"},
    {"kind": "baseline_ramp", "at_s": 2.0, "for_s": 4.0, "channel": "C21", "counts_per_s": 250.0},
    {"kind": "digitizer_gap", "at_s": 4.00005, "for_s": 0.75, "digitizer": "targets"},
    {"kind": "clock_drift", "at_s": 5.0, "digitizer": "vetoes", "ppm": 900.0},
    {"kind": "trigger_storm", "at_s": 6.0, "for_s": 2.0, "factor": 50.0, "particles": ["gamma"]},
]


@cache
def scripted() -> tuple[dict[str, Stream], list[Row]]:
    """Ten seconds in which much goes wrong, and the truth of it."""
    digitizers = {
        "targets": {"port": 0, "sample_rate_hz": SLOW_HZ, "channels": ["C11", "C12", "C21"]},
        "vetoes": {"port": 0, "sample_rate_hz": SLOW_HZ, "channels": ["CWO", "GATE"]},
    }
    quiet = {"gamma_rate_hz": 5.0, "muon_rate_hz": 0.0}
    with TemporaryDirectory() as folder:
        given = bench(digitizers=digitizers, sources=quiet, scenario=SCRIPT, truth_dir=folder)
        with running(given) as (_, resources):
            streams = {name: read_stream(resources[name], 0, 100_000) for name in resources}
        return streams, read_truth(newest_truth(Path(folder)))


def targets(channel: str) -> npt.NDArray[np.int64]:
    return scripted()[0]["targets"].row(channel)


def test_a_dead_channel_is_flat_on_the_wire() -> None:
    found = targets("C11")
    assert not found[10_000:25_000].any()
    assert found[:10_000].std() > 1
    assert found[25_000:40_000].std() > 1


def test_an_overflow_is_the_converter_s_end_on_the_wire() -> None:
    found = targets("C12")
    assert np.all(found[30_000:35_000] == -32768)
    assert found[:30_000].min() > -1000


def test_a_ramp_moves_the_baseline_on_the_wire() -> None:
    found = targets("C21")
    before, after = found[10_000:20_000].mean(), found[70_000:80_000].mean()
    # drifts of the noise itself are a few counts
    assert after - before == pytest.approx(1000.0, abs=15)
    assert found[30_000:30_100].mean() - before == pytest.approx(250.0, abs=15)


def test_a_gap_of_the_script_is_exact_on_the_wire() -> None:
    streams, _ = scripted()
    assert streams["targets"].gaps == [(40_001, 47_501)]
    assert streams["vetoes"].gaps == []


def test_a_clock_that_drifts_shows_in_its_anchors() -> None:
    streams, _ = scripted()
    anchors = dict(streams["vetoes"].anchors)
    # until 5 s it is right; from there a second of samples takes 900 ppm less
    assert anchors[50_000] - START_NS == 5 * 10**9
    assert anchors[90_000] - anchors[50_000] == pytest.approx(4e9 / (1 + 900e-6), abs=2)
    assert dict(streams["targets"].anchors)[90_000] - START_NS == 9 * 10**9


def test_a_pulse_after_a_drift_lies_where_the_changed_clock_puts_it() -> None:
    _, rows = scripted()
    late = [row for row in rows if row.channel == "CWO" and row.true_s > 5]
    for row in late:
        expected = 50_000 + (row.true_s - 5) * SLOW_HZ * (1 + 900e-6)
        assert row.sample == pytest.approx(expected, abs=1e-3)
    samples = scripted()[0]["vetoes"].row("CWO")
    strong = [row for row in late if row.energy_ev > 1.5e6 and row.true_s < 9.9]
    assert len(strong) > 10
    # half a millisecond after it began a pulse is near its height, whatever lies under it
    for row in strong:
        at = round(row.sample)
        rise = samples[at + 5] - samples[at - 3 : at - 1].mean()
        assert rise > 0.5 * row.energy_ev * COUNTS_PER_EV["cwo"]


def test_a_storm_multiplies_what_it_is_of_while_it_lasts() -> None:
    _, rows = scripted()
    times_s = np.array([row.true_s for row in rows if row.kind == "gamma"])
    within = ((times_s >= 6) & (times_s < 8)).sum()
    outside = ((times_s < 6) | ((times_s >= 8) & (times_s < 10))).sum()
    # seed 11: 500 and 40 expected
    assert stats.poisson.interval(0.999, 500)[0] <= within <= stats.poisson.interval(0.999, 500)[1]
    assert stats.poisson.interval(0.999, 40)[0] <= outside <= stats.poisson.interval(0.999, 40)[1]


def test_a_gate_is_two_samples_high_at_its_time() -> None:
    found = scripted()[0]["vetoes"].row("GATE")[:50_000]
    high = found > 0.5 * 3.3 / VOLTS_PER_COUNT
    assert np.abs(found[high] - 3.3 / VOLTS_PER_COUNT).max() < 10
    assert np.abs(found[~high]).max() < 10
    rises = np.flatnonzero(high & ~np.concatenate([[False], high[:-1]]))
    assert rises.tolist() == [ceil(round(k / 60 * SLOW_HZ, 6)) for k in range(300)]
    assert high.sum() == 2 * 300
