"""The registers of a SQUID electronics, and the currents and voltages that they set.

Shared by the face that is told them and by the signals that obey them. Channels 1 and 2 are
SQUIDs; channel 3 is the connector box with its low-noise current source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from sim_hardware.world.readout_settings import ReadoutSettings
from sim_hardware.world.squid_loop import NO_OVERLOADS, Overloads

SQUID_CHANNELS, BOX_CHANNELS = ("1", "2"), ("3",)
CHANNELS = SQUID_CHANNELS + BOX_CHANNELS
LOCKED, OFF, AUTO_RESET = "1", "0", "2"

AMPLIFIER = 2000.0  # of the open loop; the letters that choose another gain are not published
FEEDBACK_OHM = (
    0.0, 700.0, 750.0, 910.0, 1e3, 2.14e3, 2.31e3, 2.73e3, 3e3, 7e3, 7.5e3, 9.1e3, 10e3, 23.1e3,
    30e3, 100e3,
)  # fmt: skip

# ohms that turn the DAC's code into the current, by range
AUX_OHM = {"0": 43_600.0, "1": 10_895.0}


@dataclass(frozen=True, slots=True)
class Register:
    """Hexadecimal digits of which some number must not exceed a limit.

    `limit` is that of the first `n_code` digits, the DAC's code; each digit after them must be
    one of `choices`.
    """

    initial: str
    limit: int
    n_code: int
    choices: str = "0123456789ABCDEF"
    channels: tuple[str, ...] = SQUID_CHANNELS

    def holds(self, digits: str) -> bool:
        """Whether the register can hold these digits."""
        code, rest = digits[: self.n_code], digits[self.n_code :]
        return (
            len(digits) == len(self.initial)
            and all(digit in "0123456789ABCDEF" for digit in code)
            and int(code, 16) <= self.limit
            and all(digit in self.choices for digit in rest)
        )


REGISTERS = {
    "mode": Register("0", 1, 1),
    "aux": Register("20001", 0x3FFF, 4, choices="01"),
    "bias_current": Register("0000", 0x3FFF, 4),
    "bias_voltage": Register("000", 0xFFF, 3),
    "flux": Register("800", 0xFFF, 3),
    "feedback_open": Register("0", 0xF, 1),
    "feedback_locked": Register("C", 0xF, 1),
    "pulse": Register("103000A00000", 0xFFF, 3),
    "pulse_height": Register("800", 0xFFF, 3),
    "auto_reset": Register("0010101001", 3, 1),
    "overloads": Register("0" * 24, 0xFFFF, 4),
    "switches": Register("0000", 0xFFFF, 4, channels=CHANNELS),
    "low_noise": Register("20000", 0x3FFF, 4, choices="0", channels=BOX_CHANNELS),
}


class SquidElectronics:
    """What every register of every channel holds."""

    def __init__(
        self,
        changed: Callable[[str], None] = lambda _: None,
        overloads: Callable[[str], Overloads] = lambda _: NO_OVERLOADS,
    ) -> None:
        """`changed` is called with the channel after each write; `overloads` tells of its output
        since the beginning."""
        self._overloads, self._cleared = overloads, dict.fromkeys(CHANNELS, NO_OVERLOADS)
        self._held: dict[tuple[str, str], str] = {}
        self._changed = changed
        self._n_locks = dict.fromkeys(CHANNELS, 0)

    def read(self, channel: str, register: str) -> str:
        """The digits that a register holds."""
        if register == "overloads":
            return self._counted(channel)
        return self._held.get((channel, register), REGISTERS[register].initial)

    def write(self, channel: str, register: str, digits: str) -> bool:
        """Set a register; False, and nothing happens, where it cannot hold these digits."""
        if not REGISTERS[register].holds(digits):
            return False
        if register == "mode" and digits == LOCKED and not self.locked(channel):
            self._n_locks[channel] += 1
        self._held[channel, register] = digits
        self._changed(channel)
        return True

    def restart(self, channel: str) -> None:
        """Every register of a channel as after power-on."""
        self._held = {key: held for key, held in self._held.items() if key[0] != channel}
        self.clear_overloads(channel)
        self._changed(channel)

    def clear_overloads(self, channel: str) -> None:
        """Count from now on."""
        self._cleared[channel] = self._overloads(channel)

    def settings(self, channel: str) -> ReadoutSettings:
        """What a SQUID and its TES get."""
        return ReadoutSettings(
            tes_bias_a=self.aux_a(channel),
            squid_bias_a=self.bias_current_a(channel),
            offset_v=self.bias_voltage_v(channel),
            flux_a=self.flux_a(channel),
            feedback_ohm=FEEDBACK_OHM[self._code(channel, "feedback_locked")],
            gain=AMPLIFIER,
            locked=self.locked(channel),
            n_locks=self._n_locks[channel],
            overload_v=self._limits_v(channel)[0],
            reset_v=self._limits_v(channel)[1],
        )

    def _limits_v(self, channel: str) -> tuple[float, float]:
        """Where the output is overloaded, and where that resets the loop; at infinity, where not.

        Drift compensation is not simulated.
        """
        held = self.read(channel, "auto_reset")
        overload_v, reset_v = (int(digits, 16) * 10.24 / 128 for digits in (held[1:3], held[3:5]))
        if held[0] == OFF:
            return inf, inf
        return overload_v, reset_v if held[0] == AUTO_RESET else inf

    def _counted(self, channel: str) -> str:
        """The counters' digits: overloads, resets and compensations, each up and down."""
        since = zip(self._overloads(channel), self._cleared[channel], strict=True)
        counts = [min(now - then, 0xFFFF) for now, then in since]
        return "".join(f"{count:04X}" for count in (*counts, 0, 0))

    @staticmethod
    def nearest_aux_a(tes_bias_a: float) -> float:
        """The TES bias that the register of the small range can hold."""
        return 10.934 * (_aux_code(tes_bias_a) - 8192) / (16384 * AUX_OHM["0"])

    def put(
        self,
        channel: str,
        *,
        tes_bias_a: float,
        squid_bias_a: float,
        offset_v: float,
        flux_a: float,
        feedback_ohm: float,
        locked: bool,
    ) -> None:
        """Set the registers of a SQUID to the nearest that they can hold."""
        codes = {
            "aux": f"{_aux_code(tes_bias_a):04X}0",
            "bias_current": f"{round(squid_bias_a * 16384 * 30_360 / 5.467):04X}",
            "bias_voltage": f"{round(offset_v * 4096 * 1470 / 2.5):03X}",
            "flux": f"{round(flux_a * 4096 * 20_071 / 5.0) + 2048:03X}",
            "feedback_locked": f"{FEEDBACK_OHM.index(feedback_ohm):X}",
            "mode": LOCKED if locked else "0",
        }
        for register, digits in codes.items():
            if not self.write(channel, register, digits):
                raise ValueError(f"expected what {register} can hold, found {digits}")

    def locked(self, channel: str) -> bool:
        """Whether the flux-locked loop is closed."""
        return self.read(channel, "mode") == LOCKED

    def aux_a(self, channel: str) -> float:
        """The current through the input coil's bias line (the TES bias)."""
        code, scale = self._code(channel, "aux"), self.read(channel, "aux")[4]
        return 10.934 * (code - 8192) / (16384 * AUX_OHM[scale])

    def bias_current_a(self, channel: str) -> float:
        """The current through the SQUID."""
        return 5.467 * self._code(channel, "bias_current") / (16384 * 30_360)

    def bias_voltage_v(self, channel: str) -> float:
        """The voltage that is subtracted from the SQUID's."""
        return 2.5 * self._code(channel, "bias_voltage") / (4096 * 1470)

    def flux_a(self, channel: str) -> float:
        """The current that shifts the flux."""
        return 5.0 * (self._code(channel, "flux") - 2048) / (4096 * 20_071)

    def _code(self, channel: str, register: str) -> int:
        return int(self.read(channel, register)[: REGISTERS[register].n_code], 16)


def _aux_code(tes_bias_a: float) -> int:
    """The code of a current in the small range."""
    return round(tes_bias_a * 16384 * AUX_OHM["0"] / 10.934) + 8192
