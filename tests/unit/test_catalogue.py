"""The catalogue of runs: what is put in is found by each question, and it can be made anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daq.errors import StorageError
from daq.store.catalogue import Catalogue, ChannelRow, RunRow, Search

HOUR_NS = 3600 * 10**9


def row(run: int, **changes) -> RunRow:
    made = RunRow(
        run=run,
        folder=f"runs/run_{run:06d}",
        name="bench",
        state="complete",
        reason="60 s are over",
        comment="55Fe at 10 mK",
        comments="anna: helium filled",
        labels="A",
        start_ns=run * HOUR_NS,
        stop_ns=(run + 1) * HOUR_NS,
        records=100,
        events=90,
        gaps=0,
        n_bytes=5000,
        exposure_g_d=0.5 * run,
        software="scheelite 0.1.0",
        channels=(
            ChannelRow(channel="C11", records=60, live_s=3000.0, exposure_g_d=0.4 * run),
            ChannelRow(channel="SI", records=40, live_s=3000.0, exposure_g_d=0.0),
        ),
    )
    return replace(made, **changes)


@pytest.fixture
def catalogue(tmp_path):
    made = Catalogue(tmp_path)
    made.put([row(1), row(2, labels="A ignore", comment="100%_test"), row(3, channels=())])
    return made


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({}, [1, 2, 3]),
        ({"after_ns": 3 * HOUR_NS}, [2, 3]),
        ({"before_ns": 3 * HOUR_NS}, [1, 2]),
        ({"after_ns": 3 * HOUR_NS, "before_ns": 3 * HOUR_NS}, [2]),
        ({"text": "HELIUM"}, [1, 2, 3]),
        ({"text": "55fe"}, [1, 3]),
        ({"text": "0%_t"}, [2]),
        ({"text": "%"}, [2]),
        ({"text": "' OR 1=1 --"}, []),
        ({"label": "ignore"}, [2]),
        ({"label": "A"}, [1, 2, 3]),
        ({"label": "ign"}, []),
        ({"channel": "C11"}, [1, 2]),
        ({"channel": "C11", "exposure_g_d": 0.8}, [2]),
        ({"exposure_g_d": 1.0}, [2, 3]),
    ],
)
def test_every_question_finds_its_runs(catalogue, asked, runs):
    assert [each.run for each in catalogue.find(Search(**asked))] == runs


def test_what_is_found_is_what_was_put(catalogue):
    assert catalogue.find(Search())[0] == row(1)


def test_a_run_that_is_put_again_is_replaced(catalogue):
    catalogue.put([row(2, records=7)])
    found = catalogue.find(Search())
    assert [(each.run, each.records) for each in found] == [(1, 100), (2, 7), (3, 100)]
    assert len(found[1].channels) == 2


def test_made_anew_it_has_nothing_old(catalogue):
    assert catalogue.replace([row(9)]) == 1
    assert [each.run for each in catalogue.find(Search())] == [9]


def test_a_damaged_file_says_how_it_is_mended(tmp_path):
    (tmp_path / "runs.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="scheelite runs rebuild makes it anew"):
        Catalogue(tmp_path).find(Search())
    Catalogue(tmp_path).forget()
    assert Catalogue(tmp_path).find(Search()) == []


def test_another_version_is_refused(catalogue):
    import sqlite3

    with sqlite3.connect(catalogue.path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StorageError, match="expected version 1, found 9"):
        catalogue.find(Search())
