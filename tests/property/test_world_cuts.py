"""Where calls of the world's kernels are cut makes no difference, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_hardware.world.normals import fill, key
from sim_hardware.world.squid_loop import (
    FluxJump,
    LoopSettings,
    LoopState,
    SquidParameters,
    flux_noise,
    follow,
)
from sim_hardware.world.template_bank import TemplateBank
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from tests.sensor import OP, P

N = 400
FIRST = 12_345_678_901  # of the sample numbers: a stream of some hours

SQUID = SquidParameters()
BANK = TemplateBank(P, OP, 1e6)
SLOW_BANK = TemplateBank(P, OP, 50e3)

cuts = st.lists(st.integers(0, N), max_size=6).map(lambda inner: [0, *sorted(inner), N])
deposits = st.lists(
    st.builds(Deposit, st.floats(FIRST - 10, FIRST + N + 10), st.floats(0, 1e7)), max_size=4
)
jumps = st.lists(
    st.builds(
        FluxJump, st.integers(FIRST - 10, FIRST + N + 10), st.integers(-3, 3), st.floats(-2, 2)
    ),
    max_size=4,
)


@settings(deadline=None, max_examples=50)
@given(cuts, deposits, st.sampled_from([1e-6, 4e-6, 20e-6]), st.booleans())
def test_the_sensor_does_not_see_where_calls_are_cut(cut, hits, dt_s, noisy):
    rng = np.random.default_rng(1)
    bias_a = OP.bias_a * (1 + 0.1 * rng.random(N))
    heater_w = OP.heater_w * (1 + 0.1 * rng.random(N))
    bath_k = OP.bath_k * (1 + 1e-3 * rng.random(N))

    def ran(state, begin, end):
        return advance(
            P,
            state,
            dt_s=dt_s,
            bias_a=bias_a[begin:end],
            heater_w=heater_w[begin:end],
            bath_k=bath_k[begin:end],
            deposits=hits,
            noise_key=key(1, "C11", "sensor") if noisy else None,
        )

    state, pieces = TesState.at(OP, FIRST), []
    for begin, end in pairwise(cut):
        piece, state = ran(state, begin, end)
        pieces.append(piece)
    whole, after = ran(TesState.at(OP, FIRST), 0, N)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert state == after


@settings(deadline=None, max_examples=50)
@given(cuts, jumps, st.floats(0, 3), st.booleans())
def test_the_loop_does_not_see_where_calls_are_cut(cut, listed, wild, locked):
    current_a = np.cumsum(np.random.default_rng(2).normal(0, wild * 0.3e-6, N))
    noise = flux_noise(SQUID, seed=1, channel="C11", start=FIRST, n=N, dt_s=1e-6)
    loop = LoopSettings(
        locked=locked, squid_bias_a=21e-6, lock_v=SQUID.middle_v(21e-6), reset_v=9.0
    )

    def ran(state, begin, end):
        return follow(
            SQUID,
            loop,
            state,
            current_a[begin:end],
            dt_s=1e-6,
            flux_noise_phi0=noise[begin:end],
            jumps=listed,
        )

    begun = LoopState.without_feedback(SQUID, loop, 0.0, FIRST)
    state, pieces = begun, []
    for begin, end in pairwise(cut):
        piece, state = ran(state, begin, end)
        pieces.append(piece)
    whole, after = ran(begun, 0, N)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert state == after


@given(cuts, st.integers(0, 2**45))
def test_noise_is_a_function_of_the_sample_number(cut, first):
    def noise(begin, end):
        return flux_noise(
            SQUID, seed=1, channel="C11", start=first + begin, n=end - begin, dt_s=1e-6
        )

    pieces = [noise(begin, end) for begin, end in pairwise(cut)]
    assert np.array_equal(np.concatenate(pieces), noise(0, N))


@given(cuts, st.integers(0, 2**62))
def test_normals_are_a_function_of_the_counter(cut, first):
    whole, pieces = np.empty(N), np.empty(N)
    fill(whole, np.uint64(9), np.uint64(first))
    for begin, end in pairwise(cut):
        fill(pieces[begin:end], np.uint64(9), np.uint64(first + begin))
    assert np.array_equal(whole, pieces)


@settings(deadline=None)
@given(
    st.sampled_from([BANK, SLOW_BANK]),
    st.lists(st.integers(0, 600_000), max_size=6).map(sorted),
    st.floats(FIRST - 300_000, FIRST + 600_000),
    st.floats(0, 1e7),
)
def test_a_rendered_pulse_does_not_see_where_calls_are_cut(bank, inner, position, energy_ev):
    whole, pieces = np.zeros(600_000, np.float32), np.zeros(600_000, np.float32)
    bank.add(whole, FIRST, position, energy_ev)
    for begin, end in pairwise([0, *inner, 600_000]):
        bank.add(pieces[begin:end], FIRST + begin, position, energy_ev)
    assert np.array_equal(whole, pieces)
