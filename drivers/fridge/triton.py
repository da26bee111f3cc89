"""Oxford Instruments Triton and TritonXL: the text protocol of the system's computer, TCP 33576.

Confirmed by several independent public drivers: the grammar (READ, SET, the echoed head, VALID,
NOT_FOUND, INVALID), the SI prefixes before units, the nouns below, heaters H1 (mixing chamber) and
H2 (still) written in microwatt, and that a reply may belong to a previous command, so that the head
is compared and the message sent again up to three times. Every SET here carries an absolute value,
which is why it may be sent again. INVALID to a READ is taken as "this one does not have it".

Not confirmed on a device of ours: all of it; in particular the units of resistance, of TURB1's
temperatures and of the loop's RANGE in a reply. Valves, pumps and the automation (SYS:DR:ACTN) are
read and never written: a mistake there costs the mixture. Alarms have no known noun.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from daq.datatypes import Datatype, Description, Fields, Number, Patching, Text
from daq.errors import OutOfRangeError, ReplyError
from drivers.fridge.fridge import Fridge, Row
from drivers.fridge.words import Words
from drivers.parameter import AbsentError, NoValueError
from drivers.transport import Line, SerialPort

T = TypeVar("T")
TRIES = 4  # once and three times again
STAGES = {"mxc": "@MC", "still": "@STIL"}  # the system knows which thermometer is which
_ROLE = re.compile(r"@([A-Z]+)")
_THERMOMETER = re.compile(r"\A[A-Z][A-Z0-9]{0,7}\Z")
_QUANTITY = re.compile(r"\A([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)\Z")
_PREFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}
RANGES_A = (0.0, 3.16e-5, 1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2, 3.16e-2, 1e-1)


@dataclass(frozen=True, slots=True)
class Prefixed(Datatype[float]):
    """A number behind which stand an SI prefix and a unit; written without either.

    `per_symbol` is how much of `unit` one `symbol` is, `sent_in` how much of it a written 1 is.
    """

    unit: str
    symbol: str
    minimum: float = -math.inf
    maximum: float = math.inf
    per_symbol: float = 1.0
    sent_in: float = 1.0
    choices: tuple[float, ...] = ()

    def parse(self, text: str) -> float:
        if text.strip().lower().startswith("nan"):
            raise NoValueError("the instrument has no number for it now")
        found = _QUANTITY.match(text.strip())
        if not found or not found[2].endswith(self.symbol):
            raise ReplyError(f"expected a number of {self.symbol}, found {text!r}")
        prefix = found[2].removesuffix(self.symbol)
        if prefix not in _PREFIXES:
            raise ReplyError(f"expected an SI prefix before {self.symbol}, found {text!r}")
        return Number().parse(found[1]) * _PREFIXES[prefix] * self.per_symbol

    def refuse(self, value: object) -> float:
        number = Number(self.minimum, self.maximum, self.unit).refuse(value)
        for choice in self.choices:
            if math.isclose(number, choice, rel_tol=0.01):
                return choice
        if self.choices:
            allowed = ", ".join(f"{choice:g}" for choice in self.choices)
            raise OutOfRangeError(f"expected one of {allowed} {self.unit}, found {number:g}")
        return number

    def format(self, value: float) -> str:
        return Number(decimals=9).format(value / self.sent_in)

    def describe(self) -> Description:
        return Number(self.minimum, self.maximum, self.unit).describe()


@dataclass(frozen=True, slots=True)
class Keyed(Patching[dict[str, object]]):
    """Values behind their keys, such as P:5:I:2:D:0."""

    keys: tuple[str, ...]
    fields: Fields

    def parse(self, text: str) -> dict[str, object]:
        words = text.strip().split(":")
        if tuple(words[::2]) != self.keys:
            raise ReplyError(f"expected values for {':'.join(self.keys)}, found {text!r}")
        return self.fields.parse(",".join(words[1::2]))

    def refuse(self, value: object) -> dict[str, object]:
        return self.fields.refuse(value)

    def format(self, value: Mapping[str, object]) -> str:
        values = self.fields.format(value).split(",")
        return ":".join(f"{key}:{text}" for key, text in zip(self.keys, values, strict=True))

    def check(self, value: object) -> None:
        self.fields.check(value)

    def patch(self, held: str, value: object) -> str:
        return self.format({**self.parse(held), **self.fields.some(value)})

    def describe(self) -> Description:
        return self.fields.describe()


KELVIN = Prefixed("K", "K")
STATE = Words({"OPEN": True, "CLOSE": False, "CLOSED": False, "ON": True, "OFF": False})
ON = Words({"ON": True, "OFF": False})
POWER = Prefixed("W", "W", 0.0, 0.3, sent_in=1e-6)
CONTROL = Keyed(
    ("P", "I", "D"),
    Fields(
        {"proportional": Number(0, 1e4), "integral": Number(0, 1e4), "derivative": Number(0, 1e4)}
    ),
)
CURRENT = Prefixed("A", "A", 0, 0.1, sent_in=1e-3, choices=RANGES_A)
LOOP = "DEV:@MC:TEMP:LOOP"


class Triton(Fridge):
    """A Triton by its system computer.

    A message is READ:NOUN, or READ:NOUN=KEYS where the reply repeats keys with values; SET:NOUN=
    VALUE. In a noun @MC stands for the thermometer that the system calls MC at that moment.
    """

    identity = r"IDN:OXFORD INSTRUMENTS:"
    extras = frozenset({"stages"})
    line = Line(
        send_end="\r\n",
        reply_end="\n",
        timeout_s=2.0,
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )
    settle_s = 0.1

    # Any: what every instrument takes, see Instrument
    def __init__(
        self, resource: str, *, stages: Mapping[str, int | str] | None = None, **options: Any
    ) -> None:
        super().__init__(resource, **options)
        self._rows = _rows(_stages(stages or {}))
        self._absent: dict[str, str] = {}
        self.forget_with(self._absent)

    def rows(self) -> Sequence[Row]:
        return self._rows

    def ask(self, text: str, parse: Callable[[str], T]) -> T:
        """As of any instrument; what it does not have is asked for once per connection."""
        if text in self._absent and self.link.is_open:
            raise AbsentError(self._absent[text])
        try:
            return super().ask(text, parse)
        except AbsentError as error:
            self._absent[text] = str(error)
            raise

    def _question(self, text: str) -> str:
        if text == self.identity_question:
            return self.link.ask(text).strip()
        noun, _, keys = self._resolved(text).partition("=")
        message = f"{noun}:{keys}" if keys else noun
        answer = self._answer(message, noun.replace("READ:", "STAT:", 1))
        if answer.endswith(("NOT_FOUND", "INVALID")):
            raise AbsentError(f"the instrument has no {noun.removeprefix('READ:')}: {answer}")
        return answer

    def _command(self, text: str) -> None:
        noun, _, value = self._resolved(text).partition("=")
        answer = self._answer(f"{noun}:{value}", f"STAT:{noun}")
        if answer.endswith(("NOT_FOUND", "INVALID")):
            raise OutOfRangeError(f"the instrument refused {noun}:{value} with {answer!r}")
        if not answer.endswith(":VALID"):
            raise ReplyError(f"expected VALID after {noun}:{value}, found {answer!r}")

    def _answer(self, message: str, head: str) -> str:
        """What follows the head; a reply with another head was meant for somebody before us."""
        for attempt in range(TRIES):
            reply = self.link.ask(message).strip()
            answer = _after(reply, head)
            if answer is None:
                continue
            if attempt:
                self.link.close()  # the replies to the other attempts may be on their way
            return answer
        raise ReplyError(f"expected a reply to {message!r}, found {reply!r} after {TRIES} attempts")

    def _resolved(self, text: str) -> str:
        role = _ROLE.search(text)
        if role is None:
            return text
        thermometer = self._question(f"READ:SYS:DR:CHAN:{role[1]}")
        if not _THERMOMETER.match(thermometer) or thermometer == "NONE":
            raise AbsentError(f"the system has no thermometer as {role[1]}, found {thermometer!r}")
        if not self.link.is_open:  # it was closed for a reply out of order
            self.link.open()
        return text.replace(role[0], thermometer)


def _after(reply: str, head: str) -> str | None:
    """What stands behind the head; None for the head of another message.

    A refusal may break off the head where the instrument lost it.
    """
    if reply.startswith(f"{head}:"):
        return reply.removeprefix(f"{head}:")
    for refusal in ("NOT_FOUND", "INVALID"):
        begun = reply.removesuffix(f":{refusal}")
        if begun != reply and begun.count(":") >= 2 and head.startswith(begun):
            return refusal
    return None


def _stages(stages: Mapping[str, int | str]) -> dict[str, str]:
    """The noun of each stage's thermometer; a number alone stands for Tn."""
    given = {name: f"T{at}" if isinstance(at, int) else at for name, at in stages.items()}
    wrong = [at for at in given.values() if not _THERMOMETER.match(at)]
    if wrong:
        raise OutOfRangeError(f"expected thermometers such as T5 as stages, found {wrong[0]!r}")
    return {**STAGES, **given}


