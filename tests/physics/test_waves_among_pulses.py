"""dI/dV on the lively site of the default bench, through the wires, against the linear response."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

from daq.readout import waves
from daq.services.demo import default_config
from drivers.source.keysight33500b import Shape
from tests.physics.test_closed_loop_sensor import linear
from tests.wired_bench import AMPERES_PER_COUNT, Wired, spec, wired

RATE_HZ, WAVE_HZ, WAVE_A, BIAS_OHM = 20e3, 20.0, 20e-9, 1e6


def send_wave(bench: Wired) -> None:
    output = bench.pulser.outputs[2]
    output.on.write(False)
    output.load.write("INF")
    output.function.write(Shape.SQUARE)
    output.frequency.write(WAVE_HZ)
    output.amplitude.write(WAVE_A * BIAS_OHM)
    output.on.write(True)


def test_particles_do_not_move_the_answer_to_a_small_wave() -> None:
    sources = tomllib.loads(default_config().read_text())["bench"]["sources"]
    expected = abs(linear().bias_response(np.array([WAVE_HZ]))[0])
    with wired(spec(RATE_HZ, sources=sources)) as bench:
        send_wave(bench)
        bench.counts(0.5)
        spans_a = []
        for _ in range(5):
            current_a = bench.counts(3.0) * AMPERES_PER_COUNT
            found = waves.by_square_wave(current_a, RATE_HZ, frequency_hz=WAVE_HZ, bias_pp_a=WAVE_A)
            spans_a.append(float(np.ptp(current_a)))
            assert found.lowest.value == pytest.approx(expected, rel=0.05)
    assert sorted(spans_a)[1] > 2 * WAVE_A  # pulses above the wave were in all but one
