"""Magnicon XXF-1: the electronics of up to two SQUIDs with their TES, and of a coil's current.

Confirmed by two public code bases of laboratories that use it daily (one speaks these frames, one
the vendor's library; their ranges agree): the framing and its checksum, the link, the encodings of
the currents and voltages, the feedback resistors, the pulse block, the counters, and the literal
replies to the mode question.

Inferred, not seen: that Ib and Vb are written with operation 0 of the letters they are read with,
and that replies to reads other than the mode begin with ">". Not known: how a refusal looks
(anything but the acknowledgment counts as one), three characters of the pulse block (kept as they
are), the layout of the information text, and how to read the auto-reset set-up back (so it is a
shadow). The letters for gain-bandwidth product, amplifier and generators are not public.
Nothing here was confirmed on a device.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from daq.datatypes import (
    Code,
    Datatype,
    Description,
    Fields,
    Number,
    Patching,
    Switch,
    Text,
    refuse,
)
from daq.errors import OutOfRangeError, ReplyError
from drivers.instrument import Channel, Channels, Instrument
from drivers.parameter import Parameter, action
from drivers.squid.squid_channel import LoopMode, Route, SquidElectronics
from drivers.transport import Line, SerialPort

TOGGLE_S = 0.2  # what the laboratories leave between opening and closing the loop
LNCS_OFF = 0x0100
FEEDBACK_KOHM = (
    0.0, 0.70, 0.75, 0.91, 1.00, 2.14, 2.31, 2.73, 3.00, 7.00, 7.50, 9.10, 10.0, 23.1, 30.0, 100.0,
)  # fmt: skip


class BiasRange(enum.IntEnum):
    """Range of the TES bias source."""

    UA_125 = 0
    UA_500 = 1


class AutoReset(enum.IntEnum):
    """What happens when the output exceeds its thresholds."""

    OFF = 0
    OVERLOAD = 1
    RESET = 2
    DRIFT_COMPENSATION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dac(Datatype[float]):
    """A converter's value: (code - zero) * step in `unit`, as hex digits before an `ending`."""

    digits: int
    step: float
    unit: str
    minimum: float
    maximum: float
    zero: int = 0
    ending: str = ""

    def parse(self, text: str) -> float:
        if not text.endswith(self.ending):
            raise ReplyError(f"expected {self.ending!r} at the end, found {text!r}")
        return (_code(text.removesuffix(self.ending), self.digits) - self.zero) * self.step

    def refuse(self, value: object) -> float:
        return self._range().refuse(value)

    def format(self, value: float) -> str:
        return f"{round(value / self.step) + self.zero:0{self.digits}X}{self.ending}"

    def describe(self) -> Description:
        return self._range().describe()

    def _range(self) -> Number:
        return Number(self.minimum, self.maximum, self.unit)


# volts per ohm of the source's series resistor, as the laboratories' programs write them
BIAS = {
    BiasRange.UA_125: Dac(
        digits=4,
        zero=8192,
        step=10.934e6 / (16384 * 43600),
        unit="uA",
        minimum=-125,
        maximum=125,
        ending="0",
    ),
    BiasRange.UA_500: Dac(
        digits=4,
        zero=8192,
        step=10.934e6 / (16384 * 10895),
        unit="uA",
        minimum=-500,
        maximum=500,
        ending="1",
    ),
}
IB = Dac(digits=4, step=5.467e6 / (16384 * 30360), unit="uA", minimum=0, maximum=180)
VB = Dac(digits=3, step=2.5e6 / (4096 * 1470), unit="uV", minimum=0, maximum=1300)
PHIB = Dac(digits=3, zero=2048, step=5e6 / (4096 * 20071), unit="uA", minimum=-124.4, maximum=124.4)
PULSE_HEIGHT = Dac(
    digits=3,
    zero=2048,
    step=5e6 / (4096 * 1.0196 * 20000),
    unit="uA",
    minimum=-122.5,
    maximum=122.5,
)
LNCS = Dac(
    digits=4,
    zero=8192,
    step=30.005e3 / (16385 * 600),
    unit="mA",
    minimum=-25,
    maximum=25,
    ending="0",
)
THRESHOLD = Dac(digits=2, step=0.08, unit="V", minimum=0, maximum=10.16)
COUNT = Dac(digits=4, step=1, unit="", minimum=0, maximum=0xFFFF)
STEP = Dac(digits=3, step=1, unit="", minimum=0, maximum=0xFFF)


