"""What is told of the heater pulses of a run, in a channel."""

from __future__ import annotations

import numpy as np
import pytest

from daq.model.batch import Batch, RecordBatch
from daq.model.channel import Channel
from daq.model.record import RECORD, Cause, Flag, plain
from daq.readout.drift import REFERENCES
from daq.services.gains import KEPT, UNKNOWN, Gains

NS = 10**9
A = Channel(
    name="A", digitizer="d", row=0, sample_rate_hz=1e3, decimation=1, record_length=64,
    pretrigger=16, volts_per_count=1e-3, triggers=(),
)  # fmt: skip


def taken(gains: Gains, seconds: list[int], height: float, amplitude: float, flags: int = 0):
    """Pulses of one height; both differ a little, as heights do."""
    table = np.zeros(len(seconds), plain(RECORD))
    table["t_ns"] = np.array(seconds) * NS
    table["height"] = height * (1 + 0.001 * (np.arange(len(seconds)) % 2))
    table["amplitude"], table["flags"], table["causes"] = amplitude, flags, 1 << Cause.EXTERNAL
    gains.take(Batch(records=(RecordBatch(0, table, np.zeros((0, 0), np.int16)),)), [A])


@pytest.fixture
def gains() -> Gains:
    """A ladder's pulses to 99 s, then control pulses; until 200 s they make their reference."""
    gains = Gains(wander_per_rth=0.01)
    gains.rung(0, 1.0, control=False)
    gains.rung(100 * NS, 5.0, control=True)
    taken(gains, list(range(REFERENCES + 2)), 100.0, 90.0)
    taken(gains, list(range(101, 101 + REFERENCES)), 1000.0, 333.0)
    return gains


def test_control_pulses_are_told_of_by_their_heights_and_times(gains):
    before = gains.told("A")
    assert before is not None
    assert len(before["pulses"]) == 1  # that which completes the reference
    taken(gains, [200, 201], 950.0, 500.0)
    told = gains.told("A")
    assert told is not None
    (_, first), (_, second) = told["pulses"][1:]
    assert [t_s for t_s, _ in told["pulses"][1:]] == [200.0, 201.0]
    # the filter's amplitude is of a shape that a saturated pulse has not
    assert first == pytest.approx(0.95, abs=0.002)
    assert second == pytest.approx(0.95, abs=0.002)
    assert told["value"] == pytest.approx(1.0, abs=0.002)


def test_spoiled_pulses_and_those_of_unknown_height_are_not_told_of(gains):
    taken(gains, [200], 950.0, 500.0, Flag.GUARD)
    gains.rung(300 * NS, UNKNOWN, control=False)
    taken(gains, [301], 950.0, 500.0)
    told = gains.told("A")
    assert told is not None
    assert len(told["pulses"]) == 1


def test_a_flat_top_that_looks_like_a_second_pulse_counts_and_one_of_the_ladder_does_not(gains):
    taken(gains, [200], 950.0, 500.0, Flag.PILED_UP)
    gains.rung(300 * NS, 1.0, control=False)
    taken(gains, list(range(301, 320)), 150.0, 120.0, Flag.PILED_UP)
    told = gains.told("A")
    assert told is not None
    assert len(told["pulses"]) == 2
    assert told["value"] == pytest.approx(1.0, abs=0.002)


def test_the_newest_are_kept(gains):
    taken(gains, list(range(200, 240)), 950.0, 500.0)
    told = gains.told("A")
    assert told is not None
    assert len(told["pulses"]) == KEPT
    assert told["pulses"][-1][0] == 239.0
