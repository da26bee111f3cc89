"""Leiden Cryogenics: a community bridge to its LabVIEW programs, and the GHS-2T gas handling.

The bridge (TCP 5611) answers one command per connection, without an end but the closing. Confirmed
by its source: the commands, the comma-separated lists, the two sentences in which it fails. By one
other client of the same LabVIEW program, temperatures are in mK; by two, the second is the still
and the third the mixing chamber. It is asked for P1 to P7, the gauges that the gas handling below
counts. That its pressures have no unit on the wire is why they have none here; one that it cannot
give is taken as absent, and asked for again. The bridge's "stop", which ends it for everybody, is
never sent.

The GHS-2T-1T-700 (MicroTask; serial, LF) is confirmed by one public driver: its questions, the
acknowledgment before a tab, the states, 1 off and 2 on, and the addresses of the keys. Its
pressures are raw counts of its ADC.

Not confirmed on a device of ours: all of it; in particular the serial settings (9600 8N1), what ID?
answers, and that a light tells whether its valve is open. Nothing is ever pressed: DEVMAN moves
valves, and a mistake there costs the mixture.
"""

from __future__ import annotations

import enum
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daq.datatypes import Code, Datatype, Description, Fields, Integer, Number, Switch
from daq.errors import (
    InstrumentError,
    NoReplyError,
    NotConnectedError,
    OutOfRangeError,
    ReplyError,
    UsageError,
)
from drivers.fridge.fridge import Fridge, Row
from drivers.fridge.recent import Recent
from drivers.fridge.words import Words
from drivers.parameter import AbsentError, NoValueError
from drivers.transport import Line, SerialPort, tcp_address

STAGES = {"still": 1, "mxc": 2}
MAX_REPLY = 65536  # bytes
GOOD_FOR_S = 0.5  # one answer about all lights serves for each of them
FAILURES = ("command not recognized", "error executing command")
ACKNOWLEDGMENTS = {
    "1": "it does not know the command",
    "2": "the parameters are wrong",
    "3": "it did not receive it whole",
    "4": "it does not accept it now",
}
VALVES = {
    0: 37, 1: 31, 2: 36, 3: 34, 4: 7, 5: 9, 6: 27, 7: 24, 8: 30, 9: 12, 10: 19, 11: 21, 12: 18,
    13: 15, 14: 13, 15: 3, 16: 4, 17: 28,
}  # fmt: skip
AUXILIARIES = {0: 22, 1: 52, 2: 43, 3: 60, 4: 55, 5: 49, 6: 57, 7: 51, 8: 42, 9: 40, 10: 46}
SWITCHES = {1: 39, 2: 33, 3: 25, 4: 58, 5: 45}
COMPRESSOR = 1
N_LIGHTS, N_SENSORS = 64, 8


class BridgeWire:
    """A connection for every question; the reply is everything until the bridge closes it."""

    is_open = True  # there is nothing to open

    def __init__(self, resource: str, timeout_s: float = 3.0) -> None:
        self.resource, self.lock = resource, threading.RLock()
        self._address, self._timeout_s = tcp_address(resource), timeout_s
        self._known = False  # whether it answered since `open`

    def is_in_step(self) -> bool:
        """Whether it has answered; each reply comes over a connection of its own."""
        return self._known

    def open(self) -> None:
        """Trust it until it fails."""
        self._known = True

    def ask(self, text: str) -> str:
        """The reply, which is never empty."""
        with self.lock:
            try:
                return self._exchange(text)
            except InstrumentError:
                self.close()
                raise
            except TimeoutError as error:
                self.close()
                raise NoReplyError(
                    f"expected a reply within {self._timeout_s:g} s, found no end of it: "
                    f"{self.resource} at {text!r}"
                ) from error
            except OSError as error:
                self.close()
                why = error.strerror or str(error)
                raise NotConnectedError(f"cannot reach {self.resource}: {why}") from error

    def tell(self, text: str) -> None:
        """Not for the bridge, which has nothing to be told."""
        raise UsageError(f"the bridge is only asked; found {text!r} to be told")

    def close(self) -> None:
        """Ask who it is before anything else."""
        self._known = False

    def _exchange(self, text: str) -> str:
        deadline = time.monotonic() + self._timeout_s
        reply = bytearray()
        with socket.create_connection(self._address, self._timeout_s) as connection:
            connection.sendall(f"{text}\n".encode("ascii"))
            while len(reply) <= MAX_REPLY:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                chunk = connection.recv(4096)
                if not chunk:
                    return self._decoded(text, bytes(reply))
                reply += chunk
        raise ReplyError(f"{self.resource} at {text!r} sent {len(reply)} bytes without an end")

    def _decoded(self, text: str, reply: bytes) -> str:
        if not reply.strip() or not reply.isascii():
            raise ReplyError(
                f"expected a line of ASCII from {self.resource} at {text!r}, found {reply!r}"
            )
        return reply.decode("ascii").strip()


