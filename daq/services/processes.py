"""Our own processes: which run, whether a pid is still ours, and what is remembered of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil

from daq.errors import StorageError

STATE_FILE = "up.json"
CONFIG_FILE = "up.toml"  # the config as it was when all this was started
LOGS = "logs"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that we started: its pid means it only together with when it was created."""

    pid: int
    created: float  # clock ticks after the machine's start: setting the wall clock changes it not
    state: str = "up"
    restarts: int = 0
    problem: str = ""


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """What `up` started, as `down` and `status` find it."""

    config: str
    supervisor: Process
    services: dict[str, Process] = {}


def described(pid: int, **more: object) -> Process:
    """A running process of ours."""
    return msgspec.convert({"pid": pid, "created": _born(pid), **more}, Process)


def alive(process: Process) -> bool:
    """Whether this very process still runs."""
    try:
        found = psutil.Process(process.pid)
        same = _born(process.pid) == process.created
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _born(pid: int) -> float:
    """When a process was started; psutil.NoSuchProcess. Its create_time moves with the clock."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(pid) from error
    return float(words.rpartition(")")[2].split()[19])  # field 22 of proc(5)


def remember(runtime: Path, up: Up) -> None:
    """Write what runs for others to find, whole or not at all."""
    part = runtime / f"{STATE_FILE}.{os.getpid()}.part"
    try:
        part.write_bytes(msgspec.json.encode(up))
        part.replace(runtime / STATE_FILE)
    except OSError as error:
        raise StorageError(f"{part}: cannot be written: {error.strerror}") from error


def remembered(runtime: Path) -> Up | None:
    """What was started here last; None where nothing was, or nothing readable is left."""
    try:
        return msgspec.json.decode((runtime / STATE_FILE).read_bytes(), type=Up)
    except (OSError, msgspec.DecodeError):
        return None


def forget(runtime: Path) -> None:
    """Nothing of ours runs any more."""
    (runtime / STATE_FILE).unlink(missing_ok=True)


def still_alive(up: Up) -> list[str]:
    """Names of what still runs, supervisor included."""
    everything: Mapping[str, Process] = {"supervisor": up.supervisor, **up.services}
    return [name for name, process in everything.items() if alive(process)]


def last_words(log: Path) -> str:
    """The last line that a service wrote, which is its sentence when it failed."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def private_folder(path: Path) -> Path:
    """A folder that only this user can enter, made if need be."""
    try:
        path.mkdir(0o700, parents=True, exist_ok=True)
        if path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
            raise StorageError(f"{path}: expected a folder that only this user can enter")
    except OSError as error:
        raise StorageError(f"{path}: cannot be made: {error.strerror}") from error
    return path


def write_json(path: Path, value: object) -> None:
    """A small JSON file for a process that is about to start."""
    path.write_text(json.dumps(value), encoding="utf-8")
