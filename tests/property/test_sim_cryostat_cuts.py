"""The cryostat is a function of its seed and its orders, whoever asks, when and how often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_hardware.world import cryostat as world
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling
from sim_hardware.world.physical import UnphysicalError

Order = Callable[[Cryostat, float], None]

ORDERS: dict[str, Order] = {
    "heat": lambda c, t: c.heat(20e-6, t),
    "hold": lambda c, t: c.hold(0.02, 1e-3, t, by="bridge"),
    "still": lambda c, t: c.heat_still(2e-3, t),
    "hold still": lambda c, t: c.hold_still(0.8, 1e-2, t),
    "plate": lambda c, t: c.hold_plate(0.0105, 1e-6, t),
    "trip": lambda c, t: c.trip_compressor(t),
    "restart": lambda c, t: c.restart(t),
    "stop": lambda c, t: c.stop_circulation(t),
    "warm up": lambda c, t: c.warm_up(t),
}
STAGES = ("50K", "4K", "still", "mixing", "plate")

moments = st.floats(0.0, 900.0)
given_orders = st.lists(
    st.tuples(moments, st.sampled_from(sorted(ORDERS))), max_size=3, unique_by=lambda each: each[0]
)


def shown(cryostat: Cryostat, times: list[float]) -> list[tuple[float, ...]]:
    """All that can be known of a cryostat at some times."""
    return [
        (*(cryostat.true_k(stage, t) for stage in STAGES), cryostat.condensed(t),
         cryostat.heater_w(t), cryostat.plate_heater_w(t), cryostat.flow_mmol_s(t))
        for t in times
    ]  # fmt: skip


@settings(max_examples=12)
@given(given_orders, st.lists(moments, min_size=1, max_size=5), st.lists(moments, max_size=3))
def test_who_asks_and_when_makes_no_difference(
    orders: list[tuple[float, str]], times: list[float], asked: list[float]
) -> None:
    orders = sorted(orders)
    alone, busy = Cryostat(5), Cryostat(5)
    for at_s, name in orders:
        ORDERS[name](alone, at_s)
        for t in asked:
            busy.plate_k(t)  # also far beyond the order that is to come
        ORDERS[name](busy, at_s)
    expected = shown(alone, times)
    assert shown(busy, times) == expected
    assert shown(busy, times[::-1]) == expected[::-1]


@settings(max_examples=12)
@given(given_orders, st.randoms(use_true_random=False), st.lists(moments, min_size=1, max_size=5))
def test_an_order_may_come_late_or_early(orders, random, times) -> None:
    in_time, mixed = Cryostat(5), Cryostat(5)
    for at_s, name in sorted(orders):
        ORDERS[name](in_time, at_s)
    random.shuffle(orders)
    for at_s, name in orders:
        ORDERS[name](mixed, at_s)
        mixed.plate_k(600.0)
    assert shown(mixed, times) == shown(in_time, times)
    assert mixed.state_log == in_time.state_log


@settings(max_examples=8)
@given(given_orders)
def test_an_order_changes_nothing_before_it(orders: list[tuple[float, str]]) -> None:
    cryostat, untouched = Cryostat(5), Cryostat(5)
    times = list(np.arange(0.0, 900.0, 61.0))
    for at_s, name in orders:
        ORDERS[name](cryostat, at_s)
    first_s = min((at_s for at_s, _ in orders), default=900.0)
    before = [t for t in times if t < first_s]
    assert shown(cryostat, before) == shown(untouched, before)


@settings(max_examples=8)
@given(given_orders)
def test_temperatures_and_powers_do_not_jump(orders: list[tuple[float, str]]) -> None:
    cryostat = Cryostat(5)
    for at_s, name in sorted(orders):
        ORDERS[name](cryostat, at_s)
    for at_s, _ in orders:
        for stage in STAGES:
            before_k, after_k = (cryostat.true_k(stage, at_s + d) for d in (-1e-6, 1e-6))
            assert abs(after_k - before_k) < 1e-3 * before_k + 0.1


@settings(max_examples=8)
@given(given_orders, moments)
def test_the_gas_handling_stands_as_the_cryostat_does(orders, asked_s: float) -> None:
    cryostat = Cryostat(5)
    gas = GasHandling(cryostat)
    for at_s, name in sorted(orders):
        ORDERS[name](cryostat, at_s)
    machine = cryostat.machine(asked_s)
    assert gas.on("pulsetube", asked_s) == machine.pulse_tube
    assert gas.circulating(asked_s) == machine.circulating


def test_a_night_of_orders_is_not_kept_for_ever_but_the_latest_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(world, "REMEMBERED_STEPS", 100)
    monkeypatch.setattr(world, "REMEMBERED_S", 60.0)
    cryostat = Cryostat(5)
    for n in range(300):
        cryostat.heat(1e-6 * (1 + n % 2), float(n))
    oldest_s = cryostat.state_log[0][0]
    assert 200.0 < oldest_s <= 240.0
    monkeypatch.undo()
    untouched = Cryostat(5)
    for n in range(300):
        untouched.heat(1e-6 * (1 + n % 2), float(n))
    times = [240.0 + 0.3 * k for k in range(300)]
    assert [cryostat.plate_k(t) for t in times] == [untouched.plate_k(t) for t in times]
    with pytest.raises(UnphysicalError, match="what lies before is forgotten"):
        cryostat.trip_compressor(100.0)
