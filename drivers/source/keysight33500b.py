"""Keysight (Agilent) 33500B waveform generator: heater pulses, and square waves for dI/dV.

Confirmed by a public driver of another laboratory: TCP port 5025, LF, the functions, amplitude in
VPP, offset, frequency, phase, pulse width, load, output, and that a request in conflict with
other settings is error -221 and coerced instead of refused, which only the error queue tells.

Therefore the queue is read after every write: a coerced one is a CoercedError that says what the
instrument then holds, any other is refused as OutOfRangeError. An error of somebody at the front
panel in that moment is taken for ours. Who changes the unit of amplitudes there changes what
`amplitude` means, until we connect again or make a pulse or a wave.

From memory, to be checked with the manual: the limits below, that -222 (out of range) is coerced
too, that a high-impedance load reads as 9.9E+37 (INF is taken as well), the queue's length of 20.
Nothing was confirmed on a device of ours. One with a single output needs `channels = [1]`.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TypeVar

from daq.datatypes import Datatype, Description, Number, Switch
from daq.errors import InstrumentError, OutOfRangeError, ReplyError
from drivers.instrument import Channel, Channels, Instrument
from drivers.parameter import Parameter
from drivers.transport import Line, SerialPort

W = TypeVar("W", bound=enum.StrEnum)
SOURCE_OHM = 50.0  # inside the generator, in series with its output
HIGH_Z, HIGH_Z_OHM = "INF", 9e37  # how it is written; what is read is above this
SMALLEST_VPP, SHORTEST_S = 0.002, 16e-9  # allowed at every load and in every shape
MAX_ERRORS = 20
NO_ERROR, CONFLICT, OUT_OF_RANGE = 0, -221, -222
COERCED = (CONFLICT, OUT_OF_RANGE)
_ERROR = re.compile(r"\A([+-]?[0-9]{1,6}),\"([^\"]*)\"?")


class CoercedError(OutOfRangeError):
    """The instrument did something else than it was asked for, and said so."""


class Shape(enum.StrEnum):
    """The waveform, as the instrument calls it."""

    SINE = "SIN"
    SQUARE = "SQU"
    TRIANGLE = "TRI"
    RAMP = "RAMP"
    PULSE = "PULS"
    DC = "DC"


class Unit(enum.StrEnum):
    """What amplitudes are in."""

    VPP = "VPP"
    VRMS = "VRMS"
    DBM = "DBM"


@dataclass(frozen=True, slots=True)
class Word(Datatype[W]):
    """One of an enumeration's members, which the instrument writes as a mnemonic."""

    members: type[W]

    def parse(self, text: str) -> W:
        try:
            return self.members(text.strip())
        except ValueError as error:
            known = ", ".join(self.members)
            raise ReplyError(f"expected one of {known}, found {text!r}") from error

    def refuse(self, value: object) -> W:
        if isinstance(value, self.members):
            return value
        if isinstance(value, str) and value in self.members.__members__:
            return self.members[value]
        known = ", ".join(self.members.__members__)
        raise OutOfRangeError(f"expected one of {known}, found {value!r}")

    def format(self, value: W) -> str:
        return value.value

    def describe(self) -> Description:
        return Description(kind="code", choices=tuple(self.members.__members__))


