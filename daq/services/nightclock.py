"""UTC as run control's timers see it: the machine's, or faster beside a bench that is.

Alarms' graces and the steps of a night go by it; leases, lost services and mail do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from daq.settings.loader import Settings
from daq.settings.watch import Night
from daq.store import disk

FILE = "clock.json"


class _Began(msgspec.Struct, frozen=True):
    began_ns: int


def night_clock(
    speed: float, runtime: Path, now_ns: Callable[[], int] = time.time_ns
) -> Callable[[], int]:
    """UTC [ns] that goes `speed` times as fast since it was first asked for in `runtime`."""
    if speed == 1.0:
        return now_ns
    path = runtime / FILE
    try:
        began_ns = msgspec.json.decode(path.read_bytes(), type=_Began).began_ns
    except (OSError, msgspec.DecodeError):
        began_ns = now_ns()
        disk.publish(path, msgspec.json.encode(_Began(began_ns)))
    return lambda: began_ns + round((now_ns() - began_ns) * speed)


def speed_of(settings: Settings) -> float:
    """Simulated seconds per second, by the config."""
    night = settings.sections.get("night")
    return night.speed if isinstance(night, Night) else 1.0


def start_anew(runtime: Path) -> None:
    """All services begin: so does their time."""
    (runtime / FILE).unlink(missing_ok=True)
