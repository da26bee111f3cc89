"""The run in words: what is written where, what room there is, who commands, who is well."""

from __future__ import annotations

from collections.abc import Iterator

from gui.model.array import told
from gui.model.console import Console
from gui.model.text import NONE, age, clock, count, duration, number

Row = tuple[str, str, str]  # name, value, tone
QUIET = ("idle", "running", "streaming", "waiting", "ended", "folding")


def facts(console: Console, now_s: float) -> list[Row]:
    """(name, value with unit, tone), the same names always."""
    run_tone = "normal" if console.run.is_fresh(now_s) else "stale"
    core_tone = "normal" if console.core.is_fresh(now_s) else "stale"
    found = [(name, value, run_tone) for name, value in _of_run(console)]
    return found + [(name, value, core_tone) for name, value in _of_core(console)]


def _of_run(console: Console) -> Iterator[tuple[str, str]]:
    body = console.run.body
    yield "run", NONE if body.run is None else str(body.run)
    yield "folder", body.folder or NONE
    yield "elapsed", duration(body.elapsed_s) if body.run is not None else NONE
    last = body.last or {}
    yield "last run", f"{last.get('run')}: {last.get('reason', '')}" if last else NONE
    yield "lease", lease_text(console)
    night = told(console.run.told, "night")
    if night:
        outcome = f": {night['outcome']}" if night.get("outcome") else ""
        yield "night", f"{night.get('name')}, {night.get('state')}, {night.get('part')}{outcome}"
    if console.run.told.get("web"):
        yield "page for a phone", str(console.run.told["web"])


def _of_core(console: Console) -> Iterator[tuple[str, str]]:
    body = console.core.body
    yield "label", body.label or "none"
    live = [c.livetime_s for c in body.channels.values()]
    yield "live time", f"{duration(min(live))} to {duration(max(live))}" if live else NONE
    yield "exposure", exposure_text(body.exposure_g_d)
    yield "written", f"{body.n_bytes / 1e6:.1f} MB before compression"
    yield "safe", f"{count(body.safe.records)} records, {count(body.unsafe)} on their way"
    yield "lost", f"{count(body.lost_samples)} samples in {count(body.gaps)} gaps"
    yield "room on the disk", disk_text(body.disk_hours_left)


def disk_text(hours: float | None) -> str:
    """How long a run can still write."""
    if hours is None:
        return NONE
    return f"{number(hours, 3)} h" if hours < 1000 else f"{number(hours / 24, 3)} d"


def exposure_text(g_d: float) -> str:
    """Live time times mass of all crystals."""
    return f"{number(g_d, 3)} g·d"


def lease_text(console: Console) -> str:
    """Who commands, and until when."""
    held = console.run.body.lease
    if held is None:
        return "nobody: anybody may command"
    mine = " (you)" if held.who == console.about.operator else ""
    return f"{held.who}{mine} until {clock(held.until_ns)} UTC"


def service_rows(console: Console, now_s: float) -> list[tuple[tuple[str, str, str, str], str]]:
    """For each service (name, state, age of its news, what it says) and a tone."""
    rows = []
    for name, service in console.services.items():
        quiet_s = service.quiet_s(now_s)
        said = service.body.problem or _told(console, name)
        heard = "never" if quiet_s is None else f"{age(quiet_s)} ago"
        tone = "normal" if service.is_fresh(now_s) else "stale"
        if service.is_fresh(now_s) and service.body.problem:
            tone = "attention" if service.state in QUIET else "alarm"
        rows.append(((name, service.state or "lost", heard, said), tone))
    return rows


def _told(console: Console, name: str) -> str:
    """What a service says of its work, in a few words."""
    body = console.services[name].told
    if name.startswith("digitizer.") and "rate_hz" in body:
        lost = count(int(body.get("lost_samples", 0)))
        return f"{number(body['rate_hz'] / 1e3)} kS/s, {lost} samples lost"
    if name == "instruments":
        states = [health.state for health in console.instruments.body.instruments.values()]
        return f"{states.count('ok')} of {len(states)} instruments well"
    return ""