def _rows(stages: Mapping[str, str]) -> tuple[Row, ...]:
    return (*_thermometry(stages), *_loop(), *_gas())


def _thermometry(stages: Mapping[str, str]) -> list[Row]:
    others = {f"t{n}": f"T{n}" for n in range(1, 17) if f"T{n}" not in stages.values()}
    return [
        Row(
            kind="temperature",
            name=name,
            ask=f"READ:DEV:{noun}:TEMP:SIG:TEMP",
            datatype=KELVIN,
            title=f"Temperature of {name}.",
        )
        for name, noun in {**stages, **others}.items()
    ]


def _loop() -> list[Row]:
    def control(name: str, key: str, datatype: Datatype[Any], title: str) -> Row:
        separator = "=" if isinstance(datatype, Keyed) else ":"
        value = "={value}" if isinstance(datatype, Keyed) else f":{key}={{value}}"
        ask, tell = f"READ:{LOOP}{separator}{key}", f"SET:{LOOP}{value}"
        return Row(kind="control", name=name, ask=ask, datatype=datatype, title=title, tell=tell)

    return [
        *(
            Row(
                kind="heater",
                name=name,
                ask=f"READ:DEV:{noun}:HTR:SIG:POWR",
                datatype=POWER,
                title=f"Power of the heater of {name}.",
                tell=f"SET:DEV:{noun}:HTR:SIG:POWR={{value}}",
            )
            for name, noun in (("mxc", "H1"), ("still", "H2"))
        ),
        control("setpoint", "TSET", Prefixed("K", "K", 0, 50), "Mixing chamber to hold."),
        control("closed_loop", "MODE", ON, "Whether the mixing chamber is held."),
        control("range", "RANGE", CURRENT, "Full scale of the mixing chamber's heater."),
        control("pid", "P:I:D", CONTROL, "Control loop of the mixing chamber."),
    ]


