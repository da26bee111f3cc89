"""The simulated bench as a process of its own: started, listened to, ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daq.errors import InstrumentError, UsageError
from daq.services import processes
from daq.settings.loader import Settings
from daq.store import disk

END_S = 10.0
TRUTH = "truth"  # a folder beside those of the runs


def run_bench(settings: Settings, json_: bool, commands: Path | None = None) -> int:
    """The bench of a config in the foreground; its exit code.

    One that is told a command log once more goes as fast as somebody reads.
    """
    bench = settings.sections.get("bench")
    if bench is None:
        raise UsageError(f"{settings.path} has no [bench] to simulate")
    spec = bench.model_dump(mode="json")
    if commands is not None:
        spec |= {"commands": str(commands), "pace": "flat-out", "speed": 1.0}
    with tempfile.TemporaryDirectory(prefix="scheelite-") as folder:
        path = Path(folder) / "bench.json"
        processes.write_json(path, spec)
        command = [sys.executable, "-m", "sim_hardware", "bench", str(path)]
        child = subprocess.Popen([*command, *(["--json"] if json_ else [])])
        return _attended(child)


# Any: the bench's section is JSON to us; sim_hardware checks it
def keep_truth(spec: dict[str, Any], data_dir: Path) -> None:
    """Let the bench write what is true beside the runs, where the config says no other place."""
    if spec.get("truth_dir") is None:
        folder = data_dir / TRUTH
        with disk.naming("keep the truth in", folder):
            folder.mkdir(parents=True, exist_ok=True)
        spec["truth_dir"] = str(folder)


def _attended(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child that shares our terminal; SIGTERM for us is SIGTERM for it."""
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()


@contextmanager
def simulator(
    kind: str, spec: dict[str, Any], log: Path
) -> Iterator[list[dict[str, Any]]]:  # Any: JSON, validated by the process that gets it
    """`python -m sim_hardware KIND` for the length of a with block: what it announced."""
    path = log.with_suffix(".json")
    processes.write_json(path, spec)
    command = [sys.executable, "-m", "sim_hardware", kind, str(path), "--json"]
    with log.open("ab") as words:
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=words, start_new_session=True
        )
    try:
        yield _announced(child, kind, spec, log)
    finally:
        _end(child)


def _announced(
    child: subprocess.Popen[bytes], kind: str, spec: dict[str, Any], log: Path
) -> list[dict[str, Any]]:
    assert child.stdout is not None
    expected = _expected(kind, spec)
    announced: list[dict[str, Any]] = []
    while len(announced) < expected:
        line = child.stdout.readline()
        if not line:
            code = child.wait()
            words = processes.last_words(log) or f"it ended with exit code {code}"
            raise (UsageError if code == 2 else InstrumentError)(f"the bench: {words}")
        announced.append(json.loads(line))
    return announced


def _expected(kind: str, spec: dict[str, Any]) -> int:
    if kind != "bench":
        return 1
    control = spec.get("control_port") is not None
    return control + sum(len(spec.get(part) or {}) for part in ("digitizers", "instruments"))


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    assert child.stdout is not None
    child.stdout.close()
