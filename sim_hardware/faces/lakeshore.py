"""The language of Lake Shore's instruments: messages, settings and their fields, event status.

Confirmed by literals of the 372's manual and of other people's drivers: no reply to commands nor
to nonsense, `;` and `;:` between the parts of a message, one line of replies with CRLF, the bits
of the event status, a setpoint that is read back as it was for a while. Not confirmed on a device:
which of the two error bits a given mistake sets.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Protocol

from sim_hardware.face import LONGEST_MESSAGE, Chunk, TextConversation, TextFace

WHOLE = ("",)  # no choice: the whole instrument
POWER_ON = 128  # bit of the event status register, beside those of refusals
EVENT_SUMMARY = 32  # bit of the status byte
STALE_S = 0.08  # for how long a setpoint is read back as it was
ARGUMENT = re.compile(r'"[^"]*"|[^,\s]+')  # some clients separate by spaces


class RefusalError(Exception):
    """What the instrument does not do; `event` is the bit that then shows in the event status."""

    event: ClassVar[int]


class CommandError(RefusalError):
    """Not the instrument's language."""

    event = 32


class ExecutionError(RefusalError):
    """Understood, but not possible."""

    event = 16


# --- fields


class Field(Protocol):
    """One argument of a command."""

    def stored(self, text: str) -> str:
        """The argument as a query gives it back."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, given back with leading zeros."""

    low: int
    high: int
    width: int = 1

    def stored(self, text: str) -> str:
        """The number, if it is one and in range."""
        number = _number(text)
        if not (self.low <= number <= self.high and number == int(number)):
            raise ExecutionError(f"expected {self.low} to {self.high}, found {text}")
        return f"{int(number):0{self.width}d}"


