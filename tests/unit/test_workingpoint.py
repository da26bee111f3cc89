"""The best of a map, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import CheckError
from daq.readout import workingpoint
from daq.readout.circuit import Estimate
from daq.readout.workingpoint import Candidate


def candidate(bias_ua: float, heater_fw: float, sigma_ev: float, problem: str = "") -> Candidate:
    return Candidate(
        bias_a=bias_ua * 1e-6,
        heater_w=heater_fw * 1e-15,
        r_ohm=0.07,
        share=0.35,
        sigma_ev=None if problem else Estimate(sigma_ev, 0.1),
        problem=problem,
    )


MAP = [candidate(b, h, 3.0 + (b - 1) ** 2 + (h - 22) ** 2) for b in (0, 1, 2) for h in (21, 22, 23)]


def test_the_least_sigma_is_chosen_and_explained() -> None:
    choice = workingpoint.choose(MAP)
    assert choice.best == candidate(1, 22, 3.0)
    assert choice.explanation == (
        "1 uA with 22 fW: sigma 3 +- 0.1 eV at 0.35 Rn, the least of 9 points, of which the worst "
        "has 5 eV"
    )
    assert choice.at_edge == ()


def test_what_is_as_good_what_is_left_out_and_an_edge_are_named() -> None:
    points = [
        candidate(1, 22, 3.0),
        candidate(2, 22, 3.05),
        candidate(3, 22, 4.0),
        candidate(4, 22, 0.0, workingpoint.in_transition(0.198, 0.2)),
    ]
    choice = workingpoint.choose(points)
    assert choice.equals == (points[1],)
    assert choice.refused == (points[3],)
    assert choice.at_edge == ("lowest bias",)
    assert "1 more are as good within its uncertainty" in choice.explanation
    assert "1 were left out (normal)" in choice.explanation
    assert "at the lowest bias of the map: a wider one may be better" in choice.explanation


@given(st.permutations(MAP))
def test_the_order_of_the_map_makes_no_difference(points: list[Candidate]) -> None:
    assert workingpoint.choose(points).best == MAP[4]


def test_a_map_without_a_point_in_the_transition_is_refused() -> None:
    dead = [candidate(1, 22, 0.0, workingpoint.in_transition(0.001, 0.2))]
    with pytest.raises(CheckError, match=r"no working point: .* superconducting: expected R from"):
        workingpoint.choose(dead)
    with pytest.raises(CheckError, match="the map is empty"):
        workingpoint.choose([])


def test_a_resistance_in_the_transition_is_no_problem() -> None:
    assert workingpoint.in_transition(0.07, 0.2) == ""
