"""The working point of best predicted resolution on a map of bias and heater, and why it is it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daq.errors import CheckError
from daq.readout.circuit import Estimate

TIE_SIGMA = 1.0
LEAST_SHARE, MOST_SHARE = 0.03, 0.95  # of Rn: beyond, a sensor is not in its transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One point of the map; `problem` says why it cannot be used, empty where it can.

    `share` is R/Rn.
    """

    bias_a: float
    heater_w: float
    r_ohm: float
    share: float
    sigma_ev: Estimate | None
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Whether it was measured, in the transition."""
        return self.sigma_ev is not None and not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The best point, those that are as good within their uncertainty, and why."""

    best: Candidate
    equals: tuple[Candidate, ...]
    refused: tuple[Candidate, ...]
    at_edge: tuple[str, ...]
    explanation: str


def in_transition(r_ohm: float, r_normal_ohm: float) -> str:
    """Why a resistance is none of a working point; empty where it is one."""
    share = r_ohm / r_normal_ohm
    if LEAST_SHARE <= share <= MOST_SHARE:
        return ""
    state = "superconducting" if share < LEAST_SHARE else "normal"
    return f"{state}: expected R from {LEAST_SHARE:g} to {MOST_SHARE:g} Rn, found {share:.3g} Rn"


def choose(candidates: Sequence[Candidate]) -> Choice:
    """The point of least sigma; CheckError where none could be used."""
    usable = [each for each in candidates if each.usable]
    refused = tuple(each for each in candidates if not each.usable)
    if not usable:
        reasons = sorted({each.problem or "not measured" for each in refused})
        raise CheckError(
            f"no working point: expected one of {len(candidates)} points of bias and heater in the "
            f"transition, found none: {'; '.join(reasons) or 'the map is empty'}"
        )
    best = min(usable, key=_sigma)
    assert best.sigma_ev is not None  # usable ones have it
    limit = best.sigma_ev.value + TIE_SIGMA * best.sigma_ev.sigma
    equals = tuple(each for each in usable if each is not best and _sigma(each) <= limit)
    edges = _edges(best, usable)
    return Choice(
        best=best,
        equals=equals,
        refused=refused,
        at_edge=edges,
        explanation=_explained(best, usable, equals, refused, edges),
    )


def _sigma(candidate: Candidate) -> float:
    return candidate.sigma_ev.value if candidate.sigma_ev else np.inf


def _edges(best: Candidate, usable: Sequence[Candidate]) -> tuple[str, ...]:
    """At which ends of the map the best point lies: beyond may be a better one."""
    found = []
    for name in ("bias_a", "heater_w"):
        values = sorted({getattr(each, name) for each in usable})
        if len(values) > 1 and getattr(best, name) in (values[0], values[-1]):
            end = "lowest" if getattr(best, name) == values[0] else "highest"
            found.append(f"{end} {name.rpartition('_')[0]}")
    return tuple(found)


def _explained(
    best: Candidate,
    usable: Sequence[Candidate],
    equals: Sequence[Candidate],
    refused: Sequence[Candidate],
    edges: Sequence[str],
) -> str:
    worst = max(usable, key=_sigma)
    assert best.sigma_ev is not None
    text = (
        f"{best.bias_a * 1e6:.4g} uA with {best.heater_w * 1e15:.3g} fW: sigma "
        f"{best.sigma_ev.value:.3g} +- {best.sigma_ev.sigma:.1g} eV at {best.share:.2f} Rn, the "
        f"least of {len(usable)} points, of which the worst has {_sigma(worst):.3g} eV"
    )
    if equals:
        text += f"; {len(equals)} more are as good within its uncertainty"
    if refused:
        reasons = sorted({each.problem.partition(":")[0] or "not measured" for each in refused})
        text += f"; {len(refused)} were left out ({', '.join(reasons)})"
    if edges:
        text += f"; it lies at the {' and the '.join(edges)} of the map: a wider one may be better"
    return text
