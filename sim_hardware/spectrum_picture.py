"""The picture "spectrum with truth": what nine sensors saw in minutes, and what had hit them.

python -m sim_hardware.spectrum_picture docs/pictures
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from sim_hardware.bench import everything, prepared, sample_clocks
from sim_hardware.detector_pictures import written
from sim_hardware.laboratory import TUNED_SHARE, Laboratory
from sim_hardware.settings import Bench
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.detectors import VOLTS_PER_COUNT
from sim_hardware.world.digitizer import DetectorSignals
from sim_hardware.world.particles import Hit, Truth
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import Floats, TesParameters, heater_for, operating_point
from sim_hardware.world.tes_linear import Linear
from sim_hardware.world.timeline import Timeline

RATE_HZ, SECONDS, BLOCK_S = 50e3, 200, 10
BEFORE, LENGTH = 4096, 16384  # samples
ALONE_S = 0.35
CHANNELS = tuple(f"C{row}{column}" for row in (1, 2, 3) for column in (1, 2, 3))
BENCH = {
    "seed": 4,
    "pace": "flat-out",
    "digitizers": {"targets": {"port": 0, "sample_rate_hz": RATE_HZ, "channels": CHANNELS}},
    "sources": {
        "excess_per_kg_kev_d": 2e9,
        "cevns_multiplier": 1e4,
        "iron55_rate_hz": 0.1,
        "flat_per_kg_kev_d": 7e5,
    },
}


def draw(left: Axes, right: Axes) -> None:
    """True energies and those that a linear optimum filter makes of the stream."""
    true_ev, found_ev = seen()
    for axes, most_ev, n in ((left, 7000, 141), (right, 200, 51)):
        edges = np.linspace(0, most_ev, n).tolist()
        axes.hist(true_ev, edges, histtype="stepfilled", color="#cccccc", label="truth")
        axes.hist(found_ev, edges, histtype="step", color="C0", label="linear optimum filter")
        axes.set(xlabel="energy [eV]", ylabel="hits per bin")
    left.set(yscale="log")
    left.legend(title=f"{len(CHANNELS)} crystals, {SECONDS} s")


def seen() -> tuple[Floats, Floats]:
    """(true, found) energies in eV of the hits that no other is near to in their crystal."""
    stream, truth, clock = _stream()
    weights = _weights()
    true_ev, found_ev = list[float](), list[float]()
    for start_s in range(1, SECONDS, BLOCK_S):
        stop_s = start_s + BLOCK_S
        first = round(start_s * RATE_HZ) - BEFORE
        rows = stream.samples(first, round(stop_s * RATE_HZ) + LENGTH)
        hits = truth.truth(start_s - 1, stop_s + 1)
        for channel, row in zip(CHANNELS, rows, strict=True):
            for hit in _alone([hit for hit in hits if hit.channel == channel]):
                if start_s <= hit.true_s < stop_s:
                    at = round(clock.position(hit.true_s)) - BEFORE - first
                    true_ev.append(hit.energy_ev)
                    found_ev.append(float(row[at : at + LENGTH] @ weights))
    return np.array(true_ev), np.array(found_ev)


def _stream() -> tuple[DetectorSignals, Truth, SampleClock]:
    """The source of a bench without its sockets."""
    bench = Bench.model_validate(BENCH)
    timeline = Timeline(lambda: 0.0, lambda _: None)
    laboratory = Laboratory(bench, timeline, Cryostat(bench.seed))
    clock, truth = sample_clocks(bench, 0)["targets"], everything(bench, laboratory)
    rows = prepared(bench, "targets", laboratory, clock, truth)
    return DetectorSignals("targets", rows, truth, clock), truth, clock


def _weights() -> Floats:
    """What a record is multiplied with, in eV per count."""
    p, squid, bench = TesParameters(), SquidParameters(), Bench.model_validate(BENCH)
    bias_a, bath_k = bench.sensor(CHANNELS[0]).bias_a, bench.cryostat.plate_setpoint_k
    r_ohm = TUNED_SHARE * p.r_normal_ohm
    heater_w = heater_for(p, r_ohm=r_ohm, bias_a=bias_a, bath_k=bath_k)
    op = operating_point(p, bias_a=bias_a, bath_k=bath_k, heater_w=heater_w)
    linear = Linear(p, op)
    f_hz: Floats = np.fft.rfftfreq(LENGTH, 1 / RATE_HZ).astype(np.float64)
    late = np.exp(-2j * np.pi * f_hz * BEFORE / RATE_HZ)
    per_a = squid.volts_per_a(squid.reference_feedback_ohm) / VOLTS_PER_COUNT
    response = np.zeros(len(f_hz), complex)
    response[1:] = -linear.response(f_hz[1:]) * RATE_HZ * abs(per_a) * late[1:]
    power = np.ones(len(f_hz))
    power[1:] = linear.sampled_psd(f_hz[1:], RATE_HZ) + squid.current_psd(f_hz[1:])
    filtered = np.fft.irfft(response / power, LENGTH)
    return np.asarray(filtered / (filtered @ np.fft.irfft(response, LENGTH)))


def _alone(hits: list[Hit]) -> list[Hit]:
    """Those that no other one of the same crystal is near to."""
    times_s = [-np.inf, *(hit.true_s for hit in hits), np.inf]
    apart = [later - earlier > ALONE_S for earlier, later in pairwise(times_s)]
    return [hit for hit, (a, b) in zip(hits, pairwise(apart), strict=True) if a and b]


if __name__ == "__main__":
    written(Path(sys.argv[1]) / "spectrum.png", draw)
