"""Recent answers: one answer of an instrument that holds many values serves for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Answers by question, each good for `good_for_s`; forget them after a write."""

    def __init__(self, good_for_s: float, clock: Callable[[], float]) -> None:
        self._good_for_s, self._clock = good_for_s, clock
        self._answers: dict[str, tuple[float, T]] = {}

    def get(self, question: str, ask: Callable[[], T]) -> T:
        """The answer that is recent enough, or what `ask` returns now."""
        at, answer = self._answers.get(question, (0.0, None))
        if answer is None or self._clock() - at > self._good_for_s:
            answer = ask()
            self._answers[question] = (self._clock(), answer)
        return answer

    def forget(self) -> None:
        """Ask anew, whatever comes next."""
        self._answers.clear()
