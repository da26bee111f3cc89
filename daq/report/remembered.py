"""What a run's log says of alarms and of changes, picked out of its messages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from daq.model.batch import Rows
from daq.report import text

ALARM = re.compile(r"(again, |nobody acknowledged )?alarm [A-Za-z]")
RAISED = re.compile(r"alarm \S+ \((info|warning|critical)\): ")
# who, to which service, what, and what became of it: as the services tell every command
COMMAND = re.compile(r"\S+( \S+)? to (run control|instruments|core): ")
CHANGES = re.compile(r"takes the control lease|gives the control lease back|safe state|\Anight")
MOST = 200


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One line of the run's own log."""

    t_ns: int
    level: str
    sentence: str


def rows(messages: Rows) -> list[MessageRow]:
    """Messages as text."""
    return [
        MessageRow(int(row["t_ns"]), text.words(row["level"]), text.words(row["text"]))
        for row in messages
    ]


def alarms(messages: list[MessageRow]) -> list[MessageRow]:
    """What became of alarms."""
    return [row for row in messages if ALARM.match(row.sentence)][:MOST]


def n_raised(messages: list[MessageRow]) -> int:
    """How many alarms were raised."""
    return sum(bool(RAISED.match(row.sentence)) for row in messages)


def changes(messages: list[MessageRow]) -> list[MessageRow]:
    """Commands by whom, comments and labels, and what the services did by themselves."""
    return [row for row in messages if _is_change(row)][:MOST]


def _is_change(row: MessageRow) -> bool:
    if row.level in ("comment", "label"):
        return True
    return bool(COMMAND.match(row.sentence) or CHANGES.search(row.sentence))
