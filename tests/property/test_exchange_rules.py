"""Lines, groups, vetoes and the door: what channels say to each other, against plain rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.acquire.clocks import MAX_UNCERTAINTY_NS, Clock
from daq.acquire.pipeline import Pipeline, Start
from daq.model.batch import Batch, Rows
from daq.model.block import Block
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Group, Plan, Window
from daq.model.record import Cause, mask_of

RATE = 10_000
MS = 1_000_000
LEVEL = TriggerSettings(kind="level", threshold=60, rearm=20)
TARGET = Channel(
    name="T",
    digitizer="d",
    row=0,
    sample_rate_hz=float(RATE),
    decimation=1,
    record_length=24,
    pretrigger=8,
    volts_per_count=1.0,
    triggers=(LEVEL,),
    mass_g=0.75,
)
OTHER = replace(TARGET, name="U", row=1)
VETO = replace(TARGET, name="V", digitizer="e", mass_g=0.0)
ROWS = {"d": 2, "e": 1}
seeds = st.integers(0, 2**32 - 1)


def spikes(at: np.ndarray, n: int, height: int = 100) -> np.ndarray:
    x = np.zeros(n, np.int16)
    x[at] = height
    return x


def apart(rng: np.random.Generator, n: int, k: int, gap: int = 3) -> np.ndarray:
    """k samples of n that are at least `gap` apart, so that each is a crossing of its own."""
    at = np.sort(rng.integers(100, n - 100, k))
    return at[np.diff(at, prepend=-gap) >= gap]


def anchors(n: int, ppm: float = 0.0, jitter_ns: float = 0.0, seed: int = 0) -> list[Anchor]:
    rng = np.random.default_rng(seed)
    period = 1e9 / RATE * (1 + ppm * 1e-6)
    return [
        Anchor(s, 10**18 + round(s * period + rng.normal(0, jitter_ns))) for s in range(0, n, RATE)
    ]


def recorded(
    channels: list[Channel],
    plan: Plan,
    x: dict[str, np.ndarray],
    block: int = 50_000,
    **clocks: list,
) -> list[Batch]:
    """A whole run; x is int16 [channel, sample] by digitizer."""
    told = {name: clocks.get(name, anchors(x[name].shape[1])) for name in x}
    starts = [Start(digitizer=name, rate_hz=RATE, sample=0, anchors=(told[name][0],)) for name in x]
    pipeline = Pipeline.fresh(channels, plan, starts)
    pipeline.stop_at({name: samples.shape[1] for name, samples in x.items()})
    batches = []
    for start in range(0, max(samples.shape[1] for samples in x.values()), block):
        for name, samples in x.items():
            some = samples[:, start : start + block]
            if some.shape[1]:
                mine = tuple(a for a in told[name] if start <= a.sample < start + some.shape[1])
                pipeline.feed(name, Block(start, some, mine))
        batches.append(pipeline.take())
    assert pipeline.done
    return batches


def rows_of(batches: list[Batch], channel: int) -> Rows:
    tables = [r.table for b in batches for r in b.records if r.channel == channel]
    return np.concatenate(tables) if tables else np.zeros(0, [("trigger", "i8")])


def tags_of(batches: list[Batch], channel: int) -> dict[int, int]:
    """Record number -> tags."""
    members = np.concatenate([b.members for b in batches])
    mine = members[members["channel"] == channel]
    return dict(zip(mine["record"].tolist(), mine["tags"].tolist(), strict=True))


# --- groups and lines ---


@settings(max_examples=20)
@given(seeds, st.integers(1, 8), st.sampled_from([1, 2, 5]))
def test_any_channel_orders_the_read_out_of_any_other_and_secondaries_cause_none(
    seed, window, factor
):
    """A ring of groups: each record is a channel's own, or its source's at the same time."""
    rng, n = np.random.default_rng(seed), 6000
    at = {"T": apart(rng, n, 6), "U": apart(rng, n, 6)}
    third = replace(TARGET, name="W", row=2, triggers=(), decimation=1)
    channels = [TARGET, replace(OTHER, merge_window=window), third]
    plan = Plan(
        groups=(
            Group(name="a", sources=("T",), receivers=("U", "T"), causes=("level",)),
            Group(name="b", sources=("U",), receivers=("W",), causes=("level",)),
            Group(name="c", sources=("T", "U"), receivers=("W",), causes=("level",)),
            Group(name="d", sources=("W",), receivers=("T",), causes=("level",)),
        )
    )
    x = {"d": np.stack([spikes(at["T"], n), spikes(at["U"], n), np.zeros(n, np.int16)])}
    batches = recorded(channels, plan, x, block=997)
    t, u, w = (rows_of(batches, i) for i in range(3))
    assert t["trigger"].tolist() == at["T"].tolist()
    assert set(t["causes"].tolist()) == {mask_of([Cause.LEVEL])}
    assert w["trigger"].tolist() == sorted({*at["T"].tolist(), *at["U"].tolist()})
    assert set(w["cause"].tolist()) == {Cause.SECONDARY}
    by_hand = []  # own and ordered ones of U, those within the window of the first as one
    for sample, own in sorted([(s, True) for s in at["U"]] + [(s, False) for s in at["T"]]):
        last = by_hand[-1] if by_hand else []
        again = own and any(o for _, o in last)
        if last and sample < last[0][0] + window and not (again and sample > last[-1][0]):
            last.append((sample, own))
        else:
            by_hand.append([(sample, own)])
    assert u["trigger"].tolist() == [
        min((s for s, own in group if own), default=group[0][0]) for group in by_hand
    ]
    assert [bool(c & mask_of([Cause.LEVEL])) for c in u["causes"]] == [
        any(own for _, own in group) for group in by_hand
    ]


@settings(max_examples=20)
@given(seeds, st.floats(-60, 60), st.sampled_from([1, 4]))
def test_a_line_on_another_clock_triggers_at_its_time(seed, ppm, factor):
    rng, n = np.random.default_rng(seed), 60_000
    gate = apart(rng, n, 8)
    line = replace(VETO, name="L", recorded=False)
    external = TriggerSettings(kind="external", line="L", holdoff=50)
    target = replace(TARGET, triggers=(external,), decimation=factor)
    told = anchors(n, ppm, 200.0, seed)
    x = {"d": np.zeros((1, n), np.int16), "e": spikes(gate, n)[None, :]}
    rows = rows_of(recorded([target, line], Plan(), x, e=told), 0)
    e, d = Clock.at_rate(RATE, told), Clock.at_rate(RATE, anchors(n))
    by_hand, held = [], -1
    for sample in gate.tolist():
        t = e.t_ns(sample)
        mapped = next(s for s in range(max(sample - 20, 0), sample + 20) if d.t_ns(s) >= t)
        own = (mapped + factor // 2) // factor
        if own >= held:
            held = own + 50
            by_hand.append(own * factor)
    assert rows["trigger"].tolist() == by_hand
    assert set(rows["cause"].tolist()) <= {Cause.EXTERNAL}


# --- vetoes ---

PLAN = Plan(
    window_ns=2 * MS,
    windows=(
        Window(name="outer", kind="veto", sources=("V",), tagged=("T", "U"), before_ns=3 * MS,
               after_ns=5 * MS),
        Window(name="array", kind="veto", sources=("T", "U"), tagged=("T", "U"),
               before_ns=2 * MS, after_ns=2 * MS),
        Window(name="gate", kind="gate", sources=("V",), tagged=("T",), before_ns=0,
               after_ns=MS, widen_ns_counts=500.0 * MS),
    ),
)  # fmt: skip


@settings(max_examples=10)
@given(seeds, st.floats(-60, 60))
def test_a_record_is_tagged_exactly_where_the_ledger_says_so(seed, ppm):
    """Random triggers of many channels ask at random samples whether the ledger is right."""
    rng, n = np.random.default_rng(seed), 20_000
    noise = TriggerSettings(kind="random", rate_hz=40.0)
    channels = [
        replace(TARGET, triggers=(replace(LEVEL, holdoff=10), noise)),
        replace(OTHER, triggers=(LEVEL,)),
        VETO,
    ]
    at = [apart(rng, n, 20, gap=10), apart(rng, n, 20), apart(rng, n, 40)]
    x = {"d": np.stack([spikes(at[0], n), spikes(at[1], n)]), "e": spikes(at[2], n)[None, :]}
    told = anchors(n, ppm, 20_000.0, seed)
    batches = recorded(channels, PLAN, x, e=told)
    e, d = Clock.at_rate(RATE, told), Clock.at_rate(RATE, anchors(n))
    spans: list[tuple[int, int]] = []
    gates: list[tuple[int, int]] = []
    for sample in at[2].tolist():
        t, near = e.t_ns(sample), d.first_at(e.t_ns(sample))
        error = min(e.uncertainty_ns(sample) + d.uncertainty_ns(near), MAX_UNCERTAINTY_NS)
        spans.append((t - 3 * MS - error, t + 5 * MS + error))
        gates.append((t - error, t + MS + error))
    times = np.array([d.t_ns(s) for s in range(n)])
    outer = {int(s) for a, b in spans for s in np.flatnonzero((a <= times) & (times <= b))}
    array = {s for p in at[1].tolist() for s in range(p - 20, p + 21) if 0 <= s < n}
    rows, tags = rows_of(batches, 0), tags_of(batches, 0)
    for row in rows:
        s, tag = int(row["trigger"]), tags[int(row["record"])]
        assert bool(tag & 1) == (s in outer)
        assert bool(tag & 2) == (s in array)
        wide = widened_by_hand(float(row["height"]))
        inside = any(a <= t <= b for a, b in gates for t in times[max(s - wide, 0) : s + wide + 1])
        assert bool(tag & 4) == inside
    ledger = np.concatenate([b.ledger for b in batches])
    mine = ledger[ledger["channel"] == 0]
    seen = {s for s in outer | array if 8 <= s <= n - 16}
    dead = {s for p in at[0].tolist() for s in range(p + 1, p + 10)}
    assert int(mine["vetoed"].sum()) == len(seen - dead)


def widened_by_hand(height: float) -> int:
    """Samples: half a second times counts over the height, at most 10 ms."""
    return int(min(0.5 / height if height > 0 else 1.0, 0.01) * RATE)
