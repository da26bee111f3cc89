"""Whatever the sensor and its surroundings: steady states exist, balance and are stable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sim_hardware.world.tes import TesParameters, operating_point


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda exponent: 10**exponent)


sensors = st.builds(
    TesParameters,
    r_normal_ohm=powers(-1, 1),
    r_shunt_ohm=powers(-3, -1.2),
    width_k=powers(-5, -2.3),
    critical_current_a=powers(-6, -1),
    k_eb_w_per_k2=powers(-12, -6),
    k_ea_w_per_k5=powers(-9, -3),
    k_ab_w_per_k4=powers(-9, -3),
)
surroundings = st.fixed_dictionaries(
    {
        "bias_a": st.one_of(st.just(0.0), powers(-9, -2)),
        "bath_k": powers(-3, 1),
        "heater_w": st.one_of(st.just(0.0), powers(-18, -9)),
    }
)


@given(sensors, surroundings, powers(-3, 2))
def test_every_steady_state_balances_and_returns_to_itself(p, around, from_k):
    low, high = (operating_point(p, branch=b, **around) for b in ("superconducting", "normal"))
    for op in (low, high, operating_point(p, from_k=from_k, **around)):
        assert low.t_e_k <= op.t_e_k * (1 + 1e-9)
        assert op.t_e_k <= high.t_e_k * (1 + 1e-9)
        volts = around["bias_a"] * p.r_shunt_ohm
        assert abs(op.current_a * (op.r_ohm + p.r_load_ohm) - volts) <= 1e-9 * volts
        to_plate = p.k_eb_w_per_k2 * (op.t_e_k**2 - op.bath_k**2)
        to_plate += p.k_ea_w_per_k5 * (op.t_e_k**5 - op.t_a_k**5)
        scale = p.k_eb_w_per_k2 * op.t_e_k**2 + op.joule_w + op.heater_w
        scale += p.k_ea_w_per_k5 * op.t_e_k**5
        # u is found to 1e-13, and R may change by e in one
        assert abs(op.joule_w + op.heater_w - to_plate) < 1e-8 * scale
        again = operating_point(p, from_k=op.t_e_k, **around)
        assert abs(again.t_e_k / op.t_e_k - 1) < 1e-6
