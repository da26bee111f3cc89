"""Datatypes: what the values of a parameter may be, and how an instrument writes them."""

from __future__ import annotations

import enum
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from daq.errors import OutOfRangeError, ReplyError

T = TypeVar("T")
E = TypeVar("E", bound=enum.IntEnum)
F = TypeVar("F", bound=enum.IntFlag)

# float() alone would take "nan", "inf" and "1_000"
_NUMBER = re.compile(r"\A[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\Z")
_INTEGER = re.compile(r"\A[+-]?[0-9]{1,18}\Z")
_PRINTABLE = re.compile(r"\A[ !#-:<-~]*\Z")  # a quote or a semicolon would end the message


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a form, a table or the documentation needs to know of a datatype."""

    kind: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    fields: Mapping[str, Description] | None = None


class Datatype(ABC, Generic[T]):
    """Parses, refuses, formats and describes the values of one parameter."""

    @abstractmethod
    def parse(self, text: str) -> T:
        """The value in an instrument's reply; ReplyError where it holds none."""

    @abstractmethod
    def refuse(self, value: object) -> T:
        """The value as this datatype holds it; OutOfRangeError where it is not allowed."""

    @abstractmethod
    def format(self, value: T) -> str:
        """An allowed value as the instrument wants it."""

    @abstractmethod
    def describe(self) -> Description:
        """What values there are."""


class Patching(Datatype[T]):
    """A datatype whose text holds more than the value: it is written into what is there now."""

    @abstractmethod
    def check(self, value: object) -> None:
        """OutOfRangeError where `value` is not allowed whatever is held: before anybody asks."""

    @abstractmethod
    def patch(self, held: str, value: object) -> str:
        """The reply `held` with `value` in its place; OutOfRangeError where it is not allowed."""

    def by_field(self, value: object) -> object:
        """`value` as a table of its fields, where it has any that it does not name itself."""
        return value


@dataclass(frozen=True, slots=True)
class Number(Datatype[float]):
    """A real number, written without exponent to `decimals` places; the range binds writes."""

    minimum: float = -math.inf
    maximum: float = math.inf
    unit: str = ""
    decimals: int = 6

    def parse(self, text: str) -> float:
        number = text.strip()  # of more than float() takes off
        value = float(number) if _NUMBER.match(number) else math.nan
        if not math.isfinite(value):
            raise ReplyError(f"expected a number{_of(self.unit)}, found {text!r}")
        return value

    def refuse(self, value: object) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not _finite(value):
            raise OutOfRangeError(f"expected a number{_of(self.unit)}, found {value!r}")
        if not self.minimum <= value <= self.maximum:
            raise _outside(f"{value:g}", self.minimum, self.maximum, self.unit)
        return float(value)

    def format(self, value: float) -> str:
        text = f"{value:.{self.decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def describe(self) -> Description:
        return Description(
            kind="number",
            unit=self.unit,
            minimum=self.minimum if math.isfinite(self.minimum) else None,
            maximum=self.maximum if math.isfinite(self.maximum) else None,
        )


