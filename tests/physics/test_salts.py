"""Salts through the pipeline, log and reader: they measure triggers and disturb nothing."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

from daq.model.channel import Salting, TriggerSettings
from daq.model.plan import Group, Plan, Window
from daq.model.record import Flag
from daq.readout.efficiency import half_point_ev, share
from daq.services.efficiency import efficiency_of, efficiency_text, salts_by_energy
from daq.services.inspect import summary_json, summary_table
from tests.offline import channel, record

RATE_HZ, SIGMA, THRESHOLD, GAIN = 2500.0, 8.0, 60.0, 2.0
ENERGIES = (20.0, 26.0, 29.75, 33.0, 40.0)
IMPULSE = np.array([1.0, *[0.0] * 15]).astype("<f4")
SALTING = Salting(
    rate_hz=10.0, energies_ev=ENERGIES, heights=tuple(GAIN * e for e in ENERGIES),
    template=IMPULSE.tobytes(), pretrigger=0, near=1,
)  # fmt: skip
LEVEL = TriggerSettings(kind="level", threshold=THRESHOLD, rearm=40.0)
SHORT = {"record_length": 32, "pretrigger": 8, "triggers": (LEVEL,)}
PLAN = Plan(
    window_ns=1_000_000,
    windows=(Window(name="array", kind="veto", sources=("A",), tagged=("B",), before_ns=10**6,
                    after_ns=10**6),),
    groups=(Group(name="g", sources=("A",), receivers=("B",), causes=("level",)),),
)  # fmt: skip


@pytest.fixture(scope="module")
def noise():
    rng = np.random.default_rng(11)
    x = rng.normal(0, SIGMA, (2, round(400 * RATE_HZ)))
    x[0, 5000::25_000] += 500.0  # true pulses, 40 of them
    return np.rint(x).astype(np.int16)


def channels(salting: Salting | None):
    a = channel("A", 0, RATE_HZ, **SHORT, salting=salting)
    return [a, channel("B", 1, RATE_HZ, **SHORT)]


@pytest.fixture(scope="module")
def salted(noise, tmp_path_factory):
    return record(tmp_path_factory.mktemp("salted"), channels(SALTING), noise, PLAN)


@pytest.fixture(scope="module")
def plain(noise, tmp_path_factory):
    return record(tmp_path_factory.mktemp("plain"), channels(None), noise, PLAN)


def test_the_measured_efficiency_is_that_of_theory(salted):
    """A pulse of one sample is found where noise and pulse reach the threshold together."""
    counts = salts_by_energy(salted.salts(), 0)
    assert sum(placed for placed, _ in counts.values()) > 3000
    for energy, (placed, found) in counts.items():
        # values are whole counts: the threshold is half a count lower
        theory = scipy.stats.norm.cdf((GAIN * energy - THRESHOLD + 0.5) / SIGMA)
        exact = share(energy, placed, found, level=0.999)
        assert exact.low <= theory <= exact.high
    half = half_point_ev([share(e, *n) for e, n in counts.items()])
    assert half == pytest.approx((THRESHOLD - 0.5) / GAIN, abs=0.5)
    assert efficiency_of(counts)["half_ev"] == half


def test_show_says_where_half_are_found(salted, plain):
    half = efficiency_of(salts_by_energy(salted.salts(), 0))["half_ev"]
    assert list(summary_json(salted.folder)["efficiency"]) == ["A"]
    told = Console(file=StringIO(), record=True, width=200)
    told.print(summary_table(salted.folder))
    assert f"A: 50 % at {half:.1f} eV, by" in told.export_text()
    assert summary_json(plain.folder)["efficiency"] == {}


def test_where_no_half_is_crossed_the_counts_are_told():
    told = efficiency_text(efficiency_of({20.0: (10, 9)}))
    assert told == "no 50 % point among 10 salts: 20 eV 9 of 10"


def test_every_salt_is_in_the_file_once_and_its_record_says_so(salted):
    rows, table = salted.salts(), salted.records("A")[0]
    assert np.array_equal(rows["sample"], np.unique(rows["sample"]))
    of_salts = table[~np.isnan(table["salt_ev"])]
    assert (of_salts["flags"] & Flag.SALTED > 0).all()
    found = rows[rows["found"] > 0]
    near = np.abs(found["sample"][:, None] - of_salts["trigger"][None, :]).min(axis=1)
    assert (near <= SALTING.near).all()
    at = np.abs(found["sample"][:, None] - of_salts["trigger"][None, :]).argmin(axis=1)
    assert np.array_equal(of_salts["salt_ev"][at], found["energy_ev"])


def test_what_no_salt_reaches_into_is_as_without_salts(salted, plain):
    """Same triggers, same samples; the other records are flagged, never silently changed."""
    table, samples = plain.records("A")
    with_salts, its_samples = salted.records("A")
    clean = with_salts["flags"] & Flag.SALTED == 0
    same = np.isin(with_salts["trigger"], table["trigger"])
    assert clean.sum() > 20
    assert same[clean].all()
    where = {int(t): i for i, t in enumerate(table["trigger"])}
    for i in np.flatnonzero(clean):
        assert np.array_equal(its_samples[int(i)], samples[where[int(with_salts["trigger"][i])]])


def test_nobody_else_hears_of_a_salt(salted, plain):
    """No veto, no read-out, no multiplicity: B has what it has without salts."""
    for run in (salted, plain):
        table = run.records("B")[0]
        assert len(table) == 40  # read out with each true pulse of A
    columns = ["live", "vetoed", "salted"]
    a, b = (run.ledger()[run.ledger()["channel"] == 1] for run in (salted, plain))
    assert [a[c].sum() for c in columns] == [b[c].sum() for c in columns]
    events, members = salted.events(), salted.members()
    assert events["targets"].sum() == plain.events()["targets"].sum()
    table = salted.records("A")[0]
    salts = set(table["record"][~np.isnan(table["salt_ev"])].tolist())
    of_salts = members[(members["channel"] == 0) & np.isin(members["record"], list(salts))]
    assert (events["targets"][of_salts["event"]] == 0).any()


def test_exposure_leaves_out_what_salts_reach_into(salted, plain):
    a, b = (run.ledger()[run.ledger()["channel"] == 0] for run in (salted, plain))
    assert b["salted"].sum() == 0
    assert a["live"].sum() < b["live"].sum()
    # each salt costs its 16 samples and a record's 32, less one, where they do not overlap
    rows, length = salted.salts(), round(400 * RATE_HZ)
    share_lost = 1 - np.exp(-SALTING.rate_hz / RATE_HZ * (16 + 32 - 1))
    assert len(rows) == pytest.approx(4000, abs=5 * 4000**0.5)
    assert a["salted"].sum() / length == pytest.approx(share_lost, rel=0.1)


def test_salts_are_unbiased_below_a_count(noise, tmp_path):
    """A pulse of 0.3 counts adds 0.3 counts on average."""
    small = replace(SALTING, rate_hz=200.0, energies_ev=(0.15,), heights=(0.3,))
    always = (TriggerSettings(kind="periodic", period=64, phase=40),)
    facts = SHORT | {"triggers": always, "record_length": 64, "pretrigger": 16}
    sums = []
    for number, salting in enumerate((small, None), start=1):
        quiet = np.zeros_like(noise[:1])
        one = channel("A", 0, RATE_HZ, **facts, salting=salting)
        run = record(tmp_path, [one], quiet, number=number)
        sums.append(run.records("A")[1][:].sum())
    assert sums[1] == 0
    assert sums[0] == pytest.approx(200.0 * 400 * 0.3, rel=0.05)
