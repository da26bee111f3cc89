"""The pictures of docs/physics.md: current-voltage curves, V-phi, noise and pulses, as PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sim_hardware.world.squid_loop import LoopSettings, LoopState, follow
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import (
    BATH_K,
    BIAS_A,
    HEATER_W,
    Floats,
    TesParameters,
    operating_point,
    sweep,
)
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from sim_hardware.world.tes_linear import HIGHEST_HZ, LOWEST_HZ, Linear

BATHS_K = (5e-3, 8e-3, BATH_K, 12e-3, 14e-3, 16e-3)
SQUID_BIASES = (1.0, 1.6, 2.0, 2.1, 2.5, 3.0)  # of a junction's critical current
ENERGIES_EV = (20, 100, 1000, 5900)
STREAM_HZ = 50e3
# Any: matplotlib's own type of a key lists all of them
STYLE: dict[Any, object] = {
    "font.size": 8,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
SIZE_IN, DOTS_PER_INCH = (8.0, 3.2), 100


def write_pictures(folder: Path) -> list[Path]:
    """Write every picture into a folder, which is made; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    return [written(folder / f"{name}.png", draw) for name, draw in PICTURES.items()]


def written(path: Path, draw: Callable[[Axes, Axes], None]) -> Path:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user's is none of ours
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        left, right = figure.subplots(1, 2)
        draw(left, right)
        figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path


def _iv(left: Axes, right: Axes) -> None:
    """Bias falling from the normal state at several temperatures; both directions at one."""
    p, down_a = TesParameters(), np.arange(150, 0, -1) * 0.04e-6
    for bath_k in BATHS_K:
        points = sweep(p, down_a, bath_k=bath_k)
        left.plot(1e6 * down_a, [1e6 * op.current_a for op in points], label=f"{1e3 * bath_k:g} mK")
    left.set(xlabel="bias [µA]", ylabel="sensor current [µA]", ylim=(0, 3))
    left.legend(title="plate, bias falling")
    far_a = np.arange(1, 151) * 0.2e-6
    up = sweep(p, far_a, bath_k=BATH_K, branch="superconducting")
    down = sweep(p, far_a[::-1], bath_k=BATH_K)
    right.plot(1e6 * far_a, [1e6 * op.current_a for op in up], label="rising")
    right.plot(1e6 * far_a[::-1], [1e6 * op.current_a for op in down], label="falling")
    right.set(xlabel="bias [µA]", ylabel="sensor current [µA]")
    right.legend(title=f"{1e3 * BATH_K:g} mK")


def _v_phi(left: Axes, right: Axes) -> None:
    """The SQUID's voltage at several biases; what the output makes of a growing current."""
    p, flux = SquidParameters(polarity=1), np.linspace(-1, 1, 601)
    for times in SQUID_BIASES:
        volts = p.v_phi(flux, times * p.critical_current_a)
        left.plot(flux, 1e6 * volts, label=f"{times:g}")
    left.set(xlabel="flux [Φ₀]", ylabel="voltage [µV]", ylim=(-5, 165))
    left.legend(title="bias / Ic", ncols=3, loc="upper center")
    bias_a = p.reference_bias_a
    locked = LoopSettings(locked=True, squid_bias_a=bias_a, lock_v=p.middle_v(bias_a))
    ramp = np.concatenate([np.linspace(0, 3, 800), 3 + np.linspace(0, 3, 2), np.full(300, 6.0)])
    cases = {
        "locked; 3 Φ₀ within 1 µs are lost": (1, locked),
        "open, 20 times": (20, replace(locked, locked=False)),
        "lock point outside V-Φ": (1, replace(locked, lock_v=2 * p.middle_v(bias_a))),
    }
    for name, (times, settings) in cases.items():
        t_ms = 1e-3 * np.arange(len(ramp))
        right.plot(t_ms, times * _output(p, settings, ramp), label=name)
    right.set(xlabel="time [ms]", ylabel="output [V]")
    right.legend()


def _output(p: SquidParameters, settings: LoopSettings, flux_phi0: Floats) -> Floats:
    state = LoopState.without_feedback(p, settings, 0.0)
    volts, _ = follow(p, settings, state, flux_phi0 * p.input_a_per_phi0, dt_s=1e-6)
    return volts


def _noise(left: Axes, right: Axes) -> None:
    """Amplitude densities by source; what each costs at the filter's output."""
    linear, squid = _working_point(), SquidParameters()
    f_hz = np.geomspace(0.5, 1e6, 400)
    sources = {**linear.noise_budget(f_hz), "SQUID": squid.current_psd(f_hz)}
    for name, density in sources.items():
        left.loglog(f_hz, 1e12 * np.sqrt(density), label=name)
    whole = sum(sources.values())
    left.loglog(f_hz, 1e12 * np.sqrt(whole), color="black", label="all")
    below = f_hz[f_hz < STREAM_HZ / 2]
    seen = linear.sampled_psd(below, STREAM_HZ) + squid.current_psd(below)
    left.loglog(below, 1e12 * np.sqrt(seen), "k:", label="sampled at 50 kS/s, no filter")
    left.set(xlabel="frequency [Hz]", ylabel="current [pA/√Hz]", ylim=(1e-2, 200))
    left.legend(fontsize=6, ncols=3, loc="upper center")
    within = {"low_hz": LOWEST_HZ, "high_hz": HIGHEST_HZ}
    sigma_ev = linear.resolution_ev(squid.current_psd, **within)
    shares = linear.shares(squid.current_psd, **within)
    names = sorted(shares, key=lambda name: shares[name])
    right.barh(names, [100 * shares[name] for name in names])
    right.set(xlabel=f"share of the variance [%], of ({sigma_ev:.3f} eV)²")


def _pulses(left: Axes, right: Axes) -> None:
    """Four energies, as currents and per energy."""
    p, op = TesParameters(), _working_point().op
    n = 60_000
    t_ms = np.arange(n) * 1e-3
    for energy_ev in ENERGIES_EV:
        fall_a = op.current_a - _current(p, n, energy_ev)
        name = f"{energy_ev:g} eV"
        left.semilogy(t_ms[1::20], 1e9 * fall_a[1::20], label=name)
        right.plot(t_ms[:12_000:5], 1e12 * fall_a[:12_000:5] / energy_ev, label=name)
    left.set(xlabel="time [ms]", ylabel="fall of the current [nA]", ylim=(1e-2, 200))
    right.set(xlabel="time [ms]", ylabel="fall per energy [pA/eV]")
    right.legend()


def _current(p: TesParameters, n: int, energy_ev: float) -> Floats:
    """At every microsecond after an energy."""
    op, one = _working_point().op, np.ones(n)
    current_a, _ = advance(
        p,
        TesState.at(op),
        dt_s=1e-6,
        bias_a=BIAS_A * one,
        heater_w=HEATER_W * one,
        bath_k=BATH_K * one,
        deposits=[Deposit(0.0, energy_ev)],
    )
    return current_a


def _working_point() -> Linear:
    p = TesParameters()
    return Linear(p, operating_point(p, bias_a=BIAS_A, bath_k=BATH_K, heater_w=HEATER_W))


PICTURES: dict[str, Callable[[Axes, Axes], None]] = {
    "iv": _iv,
    "v-phi": _v_phi,
    "noise-budget": _noise,
    "pulses": _pulses,
}
