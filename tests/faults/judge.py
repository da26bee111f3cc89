"""A run compared with what the bench sent, sample by sample, and with what was ever called safe."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daq.services.rawreplay import replay_run
from daq.store.names import run_number
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from sim_hardware.source import Source
from tests.faults.night import RAW, Night, records_in
from tests.wired_bench import unserved

LOOKS, LENGTH = 20, 20_000  # stretches of each raw stream that are compared with the bench's
Span = tuple[int, int]


@dataclass(frozen=True)
class Judged:
    """One run: what is wrong with it, and what it lost, by digitizer."""

    run: Path
    problems: list[str]
    records: int
    acknowledged: int
    acknowledged_lost: int
    missing: dict[str, list[Span]]  # stretches that the raw stream lacks
    counted: dict[str, list[Span]]  # the gaps that the run tells


def judge(night: Night, run: Path, sources: Mapping[str, Source]) -> Judged:
    """Look at a complete run; `problems` is empty where all is as it must be.

    `sources` are those of `the_same_bench`.
    """
    problems = list(verify(run).problems)
    with open_run(run) as read:
        if not read.complete:
            problems.append("not complete")
        missing, counted = missing_in(read), counted_in(read)
        problems += _unlike(missing, counted) + _other_samples(sources, read)
        records = sum(read.n_records().values())
    lost = night.seen.get(run, set()) - records_in(run)
    acknowledged = night.watch.safe.get(run_number(run), 0)
    n_lost = max(len(lost), acknowledged - records)
    if n_lost > 0:
        problems.append(f"{n_lost} acknowledged records are lost")
    return Judged(run, problems, records, acknowledged, max(n_lost, 0), missing, counted)


def missing_in(run: Run) -> dict[str, list[Span]]:
    """What the pieces of each digitizer's raw stream leave out from the start to the stop."""
    found = {}
    for digitizer in run.digitizers:
        (channel,) = (
            c.name for c in run.channels if c.name in RAW and c.digitizer == digitizer.name
        )
        at, spans = digitizer.start, []
        for row in run.raw_pieces(channel):
            if row["start"] != at:
                spans.append((at, int(row["start"])))
            at = int(row["stop"])
        if at != run.stops[digitizer.name]:
            spans.append((at, run.stops[digitizer.name]))
        found[digitizer.name] = spans
    return found


def counted_in(run: Run) -> dict[str, list[Span]]:
    """The gaps that the run tells, neighbors joined."""
    found: dict[str, list[Span]] = {digitizer.name: [] for digitizer in run.digitizers}
    names = [digitizer.name for digitizer in run.digitizers]
    for row in np.sort(run.gaps(), order=["digitizer", "start"]):
        spans, start, stop = found[names[row["digitizer"]]], int(row["start"]), int(row["stop"])
        if spans and spans[-1][1] == start:
            start = spans.pop()[0]
        spans.append((start, stop))
    return found


def _unlike(missing: dict[str, list[Span]], counted: dict[str, list[Span]]) -> list[str]:
    return [
        f"{name}: {missing[name]} is missing, {counted[name]} is counted"
        for name in missing
        if missing[name] != counted[name]
    ]


def _other_samples(sources: Mapping[str, Source], run: Run) -> list[str]:
    """Where a raw stream is not what the bench sent: at its edges, and here and there."""
    problems = []
    for channel in (c for c in run.channels if c.name in RAW):
        source, dice = sources[channel.digitizer], random.Random(channel.name)
        row = source.channels.index(channel.name)
        pieces = run.raw_pieces(channel.name)
        chosen = set(dice.sample(range(len(pieces)), min(LOOKS, len(pieces))))
        chosen |= {i for i in range(1, len(pieces)) if pieces["start"][i] != pieces["stop"][i - 1]}
        for i, (start, samples) in enumerate(run.raw(channel.name)):
            if i not in chosen:
                continue
            stop = start + min(len(samples), LENGTH)
            if not np.array_equal(source.samples(start, stop)[row], samples[: stop - start]):
                problems.append(f"{channel.name}: other samples than were sent from {start} on")
    return problems


@contextmanager
def the_same_bench(night: Night) -> Iterator[dict[str, Source]]:
    """The samples that the bench of a night sent until now, by digitizer: from its command log."""
    (log,) = Path(night.spec["truth_dir"]).glob("commands-*.jsonl")
    same = {"commands": str(log), "pace": "flat-out", "truth_dir": None, "control_port": None}
    digitizers = {n: {**each, "port": 0} for n, each in night.spec["digitizers"].items()}
    with unserved({**night.spec, **same, "digitizers": digitizers}) as sources:
        yield sources


def replayed_otherwise(run: Path) -> list[str]:
    """What the same pipeline, undisturbed, makes of the raw streams, where it is something else."""
    out = run.parent.parent / "replayed"
    try:
        return [f"replayed: {each}" for each in replay_run(run, out).differences]
    finally:
        shutil.rmtree(out, ignore_errors=True)
