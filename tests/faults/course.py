"""The course of a night: one fault after the other, each timed, then the runs judged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from scipy.stats import theilslopes

from daq.errors import ScheeliteError
from daq.services import system
from daq.store.reader import open_run
from tests.faults.faults import Fault
from tests.faults.judge import Judged, Span, judge, replayed_otherwise, the_same_bench
from tests.faults.night import Night, Snapshot, services_now
from tests.system.chain import until

PROMISED_S = {"respawned_s": 2.0, "worked_s": 5.0}  # on a machine that is not loaded
LAG_S = 1.0  # that a sample may take to the core
BUFFER_S = 30.0  # that a digitizer's service holds: a core that is away for longer costs samples
STRETCH_S = 10.0  # as a log file is long: within it buffers come and go
LIVED_S = 5.0  # a process that was seen so shortly before the end lived to it
HOUR_S = 3600.0
LEAK_PER_HOUR, COMES_AND_GOES = 10e6, 8e6  # bytes
Floats = npt.NDArray[np.float64]


@dataclass
class Outcome:
    """What one fault did; times in seconds from the end of the fault."""

    fault: Fault
    run: int = 0  # index among the night's runs
    respawned_s: float | None = None
    worked_s: float | None = None  # from the respawn: its first block, or its first word
    recovered_s: float = 0.0
    span: dict[str, Span] = field(default_factory=dict)  # of samples, by digitizer
    missing: int = 0
    counted: int = 0
    failure: str = ""

    @property
    def away_s(self) -> float:
        """How long a service was away."""
        return (self.respawned_s or 0.0) + (self.worked_s or 0.0)


def one(night: Night, fault: Fault, hold_s: float) -> Outcome:
    """Do it and wait until all is well; AssertionError where it is not, or others noticed."""
    night.wait_healthy()
    outcome, before = Outcome(fault, len(night.runs) - 1), night.look()
    fault.inject(night, hold_s)
    ended = time.monotonic()
    if fault.restarts:
        _watch_respawn(night, outcome, before, ended)
    if fault.ends_run:
        outcome.span = {name: (at, 1 << 62) for name, at in before.next.items()}
        night.begin()
    night.wait_healthy()
    if not fault.ends_run:
        until(lambda: _caught_up(night, before, ended), "the samples of the fault's end")
    outcome.recovered_s = time.monotonic() - ended
    after = night.look()
    if not fault.ends_run:
        outcome.span = {name: (at, after.next[name]) for name, at in before.next.items()}
    others = {n for n, pid in before.pids.items() if after.pids.get(n) != pid}
    assert others == set(fault.restarts), f"{others - set(fault.restarts)} restarted as well"
    return outcome


def _caught_up(night: Night, before: Snapshot, ended: float) -> bool:
    """Whether the core is past the fault's end: what was buffered comes first, its gap after it."""
    passed_s = ended - before.t_s - LAG_S
    return all(
        row["next"] >= before.next[name] + passed_s * night.rate_hz(name)
        for name, row in night.core()["digitizers"].items()
    )


def _watch_respawn(night: Night, outcome: Outcome, before: Snapshot, ended: float) -> None:
    names = outcome.fault.restarts
    for name in names:
        until(
            lambda n=name: services_now().get(n) and night.pid(n) != before.pids[n], f"a new {name}"
        )
    respawned = time.monotonic()
    outcome.respawned_s = respawned - ended
    for name in names:
        until(lambda n=name: _works(night, n, before), f"{name} to work")
    outcome.worked_s = time.monotonic() - respawned


def _works(night: Night, name: str, before: Snapshot) -> bool:
    """Whether a new process handles what its kind does; of a digitizer, if its first block came."""
    try:
        if name == "core":  # one that knows of nothing that came to the one before
            return all(row["begun"] for row in night.core()["digitizers"].values())
        if (digitizer := name.removeprefix("digitizer.")) in before.begun:
            return bool(night.core()["digitizers"][digitizer]["begun"] > before.begun[digitizer])
        system.ask(night.settings, name, "status", timeout_s=1.0)
    except ScheeliteError:
        return False
    return True


# --- afterwards ---


def judged(night: Night, outcomes: Sequence[Outcome], longest_s: float = inf) -> list[Judged]:
    """The runs since the last call; the gaps of each are given to the faults that they came with.

    Those that are no longer than `longest_s` are replayed, too. Of what is as it must be, the files
    are deleted.
    """
    until(lambda: not night.is_up or night.is_idle, "the run to be complete")
    with the_same_bench(night) as sources:
        unseen = range(night.n_judged, len(night.runs))
        found = {i: judge(night, night.runs[i], sources) for i in unseen}
    for run in found.values():
        if lasted_s(run.run) <= longest_s:
            run.problems.extend(replayed_otherwise(run.run))
    night.n_judged = len(night.runs)
    for outcome in outcomes:
        run = found[outcome.run]
        for name, (start, stop) in outcome.span.items():
            outcome.missing += _within(run.missing.get(name, []), start, stop)
            counted = _within(run.counted.get(name, []), start, stop)
            outcome.counted += counted
            if counted and name not in outcome.fault.loses and outcome.away_s < BUFFER_S:
                outcome.failure = outcome.failure or f"{name} lost {counted} samples"
        if outcome.fault.must_lose and not outcome.counted:
            outcome.failure = outcome.failure or "nothing was lost, which cannot be"
    for run in found.values():
        if not run.problems:
            shutil.rmtree(run.run)
    return list(found.values())


