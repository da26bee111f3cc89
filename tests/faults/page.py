"""docs/reliability.md: what stands between its marks is the output of `make soak`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path


def put(page: Path | None, mark: str, text: str) -> None:
    """Print a part of the page, and write it between its two marks where there is a page."""
    print(f"\n{text}")
    if page is None:
        return
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    assert found, f"{page}: expected {begin!r} in it"
    assert found_end, f"{page}: expected {end!r} in it"
    page.write_text(before + begin + text + "\n" + end + after, encoding="utf-8")


def told_of(seed: int, seconds: float) -> str:
    """When, where and from which seed."""
    cores, load = os.cpu_count(), os.getloadavg()[2]
    return (
        f"Seed {seed}, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} minutes on {cores} cores "
        f"({platform.machine()}, Python {platform.python_version()}); load of the machine over the "
        f"last 15 minutes {load:.1f}."
    )


def row(values: Mapping[str, object]) -> str:
    """A table of one row."""
    rows = (values, ["---"] * len(values), values.values())
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
