"""The guard finds what the rule in plain lines finds, wherever blocks are cut and cores killed."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daq.acquire.chain import GUARDED
from daq.acquire.guard import Guard, GuardState
from daq.acquire.intervals import Intervals
from daq.model.channel import PIECES, Guarding
from daq.model.record import DEAD_CAUSES, HitKind

N = 30_000
PHI0 = 4000.0
RATE_HZ = 20_000.0
GUARD = Guarding(
    phi0=PHI0, tolerance=0.2, span=4, hold=3000, settle=50, frozen=2000, window=8192,
    noise_low=4.0, noise_high=30.0, baseline_low=-1000.0, baseline_high=1000.0, storm=5,
)  # fmt: skip
seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(1, N - 1), max_size=20).map(sorted)
relocks = st.one_of(st.none(), st.tuples(st.integers(1, N // 2), st.integers(1, N // 3)))


def stream(seed: int) -> np.ndarray:
    """Noise with pulses, jumps, steps that are no jumps, frozen, loud, railed and far stretches."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 10, N)
    for at in rng.integers(0, N, rng.integers(0, 12)):
        k = np.arange(N - at)
        height = rng.choice([300, 1500, 4100, 8000])  # as high as quanta: but they decay
        x[at:] += height * (np.exp(-k / 600) - np.exp(-k / rng.choice([0.5, 8])))
    for at in rng.integers(0, N, rng.integers(0, 6)):
        width = rng.choice([0, 0, 1, 3])
        height = rng.choice([-3, -2, -1, 1, 2, 3, 1.5]) * PHI0
        x[at + width :] += height
        x[at : at + width] += height * np.linspace(0.2, 0.8, width)[: N - at]
    what = rng.choice(["", "", "frozen", "loud", "railed", "far", "spike"])
    start = int(rng.integers(0, N))
    part = x[start : start + int(rng.integers(1, 12_000))]
    if what == "frozen":
        part[:] = part[0]
    elif what == "loud":
        part += rng.normal(0, 60, part.size)
    elif what == "railed":
        part[:] = 40_000
    elif what == "far":
        part += 1500
    elif what == "spike":
        part[:3] += 8000
    return np.clip(np.rint(x), -32768, 32767).astype(np.int16)


# --- the rule in plain lines ---


def jumps_by_hand(x: list[int], c: Guarding) -> list[tuple[int, int]]:
    """(sample, quanta) of the jumps in one stretch."""
    level, found, i, since = (1 - c.tolerance) * c.phi0, [], c.span, 0
    big = [k >= c.span and abs(x[k] - x[k - c.span]) >= level for k in range(len(x))]
    while i < len(x):
        if not big[i]:
            i += 1
            continue
        first = max(i - c.span - 15, since, 0)
        before = np.mean(x[first : i - c.span + 1])
        after = x[i + c.span : i + c.span + 16]
        size = (np.mean(after) - before) / c.phi0 if after else 0.0
        n = round(size)
        inside = all(c.rail_low < v < c.rail_high for v in x[first : i + c.span + 16])
        whole = n != 0 and abs(size - n) <= c.tolerance
        if whole and inside and lasts(x, i, before, n, big, c):
            way = range(i - c.span + 1, i + c.span)
            at = next((k for k in way if np.sign(n) * (x[k] - before) >= abs(n) * c.phi0 / 2), i)
            found.append((at, n))
            since = i + c.span
        i += 2 * c.span + 1
    return found


def lasts(x: list[int], i: int, before: float, n: int, big: list[bool], c: Guarding) -> bool:
    for k in range(i + c.span, min(i + c.hold, len(x))):
        if k > i + 2 * c.span and big[k]:
            return True
        if np.sign(n) * (x[k] - before) < (abs(n) - 0.5) * c.phi0:
            return any(big[max(k, i + 2 * c.span + 1) : k + c.span + 1])
    return True


def corrected_by_hand(x: np.ndarray, jumps: list[tuple[int, int]]) -> np.ndarray:
    y = x.astype(np.int64)
    total = 0
    for (at, n), (stop, _) in itertools.pairwise([*jumps, (len(x), 0)]):
        total += n
        y[at:stop] -= round(total * PHI0)
    return np.clip(y, -32768, 32767)


def frozen_by_hand(x: list[int], least: int) -> list[tuple[int, int]]:
    edges = [0, *(k for k in range(1, len(x)) if x[k] != x[k - 1]), len(x)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b - a >= least]


