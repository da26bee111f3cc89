"""Samples are a function of the seed, of the command log and of their numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sim_hardware.retold import read_commands
from sim_hardware.settings import BenchError
from sim_hardware.source import ForgottenError, Source
from tests.wired_bench import commands, spec, unserved

RATE_HZ = 10_000
LENGTH = 2_000
# Any: the [bench] table
LIVELY: dict[str, Any] = {"iron55_rate_hz": 2.0, "muon_rate_hz": 5.0}
JUMPS = [{"kind": "flux_jump", "channel": "C11", "at_s": 40.0, "n_phi0": 1}]
TARGETS = spec(RATE_HZ, sources=LIVELY, scenario=JUMPS)
BY_CLOCK = TARGETS | {"pace": "clock"}


@pytest.fixture(scope="module")
def straight() -> Iterator[Source]:
    """Read from the beginning on."""
    with unserved(TARGETS) as sources:
        yield sources["targets"]


starts = st.integers(0, 100 * RATE_HZ)


@settings(deadline=None, max_examples=3)
@given(st.lists(starts, min_size=2, max_size=6), st.booleans())
@example([60 * RATE_HZ + 123, 10 * RATE_HZ + 77], True)  # the late stretch, then the early one
def test_the_order_in_which_stretches_are_read_makes_no_difference(
    straight: Source, asked: list[int], by_clock: bool
) -> None:
    expected = {at: straight.samples(at, at + LENGTH) for at in sorted(asked)}
    with unserved(BY_CLOCK if by_clock else TARGETS) as fresh:
        for at in asked:
            assert np.array_equal(fresh["targets"].samples(at, at + LENGTH), expected[at])


def detuned(folder: Path) -> dict[str, Any]:
    """A bench by the clock, whose chain is integrated: unbiased and open."""
    return BY_CLOCK | {"initial": "detuned", "truth_dir": str(folder)}


STRETCHES = [(0, 3_000), (30 * RATE_HZ, 30 * RATE_HZ + 3_000), (31 * RATE_HZ, 31 * RATE_HZ + 50)]


def test_what_nobody_read_for_long_is_in_the_log_and_can_be_had_again(tmp_path: Path) -> None:
    with unserved(detuned(tmp_path)) as live:
        seen = [live["targets"].samples(*each) for each in STRETCHES]
        again = live["targets"].samples(*STRETCHES[1])
    np.testing.assert_array_equal(again, seen[1])
    (left,) = commands(tmp_path)
    assert (left["source"], left["what"]) == ("C11", "left alone since sample")
    assert left["value"] <= STRETCHES[0][1] < left["samples"]["targets"] < STRETCHES[1][0]
    (log,) = tmp_path.glob("commands-*.jsonl")
    table = detuned(tmp_path) | {"pace": "flat-out", "commands": str(log), "truth_dir": None}
    for order in (STRETCHES, STRETCHES[::-1]):
        with unserved(table) as retold:
            found = {each: retold["targets"].samples(*each) for each in order}
        assert all(np.array_equal(found[e], s) for e, s in zip(STRETCHES, seen, strict=True))


def test_a_chain_is_left_alone_as_it_is_after_what_it_is_told_at_that_sample(
    tmp_path: Path,
) -> None:
    """A loop is closed, a few samples are read, and then nobody reads for long."""
    lock = GOOD | {"t_s": 5.0, "samples": {"targets": 5 * RATE_HZ}, "value": True}
    closed = [lock, lock | {"what": "n_locks", "value": 1}]
    stretches = [(0, 5 * RATE_HZ + 200), (45 * RATE_HZ, 45 * RATE_HZ + 3_000)]

    def read(folder: Path, lines: list[dict[str, object]], **more: object) -> list[np.ndarray]:
        log = folder / "told.jsonl"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with unserved(detuned(folder) | {"commands": str(log)} | more) as sources:
            return [sources["targets"].samples(*each) for each in stretches]

    seen = read(tmp_path, closed)
    (left,) = (one for one in commands(tmp_path) if one["what"] == "left alone since sample")
    assert left["value"] == 5 * RATE_HZ
    again = read(tmp_path, [*closed, left], pace="flat-out", truth_dir=None)
    for before, after in zip(seen, again, strict=True):
        np.testing.assert_array_equal(after, before)


def test_what_a_digitizer_cannot_remember_is_refused_by_name(tmp_path: Path) -> None:
    with unserved(detuned(tmp_path)) as sources:
        live = sources["targets"]
        for second in range(12):
            live.samples(second * RATE_HZ, (second + 1) * RATE_HZ)
        live.samples(9 * RATE_HZ, 10 * RATE_HZ)  # within its memory
        with pytest.raises(ForgottenError, match=r"C11: expected samples from .* on, which are"):
            live.samples(100, 200)


# --- logs that are none

GOOD = {"t_s": 1.0, "samples": {"targets": 9}, "source": "squids0:1", "what": "locked",
        "value": False}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"t_s": -1.0}, r":1: expected a command: Input should be greater than or equal to 0"),
        ({"more": 1}, ":1: expected a command: Extra inputs"),
        ({"source": "squids9:1"}, "expected commands to squids0:1, .*, found some to squids9:1"),
        ({"what": "luck"}, r"squids0:1: expected what it gives, found \['luck'\]"),
        ({"value": "perhaps"}, "squids0:1: Input should be a valid boolean"),
        ({"source": "cryostat"}, "expected heater or switches, found locked"),
        ({"source": "cryostat", "what": "switches", "value": {"door": True}}, "expected some of"),
        ({"source": "cryostat", "what": "heater", "value": {"stage": "attic"}}, "a stage"),
        ({"source": "cryostat", "what": "heater",
          "value": {"stage": "mixing", "by": "", "power_w": "hot"}}, r"the numbers \['power_w'\]"),
        ({"source": "cryostat", "what": "heater",
          "value": {"stage": "mixing", "by": "", "power_w": -1.0}}, "power of a heater"),
        ({"source": "C11", "what": "left alone since sample", "value": "long"}, "expected samples"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_told_again_is_refused_with_its_place(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    log = tmp_path / "commands.jsonl"
    log.write_text(json.dumps(GOOD | change) + "\n")
    refused = pytest.raises(BenchError, match=why)
    with refused as found, unserved(TARGETS | {"commands": str(log)}):
        pass
    assert str(log) in str(found.value)


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = pytest.raises(BenchError, match="nowhere: expected a command log, found")
    with refused, unserved(TARGETS | {"commands": str(tmp_path / "nowhere")}):
        pass


def test_a_line_that_a_kill_left_unfinished_is_none(tmp_path: Path) -> None:
    log = tmp_path / "commands.jsonl"
    log.write_text(json.dumps(GOOD) + "\n" + '{"t_s": 2.0, "sam')
    (line,) = read_commands(log)
    assert (line.t_s, line.value) == (1.0, False)
