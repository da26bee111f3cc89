"""What is blinded is in the restricted file, whole, and nothing of it anywhere else."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from daq.errors import RefusedError
from daq.model.block import Block
from daq.model.channel import Blinding, Channel
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.model.record import PULSES, Flag
from daq.services.recording import DigitizerFacts, Recording, RunFacts
from daq.store import names
from daq.store.folder import Folder
from daq.store.reader import Run, open_run
from daq.store.verify import verify
from tests.offline import LOG, T_NS, channel, record

RATE_HZ, LENGTH, N = 10_000.0, 512, 400_000
HEIGHTS = (150.0, 300.0, 600.0)
WINDOW = Blinding(quantity="height", low=250.0, high=400.0)
PLAN = Plan(window_ns=2_000_000)


def pulses() -> np.ndarray:
    """Two channels with pulses at random, some on others, and some in both at once."""
    rng = np.random.default_rng(20)
    x, shape = rng.normal(0, 5, (2, N)), np.exp(-np.arange(800) / 60)
    for row in (0, 1):
        for at in rng.integers(1000, N - 1000, 200):
            x[row, at : at + 800] += rng.choice(HEIGHTS) * shape
    for at in rng.integers(1000, N - 1000, 40):
        x[:, at : at + 800] += rng.choice(HEIGHTS) * shape
    return np.rint(x).astype(np.int16)


X = pulses()


def channels(how: Blinding | None, **more) -> list[Channel]:
    first = channel("A", 0, RATE_HZ, blinding=how, **more)
    return [first, channel("B", 1, RATE_HZ)]


def taken(folder: Path, how: Blinding | None, piece: int = 50_000, **more) -> Run:
    """A run of these pulses, folded, open with what is blinded."""
    folder.mkdir()
    run = record(folder, channels(how, **more), X, PLAN, piece=piece)
    return open_run(run.folder, unblind=True)


def folded(run: Run) -> Run:
    Folder(run.folder.parent, lambda: 10**18).fold()
    return open_run(run.folder, unblind=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("blind")


@pytest.fixture(scope="module")
def plain(home) -> Run:
    return taken(home / "plain", None)


@pytest.fixture(scope="module")
def blinded(home) -> Run:
    return folded(taken(home / "blinded", WINDOW))


def unnumbered(table: np.ndarray) -> np.ndarray:
    table = table.copy()
    table["record"] = 0
    return table


def chosen(table: np.ndarray) -> np.ndarray:
    """By the plain rule: pulses in the window, and what hides another pulse."""
    inside = (table["height"] >= WINDOW.low) & (table["height"] < WINDOW.high)
    return (table["causes"] & PULSES > 0) & inside | (table["flags"] & Flag.PILED_UP > 0)


def test_no_open_record_shows_a_sample_of_a_blinded_pulse(plain, blinded):
    """Every record of the twin without blinding is in one file or the other, by the plain rule."""
    table, samples = plain.records("A")
    starts = table["start"][chosen(table)]
    touched = np.array([(np.abs(starts - start) < LENGTH).any() for start in table["start"]])
    for rows, x, which in (
        (*blinded.records("A"), ~touched), (*blinded.blinded_records("A"), touched),
    ):  # fmt: skip
        assert np.array_equal(rows["record"], np.arange(which.sum()))
        assert unnumbered(rows).tobytes() == unnumbered(table[which]).tobytes()
        assert np.array_equal(x[:], samples[:][which])
    assert 60 < touched.sum() < 0.9 * len(table)


def test_the_other_channel_and_the_ledger_are_as_without(plain, blinded):
    assert blinded.records("B")[0].tobytes() == plain.records("B")[0].tobytes()
    assert np.sort(blinded.ledger()).tobytes() == np.sort(plain.ledger()).tobytes()
    with pytest.raises(RefusedError, match=r"expected open_run\(..., unblind=True\)"):
        open_run(blinded.folder).blinded_records("A")
    assert len(blinded.blinded_records("B")[0]) == 0


def test_events_have_open_records_alone_and_the_restricted_ones_are_whole(plain, blinded):
    members = blinded.members()
    assert len(members) == sum(blinded.n_records().values())
    events, hidden = blinded.blinded_events()
    table = blinded.blinded_records("A")[0]
    assert sorted(hidden["record"].tolist()) == table["record"].tolist()
    whole = {int(e["t_ns"]): e for e in plain.events()}
    for event in events:
        twin = whole[int(event["t_ns"])]
        for name in ("n_records", "channels", "targets", "tags"):
            assert event[name] == twin[name], name
    assert (events["n_records"] > 1).sum() > 10


@pytest.mark.parametrize("piece", [777, 9_999])
def test_where_blocks_are_cut_makes_no_difference(home, blinded, piece):
    other = taken(home / f"cut{piece}", WINDOW, piece)
    for name in ("A", "B"):
        assert other.records(name)[0].tobytes() == blinded.records(name)[0].tobytes()
    assert other.blinded_records("A")[0].tobytes() == blinded.blinded_records("A")[0].tobytes()
    assert other.events().tobytes() == blinded.events().tobytes()
    for mine, twin in zip(other.blinded_events(), blinded.blinded_events(), strict=True):
        assert mine.tobytes() == twin.tobytes()


def test_log_and_restricted_files_are_for_their_owner_alone(home, blinded):
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    folder = blinded.folder
    assert [mode(path) for path in names.restricted(folder).values()] == [0o600]
    assert [mode(path) for path in names.segments(folder).values()] == [0o644]
    live = taken(home / "modes", WINDOW)
    assert {mode(path) for path in names.logs(live.folder).values()} == {0o600}
    assert len(live.blinded_records("A")[0]) == len(blinded.blinded_records("A")[0])


def test_nothing_of_a_blinded_pulse_is_in_another_file(blinded):
    """Its samples as they lie in the restricted file, looked for in all the others' bytes."""
    _, samples = blinded.blinded_records("A")
    needles = [row[128:256].astype("<i2").tobytes() for row in samples]
    kept = set(names.restricted(blinded.folder).values())
    for path in blinded.folder.iterdir():
        if path not in kept:
            stored = path.read_bytes()
            assert not any(needle in stored for needle in needles), path
    assert not chosen(open_run(blinded.folder).records("A")[0]).any()


