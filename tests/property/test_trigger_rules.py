"""Every rule of the triggers, pile-ups and the ledger against itself in plain lines."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.acquire.chain import Chain
from daq.acquire.chance import CHUNK, Poisson
from daq.acquire.finder import SECONDARY, Found
from daq.acquire.intervals import FOREVER, Intervals
from daq.acquire.piles import Piles, PilesState
from daq.acquire.secondpulse import second_pulses
from daq.model.batch import RecordBatch
from daq.model.channel import Channel, TriggerSettings
from daq.model.record import DEAD_CAUSES, Cause, Flag, mask_of

LEVEL = TriggerSettings(kind="level", threshold=60, rearm=20)
CHANNEL = Channel(
    name="A",
    digitizer="d",
    row=0,
    sample_rate_hz=500.0,
    decimation=1,
    record_length=40,
    pretrigger=10,
    volts_per_count=1.0,
    triggers=(LEVEL,),
)
N = 2000
seeds = st.integers(0, 2**32 - 1)


def pulses(seed: int, n: int = 25, signs: tuple[int, ...] = (1,)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 4, N)
    for at in rng.integers(0, N, n):
        k = np.arange(min(100, N - at))
        x[at : at + k.size] += rng.choice(signs) * 200 * (np.exp(-k / 12) - np.exp(-k / 2))
    return np.rint(x).astype(np.int16)


def run(channel: Channel, x: np.ndarray) -> tuple[Chain, list[RecordBatch], np.ndarray]:
    """A chain that was shown x as a whole run; its records and its ledger."""
    chain = Chain.fresh(0, channel, 1, 0, 0)
    chain.feed(x)
    chain.finish(x.size)
    chain.release()
    return chain, chain.records(FOREVER), chain.ledger(FOREVER)


def column(batches: list[RecordBatch], name: str) -> list:
    return [value for batch in batches for value in batch.table[name].tolist()]


def crossings_by_hand(x: list[int], sign: int = 1) -> list[int]:
    armed, found = False, []
    for i, value in enumerate(x):
        if armed and sign * value >= LEVEL.threshold:
            armed = False
            found.append(i)
        elif not armed and sign * value < LEVEL.rearm:
            armed = True
    return found


def roomy(c: Channel, triggers: list[int]) -> list[int]:
    """Those with room for a whole record."""
    return [t for t in triggers if t >= c.pretrigger and t - c.pretrigger + c.record_length <= N]


# --- triggers ---


@given(seeds)
def test_both_directions_have_each_their_hysteresis_and_share_the_holdoff(seed):
    both = replace(LEVEL, direction="both", holdoff=30)
    x = pulses(seed, signs=(1, -1))
    _, batches, ledger = run(replace(CHANNEL, triggers=(both,)), x)
    by_hand, last = [], -(10**9)
    for t in sorted({*crossings_by_hand(x.tolist()), *crossings_by_hand(x.tolist(), -1)}):
        if t - last >= 30 and t >= CHANNEL.pretrigger:
            by_hand.append(t)
            last = t
    assert column(batches, "trigger") == roomy(CHANNEL, by_hand)
    dead = {s for t in by_hand for s in range(t + 1, t + 30)}
    assert ledger["holdoff"].sum() == len([s for s in dead if 10 <= s <= N - 30])
    for batch in batches:
        for row, samples in zip(batch.table, batch.samples, strict=True):
            after = samples[CHANNEL.pretrigger :] - samples[: CHANNEL.pretrigger].mean()
            assert row["height"] == pytest.approx(max(after.max(), -after.min()), abs=1e-3)


@given(seeds, st.sampled_from(["rising", "falling"]))
def test_holdoff_counts_from_the_peak_where_asked(seed, direction):
    sign = 1 if direction == "rising" else -1
    x = pulses(seed) * sign
    settings_ = replace(LEVEL, direction=direction, holdoff=25, peak_search=12)
    _, batches, _ = run(replace(CHANNEL, triggers=(settings_,)), x)
    by_hand, held = [], -1
    for t in crossings_by_hand(x.tolist(), sign):
        if t >= held and t >= CHANNEL.pretrigger:
            by_hand.append(t)
            held = t + int(np.argmax(sign * x[t : t + 12].astype(int))) + 25
    assert column(batches, "trigger") == roomy(CHANNEL, by_hand)


def test_periodic_triggers_lie_on_absolute_samples():
    periodic = TriggerSettings(kind="periodic", period=130, phase=77)
    _, batches, ledger = run(replace(CHANNEL, triggers=(periodic,)), pulses(1))
    assert column(batches, "trigger") == roomy(CHANNEL, list(range(77, N, 130)))
    assert set(column(batches, "causes")) == {mask_of([Cause.PERIODIC])}
    assert ledger["holdoff"].sum() == 0  # there is no pulse trigger that it could hold off


@given(st.integers(-10, 10), st.lists(st.integers(1, 4 * CHUNK), max_size=6))
def test_random_triggers_are_the_same_wherever_they_are_asked(first, cuts):
    start = first * CHUNK + 12345
    edges = sorted({start, *(start + cut for cut in cuts), start + 4 * CHUNK})
    process = Poisson(7, "A", "random", 1e-3)
    pieces = [process.between(a, b) for a, b in itertools.pairwise(edges)]
    whole = Poisson(7, "A", "random", 1e-3).between(start, start + 4 * CHUNK)
    assert list(itertools.chain(*pieces)) == whole == sorted(set(whole))


def test_random_triggers_are_a_poisson_process():
    """Seed 11: counts, variance of counts and waiting times, each within 4 sigma."""
    rate, stop = 2e-4, 400 * CHUNK
    at = np.array(Poisson(11, "A", "random", rate).between(0, stop))
    expected = rate * stop
    assert abs(at.size - expected) < 4 * expected**0.5
    counts = np.bincount(at // CHUNK, minlength=400)
    fano = counts.var() / counts.mean()
    assert abs(fano - 1) < 4 * (2 / 400) ** 0.5
    waits = np.diff(at) * rate
    for edge in (0.1, 1.0, 3.0):  # across the borders of the chunks, too
        share, truth = np.mean(waits > edge), np.exp(-edge)
        assert abs(share - truth) < 4 * (truth * (1 - truth) / waits.size) ** 0.5
    keys = (12, "A", "random"), (11, "B", "random"), (11, "A", "blind")
    others = [Poisson(*key, rate).between(0, CHUNK * 9) for key in keys]
    assert len({tuple(other) for other in others}) == 3


# --- what falls together ---


def together_by_hand(found: list[tuple[int, int]], window: int) -> list[list[tuple[int, int]]]:
    groups: list[list[tuple[int, int]]] = []
    for sample, entry in sorted(found):
        last = groups[-1] if groups else []
        again = any(entry == e for _, e in last) and entry != SECONDARY
        if last and sample < last[0][0] + window and not (again and sample > last[-1][0]):
            last.append((sample, entry))
        else:
            groups.append([(sample, entry)])
    return groups


CAUSES = [Cause.EDGE, Cause.RANDOM, Cause.EXTERNAL]


@given(
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from([0, 1, 2, SECONDARY])), unique=True),
    st.integers(1, 30),
    st.lists(st.integers(0, 240), max_size=5).map(sorted),
)
def test_what_falls_together_is_one_record_with_all_causes(found, window, untils):
    piles = Piles(replace(CHANNEL, merge_window=window), PilesState(), Intervals())
    shots, before = [], -1
    for until in [*untils, 10**6]:
        new = [(s, e) for s, e in found if before <= s < until or (before < 0 and s < until)]
        before = max(before, until)
        piles.add([Found(s, e, CAUSES[e] if e >= 0 else Cause.SECONDARY) for s, e in new])
        shots += piles.group(until)
    groups = together_by_hand(found, window)
    assert [shot.members for shot in shots] == groups
    rank = {Cause.EDGE: 0, Cause.EXTERNAL: 1, Cause.RANDOM: 2, Cause.SECONDARY: 3}
    for shot, group in zip(shots, groups, strict=True):
        causes = [CAUSES[e] if e >= 0 else Cause.SECONDARY for _, e in group]
        best = min(causes, key=lambda cause: rank[cause])
        assert (shot.cause, shot.causes) == (best, mask_of(causes))
        assert shot.sample == min(s for (s, _), c in zip(group, causes, strict=True) if c == best)
    assert all(a.sample < b.sample for a, b in itertools.pairwise(shots))


# --- pile-up ---


def record_of(c: Channel, t: int) -> range:
    return range(t - c.pretrigger, t - c.pretrigger + c.record_length)


@settings(max_examples=50)
@given(seeds)
@pytest.mark.parametrize("policy", ["keep", "shorten", "isolated", "one"])
def test_each_pile_up_policy_is_its_rule(policy, seed):
    c, x = replace(CHANNEL, pile_up=policy), pulses(seed)
    chain, batches, _ = run(c, x)
    found = crossings_by_hand(x.tolist())
    triggers = [t for t in found if t >= c.pretrigger]
    in_record = {t: [u for u in found if u != t and u in record_of(c, t)] for t in triggers}
    kept = {
        "keep": triggers,
        "shorten": triggers,
        "isolated": [t for t in triggers if not in_record[t]],
        "one": [t for i, t in enumerate(triggers)
                if i == 0 or t - triggers[i - 1] >= c.record_length],
    }[policy]  # fmt: skip
    assert column(batches, "trigger") == roomy(c, kept)
    dropped = chain.state.drops.get("pile_up", 0)
    assert dropped == len(set(triggers) - set(kept)) - (
        len([t for t in triggers if t not in kept and t not in roomy(c, [t])])
        if policy == "isolated"
        else 0
    )
    for batch in batches:
        for row in batch.table:
            others = in_record[int(row["trigger"])]
            after = [u - int(row["start"]) for u in others if u > row["trigger"]]
            assert row["next_pulse"] == min(after, default=-1)
            assert bool(row["flags"] & Flag.PILED_UP) == bool(others)
            shortened = policy == "shorten" and after
            assert row["valid"] == (min(after) if shortened else c.record_length)
            assert bool(row["flags"] & Flag.SHORTENED) == bool(shortened)


def second_by_hand(x: np.ndarray, pre: int, span: int, sigma: float, own: bool) -> int:
    x = x.astype(int)
    d = {i: x[i + 1 : i + span + 1].sum() - x[i - span + 1 : i + 1].sum()
         for i in range(span - 1, x.size - span)}  # fmt: skip
    noise = np.array([value for i, value in d.items() if i + span < pre])
    threshold = sigma * np.sqrt(max(noise.var(), span / 6))
    armed, inside = not own, []
    for i in range(pre + span, x.size - span):
        if not inside and not armed:
            armed = d[i] < threshold / 2
        elif d[i] >= threshold:
            inside.append(i)
        elif inside:
            break
    return max(inside, key=lambda i: d[i]) + 1 if inside else -1


@given(seeds, st.integers(1, 8), st.booleans(), st.booleans())
def test_the_second_pulse_is_its_rule(seed, span, own, down):
    rng = np.random.default_rng(seed)
    x, pre = rng.normal(0, 5, 300), 60
    for at in (pre, int(rng.integers(pre + 5, 300))):
        k = np.arange(300 - at)
        x[at:] += rng.exponential(100) * (np.exp(-k / 30) - np.exp(-k / 3))
    x = np.rint(x).astype(np.int16) * (-1 if down else 1)
    found = np.zeros(1, np.int64)
    sign = np.array([-1 if down else 1])
    second_pulses(x[None, :], pre, span, 6.0, sign, np.array([own]), found)
    assert found[0] == second_by_hand(x * (-1 if down else 1), pre, span, 6.0, own)


def test_second_pulses_are_found_and_single_ones_are_left_alone():
    """Rise 0.3 ms and decay 3.6 ms at 50 kS/s, 400 counts on 6 of noise, 1 to 30 ms apart."""
    rng, n, pre = np.random.default_rng(5), 4096, 1024
    k = np.arange(n)
    shape = np.exp(-k / 180) - np.exp(-k / 15)
    single, double = (rng.normal(0, 6, (300, n)) for _ in range(2))
    single[:, pre:] += 400 * shape[: n - pre]
    double[:, pre:] += 400 * shape[: n - pre]
    at = pre + rng.integers(50, 1500, 300)
    for row, start in zip(double, at, strict=True):
        row[start:] += 400 * shape[: n - start]
    own, signs = np.ones(300, bool), np.ones(300, np.int64)
    found = np.zeros(300, np.int64)
    second_pulses(np.rint(single).astype(np.int16), pre, 24, 8.0, signs, own, found)
    assert np.count_nonzero(found >= 0) == 0
    second_pulses(np.rint(double).astype(np.int16), pre, 24, 8.0, signs, own, found)
    assert np.mean(found >= 0) > 0.95  # the others begin before the first one has risen
    assert np.abs(found - at)[found >= 0].max() <= 24  # within the span it is averaged over


# --- the rate ---


@given(seeds, st.integers(1, 6))
def test_above_the_highest_rate_the_rest_of_the_second_is_dropped(seed, most):
    c = replace(CHANNEL, max_rate_hz=float(most))
    chain, batches, ledger = run(c, pulses(seed))
    second = round(c.sample_rate_hz)
    kept, dead, counts = [], np.zeros(N, bool), {}
    for t in [t for t in crossings_by_hand(pulses(seed).tolist()) if t >= c.pretrigger]:
        counts[t // second] = counts.get(t // second, 0) + 1
        if counts[t // second] <= most:
            kept.append(t)
        if counts[t // second] == most:
            dead[t + 1 : (t // second + 1) * second] = True
    assert column(batches, "trigger") == roomy(c, kept)
    assert chain.state.drops.get("throttled", 0) == sum(counts.values()) - len(kept)
    assert ledger["throttled"].tolist() == [
        int(dead[a:b].sum()) for a, b in zip(ledger["start"], ledger["stop"], strict=True)
    ]


# --- the ledger ---


@settings(max_examples=60)
@given(seeds, st.sampled_from(["keep", "isolated", "one"]), st.data())
def test_the_ledger_labels_every_sample_by_the_first_of_its_causes(seed, policy, data):
    c = replace(CHANNEL, pile_up=policy, max_rate_hz=6.0, triggers=(replace(LEVEL, holdoff=15),))
    x = pulses(seed)
    x[700:703] = 32767
    chain = Chain.fresh(0, c, 1, 0, 0)
    spans = {}
    for cause in ("paused", "disk_full", "unlocked", "heater", "temperature"):
        start = data.draw(st.integers(0, N))
        stop = data.draw(st.integers(start, N))
        chain.begin_dead(cause, start)
        chain.end_dead(cause, stop)
        spans[cause] = (start, stop)
    chain.feed(x)
    chain.finish(N)
    chain.release()
    batches, ledger = chain.records(FOREVER), chain.ledger(FOREVER)
    labels = labels_by_hand(c, x, spans)
    for row in ledger:
        part = labels[row["start"] : row["stop"]]
        for cause in ("live", *DEAD_CAUSES):
            assert row[cause] == part.count(cause), cause
    for batch in batches:  # what is recorded was live or only flagged
        for t in batch.table["trigger"].tolist():
            assert not any(
                start <= t < stop for start, stop in (spans["paused"], spans["disk_full"])
            )
        for row in batch.table:
            start, stop = spans["unlocked"]
            assert bool(row["flags"] & Flag.UNLOCKED) == (start <= row["trigger"] < stop)


def labels_by_hand(c: Channel, x: np.ndarray, spans: dict[str, tuple[int, int]]) -> list[str]:
    """For each sample, why it is not live, by the rule of each cause alone."""
    (trigger,) = c.triggers
    dead = {cause: np.zeros(N + 2 * N, bool) for cause in DEAD_CAUSES}  # room on both sides
    off = N

    def mark(cause: str, start: int, stop: int) -> None:
        dead[cause][max(start, -N) + off : max(stop, -N) + off] = True

    for cause, span in spans.items():
        mark(cause, *span)
    for i in np.flatnonzero(x == 32767).tolist():
        mark("saturated", i, i + 1 + c.decimation)
    mark("edge", 0, c.pretrigger)
    mark("edge", N - c.record_length + c.pretrigger + 1, N)
    armed, accepted, held = False, [], 0
    for i, value in enumerate(x.tolist()):
        was = armed
        if armed and value >= trigger.threshold:
            armed = False
            if c.pile_up == "isolated":
                mark("holdoff", i + c.pretrigger - c.record_length + 1, i)
                mark("holdoff", i + 1, i + c.pretrigger + 1)
            if i >= held and i >= c.pretrigger:
                accepted.append(i)
                held = i + trigger.holdoff
                mark("holdoff", i + 1, held)
        elif not armed and value < trigger.rearm:
            armed = True
        if not was and not armed:
            mark("holdoff", i, i + 1)
    counts: dict[int, int] = {}
    second = round(c.sample_rate_hz)
    for t in accepted:
        counts[t // second] = counts.get(t // second, 0) + 1
        if counts[t // second] == int(c.max_rate_hz):
            mark("throttled", t + 1, (t // second + 1) * second)
        if counts[t // second] <= int(c.max_rate_hz) and c.pile_up == "one":
            mark("holdoff", t + 1, t + c.record_length)
    return [
        next((cause for cause in DEAD_CAUSES if dead[cause][off + i]), "live") for i in range(N)
    ]
