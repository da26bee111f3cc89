"""What Lake Shore controllers share that report a refused command in *ESR?."""

from __future__ import annotations

import enum

from daq.errors import OutOfRangeError, ReplyError
from drivers.instrument import Instrument


class Refusal(enum.IntFlag):
    """The bits of *ESR? that mean a command was not done."""

    QUERY = 4
    EXECUTION = 16
    COMMAND = 32


class StatusChecked(Instrument):
    """Commands are sent with `;*ESR?` behind them: only there is a refusal to be seen."""

    def _command(self, text: str) -> None:
        answer = self.link.ask(f"{text};*ESR?")
        if not answer.isascii() or not answer.isdigit():
            raise ReplyError(f"expected the status after {text!r}, found {answer!r}")
        refused = Refusal(int(answer) & sum(Refusal))
        if refused:
            raise OutOfRangeError(f"the instrument refused {text!r}: {refused.name} error")
