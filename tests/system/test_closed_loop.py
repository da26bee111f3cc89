"""One closed loop: what drivers set through wires changes what streams, and does so again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tomlkit

from daq.services.demo import default_config
from sim_hardware.bench import everything, prepared, sample_clocks
from sim_hardware.laboratory import Laboratory
from sim_hardware.settings import Bench
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.digitizer import DetectorSignals
from sim_hardware.world.materials import EV_J
from sim_hardware.world.tes import BATH_K
from sim_hardware.world.timeline import Timeline
from tests.stream_client import Stream, read_stream
from tests.truth import Row, newest_truth, read_truth
from tests.wired_bench import LSB_V, QUIET, Wired, commands, spec, wired

RATE_HZ = 20e3
EV_PER_COUNT = 2.96
PAIR = ("C11", "C12")
LIVELY = QUIET | {"iron55_rate_hz": 1.0, "excess_per_kg_kev_d": 3.7e9}


@pytest.fixture(scope="module")
def tuned() -> Iterator[Wired]:
    with wired(spec(RATE_HZ)) as bench:
        yield bench


def height(bench: Wired, periods: int = 10) -> float:
    """How far the mean heater pulse rises above its median, in counts; 10 a second."""
    rows = bench.counts(0.1 * periods).reshape(periods, -1).mean(0)
    return float(rows[np.argmax(abs(rows - np.median(rows)))] - np.median(rows))


# --- the same samples


def session(bench: Wired) -> npt.NDArray[np.int64]:
    """What a student might do in three seconds."""
    squid, parts = bench.squid(), [bench.rows(0.3)]
    bench.bias(1.3)
    parts.append(bench.rows(0.25))
    squid.mode.write("OPEN")
    parts.append(bench.rows(0.1))
    bench.bias(0.93)
    squid.mode.write("LOCKED")
    parts.append(bench.rows(0.65))
    output = bench.pulser.outputs[1]
    output.heater_pulse(height_v=1.0, width_s=100e-6, period_s=0.1, load="INF")
    output.on.write(True)
    bench.squid(2).feedback.write(10.0)
    parts.append(bench.rows(1.2))
    heat(bench)
    parts.append(bench.rows(1.0))
    return np.concatenate(parts, axis=1)


def test_the_same_seed_and_commands_at_the_same_samples_give_the_same_samples(
    tmp_path: Path,
) -> None:
    found, logs = [], []
    for n in range(2):
        folder = tmp_path / str(n)
        with wired(spec(RATE_HZ, PAIR, sources=LIVELY, truth_dir=str(folder))) as bench:
            found.append(session(bench))
        logs.append(commands(folder))
    np.testing.assert_array_equal(found[0], found[1])
    assert logs[0] == logs[1]
    told = {(line["source"], line["what"]) for line in logs[0]}
    assert {("squids0:1", "tes_bias_a"), ("squids0:1", "locked"), ("squids0:2", "feedback_ohm"),
            ("pulser:1", "on")} <= told  # fmt: skip
    biased = next(line for line in logs[0] if line["what"] == "tes_bias_a")
    assert biased["samples"] == {"targets": round(0.3 * RATE_HZ)}
    (log,) = (tmp_path / "0").glob("commands-*.jsonl")
    table = spec(RATE_HZ, PAIR, sources=LIVELY, commands=str(log))
    with wired(table) as bench:
        assert set(bench.resources) == {"targets"}
        late, early = bench.again(50_000, 70_000), bench.again(0, 50_000)
    np.testing.assert_array_equal(np.concatenate([early, late], axis=1), found[0])
    config = tmp_path / "bench.toml"
    document = tomlkit.parse(default_config().read_text(encoding="utf-8"))
    document["bench"] = spec(RATE_HZ, PAIR, sources=LIVELY)
    config.write_text(tomlkit.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "daq.services.cli", "sim", str(config), "--json"]
    with subprocess.Popen([*command, "--commands", str(log)], stdout=subprocess.PIPE) as simulated:
        assert simulated.stdout is not None
        told = json.loads(simulated.stdout.readline())
        stream = read_stream(told["resource"], 40_000, 60_000, exactly=True)
        simulated.terminate()
    np.testing.assert_array_equal(stream.samples, found[0][:, 40_000:60_000])


def test_another_seed_gives_others() -> None:
    with wired(spec(RATE_HZ, seed=8)) as one, wired(spec(RATE_HZ, seed=9)) as other:
        assert np.any(one.counts(0.2) != other.counts(0.2))


def test_who_reads_again_gets_the_same_samples_wherever_it_is_cut() -> None:
    with wired(spec(RATE_HZ, PAIR, sources=LIVELY)) as bench:
        first = session(bench)
        total = first.shape[1]
        np.testing.assert_array_equal(bench.again(0, total), first)
        for start, stop in ((1, 2), (5_000, 5_777), (9_001, 16_003), (total - 7, total)):
            np.testing.assert_array_equal(bench.again(start, stop), first[:, start:stop])


@pytest.mark.parametrize("initial", ["tuned", "detuned"])
def test_who_comes_after_a_day_is_served_at_once_and_finds_it_at_rest(initial: str) -> None:
    table = spec(RATE_HZ, pace="clock", initial=initial)
    bench = Bench.model_validate(table)
    timeline = Timeline(lambda: 0.0, lambda _: None)
    laboratory = Laboratory(bench, timeline, Cryostat(bench.seed))
    clock, truth = sample_clocks(bench, 0)["targets"], everything(bench, laboratory)
    rows = prepared(bench, "targets", laboratory, clock, truth)
    source = DetectorSignals("targets", rows, truth, clock)
    first = source.samples(0, 10_000)
    day = round(86_400.0 * RATE_HZ)
    late = source.samples(day, day + 10_000)
    assert late.mean() == pytest.approx(first.mean(), abs=60.0)  # drifts of a day
    np.testing.assert_array_equal(source.samples(day + 5, day + 9), late[:, 5:9])


# --- what moves what


def test_the_bias_moves_the_working_point_and_only_that_of_its_own_sensor() -> None:
    with wired(spec(RATE_HZ, PAIR)) as bench:
        before = bench.rows(0.5).mean(1)
        bench.bias(0.95)
        bench.rows(0.5)
        after = bench.rows(0.5).mean(1)
    # one step of 15.3 nA; 2.7 eV per nA
    assert after[0] - before[0] == pytest.approx(15.3 * 2.7 / EV_PER_COUNT, rel=0.1)
    assert after[1] == pytest.approx(before[1], abs=0.3)


def test_warmth_moves_the_baseline_as_the_note_says() -> None:
    found = []
    for plate_k in (BATH_K, BATH_K + 20e-6):
        heater_w = 23.51e-15
        table = spec(RATE_HZ, tes={"all": {"heater_w": heater_w}})
        with wired(table | {"cryostat": {"plate_setpoint_k": plate_k}}) as bench:
            bench.rows(0.5)
            found.append(bench.counts(1.0).mean())
    # 7.0 eV per uK; the responsivity falls by 2 % on the way
    assert (found[1] - found[0]) * EV_PER_COUNT == pytest.approx(7.0 * 20, rel=0.05)


def test_a_warming_fridge_moves_the_baseline_and_kills_the_pulses() -> None:
    with wired(spec(RATE_HZ)) as bench:
        output = bench.pulser.outputs[1]
        output.heater_pulse(height_v=1.5, width_s=100e-6, period_s=0.1, load="INF")
        output.on.write(True)
        before, baseline = height(bench), float(np.median(bench.counts(0.5)))
        heat(bench)
        heights, baselines = [], []
        while bench.at < 60 * RATE_HZ and (not heights or heights[-1] > before / 10):
            baselines.append(float(np.median(bench.counts(1.0))))
            heights.append(abs(height(bench)))
    assert before > 100
    assert heights[-1] < before / 10  # the mean of ten, and what the noise makes of it
    assert abs(baselines[-1] - baseline) > 1000  # normal: less current by half of it


def test_what_the_refrigerator_is_told_is_in_the_command_log(tmp_path: Path) -> None:
    with wired(spec(RATE_HZ, truth_dir=str(tmp_path))) as bench:
        bench.rows(0.2)
        heat(bench)
    heated = [line for line in commands(tmp_path) if line["source"] == "cryostat"]
    assert {line["what"] for line in heated} == {"heater"}
    assert {line["samples"]["targets"] for line in heated} == {4000}
    mixing = [line["value"] for line in heated if line["value"]["stage"] == "mixing"]
    assert mixing[-1]["power_w"] == pytest.approx(3.16e-3**2 * 120)


def heat(bench: Wired) -> None:
    """1 mW on the mixing chamber, by the bridge's heater."""
    fridge = bench.fridge
    fridge.output.write({**fridge.output.read(), "mode": "OPEN_LOOP"})
    fridge.manual_output.write(100.0)
    fridge.heater_range.write("MA_3_16")


