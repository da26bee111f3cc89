"""Who commands, and by what right."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or program as the log names it; the control lease was taken with `ticket`."""

    who: str = ""
    ticket: str = ""


NOBODY = Operator()
