"""Parameters of sensor and SQUID that cannot be are refused with the reason, all at once."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest

from sim_hardware.world import squid_parameters, tes
from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.squid_loop import LoopSettings, LoopState, follow
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import TesParameters, heater_for, operating_point
from sim_hardware.world.tes_kernel import TesState, advance


@pytest.mark.parametrize("name", [each.name for each in fields(TesParameters)])
@pytest.mark.parametrize("value", [-1.0, 1e9, float("nan")])
def test_each_parameter_of_the_sensor_has_its_limits(name, value):
    with pytest.raises(UnphysicalError, match=rf"{name}: expected .*, found"):
        TesParameters(**{name: value})


@pytest.mark.parametrize("name", [each.name for each in fields(SquidParameters)])
@pytest.mark.parametrize("value", [-2.0, 1e10, float("nan")])
def test_each_parameter_of_the_squid_has_its_limits(name, value):
    with pytest.raises(UnphysicalError, match=rf"{name}: expected .*, found"):
        SquidParameters(**{name: value})


def test_every_parameter_has_its_line_of_limits():
    assert list(tes._LIMITS) == [each.name for each in fields(TesParameters)]
    assert list(squid_parameters._LIMITS) == [each.name for each in fields(SquidParameters)]


def test_all_reasons_come_at_once():
    with pytest.raises(UnphysicalError) as refused:
        TesParameters(tc_k=-0.015, collection=1.5, k_eb_w_per_k2=0.0)
    said = str(refused.value)
    assert re.search(r"tc_k: .*collection: expected 0 to 1 \(a share of the energy\)", said) or (
        re.search(r"tc_k: .*k_eb_w_per_k2: .*leads no heat away.*collection: ", said)
    )
    assert said.count("expected") == 4  # the negative Tc also makes the width too large


def test_a_transition_wider_than_its_temperature_is_refused():
    with pytest.raises(UnphysicalError, match="wider transition has resistance at zero"):
        TesParameters(width_k=10e-3)


def test_a_load_above_the_normal_resistance_is_refused():
    with pytest.raises(UnphysicalError, match=r"expected less than r_normal_ohm 0\.2 .*, found"):
        TesParameters(r_shunt_ohm=0.3)


def test_a_polarity_of_zero_is_refused():
    with pytest.raises(UnphysicalError, match="polarity: expected -1 or 1, found 0"):
        SquidParameters(polarity=0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bias_a": 1.0}, "bias_a: expected"),
        ({"bias_a": float("nan")}, "bias_a: expected"),
        ({"bath_k": 0.0}, "bath_k: expected"),
        ({"heater_w": -1e-15}, "a heater cannot cool"),
        ({"from_k": -1.0}, "from_k: expected"),
    ],
)
def test_surroundings_that_cannot_be_are_refused(given, said):
    with pytest.raises(UnphysicalError, match=said):
        operating_point(TesParameters(), **{"bias_a": 1e-6, "bath_k": 0.01, **given})


def test_a_resistance_outside_the_transition_has_no_heater():
    with pytest.raises(UnphysicalError, match="in the transition"):
        heater_for(TesParameters(), r_ohm=0.2, bias_a=1e-6, bath_k=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slope": 0}, "slope: expected -1 or 1, found 0"),
        ({"squid_bias_a": 2.0}, "squid_bias_a: expected"),
        ({"lock_v": float("nan")}, "lock_v: expected"),
        ({"flux_offset_phi0": float("inf")}, "flux_offset_phi0: expected"),
        ({"feedback_ohm": 0.0}, "feedback_ohm: expected"),
        ({"gain": 0.0}, "gain: expected"),
    ],
)
def test_settings_that_no_electronics_has_are_refused(given, said):
    with pytest.raises(UnphysicalError, match=said):
        LoopSettings(**{"locked": True, "squid_bias_a": 21e-6, "lock_v": 0.0, **given})


def test_surroundings_of_different_lengths_are_refused():
    p, one = TesParameters(), np.ones(3)
    state = TesState(sample=0, current_a=0.0, t_e_k=0.01, t_a_k=0.01)
    with pytest.raises(ValueError, match=r"of one length, found \[3, 3, 2\]"):
        advance(p, state, dt_s=1e-6, bias_a=one, heater_w=one, bath_k=one[:2])


def test_flux_noise_of_another_length_is_refused():
    squid = SquidParameters()
    loop = LoopSettings(locked=True, squid_bias_a=21e-6, lock_v=0.0)
    state = LoopState.without_feedback(squid, loop, 0.0)
    with pytest.raises(ValueError, match="as long as current_a, 3, found 1"):
        follow(squid, loop, state, np.zeros(3), dt_s=1e-6, flux_noise_phi0=np.zeros(1))


def test_a_sweep_of_no_biases_has_no_points():
    assert tes.sweep(TesParameters(), np.empty(0), bath_k=0.01) == []
