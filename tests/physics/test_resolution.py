"""The resolution that an optimum filter reaches in what the equations of motion give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from sim_hardware.world.normals import key
from sim_hardware.world.squid_loop import (
    LoopSettings,
    LoopState,
    SquidParameters,
    flux_noise,
    follow,
)
from tests.sensor import LINEAR, OP, pulse, run

SQUID = SquidParameters()
LOCKED = LoopSettings(locked=True, squid_bias_a=21e-6, lock_v=SQUID.middle_v(21e-6))
RATE_HZ, FACTOR = 1e6, 20
DECIMATED_HZ = RATE_HZ / FACTOR
TAPS = signal.firwin(401, 22e3, fs=RATE_HZ)
FLAT_HZ = 20e3  # to where these taps pass everything; above is nothing that the filter needs
RECORD, SECONDS = 16384, 12


def decimated(y: np.ndarray) -> np.ndarray:
    """At 50 kS/s, without the filter's delay."""
    return signal.upfirdn(TAPS, y, down=FACTOR)[len(TAPS) // (2 * FACTOR) :]


def readout_a() -> np.ndarray:
    """Sensor, SQUID and locked loop without particles, as current, at 50 kS/s."""
    n = round(SECONDS * RATE_HZ)
    current_a, _ = run(n, key=key(11, "C22", "sensor"))
    noise = flux_noise(SQUID, seed=11, channel="C22", start=0, n=n, dt_s=1 / RATE_HZ)
    state = LoopState.without_feedback(SQUID, LOCKED, OP.current_a)
    volts, _ = follow(SQUID, LOCKED, state, current_a, dt_s=1 / RATE_HZ, flux_noise_phi0=noise)
    return decimated(volts - volts[0]) / SQUID.volts_per_a(LOCKED.feedback_ohm)


def test_baseline_sigma_is_that_of_the_formula():
    """Within 3 %: eleven seconds hold some 5000 independent values, which is 1 %."""
    template = decimated(pulse(20, FACTOR * (RECORD + len(TAPS))))[:RECORD] / 20
    f_hz = np.fft.rfftfreq(RECORD, 1 / DECIMATED_HZ)[1:]
    density = LINEAR.sampled_psd(f_hz, RATE_HZ) + SQUID.current_psd(f_hz)
    spectrum = np.fft.rfft(template)[1:] / DECIMATED_HZ
    weights = np.where(f_hz < FLAT_HZ, spectrum.conj() / density, 0)
    norm = (weights * spectrum).sum().real
    taps = np.fft.irfft(np.append(0, weights), RECORD) * RECORD / (2 * norm * DECIMATED_HZ)
    energies = signal.oaconvolve(readout_a(), np.roll(taps, RECORD // 2), "valid")
    sigma_ev = (4 * norm * f_hz[0]) ** -0.5
    assert sigma_ev == pytest.approx(3.016, rel=0.01)  # the note's, of a record without its mean
    assert energies.std() == pytest.approx(sigma_ev, rel=0.03)
    assert abs(energies.mean()) < 0.1  # the filter has no gain at zero frequency
