"""All keys of the console: what the help shows, what the guide prints, what the windows bind."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Key:
    """One key: as Qt writes it, the name of what it does, and that in words."""

    key: str
    does: str
    words: str


PANELS: Final = (
    "Traces", "Records", "Noise", "Spectrum", "Rates", "SQUID/TES", "Fridge", "Run", "Log",
)  # fmt: skip
KEYS: Final = (
    Key("Ctrl+R", "start", "start a run"),
    Key("Ctrl+.", "stop", "stop the run, after a question"),
    Key("Ctrl+P", "pause", "pause the run, or resume it"),
    Key("Space", "freeze", "hold all plots still, or let them go"),
    Key("A", "follow", "let ranges follow the data, or hold them"),
    Key("L", "log", "logarithmic or linear axis of the plot in front"),
    *(Key(str(i), f"panel {name}", f"show {name}") for i, name in enumerate(PANELS, 1)),
    Key("Left", "left", "select the channel to the left in the array"),
    Key("Right", "right", "select the channel to the right"),
    Key("Up", "up", "select the channel above"),
    Key("Down", "down", "select the channel below"),
    Key("Ctrl+D", "doctor", "ask why there are no data"),
    Key("Ctrl+K", "acknowledge", "acknowledge the worst alarm that calls"),
    Key("Ctrl+T", "theme", "light or dark"),
    Key("Ctrl+0", "reset", "put all panels back where they belong"),
    Key("?", "help", "show all keys"),
)


def table() -> str:
    """The keys as a table of a page."""
    rows = [f"| `{key.key}` | {key.words} |" for key in KEYS]
    return "\n".join(["| key | what it does |", "| --- | --- |", *rows, ""])


if __name__ == "__main__":  # for docs/howto/console.md
    sys.stdout.write(table())
