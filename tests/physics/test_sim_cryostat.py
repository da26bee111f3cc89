"""The simulated cryostat: temperatures, heaters, thermometers."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from sim_hardware.world.cryostat import STAGES, Cryostat, Response, holding_w
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_left_alone_stays_within_its_drift(stage: str) -> None:
    cryostat, of = Cryostat(1), STAGES[stage]
    found = [cryostat.true_k(stage, t) for t in np.linspace(0, 3 * of.drift_period_s, 200)]
    assert max(np.abs(np.array(found) - of.base_k)) <= of.drift_k
    assert np.ptp(found) > 1.9 * of.drift_k


@pytest.mark.parametrize("stage", list(STAGES))
def test_readings_scatter_by_the_thermometer_s_noise(stage: str) -> None:
    cryostat = Cryostat(1)
    times = [k * 0.1 + 0.05 for k in range(500)]
    off = [cryostat.temperature_k(stage, t) - cryostat.true_k(stage, t) for t in times]
    # 4 sigma of a standard deviation from 500 values
    assert np.std(off) == pytest.approx(STAGES[stage].noise_k, rel=4 / np.sqrt(2 * 500))


def test_the_same_time_gives_the_same_reading_to_everybody() -> None:
    assert Cryostat(1).temperature_k("4K", 7.0) == Cryostat(1).temperature_k("4K", 7.0)
    assert Cryostat(1).temperature_k("4K", 7.0) != Cryostat(2).temperature_k("4K", 7.0)


def test_the_mixing_chamber_settles_where_cooling_and_heating_balance() -> None:
    cryostat = Cryostat(1)
    cryostat.heat(10e-6, 0.0)
    # P = a (T² - T_base²), a = 0.0411 uW/mK²: sqrt(100 + 10 / 0.0411) mK
    assert cryostat.true_k("mixing", 3000.0) == pytest.approx(18.52e-3, abs=0.03e-3)


def test_heating_takes_its_time_constant() -> None:
    cryostat = Cryostat(1)
    cryostat.hold(0.020, 1.0, 100.0)
    rise_k = cryostat.true_k("mixing", 130.0) - 0.010
    assert rise_k == pytest.approx(0.010 * (1 - exp(-1)), abs=STAGES["mixing"].drift_k)


def test_a_setpoint_is_held_as_far_as_the_heater_can() -> None:
    cryostat = Cryostat(1)
    cryostat.hold(0.012, 1.0, 0.0)
    assert cryostat.heater_w(0.0) == pytest.approx(1.81e-6, rel=0.01)
    cryostat.hold(0.012, 1e-6, 10.0)
    assert cryostat.heater_w(10.0) == pytest.approx(1e-6)
    cryostat.hold(0.005, 1.0, 20.0)
    assert cryostat.heater_w(20.0) == 0.0
    assert holding_w(0.005) < 0


def test_the_still_answers_its_own_heater() -> None:
    cryostat = Cryostat(1)
    cryostat.heat_still(1e-3, 0.0)
    assert cryostat.true_k("still", 600.0) == pytest.approx(0.75, abs=0.004)
    assert cryostat.true_k("mixing", 600.0) == pytest.approx(0.010, abs=2e-5)


def test_the_past_stays_as_it_was() -> None:
    response = Response(1.0, 10.0)
    response.aim(2.0, 0.0)
    before = [response.at(t) for t in (-5.0, 0.0, 5.0)]
    response.aim(0.0, 6.0)
    assert [response.at(t) for t in (-5.0, 0.0, 5.0)] == before
    assert before[:2] == [1.0, 1.0]


def test_a_night_of_changes_is_not_kept_for_ever() -> None:
    response = Response(1.0, 10.0)
    for k in range(5000):
        response.aim(float(k), float(k))
    assert len(response._turns) <= 1000
    assert response.at(-1e6) == response.at(3000.0)


@pytest.mark.parametrize("thermometer", [SEMICONDUCTOR, RUTHENIUM_OXIDE])
def test_thermometers_fall_and_can_be_inverted(thermometer: Thermometer) -> None:
    temperatures = [0.01, 0.7, 3.6, 47.0]
    ohms = [thermometer.resistance_ohm(t) for t in temperatures]
    assert ohms == sorted(ohms, reverse=True)
    assert [thermometer.temperature_k(r) for r in ohms] == pytest.approx(temperatures)
