"""How fast a whole bench makes its samples: eleven sensors, streamed or integrated."""

from __future__ import annotations

import time

import pytest

from sim_hardware.bench import everything, prepared, sample_clocks
from sim_hardware.faces.keysight33500b import Keysight33500B
from sim_hardware.laboratory import Laboratory
from sim_hardware.settings import Bench
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.digitizer import DetectorSignals
from sim_hardware.world.timeline import Timeline
from tests.bench.results import note
from tests.wired_bench import spec

pytestmark = pytest.mark.bench
CHANNELS = tuple(f"C{n}" for n in range(1, 12))
SOURCES = {"iron55_rate_hz": 0.5, "excess_per_kg_kev_d": 3.7e9, "muon_target_rate_hz": 0.3}


def source(rate_hz: float, told: str, **changes: object) -> DetectorSignals:
    """`told` is a message for the generator."""
    bench = Bench.model_validate(spec(rate_hz, CHANNELS, sources=SOURCES, **changes))
    timeline, cryostat = Timeline(lambda: 0.0, lambda _: None), Cryostat(bench.seed)
    laboratory = Laboratory(bench, timeline, cryostat)
    generator = laboratory.face("pulser")
    assert isinstance(generator, Keysight33500B)
    generator.answer(told, 0.0)
    clock, truth = sample_clocks(bench, 0)["targets"], everything(bench, laboratory)
    rows = prepared(bench, "targets", laboratory, clock, truth)
    return DetectorSignals("targets", rows, truth, clock, reach=laboratory.bath.extend)


@pytest.mark.parametrize(
    ("way", "rate_hz", "seconds"),
    [("streamed", 1e6, 6), ("integrated", 250e3, 2), ("unbiased", 250e3, 4)],
)
def test_eleven_sensors_in_packets_of_20_ms(way: str, rate_hz: float, seconds: int) -> None:
    changes: dict[str, dict[str, object]] = {
        "streamed": {},
        "integrated": {},
        "unbiased": {"initial": "detuned"},
    }
    wave = "SOUR2:FUNC SQU;:SOUR2:FREQ 1E-5;:OUTP2 ON"  # drives the bias for ever
    stream = source(rate_hz, wave if way == "integrated" else "*CLS", **changes[way])
    packet = round(0.02 * rate_hz)
    for start in range(0, round(0.5 * rate_hz), packet):  # until it has settled
        stream.samples(start, start + packet)
    begun_s = time.process_time()
    first = round(0.5 * rate_hz)
    for start in range(first, first + round(seconds * rate_hz), packet):
        stream.samples(start, start + packet)
    took_s = time.process_time() - begun_s
    samples = len(CHANNELS) * seconds * rate_hz
    note(f"bench, 11 sensors {way} at {rate_hz:g} S/s", seconds / took_s, "x real time")
    note(f"bench, {way}", 1e9 * took_s / samples, "ns per sample")
    if way == "streamed":
        assert seconds / took_s > 8
