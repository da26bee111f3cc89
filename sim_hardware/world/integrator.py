"""A stiff differential equation solved in steps that do not depend on who asks for its solution.

The method is the Rosenbrock pair of orders 2 and 3 of Shampine and Reichelt (SIAM J. Sci. Comput.
18, 1, 1997), which is L-stable: an hour of a system at rest is a few steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Slopes = Callable[[float, Array], Array]

D = 1 / (2 + 2**0.5)
E32 = 6 + 2**0.5
FIRST_S, LONGEST_S, SHORTEST_S = 1e-3, 300.0, 1e-9
DIFFERENCE = 1e-7  # of the finite differences that make the Jacobian


class IntegrationError(Exception):
    """An equation that no step is short enough for."""


@dataclass(frozen=True, slots=True)
class Step:
    """From `start_s` on: the solution within the step, as a quadratic."""

    start_s: float
    length_s: float
    state: Array
    k1: Array
    k2: Array

    @property
    def stop_s(self) -> float:
        """Where the next step begins."""
        return self.start_s + self.length_s

    def at(self, time_s: float) -> Array:
        """The state at a time within it."""
        s = (time_s - self.start_s) / self.length_s
        inner = (s * (1 - s)) * self.k1 + (s * (s - 2 * D)) * self.k2
        return np.asarray(self.state + (self.length_s / (1 - 2 * D)) * inner)


class Solution:
    """y' = slopes(t, y) from a state on; each step's error in y is below `tolerance`."""

    def __init__(
        self,
        slopes: Slopes,
        start_s: float,
        state: Array,
        tolerance: Array,
        *,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._slopes, self._tolerance, self._longest_s = slopes, tolerance, longest_s
        self._stop_s, self._state, self._next_s = start_s, state, FIRST_S
        self.start_s = start_s
        self._steps: list[Step] = []

    def at(self, time_s: float) -> Array:
        """The state at a time; that of the first step kept, for what lies before it."""
        while self._stop_s <= time_s:
            self._advance()
        found = max(0, bisect_right(self._steps, time_s, key=lambda step: step.start_s) - 1)
        if not self._steps or time_s <= self._steps[found].start_s:
            return self._steps[found].state if self._steps else self._state
        return self._steps[found].at(time_s)

    def forget(self, before_s: float) -> None:
        """Drop the steps that end before a time."""
        del self._steps[: bisect_right(self._steps, before_s, key=lambda step: step.stop_s)]

    def forget_after(self, stop_s: float) -> None:
        """Drop the steps that begin after a time, which nobody will ask for."""
        del self._steps[bisect_right(self._steps, stop_s, key=lambda step: step.start_s) :]

    @property
    def n_steps(self) -> int:
        """How many steps are kept."""
        return len(self._steps)

    def _advance(self) -> None:
        """Take one step, as long as its error allows."""
        t, y = self._stop_s, self._state
        f0 = self._slopes(t, y)
        jacobian = _jacobian(self._slopes, t, y, f0)
        by_time = (self._slopes(t + 1e-3, y) - f0) / 1e-3
        while True:
            h = self._next_s
            step, after, error = _tried(self._slopes, t, y, f0, jacobian, by_time, h)
            off = float(np.max(np.abs(error) / self._tolerance))
            self._next_s = min(
                self._longest_s, h * min(5.0, max(0.2, 0.8 * (off + 1e-12) ** (-1 / 3)))
            )
            if off <= 1.0:
                break
            if not self._next_s > SHORTEST_S:
                raise IntegrationError(f"no step is short enough at {t:.9g} s, state {y}")
        self._steps.append(step)
        self._stop_s, self._state = step.stop_s, after


def _tried(
    slopes: Slopes, t: float, y: Array, f0: Array, jacobian: Array, by_time: Array, h: float
) -> tuple[Step, Array, Array]:
    """A step of a length, the state after it, and its error."""
    inverse = np.linalg.inv(np.eye(len(y)) - (h * D) * jacobian)
    shift = (h * D) * by_time
    k1 = inverse @ (f0 + shift)
    f1 = slopes(t + h / 2, y + (h / 2) * k1)
    k2 = inverse @ (f1 - k1) + k1
    after = y + h * k2
    f2 = slopes(t + h, after)
    k3 = inverse @ (f2 - E32 * (k2 - f1) - 2 * (k1 - f0) + shift)
    return Step(t, h, y, k1, k2), after, (h / 6) * (k1 - 2 * k2 + k3)


def _jacobian(slopes: Slopes, t: float, y: Array, f0: Array) -> Array:
    columns = []
    for n in range(len(y)):
        moved = y.copy()
        moved[n] += (change := DIFFERENCE * max(1.0, abs(y[n])))
        columns.append((slopes(t, moved) - f0) / change)
    return np.array(columns).T
