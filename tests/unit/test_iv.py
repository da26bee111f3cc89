"""An IV understood: synthetic sweeps of the world's sensor, with noise, jumps and mistakes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daq.errors import CheckError, UsageError
from daq.readout import iv
from daq.readout.circuit import BiasCircuit, Estimate
from daq.readout.iv import Iv, Jump, State
from sim_hardware.world.tes import BATH_K, OperatingPoint, TesParameters, sweep

P = TesParameters()
CIRCUIT = BiasCircuit(r_shunt_ohm=20e-3, volts_per_a=-0.4e6, a_per_phi0=0.3e-6)
BIASES = np.concatenate(
    [np.arange(9.0, 5.0, -0.5), np.arange(5.0, 1.95, -0.05), [1.5, 1.0, 0.5, 0.0]]
) * 1e-6  # fmt: skip
LOCKED_AT_V, SIGMA_V = 0.37, 2e-5
TRANSITION = (22, 62)  # points well inside it


@cache
def points(heater_w: float = 0.0) -> tuple[OperatingPoint, ...]:
    return tuple(sweep(P, BIASES, bath_k=BATH_K, heater_w=heater_w))


def volts(heater_w: float = 0.0) -> np.ndarray:
    current_a = np.array([op.current_a for op in points(heater_w)])
    noise = np.random.default_rng(3).normal(0, SIGMA_V, len(current_a))
    return current_a * CIRCUIT.volts_per_a + LOCKED_AT_V + noise


def understood(seen: np.ndarray, biases: np.ndarray = BIASES) -> Iv:
    return iv.analyse(biases, seen, SIGMA_V, CIRCUIT)


def test_both_slopes_give_both_resistances_and_zero() -> None:
    found = understood(volts())
    assert found.r_normal_ohm.value == pytest.approx(P.r_normal_ohm, rel=2e-3)
    assert found.r_load_ohm.value == pytest.approx(P.r_load_ohm, rel=2e-3)
    assert found.offset_v.value == pytest.approx(LOCKED_AT_V, abs=5 * found.offset_v.sigma)
    assert abs(found.r_normal_ohm.value - P.r_normal_ohm) < 5 * found.r_normal_ohm.sigma


def test_r_power_and_state_at_every_point() -> None:
    found = understood(volts())
    for k, op in enumerate(points()[:-1]):
        assert abs(found.r_ohm[k] - op.r_ohm) < 5 * found.sigma_r_ohm[k] + 1e-6
        assert found.power_w[k] == pytest.approx(op.joule_w, rel=5e-3, abs=1e-17)
        share = op.r_ohm / P.r_normal_ohm
        if share < 0.01:
            assert found.states[k] is State.SUPERCONDUCTING
        elif share < 0.9:
            assert found.states[k] is State.TRANSITION
        elif share > 0.9999:
            assert found.states[k] is not State.SUPERCONDUCTING
    assert found.states[0] is State.NORMAL
    assert np.isnan(found.r_ohm[-1])  # no bias, no resistance


def test_the_local_slope_gives_the_loop_gain_where_beta_is_known() -> None:
    found = understood(volts())
    for k in range(*TRANSITION, 5):
        op = points()[k]
        # (Z0 - R)/(Z0 + R), of the true loop gain and beta; steps of 50 nA are not infinitely small
        z0 = op.r_ohm * (1 + op.beta + op.loop_gain) / (1 - op.loop_gain)
        expected = (z0 - op.r_ohm) / (z0 + op.r_ohm)
        assert found.loop_gain[k] == pytest.approx(expected, rel=0.06)


quanta = st.sampled_from([-3, -2, -1, 1, 2, 3])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(*TRANSITION).map(lambda k: k // 3 * 3), quanta, max_size=4))
def test_flux_jumps_in_the_transition_are_undone(jumps: dict[int, int]) -> None:
    seen = volts()
    for at, n in jumps.items():
        seen[at:] += n * CIRCUIT.a_per_phi0 * CIRCUIT.volts_per_a
    found = understood(seen)
    assert found.jumps == tuple(Jump(at, n) for at, n in sorted(jumps.items()))
    np.testing.assert_allclose(found.current_a, understood(volts()).current_a, atol=1e-12)


@pytest.mark.parametrize("n", [-2, 1, 3])
def test_quanta_that_the_lock_lost_at_the_snap_are_undone(n: int) -> None:
    seen = volts()
    superconducting = next(k for k, op in enumerate(points()) if op.r_ohm < 1e-3)
    seen[superconducting:] += n * CIRCUIT.a_per_phi0 * CIRCUIT.volts_per_a
    found = understood(seen)
    assert found.jumps == (Jump(superconducting, n),)
    assert found.r_load_ohm.value == pytest.approx(P.r_load_ohm, rel=2e-3)
    assert found.current_a[-1] == pytest.approx(0.0, abs=1e-9)


def test_current_and_power_at_a_share_of_rn() -> None:
    current, power = understood(volts()).at_share(0.5)
    k = int(np.argmin([abs(op.r_ohm - 0.1) for op in points()]))
    assert power.value == pytest.approx(points()[k].joule_w, rel=0.01)
    assert current.value == pytest.approx(points()[k].current_a, rel=0.02)
    assert power.sigma < 1e-2 * power.value
    with pytest.raises(CheckError, match="expected points of the transition on both sides"):
        understood(volts()).at_share(1.2)


def test_a_heated_sensor_needs_the_load_of_another_iv() -> None:
    seen = volts(23.5e-15)
    found = iv.analyse(BIASES, seen, SIGMA_V, CIRCUIT, r_load_ohm=Estimate(P.r_load_ohm, 1e-5))
    for k in range(30, 60, 5):
        assert found.r_ohm[k] == pytest.approx(points(23.5e-15)[k].r_ohm, rel=5e-3)
    high = BIASES > 0.3e-6  # above, it is nowhere superconducting
    with pytest.raises(CheckError, match="or the load's resistance from another IV"):
        understood(seen[high], BIASES[high])


def test_the_state_by_a_slope() -> None:
    normal = P.r_shunt_ohm / (P.r_normal_ohm + P.r_load_ohm)
    assert iv.state_of_slope(0.87, normal) is State.SUPERCONDUCTING
    assert iv.state_of_slope(1.02 * normal, normal) is State.NORMAL
    assert iv.state_of_slope(-0.5, normal) is State.TRANSITION


def test_an_open_tes_is_named() -> None:
    noise = np.random.default_rng(1).normal(0, SIGMA_V, len(BIASES))
    with pytest.raises(CheckError, match=r"open TES: expected more than 9e-09 A .* found .* A$"):
        understood(LOCKED_AT_V + noise)


def test_what_never_leaves_the_normal_or_the_superconducting_state_is_named() -> None:
    for slope in (0.0897, 0.87):
        seen = BIASES * slope * CIRCUIT.volts_per_a
        with pytest.raises(CheckError, match=f"no transition seen.*found {slope:.4g} all the way"):
            understood(seen)


def test_a_sweep_that_begins_in_the_transition_is_named() -> None:
    seen = volts()[28:]
    with pytest.raises(CheckError, match="no normal branch: expected 3 points on a rising line"):
        understood(seen, BIASES[28:])


def test_a_gain_that_is_wrong_is_seen_where_the_lines_do_not_meet() -> None:
    seen = volts()
    superconducting = next(k for k, op in enumerate(points()) if op.r_ohm < 1e-3)
    seen[superconducting:] += 0.4 * CIRCUIT.a_per_phi0 * CIRCUIT.volts_per_a
    with pytest.raises(CheckError, match=r"found them 0\.40 phi0 apart"):
        understood(seen)


@pytest.mark.parametrize(
    ("biases", "seen", "said"),
    [
        (BIASES[:5], BIASES[:5], "too few points: expected at least 8, found 5"),
        (BIASES[::-1], BIASES, "expected biases that fall from the normal state to zero"),
        (BIASES, BIASES[:-1], "expected as many volts as biases"),
        (BIASES, BIASES * np.nan, "expected finite biases and volts"),
        (BIASES, BIASES * 0 + 9.9, "at its rail at 73 points, first at 9e-06 A"),
    ],
)
def test_data_that_are_no_sweep_are_refused(biases, seen, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CheckError, match=said):
        iv.analyse(biases, seen, SIGMA_V, CIRCUIT, limit_v=9.5)


@pytest.mark.parametrize("bad", [{"r_shunt_ohm": 0.0}, {"a_per_phi0": -1.0}, {"volts_per_a": 0.0}])
def test_a_circuit_that_cannot_be_is_refused(bad: dict[str, float]) -> None:
    good = {"r_shunt_ohm": 20e-3, "volts_per_a": -0.4e6, "a_per_phi0": 0.3e-6}
    with pytest.raises(UsageError, match=next(iter(bad))):
        BiasCircuit(**{**good, **bad})
