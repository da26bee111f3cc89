"""The fault table for as long as `make soak HOURS=...` says: random faults, and a storm."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daq.errors import ScheeliteError
from tests.faults import page
from tests.faults.course import Outcome, growth_table, growths, judged, one, table
from tests.faults.faults import FAULTS, Fault
from tests.faults.judge import Judged, judge, replayed_otherwise, the_same_bench
from tests.faults.night import Night, night
from tests.system.chain import until

HOLD_S = 10.0
RUN_S = 240.0  # a run is ended, judged and deleted when it is as long
CALM_SHARE, CALM_S = 0.2, 150.0  # the end of the time, in which only memory is watched
LONG_S, GROWTH_PER_HOUR = 1800.0, 20e6  # bytes; over minutes a slope is buffers that come and go
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
    began, whole_s = time.monotonic(), hours * 3600.0
    calm_s = max(CALM_SHARE * whole_s, CALM_S)
    outcomes: list[Outcome] = []
    runs: list[Judged] = []
    with night(tmp_path, seed) as system:
        system.begin()
        for fault in endless(system.rng):
            if time.monotonic() - began > whole_s - calm_s:
                break
            if fault.skip(system):
                continue
            outcomes.append(attempted(system, fault))
            if system.age_s > RUN_S:
                system.end()
                runs += closed(system, outcomes)
                system.begin()
        time.sleep(calm_s)  # nothing is waited for: this is the time that memory is watched in
        system.end()
        runs += closed(system, outcomes)
        grown = growths(system)
        skipped = {f.name: why for f in FAULTS if (why := f.skip(system))}
    parts = [
        page.told_of(seed, time.monotonic() - began),
        table(outcomes),
        *(f"{name}: not done, {why}" for name, why in skipped.items()),
        totals(runs),
        growth_table(grown),
    ]
    page.put(report, "faults", "\n\n".join(parts))
    assert [o.failure for o in outcomes if o.failure] == []
    assert [run.problems for run in runs if run.problems] == []
    assert [g for g in grown if g.life_s > LONG_S and g.per_hour > GROWTH_PER_HOUR] == []
    assert [g for g in grown if g.most > MOST_RSS] == []


def endless(dice: random.Random) -> Iterator[Fault]:
    """Every fault once in a random order, again and again."""
    while True:
        yield from dice.sample(FAULTS, len(FAULTS))


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


def totals(runs: list[Judged]) -> str:
    """What all of it came to, in one row of Markdown."""
    values = {
        "runs": len(runs),
        "whole by `scheelite verify`, replay and the bench's truth": sum(
            not run.problems for run in runs
        ),
        "records": sum(run.records for run in runs),
        "acknowledged": sum(run.acknowledged for run in runs),
        "of these lost": sum(run.acknowledged_lost for run in runs),
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
    """A run of so many records in a storm; what the core's memory was and grew meanwhile."""
    with night(folder, seed, storm) as system:
        system.begin()
        began = time.monotonic()
        until(lambda: system.core()["safe"]["records"] > records, "a storm of records", 600.0)
        rate_hz = system.core()["safe"]["records"] / (time.monotonic() - began)
        system.wait_healthy()
        system.end()
        until(lambda: system.is_idle, "the run to be complete")
        peak = max(rss for (n, _), rows in system.watch.memory.items() for _, rss in rows)
        with the_same_bench(system) as sources:
            found = judge(system, system.run, sources)
        found.problems.extend(replayed_otherwise(system.run))
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
    ("mark", "storm", "what"),
    [
        ("storm", trigger_storm, f"particles in a target, {STORM} x the usual rate"),
        ("flux-jump storm", flux_jump_storm, "flux jumps of C11, 10 /s"),
    ],
)
def test_a_long_storm(
    tmp_path: Path, seed: int, report: Path | None, mark: str, storm: Change, what: str
) -> None:
    found, peak, rate_hz = weathered(tmp_path, seed, storm, 2_000)
    counted = {name: sum(b - a for a, b in spans) for name, spans in found.counted.items()}
    values = {
        "storm": what,
        "records": found.records,
        "records/s": round(rate_hz),
        "acknowledged records lost": found.acknowledged_lost,
        "samples missing, all counted": sum(counted.values()),
        "most memory of a service [MB]": round(peak / 1e6),
    }
    told = page.told_of(seed, found.records / rate_hz)
    page.put(report, mark, f"{told}\n\n{page.row(values)}")
    assert found.problems == []
