"""When the servo of run control moves a bias, with services that a list plays."""

from __future__ import annotations

import copy
import threading
from types import SimpleNamespace

import pytest

from daq.errors import (
    InstrumentError,
    OutOfRangeError,
    RefusedError,
    ServiceTimeoutError,
    SettingsError,
)
from daq.services.servo import RETRY_S, BiasServo
from daq.settings.loader import parse

BASE = """
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
B = { kind = "k", digitizer = "d", input = 1 }
[stability]
generator = "pulser.output 1"
every_s = 1.0
[stability.servo]
channels = ["A"]
pulses = 4
every_s = 20.0
settle_s = 1.0
gain = 0.5
dead_band = 0.02
"""
CONFIG = (
    BASE
    + """
[instruments.s]
model = "magnicon-xxf1"
resource = "ASRL/dev/ttyUSB0::INSTR"
[instruments.fridge]
model = "lakeshore372"
resource = "TCPIP::127.0.0.1::1::SOCKET"
[instruments.pulser]
model = "keysight33500b"
resource = "TCPIP::127.0.0.1::1::SOCKET"
[detectors.all]
thermometer = "fridge:input 6.temperature"
[detectors.A]
squid = "s:1"
[detectors.B]
squid = "s:2"
"""
)
TES_BIAS = {
    "parameter": "squid 1.tes_bias", "part": "current", "unit": "A", "to_si": 1e-6, "members": {},
    "minimum": -125e-6, "maximum": 125e-6, "choices": [], "source": "read",
}  # fmt: skip
SQUID = {"values": {"tes_bias": TES_BIAS}, "actions": {}}
UTC_S = 1.8e9


