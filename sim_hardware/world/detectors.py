"""What each kind of channel is that has no readout chain: pulse shape, counts per eV, noise."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import cos, log, pi, sqrt
from struct import pack

from sim_hardware.world.noise import NoiseShape
from sim_hardware.world.pulses import Shape, two_exponentials

VOLTS_PER_COUNT = 20 / 2**16  # 16 bits over ±10 V
HIGH_V = 3.3  # of TTL, at an input that takes little current
OUTER_SPREAD = 1.274e-3  # 0.3 % FWHM at 2615 keV

# picked up by readout chains, as (frequency in Hz, rms in A); the pulse tube shakes at 1.4 Hz
MAINS_A = tuple((50.0 * k, 20e-12 / k) for k in range(1, 8))
PULSE_TUBE_A = tuple((1.4 * k, 12e-12 / sqrt(k)) for k in range(1, 13))


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """How one kind of channel turns energy into ADC counts.

    `spread` is the sigma of what is seen of an energy, as a share of it, beside the noise.
    """

    shape: Shape
    counts_per_ev: float
    noise: NoiseShape
    spread: float = 0.0

    def height(self, energy_ev: float, position: float) -> float:
        """Counts of a hit at a sample number, whose fraction makes it one of its kind."""
        height = energy_ev * self.counts_per_ev
        return height * (1 + self.spread * _deviate(position)) if self.spread else height


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
        noise=_veto_noise(0.002),
    )


LEVEL_COUNTS = HIGH_V / VOLTS_PER_COUNT  # of a logic level that is high

DETECTORS = {
    "silicon": Detector(
        shape=two_exponentials(rise_s=20e-6, decay_s=1e-3),
        counts_per_ev=1 / 100.0,
        noise=_veto_noise(0.015),
    ),
    "cwo": Detector(
        shape=two_exponentials(rise_s=50e-6, decay_s=2e-3),
        counts_per_ev=1 / 10e3,
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
