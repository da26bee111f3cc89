"""Where benchmarks leave their figures: build/bench.json and the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parents[2] / "build" / "bench.json"


def note(name: str, value: float, unit: str, ratio: float | None = None, against: str = "") -> None:
    """Keep one figure; `ratio` is to `against`, measured in the same run."""
    RESULTS.parent.mkdir(exist_ok=True)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    rows = [row for row in rows if row["name"] != name]
    rows.append({"name": name, "value": value, "unit": unit, "ratio": ratio, "against": against})
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    compared = f"  ({ratio:.4g} of {against})" if ratio is not None else ""
    print(f"\n{name}: {value:.4g} {unit}{compared}", end="")


def memcpy_s(n_bytes: int) -> float:
    """CPU seconds that a plain copy of this many bytes takes here and now, 64 MB at a time."""
    size = 64 << 20
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    target[:] = source
    times = []
    for _ in range(7):
        began = time.process_time()
        target[:] = source
        times.append(time.process_time() - began)
    return float(np.median(times)) * n_bytes / size
