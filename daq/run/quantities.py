"""Every number that the services tell, under one name each: what alarms, plans and pages watch.

A reading is INSTRUMENT.PARAMETER as in the run file; what is of a channel is channels.NAME.WHAT,
of its live time channels.NAME.dead_s.CAUSE; the rest is run.WHAT, disk.WHAT, digitizers.NAME.WHAT,
services.NAME.WHAT.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from daq.model.record import DEAD_CAUSES

# name -> unit; the names are those of the core's state
OF_CHANNEL = {"rate_hz": "Hz", "records": "", "livetime_s": "s", "exposure_g_d": "g d"}
OF_GUARD = {"jumps": "", "jumps_per_h": "1/h", "quanta": ""}  # where its SQUID is watched over
OF_RUN = {
    "recording": "", "elapsed_s": "s", "records": "", "exposure_g_d": "g d", "n_bytes": "B",
    "gaps": "", "lost_samples": "", "unsafe": "",
}  # fmt: skip
OF_DISK = {"hours_left": "h"}
OF_DIGITIZER = {"silent": ""}
OF_SERVICE = {"lost": ""}
OF_INSTRUMENT = {"trouble": ""}

# Any: the bodies of states are JSON, documented in the services' modules
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number now; `value` None where there is none, `stale` where it is too old to be told."""

    value: float | None
    unit: str = ""
    stale: bool = False


def known(
    channels: Iterable[str],
    digitizers: Iterable[str],
    services: Iterable[str],
    readings: Mapping[str, str],
) -> dict[str, str]:
    """Name -> unit of every quantity that a config's services can tell."""
    found = dict(readings)
    for channel in channels:
        found |= {f"channels.{channel}.{name}": unit for name, unit in OF_CHANNEL.items()}
        found |= {f"channels.{channel}.{name}": unit for name, unit in OF_GUARD.items()}
        found |= {f"channels.{channel}.dead_s.{cause}": "s" for cause in DEAD_CAUSES}
    groups = (
        ("run", OF_RUN),
        ("disk", OF_DISK),
        *((f"digitizers.{name}", OF_DIGITIZER) for name in digitizers),
        *((f"services.{name}", OF_SERVICE) for name in services),
        *((f"instruments.{name}", OF_INSTRUMENT) for name in dict.fromkeys(_firsts(readings))),
    )
    for prefix, units in groups:
        found |= {f"{prefix}.{name}": unit for name, unit in units.items()}
    return found


def gathered(
    core: Body | None, instruments: Body | None, services: Mapping[str, Body]
) -> dict[str, Quantity]:
    """All quantities now; None for a service without news, whose quantities are then missing."""
    found = {f"services.{n}.lost": _flag(row["state"] == "lost") for n, row in services.items()}
    if core is not None:
        found |= dict(_of_core(core))
    if instruments is not None:
        found |= dict(_of_instruments(instruments))
    return found


def _of_core(core: Body) -> Iterator[tuple[str, Quantity]]:
    channels: Body = core["channels"]
    for channel, row in channels.items():
        for name, unit in OF_CHANNEL.items():
            yield f"channels.{channel}.{name}", _number(row[name], unit)
        guard = row.get("guard") or {}
        for name, unit in OF_GUARD.items():
            yield f"channels.{channel}.{name}", _number(guard.get(name), unit)
        for cause, seconds in row["dead_s"].items():
            yield f"channels.{channel}.dead_s.{cause}", _number(seconds, "s")
    sums = {n: sum(row[n] for row in channels.values()) for n in ("records", "exposure_g_d")}
    told = {**core, **sums, "recording": core["run"] is not None}
    for name, unit in OF_RUN.items():
        yield f"run.{name}", _number(told[name], unit)
    yield "disk.hours_left", _number(core["disk_hours_left"], "h")
    for name, row in core["digitizers"].items():
        yield f"digitizers.{name}.silent", _flag(row["state"] in ("silent", "absent"))


def _of_instruments(told: Body) -> Iterator[tuple[str, Quantity]]:
    for name, row in told["readings"].items():
        stale = bool(row["stale"]) or row["source"] == "error"
        yield name, _number(row["value"], row["unit"], stale=stale)
    for name, row in told["instruments"].items():
        yield f"instruments.{name}.trouble", _flag(row["state"] in ("trouble", "dead"))


def _number(value: object, unit: str, *, stale: bool = False) -> Quantity:
    if isinstance(value, (bool, int, float)) and isfinite(value):
        return Quantity(float(value), unit, stale)
    return Quantity(None, unit, stale)


def _flag(set_: bool) -> Quantity:
    return Quantity(float(set_))


def _firsts(names: Iterable[str]) -> Iterator[str]:
    return (name.partition(".")[0] for name in names)