def test_a_script_warms_the_fridge_too() -> None:
    script = [{"kind": "fridge_warm_up", "at_s": 1.0, "for_s": 60.0, "heat_w": 1e-3}]
    with wired(spec(2e3, scenario=script)) as bench:
        before = bench.counts(1.0)
        bench.counts(10.0)
        after = bench.counts(1.0)
    assert abs(after.mean() - before.mean()) > 1000


def test_a_tripped_compressor_stops_the_shaking() -> None:
    script = [{"kind": "compressor_trip", "at_s": 25.0, "for_s": 600.0}]
    with wired(spec(RATE_HZ, scenario=script)) as bench:
        shaken, quiet = (shaking(bench.counts(25.0)[-400_000:], RATE_HZ) for _ in range(2))
    # twelve harmonics of 12/sqrt(k) pA in 20 s are five times the noise beneath them
    assert shaken > 2 * quiet


def shaking(samples: npt.NDArray[np.int64], rate_hz: float) -> float:
    """The power at 1.4 Hz and its harmonics, with the noise beneath them."""
    spectrum = np.abs(np.fft.rfft(samples - samples.mean())) ** 2
    lines = np.rint(1.4 * np.arange(1, 13) * len(samples) / rate_hz).astype(int)
    return float(spectrum[lines].sum())