class Bench:
    """Time, what the services tell, and what was asked of them."""

    def __init__(self, tmp_path, monkeypatch, run=1):
        monkeypatch.setenv("SCHEELITE_RUNTIME", str(tmp_path))
        self.now, self.asked, self.told, self.fails = 100.0, [], [], {}
        self.bias_ua, self.code_ua, self.run, self.core_state = 1.0, 0.0, run, "running"
        self.lease, self.relock, self.bath_k = None, {}, 10e-3
        self.guard, self.dead_s = None, {"unlocked": 0.0, "temperature": 0.0}
        self.pulses, self.squids = [], {"1": SQUID, "2": SQUID}
        self.stop = threading.Event()
        self.stop.wait = lambda s: self.asked.append(("settled", s))
        self.servo = BiasServo(
            parse(CONFIG, tmp_path / "t.toml"), self.stop, lambda: self.now, lambda: self.utc_s
        )
        self.servo._neighbors = self
        self.servo._notes = SimpleNamespace(tell=lambda text, level="info": self.told.append(text))
        self.servo._ask = self.ask

    @property
    def utc_s(self):
        return UTC_S + self.now

    def state(self, name):
        rest = {"gain": {"pulses": self.pulses}, "guard": self.guard, "dead_s": self.dead_s}
        channels = copy.deepcopy({"A": rest, "B": rest})
        return SimpleNamespace(state=self.core_state, body={"run": self.run, "channels": channels})

    def body(self, name):
        if name == "run":
            return {"lease": self.lease, "relock": self.relock}
        reading = {"value": self.bath_k, "stale": self.bath_k is None}
        return {"readings": {"fridge.input 6.temperature": reading}}

    def ask(self, service, verb, **arguments):
        if verb in self.fails:
            self.asked.append((verb, "failed"))
            raise self.fails.pop(verb)
        if verb == "list":
            return {"instruments": {"s": {"squids": self.squids}}}
        if verb == "write":
            asked_ua = arguments["value"]["current"]
            code = self.code_ua
            self.bias_ua = round(asked_ua / code) * code if code else asked_ua
        if verb in ("read", "write"):
            assert arguments["parameter"] == "squid 1.tes_bias"
            self.asked.append((verb, self.bias_ua))
            return {"value": {"current": self.bias_ua}, "source": "read"}
        self.asked.append((verb, arguments["cause"]))
        assert arguments["channels"] == ["A"]
        return {}

    def look(self, height=None, after_s=20.0):
        """Five control pulses of a height, and a look at the end of them."""
        self.now += after_s
        if height is not None:
            self.pulses = [[self.utc_s - 0.5 * k, height] for k in range(5)][::-1]
        self.asked = []
        self.servo._look()
        return [what for what, _ in self.asked]

    @property
    def a(self):
        return self.servo.told["A"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    bench.look(1.0)
    return bench


STEP = ["read", "mark_dead", "write", "settled", "mark_alive", "read"]


def test_a_step_is_marked_dead_settled_marked_alive_and_noted(bench):
    bench.look(1.0)
    assert (bench.a["state"], bench.a["steps"]) == ("holding", 0)
    assert bench.look(0.97) == STEP
    assert bench.asked[1] == ("mark_dead", "heater")
    assert bench.bias_ua == pytest.approx(1.0 - 0.5 * 0.0305 / 3, abs=1e-4)
    assert (bench.a["state"], bench.a["steps"]) == ("holding", 1)
    assert bench.a["moved"] == pytest.approx(bench.bias_ua - 1)
    assert "run control's servo moved A's TES bias from 1e-06 to 9.9" in bench.told[-1]
    assert "since the run began" in bench.told[-1]
    assert set(bench.servo.told) == {"A"}  # B is not to be held
    bench.run = None
    bench.look()
    assert "in 1 steps, and stays there" in bench.told[-1]
    assert bench.servo.told == {}


def test_pulses_from_before_a_step_do_not_count_after_it(bench):
    assert bench.look(0.97) == STEP
    assert bench.look(after_s=20.1) == []
    assert bench.a["why"] == "0 of 4 control pulses so far"
    assert bench.look(0.97) == STEP


def test_no_step_comes_sooner_than_every_s(bench):
    assert bench.look(0.97) == STEP
    assert bench.look(0.97, after_s=10.0) == []
    assert bench.look(0.97, after_s=10.1) == STEP


def lock_lost(bench):
    bench.relock = {"A": {"state": "unlocked"}}


def paused(bench):
    bench.core_state = "paused"


def hit(bench):
    bench.guard = {"standing": "noise"}


def charged(bench):
    bench.dead_s = {**bench.dead_s, "temperature": 0.5}


def warm(bench):
    bench.bath_k = 10.6e-3


def no_thermometer(bench):
    bench.bath_k = None


def late(bench):
    bench.pulses = [[t_s - 500.0, height] for t_s, height in bench.pulses]


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (lock_lost, "its SQUID is unlocked"),
        (paused, "the run is paused"),
        (hit, "the guard finds noise"),
        (charged, "time was charged as unlocked or for temperature"),
        (warm, "the bath is at 10.60 mK, it was at 10.00 mK"),
        (no_thermometer, "no fresh reading of fridge:input 6.temperature"),
        (late, "no control pulse for 520 s"),
    ],
)
def test_what_speaks_against_a_channel_makes_it_wait_and_pulses_of_then_not_count(
    bench, happens, why
):
    bench.pulses = [[bench.utc_s - k, 0.97] for k in range(5)][::-1]
    happens(bench)
    assert bench.look() == []
    assert (bench.a["state"], bench.a["why"]) == ("waiting", why)
    before = bench.servo._courses["A"].clean_s
    assert before == bench.utc_s


def test_while_somebody_holds_the_lease_nothing_is_moved_or_charged(bench):
    bench.lease = {"who": "maria"}
    assert bench.look(0.97) == []
    assert bench.a["why"] == "maria holds the control lease"
    bench.lease = None
    assert bench.look(0.97) == STEP


def test_a_refusal_that_comes_between_costs_the_settling_and_is_tried_again(bench):
    bench.fails = {"write": RefusedError("maria holds the control lease for another 60 s")}
    assert bench.look(0.97) == STEP
    assert (bench.bias_ua, bench.a["steps"]) == (1.0, 0)
    assert bench.a["why"] == "maria holds the control lease for another 60 s"
    assert bench.look(0.97, RETRY_S + 1) == STEP
    assert bench.a["steps"] == 1


def test_a_hard_limit_ends_it_alive_and_loudly(bench):
    bench.fails = {"write": OutOfRangeError("tes_bias: expected up to 0.9 uA, found 1.1")}
    assert bench.look(0.97)[-2:] == ["mark_alive", "read"]
    assert bench.a["state"] == "given up"
    assert bench.servo.problem == (
        "A's working point is not held: tes_bias: expected up to 0.9 uA, found 1.1"
    )
    assert bench.look(0.97) == []
    bench.run = 2
    bench.look(1.0)
    assert (bench.a["state"], bench.servo.problem) == ("waiting", "")


