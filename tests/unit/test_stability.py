"""The heater pulses of a run, with services that a list plays."""

from __future__ import annotations

import itertools
import threading
from types import SimpleNamespace

import pytest

from daq.errors import InstrumentError
from daq.services.gains import UNKNOWN
from daq.services.stability import RETRY_S, HeaterPulses, heights
from daq.settings.loader import parse

CONFIG = """
[experiment]
name = "t"
[digitizers.d]
model = "scheelite-stream"
resource = "tcp://127.0.0.1:1"
[kinds.k]
record_length = 64
pretrigger = 16
triggers = []
[channels]
A = { kind = "k", digitizer = "d", input = 0 }
[stability]
generator = "pulser.output 1"
every_s = 4.0
pulses = 2
ladder_v = [0.5, 1.5]
control_v = 6.0
"""


class Bench:
    """Time, the core's run, and what was asked."""

    def __init__(self, tmp_path):
        settings = parse(CONFIG, tmp_path / "t.toml")
        self.now, self.run, self.asked, self.told, self.broken = 100.0, None, [], [], ""
        ns = itertools.count(1)
        self.pulses = HeaterPulses(settings, threading.Event(), lambda: self.now, lambda: next(ns))
        self.pulses._neighbors = self
        self.pulses._notes = SimpleNamespace(tell=lambda text, level="info": self.told.append(text))
        self.pulses._ask = self.ask

    def state(self, name):
        state = "idle" if self.run is None else "running"
        return SimpleNamespace(state=state, body={"run": self.run})

    def ask(self, service, verb, **arguments):
        if self.broken:
            raise InstrumentError(self.broken)
        if verb == "rung":
            self.asked.append(("rung", arguments["volts"], arguments["control"]))
        else:
            assert arguments["instrument"] == "pulser"
            self.asked.append((arguments["parameter"], arguments["value"]))

    def look(self):
        self.asked = []
        self.pulses._look()
        return self.asked


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_control_pulse_comes_before_each_rung():
    some = list(itertools.islice(heights([0.5, 1.5], 6.0), 6))
    assert some == [(6.0, True), (0.5, False), (6.0, True), (1.5, False), (6.0, True), (0.5, False)]


def test_a_run_has_pulses_from_a_generator_that_was_off_and_small_first(bench):
    assert bench.look() == []
    bench.run = 1
    asked = bench.look()
    assert asked[0] == ("output 1.on", False)
    assert asked.index(("output 1.low", 0.0)) < asked.index(("output 1.function", "PULSE"))
    assert asked[-4:] == [
        ("rung", UNKNOWN, False), ("output 1.high", 6.0), ("output 1.on", True),
        ("rung", 6.0, True),
    ]  # fmt: skip
    assert bench.look() == []  # two pulses of it first
    bench.now += 8.1
    assert bench.look() == [
        ("rung", UNKNOWN, False), ("output 1.high", 0.5), ("rung", 0.5, False)
    ]  # fmt: skip
    bench.run = None
    bench.now += 8.1
    assert bench.look() == [("output 1.on", False)]
    assert bench.look() == []


def test_a_generator_that_does_not_answer_is_told_once_and_tried_again(bench):
    bench.run, bench.broken = 1, "pulser does not answer"
    bench.look()
    bench.now += RETRY_S + 0.1
    bench.look()
    assert bench.told == ["heater pulses: pulser does not answer"]
    assert bench.pulses.problem == "pulser does not answer"
    bench.broken = ""
    bench.now += RETRY_S + 0.1
    assert bench.look()[-1] == ("rung", 6.0, True)
    assert bench.pulses.problem == ""
