"""What each kind of channel is: pulse shape, counts per eV, full swing and noise."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import cos, inf, log, pi, sqrt
from struct import pack

from sim_hardware.world.noise import NoiseShape
from sim_hardware.world.pulses import Shape, proebst, two_exponentials

VOLTS_PER_COUNT = 20 / 2**16  # 16 bits over ±10 V
HIGH_V = 3.3  # of TTL, at an input that takes little current
OUTER_SPREAD = 1.274e-3  # 0.3 % FWHM at 2615 keV
PA_PER_COUNT = 76.0
PA_PER_EV = 25.78
FULL_SWING_PA = 117_000.0

# the pulse tube shakes at 1.4 Hz and its harmonics
_MAINS_PA = tuple((50.0 * k, 20.0 / k) for k in range(1, 8))
_PULSE_TUBE_PA = tuple((1.4 * k, 12.0 / sqrt(k)) for k in range(1, 13))

# picked up by readout chains: (frequency in Hz, rms in A)
MAINS_A = tuple((f_hz, pa * 1e-12) for f_hz, pa in _MAINS_PA)
PULSE_TUBE_A = tuple((f_hz, pa * 1e-12) for f_hz, pa in _PULSE_TUBE_PA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """How one kind of channel turns energy into ADC counts.

    `full_swing` is where the readout saturates, in counts; offsets lie within ±`offset`; `spread`
    is the sigma of what is seen of an energy, as a share of it, beside the noise.
    """

    shape: Shape
    counts_per_ev: float
    full_swing: float
    noise: NoiseShape
    offset: float = 0.0
    spread: float = 0.0

    def height(self, energy_ev: float, position: float) -> float:
        """Counts of a hit at a sample number, whose fraction makes it one of its kind."""
        height = energy_ev * self.counts_per_ev
        return height * (1 + self.spread * _deviate(position)) if self.spread else height


def _target_noise() -> NoiseShape:
    """Thermal fluctuations, the TES's Johnson noise and the SQUID, in counts."""
    return NoiseShape(
        white=0.45 / PA_PER_COUNT,
        knee_hz=10.0,
        plateaus=((9.3 / PA_PER_COUNT, 44.1), (2.65 / PA_PER_COUNT, 48e3)),
        lines=tuple((f, pa / PA_PER_COUNT) for f, pa in _MAINS_PA + _PULSE_TUBE_PA),
    )


def _veto_noise(white: float) -> NoiseShape:
    """An amplifier of 30 kHz bandwidth, with a little of the mains."""
    return NoiseShape(
        white=white / 10, knee_hz=100.0, plateaus=((white, 30e3),), lines=((50.0, 0.3),)
    )


def _logic() -> Detector:
    """An input that a logic level is at, which no particle moves."""
    return Detector(
        shape=two_exponentials(rise_s=20e-6, decay_s=1e-3),
        counts_per_ev=0.0,
        full_swing=inf,
        noise=_veto_noise(0.002),
    )


LEVEL_COUNTS = HIGH_V / VOLTS_PER_COUNT  # of a logic level that is high

DETECTORS = {
    "target": Detector(
        shape=proebst(
            fast=0.689, slow=0.0725, rise_s=0.30e-3, decay_s=3.61e-3, slow_decay_s=28.2e-3
        ),
        counts_per_ev=PA_PER_EV / PA_PER_COUNT,
        full_swing=FULL_SWING_PA / PA_PER_COUNT,
        noise=_target_noise(),
        offset=200.0,
    ),
    "silicon": Detector(
        shape=two_exponentials(rise_s=20e-6, decay_s=1e-3),
        counts_per_ev=1 / 100.0,
        full_swing=inf,
        noise=_veto_noise(0.015),
    ),
    "cwo": Detector(
        shape=two_exponentials(rise_s=50e-6, decay_s=2e-3),
        counts_per_ev=1 / 10e3,
        full_swing=inf,
        noise=_veto_noise(0.01),
        spread=OUTER_SPREAD,
    ),
    "gate": _logic(),
    "sync": _logic(),
}


def _deviate(number: float) -> float:
    """A normal deviate as a function of a number, which need not be far from the next one."""
    digest = blake2b(pack("<d", number), digest_size=16).digest()
    first, second = ((int.from_bytes(part) >> 11) / 2**53 for part in (digest[:8], digest[8:]))
    return sqrt(-2 * log(1 - first)) * cos(2 * pi * second)
