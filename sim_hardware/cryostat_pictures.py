"""The picture of the cryostat in the documentation: a cool-down from 300 K to base.

python -m sim_hardware.cryostat_pictures docs/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sim_hardware.world.cryostat import MODEL, Cryostat
from sim_hardware.world.gas import GasHandling
from sim_hardware.world.thermal import STAGES

HOURS, N_POINTS, HOUR_S = 30.0, 1200, 3600.0


def draw(folder: Path) -> list[Path]:
    """Draw the picture into a folder; gives the files."""
    cryostat = Cryostat(1, MODEL, "warm")
    gas = GasHandling(cryostat)
    hours = np.linspace(0.0, HOURS, N_POINTS)
    matplotlib.use("agg")  # no screen is needed
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for stage in STAGES:
        kelvins = [cryostat.true_k(stage, hour * HOUR_S) for hour in hours]
        upper.semilogy(hours, kelvins, label=stage, linewidth=1.2)
    upper.set_ylabel("temperature [K]")
    upper.set_title(f"{MODEL}: cool-down from 300 K")
    upper.legend(ncols=len(STAGES), fontsize="small")
    tank = [gas.pressure_mbar("p5", hour * HOUR_S) for hour in hours]
    lower.plot(hours, tank, linewidth=1.2)
    lower.set_ylabel("tank [mbar]")
    lower.set_xlabel("time [h]")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    path = folder / "cool-down.png"
    figure.savefig(path, dpi=90)
    return [path]


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
