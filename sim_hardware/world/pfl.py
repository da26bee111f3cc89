"""The programmable flux-locked loops behind a STAR Cryoelectronics interface, as they are set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim_hardware.world.readout_settings import ReadoutSettings

ADDRESSES = tuple(f"{n:02X}" for n in range(1, 9))
FULL_CODE = 0xFFF
KNOWN_BITS = 0x1FFF
LOCK, TUNE, HEAT, RESET, TO_SQUID = 0x0400, 0x0800, 0x1000, 0x0001, 0x0008
FEEDBACK_OHM = {0x0000: 100e3, 0x0002: 1e3, 0x0004: 10e3}
INTEGRATOR_F = {0x0000: 1.5e-9, 0x0100: 15e-9, 0x0200: 150e-9}
PREAMPLIFIER = 5040.0
COOLING_S = 10.0  # until a heated SQUID works again


@dataclass(frozen=True, slots=True)
class Dac:
    """A digital-to-analog converter of 12 bits: from `low` to `high` in A or V."""

    low: float
    high: float
    initial: int = 0

    def value(self, code: int) -> float:
        """What it gives."""
        return self.low + (self.high - self.low) * code / FULL_CODE


# by the last digit of the frame; whether 1 goes to 100 or 200 uA differs between two sources
DACS = {
    0: Dac(0.0, 100e-6),  # SQUID flux
    1: Dac(0.0, 100e-6),  # array flux
    2: Dac(0.0, 2e-3),  # SQUID bias
    3: Dac(0.0, 100e-6),  # array bias
    4: Dac(-9.8e-3, 9.8e-3, 0x7FF),  # offset
}


class FluxLockedLoops:
    """What each loop was told last; nothing of it can be read over its wire."""

    def __init__(self, changed: Callable[[str], None] = lambda _: None) -> None:
        """`changed` is called with the address after each frame that was obeyed."""
        self._changed = changed
        self._n_locks = dict.fromkeys(ADDRESSES, 0)
        self._words = dict.fromkeys(ADDRESSES, 0)
        self._codes = {(a, sub): dac.initial for a in ADDRESSES for sub, dac in DACS.items()}
        self._heated_s = dict.fromkeys(ADDRESSES, -COOLING_S)

    def tell(self, address: str, word: int, now_s: float) -> None:
        """Set the digital word of a loop."""
        if word & HEAT:
            self._heated_s[address] = now_s
        was_locked = self.locked(address)
        self._words[address] = word
        if self.locked(address) and not was_locked:
            self._n_locks[address] += 1
        self._changed(address)

    def drive(self, address: str, sub: int, code: int) -> None:
        """Set a converter of a loop."""
        self._codes[address, sub] = code
        self._changed(address)

    def tune(self, address: str, squid_bias_a: float) -> None:
        """Lock a loop with a SQUID bias, in the middle of the feedback resistors."""
        dac = DACS[2]
        self.drive(address, 2, round((squid_bias_a - dac.low) / (dac.high - dac.low) * FULL_CODE))
        self.tell(address, LOCK | TO_SQUID | 0x0004, 0.0)

    def settings(self, address: str) -> ReadoutSettings:
        """What a SQUID gets; this electronics biases no TES, and its array is not simulated."""
        return ReadoutSettings(
            squid_bias_a=self.value(address, 2),
            offset_v=None if self._words[address] & LOCK else self.value(address, 4),
            flux_a=self.value(address, 0),
            feedback_ohm=self.feedback_ohm(address),
            gain=PREAMPLIFIER,
            locked=bool(self._words[address] & LOCK) and not self._words[address] & TUNE,
            held=bool(self._words[address] & RESET),
            n_locks=self._n_locks[address],
            warm_until_s=self._heated_s[address] + COOLING_S,
        )

    def word(self, address: str) -> int:
        """The digital word."""
        return self._words[address]

    def value(self, address: str, sub: int) -> float:
        """What a converter gives, in A or V."""
        return DACS[sub].value(self._codes[address, sub])

    def locked(self, address: str) -> bool:
        """Whether the flux-locked loop is closed and integrates."""
        return self._words[address] & (LOCK | RESET | TUNE) == LOCK

    def feedback_ohm(self, address: str) -> float:
        """The feedback resistor."""
        return FEEDBACK_OHM[self._words[address] & 0x0006]

    def integrator_f(self, address: str) -> float:
        """The integrator's capacitor."""
        return INTEGRATOR_F[self._words[address] & 0x0300]

    def warm(self, address: str, now_s: float) -> bool:
        """Whether the SQUID was heated so lately that it is not superconducting."""
        return now_s < self._heated_s[address] + COOLING_S
