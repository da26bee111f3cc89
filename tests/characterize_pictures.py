"""The pictures of docs/howto/characterize.md, measured on a bench through its wires.

python -m tests.characterize_pictures docs/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daq.readout import characterize, smallsignal
from daq.readout.iv import Iv, State
from daq.readout.smallsignal import Didv, Noise, Pulses
from daq.readout.workingpoint import Candidate
from sim_hardware.detector_pictures import STYLE
from tests.answering import RATE_HZ, SENSOR, WAVE, WORK_W, Answering
from tests.wired_bench import spec, wired

COLORS = {State.NORMAL: "C3", State.TRANSITION: "C0", State.SUPERCONDUCTING: "C2"}
MAP_A = [0.6e-6, 0.93e-6, 1.5e-6]
MAP_W = [20e-15, 23e-15, 26e-15]
BIASES_A = [0.6e-6, 0.93e-6, 1.5e-6]


def main(folder: Path) -> None:
    with wired(spec(RATE_HZ, tes={"all": {"heater_w": 0.0}})) as bench:
        answering = Answering(bench)
        cold, warm, didv, noises, candidates = measured(answering)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(8.0, 6.2), layout="constrained")
        axes = figure.subplots(2, 2).ravel()
        draw_iv(axes[0], cold, warm)
        draw_didv(axes[1], didv)
        draw_noise(axes[2], noises)
        draw_map(axes[3], candidates)
        path = folder / "characterize.png"
        figure.savefig(path, dpi=90, metadata={"Software": None})
    print(path)


def measured(
    answering: Answering,
) -> tuple[Iv, Iv, Didv, list[Noise], list[Candidate]]:
    """Everything that a sensor can be asked on one bath."""
    falling = characterize.falling_biases
    cold = answering.run(
        characterize.measure_iv(SENSOR, falling(9e-6, 1.5e-6, share=0.04), settle_s=0.2)
    )
    warm_sweep = characterize.measure_iv(
        SENSOR,
        falling(6e-6, 0.3e-6, share=0.08, to_zero=0),
        settle_s=0.2,
        r_load_ohm=cold.r_load_ohm,
    )
    warm = answering.run(characterize.heated(SENSOR, WORK_W, warm_sweep))
    waves = smallsignal.measure_didv(SENSOR, warm, BIASES_A, WAVE, feedback_ohm=30e3)
    didv = answering.run(characterize.heated(SENSOR, WORK_W, waves))
    noise = smallsignal.measure_noise(SENSOR, BIASES_A, feedback_ohm=30e3, seconds=4.0)
    noises = answering.run(characterize.heated(SENSOR, WORK_W, noise))
    pulses = Pulses(frequency_hz=5.0, number=12, noise_s=2.0, settle_s=0.4)
    search = smallsignal.search_working_point(
        SENSOR, cold, MAP_A, MAP_W, feedback_ohm=30e3, pulses=pulses
    )
    choice, candidates = answering.run(search)
    for name, value in (("Rn", cold.r_normal_ohm), ("Rsh + Rp", cold.r_load_ohm)):
        print(f"{name} = {value.value * 1e3:.3f} +- {value.sigma * 1e3:.3f} mohm")
    for bias_a, _, bodies in didv.fits:
        print(f"{bias_a * 1e6:.3f} uA:", bodies.loop_gain, bodies.tau_eff_s, bodies.beta)
    print(choice.explanation)
    return cold, warm, didv, noises, candidates


def draw_iv(axes: Axes, cold: Iv, warm: Iv) -> None:
    for state, color in COLORS.items():
        at = cold.within(state)
        axes.plot(cold.bias_a[at] * 1e6, cold.current_a[at] * 1e6, ".", c=color, label=str(state))
    axes.plot(warm.bias_a * 1e6, warm.current_a * 1e6, ".", c="0.6", label="with 23.5 fW")
    axes.set(xlabel="bias [µA]", ylabel="current [µA]", ylim=(0, 2.2))
    axes.legend()


def draw_didv(axes: Axes, didv: Didv) -> None:
    for number, (bias_a, response, bodies) in enumerate(didv.fits):
        color, f_hz = f"C{number}", np.geomspace(response.f_hz[0], response.f_hz[-1], 200)
        axes.plot(response.f_hz, np.abs(response.values), ".", c=color, ms=3)
        fitted = np.abs(bodies.response(f_hz, SENSOR.r_shunt_ohm))
        axes.plot(f_hz, fitted, c=color, label=f"{bias_a * 1e6:.2f} µA")
    axes.set(xscale="log", xlabel="frequency [Hz]", ylabel="|dI/dIb|, and fits")
    axes.legend()


def draw_noise(axes: Axes, noises: list[Noise]) -> None:
    for noise in noises:
        label = f"{noise.bias_a * 1e6:.2f} µA"
        axes.plot(noise.f_hz, np.sqrt(noise.psd) * 1e12, lw=0.6, label=label)
    axes.set(xscale="log", yscale="log", xlabel="frequency [Hz]", ylabel="noise [pA/√Hz]")
    axes.set(ylim=(3, 1000))
    axes.legend()


def draw_map(axes: Axes, candidates: list[Candidate]) -> None:
    rows = [each for each in candidates if each.sigma_ev]
    dots = axes.scatter(
        [each.bias_a * 1e6 for each in rows],
        [each.heater_w * 1e15 for each in rows],
        c=[each.sigma_ev.value for each in rows if each.sigma_ev],
        cmap="viridis_r",
        s=300,
        vmax=6,
    )
    for each in rows:
        assert each.sigma_ev
        text, at = f"{each.sigma_ev.value:.1f}", (each.bias_a * 1e6, each.heater_w * 1e15)
        axes.annotate(text, at, ha="center", va="center", size=7)
    assert axes.figure
    axes.figure.colorbar(dots, label="promised sigma [eV]")
    axes.set(xlabel="bias [µA]", ylabel="heater [fW]")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