# --- scripted faults of the loop


def test_a_scripted_flux_jump_moves_the_output_by_whole_quanta_and_stays() -> None:
    script = [
        {"kind": "flux_jump", "at_s": 0.5, "channel": "C11", "n_phi0": 2},
        {"kind": "flux_jump", "at_s": 1.0, "channel": "C11", "n_phi0": -3},
    ]
    with wired(spec(RATE_HZ, scenario=script)) as bench:
        volts = bench.counts(1.5) * LSB_V
    first, second, third = (volts[k : k + 5000].mean() for k in (5000, 12_000, 22_000))
    assert (second - first) / 1.2 == pytest.approx(2, abs=0.01)
    assert (third - second) / 1.2 == pytest.approx(-3, abs=0.01)


def test_an_unlock_storm_is_many_of_them_as_long_as_it_lasts() -> None:
    script = [{"kind": "unlock_storm", "at_s": 1.0, "for_s": 2.0, "channel": "C11", "rate_hz": 20}]
    with wired(spec(RATE_HZ, scenario=script)) as bench:
        volts = bench.counts(4.0) * LSB_V
    jumps = np.flatnonzero(abs(np.diff(volts)) > 1.0) / RATE_HZ
    assert 15 < len(jumps) < 65  # 40 on average: four sigma
    assert jumps.min() > 1.0
    assert jumps.max() < 3.0


# --- heater pulses and the truth


def test_heater_pulses_are_in_the_stream_in_the_truth_and_on_the_sync_input(tmp_path: Path) -> None:
    table = spec(RATE_HZ, truth_dir=str(tmp_path))
    table["digitizers"]["targets"]["channels"].append("SYNC")
    table["wiring"]["sync"] = {"SYNC": "pulser:1"}
    with wired(table) as bench:
        bench.counts(0.31)
        output = bench.pulser.outputs[1]
        output.heater_pulse(height_v=1.0, width_s=100e-6, period_s=0.1, load="INF")
        output.on.write(True)
        told = bench.at
        signal, sync = bench.rows(1.0)
        output.on.write(False)
        quiet = bench.rows(0.5)
    rows = [row for row in read_truth(newest_truth(tmp_path)) if row.kind == "heater"]
    assert [row.sample for row in rows] == pytest.approx([told + 2000 * k + 1 for k in range(10)])
    energy_ev = (1.0 * 1e-4) ** 2 / 10e3 * 100e-6 / EV_J
    assert [row.energy_ev for row in rows] == pytest.approx([energy_ev] * 10, rel=1e-6)
    assert len({row.event for row in rows}) == 10
    rises = np.flatnonzero(np.diff((sync > 5000).astype(int)) == 1) + 1
    assert [0, *rises.tolist()] == [2000 * k for k in range(10)]
    peaks = signal.reshape(10, -1)[:, :200].max(1) - np.median(signal)
    assert peaks.min() > 150
    assert quiet[0].max() - np.median(quiet[0]) < 60


