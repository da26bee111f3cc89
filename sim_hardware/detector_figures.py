"""What the sensor and its SQUID do at the working point, beside what they were designed for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.template_bank import TemplateBank
from sim_hardware.world.tes import (
    BATH_K,
    BIAS_A,
    HEATER_W,
    OperatingPoint,
    TesParameters,
    operating_point,
    sweep,
)
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from sim_hardware.world.tes_linear import HIGHEST_HZ, LOWEST_HZ, Linear

FEEDBACK_OHM = 30e3
RENDERED_HZ = 1e6

Line = tuple[str, str, float, str]  # what, as designed, as found, format


def detector_lines() -> list[list[str]]:
    """One line per figure: what it is, the design's, the code's."""
    p, squid = TesParameters(), SquidParameters()
    op = operating_point(p, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W)
    lines = (
        *_point(op),
        *_linear(Linear(p, op), squid),
        *_heights(TemplateBank(p, op, RENDERED_HZ), squid),
        *_curve(p),
        *_warmth(p),
        *_readout(squid),
    )
    return [[what, designed, format(found, digits)] for what, designed, found, digits in lines]


def _point(op: OperatingPoint) -> Iterator[Line]:
    yield "current [µA]", "0.200", 1e6 * op.current_a, ".4f"
    yield "electrons [mK]", "14.749", 1e3 * op.t_e_k, ".3f"
    yield "crystal [mK]", "10.000", 1e3 * op.t_a_k, ".3f"
    yield "resistance [mΩ]", "70", 1e3 * op.r_ohm, ".2f"
    yield "alpha", "59.0", op.alpha, ".2f"
    yield "beta", "0.40", op.beta, ".3f"
    yield "loop gain", "1.71", op.loop_gain, ".3f"


def _linear(linear: Linear, squid: SquidParameters) -> Iterator[Line]:
    yield "τ [ms]", "6.01", 1e3 * linear.tau_s, ".3f"
    yield "τ with feedback [ms]", "3.61", 1e3 * linear.tau_eff_s, ".3f"
    yield "τ electrical [µs]", "3.31", 1e6 * linear.tau_el_s, ".3f"
    yield "τ of the crystal [ms]", "28.2", 1e3 * float(linear.taus_s.real[2]), ".2f"
    for low_hz, designed in ((LOWEST_HZ, "3.000"), (10.0, "3.16")):
        found = linear.resolution_ev(squid.current_psd, low_hz=low_hz, high_hz=HIGHEST_HZ)
        yield f"baseline sigma, {low_hz:g} Hz to 25 kHz [eV]", designed, found, ".3f"
    shares = linear.shares(squid.current_psd, low_hz=LOWEST_HZ, high_hz=HIGHEST_HZ)
    noted = {"electrons-plate": "59", "Johnson": "33", "load": "4"}
    noted |= {"electrons-crystal": "2.4", "SQUID": "1.2"}
    for name, designed in noted.items():
        yield f"share of its square: {name} [%]", designed, 100 * shares[name], ".2f"
    dc, per_ev_a = np.array([1e-4]), 25.78e-12
    for what, designed, change in (
        ("1 µK of the plate", "7.0", 1e-6 * linear.bath_response(dc)),
        ("1e-17 W of the heater", "16.5", 1e-17 * linear.heater_response(dc)),
        ("1 nA of the bias", "2.7", 1e-9 * linear.bias_response(dc)),
    ):
        yield f"baseline per {what} [eV]", designed, float(-change.real[0]) / per_ev_a, ".2f"


def _heights(bank: TemplateBank, squid: SquidParameters) -> Iterator[Line]:
    for energy_ev, designed in ((20, "0.516"), (100, "2.562"), (1000, "23.9"), (5900, "92.6")):
        signal_a = np.zeros(3000, np.float32)
        bank.add(signal_a, 0, 0.0, energy_ev)
        yield f"pulse of {energy_ev} eV [nA]", designed, -1e9 * float(signal_a.min()), ".4g"
    yield "full swing [nA]", "117", 1e9 * bank.full_swing_a, ".1f"
    yield "full swing [Φ₀]", "0.39", bank.full_swing_a / squid.input_a_per_phi0, ".3f"


def _curve(p: TesParameters) -> Iterator[Line]:
    """The IV, in steps of 0.05 µA: its slopes, its snap, its way back."""
    down_a = np.arange(200, 0, -1) * 0.05e-6
    points = sweep(p, down_a, bath_k=BATH_K)
    current_a = np.array([op.current_a for op in points])
    slopes = np.diff(current_a) / np.diff(down_a)
    yield "IV: slope, normal", "0.08962", float(slopes[0]), ".5f"
    yield "IV: slope, superconducting", "0.86957", float(slopes[-1]), ".5f"
    snap = int(np.argmax(np.diff(current_a)))
    yield "IV: resistance before the snap [mΩ]", "23.2", 1e3 * points[snap].r_ohm, ".2f"
    yield "IV: current before it [µA]", "0.996", 1e6 * float(current_a[snap]), ".3f"
    yield "IV: current after it [µA]", "1.957", 1e6 * float(current_a[snap + 1]), ".3f"
    up_a = np.arange(20e-6, 24e-6, 0.05e-6)
    back = sweep(p, up_a, bath_k=BATH_K, branch="superconducting")
    last = max(k for k, op in enumerate(back) if op.r_ohm < p.r_load_ohm)
    yield "IV: last current of the superconductor [µA]", "19", 1e6 * back[last].current_a, ".2f"


def _warmth(p: TesParameters) -> Iterator[Line]:
    for what, designed, sensor in (
        (
            "all in the crystal",
            "23.70",
            replace(p, collection=0, k_ea_w_per_k5=0, k_ab_w_per_k4=1e-12),
        ),
        ("with its losses", "22.20", p),
    ):
        yield f"20 eV warm the crystal, {what} [µK]", designed, 1e6 * _rise_k(sensor), ".2f"


def _rise_k(p: TesParameters) -> float:
    """How far 20 eV warm the crystal at the most; looked at every 0.1 ms for 20 ms."""
    bath_k = BATH_K if p.k_ea_w_per_k5 else 10e-3
    op = operating_point(p, bias_a=BIAS_A, bath_k=bath_k, heater_w=HEATER_W)
    state, one, warmest_k = TesState.at(op), np.ones(50), 0.0
    for _ in range(200):
        _, state = advance(
            p,
            state,
            dt_s=2e-6,
            bias_a=BIAS_A * one,
            heater_w=HEATER_W * one,
            bath_k=bath_k * one,
            deposits=[Deposit(0.0, 20.0)],
        )
        warmest_k = max(warmest_k, state.t_a_k - op.t_a_k)
    return warmest_k


def _readout(squid: SquidParameters) -> Iterator[Line]:
    volts_per_a = abs(squid.volts_per_a(FEEDBACK_OHM))
    depth_v = squid.depth_v(squid.reference_bias_a)
    yield "V-Φ, peak to peak at 2.1 Ic [µV]", "58", 1e6 * depth_v, ".1f"
    yield "locked output per Φ₀ [V]", "1.2", squid.volts_per_phi0(FEEDBACK_OHM), ".3f"
    yield "locked output [MV/A]", "4.0", 1e-6 * volts_per_a, ".3f"
    yield "16 bits of ±10 V in current [pA]", "76", 1e12 * 20 / 2**16 / volts_per_a, ".1f"