def lasted_s(path: Path) -> float:
    """How long a run is, by the longest of its clocks."""
    with open_run(path) as run:
        return max((run.stops[d.name] - d.start) / d.rate_hz for d in run.digitizers)


def _within(spans: Sequence[Span], start: int, stop: int) -> int:
    """Samples of the gaps that begin in a stretch."""
    return sum(b - a for a, b in spans if start <= a < stop)


# --- promises and memory ---


def late(outcomes: Sequence[Outcome]) -> list[str]:
    """Faults after which a service was away for longer than is promised, as a rule."""
    found = []
    for fault in dict.fromkeys(o.fault for o in outcomes if o.worked_s is not None):
        mine = [o for o in outcomes if o.fault == fault]
        for what, promised_s in PROMISED_S.items():
            times = [t for o in mine if (t := getattr(o, what)) is not None]
            if times and median(times) > promised_s:
                found.append(f"{fault.name}: {what} {median(times):.1f}, promised {promised_s:g}")
    return found


@dataclass(frozen=True)
class Growth:
    """What the memory of a process did while nothing was done to it."""

    service: str
    watched_s: float
    first: int  # bytes, as the others
    last: int
    most: int
    per_hour: float
    allowed: float  # per hour: a leak, and what buffers that come and go look like

    @property
    def flat(self) -> bool:
        """Whether it does not grow, as far as can be told in this time."""
        return self.per_hour <= self.allowed


def growths(night: Night, since_s: float) -> list[Growth]:
    """One row for each service that lived all the time since then."""
    found = []
    for (name, _), rows in sorted(night.watch.memory.items()):
        t, rss = np.array(rows, float).T
        seen = t >= since_s
        if t[0] <= since_s and seen.sum() > 1 and t[-1] > night.watch.last_s - LIVED_S:
            found.append(_growth(name, t[seen], rss[seen]))
    return found


def _growth(name: str, t: Floats, rss: Floats) -> Growth:
    """By the least memory of each stretch: what a buffer gives back is no growth."""
    watched_s = float(t[-1] - t[0])
    edges = np.searchsorted(t, np.arange(t[0], t[-1], STRETCH_S))
    least = np.minimum.reduceat(rss, edges)
    slope = float(theilslopes(least, t[edges]).slope) * HOUR_S
    return Growth(
        service=name,
        watched_s=watched_s,
        first=int(rss[0]),
        last=int(rss[-1]),
        most=int(rss.max()),
        per_hour=slope,
        allowed=LEAK_PER_HOUR + COMES_AND_GOES * HOUR_S / watched_s,
    )


# --- the table ---


def table(outcomes: Sequence[Outcome]) -> str:
    """One row of Markdown per fault; of several trials the median and the worst."""
    head = (
        *("fault", "how", "expected", "trials", "respawned [s]", "first work [s]"),
        *("all well [s]", "samples missing", "counted", "result"),
    )
    rows = [head, ("---",) * len(head)]
    for fault in dict.fromkeys(outcome.fault for outcome in outcomes):
        mine = [o for o in outcomes if o.fault == fault]
        failures = [o.failure for o in mine if o.failure]
        rows.append(
            (
                *(fault.name, fault.how, fault.expect, str(len(mine))),
                *(_times([getattr(o, what) for o in mine]) for what in TIMES),
                *(str(sum(getattr(o, what) for o in mine)) for what in ("missing", "counted")),
                "; ".join(failures) or "as expected",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TIMES = ("respawned_s", "worked_s", "recovered_s")


def _times(values: Sequence[float | None]) -> str:
    found = [v for v in values if v is not None]
    if not found:
        return ""
    if len(found) == 1:
        return f"{found[0]:.1f}"
    return f"{median(found):.1f}, {max(found):.1f}"


def growth_table(found: Sequence[Growth]) -> str:
    """One row of Markdown per service."""
    head = (
        *("service", "watched [s]", "RSS at first [MB]", "at last", "most"),
        *("slope [MB/h]", "flat up to [MB/h]"),
    )
    rows = [head, ("---",) * len(head)]
    for g in found:
        megabytes = (g.first, g.last, g.most, g.per_hour, g.allowed)
        shown = [f"{value / 1e6:.0f}" for value in megabytes]
        rows.append((g.service, f"{g.watched_s:.0f}", *shown))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
