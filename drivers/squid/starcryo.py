"""STAR Cryoelectronics PFL-102 behind a PCI-1000: up to eight SQUIDs on one serial line.

The electronics never answers: nothing can be read, identified or acknowledged. Every value is a
shadow of what was last written, and whenever the line is opened all that was written is sent
again, because the electronics may have been off. What nobody has written is neither claimed nor
sent: to start this program must not unlock a SQUID. `initialize` brings a channel into a known
state; before that, the switches of its digital word cannot be written one by one. A line that is
gone is noticed at the next write, or by `resend`; a frame that is lost on its way never is.

Confirmed by two independent public encoders: the frames with their parity, the opcodes, the bits
of the digital word, the converters with their full scales, the reset, the heater. Their literal
frames are in the tests.

Not confirmed: the full scale of the array's flux (one says 100 uA, the other 200 uA: compare with
your unit and choose the model), the code of an offset other than 0 within one step, whether the
stage switch matters while the loop is open (sent as 0, as they do), how long to heat (1 s here).
They say that a SQUID takes about 10 s to cool after heating. Nothing was confirmed on a device.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from daq.datatypes import Code, Datatype, Description, Number, Switch
from daq.errors import OutOfRangeError, RefusedError, ReplyError
from drivers.instrument import Channels, Instrument
from drivers.parameter import Parameter, action
from drivers.squid.squid_channel import LoopMode, Route, SquidElectronics
from drivers.transport import Line, SerialPort

T = TypeVar("T")
WORD, DAC = 0x50, 0x60
RESET, TO_SQUID, LOCKED, OPEN, HEATER = 0x0001, 0x0008, 0x0400, 0x0800, 0x1000
HEAT_FRAMES, HEAT_EVERY_S = 10, 0.1
PARITY = 0x0080_0000  # bit 7 of the opcode, in address, opcode and data as one number


class Stage(enum.IntEnum):
    """Where the locked loop feeds back."""

    ARRAY = 0
    SQUID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Converter(Datatype[float]):
    """A 12-bit converter: four hex digits, of which the last says which converter it is.

    A value is what the converter makes of it: the nearest step.
    """

    which: int
    full_scale: float
    unit: str
    bipolar: bool = False

    def parse(self, text: str) -> float:
        code, which = divmod(_hex(text, 4), 16)
        if which != self.which:
            raise ReplyError(f"expected converter {self.which}, found {which} in {text!r}")
        return self._value(min(code, self._zero + self._steps))

    def refuse(self, value: object) -> float:
        return self._value(self._code(self._range().refuse(value)))

    def format(self, value: float) -> str:
        return f"{self._code(value):03X}{self.which:X}"

    def describe(self) -> Description:
        return self._range().describe()

    @property
    def _zero(self) -> int:
        return 0x7FF if self.bipolar else 0

    @property
    def _steps(self) -> int:
        """From 0 to full scale."""
        return 0x7FF if self.bipolar else 0xFFF

    def _code(self, value: float) -> int:
        return round(value * self._steps / self.full_scale) + self._zero

    def _value(self, code: int) -> float:
        return round((code - self._zero) * self.full_scale / self._steps, 6)

    def _range(self) -> Number:
        return Number(-self.full_scale if self.bipolar else 0.0, self.full_scale, self.unit)


@dataclass(frozen=True, slots=True)
class Choice(Datatype[float]):
    """One of some numbers."""

    values: tuple[float, ...]
    unit: str

    def parse(self, text: str) -> float:
        value = Number(unit=self.unit).parse(text)
        if value not in self.values:
            raise ReplyError(f"expected one of {self._names()} {self.unit}, found {text!r}")
        return value

    def refuse(self, value: object) -> float:
        number = Number(unit=self.unit).refuse(value)
        if number not in self.values:
            raise OutOfRangeError(f"expected one of {self._names()} {self.unit}, found {value!r}")
        return number

    def format(self, value: float) -> str:
        return f"{value:g}"

    def describe(self) -> Description:
        return Description(kind="code", unit=self.unit, choices=tuple(map(str, self.values)))

    def _names(self) -> str:
        return ", ".join(f"{value:g}" for value in self.values)


@dataclass(frozen=True, slots=True)
class Bits(Datatype[T], Generic[T]):
    """Some bits of the digital word: their mask and their state, four hex digits each."""

    values: Datatype[T]
    codes: Mapping[T, int]

    @property
    def mask(self) -> int:
        """All bits that belong to it."""
        mask = 0
        for code in self.codes.values():
            mask |= code
        return mask

    def parse(self, text: str) -> T:
        mask, bits = divmod(_hex(text, 8), 0x10000)
        found = [value for value, code in self.codes.items() if code == bits]
        if mask != self.mask or not found:
            raise ReplyError(f"expected bits of {self.mask:04X}, found {text!r}")
        return found[0]

    def refuse(self, value: object) -> T:
        return self.values.refuse(value)

    def format(self, value: T) -> str:
        return f"{self.mask:04X}{self.codes[value]:04X}"

    def describe(self) -> Description:
        return self.values.describe()


def _converter(which: int, full_scale: float, title: str, unit: str = "uA") -> Parameter[float]:
    return Parameter(
        None, Converter(which=which, full_scale=full_scale, unit=unit), title, "60{value}"
    )


def _switches(datatype: Datatype[T], codes: Mapping[T, int], title: str) -> Parameter[T]:
    return Parameter(None, Bits(datatype, codes), title, "50{value}")


def _test(bit: int, what: str) -> Parameter[bool]:
    return _switches(Switch(), {False: 0, True: bit}, f"Whether the test signal reaches {what}.")


class Squid(SquidElectronics):
    """One PFL with its SQUID and, where there is one, the array that amplifies it."""

    label = "squid"
    SWITCHES: ClassVar[Mapping[str, Any]] = {  # at the start; Any: each has a datatype of its own
        "mode": LoopMode.OPEN,
        "stage": Stage.SQUID,
        "resistor": 100.0,
        "capacitor": 1.5,
        "test_bias": False,
        "test_array_bias": False,
        "test_flux": False,
        "test_array_flux": False,
    }
    routes: ClassVar = {
        "mode": Route(parameter="mode"),
        "bias": Route(parameter="bias", to_si=1e-6),
        "flux": Route(parameter="flux", to_si=1e-6),
        "offset": Route(parameter="offset", to_si=1e-3),
        "array_bias": Route(parameter="array_bias", to_si=1e-6),
        "array_flux": Route(parameter="array_flux", to_si=1e-6),
        "feedback": Route(parameter="resistor", to_si=1e3),
        "integrator": Route(parameter="capacitor", to_si=1e-9),
        "test_signal": Route(parameter="test_flux"),
    }

    flux = _converter(0, 100.0, "Current in the SQUID's coil.")
    array_flux = _converter(1, 100.0, "Current in the array's coil.")
    bias = _converter(2, 2000.0, "Bias current of the SQUID.")
    array_bias = _converter(3, 100.0, "Bias current of the array.")
    offset = Parameter(
        None,
        Converter(which=4, full_scale=9.8, unit="mV", bipolar=True),
        "Offset of the preamplifier; only effective while the loop is open.",
        "60{value}",
    )
    mode = _switches(
        Code(LoopMode),
        {LoopMode.OPEN: OPEN, LoopMode.LOCKED: LOCKED},
        "The flux-locked loop.",
    )
    stage = _switches(
        Code(Stage), {Stage.ARRAY: 0, Stage.SQUID: TO_SQUID}, "Where the locked loop feeds back."
    )
    resistor = _switches(
        Choice((1.0, 10.0, 100.0), "kohm"),
        {1.0: 0x0002, 10.0: 0x0004, 100.0: 0},
        "Feedback resistor; the largest is the most sensitive.",
    )
    capacitor = _switches(
        Choice((1.5, 15.0, 150.0), "nF"),
        {1.5: 0, 15.0: 0x0100, 150.0: 0x0200},
        "Capacitor of the integrator; usually the larger, the smaller the resistor.",
    )
    test_bias = _test(0x0010, "the SQUID's bias")
    test_array_bias = _test(0x0020, "the array's bias")
    test_flux = _test(0x0040, "the SQUID's flux")
    test_array_flux = _test(0x0080, "the array's flux")

    def __init__(self, instrument: Instrument, number: int) -> None:
        super().__init__(instrument, number)
        self._converters: dict[int, int] = {}  # which -> data that was sent
        self._bits: dict[int, int] = {}  # mask -> bits; empty until the word is known

    @action("Open the loop, with all currents zero: from then on all is known.")
    def initialize(self) -> None:
        """Send the start state; before that, the digital word is unknown."""
        kinds = {name: getattr(type(self), name).datatype for name in self.SWITCHES}
        bits = {k.mask: k.codes[self.SWITCHES[name]] for name, k in kinds.items()}
        self._send(WORD, digital_word(bits))
        self._bits = bits
        self.shadows.update(self.SWITCHES)
        for current in (self.bias, self.flux, self.array_bias, self.array_flux, self.offset):
            current.write(0.0)

    @action("Lock the loop and reset its integrator, so that it locks anew.")
    def reset_loop(self) -> None:
        """Leave the loop locked."""
        self.mode.write(LoopMode.LOCKED)
        self._send(WORD, digital_word(self._bits) | RESET)
        self._send(WORD, digital_word(self._bits))

    @action("Heat the SQUID for 1 s; it takes about 10 s to cool. The loop is open afterwards.")
    def heat(self) -> None:
        """Say it again and again, as the sources do, and at the end that it is over."""
        self.mode.write(LoopMode.OPEN)
        try:
            for _ in range(HEAT_FRAMES):
                self._send(WORD, digital_word(self._bits) | HEATER)
                self.instrument.pause(HEAT_EVERY_S)
        finally:
            self._send(WORD, digital_word(self._bits))

    def tell(self, text: str) -> None:
        """Send one register; what was sent is kept, to be sent again on a new line."""
        opcode, rest = _hex(text[:2], 2), text[2:]
        if opcode == DAC:
            data = _hex(rest, 4)
            self._send(DAC, data)
            self._converters[data % 16] = data
        else:
            mask, bits = divmod(_hex(rest, 8), 0x10000)
            changed = {**self._known_bits(), mask: bits}
            self._send(WORD, digital_word(changed))
            self._bits = changed

    def state(self) -> list[str]:
        """All that was written, as messages; the loop comes last, when its currents flow."""
        sent = [(DAC, data) for data in self._converters.values()]
        if self._bits:
            sent.append((WORD, digital_word(self._bits)))
        return [self._message(opcode, data) for opcode, data in sent]

    def _send(self, opcode: int, data: int) -> None:
        self.instrument.tell(self._message(opcode, data))

    def _message(self, opcode: int, data: int) -> str:
        return f"{self.number:02X}{opcode:02X}{data:04X}"

    def _known_bits(self) -> dict[int, int]:
        if not self._bits:
            raise RefusedError(
                f"the switches of {self.prefix.removesuffix('.')} cannot be written one by one "
                "while the others are unknown: expected initialize first"
            )
        return self._bits


class SquidWide(Squid):
    """A unit whose array flux reaches 200 uA."""

    array_flux = _converter(1, 200.0, "Current in the array's coil.")


class StarCryo(Instrument):
    """Eight addresses on one line that only listens."""

    identity = ""
    line = Line(
        send_end=";",
        reply_end=";",
        quiet_s=0.0115,  # nine characters take 9.4 ms, and 2 ms of peace
        drain_s=0.0,
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )

    squids: Channels[Squid] = Channels(Squid, range(1, 9))

    @action("Send all that was written once more, as after a loss of power.")
    def resend(self) -> None:
        """On a new line, which is where everything is sent."""
        self.close()
        self._connect()

    def forget_with(self, shadows: dict[str, Any]) -> None:
        """Forget nothing when the line was lost: what we hold is sent again."""

    def _check_identity(self) -> None:
        """Nobody answers, so nothing can be checked; instead the state is sent again."""
        for squid in self.squids.values():
            for text in squid.state():
                self._command(text)

    def _question(self, text: str) -> str:
        raise ReplyError(f"{type(self).__name__} never answers: {text!r}")

    def _command(self, text: str) -> None:
        self.link.tell(with_parity(text))


class StarCryoWide(StarCryo):
    """The same with units whose array flux reaches 200 uA."""

    squids: Channels[Squid] = Channels(SquidWide, range(1, 9))


def with_parity(text: str) -> str:
    """Address, opcode and data with an odd number of ones, by the opcode's highest bit."""
    bits = _hex(text, 8)
    return f"{bits if bits.bit_count() % 2 else bits | PARITY:08X}"


def digital_word(bits: Mapping[int, int]) -> int:
    """The word of all switches; the open loop feeds back nowhere."""
    word = 0
    for each in bits.values():
        word |= each
    return word if word & LOCKED else word & ~TO_SQUID


def _hex(text: str, digits: int) -> int:
    if len(text) != digits or not set(text) <= set("0123456789ABCDEF"):
        raise ReplyError(f"expected {digits} upper-case hex digits, found {text!r}")
    return int(text, 16)
