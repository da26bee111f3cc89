"""`scheelite report`: one page about one run, or about all runs of a night."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or one night's folder.")],
    out: Annotated[Path | None, typer.Option(help="The page; default: beside the data.")] = None,
    title: Annotated[str, typer.Option(help="What several runs are called together.")] = "",
    json_: AsJson = False,
) -> None:
    """Write one self-contained page with pictures about runs, and whether they are whole.

    Exits 1 where a run is not.
    """
    told = write(runs, out, title)
    if json_:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        sys.stdout.write(f"{told['report']}\n")
    raise SystemExit(0 if told["whole"] else 1)


def write(paths: list[Path], out: Path | None, title: str = "") -> dict[str, Any]:
    """The page's path, whether all runs are whole, and their sums. Any: JSON."""
    from daq.report.page import write_reports
    from daq.report.sums import sums_of
    from daq.services.nightrun import JOURNAL, REPORT, read_journal
    from daq.store.names import run_folder
    from daq.store.reader import open_run
    from daq.store.verify import verify

    folders = list(paths)
    if len(paths) == 1 and (paths[0] / JOURNAL).exists():
        journal = read_journal(paths[0])
        numbers = [run for row in journal.rows for run in row.runs]
        folders = [run_folder(paths[0].absolute().parents[1], run) for run in numbers]
        title, out = title or f"Night {journal.name}", out or paths[0] / REPORT
    read = [open_run(folder) for folder in folders]
    checked = [(run, verify(run.folder)) for run in read]
    where = out or read[0].folder / REPORT
    write_reports(checked, where, title)
    return {
        "report": str(where),
        "whole": all(verified.ok for _, verified in checked),
        "runs": [str(run.folder) for run in read],
        **sums_of(read),
    }