@dataclass(frozen=True, slots=True)
class Integer(Datatype[int]):
    """A whole number; the range binds writes."""

    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    unit: str = ""

    def parse(self, text: str) -> int:
        number = text.strip()
        if not _INTEGER.match(number):
            raise ReplyError(f"expected a whole number{_of(self.unit)}, found {text!r}")
        return int(number)

    def refuse(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise OutOfRangeError(f"expected a whole number{_of(self.unit)}, found {value!r}")
        if not self.minimum <= value <= self.maximum:
            raise _outside(str(value), self.minimum, self.maximum, self.unit)
        return value

    def format(self, value: int) -> str:
        return str(value)

    def describe(self) -> Description:
        return Description(
            kind="integer", unit=self.unit, minimum=self.minimum, maximum=self.maximum
        )


@dataclass(frozen=True, slots=True)
class Code(Datatype[E]):
    """One of an enumeration's members, which the instrument writes as a number in `base`."""

    members: type[E]
    base: int = 10

    def parse(self, text: str) -> E:
        try:
            if not text.isascii() or not text.isalnum():  # int() would take "1_0" and signs
                raise ValueError(text)
            return self.members(int(text, self.base))
        except ValueError as error:
            codes = ", ".join(self.format(member) for member in self.members)
            raise ReplyError(f"expected one of the codes {codes}, found {text!r}") from error

    def refuse(self, value: object) -> E:
        if isinstance(value, self.members):
            return value
        if isinstance(value, str) and value in self.members.__members__:
            return self.members[value]
        raise OutOfRangeError(f"expected one of {', '.join(self._names())}, found {value!r}")

    def format(self, value: E) -> str:
        return f"{value:X}" if self.base == 16 else str(int(value))

    def describe(self) -> Description:
        return Description(kind="code", choices=self._names())

    def _names(self) -> tuple[str, ...]:
        return tuple(self.members.__members__)


@dataclass(frozen=True, slots=True)
class Flags(Datatype[F]):
    """Bits that stand or do not, written as one decimal number."""

    members: type[F]

    def parse(self, text: str) -> F:
        known = sum(self.members)
        number = text.strip()
        bits = int(number) if _INTEGER.match(number) else -1
        if not 0 <= bits <= known:
            raise ReplyError(f"expected flags between 0 and {known}, found {text!r}")
        return self.members(bits)

    def refuse(self, value: object) -> F:
        if not isinstance(value, self.members):
            raise OutOfRangeError(f"expected {self.members.__name__}, found {value!r}")
        return value

    def format(self, value: F) -> str:
        return str(int(value))

    def describe(self) -> Description:
        return Description(kind="flags", choices=tuple(self.members.__members__))


@dataclass(frozen=True, slots=True)
class Switch(Datatype[bool]):
    """On or off, written 1 or 0."""

    def parse(self, text: str) -> bool:
        if text.strip() not in ("0", "1"):
            raise ReplyError(f"expected 0 or 1, found {text!r}")
        return text.strip() == "1"

    def refuse(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise OutOfRangeError(f"expected true or false, found {value!r}")
        return value

    def format(self, value: bool) -> str:
        return str(int(value))

    def describe(self) -> Description:
        return Description(kind="switch")


@dataclass(frozen=True, slots=True)
class Text(Datatype[str]):
    """Printable ASCII without quotes and semicolons."""

    max_length: int = 80

    def parse(self, text: str) -> str:
        if not text.isprintable() or len(text) > 4096:
            raise ReplyError(f"expected printable text, found {text[:80]!r}")
        return text.strip()

    def refuse(self, value: object) -> str:
        if not isinstance(value, str) or not _PRINTABLE.match(value):
            raise OutOfRangeError(f"expected plain text without quotes, found {value!r}")
        if len(value) > self.max_length:
            raise OutOfRangeError(
                f"expected at most {self.max_length} characters, found {len(value)}"
            )
        return value

    def format(self, value: str) -> str:
        return value

    def describe(self) -> Description:
        return Description(kind="text", maximum=self.max_length)


@dataclass(frozen=True, slots=True)
class Fields(Patching[dict[str, object]]):
    """Several values in one line, between commas, by name; writing some keeps the others."""

    parts: Mapping[str, Datatype[Any]]  # Any: each field has a datatype of its own

    def parse(self, text: str) -> dict[str, object]:
        texts = text.split(",")
        if len(texts) != len(self.parts):
            raise ReplyError(f"expected {len(self.parts)} fields, found {len(texts)} in {text!r}")
        return {
            name: part.parse(piece)
            for (name, part), piece in zip(self.parts.items(), texts, strict=True)
        }

    def refuse(self, value: object) -> dict[str, object]:
        given = self._given(value)
        missing = [name for name in self.parts if name not in given]
        if missing:
            raise OutOfRangeError(f"expected a value for {', '.join(missing)}, found none")
        return {name: refuse(part, name, given[name]) for name, part in self.parts.items()}

    def format(self, value: Mapping[str, object]) -> str:
        return ",".join(part.format(value[name]) for name, part in self.parts.items())

    def check(self, value: object) -> None:
        self.some(value)

    def patch(self, held: str, value: object) -> str:
        return self.format({**self.parse(held), **self.some(value)})

    def some(self, value: object) -> dict[str, object]:
        """The fields that are given, as their datatypes hold them; one alone is enough."""
        return {n: refuse(self.parts[n], n, v) for n, v in self._given(value).items()}

    def describe(self) -> Description:
        return Description(
            kind="fields", fields={name: part.describe() for name, part in self.parts.items()}
        )

    def _given(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, Mapping) or not set(value) <= set(self.parts):
            raise OutOfRangeError(f"expected values for {', '.join(self.parts)}, found {value!r}")
        return value


def refuse(part: Datatype[T], name: str, value: object) -> T:
    """`value` as one named field holds it; the refusal names the field."""
    try:
        return part.refuse(value)
    except OutOfRangeError as error:
        raise OutOfRangeError(f"{name}: {error}") from error


def _finite(value: float) -> bool:
    return abs(value) < 1e300  # also false for not-a-number, and for an int too long for a float


def _of(unit: str) -> str:
    return f" of {unit}" if unit else ""


def _outside(found: str, minimum: float, maximum: float, unit: str) -> OutOfRangeError:
    """Both sides in one sentence, with the unit once on each."""
    ending = f" {unit}" if unit else ""
    return OutOfRangeError(f"{found}{ending} is outside {minimum:g} to {maximum:g}{ending}")