def test_a_bias_that_somebody_else_moved_is_let_go(bench):
    bench.bias_ua = 1.5
    assert bench.look(0.97) == ["read"]
    assert bench.a["why"] == "somebody else moved its bias from 1e-06 to 1.5e-06 A"


def test_electronics_that_do_not_answer_after_a_step_are_asked_again_and_time_is_live_again(bench):
    asked = bench.ask
    reads = iter([None, InstrumentError("s does not answer")])

    def ask(service, verb, **arguments):
        if verb == "read" and (error := next(reads, None)):
            raise error
        return asked(service, verb, **arguments)

    bench.servo._ask = ask
    assert bench.look(0.97)[-1] == "mark_alive"
    assert bench.a["why"] == "s does not answer"
    assert bench.look(0.97, after_s=10.0) == []
    assert bench.look(0.97, after_s=RETRY_S) == ["settled", "mark_alive", "read"]
    assert bench.a["bias_a"] == pytest.approx(bench.bias_ua * 1e-6)
    assert "a step that was broken off is over" in bench.told[-1]


def test_a_run_control_that_is_restarted_ends_the_step_and_knows_where_the_run_began(
    bench, tmp_path, monkeypatch
):
    bench.fails = {"write": ServiceTimeoutError("no answer")}
    assert bench.look(0.97) == ["read", "mark_dead", "write"]
    again = Bench(tmp_path, monkeypatch)
    again.bias_ua = 0.99
    assert again.look(1.0) == ["settled", "mark_alive", "read"]
    assert again.a["begin_a"] == 1e-6
    assert again.a["moved"] == pytest.approx(-0.01)
    other = Bench(tmp_path, monkeypatch, run=2)
    other.bias_ua = 0.99
    assert other.look(1.0) == ["read"]
    assert other.a["begin_a"] == pytest.approx(0.99e-6)


def test_a_step_that_is_rounded_away_is_not_asked_for_again(bench):
    bench.code_ua = 0.05
    assert bench.look(0.97) == STEP
    assert "its bias has no step so small" in bench.told[-1]
    assert bench.a["steps"] == 0
    assert bench.look(0.97) == []


def test_a_channel_without_a_bias_is_given_up_at_once(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    bench.bias_ua = 0.0
    bench.look()
    assert bench.a["why"] == "expected a bias to hold it by, found 0 A"
    bench = Bench(tmp_path, monkeypatch, run=2)
    bench.squids = {"1": {"values": {}, "actions": {}}}
    bench.look()
    assert bench.a["why"] == "A has no tes_bias: expected one of "
    assert bench.told[-1].startswith("servo of A is given up until the next run")


def test_instruments_that_are_not_there_yet_are_told_once_and_asked_again(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    for _ in range(2):
        bench.fails = {"list": ServiceTimeoutError("instruments does not answer")}
        bench.look(after_s=RETRY_S + 1)
    assert bench.told == ["no servo: instruments does not answer"]
    assert bench.servo.problem == "no servo: instruments does not answer"
    bench.look(after_s=RETRY_S + 1)
    assert (bench.servo.problem, bench.a["state"]) == ("", "waiting")


def test_news_of_the_core_that_stop_make_it_wait(bench, monkeypatch):
    monkeypatch.setattr(bench, "state", lambda name: None)
    assert bench.look(0.97) == []
    assert bench.a["why"] == "no news of the core"


def test_a_servo_of_detectors_that_are_none_is_refused(tmp_path):
    with pytest.raises(SettingsError) as found:
        parse(BASE, tmp_path / "t.toml")
    assert "stability.servo: expected [detectors] whose bias it can move, found none" in str(
        found.value
    )
    with pytest.raises(SettingsError) as found:
        parse(CONFIG.replace('channels = ["A"]', 'channels = ["A", "C"]'), tmp_path / "t.toml")
    assert "stability.servo.channels: expected one of A, B, found 'C'" in str(found.value)


def test_without_the_table_nobody_is_held(tmp_path):
    without, _, rest = CONFIG.partition("[stability.servo]")
    settings = parse(without + rest.partition("dead_band = 0.02")[2], tmp_path / "t.toml")
    servo = BiasServo(settings, threading.Event())
    servo.run()  # which is over at once
    assert (servo.told, servo.problem) == ({}, "")
