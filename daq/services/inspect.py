"""What `verify`, `show` and `status` say, as tables and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from daq.report.show import RunSummary, causes_of, summary
from daq.services.doctor import Finding, first_broken
from daq.services.efficiency import efficiencies, efficiency_text
from daq.store.reader import open_run
from daq.store.verify import Report, verify


def verify_all(paths: list[Path]) -> Report:
    """One report over several runs or files; records are added up by channel."""
    problems: list[str] = []
    records: dict[str, int] = {}
    for path in paths:
        report = verify(path)
        problems += report.problems
        for name, n in report.records.items():
            records[name] = records.get(name, 0) + n
    return Report(ok=not problems, problems=problems, records=records)


# Any: JSON
def summary_json(path: Path) -> dict[str, Any]:
    """What `show --json` prints."""
    with open_run(path) as run:
        return {**asdict(summary(run)), "efficiency": efficiencies(run)}


def summary_table(path: Path) -> Group:
    """What `show` prints."""
    with open_run(path) as run:
        told = summary(run)
    head = Table(box=None, show_header=False, pad_edge=False)
    for label, value in (
        ("run", f"{told.run} ({told.state})"),
        ("folder", told.folder),
        ("comment", told.comment or "none"),
        *((r.kind, escape(f"{r.t} {r.text}")) for r in told.remarks),
        ("start", told.start),
        ("duration", f"{told.duration_s:.3f} s"),
        ("events", f"{told.events.events}, {told.events.with_veto} with a veto channel"),
        ("tagged", _tagged(told)),
        ("gaps", f"{told.gaps.gaps} ({told.gaps.samples} samples)"),
        ("readings", str(told.readings)),
        ("size", f"{told.n_bytes / 1e6:.2f} MB"),
    ):
        head.add_row(label, str(value))
    return Group(head, _channel_table(told), *_salts_told(path))


def _salts_told(path: Path) -> list[Text]:
    """What salts and noise say of each channel's triggers."""
    with open_run(path) as run:
        salted = {name: efficiency_text(e) for name, e in efficiencies(run).items()}
        return [Text(f"{name}: {said}") for name, said in (salted | dict(run.thresholds)).items()]


def _tagged(told: RunSummary) -> str:
    """How many events each window tags."""
    events = told.events
    each = [f"{t.events} in {t.window}" + " (gate)" * (t.kind == "gate") for t in events.tagged]
    return f"{events.vetoed} vetoed" + (f": {', '.join(each)}" if each else "")


def _channel_table(told: RunSummary) -> Table:
    table = Table(box=None)
    causes = causes_of(told.channels)
    for column in (
        "channel",
        "records",
        "rate /s",
        "live s",
        "live %",
        "g d",
        "dropped",
        *(f"{c} s" for c in causes),
    ):
        table.add_column(column, justify="left" if column == "channel" else "right")
    for c in told.channels:
        rate = "" if c.rate_hz is None else f"{c.rate_hz:.3f}"
        share = f"{100 * c.live_s / c.real_s:.2f}" if c.real_s else ""
        dead = [f"{c.dead_s[cause]:.3f}" for cause in causes]
        exposure = f"{c.exposure_g_d:.6f}" if c.exposure_g_d else ""
        dropped = str(sum(c.dropped.values()))
        dropped += f" + {c.blinded} blinded" if c.blinded else ""
        live = f"{c.live_s:.3f}"
        table.add_row(c.name, str(c.records), rate, live, share, exposure, dropped, *dead)
    return table


COLORS = {"lost": "red", "given up": "red", "failed": "red", "silent": "yellow", "down": "dim"}


# Any: the JSON of `status`
def status_table(told: dict[str, Any]) -> Group:
    """What `status` prints."""
    head = f"{_colored(told['state'])}  {told['run'] or 'no run'}"
    table = Table(box=None)
    for column in ("service", "pid", "state", "restarts", "problem"):
        table.add_column(column)
    for name, row in told["services"].items():
        restarts = str(row.get("restarts", 0))
        pid = str(row["pid"] or "")
        table.add_row(name, pid, _colored(row["state"]), restarts, escape(row.get("problem", "")))
    problem = [Text(told["problem"], style="red")] if told["problem"] else []
    return Group(Text.from_markup(head), table, *_channels_told(told), *problem)


# Any: the JSON of `status`
def _channels_told(told: dict[str, Any]) -> list[Table]:
    """Exposure of the targets and what salts say of their triggers, in a run."""
    channels = told.get("channels") or {}
    rows = [(n, c) for n, c in channels.items() if c.get("exposure_g_d") or c.get("threshold")]
    if not rows:
        return []
    table = Table(box=None)
    for column in ("channel", "live s", "g d", "threshold"):
        table.add_column(column)
    for name, c in rows:
        threshold = c["threshold"]["text"] if c.get("threshold") else ""
        table.add_row(name, f"{c['livetime_s']:.1f}", f"{c['exposure_g_d']:.6f}", threshold)
    total = sum(c["exposure_g_d"] for _, c in rows)
    table.add_row("all", "", f"{total:.6f}", "")
    return [table]


def findings_table(findings: list[Finding]) -> Group:
    """What `doctor` prints: every link, and below them where to begin."""
    table = Table(box=None, show_header=False)
    for found in findings:
        mark = "[green]✓[/green]" if found.ok else "[red]✗[/red]"
        table.add_row(mark, found.link, escape(found.said))
    broken = first_broken(findings)
    if broken is None:
        return Group(table, Text("every link holds"))
    mend = f" {broken.mend}" if broken.mend else ""
    return Group(table, Text(f"begin at {broken.link}: {broken.said}.{mend}", style="bold"))


def _colored(state: str) -> str:
    color = COLORS.get(state)
    return f"[{color}]{state}[/{color}]" if color else state
