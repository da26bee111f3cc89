"""A Keysight 33512B waveform generator: SCPI with an error queue, two outputs.

Confirmed by other people's drivers: the commands, the queue of 20 errors, +0, -113, -221 and -350,
that a conflict is coerced and not refused, that 9.9E+37 is infinity, that the declared load changes
what VOLT means. Not confirmed on a device: the words after -104, -108, -109, -114, -222 and -224,
which setting gives way in a conflict, the digits of numbers (15 decimals, as in qcodes' simulator).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite
from typing import Protocol

from sim_hardware.face import TextConversation
from sim_hardware.world.generator import GeneratorOutput
from sim_hardware.world.waves import Wave

IDENTITY = "Agilent Technologies,33512B,SIM33512,3.03-1.19-2.00-52-00"
NO_ERROR = '+0,"No error"'
QUEUE = 20
INFINITE = "+9.900000000000000E+37"
CHANNELS = ("1", "2")
NODE = re.compile(r"(\[?):([A-Z]+)([a-z]*)(#?)(\]?)")
BITS = {1: 32, 2: 16, 3: 8, 4: 4}  # of the event status, by the hundreds of an error
POWER_ON = 128

ERRORS = {
    -104: "Data type error",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -221: "Settings conflict",
    -222: "Data out of range",
    -224: "Illegal parameter value",
    -350: "Queue overflow",
}


class ScpiError(Exception):
    """What goes to the error queue; nothing was changed."""

    def __init__(self, number: int) -> None:
        super().__init__(ERRORS[number])
        self.number = number


# --- values


class Value(Protocol):
    """What a command takes: text to a value and an error that does not refuse it, and back."""

    def parsed(self, text: str) -> tuple[object, int]:
        """The value, and 0 or the error that it was coerced with."""

    def shown(self, value: object) -> str:
        """As a query gives it."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, clipped to its limits; `infinite` where INF is one."""

    low: float = -inf
    high: float = inf
    infinite: bool = False

    def parsed(self, text: str) -> tuple[object, int]:
        """The number within its limits."""
        word = text.upper()
        if self.infinite and word in ("INF", "INFINITY", "9.9E37", "9.9E+37"):
            return inf, 0
        number = {"MIN": self.low, "MAX": self.high}.get(word)
        number = _float(text) if number is None or not isfinite(number) else number
        clipped = float(min(max(self.low, number), self.high))
        return clipped, 0 if clipped == number else -222

    def shown(self, value: object) -> str:
        """Fifteen decimals."""
        assert isinstance(value, float)
        return INFINITE if value == inf else f"{value:+.15E}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some words, of which the capitals will do."""

    words: tuple[str, ...]

    def parsed(self, text: str) -> tuple[object, int]:
        """The short form."""
        for word in self.words:
            short = _short(word)
            if text.upper() in (word.upper(), short):
                return short, 0
        raise ScpiError(-224)

    def shown(self, value: object) -> str:
        """The short form."""
        return str(value)


@dataclass(frozen=True, slots=True)
class Switch:
    """ON or OFF, 1 or 0."""

    def parsed(self, text: str) -> tuple[object, int]:
        """True or False."""
        switches = {"ON": True, "1": True, "OFF": False, "0": False}
        if text.upper() not in switches:
            raise ScpiError(-224)
        return switches[text.upper()], 0

    def shown(self, value: object) -> str:
        """1 or 0."""
        return str(int(bool(value)))


FUNCTIONS = Choice(
    ("SINusoid", "SQUare", "TRIangle", "RAMP", "PULSe", "PRBS", "NOISe", "ARB", "DC")
)
POLARITY = Choice(("NORMal", "INVerted"))


@dataclass(frozen=True, slots=True)
class Plain:
    """A setting that concerns no other one."""

    value: Value
    initial: object