def test_a_long_heater_pulse_is_a_power_not_a_deposit(tmp_path: Path) -> None:
    with wired(spec(RATE_HZ, truth_dir=str(tmp_path))) as bench:
        before = bench.counts(0.5).mean()
        output = bench.pulser.outputs[1]
        # 1e-17 W: (V share)^2 / R; 16.5 eV
        output.heater_pulse(height_v=3.162e-3, width_s=5.0, period_s=10.0, load="INF")
        output.on.write(True)
        bench.counts(0.5)
        during = bench.counts(1.0).mean()
    assert not [row for row in read_truth(newest_truth(tmp_path)) if row.kind == "heater"]
    assert (during - before) * EV_PER_COUNT == pytest.approx(16.5, rel=0.15)


# --- coincidences


def test_what_triggers_together_in_the_stream_is_together_in_the_truth(tmp_path: Path) -> None:
    sources = QUIET | {"muon_target_rate_hz": 1.0, "iron55_rate_hz": 0.3}
    channels = ("C11", "C12", "C13")
    table = spec(RATE_HZ, channels, sources=sources, truth_dir=str(tmp_path))
    table["digitizers"]["targets"]["channels"] += ["SI", "CWO"]
    names = table["digitizers"]["targets"]["channels"]
    with wired(table) as bench:
        rows = bench.rows(60.0)
    truth = read_truth(newest_truth(tmp_path))
    patterns: Counter[tuple[str, ...]] = Counter()
    for at, expected in alone(truth, rows.shape[1]):
        rises = {
            name: samples[at : at + 60].max() - np.median(samples[at - 400 : at - 5])
            for name, samples in zip(names, rows, strict=True)
        }
        seen = {name for name, rise in rises.items() if rise > (20 if name == "CWO" else 100)}
        assert seen == expected, at
        patterns[tuple(sorted(expected))] += 1
    assert patterns.total() >= 15
    assert any({"CWO", "SI"} < set(pattern) for pattern in patterns)  # muons
    assert any(len(pattern) == 1 for pattern in patterns)  # X-rays


def alone(truth: list[Row], n_samples: int) -> list[tuple[int, set[str]]]:
    """(first sample, channels) of every event that no other one is near to."""
    events: dict[int, list[Row]] = {}
    for row in truth:
        events.setdefault(row.event, []).append(row)
    first = {event: min(row.sample for row in rows) for event, rows in events.items()}
    return [
        (ceil(at), {row.channel for row in events[event]})
        for event, at in first.items()
        if 1000 < at < n_samples - 1000
        and all(abs(other - at) > 0.5 * RATE_HZ or other == at for other in first.values())
    ]


# --- a bench that is faster than the wall's clock


def now_on(bench: Wired, seconds: float) -> Stream:
    """What the digitizer converts in so many seconds of the bench's time."""
    begin = read_stream(bench.resources["targets"], 0, 1).hello["next"]
    return read_stream(bench.resources["targets"], begin, begin + round(seconds * bench.rate_hz))


def test_a_fast_bench_streams_a_minute_in_seconds_and_loses_nothing() -> None:
    table = spec(2e3, pace="clock", speed=40.0, sources=LIVELY)
    table["digitizers"]["targets"]["memory_s"] = 60.0  # by the wall, on a machine that is loaded
    with wired(table) as bench:
        began_s = time.monotonic()
        before = now_on(bench, 60.0)
        took_s = time.monotonic() - began_s
        bench.bias(1.3)
        after = now_on(bench, 2.0)
        mixing_k = bench.fridge.inputs[6].temperature.read()
    assert before.gaps == after.gaps == []
    assert took_s > 0.9 * 60.0 / 40.0  # no sample before its time
    times_s = np.diff([t_ns for _, t_ns in before.anchors]) / 1e9
    np.testing.assert_allclose(times_s, np.ones(59), rtol=1e-9)
    assert 0.007 < mixing_k < 0.02
    assert abs(np.median(after.row("C11")) - np.median(before.row("C11"))) > 100
