"""What `verify`, `show` and `status` say, as tables and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from daq.report.show import summary
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
