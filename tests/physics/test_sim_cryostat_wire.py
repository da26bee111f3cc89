"""The cryostat through its wires: a real driver, a real socket, the face, a fast bench."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from drivers.temperature.lakeshore372 import HeaterRange, Lakeshore372, OutputMode
from sim_hardware.bench import OpenBench
from sim_hardware.settings import Bench
from sim_hardware.world.thermal import MIXING_S
from tests.stream_client import read_stream

pytestmark = pytest.mark.alone  # a reading's time is a hundred times the wall's

SPEED = 100.0  # bench seconds per second: a reading's time is known to about a second of 100
MIXING = 6


@pytest.fixture
def fridge() -> Iterator[Lakeshore372]:
    """A Lake Shore 372 that measures the mixing chamber alone, on a cryostat 100 x as fast."""
    bench = {"seed": 3, "speed": SPEED, "instruments": {"fridge": {"model": "lakeshore372"}}}
    with (
        serving_bench(bench) as resources,
        contextlib.closing(Lakeshore372(resources["fridge"])) as driver,
    ):
        driver.scan.write({"input": MIXING, "auto": False})
        yield driver


@contextlib.contextmanager
def serving_bench(table: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A bench of this [bench] table; name -> resource."""
    opened = OpenBench(Bench.model_validate(table))
    thread = threading.Thread(target=opened.run)
    thread.start()
    try:
        yield {each.name: each.resource for each in opened.announced}
    finally:
        opened.stop()
        thread.join(10)
        assert not thread.is_alive()


def heat(fridge: Lakeshore372, mode: OutputMode) -> None:
    output = fridge.output.read()
    fridge.output.write({**output, "mode": mode, "input": MIXING})


def seen(fridge: Lakeshore372, bench_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Bench seconds since now, and temperatures, for a while; each is half an exchange old."""
    began, times, kelvin = time.monotonic(), [], []
    while not times or times[-1] < bench_s:
        before = time.monotonic()
        kelvin.append(fridge.inputs[MIXING].temperature.read())
        times.append(SPEED * ((before + time.monotonic()) / 2 - began))
    return np.array(times), np.array(kelvin)


def test_a_heater_step_has_the_time_constant_of_the_mixture(fridge):
    heat(fridge, OutputMode.OPEN_LOOP)
    fridge.manual_output.write(90.0)
    fridge.heater_range.write(HeaterRange.UA_316)
    times, kelvin = seen(fridge, 6 * MIXING_S)
    # C = c T and P = a (T^2 - base^2): T^2 is exactly exponential (tests/physics/test_sim_cryostat)
    squares = kelvin**2
    end = squares[times > 5 * MIXING_S].mean()
    assert end > 1.2 * squares[0], "the heater moves nothing"
    rising = (times > 0.3 * MIXING_S) & (times < 1.5 * MIXING_S)
    slope, _ = np.polyfit(times[rising], np.log(end - squares[rising]), 1)
    # 5 %: what is left at 5 time constants, the drift, and a reading's time
    assert -1 / slope == pytest.approx(MIXING_S, rel=0.05)


def test_a_setpoint_is_reached_and_held(fridge):
    fridge.heater_range.write(HeaterRange.MA_3_16)
    heat(fridge, OutputMode.CLOSED_LOOP)
    fridge.setpoint.write(0.020)
    seen(fridge, 8 * MIXING_S)
    times, kelvin = seen(fridge, 2 * MIXING_S)
    assert kelvin.mean() == pytest.approx(0.020, rel=2e-3)
    assert np.abs(kelvin - 0.020).max() < 0.02 * 0.020
    slope, _ = np.polyfit(times, kelvin, 1)
    assert abs(slope) * MIXING_S < 0.005 * 0.020  # it has settled
    fridge.heater_range.write(HeaterRange.OFF)
    _, cooling = seen(fridge, 2 * MIXING_S)
    assert cooling[-1] < 0.020 * np.exp(-0.5)  # and falls as soon as nobody holds it


def test_a_cool_down_from_room_temperature_is_seen_on_the_wire() -> None:
    """The bench goes on with what is read of its digitizer: to 36 h in five looks."""
    digitizer = {"port": 0, "sample_rate_hz": 1e3, "channels": ["SI"]}
    bench = {
        "pace": "flat-out",
        "cryostat": {"start": "warm"},
        "digitizers": {"vetoes": digitizer},
        "instruments": {"fridge": {"model": "lakeshore372"}},
    }
    seen = []
    with (
        serving_bench(bench) as resources,
        contextlib.closing(Lakeshore372(resources["fridge"])) as driver,
    ):
        for hour in (0, 6, 12, 24, 36):
            at = round(hour * 3600 * 1e3)
            read_stream(resources["vetoes"], at, at + 10, exactly=True)
            seen.append([driver.inputs[k].temperature.read() for k in (1, 2, 5, MIXING)])
    first, last = np.array(seen[0]), np.array(seen[-1])
    assert first == pytest.approx(300.0, rel=0.01)
    assert np.all(np.diff(np.array(seen), axis=0)[:, 0] <= 0.5)  # 50 K: it only falls
    assert last == pytest.approx([47.0, 3.6, 0.7, 0.008], rel=0.05)  # at rest