@dataclass(frozen=True, slots=True)
class Real:
    """A number, given back in its own format."""

    low: float
    high: float
    format: Callable[[float], str]

    def stored(self, text: str) -> str:
        """The number, if it is one and in range."""
        number = _number(text)
        if not self.low <= number <= self.high:
            raise ExecutionError(f"expected {self.low:g} to {self.high:g}, found {text}")
        return self.format(number)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A name, such as that of an input."""

    among: tuple[str, ...]

    def stored(self, text: str) -> str:
        """The name."""
        return _address(text, self.among)


@dataclass(frozen=True, slots=True)
class Label:
    """Text in quotation marks."""

    longest: int

    def stored(self, text: str) -> str:
        """The text without them, cut where it is too long."""
        if not text.isprintable() or not text.isascii():
            raise CommandError(f"expected printable ASCII, found {text!r}")
        return text.strip('"')[: self.longest]


SWITCH = Whole(0, 1)


def moving(value: float) -> str:
    """A reading: sign, six digits with a moving point, an exponent that is a multiple of three."""
    mantissa, exponent = f"{abs(value):.5e}".split("e")
    digits, thousands = mantissa.replace(".", ""), int(exponent) // 3 * 3
    point = int(exponent) - thousands + 1
    return f"{'-' if value < 0 else '+'}{digits[:point]}.{digits[point:]}E{thousands:+03d}"


def fixed(width: int, decimals: int) -> Callable[[float], str]:
    """A sign and so many decimals, filled with zeros."""
    return lambda value: f"{value:+0{width}.{decimals}f}"


def plain(value: float) -> str:
    """As few characters as it takes."""
    return f"{value:g}"


def gain(value: float) -> str:
    """One decimal, and three where they are needed not to lose what was set."""
    return f"{value:+07.1f}" if round(value, 1) == round(value, 3) else f"{value:+09.3f}"


# --- settings


@dataclass(frozen=True, slots=True)
class Setting:
    """What a command sets, for one of `addresses` or, without any, for the whole instrument.

    `every`, where there is such an address, tells all of them at once.
    """

    fields: tuple[Field, ...]
    initial: str
    addresses: tuple[str, ...] = WHOLE
    every: str | None = None


class Settings:
    """What is set on one instrument, as text in the form in which it is given back."""

    def __init__(self, table: Mapping[str, Setting], preset: Mapping[tuple[str, str], str]) -> None:
        self._table = table
        self._values = {
            (name, where): preset.get((name, where), setting.initial)
            for name, setting in table.items()
            for where in setting.addresses
        }

    def __contains__(self, name: str) -> bool:
        return name in self._table

    def asked(self, name: str, arguments: list[str]) -> tuple[str, str]:
        """Which value a query with these arguments asks for."""
        where, rest = addressed(arguments, self._table[name].addresses)
        none_left(rest)
        return name, where

    def store(self, name: str, arguments: list[str]) -> None:
        """Set what a command with these arguments tells; all of it or nothing."""
        addresses, rest = self._told(name, arguments)
        fields = self._table[name].fields
        if len(rest) != len(fields):
            raise CommandError(f"expected {len(fields)} values, found {len(rest)}")
        stored = [field.stored(text) for field, text in zip(fields, rest, strict=True)]
        for where in addresses:
            self._values[name, where] = ",".join(stored)

    def all_of(self, names: Collection[str]) -> dict[tuple[str, str], str]:
        """The values of these settings, wherever they are."""
        return {key: value for key, value in self._values.items() if key[0] in names}

    def put(self, name: str, where: str, value: str) -> None:
        """Set a value by the instrument itself."""
        self._values[name, where] = value

    def text(self, name: str, where: str = "") -> str:
        """A value, whole."""
        return self._values[name, where]

    def parts(self, name: str, where: str = "") -> list[str]:
        """A value, cut into its fields."""
        return self._values[name, where].split(",")

    def _told(self, name: str, arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
        """What a setting is for, and the other arguments."""
        setting = self._table[name]
        if setting.every is not None and arguments[:1] == [setting.every] and len(arguments) > 1:
            return setting.addresses, arguments[1:]
        where, rest = addressed(arguments, setting.addresses)
        return (where,), rest


def addressed(arguments: list[str], among: tuple[str, ...]) -> tuple[str, list[str]]:
    """Which of `among` comes first, where there is a choice, and the other arguments."""
    if among == WHOLE or ("" in among and not arguments):
        return "", arguments
    n_parts = among[-1].count(",") + 1  # such as an output and one of its zones
    if len(arguments) < n_parts:
        found = ", ".join(arguments) or "nothing"
        raise CommandError(f"expected one of {', '.join(among)}, found {found}")
    return _address(",".join(arguments[:n_parts]), among), arguments[n_parts:]


def none_left(arguments: list[str]) -> None:
    """Refuse arguments that are too many."""
    if arguments:
        raise CommandError(f"expected no more arguments, found {', '.join(arguments)}")


def _address(text: str, among: tuple[str, ...]) -> str:
    """One of `among`, which may be given with leading zeros or in lower case."""
    found = ",".join(part.upper().lstrip("0") or "0" for part in text.split(","))
    if found not in among:
        raise ExecutionError(f"expected one of {', '.join(filter(None, among))}, found {text}")
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise CommandError(f"expected a number, found {text}") from error
    if not isfinite(number):
        raise CommandError(f"expected a number, found {text}")
    return number


# --- the language


@dataclass(frozen=True, slots=True)
class Reading:
    """What is asked and never set: of which addresses, and the answer for one at a time."""

    addresses: tuple[str, ...]
    text: Callable[[str, float], str]


class Language:
    """Answers messages from settings and readings; calls `told` after every command obeyed."""

    def __init__(
        self,
        identity: str,
        settings: Settings,
        readings: Mapping[str, Reading],
        *,
        complain: Callable[[str], None],
        told: Callable[[str, float], None],
        stale: frozenset[str] = frozenset({"SETP"}),
        standing: int = 0,
    ) -> None:
        """`stale` are read back late; `standing` bits of the status byte are always set."""
        self._settings, self._readings, self._told = settings, readings, told
        self._complain, self._late, self._standing = complain, stale, standing
        self._events = POWER_ON
        self._stale: dict[tuple[str, str], tuple[str, float]] = {}
        self._common: dict[str, Callable[[], str | None]] = {
            "*IDN?": lambda: identity, "*ESR?": self._event_status, "*STB?": self._status_byte,
            "*OPC?": lambda: "1", "*CLS": self._clear,
        }  # fmt: skip

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; none to commands or nonsense."""
        parts = [part.strip().removeprefix(":") for part in message.split(";")]
        answers = [self._part(part, now_s) for part in parts if part]
        replies = [answer for answer in answers if answer is not None]
        return ";".join(replies) + "\r\n" if replies else ""

    def _part(self, part: str, now_s: float) -> str | None:
        """The reply to one query or command; what is wrong shows in the event status alone."""
        try:
            return self._obey(part, now_s)
        except RefusalError as refusal:
            self._events |= refusal.event
            self._complain(f"{part!r}: {refusal}")
            return None

    def _obey(self, part: str, now_s: float) -> str | None:
        word, _, rest = part.partition(" ")
        word, arguments = word.upper(), ARGUMENT.findall(rest)
        name = word.removesuffix("?")
        if word in self._common and not arguments:
            return self._common[word]()
        if word.endswith("?") and name in self._readings:
            return self._reading(self._readings[name], arguments, now_s)
        if name not in self._settings:
            raise CommandError("unknown")
        if word.endswith("?"):
            return self._query(name, arguments, now_s)
        self._set(name, arguments, now_s)
        return None

    def _reading(self, reading: Reading, arguments: list[str], now_s: float) -> str:
        where, rest = addressed(arguments, reading.addresses)
        none_left(rest)
        return reading.text(where, now_s)

    def _query(self, name: str, arguments: list[str], now_s: float) -> str:
        """What is set; a setpoint is for a while what it was."""
        asked = self._settings.asked(name, arguments)
        was, until_s = self._stale.get(asked, ("", now_s))
        return was if now_s < until_s else self._settings.text(*asked)

    def _set(self, name: str, arguments: list[str], now_s: float) -> None:
        before = self._settings.all_of(self._late)
        self._settings.store(name, arguments)
        for key, was in before.items():
            if was != self._settings.text(*key):
                self._stale[key] = (was, now_s + STALE_S)
        self._told(name, now_s)

    def _event_status(self) -> str:
        """The events since it was last asked."""
        events, self._events = self._events, 0
        return str(events)

    def _status_byte(self) -> str:
        return str(self._standing | (EVENT_SUMMARY if self._events else 0))

    def _clear(self) -> None:
        self._events = 0