class TesBias(Patching[dict[str, object]]):
    """The TES current with the range it is in, always told together.

    To tell the range alone would keep the converter's code, and so jump the current by a factor
    of four. A plain number is a current in the range that holds now.
    """

    def parse(self, text: str) -> dict[str, object]:
        chosen = Code(BiasRange).parse(text[-1:])
        return {"current": BIAS[chosen].parse(text), "range": chosen}

    def refuse(self, value: object) -> dict[str, object]:
        if not isinstance(value, Mapping) or set(value) != {"current", "range"}:
            raise OutOfRangeError(f"expected a current and a range, found {value!r}")
        chosen = refuse(Code(BiasRange), "range", value["range"])
        return {"current": refuse(BIAS[chosen], "current", value["current"]), "range": chosen}

    def format(self, value: Mapping[str, object]) -> str:
        dac = BIAS[Code(BiasRange).refuse(value["range"])]
        return dac.format(dac.refuse(value["current"]))

    def check(self, value: object) -> None:
        given = Fields(self._parts()).some(self._given(value))
        if len(given) == 2:
            self.refuse(given)

    def patch(self, held: str, value: object) -> str:
        return self.format(self.refuse({**self.parse(held), **self._given(value)}))

    def by_field(self, value: object) -> object:
        return self._given(value)

    def describe(self) -> Description:
        return Fields(self._parts()).describe()

    def _parts(self) -> dict[str, Datatype[Any]]:
        """The fields, each alone; Any: each has a datatype of its own."""
        return {"current": BIAS[BiasRange.UA_500], "range": Code(BiasRange)}

    def _given(self, value: object) -> Mapping[str, object]:
        return value if isinstance(value, Mapping) else {"current": value}


@dataclass(frozen=True, slots=True)
class Resistor(Datatype[float]):
    """One of the feedback resistors in kohm, as one hex digit; 0 is none."""

    def parse(self, text: str) -> float:
        return FEEDBACK_KOHM[_code(text, 1)]

    def refuse(self, value: object) -> float:
        allowed = Number(unit="kohm").refuse(value)
        if allowed not in FEEDBACK_KOHM:
            known = ", ".join(f"{kohm:g}" for kohm in FEEDBACK_KOHM)
            raise OutOfRangeError(f"expected one of {known} kohm, found {value!r}")
        return allowed

    def format(self, value: float) -> str:
        return f"{FEEDBACK_KOHM.index(value):X}"

    def describe(self) -> Description:
        return Description(kind="code", unit="kohm", choices=tuple(f"{k:g}" for k in FEEDBACK_KOHM))


@dataclass(frozen=True, slots=True)
class Packed(Datatype[dict[str, object]]):
    """Several values in one block of characters; each has (name, characters, datatype)."""

    parts: tuple[tuple[str, int, Datatype[Any]], ...]  # Any: each has a datatype of its own

    def parse(self, text: str) -> dict[str, object]:
        total = sum(width for _, width, _ in self.parts)
        if len(text) != total:
            raise ReplyError(f"expected {total} characters, found {text!r}")
        values: dict[str, object] = {}
        for name, width, part in self.parts:
            values[name], text = part.parse(text[:width]), text[width:]
        return values

    def refuse(self, value: object) -> dict[str, object]:
        return self._fields().refuse(value)

    def format(self, value: Mapping[str, object]) -> str:
        return "".join(part.format(part.refuse(value[name])) for name, _, part in self.parts)

    def describe(self) -> Description:
        return self._fields().describe()

    def _fields(self) -> Fields:
        return Fields({name: part for name, _, part in self.parts})


