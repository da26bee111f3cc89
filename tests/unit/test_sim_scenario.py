"""Scripts of faults: what they may say, and what they do to clocks, samples and memories."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sim_hardware.faces.digitizer import DigitizerFace
from sim_hardware.faces.redpitaya import RedPitaya
from sim_hardware.holes import Holes
from sim_hardware.scenario import (
    BaselineRamp,
    ClockDrift,
    DeadChannel,
    FluxJump,
    Schedule,
    TriggerStorm,
)
from sim_hardware.scripted import ScriptedSource, drifts, holes, surges
from sim_hardware.settings import Bench
from sim_hardware.world.clock import Drift, SampleClock
from tests.unit.test_sim_digitizer import hello, packets

CONFIG = Path(__file__).parents[2] / "config"


def bench(*entries: dict[str, Any], **more: Any) -> Bench:
    """A small bench with a script."""
    digitizers = {
        "targets": {"port": 0, "sample_rate_hz": 1e3, "channels": ["C11", "C12"]},
        "vetoes": {"port": 0, "sample_rate_hz": 1e3, "channels": ["SI"]},
    }
    return Bench.model_validate({"digitizers": digitizers, "scenario": list(entries), **more})


def schedule(*entries: dict[str, Any]) -> Schedule:
    return Schedule(bench(*entries).scenario)


JUMP = {"kind": "flux_jump", "at_s": 5.0, "channel": "C11", "n_phi0": -2}
DEAD = {"kind": "dead_channel", "at_s": 2.0, "for_s": 3.0, "channel": "C12"}
STORM = {"kind": "trigger_storm", "at_s": 1.0, "for_s": 2.0, "factor": 3.0}
GAP = {"kind": "digitizer_gap", "at_s": 1.0005, "for_s": 0.25, "digitizer": "targets"}
RAMP = {"kind": "baseline_ramp", "at_s": 1.0, "for_s": 2.0, "channel": "C11", "counts_per_s": 50.0}
OVERFLOW = {"kind": "adc_overflow", "at_s": 1.0, "for_s": 0.5, "channel": "C12"}


# --- what a script may say


def test_the_example_names_every_kind_once_and_fits_the_default_bench() -> None:
    tables = tomllib.loads((CONFIG / "bench.toml").read_text())["bench"]
    given = Bench.model_validate(tables | {"scenario": str(CONFIG / "scenario-example.toml")})
    kinds = [entry.kind for entry in given.scenario]
    assert len(kinds) == len(set(kinds)) == 10
    assert Bench.model_validate_json(given.model_dump_json()) == given


def test_entries_may_stand_in_the_bench_itself() -> None:
    (entry,) = bench(JUMP).scenario
    assert entry == FluxJump(kind="flux_jump", at_s=5.0, channel="C11", n_phi0=-2)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (JUMP | {"kind": "flux_jmp"}, "scenario.0\n  Input tag 'flux_jmp'"),
        (JUMP | {"n_phi0": 0}, "expected n_phi0 other than 0"),
        (JUMP | {"n_phi0": 0.5}, "valid integer"),
        (JUMP | {"at_s": -1.0}, "scenario.0.flux_jump.at_s\n  Input should be greater"),
        (JUMP | {"at_s": inf}, "finite number"),
        (JUMP | {"for_s": 1.0}, "Extra inputs are not permitted"),
        (JUMP | {"channel": "C99"}, "entry 0 (flux_jump): expected a channel that there is, found"),
        (
            {"kind": "unlock_storm", "at_s": 1.0, "for_s": 1e6, "channel": "C11", "rate_hz": 10.0},
            "expected at most 1e+06 jumps in a storm, found 1e+07",
        ),
        (GAP | {"digitizer": "veto"}, "expected a digitizer that there is, found veto"),
        (GAP | {"for_s": 0.0}, "scenario.0.digitizer_gap.for_s\n  Input should be greater than 0"),
        (STORM | {"factor": 1.0}, "greater than 1"),
        (STORM | {"particles": ["axion"]}, "scenario.0.trigger_storm.particles.0"),
        (STORM | {"particles": []}, "at least 1 item"),
        (RAMP | {"fraction": 0.5}, "expected one of counts_per_s and fraction, found both"),
        (RAMP | {"counts_per_s": None}, "expected one of counts_per_s and fraction, found none"),
        (OVERFLOW | {"side": "up"}, "'+' or '-'"),
        ({"kind": "clock_drift", "at_s": 1.0, "digitizer": "targets", "ppm": 1e4}, "1000"),
        ({"kind": "unlock_storm", "at_s": 1.0, "for_s": 1.0, "channel": "C11"}, "Field required"),
        ({"kind": "fridge_warm_up", "at_s": 1.0, "for_s": 1.0, "heat_w": 0.0}, "greater than 0"),
        ({"kind": "compressor_trip", "at_s": 1.0}, "Field required"),
        ({}, "scenario.0\n  Unable to extract tag"),
    ],
)
def test_what_makes_no_sense_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        bench(entry)
    assert said in str(refused.value)


def test_all_mistakes_are_said_at_once_with_the_number_of_the_entry() -> None:
    with pytest.raises(ValidationError) as refused:
        bench(JUMP, DEAD | {"at_s": -1.0}, STORM | {"factor": 0.5, "for_s": -1.0})
    places = [".".join(map(str, error["loc"])) for error in refused.value.errors()]
    assert places == [
        "scenario.1.dead_channel.at_s",
        "scenario.2.trigger_storm.for_s",
        "scenario.2.trigger_storm.factor",
    ]


def test_all_unknown_names_are_said_at_once() -> None:
    with pytest.raises(ValidationError) as refused:
        bench(JUMP | {"channel": "X"}, DEAD, GAP | {"digitizer": "Y"})
    assert "entry 0 (flux_jump): expected a channel that there is, found X; " in str(refused.value)
    assert "entry 2 (digitizer_gap): expected a digitizer that there is, found Y" in str(
        refused.value
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "night.toml: expected a scenario, found: No such file"),
        (b"[[entry]\n", "night.toml: expected TOML, found: "),
        (b"\xff", "night.toml: expected TOML, found: "),
        (b"", "night.toml: expected [[entry]] alone, found nothing"),
        (b"[[entries]]\n", "night.toml: expected [[entry]] alone, found entries"),
        (b"entry = 3\n", "Input should be a valid tuple"),
    ],
)
def test_a_file_that_is_no_script_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "night.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValidationError) as refused:
        bench(scenario=str(file))
    assert said in str(refused.value)


# --- asked by time


def test_a_schedule_is_a_function_of_time() -> None:
    night = schedule(JUMP, DEAD, STORM)
    assert [entry.at_s for entry in night.entries] == [1.0, 2.0, 5.0]
    assert [entry.kind for entry in night.due(1.0, 5.0)] == ["trigger_storm", "dead_channel"]
    assert night.due(5.0, 5.0) == []
    dead = night.of(DeadChannel, "C12")
    assert [night.active(DeadChannel, "C12", t) == dead for t in (1.99, 2.0, 4.99, 5.0)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert night.active(DeadChannel, "C11", 3.0) == []
    assert len(night.active(TriggerStorm, None, 2.0)) == 1
    assert Schedule().due(0.0, inf) == []


def test_what_has_no_end_stays() -> None:
    forever = schedule({"kind": "dead_channel", "at_s": 2.0, "channel": "C12"})
    assert len(forever.active(DeadChannel, "C12", 1e12)) == 1


def test_storms_become_surges() -> None:
    (surge,) = surges(schedule(STORM | {"particles": ["muon"]}, JUMP))
    assert (surge.start_s, surge.stop_s, surge.factor) == (1.0, 3.0, 3.0)
    assert surge.kinds == {"muon"}


def test_a_ramp_by_fraction_is_of_half_the_range() -> None:
    ramp = BaselineRamp(kind="baseline_ramp", at_s=0, for_s=4.0, channel="C", fraction=-0.25)
    assert ramp.slope == -2048.0


# --- clocks


def drifting() -> SampleClock:
    changes = schedule(
        {"kind": "clock_drift", "at_s": 100.5, "digitizer": "targets", "ppm": 500.0},
        {"kind": "clock_drift", "at_s": 50.0, "digitizer": "targets", "ppm": -20.0},
        {"kind": "clock_drift", "at_s": 70.0, "digitizer": "vetoes", "ppm": 7.0},
    )
    assert drifts("targets", changes) == [Drift(50.0, -20.0), Drift(100.5, 500.0)]
    return SampleClock(250e3, ppm=1.7, start_ns=10**18, drifts=drifts("targets", changes))


@given(st.one_of(st.integers(0, 60_000_000), st.integers(10**12, 10**12 + 1000)))
def test_a_clock_that_drifts_goes_on_and_can_be_inverted(sample: int) -> None:
    clock = drifting()
    assert clock.position(clock.time_s(sample)) == pytest.approx(sample, abs=1e-3, rel=1e-15)
    assert clock.t_ns(sample) == pytest.approx(10**18 + clock.time_s(sample) * 1e9, abs=2e3)
    step_ns = clock.t_ns(sample + 1) - clock.t_ns(sample)
    assert step_ns in (3998, 3999, 4000, 4001)


def test_a_clock_drifts_by_its_parts_per_million_from_its_time_on() -> None:
    clock = drifting()
    at_50 = 250e3 * 50 * (1 + 1.7e-6)
    at_100 = at_50 + 250e3 * 50.5 * (1 - 20e-6)
    assert clock.position(50.0) == pytest.approx(at_50, abs=1e-6)
    assert clock.position(100.5) == pytest.approx(at_100, abs=1e-6)
    assert clock.position(101.5) - clock.position(100.5) == pytest.approx(250_125.0, abs=1e-6)


def test_before_its_drift_a_clock_is_what_it_was() -> None:
    plain = SampleClock(250e3, ppm=1.7, start_ns=10**18)
    samples = range(0, 12_000_000, 99_991)
    assert [drifting().t_ns(s) for s in samples] == [plain.t_ns(s) for s in samples]


# --- samples


class Level:
    """A source that is 100 everywhere."""

    name, channels, rate_hz, volts_per_count, length = "targets", ("C11", "C12"), 1e3, 1.0, None

    def t_ns(self, sample: int) -> int:
        return sample * 10**6

    def samples(self, start: int, stop: int) -> npt.NDArray[np.int16]:
        rows = np.full((2, stop - start), 100, np.int16)
        rows.flags.writeable = False
        return rows


CLOCK = SampleClock(1e3, ppm=0.0, start_ns=0)


def scripted(*entries: dict[str, Any]) -> ScriptedSource:
    return ScriptedSource(Level(), schedule(*entries), CLOCK)


def test_a_dead_channel_reads_nothing_and_the_others_go_on() -> None:
    found = scripted(DEAD).samples(0, 6000)
    assert np.all(found[0] == 100)
    assert np.all(found[1, 2000:5000] == 0)
    assert np.all(found[1, :2000] == 100)
    assert np.all(found[1, 5000:] == 100)
    assert not found.flags.writeable


def test_an_overflow_reads_the_end_of_the_range() -> None:
    up, down = scripted(OVERFLOW), scripted(OVERFLOW | {"side": "-"})
    assert np.all(up.samples(1000, 1500)[1] == 32767)
    assert np.all(down.samples(1000, 1500)[1] == -32768)
    assert np.all(up.samples(1500, 1600)[1] == 100)


def test_a_ramp_goes_steadily_and_stays_where_it_gets() -> None:
    found = scripted(RAMP).samples(0, 4000)[0]
    assert np.all(found[:1000] == 100)
    # half a count is rounded either way
    assert np.abs(found[1000:3000] - 100 - 0.05 * np.arange(2000)).max() < 0.51
    assert np.all(found[3000:] == 200)


def test_a_ramp_stops_at_the_end_of_the_range() -> None:
    steep = scripted(RAMP | {"counts_per_s": -40000.0})
    assert steep.samples(2500, 2501)[0] == -32768


@given(st.lists(st.integers(0, 5000), max_size=6))
def test_where_scripted_samples_are_cut_makes_no_difference(cuts: list[int]) -> None:
    source = scripted(DEAD, OVERFLOW, RAMP)
    edges = [0, *sorted(cuts), 5000]
    pieces = [source.samples(a, b) for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces, axis=1), source.samples(0, 5000))


# --- memory


def test_holes_that_touch_are_one() -> None:
    lost = Holes([(10, 20), (20, 25), (50, 60), (55, 58), (70, 70)])
    assert [lost.after(s) for s in (9, 10, 24, 25, 50, 59, 60, 70)] == [
        9, 25, 25, 25, 60, 60, 60, 70,
    ]  # fmt: skip
    assert [lost.before(0, 100), lost.before(0, 5), lost.before(25, 100)] == [10, 5, 50]


def test_a_gap_of_the_script_is_that_of_its_time() -> None:
    lost = holes("targets", schedule(GAP), CLOCK)
    assert (lost.after(1000), lost.after(1001)) == (1000, 1251)
    assert holes("vetoes", schedule(GAP), CLOCK).after(1001) == 1001


@pytest.mark.parametrize("pace", ["clock", "flat-out"])
def test_a_lost_stretch_is_one_exact_gap_on_the_wire(pace: str) -> None:
    lost = holes("targets", schedule(GAP), CLOCK)
    face = DigitizerFace(Level(), pace=pace, memory_s=10.0, stream="s", lost=lost)
    conversation, chunks = face.connect(0.0), []
    hello(conversation, 0.0)
    conversation.receive(b"START 0\n", 0.0)
    for step in range(1, 2000):
        now_s = 0.002 * step
        while (wait_s := conversation.wait_s(now_s)) == 0.0 and len(chunks) < 400:
            sent = conversation.send(now_s)
            assert sent, "it said that there is something to send"
            chunks += sent
        assert wait_s is not None
    found = packets(chunks)
    assert [(p.start, p.value) for p in found if p.kind == 3] == [(1001, 1251)]
    at = 0
    for packet in found:
        if packet.kind == 3:
            at = packet.value
        if packet.kind == 1:
            assert packet.start == at
            at += packet.samples.shape[1]
    assert at > 2000


def test_in_the_middle_of_a_loss_nobody_waits_in_vain() -> None:
    lost = Holes([(1000, 2000)])
    face = DigitizerFace(Level(), pace="clock", memory_s=0.1, stream="s", lost=lost)
    conversation = face.connect(1.5)
    conversation.send(1.5)
    conversation.receive(b"START 1200\n", 1.5)
    assert conversation.send(1.5) == []
    assert conversation.wait_s(1.5) == pytest.approx(0.499)
    assert len(conversation.send(1.9995)) == 1  # the gap, [1200, 2000)


def test_a_red_pitaya_counts_what_the_script_lost() -> None:
    lost = Holes([(30, 45)])
    face = RedPitaya(Level(), pace="flat-out", memory_s=1.0, header_bytes=56, lost=lost)
    talk = face.connect(0.0)
    heads = []
    for _ in range(4):
        header, payload, *_ = talk.send(0.0)
        heads.append((int.from_bytes(bytes(header)[32:40], "little"), len(payload) // 2))
    assert heads == [(0, 20), (0, 10), (15, 20), (0, 20)]


def test_a_drift_of_the_script_reaches_the_clock_it_names() -> None:
    change = ClockDrift(kind="clock_drift", at_s=1.0, digitizer="vetoes", ppm=3.0)
    assert drifts("vetoes", Schedule([change])) == [Drift(1.0, 3.0)]
    assert drifts("targets", Schedule([change])) == []
