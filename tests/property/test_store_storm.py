"""kill -9 of writer and folder at full rate, at any instant: nothing acknowledged is lost."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from tests.faults import page
from tests.store_storm import CONTEXT, Count, storm

SEED = 20261126
LIFE_S = 0.2  # at most, of a writer: all that it writes is folded, proven and read once more


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    CONTEXT.set_forkserver_preload(["tests.store_storm"])


def test_six_kills_cost_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    count = Count()
    storm(tmp_path / "run_000007", random.Random(SEED), 6, 0.1, count)
    assert (count.lost, count.unreadable) == (0, 0)
    assert count.writer_kills == 6
    assert count.acknowledged > 6


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_kills_at_full_rate(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    began, seed = time.monotonic(), int(request.config.getoption("--seed"))
    rng, count = random.Random(seed), Count()
    for _ in range(10):
        storm(tmp_path / "runs" / "run_000007", rng, 20, LIFE_S, count)
        shutil.rmtree(tmp_path / "runs")
    told = page.told_of(seed, time.monotonic() - began)
    page.put(request.config.getoption("--page"), "kills", f"{told}\n\n{count.table()}")
    assert (count.lost, count.unreadable) == (0, 0)
    assert count.writer_kills == 200