@dataclass(frozen=True, slots=True)
class Load(Datatype[float | str]):
    """The resistance that the generator believes to drive: ohm, or "INF" for high impedance."""

    def parse(self, text: str) -> float | str:
        if text.strip() == HIGH_Z:
            return HIGH_Z
        value = Number(unit="ohm").parse(text)
        return HIGH_Z if value > HIGH_Z_OHM else value

    def refuse(self, value: object) -> float | str:
        return HIGH_Z if value == HIGH_Z else Number(1, 10_000, "ohm").refuse(value)

    def format(self, value: float | str) -> str:
        return value if isinstance(value, str) else Number().format(value)

    def describe(self) -> Description:
        return Description(kind="number", unit="ohm", minimum=1, maximum=10_000, choices=(HIGH_Z,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What an output holds: at the load it was told of, and with nothing connected."""

    load: float | str
    amplitude_vpp: float
    offset_v: float
    open_circuit_vpp: float
    open_circuit_offset_v: float


class Output(Channel):
    """One output. Amplitude and offset are what stands at `load`, if that is what is connected.

    With "INF" they are those of the open output; with 50 ohm they are half of that. A wrong load
    thus makes every voltage wrong by up to a factor of two: set it first.
    """

    label = "output"

    load = Parameter(
        "OUTP{ch}:LOAD?", Load(), "What amplitude and offset refer to.", "OUTP{ch}:LOAD {value}"
    )
    function = Parameter(
        "SOUR{ch}:FUNC?", Word(Shape), "Shape of the wave.", "SOUR{ch}:FUNC {value}"
    )
    amplitude = Parameter(
        "SOUR{ch}:VOLT?",
        Number(0.001, 20, "Vpp"),
        "Peak to peak, at `load`.",
        "SOUR{ch}:VOLT {value}",
    )
    unit = Parameter(
        "SOUR{ch}:VOLT:UNIT?",
        Word(Unit),
        "What `amplitude` is in; we set it to VPP.",
        "SOUR{ch}:VOLT:UNIT {value}",
        slow=True,
    )
    offset = Parameter(
        "SOUR{ch}:VOLT:OFFS?",
        Number(-10, 10, "V"),
        "Mean, at `load`.",
        "SOUR{ch}:VOLT:OFFS {value}",
    )
    high = Parameter(
        "SOUR{ch}:VOLT:HIGH?",
        Number(-10, 10, "V"),
        "Upper level, at `load`; the lower one stays.",
        "SOUR{ch}:VOLT:HIGH {value}",
        slow=True,
    )
    low = Parameter(
        "SOUR{ch}:VOLT:LOW?",
        Number(-10, 10, "V"),
        "Lower level, at `load`; the upper one stays.",
        "SOUR{ch}:VOLT:LOW {value}",
        slow=True,
    )
    frequency = Parameter(
        "SOUR{ch}:FREQ?", Number(1e-6, 30e6, "Hz"), "Repetition.", "SOUR{ch}:FREQ {value}"
    )
    phase = Parameter(
        "SOUR{ch}:PHAS?", Number(-360, 360, "deg"), "Phase.", "SOUR{ch}:PHAS {value}", slow=True
    )
    pulse_width = Parameter(
        "SOUR{ch}:FUNC:PULS:WIDT?",
        Number(SHORTEST_S, 1e6, "s", decimals=10),
        "Width of a pulse.",
        "SOUR{ch}:FUNC:PULS:WIDT {value}",
        slow=True,
    )
    on = Parameter("OUTP{ch}?", Switch(), "Whether the output is connected.", "OUTP{ch} {value}")

    def level(self) -> Level:
        """Amplitude and offset as they are now, with what they mean."""
        load = self.load.read()
        amplitude, offset = self.amplitude.read(), self.offset.read()
        gain = 1.0 if isinstance(load, str) else (load + SOURCE_OHM) / load
        return Level(
            load=load,
            amplitude_vpp=amplitude,
            offset_v=offset,
            open_circuit_vpp=gain * amplitude,
            open_circuit_offset_v=gain * offset,
        )

    def heater_pulse(
        self, *, height_v: float, width_s: float, period_s: float, load: float | str
    ) -> Level:
        """Make pulses from 0 to `height_v` at `load`; the output is off until it is switched on.

        OutOfRangeError before a byte is sent, where they make no sense.
        """
        if not 0 < width_s < period_s:
            raise OutOfRangeError(
                f"expected a pulse shorter than its period, found {width_s:g} s in {period_s:g} s"
            )
        self._refuse(load, height_v, height_v / 2, 1 / period_s)
        type(self).pulse_width.datatype.refuse(width_s)
        with self.alone():
            self._begin(Shape.PULSE, load)
            self._shape(frequency_hz=1 / period_s, amplitude_vpp=height_v, offset_v=height_v / 2)
            self.pulse_width.write(width_s)
            return self.level()

    def square_wave(
        self, *, amplitude_vpp: float, frequency_hz: float, offset_v: float, load: float | str
    ) -> Level:
        """Make the square wave of a dI/dV; the output is off until it is switched on.

        Its duty cycle stays as it is at the instrument, which begins with 50 %.
        """
        self._refuse(load, amplitude_vpp, offset_v, frequency_hz)
        with self.alone():
            self._begin(Shape.SQUARE, load)
            self._shape(frequency_hz=frequency_hz, amplitude_vpp=amplitude_vpp, offset_v=offset_v)
            return self.level()

    def _refuse(
        self, load: float | str, amplitude_vpp: float, offset_v: float, frequency_hz: float
    ) -> None:
        kind = type(self)
        kind.load.datatype.refuse(load)
        kind.amplitude.datatype.refuse(amplitude_vpp)
        kind.offset.datatype.refuse(offset_v)
        kind.frequency.datatype.refuse(frequency_hz)

    def _begin(self, shape: Shape, load: float | str) -> None:
        """Off, small and short first: nothing old may reach a sensor, or be in conflict."""
        self.on.write(False)
        self.load.write(load)
        self.unit.write(Unit.VPP)
        self.amplitude.write(SMALLEST_VPP)
        self.offset.write(0.0)
        self.pulse_width.write(SHORTEST_S)
        self.function.write(shape)

    def _shape(self, *, frequency_hz: float, amplitude_vpp: float, offset_v: float) -> None:
        self.frequency.write(frequency_hz)
        self.offset.write(offset_v)
        self.amplitude.write(amplitude_vpp)


class Keysight33500b(Instrument):
    """One or two outputs; what it answers is checked with its error queue after every write."""

    identity = r"(Agilent Technologies|Keysight Technologies),33[56][0-9]{2}[AB],"
    line = Line(
        send_end="\n",
        reply_end="\n",
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )

    outputs = Channels(Output, (1, 2))

    def _check_identity(self) -> None:
        """Also have voltages in VPP, and begin with an empty queue: what is in it is not ours."""
        super()._check_identity()
        for number in self.outputs:
            self.link.tell(f"SOUR{number}:VOLT:UNIT VPP")
        self._errors()

    def _command(self, text: str) -> None:
        self.link.tell(text)
        errors = self._errors()
        if not errors:
            return
        said = "; ".join(f"{code} {message}" for code, message in errors)
        if all(code in COERCED for code, _ in errors):
            held = self.link.ask(f"{text.split()[0]}?")
            raise CoercedError(f"expected {text!r} to be done, found {held} held: {said}")
        raise OutOfRangeError(f"the instrument refused {text!r}: {said}")

    def _errors(self) -> list[tuple[int, str]]:
        """Everything in the error queue, which is empty then."""
        errors: list[tuple[int, str]] = []
        for _ in range(MAX_ERRORS + 1):
            code, message = _error(self.link.ask("SYST:ERR?"))
            if code == NO_ERROR:
                return errors
            errors.append((code, message))
        raise InstrumentError(f"expected at most {MAX_ERRORS} errors in the queue, found more")


def _error(reply: str) -> tuple[int, str]:
    found = _ERROR.match(reply)
    if not found:
        raise ReplyError(f'expected a number and a "text" of the error queue, found {reply!r}')
    return int(found[1]), found[2]
