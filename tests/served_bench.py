"""One simulated instrument of each model that the bench can serve, for tests that speak to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from sim_hardware.bench import OpenBench
from sim_hardware.settings import Bench, BenchInstrument

JOIN_S = 10.0
MODELS: tuple[str, ...] = get_args(BenchInstrument.model_fields["model"].annotation)


@contextmanager
def serving(models: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    """A bench with instruments of these models by name, on free ports; name -> resource."""
    instruments = {name: _instrument(model, folder) for name, model in models.items()}
    opened = OpenBench(Bench.model_validate({"seed": 1, "instruments": instruments}))
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield {each.name: each.resource for each in opened.announced}
    finally:
        opened.stop()
        thread.join(JOIN_S)
        assert not thread.is_alive()


# Any: the [bench] table
@contextmanager
def served_apart(table: dict[str, Any], folder: Path) -> Iterator[dict[str, str]]:
    """A bench of this [bench] table in a process of its own; name -> resource."""
    path = folder / "bench.json"
    path.write_text(json.dumps(table))
    command = [sys.executable, "-m", "sim_hardware", "bench", str(path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        n = len(table["digitizers"]) + len(table.get("instruments", {}))
        said = [json.loads(process.stdout.readline()) for _ in range(n)]
        try:
            yield {each["name"]: each["resource"] for each in said}
        finally:
            process.terminate()
    assert process.returncode == 0


# Any: the settings of a model
def _instrument(model: str, folder: Path) -> dict[str, Any]:
    own = {"bluefors-logs": {"folder": str(folder), "every_s": 0.1}}
    return {"model": model, **own.get(model, {})}
