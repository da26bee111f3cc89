"""How fast the world makes samples: by pools and templates, by the equations of motion."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from sim_hardware.world.noise import ComputedNoise, pools
from sim_hardware.world.normals import key
from sim_hardware.world.squid_loop import (
    LoopSettings,
    LoopState,
    SquidParameters,
    flux_noise,
    follow,
)
from sim_hardware.world.template_bank import TemplateBank
from sim_hardware.world.tes import operating_point, sweep
from tests.bench.results import memcpy_s, note
from tests.sensor import LINEAR, OP, P, run

pytestmark = pytest.mark.bench
CHANNELS, RATE_HZ, BLOCK = 11, 1e6, 50_000
PULSES_HZ = 1.5  # in each channel, as in the benchmark of the whole chain
SQUID = SquidParameters()
COUNTS_PER_A = SQUID.volts_per_a(30e3) / (20 / 2**16)


@njit(nogil=True)
def converted(out, first, second, signal_a, counts_per_a):
    for i in range(out.size):
        counts = (first[i] + second[i] + signal_a[i]) * counts_per_a
        counts = min(max(counts, np.float32(-32768)), np.float32(32767))
        out[i] = np.int16(np.floor(counts + np.float32(0.5)))


def cpu_s(act: Callable[[], object], repeats: int = 5) -> float:
    act()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        act()
        times.append(time.process_time() - began)
    return float(np.median(times))


def test_streaming():
    """Noise from pools, pulses from the bank (1 eV to 10 MeV), rounded to counts; by blocks."""
    bank = TemplateBank(P, OP, RATE_HZ)
    density = ComputedNoise(density=lambda f: LINEAR.sampled_psd(f, RATE_HZ) + SQUID.current_psd(f))
    first, second = pools(density, RATE_HZ, np.random.default_rng(1))
    rng, seconds = np.random.default_rng(2), 2
    hits = [
        (rng.uniform(-RATE_HZ, seconds * RATE_HZ), np.exp(rng.uniform(0, np.log(1e7))))
        for _ in range(round(CHANNELS * PULSES_HZ * (seconds + 1)))
    ]
    by_channel = [hits[channel::CHANNELS] for channel in range(CHANNELS)]
    out, signal_a = np.empty(BLOCK, np.int16), np.empty(BLOCK, np.float32)

    def stream() -> None:
        for start in range(0, seconds * round(RATE_HZ), BLOCK):
            for channel in range(CHANNELS):
                signal_a[:] = 0
                for position, energy_ev in by_channel[channel]:
                    if position < start + BLOCK:
                        bank.add(signal_a, start, position, energy_ev)
                i = (start + 100_003 * channel) % (len(first) - BLOCK)
                j = (start + 300_007 * channel) % (len(second) - BLOCK)
                mixed = first[i : i + BLOCK], second[j : j + BLOCK]
                converted(out, *mixed, signal_a, np.float32(COUNTS_PER_A))

    samples = CHANNELS * seconds * RATE_HZ
    took = cpu_s(stream)
    copy = memcpy_s(round(2 * samples))
    note("world, streaming 11 x 1 MS/s", seconds / took, "x real time", copy / took, "memcpy")
    note("world, streaming", 1e9 * took / samples, "ns per sample")
    assert seconds / took > 2


@pytest.mark.parametrize(("dt_s", "name"), [(1e-6, "1 us"), (4e-6, "4 us")])
def test_equations_of_motion(dt_s, name):
    n = 400_000
    noise_key = key(1, "C11", "bench")
    plain, noisy = (cpu_s(lambda k=k: run(n, dt_s=dt_s, key=k)) for k in (None, noise_key))
    note(f"equations of motion, samples of {name}", 1e9 * plain / n, "ns per sample")
    note(f"equations of motion, {name}, with noise", 1e9 * noisy / n, "ns per sample")
    factor = n * dt_s / noisy / CHANNELS
    note(f"equations of motion, 11 channels, {name}", factor, "x real time")


def test_loop():
    n = 1_000_000
    loop = LoopSettings(locked=True, squid_bias_a=21e-6, lock_v=SQUID.middle_v(21e-6))
    state = LoopState.without_feedback(SQUID, loop, 0.0)
    rng = np.random.default_rng(1)
    slow_a, fast_a = (np.cumsum(rng.normal(0, sigma, n)) for sigma in (1e-10, 3e-7))
    for name, current_a in (("slow", slow_a), ("beyond its slew limit", fast_a)):
        took = cpu_s(lambda c=current_a: follow(SQUID, loop, state, c, dt_s=1e-6))
        note(f"flux-locked loop, {name}", 1e9 * took / n, "ns per sample")
    took = cpu_s(lambda: flux_noise(SQUID, seed=1, channel="a", start=0, n=n, dt_s=1e-6))
    note("flux noise", 1e9 * took / n, "ns per sample")


def test_what_a_change_of_the_working_point_costs():
    at = {"bias_a": OP.bias_a, "bath_k": OP.bath_k, "heater_w": OP.heater_w}
    note("operating point", 1e3 * cpu_s(lambda: operating_point(P, **at)), "ms")
    biases_a = np.linspace(6e-6, 0.05e-6, 120)
    note("IV of 120 points", 1e3 * cpu_s(lambda: sweep(P, biases_a, bath_k=OP.bath_k)), "ms")
    note("bank of templates", 1e3 * cpu_s(lambda: TemplateBank(P, OP, RATE_HZ)), "ms")
    for rate_hz in (50e3, 1e6):
        noise = ComputedNoise(
            density=lambda f, r=rate_hz: LINEAR.sampled_psd(f, r) + SQUID.current_psd(f)
        )
        took = cpu_s(lambda n=noise, r=rate_hz: pools(n, r, np.random.default_rng(1)), 2)
        note(f"noise pools at {rate_hz / 1e3:g} kS/s", 1e3 * took, "ms")
