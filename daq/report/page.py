"""The report of a run as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from daq.errors import StorageError
from daq.model.record import LEDGER, HitKind, titles
from daq.readout.efficiency import Share
from daq.report import efficiency, galleries, pictures, remembered, text
from daq.report.clocks import Clocks
from daq.report.drift import Drift, drift
from daq.report.pictures import Picture
from daq.report.series import all_series
from daq.report.show import RunSummary, causes_of, summarize, vetoes
from daq.report.source import Loaded, RunSource, Verification, load
from daq.report.sums import sums

MAX_GAPS = 50
MAX_MESSAGES = 50
MAX_PROBLEMS = 100
MAX_SERIES = 500
JUMP_KINDS = tuple(kind.name.lower() for kind in HitKind)
# farther than this from the data's own time, the moment of recording is told too
REPLAYED_NS = 3600 * 10**9
FILTERS = {
    "quantity": text.quantity,
    "count": text.count,
    "span": text.span,
    "utc": text.utc,
    "color": pictures.SHARE_COLORS.__getitem__,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """One gap, in its digitizer's samples; `t_ns` None where the clock has no anchor."""

    digitizer: str
    t_ns: int | None
    start: int
    samples: int
    seconds: float
    exact: bool
    cause: str


def write_report(run: RunSource, path: Path, verification: Verification | None) -> Path:
    """Write the report of a run, whole or not at all; the same run gives the same bytes."""
    return write_reports([(run, verification)], path)


def write_reports(
    runs: Sequence[tuple[RunSource, Verification | None]], path: Path, title: str = ""
) -> Path:
    """Write one report of several runs, with what they have together before what each has."""
    alone = len(runs) == 1
    contents = [_content(run, checked, alone=alone) for run, checked in runs]
    rows = [overview(content) for content in contents]
    for row, content in zip(rows, contents, strict=True):
        row["body"] = template("run.html.j2").render(content)
    named = f"Run {rows[0]['run'].run} \N{EN DASH} {rows[0]['run'].name}" if alone else title
    page = template("report.html.j2").render(
        title=named or f"{len(runs)} runs", runs=rows, total=totals(rows)
    )
    return write_page(path, page)


def write_page(path: Path, page: str) -> Path:
    """Write a page, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise StorageError(f"{path}: the report cannot be written: {error.strerror}") from error
    return path


def template(name: str) -> Template:
    """One of our pages, to be filled."""
    environment = Environment(
        loader=PackageLoader("daq.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    environment.globals["share"] = text.share
    return environment.get_template(name)


# Any: what the templates take
def overview(content: dict[str, Any]) -> dict[str, Any]:
    """One run among several."""
    run: RunSummary = content["run"]
    return {
        "run": run,
        "start_ns": content["start_ns"],
        "whole": content["verification"] is not None and content["verification"].ok,
        "labels": " ".join(r.text for r in run.remarks if r.kind == "label"),
        "alarms": content["n_alarms"],
        **sums([run]),
    }


# Any: what the template takes
def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All runs together."""
    return {**sums([row["run"] for row in rows]), "alarms": sum(row["alarms"] for row in rows)}


# Any: what the template takes
def _content(run: RunSource, verification: Verification | None, *, alone: bool) -> dict[str, Any]:
    loaded = load(run)
    numbers, clocks = summarize(loaded), Clocks(loaded)
    start_ns, stop_ns = clocks.span_ns()
    series, said = all_series(loaded.readings), remembered.rows(loaded.messages)
    drifts = [d for d in _drifts(loaded, start_ns, stop_ns) if d.n_line or len(d.noise.x) > 1]
    salted = _salted(run)
    return {
        "prefix": "" if alone else f"r{run.number}-",
        "drifts": drifts,
        "drift_pictures": _drift_pictures(drifts),
        "efficiency": {n: efficiency.sentence(found) for n, found in salted.items()}
        | {c.name: c.threshold for c in numbers.channels if c.threshold},
        "efficiency_pictures": [pictures.efficiency(n, found) for n, found in salted.items()],
        "jumps": _jumps(run),
        "jump_kinds": JUMP_KINDS,
        "alarms": remembered.alarms(said),
        "n_alarms": remembered.n_raised(said),
        "changes": remembered.changes(said),
        "files": run.files(),
        "run": numbers,
        "start_ns": start_ns,
        "stop_ns": stop_ns,
        "recorded_ns": run.start_ns,
        "replayed": abs(run.start_ns - start_ns) > REPLAYED_NS,
        "verification": verification,
        "max_problems": MAX_PROBLEMS,
        "causes": {cause: titles(LEDGER)[cause] for cause in causes_of(numbers.channels)},
        "shares": pictures.shares(numbers.channels),
        "galleries": galleries.galleries(loaded, start_ns, stop_ns),
        "readings": galleries.readings(series, run.start_ns),
        "max_readings": galleries.MAX_READINGS,
        "series": series,
        "max_series": MAX_SERIES,
        "gaps": _gaps(loaded, clocks),
        "messages": said[-MAX_MESSAGES:],
        "settings": run.settings_toml,
    }


def _gaps(loaded: Loaded, clocks: Clocks) -> list[GapRow]:
    digitizers = loaded.run.digitizers
    return [
        GapRow(
            digitizer=digitizers[gap["digitizer"]].name,
            t_ns=clocks.t_ns(int(gap["digitizer"]), int(gap["start"])),
            start=int(gap["start"]),
            samples=int(gap["stop"] - gap["start"]),
            seconds=float(gap["stop"] - gap["start"]) / digitizers[gap["digitizer"]].rate_hz,
            exact=bool(gap["exact"]),
            cause=text.words(gap["cause"]),
        )
        for gap in loaded.gaps[:MAX_GAPS]
    ]


def _drifts(loaded: Loaded, start_ns: int, stop_ns: int) -> list[Drift]:
    """Of the targets, or of all channels where none is one."""
    is_veto = vetoes(loaded.run.channels)
    return [
        drift(channel, table, start_ns, stop_ns)
        for (channel, table, _), veto in zip(loaded.records, is_veto, strict=True)
        if not veto
    ]


def _drift_pictures(drifts: list[Drift]) -> list[Picture]:
    gains = [
        pictures.against_hours(d.name, f"{d.n_line} records", d.gain, "gain, relative")
        for d in drifts
        if d.n_line
    ]
    noise = [pictures.against_hours(d.name, "", d.noise, "noise, relative") for d in drifts]
    return [*gains, *noise]


def _salted(run: RunSource) -> dict[str, list[Share]]:
    """The channels that software added pulses to."""
    rows = run.salts()
    found = {c.name: efficiency.shares(rows, i) for i, c in enumerate(run.channels)}
    return {name: shares for name, shares in found.items() if shares}


def _jumps(run: RunSource) -> dict[str, dict[str, int]]:
    """What the guard found, by channel and kind."""
    rows, found = run.guard(), dict[str, dict[str, int]]()
    for i, channel in enumerate(run.channels):
        kinds = np.bincount(rows["kind"][rows["channel"] == i], minlength=len(JUMP_KINDS) + 1)
        counts = dict(zip(JUMP_KINDS, kinds[1:].tolist(), strict=False))
        if any(counts.values()):
            found[channel.name] = {**counts, "total": sum(counts.values())}
    return found
