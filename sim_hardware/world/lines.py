"""The lines one calibrates with, in eV, with their strengths.

X-ray energies: X-ray data booklet. Ka1 and Ka2 are as 2 to 1, which is their ratio of statistical
weights. Strengths of the tungsten L lines are round figures: they depend on how they are excited.
"""

from __future__ import annotations

from collections.abc import Callable

from sim_hardware.world.particles import Rng
from sim_hardware.world.recoils import lines

LINES_EV: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "iron55": ((5898.8, 5887.7, 6490.4), (2 / 3, 1 / 3, 0.117)),  # Mn, Kb/Ka is 0.117
    "copper": ((8047.8, 8027.8, 8905.3), (2 / 3, 1 / 3, 0.135)),
    "tungsten": ((8397.6, 9672.4), (0.6, 0.4)),  # La, Lb
    "xrf": ((676.8, 1486.7, 1740.0), (1.0, 1.0, 1.0)),  # Ka of F, Al, Si
    "thallium": ((2.6145e6,), (1.0,)),  # 208Tl in the outer veto
}


def line_energy(kind: str) -> Callable[[Rng], float]:
    """Draws an energy of the lines of a kind."""
    return lines(*LINES_EV[kind])
