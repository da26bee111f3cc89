"""An Oxford Instruments Triton: READ and SET on a tree of keys, one reply to every command.

Of several independent clients: the port, the heads of replies, NOT_FOUND and INVALID, VALID after
a SET, several keys at once, `*IDN?`, and replies that belong to the command before. Not confirmed
on a device: what a group without keys says beyond SYS:DR:CHAN, how a SET of a missing object is
refused, and what a line is answered that is neither READ nor SET.
"""

from __future__ import annotations

import random

from sim_hardware.face import TextConversation
from sim_hardware.faces.triton_tree import Group, System
from sim_hardware.world.calendar import Calendar
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import GasHandling

IDENTITY = "IDN:OXFORD INSTRUMENTS:TRITON 200:SIM0200:1.6"
NOT_FOUND, INVALID, VALID = "NOT_FOUND", "INVALID", "VALID"
KINDS = frozenset({"TEMP", "PRES", "HTR", "VALV", "PUMP"})  # nouns that follow a device's name


class Triton:
    """The Triton system computer; messages end with LF or CRLF, replies with LF.

    `wrong_share` of the replies are the one before, `stuck_share` of the accepted valve commands
    move nothing; `rng` decides which.
    """

    model = "triton"
    max_clients = 1
    refusal = b""
    message_end = b"\n"

    def __init__(
        self,
        cryostat: Cryostat,
        gas: GasHandling,
        calendar: Calendar,
        *,
        rng: random.Random,
        wrong_share: float = 0.0,
        stuck_share: float = 0.0,
    ) -> None:
        self.complaints: list[str] = []
        self._rng, self._wrong_share = rng, wrong_share
        self._before = ""
        system = System(cryostat, gas, calendar, lambda: rng.random() >= stuck_share)
        self._groups: dict[str, Group] = dict(system.groups())

    def connect(self, now_s: float) -> TextConversation:
        """Talk with a new client."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """One reply, now and then that of the command before."""
        reply = self._reply(message.rstrip("\r"), now_s)
        if reply.endswith(INVALID):
            self.complaints.append(f"{message!r}: not understood")
        before, self._before = self._before, reply
        wrong = self._rng.random() < self._wrong_share and before
        return f"{before if wrong else reply}\n"

    def _reply(self, message: str, now_s: float) -> str:
        verb, _, address = message.partition(":")
        if message == "*IDN?":
            return IDENTITY
        if verb == "READ":
            return f"STAT:{self._read(address, now_s)}"
        if verb == "SET":
            return f"STAT:SET:{self._set(address, now_s)}"
        return INVALID

    def _read(self, address: str, now_s: float) -> str:
        """The head with every key that was named and its value; without keys, all of them."""
        head, group, words = self._found(address)
        if group is None:
            return f"{address}:{_missing(address)}"
        names = _keys(words, group) if words else list(group)
        if not names:
            return f"{address}:{INVALID}"
        return ":".join([head, *(f"{name}:{group[name].read(now_s)}" for name in names)])

    def _set(self, address: str, now_s: float) -> str:
        """The head with every key and its value as understood, or INVALID where one is wrong.

        The values before a wrong one are set already.
        """
        head, group, words = self._found(address)
        if group is None:
            return f"{address}:{_missing(address)}"
        said = []
        for name, value in _pairs(words, group):
            write = group[name].write if name in group else None
            echo = None if write is None else write(value, now_s)
            if echo is None:
                return f"{address}:{INVALID}"
            said.append(f"{name}:{echo}")
        return ":".join([head, *said, VALID]) if said else f"{address}:{INVALID}"

    def _found(self, address: str) -> tuple[str, Group | None, list[str]]:
        """The longest group that an address begins with, and the words after it."""
        words = address.split(":")
        for n in range(len(words), 0, -1):
            head = ":".join(words[:n])
            if head in self._groups:
                return head, self._groups[head], words[n:]
        return address, None, []


def _missing(address: str) -> str:
    """What is said of an address there is not: a device that is absent, or nonsense."""
    words = address.split(":")
    absent = words[0] == "DEV" and len(words) > 2 and words[2] in KINDS
    return NOT_FOUND if absent else INVALID


def _keys(words: list[str], group: Group) -> list[str]:
    """The keys, of one or two words each; none where one is unknown."""
    names = []
    while words:
        size = next((n for n in (2, 1) if ":".join(words[:n]) in group), 0)
        if not size:
            return []
        names.append(":".join(words[:size]))
        words = words[size:]
    return names


def _pairs(words: list[str], group: Group) -> list[tuple[str, str]]:
    """Keys, of one or two words each, with the value after each; an unknown key has none."""
    pairs = []
    while words:
        size = 2 if ":".join(words[:2]) in group else 1
        pairs.append((":".join(words[:size]), ":".join(words[size : size + 1])))
        words = words[size + 1 :]
    return pairs
