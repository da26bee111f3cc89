"""Run states are data: one table of allowed moves, drawn by the docs and walked by the tests."""

from __future__ import annotations

from daq.errors import RefusedError

# state -> move -> next state
MOVES: dict[str, dict[str, str]] = {
    "idle": {"start": "starting", "adopt": "running"},
    "starting": {"begin": "running", "fail": "failed"},
    "running": {
        "pause": "paused",
        "comment": "running",
        "label": "running",
        "stop": "stopping",
        "end": "stopping",
        "no room": "paused-by-disk",
        "fail": "failed",
    },
    "paused": {
        "resume": "running",
        "comment": "paused",
        "label": "paused",
        "stop": "stopping",
        "end": "stopping",
        "no room": "paused-by-disk",
        "fail": "failed",
    },
    "paused-by-disk": {
        "stop": "stopping",
        "end": "stopping",
        "room": "running",
        "room in a pause": "paused",
        "fail": "failed",
    },
    "stopping": {"complete": "idle", "fail": "failed"},
    "failed": {"start": "starting", "adopt": "running"},
}
# moves that an operator asks for; the others are what happens
VERBS = ("start", "pause", "resume", "comment", "label", "stop")


class RunState:
    """Where run control stands."""

    def __init__(self) -> None:
        self.name = "idle"

    @property
    def verbs(self) -> list[str]:
        """What an operator may ask for now."""
        return [verb for verb in VERBS if verb in MOVES[self.name]]

    def move(self, move: str) -> None:
        """Take a move of the table; RefusedError names what is allowed."""
        self.check(move)
        self.name = MOVES[self.name][move]

    def check(self, move: str) -> None:
        """RefusedError where the table does not have the move here."""
        if move not in MOVES[self.name]:
            allowed = ", ".join(self.verbs) or "nothing but to wait"
            raise RefusedError(f"run control is {self.name}, which allows {allowed}; found {move}")

    def allows(self, move: str) -> bool:
        """Whether the table has the move here."""
        return move in MOVES[self.name]