def rails_by_hand(x: list[int], settle: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for k in (k for k, v in enumerate(x) if v in (32767, -32768)):
        if found and k < found[-1][1] + settle:
            found[-1] = found[-1][0], k + 1
        else:
            found.append((k, k + 1))
    return found


def bands_by_hand(x: np.ndarray, jumps: list[tuple[int, int]], c: Guarding) -> dict[str, list]:
    """Which windows are out, as stretches, by kind."""
    size, out = c.window // PIECES, {"noise": [], "baseline": []}
    for start in range(0, len(x), c.window):
        stop = min(start + c.window, len(x))
        best = None
        for a in range(start, stop - size + 1, size):
            piece = x[a : a + size].astype(np.int64)
            rms = np.sqrt(max(((piece**2).sum() - piece.sum() ** 2 / size) / size, 0.0))
            if any(a < at < a + size for at, _ in jumps) or rms == 0:
                continue
            mean = piece.sum() / size - round(sum(n for at, n in jumps if at <= a) * c.phi0)
            best = min(best or (rms, mean), (rms, mean))
        if best is None:  # as it was
            for parts in out.values():
                if parts and parts[-1][1] == start:
                    parts.append((start, stop))
        else:
            for name, value, low, high in (
                ("noise", best[0], c.noise_low, c.noise_high),
                ("baseline", best[1], c.baseline_low, c.baseline_high),
            ):
                if not low <= value <= high:
                    out[name].append((start, stop))
    return {name: [*Intervals(parts).parts()] for name, parts in out.items()}


# --- against the rule ---


def fresh() -> tuple[Guard, dict[str, Intervals]]:
    dead = {cause: Intervals() for cause in (*DEAD_CAUSES, *GUARDED)}
    return Guard(GUARD, RATE_HZ, Guard.at(0), dead), dead


def pieces(cuts: list[int]) -> list[tuple[int, int]]:
    return list(itertools.pairwise([0, *sorted(set(cuts)), N]))


def guarded(x: np.ndarray, cuts: list[int], kills=frozenset(), relock=None):
    """What passes, the hits, and what is dead; be killed after some of the cuts."""
    (guard, dead), passed, hits, at = fresh(), [], [], 0
    stops = [stop for _, stop in pieces([*cuts, *([relock[0], sum(relock)] if relock else [])])]
    for step, stop in enumerate(stops):
        passed += guard.feed(x[at:stop]).tolist()
        at = stop
        hits += guard.take()
        if relock and stop == relock[0]:
            dead["unlocked"].add(stop, 2**62)
            guard.relock(stop)
        if relock and stop == sum(relock):
            dead["unlocked"].end_at(stop)
            guard.relocked(stop)
        if step in kills:
            again = guard.needs
            guard.forget_before(again)
            state = msgspec.msgpack.decode(msgspec.msgpack.encode(guard.state), type=GuardState)
            guard = Guard(GUARD, RATE_HZ, state, dead)
            guard.begin(again)
            passed = passed[:again] + guard.feed(x[again:stop]).tolist()
    passed += guard.finish().tolist()
    hits += guard.take()
    return passed, sorted((h.kind, h.start, h.stop, h.quanta, h.size) for h in hits), dead


def stretches(hits, kind: HitKind) -> list[tuple[int, int]]:
    return [(start, stop) for k, start, stop, *_ in hits if k == kind]


@settings(max_examples=40)
@given(seeds, cuts)
def test_the_guard_finds_what_the_rule_finds(seed, cuts):
    x = stream(seed)
    passed, hits, dead = guarded(x, cuts)
    jumps = jumps_by_hand(x.tolist(), GUARD)
    found = [(start, n) for kind, start, _, n, _ in hits if kind == HitKind.JUMP]
    assert found == jumps or len(jumps) > GUARD.storm
    assert passed == corrected_by_hand(x, jumps).tolist()
    assert stretches(hits, HitKind.FROZEN) == frozen_by_hand(x.tolist(), GUARD.frozen)
    assert stretches(hits, HitKind.RAIL) == rails_by_hand(x.tolist(), GUARD.settle)
    out = bands_by_hand(x, jumps, GUARD)
    assert stretches(hits, HitKind.NOISE) == out["noise"]
    assert stretches(hits, HitKind.BASELINE) == out["baseline"]
    expected = Intervals(frozen_by_hand(x.tolist(), GUARD.frozen))
    for start, stop in [*out["noise"], *out["baseline"], *stretches(hits, HitKind.STORM)]:
        expected.add(start, min(stop, N))
    for at, _ in jumps:
        expected.add(at, min(at + GUARD.settle, N))
    assert dead["unlocked"].parts() == expected.parts()


@settings(max_examples=60)
@given(seeds, cuts, st.sets(st.integers(0, 20), max_size=4), relocks)
@example(3, [100, 14_000, 25_000], {0, 1}, (15_000, 5000))
def test_cuts_and_kills_make_no_difference_to_the_guard(seed, cuts, kills, relock):
    x = stream(seed)
    passed, hits, dead = guarded(x, cuts, kills, relock)
    expected, hits_then, dead_then = guarded(x, [], relock=relock)
    assert passed == expected
    assert hits == hits_then
    assert {c: i.parts() for c, i in dead.items()} == {c: i.parts() for c, i in dead_then.items()}


@settings(max_examples=40)
@given(seeds, cuts)
def test_what_is_settled_stays_as_it_is(seed, cuts):
    x = stream(seed)
    _, _, whole = guarded(x, [])
    guard, dead = fresh()
    for start, stop in pieces(cuts):
        guard.feed(x[start:stop])
        until = guard.settled
        for cause, parts in dead.items():
            assert parts.within(0, until) == whole[cause].within(0, until)


def test_while_the_loop_is_locked_anew_nothing_is_judged_and_no_quanta_are_taken_off():
    x = np.random.default_rng(1).normal(0, 10, N)
    x[5_000:] += PHI0
    x[10_000:20_000] = np.random.default_rng(2).uniform(-30_000, 30_000, 10_000)
    x[20_000:] -= PHI0  # to where the lock was before
    x = np.rint(x).astype(np.int16)
    passed, hits, _ = guarded(x, [], relock=(10_000, 12_000))
    assert [(k, at, n) for k, at, _, n, _ in hits] == [(HitKind.JUMP, 5_000, 1)]
    assert passed[5_000:10_000] == (x[5_000:10_000] - 4000).tolist()
    assert passed[10_000:] == x[10_000:].tolist()