def test_verify_proves_the_restricted_files_as_well(home):
    run = folded(taken(home / "verify", WINDOW))
    assert verify(run.folder).problems == []
    (path,) = names.restricted(run.folder).values()
    stored = path.read_bytes()
    path.write_bytes(stored[:-1] + bytes([stored[-1] ^ 1]))
    assert any("restricted_000001.h5: expected SHA-256" in p for p in verify(run.folder).problems)


def test_a_run_that_is_taken_up_blinds_the_same(home, blinded):
    folder = home / "killed" / "run_000001"
    names.log_folder(folder).mkdir(parents=True)
    facts = RunFacts(
        run=1, name="offline", comment="", settings_toml="", settings={}, plan=PLAN, t_ns=T_NS,
        channels=channels(WINDOW), software="s", host="h", user="u",
        digitizers=[DigitizerFacts(name="d", rate_hz=RATE_HZ, epoch="e", start=0,
                                   anchors=[(0, T_NS)])],
    )  # fmt: skip
    recording = Recording.begin(folder, facts, LOG, {"d": N})
    for stop in (9_100, 100_050, 230_000, N):
        for start in range(recording.pipeline.resumes_at("d"), stop, 4_321):
            end = min(start + 4_321, stop)
            anchors = (Anchor(0, T_NS),) if start == 0 else ()
            recording.feed("d", [], Block(start, X[:, start:end], anchors))
            recording.commit()
        if stop < N:
            recording.drop()
            recording = Recording.resume(folder, LOG)
    recording.end(T_NS + 10**11)
    run = open_run(folder, unblind=True)
    assert run.blinded_records("A")[0].tobytes() == blinded.blinded_records("A")[0].tobytes()
    assert run.records("A")[0].tobytes() == blinded.records("A")[0].tobytes()
    assert run.events().tobytes() == blinded.events().tobytes()


def test_a_fraction_is_that_share_of_the_pulses_by_chance(home, plain):
    """Of some 200 lone pulses 30 %, within four sigma; always the same ones."""
    how = Blinding(fraction=0.3)
    run = taken(home / "fraction", how)
    again = taken(home / "again", how, piece=3_333)
    table = plain.records("A")[0]
    starts = table["start"]
    apart = np.abs(starts[:, None] - starts)
    np.fill_diagonal(apart, N)
    lone = set(table["trigger"][(apart.min(axis=1) >= LENGTH)].tolist())
    pulses = set(table["trigger"][table["causes"] & PULSES > 0].tolist()) & lone
    hidden = set(run.blinded_records("A")[0]["trigger"].tolist()) & pulses
    error = np.sqrt(0.3 * 0.7 / len(pulses))
    assert abs(len(hidden) / len(pulses) - 0.3) < 4 * error
    assert again.blinded_records("A")[0].tobytes() == run.blinded_records("A")[0].tobytes()


def test_a_run_without_blinding_has_no_restricted_file(plain):
    assert plain.blinds is False
    assert plain.blinded_records("A")[0].size == 0
