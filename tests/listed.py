"""Runs a procedure against a list of answers, as a conductor would against services."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from daq.errors import ScheeliteError
from daq.readout.procedures import run
from daq.readout.requests import (
    AnyAnswer,
    AnyRequest,
    Begin,
    Done,
    End,
    Procedure,
    Say,
)

R = TypeVar("R")


class Listed:
    """Answers from a list, in order; an error in it is raised. What was asked is kept."""

    def __init__(self, answers: Iterable[AnyAnswer | ScheeliteError]) -> None:
        self._answers = iter(answers)
        self.asked: list[AnyRequest] = []

    def __call__(self, request: AnyRequest) -> AnyAnswer:
        self.asked.append(request)
        if isinstance(request, Say | Begin | End):
            return Done()
        answer = next(self._answers)
        if isinstance(answer, ScheeliteError):
            raise answer
        return answer

    @property
    def left(self) -> list[AnyAnswer | ScheeliteError]:
        """The answers that nobody asked for."""
        return list(self._answers)


def against(procedure: Procedure[R], answers: Iterable[AnyAnswer | ScheeliteError]) -> R:
    """The result of a procedure that is answered so, and asks for no less."""
    listed = Listed(answers)
    result = run(procedure, listed)
    assert listed.left == []
    return result
