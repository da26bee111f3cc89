"""The fault table for as long as `make soak HOURS=...` says: random faults, and a storm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daq.errors import ScheeliteError
from tests.faults import page
from tests.faults.course import (
    HOUR_S,
    Outcome,
    growth_table,
    growths,
    judged,
    late,
    one,
    table,
)
from tests.faults.faults import FAULTS, SERVICES, Fault
from tests.faults.judge import Judged, judge, replayed_otherwise, the_same_bench
from tests.faults.night import Night, night
from tests.faults.storms import coming, weather
from tests.system.chain import until

HOLD_S = 10.0
RUN_S = 240.0  # a run is ended, judged and deleted when it is as long
CALM_SHARE, CALM_S = 0.2, 200.0  # of the time: so long memory is watched
WARM_UP_S = 60.0  # twice what a digitizer's buffer holds
MOST_RSS = 600e6  # bytes of one service, at all times
STORM = 100  # times the usual rate
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def hours(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--hours"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed"))


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Path | None:
    path: Path | None = request.config.getoption("--page")
    return path


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_night_of_faults(tmp_path: Path, hours: float, seed: int, report: Path | None) -> None:
    began, whole_s = time.monotonic(), hours * HOUR_S
    outcomes: list[Outcome] = []
    runs: list[Judged] = []
    with night(tmp_path, seed, lambda spec: weather(spec, whole_s)) as system:
        system.begin()
        for fault in endless(system):
            if time.monotonic() - began > whole_s:
                break
            outcomes.append(attempted(system, fault))
            if system.age_s > RUN_S:
                system.end()
                runs += closed(system, outcomes)
                system.begin()
        system.end()
        runs += closed(system, outcomes)
        most = system.watch.most_rss
        skipped = {f.name: why for f in FAULTS if (why := f.skip(system))}
    parts = [
        page.told_of(seed, time.monotonic() - began),
        table(outcomes),
        *(f"{name}: not done, {why}" for name, why in skipped.items()),
        totals(runs, most),
    ]
    page.put(report, "faults", "\n\n".join(parts))
    assert [o.failure for o in outcomes if o.failure] == []
    assert [run.problems for run in runs if run.problems] == []
    assert late(outcomes) == []
    assert most < MOST_RSS


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_memory_is_flat_while_nothing_is_done(
    tmp_path: Path, hours: float, seed: int, report: Path | None
) -> None:
    began, watched_s = time.monotonic(), max(CALM_SHARE * hours * HOUR_S, CALM_S)
    runs: list[Judged] = []
    with night(tmp_path, seed) as system:
        system.begin()
        time.sleep(WARM_UP_S)  # nothing is waited for, here and below: memory is watched
        system.end()  # the first end of a run takes memory that stays
        runs += judged(system, [])
        system.begin()
        since_s = time.monotonic()
        while (left_s := since_s + watched_s - time.monotonic()) > 0:
            if system.age_s > RUN_S:  # the disk is small
                system.end()
                runs += judged(system, [])
                system.begin()
            time.sleep(min(left_s, RUN_S))
        grown = growths(system, since_s)
        system.end()
        runs += judged(system, [])
    told = page.told_of(seed, time.monotonic() - began)
    page.put(report, "memory", f"{told}\n\n{growth_table(grown)}")
    assert {g.service for g in grown} == set(SERVICES)
    assert [g for g in grown if not g.flat] == []
    assert [run.problems for run in runs if run.problems] == []


def endless(system: Night) -> Iterator[Fault]:
    """Every fault once in a random order, again and again; a storm when it comes."""
    while True:
        for fault in system.rng.sample(FAULTS, len(FAULTS)):
            if (storm := coming(system)) is not None:
                yield storm
            if not fault.skip(system):
                yield fault


def attempted(system: Night, fault: Fault) -> Outcome:
    """What became of a fault; one that is not survived is told, and the night goes on."""
    run = len(system.runs) - 1
    try:
        return one(system, fault, HOLD_S)
    except (AssertionError, ScheeliteError) as error:
        return Outcome(fault, run, failure=str(error).splitlines()[0])


def closed(system: Night, outcomes: list[Outcome]) -> list[Judged]:
    """The runs so far, judged; they make room where nothing is wrong with them."""
    fresh = [o for o in outcomes if o.run >= system.n_judged]
    return judged(system, fresh)


def totals(runs: list[Judged], most_rss: int) -> str:
    """What all of it came to, in one row of Markdown."""
    values = {
        "runs": len(runs),
        "whole by `scheelite verify`, replay and the bench's truth": sum(
            not run.problems for run in runs
        ),
        "records": sum(run.records for run in runs),
        "acknowledged": sum(run.acknowledged for run in runs),
        "of these lost": sum(run.acknowledged_lost for run in runs),
        "most memory of a service [MB]": round(most_rss / 1e6),
    }
    return page.row(values)


# --- storms: a bench of their own ---


def trigger_storm(spec: dict[str, Any]) -> None:
    """A hundred times as many particles."""
    storm = {"kind": "trigger_storm", "at_s": 0.0, "for_s": 1e6, "factor": STORM}
    spec.setdefault("scenario", []).append(storm)


def flux_jump_storm(spec: dict[str, Any]) -> None:
    """A SQUID that does not find its lock: each jump is two triggers of C11."""
    storm = {
        "kind": "unlock_storm",
        "channel": "C11",
        "at_s": 0.0,
        "for_s": 3600.0,
        "rate_hz": 10.0,
    }
    spec.setdefault("scenario", []).append(storm)


def both(spec: dict[str, Any]) -> None:
    """Both at once."""
    trigger_storm(spec)
    flux_jump_storm(spec)


def weathered(folder: Path, seed: int, storm: Change, records: int) -> tuple[Judged, int, float]:
    """A run of so many records in a storm; what the core's memory was and grew meanwhile.

    The bench is late where it is too slow for its storm: what is missing was lost by us.
    """

    def patient(spec: dict[str, Any]) -> None:
        storm(spec)
        spec["late"] = "wait"

    with night(folder, seed, patient) as system:
        system.begin()
        began = time.monotonic()
        until(lambda: system.core()["safe"]["records"] > records, "a storm of records", 600.0)
        rate_hz = system.core()["safe"]["records"] / (time.monotonic() - began)
        system.wait_healthy()
        system.end()
        until(lambda: system.is_idle, "the run to be complete")
        peak = system.watch.most_rss
        with the_same_bench(system) as sources:
            found = judge(system, system.run, sources)
        found.problems.extend(replayed_otherwise(system.run))
        if any(found.counted.values()):
            found.problems.append(f"expected all samples, found gaps: {found.counted}")
        return found, peak, rate_hz


@pytest.mark.alone  # a bench in a storm wants most of a core
@pytest.mark.timeout(900)
def test_storms_of_particles_and_of_flux_jumps_are_weathered(tmp_path: Path) -> None:
    found, _, _ = weathered(tmp_path, 20261126, both, 500)
    assert found.problems == []
    assert found.acknowledged_lost == 0


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("mark", "storm", "what", "records"),
    [
        ("storm", trigger_storm, f"particles in a target, {STORM} x the usual rate", 2_000),
        ("flux-jump storm", flux_jump_storm, "flux jumps of C11, 10 /s", 800),
    ],
)
def test_a_long_storm(
    tmp_path: Path,
    seed: int,
    report: Path | None,
    mark: str,
    storm: Change,
    what: str,
    records: int,
) -> None:
    found, peak, rate_hz = weathered(tmp_path, seed, storm, records)
    values = {
        "storm": what,
        "records": found.records,
        "records/s": round(rate_hz),
        "acknowledged records lost": found.acknowledged_lost,
        "samples missing": sum(b - a for spans in found.counted.values() for a, b in spans),
        "most memory of a service [MB]": round(peak / 1e6),
    }
    told = page.told_of(seed, found.records / rate_hz)
    page.put(report, mark, f"{told}\n\n{page.row(values)}")
    assert found.problems == []