COUNTERS = Packed(
    (
        ("overload_up", 4, COUNT),
        ("overload_down", 4, COUNT),
        ("reset_up", 4, COUNT),
        ("reset_down", 4, COUNT),
        ("compensation_up", 4, COUNT),
        ("compensation_down", 4, COUNT),
    )
)
AUTO_RESET = Packed(
    (
        ("mode", 1, Code(AutoReset)),
        ("overload", 2, THRESHOLD),
        ("reset", 2, THRESHOLD),
        ("compensation", 2, THRESHOLD),
        ("compensation_step", 3, STEP),
    )
)


@dataclass(frozen=True, slots=True)
class Cleared(Patching[bool]):
    """One bit of the switch word, true where it is 0; the other switches stay as they are."""

    bit: int

    def parse(self, text: str) -> bool:
        return not _code(text, 4) & self.bit

    def refuse(self, value: object) -> bool:
        return Switch().refuse(value)

    def format(self, value: bool) -> str:
        return self.patch("0000", value)

    def check(self, value: object) -> None:
        self.refuse(value)

    def patch(self, held: str, value: object) -> str:
        others = _code(held, 4) & ~self.bit
        return f"{others if self.refuse(value) else others | self.bit:04X}"

    def describe(self) -> Description:
        return Switch().describe()


class PulseBlock(Patching[dict[str, object]]):
    """The test pulse in twelve characters: width, distance, whether only one, whether at all.

    Characters 8 to 10 are not understood: they are written back as they were read.
    """

    FULL_SCALE_US: ClassVar = {"1": 2500 / 9, "2": 20000 / 9}
    LONG_US: ClassVar = 150.0
    INTERVAL_US: ClassVar = 95.5
    PARTS: ClassVar = Fields(
        {
            "width": Number(1.09, 2000, "us"),
            "interval": Number(0.01, 6258.6, "ms"),
            "single": Switch(),
            "on": Switch(),
        }
    )

    def parse(self, text: str) -> dict[str, object]:
        if len(text) != 12 or text[0] not in self.FULL_SCALE_US:
            raise ReplyError(f"expected 12 characters that begin with 1 or 2, found {text!r}")
        return {
            "width": (_code(text[1:3], 2) - 2) * self.FULL_SCALE_US[text[0]] / 255,
            "interval": (_code(text[3:7], 4) * self.INTERVAL_US + 10) / 1000,
            "single": Switch().parse(text[10]),
            "on": Switch().parse(text[11]),
        }

    def refuse(self, value: object) -> dict[str, object]:
        return self.PARTS.refuse(value)

    def format(self, value: dict[str, object]) -> str:
        return self.patch("100000000000", value)

    def check(self, value: object) -> None:
        self.PARTS.check(value)

    def patch(self, held: str, value: object) -> str:
        self.parse(held)
        given = self.PARTS.some(value)
        width = self._width(given["width"]) if "width" in given else held[:3]
        interval = self._interval(given["interval"]) if "interval" in given else held[3:7]
        single = Switch().format(bool(given.get("single", held[10] == "1")))
        on = Switch().format(bool(given.get("on", held[11] == "1")))
        return width + interval + held[7:10] + single + on

    def describe(self) -> Description:
        return self.PARTS.describe()

    def _width(self, value: object) -> str:
        width_us = Number().refuse(value)
        scale = "1" if width_us < self.LONG_US else "2"
        return f"{scale}{round(width_us * 255 / self.FULL_SCALE_US[scale] + 2):02X}"

    def _interval(self, value: object) -> str:
        count = round((1000 * Number().refuse(value) - 10) / self.INTERVAL_US)
        return f"{min(count, 0xFFFF):04X}"