def _gas() -> list[Row]:
    def read(kind: Any, name: str, ask: str, datatype: Datatype[Any], title: str) -> Row:
        return Row(kind=kind, name=name, ask=f"READ:{ask}", datatype=datatype, title=title)

    millibar = Prefixed("mbar", "B", per_symbol=1000.0)
    return [
        *(
            read("pressure", f"p{n}", f"DEV:P{n}:PRES:SIG:PRES", millibar, f"Gauge P{n}.")
            for n in range(1, 7)
        ),
        *(
            read("valve", f"v{n}", f"DEV:V{n}:VALV:SIG:STATE", STATE, f"Whether V{n} is open.")
            for n in range(1, 11)
        ),
        read("pump", "turb1", "DEV:TURB1:PUMP:SIG:STATE", STATE, "Whether the turbo pump is on."),
        read("pump", "turb1.speed", "DEV:TURB1:PUMP:SIG:SPD", Prefixed("Hz", "Hz"), "Its speed."),
        read("pump", "turb1.power", "DEV:TURB1:PUMP:SIG:POWR", Prefixed("W", "W"), "Its power."),
        read("pump", "compressor", "DEV:COMP:PUMP:SIG:STATE", STATE, "Whether it is on."),
        read("status", "system", "SYS:DR:STATUS", Text(), "What the system says of itself."),
        read("status", "action", "SYS:DR:ACTN", Text(), "What the automation is doing."),
    ]
