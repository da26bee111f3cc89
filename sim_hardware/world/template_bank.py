"""Pulses of an operating point, of any energy, from templates that the equations of motion give.

A single linear template is 6 % wrong at 1 keV and useless at 10 MeV, where pulses are flat. So
the bank holds templates in steps of the logarithm of the energy and interpolates between them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sim_hardware.world.tes import OperatingPoint, TesParameters

LEAST_EV, MOST_EV = 1.0, 1e8
Signal = npt.NDArray[np.float32]


class TemplateBank:
    """Renders pulses at one operating point and sample rate, in A; a pulse is negative there."""

    def __init__(self, p: TesParameters, op: OperatingPoint, rate_hz: float) -> None:
        self.p, self.op, self.rate_hz = p, op, rate_hz

    def length(self, energy_ev: float) -> int:
        """Samples after which a pulse of this energy is cut."""
        raise NotImplementedError

    def add(self, signal_a: Signal, start: int, position: float, energy_ev: float) -> None:
        """Add a pulse that begins at sample number `position`, which has a fraction.

        `signal_a` begins at sample `start`. What is added to a sample is a function of its number
        and of the pulse alone.
        """
        raise NotImplementedError
