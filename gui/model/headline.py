"""What the strip on top says: one word for the run, and every sentence that someone must read."""

from __future__ import annotations

from dataclasses import dataclass

from gui.model.console import Console


@dataclass(frozen=True, slots=True)
class Look:
    """A state as word, shape and tone: "stale", "normal", "attention" or "alarm"."""

    word: str
    shape: str
    tone: str


LOST = Look("LOST", "?", "stale")
LOOKS = {
    "idle": Look("IDLE", "○", "normal"),
    "starting": Look("STARTING", "◐", "attention"),
    "running": Look("RUNNING", "●", "normal"),
    "paused": Look("PAUSED", "‖", "attention"),
    "paused-by-disk": Look("DISK FULL", "▼", "alarm"),
    "stopping": Look("STOPPING", "◑", "attention"),
    "failed": Look("FAILED", "■", "alarm"),
}


def look(console: Console, now_s: float) -> Look:
    """How the run is doing, as far as anyone can tell now."""
    if not console.run.is_fresh(now_s):
        return LOST
    return LOOKS.get(console.run.state, Look(console.run.state.upper(), "▲", "attention"))


def sentences(console: Console, now_s: float) -> list[tuple[str, str]]:
    """(tone, sentence) of everything that stands now, the worst first."""
    services = [console.services[name] for name in console.watched]
    found = [("alarm", f"{s.name}: {s.body.problem}") for s in services if s.body.problem]
    found += [("attention", silence) for s in services if (silence := s.silence(now_s))]
    return found


def emptiness(console: Console, now_s: float) -> str:
    """Why no trace can be seen, and what to do next; empty where there is something to see."""
    if console.rolling.newest_ns:
        return ""
    silence = console.core.silence(now_s)
    if silence:
        return f"no data: {silence}"
    return "no data yet: is the digitizer service up?"