@dataclass(frozen=True, slots=True)
class Listed(Datatype[float]):
    """One of several numbers between commas; "nan" and "None" are gaps."""

    position: int
    unit: str = ""
    scale: float = 1.0

    def parse(self, text: str) -> float:
        numbers = text.split(",")
        if self.position >= len(numbers):
            found = f"{len(numbers)} in {text[:80]!r}"
            raise ReplyError(f"expected at least {self.position + 1} numbers, found {found}")
        number = numbers[self.position].strip()
        if number.lower() in ("nan", "none", ""):
            raise NoValueError("the instrument has no number for it now")
        return Number().parse(number) * self.scale

    def refuse(self, value: object) -> float:
        return Number(unit=self.unit).refuse(value)

    def format(self, value: float) -> str:
        return Number().format(value)

    def describe(self) -> Description:
        return Number(unit=self.unit).describe()


class LeidenBridge(Fridge):
    """A Leiden refrigerator by the community's bridge on the computer of its LabVIEW programs."""

    identity = r"[-+0-9.eEnaNo, ]+\Z"  # it has no name; this is what only it would answer
    identity_question = "all_temperatures"
    extras = frozenset({"stages"})

    # Any: what every instrument takes, see Instrument
    def __init__(
        self,
        resource: str,
        *,
        stages: Mapping[str, int | str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        **options: Any,
    ) -> None:
        super().__init__(resource, wire=BridgeWire(resource), clock=clock, **options)
        positions = {name: _position(name, at) for name, at in {**STAGES, **(stages or {})}.items()}
        self._rows = (
            *(
                Row(
                    kind="temperature",
                    name=name,
                    ask="all_temperatures",
                    datatype=Listed(position, "K", 1e-3),
                    title=f"Temperature of {name}.",
                )
                for name, position in positions.items()
            ),
            *(
                Row(
                    kind="pressure",
                    name=f"p{n}",
                    ask=f"pressure{n}",
                    datatype=Listed(0),
                    title=f"P{n} as the front panel has it.",
                )
                for n in range(1, 8)
            ),
        )
        self._recent: Recent[str] = Recent(GOOD_FOR_S, clock)

    @classmethod
    def check_resource(cls, resource: str) -> str:
        tcp_address(resource)
        return resource

    def rows(self) -> Sequence[Row]:
        return self._rows

    def _question(self, text: str) -> str:
        return self._recent.get(text, lambda: self._answer(text))

    def _answer(self, text: str) -> str:
        answer = self.link.ask(text)
        if answer.startswith(FAILURES) and text.startswith("pressure"):
            raise AbsentError(f"the front panel has no {text}: {answer}")
        if answer.startswith(FAILURES):
            raise InstrumentError(f"the bridge could not do {text!r}: {answer}")
        return answer


class GasState(enum.IntEnum):
    """What the gas handling does."""

    START = 1
    HELIUM_3 = 2
    HELIUM_4 = 3
    NORMAL = 4
    RECOVERY = 5


@dataclass(frozen=True, slots=True)
class Light(Datatype[bool]):
    """One of the 64 lights between commas, counted from 1: 1 is off, 2 is on."""

    address: int

    def parse(self, text: str) -> bool:
        lights = text.split(",")
        if len(lights) != N_LIGHTS:
            raise ReplyError(f"expected {N_LIGHTS} lights, found {len(lights)} in {text[:80]!r}")
        return Words({"2": True, "1": False}).parse(lights[self.address - 1])

    def refuse(self, value: object) -> bool:
        return Switch().refuse(value)

    def format(self, value: bool) -> str:
        return "2" if value else "1"

    def describe(self) -> Description:
        return Switch().describe()


class LeidenGhs(Fridge):
    """The GHS-2T-1T-700 gas handling, only read; a reply is its acknowledgment, a tab, its data."""

    identity = r"(?i).*GHS"
    identity_question = "ID?"
    line = Line(
        send_end="\n",
        reply_end="\n",
        quiet_s=0.05,
        timeout_s=1.0,
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )

    # Any: what every instrument takes, see Instrument
    def __init__(
        self, resource: str, *, clock: Callable[[], float] = time.monotonic, **options: Any
    ) -> None:
        super().__init__(resource, clock=clock, **options)
        self._recent: Recent[str] = Recent(GOOD_FOR_S, clock)

    def rows(self) -> Sequence[Row]:
        return GHS_ROWS

    def _question(self, text: str) -> str:
        if text == self.identity_question:
            return self.link.ask(text).strip()
        return self._recent.get(text, lambda: self._answer(text))

    def _answer(self, text: str) -> str:
        reply = self.link.ask(text).rstrip("\r")
        acknowledgment, tab, answer = reply.partition("\t")
        if acknowledgment in ACKNOWLEDGMENTS:
            why = ACKNOWLEDGMENTS[acknowledgment]
            raise InstrumentError(f"the gas handling refused {text!r}: {why}")
        if acknowledgment != "0" or not tab:
            raise ReplyError(f"expected 0, a tab and data after {text!r}, found {reply!r}")
        return answer


def _position(stage: str, at: int | str) -> int:
    try:
        return Integer(0, 15).refuse(int(at) if isinstance(at, str) and at.isdecimal() else at)
    except OutOfRangeError as error:
        raise OutOfRangeError(f"stage {stage}: {error}") from error


def _lights(kind: Any, prefix: str, addresses: Mapping[int, int]) -> list[Row]:
    return [
        Row(
            kind=kind,
            name=f"{prefix}{n}",
            ask="LEDS?",
            datatype=Light(address),
            title=f"Whether the light of {prefix.upper()}{n} is on.",
        )
        for n, address in addresses.items()
    ]


def _sensor(kind: Any, name: str, position: int) -> Row:
    return Row(
        kind=kind,
        name=name,
        ask="ADC?",
        datatype=Listed(position, "counts"),
        title=f"P{position + 1} as its ADC has it.",
    )


LIMITS = Fields(
    {name: Integer(0, 999999, "counts") for name in ("p6_low", "p6_high", "p7_low", "p7_high")}
)
GHS_ROWS = (
    Row(
        kind="status",
        name="state",
        ask="STATUS?",
        datatype=Code(GasState),
        title="What it is doing.",
    ),
    *(_sensor("pressure", f"p{n}", n - 1) for n in range(1, N_SENSORS)),
    _sensor("flow", "circulation", N_SENSORS - 1),
    *_lights("valve", "v", VALVES),
    *_lights("valve", "a", AUXILIARIES),
    *_lights("switch", "s", SWITCHES),
    Row(
        kind="pump",
        name="compressor",
        ask="LEDS?",
        datatype=Light(COMPRESSOR),
        title="Whether the light of the mixture's compressor is on.",
    ),
    Row(
        kind="status",
        name="limits",
        ask="SETTINGS?",
        datatype=LIMITS,
        title="Where it stops condensing and recovering.",
        slow=True,
    ),
)