class Squid(SquidElectronics):
    """One SQUID with the TES it reads."""

    label = "squid"
    routes: ClassVar = {
        "mode": Route(parameter="mode"),
        "bias": Route(parameter="ib", to_si=1e-6),
        "flux": Route(parameter="phib", to_si=1e-6),
        "offset": Route(parameter="vb", to_si=1e-6),
        "feedback": Route(parameter="feedback", to_si=1e3),
        "tes_bias": Route(parameter="tes_bias", part="current", to_si=1e-6),
        "tes_range": Route(
            parameter="tes_bias",
            part="range",
            members={BiasRange.UA_125: 125e-6, BiasRange.UA_500: 500e-6},
        ),
        "test_signal": Route(parameter="pulse", part="on"),
        "test_height": Route(parameter="pulse_height", to_si=1e-6),
    }

    mode = Parameter("<0{ch}b8", Code(LoopMode), "The flux-locked loop.", "<0{ch}b0{value}")
    tes_bias = Parameter("<0{ch}q8", TesBias(), "TES bias current (Iaux).", "<0{ch}q0{value}")
    ib = Parameter("<0{ch}c8", IB, "SQUID bias current.", "<0{ch}c0{value}")
    vb = Parameter("<0{ch}f8", VB, "SQUID bias voltage.", "<0{ch}f0{value}")
    phib = Parameter("<0{ch}j8", PHIB, "Flux bias current.", "<0{ch}j0{value}")
    feedback = Parameter("<0{ch}n9", Resistor(), "Resistor of the locked loop.", "<0{ch}n1{value}")
    overloads = Parameter("<0{ch}w9", COUNTERS, "Overloads and automatic resets, counted.")
    auto_reset = Parameter(None, AUTO_RESET, "What an overload does.", "<0{ch}w7{value}", slow=True)
    pulse = Parameter("<0{ch}P8", PulseBlock(), "Test pulse.", "<0{ch}P0{value}", slow=True)
    pulse_height = Parameter(
        "<0{ch}r8", PULSE_HEIGHT, "Test pulse, no load resistor.", "<0{ch}r0{value}", slow=True
    )
    information = Parameter("<0{ch}T8", Text(), "What the electronics say of it.", slow=True)

    @action("Open and close the loop, so that it locks anew.")
    def reset_loop(self) -> None:
        """Leave the loop closed, with the pauses that the laboratories make."""
        self.mode.write(LoopMode.OPEN)
        self.instrument.pause(TOGGLE_S)
        self.mode.write(LoopMode.LOCKED)
        self.instrument.pause(TOGGLE_S)

    @action("Set the overload counters to zero.")
    def clear_overloads(self) -> None:
        """Count anew."""
        self.tell(f"<0{self.number}w1")


class ConnectorBox(Channel):
    """The box between cryostat and electronics, with the low-noise current source for a coil."""

    label = "box"

    coil = Parameter("<0{ch}q8", LNCS, "Current of the low-noise source.", "<0{ch}q0{value}")
    coil_connected = Parameter(
        "<0{ch}a8", Cleared(LNCS_OFF), "Whether the source reaches the coil.", "<0{ch}a0{value}"
    )


class Magnicon(Instrument):
    """Channels 1 and 2 are SQUIDs, 3 is the connector box.

    Who answers the mode question with a checksummed digit is taken for one: the layout of the
    information text is not public.
    """

    identity_question = "<01b8"
    identity = r"[01]\Z"
    line = Line(
        send_end="\r",
        reply_end="\r",
        serial=SerialPort(baud=57600, data_bits=7, parity="even"),
    )

    squids = Channels(Squid, (1, 2))
    boxes = Channels(ConnectorBox, (3,))

    def _question(self, text: str) -> str:
        reply = checked(self.link.ask(framed(text)))
        if not reply.startswith(">"):
            raise ReplyError(f"expected a reply that begins with >, found {reply!r}")
        return reply[1:]

    def _command(self, text: str) -> None:
        reply = checked(self.link.ask(framed(text)))
        if reply != "|0":
            raise ReplyError(f"expected the acknowledgment |0 of {text!r}, found {reply!r}")


def checksum(text: str) -> str:
    """Sum of the character codes, modulo 256, as two upper-case hex digits."""
    return f"{sum(text.encode('ascii')) % 256:02X}"


def framed(text: str) -> str:
    """A message with its checksum."""
    return text + checksum(text)


def checked(reply: str) -> str:
    """A reply without its checksum; ReplyError where it is wrong."""
    text, found = reply[:-2], reply[-2:]
    if not text or found != checksum(text):
        raise ReplyError(f"expected the checksum {checksum(text)} after {text!r}, found {found!r}")
    return text


def _code(text: str, digits: int) -> int:
    if not re.fullmatch(rf"[0-9A-F]{{{digits}}}", text):
        raise ReplyError(f"expected {digits} upper-case hex digits, found {text!r}")
    return int(text, 16)
