"""Storms: what the bench's world does by its script, at times that are known beforehand."""

from __future__ import annotations

from typing import Any

from daq.errors import ScheeliteError
from tests.faults.faults import Fault, Inject
from tests.faults.night import Night
from tests.system.chain import until

FIRST_S, EVERY_S, FOR_S = 100.0, 130.0, 8.0  # of the bench's time; one kind after the other
SOON_S = 25.0  # about what another fault takes: a storm that is as near is waited for
FACTOR = 100  # times the usual rate
MORE = 10  # times as many triggers are a storm, whatever of it is throttled
STORM_WAIT_S = 2 * EVERY_S + 60.0
SLIPPING, SLIPS_HZ = "C11", 10.0
KINDS: dict[str, dict[str, Any]] = {  # Any: an entry of the bench's script
    "trigger storm": {"kind": "trigger_storm", "factor": FACTOR},
    "flux-jump storm": {"kind": "unlock_storm", "channel": SLIPPING, "rate_hz": SLIPS_HZ},
}


def weather(spec: dict[str, Any], until_s: float) -> None:
    """Let storms come until then."""
    script = spec.setdefault("scenario", [])
    for i, at_s in enumerate(_times(until_s)):
        entry = list(KINDS.values())[i % len(KINDS)]
        script.append({**entry, "at_s": at_s, "for_s": FOR_S})


def coming(night: Night) -> Fault | None:
    """The storm that begins soon, if one does; while the core is away nobody knows of one."""
    try:
        now_s = _now_s(night)
    except ScheeliteError:
        return None
    soon = _times(now_s + SOON_S)
    return STORMS[(len(soon) - 1) % len(STORMS)] if soon and soon[-1] > now_s else None


def _times(until_s: float) -> list[float]:
    n = max(0, int((until_s - FIRST_S) // EVERY_S) + 1)
    return [FIRST_S + i * EVERY_S for i in range(n)]


def _now_s(night: Night) -> float:
    """The bench's time as far as the core has come."""
    rows = night.core()["digitizers"]
    return min(float(row["next"]) / night.rate_hz(name) for name, row in rows.items())


def _weathered(night: Night, name: str) -> None:
    """The next storm of a kind, from before its begin to its end, by the core's samples."""
    now_s, kind = _now_s(night), list(KINDS).index(name)
    times = _times(now_s + 2 * EVERY_S)[kind :: len(KINDS)]
    at_s = next(t for t in times if t > now_s)
    until(lambda: _now_s(night) > at_s, "the storm", STORM_WAIT_S)
    until(lambda: _now_s(night) > at_s + FOR_S, "the storm's end", STORM_WAIT_S)


def _of_particles(night: Night, _hold_s: float) -> None:
    core = night.core()
    usual, before = _triggers(core) / core["elapsed_s"], _triggers(core)
    _weathered(night, "trigger storm")
    found = (_triggers(night.core()) - before) / FOR_S
    assert found > MORE * usual, f"{found:.0f} triggers/s, {usual:.0f} as usual"


def _of_jumps(night: Night, _hold_s: float) -> None:
    before = _jumps(night)
    _weathered(night, "flux-jump storm")
    found = _jumps(night) - before
    assert found > 0, f"no jump of {SLIPPING} was found"


def _triggers(core: dict[str, Any]) -> int:
    """Those with a record and those without."""
    rows = core["channels"].values()
    return sum(row["records"] + sum(row["drops"].values()) for row in rows)


def _jumps(night: Night) -> int:
    hits = night.core()["channels"][SLIPPING]["guard"]["hits"]
    return sum(hits.values())


def _storm(name: str, how: str, inject: Inject, expect: str) -> Fault:
    return Fault(name=name, how=f"bench: {how}, {FOR_S:g} s", inject=inject, expect=expect)


STORMS = (
    _storm(
        "trigger storm",
        f"particles {FACTOR} x as often",
        _of_particles,
        "records or counted drops of all; no sample is lost",
    ),
    _storm(
        "flux-jump storm",
        f"{SLIPPING} slips {SLIPS_HZ:g} times a second",
        _of_jumps,
        "found and charged, locked anew where need be; no sample is lost",
    ),
)