# --- pace


class Pace:
    """When an instrument has time for its next message: `gap_s` after the one before."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s, self._free_s = gap_s, 0.0

    def next_s(self, now_s: float) -> float:
        """When a message that comes now is obeyed."""
        begin_s = max(now_s, self._free_s)
        self._free_s = begin_s + self._gap_s
        return begin_s


class PacedConversation:
    """Messages are obeyed one after the other at the instrument's pace; early ones wait.

    The manual asks for no more than 20 messages a second. That an instrument which gets more of
    them keeps them is measured of the 336 over TCP (a burst of commands, then a late answer).
    """

    over = False

    def __init__(self, face: TextFace, pace: Pace) -> None:
        self._end, self._pace, self._talk = face.message_end, pace, TextConversation(face)
        self._received = b""
        self._waiting: deque[tuple[float, bytes]] = deque()

    def receive(self, received: bytes, now_s: float) -> None:
        """Line up every message that is now complete; what has no end is passed on as it is."""
        *messages, self._received = (self._received + received).split(self._end)
        for message in messages:
            due_s = self._pace.next_s(now_s) if message.strip() else now_s
            self._waiting.append((due_s, message + self._end))
        if len(self._received) > LONGEST_MESSAGE:
            self._talk.receive(self._received, now_s)
            self._received = b""

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The replies to the messages whose time has come."""
        while self._waiting and self._waiting[0][0] <= now_s:
            self._talk.receive(self._waiting.popleft()[1], now_s)
        return self._talk.send(now_s)

    def wait_s(self, now_s: float) -> float | None:
        """Until the next message is obeyed."""
        return max(0.0, self._waiting[0][0] - now_s) if self._waiting else None
