"""What can be set on a Lake Shore 372: the fields of each command, and how they are given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar, Protocol

INPUTS = tuple(str(n) for n in range(1, 17))
ALL_INPUTS = ("A", *INPUTS)
OUTPUTS = ("0", "1", "2")
EVERY_INPUT = "every input"
WHOLE = ("",)  # no choice: the whole instrument


class RefusalError(Exception):
    """What the instrument does not do; `event` is the bit that then shows in the event status."""

    event: ClassVar[int]


class CommandError(RefusalError):
    """Not the instrument's language."""

    event = 32


class ExecutionError(RefusalError):
    """Understood, but not possible."""

    event = 16


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
class InputName:
    """An input as an output refers to it; 0 for none."""

    def stored(self, text: str) -> str:
        """The input."""
        return _address(text, ("0", *ALL_INPUTS))


@dataclass(frozen=True, slots=True)
class Label:
    """Text in quotation marks."""

    longest: int

    def stored(self, text: str) -> str:
        """The text without them, cut where it is too long."""
        if not text.isprintable() or not text.isascii():
            raise CommandError(f"expected printable ASCII, found {text!r}")
        return text.strip('"')[: self.longest]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a command sets, for one of `addresses` or, without any, for the whole instrument."""

    fields: tuple[Field, ...]
    initial: str
    addresses: tuple[str, ...] = WHOLE


def moving(value: float) -> str:
    """A reading: sign, six digits with a moving point, an exponent that is a multiple of three."""
    mantissa, exponent = f"{abs(value):.5e}".split("e")
    digits, thousands = mantissa.replace(".", ""), int(exponent) // 3 * 3
    point = int(exponent) - thousands + 1
    return f"{'-' if value < 0 else '+'}{digits[:point]}.{digits[point:]}E{thousands:+03d}"


def _fixed(width: int, decimals: int) -> Callable[[float], str]:
    return lambda value: f"{value:+0{width}.{decimals}f}"


def _gain(value: float) -> str:
    """One decimal, and three where they are needed not to lose what was set."""
    return f"{value:+07.1f}" if round(value, 1) == round(value, 3) else f"{value:+09.3f}"


SWITCH = Whole(0, 1)
GAINS = (Real(0, 1000, _gain), Real(0, 10_000, _gain), Real(0, 2500, _gain))

SETTINGS = {
    "EMUL": Setting((SWITCH,), "0"),
    "SCAN": Setting((Whole(1, 16, 2), SWITCH), "01,1"),
    "STILL": Setting((Real(0, 100, _fixed(6, 2)),), "+00.00"),
    "INNAME": Setting((Label(15),), "", ALL_INPUTS),
    "INSET": Setting(
        (SWITCH, Whole(1, 200, 3), Whole(3, 200, 3), Whole(0, 59, 2), Whole(1, 2)),
        "0,010,003,00,1",
        ALL_INPUTS,
    ),
    "INTYPE": Setting(
        (SWITCH, Whole(1, 22, 2), Whole(0, 2), Whole(1, 22, 2), SWITCH, Whole(1, 2)),
        "0,07,1,10,0,1",
        ALL_INPUTS,
    ),
    "FILTER": Setting((SWITCH, Whole(1, 200, 3), Whole(1, 80, 2)), "0,005,10", ALL_INPUTS),
    "OUTMODE": Setting(
        (Whole(0, 6), InputName(), SWITCH, SWITCH, SWITCH, Whole(1, 255, 3)),
        "0,0,1,0,0,001",
        OUTPUTS,
    ),
    "RANGE": Setting((Whole(0, 8),), "0", OUTPUTS),
    "SETP": Setting((Real(0, 1e6, moving),), moving(0.0), OUTPUTS),
    "PID": Setting(GAINS, "+0010.0,+0020.0,+0000.0", OUTPUTS),
    "MOUT": Setting((Real(0, 100, moving),), moving(0.0), OUTPUTS),
    "HTRSET": Setting(
        (Real(1, 2000, _fixed(8, 3)), Whole(0, 8), Real(0, 10, _fixed(8, 2)), Whole(1, 2)),
        "+120.000,0,+0000.00,1",
        ("0",),
    ),
}

# what a laboratory has set: four thermometers, the sample heater on the mixing chamber
PRESET = {
    ("INSET", "1"): "1,007,003,21,1",
    ("INSET", "2"): "1,007,003,22,1",
    ("INSET", "5"): "1,007,003,23,1",
    ("INSET", "6"): "1,007,003,24,1",
    ("INTYPE", "A"): "1,04,0,15,0,2",
    ("INTYPE", "5"): "0,03,1,15,0,1",
    ("INTYPE", "6"): "0,03,1,15,0,1",
    ("OUTMODE", "0"): "5,6,1,0,0,001",
    ("OUTMODE", "2"): "4,16,1,0,0,001",
}


class Settings:
    """What is set on one instrument, as text in the form in which it is given back."""

    def __init__(self) -> None:
        self._values = {
            (name, where): PRESET.get((name, where), setting.initial)
            for name, setting in SETTINGS.items()
            for where in setting.addresses
        }
        self._values |= {("INNAME", n): f"Channel {n:0>2}" for n in ALL_INPUTS}

    def asked(self, name: str, arguments: list[str]) -> tuple[str, str]:
        """Which value a query with these arguments asks for."""
        where, rest = addressed(arguments, SETTINGS[name].addresses)
        none_left(rest)
        return name, where

    def store(self, name: str, arguments: list[str]) -> None:
        """Set what a command with these arguments tells; all of it or nothing."""
        where, rest = _where(name, arguments)
        fields = SETTINGS[name].fields
        if len(rest) != len(fields):
            raise CommandError(f"expected {len(fields)} values, found {len(rest)}")
        stored = [field.stored(text) for field, text in zip(fields, rest, strict=True)]
        for one in ALL_INPUTS if where == EVERY_INPUT else (where,):
            self._values[name, one] = ",".join(stored)

    def text(self, name: str, where: str = "") -> str:
        """A value, whole."""
        return self._values[name, where]

    def parts(self, name: str, where: str = "") -> list[str]:
        """A value, cut into its fields."""
        return self._values[name, where].split(",")


def _where(name: str, arguments: list[str]) -> tuple[str, list[str]]:
    """What a setting is for, and the other arguments."""
    if name == "FILTER" and arguments[:1] == ["0"] and len(arguments) > 1:
        return EVERY_INPUT, arguments[1:]
    return addressed(arguments, SETTINGS[name].addresses)


def addressed(arguments: list[str], among: tuple[str, ...]) -> tuple[str, list[str]]:
    """Which of `among` comes first, where there is a choice, and the other arguments."""
    if among == WHOLE:
        return "", arguments
    if not arguments:
        raise CommandError(f"expected one of {', '.join(among)}, found nothing")
    return _address(arguments[0], among), arguments[1:]


def none_left(arguments: list[str]) -> None:
    """Refuse arguments that are too many."""
    if arguments:
        raise CommandError(f"expected no more arguments, found {', '.join(arguments)}")


def _address(text: str, among: tuple[str, ...]) -> str:
    """One of `among`, which may be given with leading zeros or in lower case."""
    found = text.upper().lstrip("0") or "0"
    if found not in among:
        raise ExecutionError(f"expected one of {', '.join(among)}, found {text}")
    return found


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise CommandError(f"expected a number, found {text}") from error
    if not isfinite(number):
        raise CommandError(f"expected a number, found {text}")
    return number
