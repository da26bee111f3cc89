"""Blocks are fed to the pipeline together, and nobody can tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from daq.model.block import Block, Gap, joined
from daq.model.clock import Anchor
from daq.model.plan import Plan
from daq.services.recording import AT_ONCE, DigitizerFacts, Recording, RunFacts
from daq.store import names
from tests.offline import LOG, T_NS, channel

RATE_HZ = 10_000.0
SAMPLES = np.random.default_rng(1).integers(-90, 90, (1, 2 * AT_ONCE)).astype(np.int16)


@pytest.fixture
def recording(tmp_path) -> Iterator[Recording]:
    folder = tmp_path / "run_000001"
    names.log_folder(folder).mkdir(parents=True)
    facts = RunFacts(
        run=1, name="t", comment="", settings_toml="", settings={}, plan=Plan(),
        channels=[channel("A", 0, RATE_HZ)], software="s", host="h", user="u", t_ns=T_NS,
        digitizers=[
            DigitizerFacts(name="d", rate_hz=RATE_HZ, epoch="e", start=0, anchors=[(0, T_NS)])
        ],
    )  # fmt: skip
    found = Recording.begin(folder, facts, LOG, {})
    yield found
    found.drop()


def block(start: int, stop: int) -> Block:
    return Block(start, SAMPLES[:, start:stop], (Anchor(start, T_NS + start * 100_000),))


@pytest.fixture
def fed(recording, monkeypatch) -> list[tuple[int, int]]:
    """What the pipeline was fed, as it comes."""
    blocks, feed = [], recording.pipeline.feed

    def note(digitizer: str, block: Block) -> None:
        blocks.append((block.start, block.stop))
        feed(digitizer, block)

    monkeypatch.setattr(recording.pipeline, "feed", note)
    return blocks


def test_contiguous_blocks_are_fed_as_one(recording, fed):
    for start in (0, 100, 200):
        recording.feed("d", [], block(start, start + 100))
    assert fed == []
    assert recording.pipeline.fed("d") == 300  # whoever asks sees all that came
    assert fed == [(0, 300)]
    recording.feed("d", [], block(300, 400))
    recording.commit()
    assert fed == [(0, 300), (300, 400)]


def test_what_came_before_a_gap_goes_before_it(recording, fed):
    recording.feed("d", [], block(0, 100))
    recording.feed("d", [Gap(100, 150)], block(150, 200))
    assert fed == [(0, 100)]
    assert recording.pipeline.lost == 50
    assert fed == [(0, 100), (150, 200)]


def test_a_hole_that_nobody_told_of_is_none_of_theirs(recording, fed):
    recording.feed("d", [], block(0, 100))
    recording.feed("d", [], block(120, 200))
    assert recording.pipeline.lost == 20
    assert fed == [(0, 100), (120, 200)]


def test_no_more_is_held_than_so_much(recording, fed):
    recording.feed("d", [], block(0, 1000))
    recording.feed("d", [], block(1000, AT_ONCE))
    assert fed == [(0, AT_ONCE)]


def test_the_stop_of_a_run_is_not_waited_for(recording, fed):
    recording.stop_at({"d": 150}, "enough")
    recording.feed("d", [], block(0, 100))
    assert not recording.done
    recording.feed("d", [], block(100, 200))
    assert recording.done
    assert recording.stopped("d")


def test_joined_blocks_have_all_samples_and_anchors():
    parts = [block(0, 10), block(10, 15), block(15, 40)]
    whole = joined(parts)
    assert (whole.start, whole.stop) == (0, 40)
    assert np.array_equal(whole.samples, SAMPLES[:, :40])
    assert not whole.samples.flags.writeable
    assert [anchor.sample for anchor in whole.anchors] == [0, 10, 15]


def test_what_is_joined_does_not_hang_on_where_it_lay():
    samples = SAMPLES[:, :10].copy()
    whole = joined([Block(0, samples)])
    samples[:] = 0
    assert np.array_equal(whole.samples, SAMPLES[:, :10])


def test_what_is_held_is_told_in_bytes_until_it_is_fed_or_let_go(recording, fed):
    assert recording.held_bytes("d") == 0
    recording.feed("d", [], block(0, 100))
    recording.feed("d", [], block(100, 250))
    assert recording.held_bytes("d") == 500
    recording.commit()
    assert recording.held_bytes("d") == 0
    recording.feed("d", [], block(250, 300))
    recording.drop()
    assert recording.held_bytes("d") == 0