PLAIN = {
    "[:SOURce#]:FREQuency:MODE": Plain(Choice(("CW", "LIST", "SWEep", "FIXed")), "CW"),
    "[:SOURce#]:PHASe[:ADJust]": Plain(Number(-360, 360), 0.0),
    "[:SOURce#]:VOLTage:RANGe:AUTO": Plain(Switch(), True),
    "[:SOURce#]:FUNCtion:RAMP:SYMMetry": Plain(Number(0, 100), 100.0),
    "[:SOURce#]:FUNCtion:SQUare:DCYCle": Plain(Number(0.01, 99.99), 50.0),
    "[:SOURce#]:BURSt:STATe": Plain(Switch(), False),
    "[:SOURce#]:BURSt:MODE": Plain(Choice(("TRIGgered", "GATed")), "TRIG"),
    "[:SOURce#]:BURSt:NCYCles": Plain(Number(1, 1e8, infinite=True), 1.0),
    "[:SOURce#]:BURSt:PHASe": Plain(Number(-360, 360), 0.0),
    "[:SOURce#]:BURSt:GATE:POLarity": Plain(POLARITY, "NORM"),
    "[:SOURce#]:BURSt:INTernal:PERiod": Plain(Number(1e-6, 8e3), 10e-3),
    ":TRIGger#:SOURce": Plain(Choice(("IMMediate", "EXTernal", "TIMer", "BUS")), "IMM"),
    ":TRIGger#:SLOPe": Plain(Choice(("POSitive", "NEGative")), "POS"),
    ":TRIGger#:COUNt": Plain(Number(1, 1e6, infinite=True), 1.0),
    ":TRIGger#:DELay": Plain(Number(0, 1e3), 0.0),
    ":TRIGger#:TIMer": Plain(Number(1e-6, 8e3), 1.0),
    ":OUTPut#[:STATe]": Plain(Switch(), False),
    ":OUTPut#:POLarity": Plain(POLARITY, "NORM"),
    ":OUTPut:SYNC[:STATe]": Plain(Switch(), True),
    ":OUTPut:SYNC:SOURce": Plain(Choice(("CH1", "CH2")), "CH1"),
}


@dataclass(frozen=True, slots=True)
class Coupled:
    """A setting of the output itself, which may conflict with others: how to ask, how to put."""

    value: Value
    get: Callable[[GeneratorOutput], object]
    put: Callable[[GeneratorOutput, object], bool]


def _number(
    value: Number,
    get: Callable[[GeneratorOutput], float],
    put: Callable[[GeneratorOutput, float], bool],
) -> Coupled:
    return Coupled(value, get, lambda output, number: put(output, float(str(number))))


def _word(
    value: Choice,
    get: Callable[[GeneratorOutput], str],
    put: Callable[[GeneratorOutput, str], bool],
) -> Coupled:
    return Coupled(value, get, lambda output, word: put(output, str(word)))


COUPLED = {
    "[:SOURce#]:FUNCtion[:SHAPe]": _word(
        FUNCTIONS, lambda o: o.function, GeneratorOutput.put_function
    ),
    "[:SOURce#]:FREQuency[:FIXed]": _number(
        Number(1e-6, 20e6), lambda o: o.frequency_hz, GeneratorOutput.put_frequency
    ),
    "[:SOURce#]:FUNCtion:PULSe:WIDTh": _number(
        Number(16e-9, 1e6), lambda o: o.width_s, GeneratorOutput.put_width
    ),
    "[:SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]": _number(
        Number(), lambda o: o.amplitude, GeneratorOutput.put_amplitude
    ),
    "[:SOURce#]:VOLTage[:LEVel][:IMMediate]:OFFSet": _number(
        Number(), lambda o: o.offset_v, GeneratorOutput.put_offset
    ),
    "[:SOURce#]:VOLTage[:LEVel][:IMMediate]:HIGH": _number(
        Number(), lambda o: o.offset_v + o.vpp / 2, GeneratorOutput.put_high
    ),
    "[:SOURce#]:VOLTage[:LEVel][:IMMediate]:LOW": _number(
        Number(), lambda o: o.offset_v - o.vpp / 2, GeneratorOutput.put_low
    ),
    "[:SOURce#]:VOLTage:UNIT": _word(
        Choice(("VPP", "VRMS", "DBM")), lambda o: o.unit, GeneratorOutput.put_unit
    ),
    ":OUTPut#:LOAD": _number(
        Number(1, 10e3, infinite=True), lambda o: o.load_ohm, GeneratorOutput.put_load
    ),
}


