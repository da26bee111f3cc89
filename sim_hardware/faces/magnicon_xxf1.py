"""A Magnicon XXF-1: frames with a check sum that read and write the registers of its channels."""

from __future__ import annotations

import re
from collections.abc import Callable

from sim_hardware.face import TextConversation
from sim_hardware.world.squid import CHANNELS, REGISTERS, SquidElectronics

FRAME = re.compile(r"<0(\d)([A-Za-z])([0-9A-F])([0-9A-F]*)([0-9A-F]{2})")
DONE = "|0"
REFUSED = "|1"  # invented: how the instrument refuses is not published
INFORMATION = "XXF-1 SIM CHANNEL {channel}"  # invented: its layout is not published

# letter and digit of the frame that writes a register; what reads it has 8 more
WRITES = {
    "mode": ("b", 0x0),
    "aux": ("q", 0x0),
    "low_noise": ("q", 0x0),
    "bias_current": ("c", 0x0),
    "bias_voltage": ("f", 0x0),
    "flux": ("j", 0x0),
    "feedback_open": ("n", 0x0),
    "feedback_locked": ("n", 0x1),
    "pulse": ("P", 0x0),
    "pulse_height": ("r", 0x0),
    "auto_reset": ("w", 0x7),
    "switches": ("a", 0x0),
}
WRITTEN = {
    (channel, letter, f"{digit:X}"): register
    for register, (letter, digit) in WRITES.items()
    for channel in REGISTERS[register].channels
}
READ = {
    (channel, letter, f"{digit | 8:X}"): register
    for register, (letter, digit) in WRITES.items()
    for channel in REGISTERS[register].channels
} | {(channel, "w", "9"): "overloads" for channel in REGISTERS["overloads"].channels}


class MagniconXxf1:
    """The electronics on its serial line; frames and replies end with CR."""

    model = "magnicon-xxf1"
    max_clients = 1
    refusal = b""
    message_end = b"\r"

    def __init__(self, electronics: SquidElectronics) -> None:
        self.complaints: list[str] = []
        self._electronics = electronics
        self._others: dict[tuple[str, str], Callable[[str], str | None]] = {
            ("T", "8"): self._information,
            ("Z", "0"): self._restart,
            ("w", "1"): self._clear_overloads,
        }

    def connect(self, now_s: float) -> TextConversation:
        """Talk with who has the line now."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """The checked reply to a frame; none to what is not a frame."""
        del now_s
        frame = FRAME.fullmatch(message.strip("\n"))
        if frame is None:
            self.complaints.append(f"expected a frame, found {message!r}")
            return ""
        return checked(self._checked(message.strip("\n"), *frame.groups())) + "\r"

    def _checked(
        self, message: str, channel: str, letter: str, digit: str, digits: str, check: str
    ) -> str:
        if checked(message[:-2]) != message:
            expected = checked(message[:-2])[-2:]
            return self._refused(f"{message}: expected check sum {expected}, found {check}")
        reply = self._reply(channel, (letter, digit), digits)
        return self._refused(f"{message}: not understood") if reply is None else reply

    def _reply(self, channel: str, frame: tuple[str, str], digits: str) -> str | None:
        """What is answered to a sound frame; None where it makes no sense."""
        if (channel, *frame) in WRITTEN:
            register = WRITTEN[channel, *frame]
            return DONE if self._electronics.write(channel, register, digits) else None
        if channel not in CHANNELS or digits:
            return None
        if (channel, *frame) in READ:
            return ">" + self._electronics.read(channel, READ[channel, *frame])
        other = self._others.get(frame)
        return other(channel) if other else None

    def _information(self, channel: str) -> str:
        return ">" + INFORMATION.format(channel=channel)

    def _restart(self, channel: str) -> str:
        self._electronics.restart(channel)
        return DONE

    def _clear_overloads(self, channel: str) -> str | None:
        if channel not in REGISTERS["overloads"].channels:
            return None
        self._electronics.clear_overloads(channel)
        return DONE

    def _refused(self, complaint: str) -> str:
        self.complaints.append(complaint)
        return REFUSED


def checked(text: str) -> str:
    """Text with the check sum of its characters after it."""
    return f"{text}{sum(text.encode()) % 256:02X}"
