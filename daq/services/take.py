"""Take one run with services that are up: begin, watch, end, verify, report."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from daq.errors import (
    CheckError,
    ScheeliteError,
    SilentError,
    StorageError,
)
from daq.report.page import write_report
from daq.report.show import summary
from daq.services import system
from daq.settings.loader import Settings
from daq.store.reader import open_run
from daq.store.verify import verify

WATCH_S = 0.2
STREAMING_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run that is over and was verified."""

    run: Path
    report: Path | None
    records: dict[str, int]
    gaps: int
    livetime_s: dict[str, float]
    seconds: float
    failure: ScheeliteError | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # Any: what a command adds to its JSON

    def json(self) -> dict[str, Any]:
        """What `demo --json` and `replay --json` print."""
        return {
            "run": str(self.run),
            "report": str(self.report) if self.report else None,
            "records": self.records,
            "gaps": self.gaps,
            "livetime_s": self.livetime_s,
            "seconds": self.seconds,
            **self.extra,
        }

    def check(self) -> None:
        """Raise what went wrong, after everything that could be saved was."""
        if self.failure is not None:
            raise self.failure


def take_run(
    settings: Settings, duration_s: float | None, expected_s: float, comment: str, console: Console
) -> Outcome:
    """Record for `duration_s` of samples, or until the streams end; `expected_s` is for the bar."""
    system.wait_until_streaming(settings, STREAMING_S)
    with _interruptible() as interrupted:
        started = system.start_run(settings, comment=comment, duration_s=duration_s)
        run, folder = int(started["number"]), Path(started["run"])
        failure = _watch(settings, run, expected_s, console, interrupted)
        last = system.wait_for_end(settings, run)
    if last["state"] == "failed":
        raise StorageError(f"{last['problem']}; what was safe is in {folder}")
    return _outcome(folder, failure)


def _watch(
    settings: Settings, run: int, expected_s: float, console: Console, interrupted: list[int]
) -> ScheeliteError | None:
    """Show the run until it is over; end it where it must be. What is wrong with it, or None."""
    progress = Progress(
        TextColumn("run {task.fields[run]}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    task = progress.add_task("run", total=expected_s, run=run)
    with Live(console=console, refresh_per_second=5) as live:
        while True:
            core = system.ask(settings, "core", "status")
            if core["run"] != run:
                progress.update(task, completed=expected_s)
                return None
            live.update(Group(progress, _table(core)))
            progress.update(task, completed=core["elapsed_s"])
            silent = _silent(core)
            if silent or interrupted:
                system.ask(settings, "run", "stop", reason=silent or "interrupted")
                return SilentError(silent) if silent else None
            time.sleep(WATCH_S)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that is no longer empty after Ctrl-C or SIGTERM."""
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _frame: asked.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _silent(core: dict[str, Any]) -> str:
    """The sentence about a digitizer that stopped sending, or ""."""
    silent = [name for name, row in core["digitizers"].items() if row["state"] == "silent"]
    if not silent:
        return ""
    names = " and ".join(silent)
    return f"digitizer {names} stopped sending; the run was ended, what came before is safe"


def _table(core: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("channel", "records", "rate /s", "live s"):
        table.add_column(column, justify="left" if column == "channel" else "right")
    for name, row in core["channels"].items():
        cells = (str(row["records"]), f"{row['rate_hz']:.2f}", f"{row['livetime_s']:.1f}")
        table.add_row(name, *cells)
    table.caption = (
        f"gaps {core['gaps']}, lost {core['lost_samples']} samples, "
        f"safe {core['safe']['records']}, unsafe {core['unsafe']}, {core['n_bytes'] / 1e6:.1f} MB"
    )
    return table


def _outcome(folder: Path, failure: ScheeliteError | None) -> Outcome:
    verified = verify(folder)
    with open_run(folder) as run:
        report = write_report(run, folder / "report.html", verified)
        return Outcome(
            run=folder,
            report=report,
            records=run.n_records(),
            gaps=len(run.gaps()),
            livetime_s=run.livetime_s(),
            seconds=max((c.real_s for c in summary(run).channels), default=0.0),
            failure=failure or _unless(verified.ok, verified.problems),
        )


def _unless(ok: bool, problems: list[str]) -> ScheeliteError | None:
    return None if ok else CheckError("the run is not whole: " + "; ".join(problems))
