"""Alarms as run control tells them: which are new, which are over, and which still call."""

from __future__ import annotations

from collections.abc import Sequence

from gui.model.services import Alarm

TONES = {"critical": "alarm", "warning": "attention", "info": "normal"}


class AlarmWatch:
    """Remembers what stood, to tell what is news."""

    def __init__(self) -> None:
        self._stood: dict[str, tuple[str, str]] = {}

    def news(self, alarms: Sequence[Alarm]) -> list[tuple[str, str]]:
        """(tone, sentence) of everything that has changed since the last time."""
        now = {a.name: (a.state, a.acknowledged_by) for a in alarms}
        said = [(tone(a), sentence(a)) for a in alarms if self._stood.get(a.name) != now[a.name]]
        over = [("normal", f"alarm {name} is over") for name in self._stood if name not in now]
        self._stood = now
        return said + over


def tone(alarm: Alarm) -> str:
    """How loud an alarm is shown."""
    return TONES.get(alarm.severity, "attention") if alarm.calls else "normal"


def sentence(alarm: Alarm) -> str:
    """An alarm in words."""
    said = alarm.sentence or alarm.name
    by = f", seen by {alarm.acknowledged_by}" if alarm.acknowledged_by else ""
    over = " (over)" if alarm.state == "over" else ""
    return f"{said}{over}{by}"


def calling(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Those that somebody has yet to look at, the worst first as run control has them."""
    return [alarm for alarm in alarms if alarm.calls]
