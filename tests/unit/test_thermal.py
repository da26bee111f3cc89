"""Tc, G and n from the power at several baths."""

from __future__ import annotations

import numpy as np
import pytest

from daq.errors import CheckError
from daq.readout import iv, thermal
from daq.readout.circuit import BiasCircuit, Estimate
from daq.readout.thermal import Conductance, PowerPoint
from sim_hardware.world.tes import TesParameters, sweep

P = TesParameters()
CIRCUIT = BiasCircuit(r_shunt_ohm=20e-3, volts_per_a=-0.4e6, a_per_phi0=0.3e-6)
BATHS_K = (10e-3, 11.5e-3, 12.5e-3, 13.5e-3, 14.2e-3)
SIGMA_V = 1e-5


def of_law(*, n: float, ic_a: float = np.inf, noise: float = 0.0) -> list[PowerPoint]:
    """Points that obey the law exactly: Tc 15 mK, G 6.5e-12 W/K there."""
    k_w, rng, found = 6.5e-12 / (n * 15e-3 ** (n - 1)), np.random.default_rng(2), []
    for bath_k in BATHS_K:
        for share, shift_k in ((0.35, -0.1e-3), (0.5, 0.0), (0.65, 0.1e-3)):
            power_w = 1e-14
            for _ in range(50):  # the current that the power needs, and what it does to Tc
                current_a = np.sqrt(power_w / (share * 0.2))
                t_k = 15e-3 * (1 - (current_a / ic_a) ** (2 / 3)) + shift_k
                power_w = k_w * (t_k**n - bath_k**n)
            found.append(
                PowerPoint(
                    share=share,
                    bath_k=bath_k,
                    sigma_bath_k=0.0,
                    power_w=Estimate(power_w * (1 + noise * rng.standard_normal()), power_w * 2e-3),
                    current_a=float(current_a),
                )
            )
    return found


@pytest.mark.parametrize("n", [2.0, 3.2, 5.0])
@pytest.mark.parametrize("ic_a", [np.inf, 200e-6])
def test_what_obeys_the_law_gives_its_parameters_back(n: float, ic_a: float) -> None:
    found = thermal.fit(of_law(n=n, ic_a=ic_a))
    assert found.tc_k.value == pytest.approx(15e-3, rel=1e-4)
    assert found.g_w_per_k.value == pytest.approx(6.5e-12, rel=3e-3)
    assert found.n.value == pytest.approx(n, rel=3e-3)
    assert found.chi2 < 0.1


def test_uncertainties_are_those_of_the_scatter() -> None:
    found = thermal.fit(of_law(n=3.0, ic_a=200e-6, noise=2e-3))
    assert abs(found.tc_k.value - 15e-3) < 4 * found.tc_k.sigma < 0.3e-3
    assert abs(found.g_w_per_k.value - 6.5e-12) < 4 * found.g_w_per_k.sigma


def series() -> Conductance:
    """By IVs of the world's sensor, whose links and transition are not that simple."""
    curves, load, top_a = [], None, 9e-6
    for bath_k in BATHS_K:
        biases = np.geomspace(top_a, 0.25e-6, 90)
        ops = sweep(P, biases, bath_k=bath_k)
        keep = [k for k, op in enumerate(ops) if op.r_ohm > 0.28 * P.r_normal_ohm]
        biases, current_a = biases[keep], np.array([ops[k].current_a for k in keep])
        noise = np.random.default_rng(1).normal(0, SIGMA_V, len(biases))
        load = Estimate(P.r_load_ohm, 2e-6)
        curve = iv.analyse(
            biases, current_a * CIRCUIT.volts_per_a + noise, SIGMA_V, CIRCUIT, r_load_ohm=load
        )
        curves.append((Estimate(bath_k, 2e-6), curve))
        top_a = 2 * float(curve.bias_a[curve.within(iv.State.NORMAL)][-1])
    return thermal.fit(thermal.power_points(curves))


def test_the_worlds_sensor_has_its_tc_and_conductance() -> None:
    found = series()
    g_at_tc = 2 * P.k_eb_w_per_k2 * P.tc_k + 5 * P.k_ea_w_per_k5 * P.tc_k**4
    assert found.tc_k.value == pytest.approx(P.tc_k, abs=0.1e-3)
    assert found.g_w_per_k.value == pytest.approx(g_at_tc, rel=0.05)
    assert 2.0 < found.n.value < 2.3  # electrons to plate with 2, a little to the crystal with 5


def test_alpha_follows_from_loop_gain_conductance_and_temperature() -> None:
    found = series()
    biases = np.concatenate([np.geomspace(9e-6, 2.5e-6, 90), np.linspace(2.0e-6, 0.0, 5)])
    ops = sweep(P, biases, bath_k=10e-3)
    current_a = np.array([op.current_a for op in ops])
    curve = iv.analyse(biases, current_a * CIRCUIT.volts_per_a, SIGMA_V, CIRCUIT)
    for k in (60, 70, 80):
        alpha = found.alpha(curve, 10e-3, beta=ops[k].beta)[k]
        assert alpha == pytest.approx(ops[k].alpha, rel=0.06)


def test_a_conductance_knows_the_sensors_temperature() -> None:
    found = thermal.fit(of_law(n=3.0))
    k_w = 6.5e-12 / (3 * 15e-3**2)
    assert found.k_w_per_kn == pytest.approx(k_w, rel=5e-3)
    assert found.sensor_k(k_w * (14e-3**3 - 10e-3**3), 10e-3) == pytest.approx(14e-3, rel=1e-3)
    assert found.g_at(7.5e-3) == pytest.approx(6.5e-12 / 4, rel=5e-3)


def test_what_cannot_say_is_refused() -> None:
    points = of_law(n=3.0)
    few = [p for p in points if p.bath_k < 12e-3]
    with pytest.raises(CheckError, match=r"too few baths: .* found 10 mK, 11.5 mK"):
        thermal.fit(few)
    with pytest.raises(CheckError, match=r"expected points at 0.5 Rn"):
        thermal.fit([p for p in points if p.share != 0.5])
    halves = [p for p in points if p.share == 0.5]
    with pytest.raises(CheckError, match="too few points"):
        thermal.fit(halves[:4])
    flat = [
        PowerPoint(
            share=p.share,
            bath_k=p.bath_k,
            sigma_bath_k=0.0,
            power_w=Estimate(2e-14, 1e-17),
            current_a=p.current_a,
        )
        for p in points
    ]
    with pytest.raises(CheckError, match="is the thermometer that of the sensors' plate"):
        thermal.fit(flat)
