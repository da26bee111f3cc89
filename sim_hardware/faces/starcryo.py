"""STAR Cryoelectronics PFL-102 loops behind a PCI-1000: frames that are obeyed and never answered.

Confirmed by two independent encoders of other people: the frame, its parity, the bits, the codes.
Not confirmed on a device: the full scale of the array's flux (100 or 200 uA), what is done with
lower-case digits (ignored here) and with both bits of a resistor or capacitor (ignored here).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sim_hardware.face import TextConversation
from sim_hardware.world.pfl import (
    ADDRESSES,
    DACS,
    FEEDBACK_OHM,
    INTEGRATOR_F,
    KNOWN_BITS,
    FluxLockedLoops,
)

FRAME = re.compile(r"([0-9A-F]{2})([0-9A-F]{2})([0-9A-F]{4})")
PARITY = 0x80  # of the opcode


class StarCryo:
    """The interface on its serial line, 9600 8N1; frames end with a semicolon alone."""

    model = "starcryo-pfl102"
    max_clients = 1
    refusal = b""
    message_end = b";"

    def __init__(self, loops: FluxLockedLoops) -> None:
        self.complaints: list[str] = []
        self._loops = loops
        self._obey_by: dict[int, Callable[[str, int, float], str]] = {
            0x50: self._digital,
            0x60: self._analog,
        }

    def connect(self, now_s: float) -> TextConversation:
        """Listen to who has the line now."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """Nothing, whatever was said; what is no good frame is ignored."""
        complaint = self._obey(message, now_s)
        if complaint:
            self.complaints.append(f"{message!r}: {complaint}")
        return ""

    def _obey(self, message: str, now_s: float) -> str:
        """Obey a frame; gives what is wrong with it."""
        frame = FRAME.fullmatch(message)
        if frame is None:
            return "expected a frame of eight digits"
        if not odd(int(message, 16)):
            return "expected odd parity"
        address, opcode, data = frame.group(1), int(frame.group(2), 16), int(frame.group(3), 16)
        if address not in ADDRESSES:
            return f"expected an address from 01 to 08, found {address}"
        obey = self._obey_by.get(opcode & ~PARITY)
        return obey(address, data, now_s) if obey else "expected opcode 50 or 60"

    def _digital(self, address: str, word: int, now_s: float) -> str:
        known = word | KNOWN_BITS == KNOWN_BITS
        if not (known and word & 0x0006 in FEEDBACK_OHM and word & 0x0300 in INTEGRATOR_F):
            return f"expected a digital word, found {word:04X}"
        self._loops.tell(address, word, now_s)
        return ""

    def _analog(self, address: str, data: int, now_s: float) -> str:
        del now_s
        code, sub = divmod(data, 16)
        if sub not in DACS:
            return f"expected a converter from 0 to {max(DACS)}, found {sub}"
        self._loops.drive(address, sub, code)
        return ""


def odd(bits: int) -> bool:
    """Whether an odd number of bits is set."""
    return bits.bit_count() % 2 == 1
