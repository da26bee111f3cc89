"""How fast the simulated world says what hits it."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from sim_hardware.bench import particles
from sim_hardware.settings import Bench
from tests.bench.results import note

pytestmark = pytest.mark.bench
CONFIG = Path(__file__).parents[2] / "config" / "bench.toml"
SECONDS = 3000


def test_particles_come_a_thousand_times_faster_than_they_happen():
    world = particles(Bench.model_validate(tomllib.loads(CONFIG.read_text())["bench"]))
    world.truth(0, 10)
    began = time.process_time()
    n = len(world.truth(10, 10 + SECONDS))
    speed = SECONDS / (time.process_time() - began)
    note(f"particles of the default bench, {n / SECONDS:.0f} hits/s", speed, "x real time")
    assert speed > 1000


def test_a_digitizer_s_question_costs_little():
    """As it asks: 20 ms at a time, with a second before it."""
    world = particles(Bench.model_validate(tomllib.loads(CONFIG.read_text())["bench"]))
    began = time.process_time()
    for k in range(5000):
        world.truth(k * 0.02 - 0.9, k * 0.02 + 0.02)
    speed = 100.0 / (time.process_time() - began)
    note("particles, asked every 20 ms", speed, "x real time")
    assert speed > 200
