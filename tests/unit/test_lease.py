"""The control lease: one commander at a time, whatever order people come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daq.errors import RefusedError
from daq.run.lease import LONGEST_S, NS, Lease, seal


class Clock:
    def __init__(self) -> None:
        self.now_ns = 10**18

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lease(clock):
    return Lease(clock)


def test_while_nobody_holds_it_anybody_may_command(lease):
    lease.check("")
    lease.check("whatever")
    assert lease.held is None


def test_who_holds_it_commands_and_the_others_are_told_who(lease, clock):
    lease.take("anna", "a", 60.0)
    clock.now_ns += 15 * NS
    lease.check("a")
    with pytest.raises(RefusedError, match="anna holds the control lease for another 45 s"):
        lease.check("b")
    with pytest.raises(RefusedError, match="anna"):
        lease.take("ben", "b", 60.0)
    with pytest.raises(RefusedError, match="anna"):
        lease.release("b")


def test_it_runs_out(lease, clock):
    lease.take("anna", "a", 60.0)
    clock.now_ns += 60 * NS
    assert lease.held is None
    lease.take("ben", "b", 60.0)


def test_renewing_keeps_since_when(lease, clock):
    first = lease.take("anna", "a", 60.0)
    clock.now_ns += 50 * NS
    again = lease.take("anna", "a", 60.0)
    assert again.since_ns == first.since_ns
    assert again.until_ns == first.until_ns + 50 * NS


def test_taking_over_needs_a_reason_and_ends_the_others_rights(lease, clock):
    lease.take("anna", "a", 60.0)
    clock.now_ns += NS
    taken = lease.take("ben", "b", 60.0, over="anna sleeps")
    assert (taken.who, taken.since_ns) == ("ben", clock.now_ns)
    with pytest.raises(RefusedError, match="ben"):
        lease.check("a")


def test_giving_it_back_frees_it(lease):
    lease.take("anna", "a", 60.0)
    lease.release("a")
    lease.check("b")


@pytest.mark.parametrize(
    ("who", "ticket", "for_s"),
    [("", "a", 1.0), ("anna", "", 1.0), ("anna", "a", 0.0), ("anna", "a", LONGEST_S + 1)],
)
def test_what_is_no_lease_is_refused(lease, who, ticket, for_s):
    with pytest.raises(RefusedError, match="expected"):
        lease.take(who, ticket, for_s)


def test_a_seal_says_nothing_of_the_ticket():
    assert seal("a") != seal("b")
    assert "ticket" not in seal("ticket")


names = st.sampled_from(["anna", "ben", "cleo"])
steps = st.lists(st.tuples(st.sampled_from(["take", "over", "release", "wait", "act"]), names))


@given(steps)
def test_at_any_time_at_most_one_may_command_while_it_is_held(moves):
    clock = Clock()
    lease = Lease(clock)
    for move, who in moves:
        clock.now_ns += 7 * NS if move == "wait" else 1
        try:
            if move in ("take", "over"):
                lease.take(who, who, 20.0, over="because" if move == "over" else "")
            elif move == "release":
                lease.release(who)
        except RefusedError:
            assert lease.held is not None
            assert lease.held.who != who
        allowed = [name for name in ("anna", "ben", "cleo") if _may(lease, name)]
        assert allowed == (["anna", "ben", "cleo"] if lease.held is None else [lease.held.who])


def _may(lease: Lease, ticket: str) -> bool:
    try:
        lease.check(ticket)
    except RefusedError:
        return False
    return True
