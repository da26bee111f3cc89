"""What an operator writes into a run while it is recorded: pauses, comments and labels.

Each is a row of the run's messages with the time it was given; a pause is a cause of dead time,
exact to the sample, and a label holds until the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:  # half a second, and run control needs the arguments alone
    from daq.services.recording import Recording

LABELS = ("A", "B", "C", "ignore")
Label = Literal["A", "B", "C", "ignore"]
LONGEST = 160  # characters of a comment, so that it and its author fit into one row


class Comment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "comment": a sentence, and who says it."""

    text: Annotated[str, Meta(min_length=1, max_length=LONGEST)]
    who: Annotated[str, Meta(max_length=64)] = ""


class SetLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of "label": what the run's data are from now on."""

    label: Label


def pause(recording: Recording) -> dict[str, int]:
    """No more records, in any channel; from which samples. Whole streams are still taken in."""
    return recording.dead("paused", [c.name for c in recording.facts.channels])


def resume(recording: Recording) -> dict[str, int]:
    """Records again; until which samples there were none."""
    return recording.alive("paused", [c.name for c in recording.facts.channels])


def comment(recording: Recording, said: Comment, t_ns: int) -> None:
    """A sentence of a person; durable when this returns."""
    text = f"{said.who}: {said.text}" if said.who else said.text
    recording.keep_comment(t_ns, text)


def set_label(recording: Recording, label: Label, t_ns: int) -> dict[str, int]:
    """The data are of this kind from now on; from which samples, of all digitizers."""
    recording.keep_message(t_ns, "label", label)
    return recording.set_label(label)
