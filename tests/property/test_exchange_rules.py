"""Lines, groups, vetoes and the door: what channels say to each other, against plain rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.acquire import exchange
from daq.acquire.clocks import MAX_UNCERTAINTY_NS, Clock
from daq.acquire.pipeline import Pipeline, Start
from daq.model.batch import Batch, Rows
from daq.model.block import Block
from daq.model.channel import Channel, TriggerSettings
from daq.model.clock import Anchor
from daq.model.plan import Group, Plan, Window
from daq.model.record import DEAD_CAUSES, Cause, Flag, mask_of

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


# --- measured: what vetoes cost, and that they miss nothing ---


def interval_999(p: float, n: int) -> float:
    """Half of the 99.9 % interval of a share p of n."""
    return 3.29 * (p * (1 - p) / n) ** 0.5


@pytest.mark.parametrize(("veto_hz", "window_ns"), [(10.0, MS), (50.0, 2 * MS)])
@pytest.mark.parametrize("ppm", [0.0, 30.0])
def test_accidental_vetoes_come_at_the_computed_rate_as_random_triggers_and_ledger_say(
    veto_hz, window_ns, ppm
):
    """P = 1 - exp(-2 R w).

    Seeds 21 and 1. A window holds both its ends, so w is half a sample more.
    """
    n = 400 * RATE
    at = apart(np.random.default_rng(21), n, round(veto_hz * 400), gap=2)
    noise = TriggerSettings(kind="random", rate_hz=20.0)
    window = Window(name="v", kind="veto", sources=("V",), tagged=("T",), before_ns=window_ns,
                    after_ns=window_ns)  # fmt: skip
    x = {"d": np.zeros((1, n), np.int16), "e": spikes(at, n)[None, :]}
    channels = [replace(TARGET, triggers=(noise,)), VETO]
    plan = Plan(windows=(window,), seed=1)
    batches = recorded(channels, plan, x, block=RATE * 20, e=anchors(n, ppm))
    tags = np.array(list(tags_of(batches, 0).values()))
    ledger = np.concatenate([b.ledger for b in batches])
    mine = ledger[ledger["channel"] == 0]
    settled = slice(4, None)  # the first seconds have wider windows, until the clocks are known
    dead = mine["vetoed"][settled].sum() / (mine["stop"] - mine["start"])[settled].sum()
    measured = np.count_nonzero(tags) / tags.size
    expected = 1 - np.exp(-2 * veto_hz * (window_ns / 1e9 + 0.5 / RATE))
    assert tags.size > 7000
    assert abs(measured - expected) < interval_999(expected, tags.size)
    assert abs(measured - dead) < interval_999(dead, tags.size)
    assert dead == pytest.approx(expected, rel=0.05)


@settings(max_examples=10)
@given(seeds, st.floats(-60, 60))
def test_injected_coincidences_are_all_tagged(seed, ppm):
    """Both clocks drift and their stamps jitter by 20 us: no coincidence within 1 ms is missed."""
    rng, n = np.random.default_rng(seed), 100_000
    at = apart(rng, n, 100, gap=80)
    told = anchors(n, ppm, 20_000.0, seed)
    delays = rng.uniform(-0.99e6, 0.99e6, at.size)  # ns, truly
    period = 1e9 / RATE * (1 + ppm * 1e-6)
    veto_at = np.rint((at * 1e9 / RATE + delays) / period).astype(int)
    window = Window(name="v", kind="veto", sources=("V",), tagged=("T",), before_ns=1_100_000,
                    after_ns=1_100_000)  # fmt: skip
    x = {"d": spikes(at, n)[None, :], "e": spikes(np.sort(veto_at), n)[None, :]}
    plan = Plan(window_ns=1_100_000, windows=(window,))
    batches = recorded([TARGET, VETO], plan, x, block=20_000, e=told)
    events = np.concatenate([b.events for b in batches])
    assert set(tags_of(batches, 0).values()) == {1}
    assert len(tags_of(batches, 0)) == at.size
    with_target = events[events["channels"] & np.uint64(1) != 0]
    assert set(with_target["channels"].tolist()) == {3}
    assert set(with_target["vetoed"].tolist()) == {1}
    assert set(with_target["targets"].tolist()) == {1}


def test_a_multiplicity_tags_what_several_crystals_saw():
    at = np.array([500, 900, 1300])
    x = {"d": np.stack([spikes(at, 2000), spikes(at[1:2] + 5, 2000)])}
    plan = Plan(window_ns=2 * MS, windows=PLAN.windows[1:2])
    batches = recorded([TARGET, OTHER], plan, x)
    events = np.concatenate([b.events for b in batches])
    assert events["targets"].tolist() == [1, 2, 1]
    assert events["vetoed"].tolist() == [0, 3, 0]
    assert events["vetoed_by"].tolist() == [0, 1, 0]


def test_a_veto_whose_sources_are_not_there_tags_nothing_and_holds_nothing_up():
    """As in a replay of those channels alone that have a raw stream."""
    at = np.array([500, 1300])
    window = Window(name="v", kind="veto", sources=("V",), tagged=("T",), before_ns=MS,
                    after_ns=MS)  # fmt: skip
    batches = recorded([TARGET], Plan(windows=(window,)), {"d": spikes(at, 2000)[None, :]})
    events = np.concatenate([b.events for b in batches])
    assert events["vetoed"].tolist() == [0, 0]


# --- a digitizer that is silent ---


def test_a_silent_digitizer_stops_nobody_and_what_it_would_have_said_comes_late():
    n = 30_000
    at = np.array([12_000, 15_000])
    line = replace(VETO, name="L", recorded=False)
    external = TriggerSettings(kind="external", line="L")
    target = replace(TARGET, triggers=(LEVEL, external))
    plan = Plan(groups=(Group(name="g", sources=("L",), receivers=("T",), causes=("level",)),))
    told = tuple(anchors(n))
    starts = [Start(digitizer=name, rate_hz=RATE, sample=0, anchors=told[:1]) for name in "de"]
    pipeline = Pipeline.fresh([target, line], plan, starts)
    own = spikes(at + 500, n)[None, :]
    pipeline.feed("d", Block(0, own[:, :20_000], told))
    pipeline.feed("e", Block(0, np.zeros((1, 10_000), np.int16), told))
    assert pipeline.take().records == ()  # the line may still say something before
    assert pipeline.needed_from("d") < 10_000
    pipeline.silence("e")
    batch = pipeline.take()
    assert [r.table["trigger"].tolist() for r in batch.records] == [[12_500, 15_500]]
    assert pipeline.needed_from("d") > 10_000  # nothing is kept for it any more
    pipeline.feed("e", Block(10_000, spikes(at, n)[None, 10_000:20_000], ()))
    assert pipeline.take().records == ()
    assert pipeline.drops()["T"] == {"late": 4}


def test_orders_to_a_digitizer_that_stays_silent_are_bounded_and_counted(monkeypatch):
    monkeypatch.setattr(exchange, "MOST_WAITING", 5)
    n = 20_000
    plan = Plan(groups=(Group(name="g", sources=("T",), receivers=("V",), causes=("level",)),))
    starts = [
        Start(digitizer=name, rate_hz=RATE, sample=0, anchors=(Anchor(0, 10**18),)) for name in "de"
    ]
    pipeline = Pipeline.fresh([TARGET, VETO], plan, starts)
    pipeline.feed("d", Block(0, spikes(np.arange(1000, n, 1000), n)[None, :]))
    pipeline.silence("e")
    pipeline.take()
    assert pipeline.drops() == {"T": {}, "V": {"late": 19 - 5}}


# --- the door ---

CAUSES = ("paused", "disk_full", "unlocked", "heater", "temperature")
INPUT = st.tuples(
    st.integers(0, 39), st.sampled_from([*CAUSES, "record", "triggers"]), st.booleans()
)


@settings(max_examples=30)
@given(seeds, st.lists(INPUT, max_size=8), st.sets(st.integers(0, 40), max_size=4))
def test_inputs_act_at_their_sample_also_where_the_core_is_killed_behind_them(seed, inputs, kills):
    """A killed core has its last commit and the inputs behind it, and goes on with both."""
    rng, n, step = np.random.default_rng(seed), 8000, 200
    x = spikes(apart(rng, n, 60), n)[None, :]
    noise = TriggerSettings(kind="random", rate_hz=10.0)
    channel = replace(TARGET, triggers=(replace(LEVEL, holdoff=60, peak_search=30), noise),
                      decimation=2, pile_up="one")  # fmt: skip
    undisturbed, _ = steps(channel, x, step, inputs, set())
    disturbed, pipeline = steps(channel, x, step, inputs, kills)
    assert disturbed == undisturbed
    assert pipeline.epoch == sum(1 for _, what, _ in inputs if what == "triggers")


def steps(
    channel: Channel, x: np.ndarray, step: int, inputs: list[tuple[int, str, bool]], kills: set[int]
) -> tuple[list[object], Pipeline]:
    """Feed, commit, let the inputs of the step in; where killed, resume and let them in again."""
    starts = [Start(digitizer="d", rate_hz=RATE, sample=0, anchors=(Anchor(0, 10**18),))]
    pipeline = Pipeline.fresh([channel], Plan(seed=2), starts)
    pipeline.stop_at({"d": x.shape[1]})
    out: list[object] = []
    for i, start in enumerate(range(0, x.shape[1], step)):
        pipeline.feed("d", Block(start, x[:, start : start + step]))
        keep(pipeline.take(), out)
        saved, mine = pipeline.checkpoint(), [one for one in inputs if one[0] == i]
        for _, what, on in mine:
            enter(pipeline, what, on)
        if i in kills:
            pipeline = Pipeline.resumed([channel], Plan(seed=2), saved)
            for _, what, on in mine:
                enter(pipeline, what, on)
            again = pipeline.resumes_at("d")
            pipeline.feed("d", Block(again, x[:, again : start + step]))
    keep(pipeline.take(), out)
    assert pipeline.done
    return out, pipeline


def enter(pipeline: Pipeline, what: str, on: bool) -> None:
    now = {"T": pipeline.now("T")}
    if what in CAUSES:
        (pipeline.dead if on else pipeline.alive)(what, now)
    elif what == "record":
        pipeline.order(now)
    else:
        pipeline.set_triggers("T", [replace(LEVEL, threshold=80 if on else 200, holdoff=20)])


def keep(batch: Batch, out: list[object]) -> None:
    for records in batch.records:
        out += [row.tobytes() for row in records.table]
    out += [row.tobytes() for row in batch.ledger]
    out += [row.tobytes() for row in batch.events]


def test_what_enters_shows_in_records_and_ledger():
    n = 20_000
    at = np.arange(1000, n, 2000)
    starts = [Start(digitizer="d", rate_hz=RATE, sample=0, anchors=(Anchor(0, 10**18),))]
    pipeline = Pipeline.fresh([TARGET], Plan(), starts)
    pipeline.stop_at({"d": n})
    x, batches = spikes(at, n)[None, :], []
    for start in range(0, n, 2000):
        now = {"T": pipeline.now("T")}
        match start:
            case 2000:
                pipeline.dead("unlocked", now)
            case 4000:
                pipeline.alive("unlocked", now)
                pipeline.dead("paused", now)
            case 8000:
                pipeline.alive("paused", now)
                pipeline.order({"T": 8500})
            case 10_000:
                pipeline.set_triggers("T", [replace(LEVEL, threshold=200)])
            case 14_000:
                pipeline.set_triggers("T", [LEVEL])
        pipeline.feed("d", Block(start, x[:, start : start + 2000]))
        batches.append(pipeline.take())
    rows = rows_of(batches, 0)
    assert rows["trigger"].tolist() == [1000, 3000, 8500, 9000, 15_000, 17_000, 19_000]
    assert rows["flags"].tolist() == [0, Flag.UNLOCKED, 0, 0, 0, 0, 0]
    assert rows["cause"].tolist()[2] == Cause.SOFTWARE
    assert rows["epoch"].tolist() == [0, 0, 0, 0, 2, 2, 2]
    assert pipeline.drops() == {"T": {"paused": 2}}
    ledger = np.concatenate([b.ledger for b in batches])
    total = {cause: int(ledger[cause].sum()) for cause in ("live", *DEAD_CAUSES)}
    assert (total["unlocked"], total["paused"], sum(total.values())) == (2000, 4000, n)