# --- the instrument

Query = Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A header, for any channel; what is done with it for one."""

    header: re.Pattern[str]
    query: Callable[[str], str] | None
    command: Callable[[str, str], None] | None


class Keysight33500B:
    """The instrument; its text is ASCII, messages and replies end with LF."""

    model = "keysight33500b"
    max_clients = 4  # not published
    refusal = b""
    message_end = b"\n"

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called after whatever may have changed an output."""
        self.complaints: list[str] = []
        self._changed = changed
        self._errors: deque[int] = deque()
        self._events = POWER_ON
        self._reset()
        plain = [self._plain(pattern, setting) for pattern, setting in PLAIN.items()]
        coupled = [self._coupled(pattern, setting) for pattern, setting in COUPLED.items()]
        self._entries = [*plain, *coupled, *self._others()]

    def connect(self, now_s: float) -> TextConversation:
        """Talk with a new client."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """The replies to the queries of a message, in one line; commands are not answered."""
        del now_s
        path, replies = "", list[str]()
        for part in filter(None, (part.strip() for part in message.split(";"))):
            header, path = _absolute(part.split()[0], path)
            reply = self._part(part, header, part[len(part.split()[0]) :].strip())
            replies += [] if reply is None else [reply]
            if reply is None:
                self._changed()
        return ";".join(replies) + "\n" if replies else ""

    def output(self, channel: str) -> GeneratorOutput:
        """What an output is set to give."""
        return self._outputs[channel]

    def wave(self, channel: str) -> Wave:
        """What an output gives without a load; bursts, noise and stored waves are not simulated."""
        output = self._outputs[channel]
        return Wave(
            on=bool(self._held(":OUTPut#[:STATe]", channel)),
            function=output.function,
            frequency_hz=output.frequency_hz,
            vpp=output.open_vpp,
            offset_v=output.open_offset_v,
            phase=self._float("[:SOURce#]:PHASe[:ADJust]", channel) / 360 % 1.0,
            duty=self._float("[:SOURce#]:FUNCtion:SQUare:DCYCle", channel) / 100,
            symmetry=self._float("[:SOURce#]:FUNCtion:RAMP:SYMMetry", channel) / 100,
            width_s=output.width_s,
            inverted=self._held(":OUTPut#:POLarity", channel) == "INV",
        )

    def _held(self, pattern: str, channel: str) -> object:
        return self._settings.get((pattern, channel), PLAIN[pattern].initial)

    def _float(self, pattern: str, channel: str) -> float:
        held = self._held(pattern, channel)
        assert isinstance(held, float)
        return held

    def _part(self, part: str, header: str, argument: str) -> str | None:
        """One command or query; what is wrong goes to the error queue."""
        try:
            return self._obey(header, argument)
        except ScpiError as error:
            self._note(error.number)
            self.complaints.append(f"{part!r}: {error}")
            return None

    def _obey(self, header: str, argument: str) -> str | None:
        asked, entry, channel = header.endswith("?"), *self._found(header.removesuffix("?"))
        if asked and entry.query:
            if argument:
                raise ScpiError(-108)
            return entry.query(channel)
        if asked or not entry.command:
            raise ScpiError(-113)
        entry.command(channel, argument)
        return None

    def _found(self, header: str) -> tuple[_Entry, str]:
        for entry in self._entries:
            match = entry.header.fullmatch(header)
            if match:
                channel = match.groupdict().get("channel") or "1"
                if channel not in CHANNELS:
                    raise ScpiError(-114)
                return entry, channel
        raise ScpiError(-113)

    # --- settings

    def _plain(self, pattern: str, setting: Plain) -> _Entry:
        def query(channel: str) -> str:
            return setting.value.shown(self._held(pattern, channel))

        def command(channel: str, argument: str) -> None:
            value, error = setting.value.parsed(_given(argument))
            self._settings[pattern, channel] = value
            self._note(error)

        return _Entry(_header(pattern), query, command)

    def _coupled(self, pattern: str, setting: Coupled) -> _Entry:
        def query(channel: str) -> str:
            return setting.value.shown(setting.get(self._outputs[channel]))

        def command(channel: str, argument: str) -> None:
            value, error = setting.value.parsed(_given(argument))
            conflict = setting.put(self._outputs[channel], value)
            self._note(error or (-221 if conflict else 0))

        return _Entry(_header(pattern), query, command)

    def _others(self) -> list[_Entry]:
        queries: Mapping[str, Query] = {
            r"\*IDN": lambda: IDENTITY,
            r"\*OPC": lambda: "1",
            r"\*ESR": self._event_status,
            r"\*STB": lambda: str(32 if self._events else 0),
            ":SYSTem:ERRor[:NEXT]": self._next_error,
            ":SYSTem:VERSion": lambda: "1999.0",
        }
        commands: Mapping[str, Callable[[], None]] = {
            r"\*RST": self._reset,
            r"\*CLS": self._clear,
            r"\*OPC": lambda: self._happened(1),
            r"\*WAI": lambda: None,
            r"\*TRG": lambda: None,  # no burst is simulated
            "[:SOURce#]:PHASe:SYNChronize": lambda: None,
        }
        return [
            _Entry(
                _header(name) if ":" in name else re.compile(name),
                partial(_asked, queries[name]) if name in queries else None,
                partial(_alone, commands[name]) if name in commands else None,
            )
            for name in {**queries, **commands}
        ]

    # --- status

    def _note(self, number: int) -> None:
        """Put an error in the queue; the last place of a full queue tells that it is full."""
        if not number:
            return
        self._happened(BITS[-number // 100])
        if len(self._errors) >= QUEUE:
            self._errors[-1] = -350
        else:
            self._errors.append(number)

    def _happened(self, bit: int) -> None:
        self._events |= bit

    def _next_error(self) -> str:
        if not self._errors:
            return NO_ERROR
        number = self._errors.popleft()
        return f'{number},"{ERRORS[number]}"'

    def _event_status(self) -> str:
        events, self._events = self._events, 0
        return str(events)

    def _clear(self) -> None:
        self._errors.clear()
        self._events = 0

    def _reset(self) -> None:
        self._outputs = {channel: GeneratorOutput() for channel in CHANNELS}
        self._settings: dict[tuple[str, str], object] = {}


def _asked(query: Query, channel: str) -> str:
    """A query that concerns no channel."""
    del channel
    return query()


def _alone(command: Callable[[], None], channel: str, argument: str) -> None:
    """A command that takes nothing."""
    del channel
    if argument:
        raise ScpiError(-108)
    command()


def _given(argument: str) -> str:
    """The one argument of a setting."""
    if not argument:
        raise ScpiError(-109)
    if "," in argument:
        raise ScpiError(-108)
    return argument


def _absolute(header: str, path: str) -> tuple[str, str]:
    """A header from the root in capitals, and the path that the next one may continue."""
    word = header.upper()
    if word.startswith("*"):
        return word, path
    whole = word if word.startswith(":") else f"{path}:{word}"
    return whole, whole.rpartition(":")[0]


def _header(pattern: str) -> re.Pattern[str]:
    """What matches a header as manuals write it: capitals will do, brackets may be left out."""
    return re.compile("".join(_node(*node.groups()) for node in NODE.finditer(pattern)))


def _node(optional: str, short: str, rest: str, numbered: str, _: str) -> str:
    name = f":(?:{short}{rest.upper()}|{short})" + (r"(?P<channel>\d*)" if numbered else "")
    return f"(?:{name})?" if optional else name


def _short(word: str) -> str:
    """The capitals and digits of a word."""
    return "".join(c for c in word if not c.islower())


def _float(text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise ScpiError(-104) from error
    if not isfinite(number):
        raise ScpiError(-224)
    return number
