"""Picowatt AVS-47B resistance bridge, through its interface AVS47-IB.

Confirmed by three public code bases of laboratories: CRLF, that replies repeat the header of the
question, INP, MUX, RAN, EXC, REM, and how a resistance is measured (tell AVE n, wait
0.4 s * n + 0.2 s, ask AVE?), with literal identities. The commands DIS, REF, ARN, OVR?, MIN?, MAX?
and STD? were seen listed.

Inferred: that a space stands between the header and the value, that AVE?, MIN?, MAX? and STD? are
in ohm, that each setting is asked by its header and a question mark, and that what is converted
is what the panel shows: while that is not the resistance, there is none. The laboratories wait
5 to 15 s after a change of sensor, input, range or excitation; here there is no resistance for
10 s. Not confirmed on a device of ours, nor is the time before a readback (0.2 s).

The bridge obeys only in remote mode (`remote`; a write that it ignored is seen in the value that
comes back). One averaging takes its time, so poll it no faster. Whoever switched the heads of its
replies off (HDR 0) has to switch them on again. GPIB is reached through an adapter that speaks
TCP or serial.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Sequence

from daq.datatypes import Code, Integer, Number, Switch
from daq.errors import ReplyError
from drivers.instrument import Instrument
from drivers.parameter import NoValueError, Parameter
from drivers.transport import Line, SerialPort

CONVERSIONS = 1  # averaged in one reading
CONVERSION_S, EXTRA_S = 0.4, 0.2
SETTLING = ("MUX", "INP", "RAN", "EXC")  # after these the bridge has to balance anew
SETTLING_S = 10.0


class Input(enum.IntEnum):
    """What the bridge measures."""

    GROUNDED = 0
    MEASURE = 1
    CALIBRATE = 2


class Range(enum.IntEnum):
    """Full scale of the resistance."""

    NONE = 0
    OHM_2 = 1
    OHM_20 = 2
    OHM_200 = 3
    KOHM_2 = 4
    KOHM_20 = 5
    KOHM_200 = 6
    MOHM_2 = 7


class Excitation(enum.IntEnum):
    """Voltage across the sensor."""

    NONE = 0
    UV_3 = 1
    UV_10 = 2
    UV_30 = 3
    UV_100 = 4
    UV_300 = 5
    MV_1 = 6
    MV_3 = 7


class Display(enum.IntEnum):
    """What the panel shows, which is what is converted."""

    RESISTANCE = 0
    DEVIATION = 1
    ADJUSTMENT = 2
    REFERENCE = 3
    EXCITATION = 4


class Avs47b(Instrument):
    """Eight sensors, of which the multiplexer chooses one."""

    identity = r"PICOWATT,AVS47-IB,"
    line = Line(
        send_end="\r\n",
        reply_end="\r\n",
        timeout_s=2.0,
        serial=SerialPort(baud=9600, data_bits=8, parity="none"),
    )
    settle_s = 0.2

    resistance = Parameter("AVE?", Number(unit="ohm"), "Resistance of the chosen sensor.")
    over_range = Parameter("OVR?", Switch(), "Whether the resistance exceeds the range.")
    sensor = Parameter("MUX?", Integer(0, 7), "Sensor that is measured.", "MUX {value}")
    range = Parameter("RAN?", Code(Range), "Resistance range.", "RAN {value}")
    excitation = Parameter("EXC?", Code(Excitation), "Excitation voltage.", "EXC {value}")
    input = Parameter("INP?", Code(Input), "What is measured.", "INP {value}")
    remote = Parameter("REM?", Switch(), "Whether the bridge obeys us.", "REM {value}", slow=True)
    autorange = Parameter(
        "ARN?",
        Integer(0, 30, "s"),
        "Time between range changes; 0 is off.",
        "ARN {value}",
        slow=True,
    )
    display = Parameter("DIS?", Code(Display), "What the panel shows.", "DIS {value}", slow=True)
    reference = Parameter(
        "REF?", Integer(0, 20000), "Reference of the deviation.", "REF {value}", slow=True
    )
    smallest = Parameter("MIN?", Number(unit="ohm"), "Smallest of the last average.", slow=True)
    largest = Parameter("MAX?", Number(unit="ohm"), "Largest of the last average.", slow=True)
    spread = Parameter("STD?", Number(unit="ohm"), "Deviation of the last average.", slow=True)

    def __init__(
        self,
        resource: str,
        *,
        channels: Sequence[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(resource, channels=channels, clock=clock, sleep=sleep)
        self._clock, self._settled_at = clock, clock()

    def _question(self, text: str) -> str:
        if text == "AVE?":
            self._average()
        return self._answer(text)

    def _command(self, text: str) -> None:
        super()._command(text)
        if text.startswith(SETTLING):
            self._settled_at = self._clock() + SETTLING_S

    def _average(self) -> None:
        """Have a resistance measured; NoValueError where it would be something else."""
        shown = Code(Display).parse(self._answer("DIS?"))
        if shown is not Display.RESISTANCE:
            raise NoValueError(f"expected the panel to show RESISTANCE, found {shown.name}")
        remaining_s = self._settled_at - self._clock()
        if remaining_s > 0:
            raise NoValueError(f"the bridge settles for another {remaining_s:.1f} s")
        self.link.tell(f"AVE {CONVERSIONS}")
        self.pause(CONVERSIONS * CONVERSION_S + EXTRA_S)

    def _answer(self, text: str) -> str:
        head = text.removesuffix("?")
        reply = self.link.ask(text)
        if not reply.startswith(head):
            raise ReplyError(f"expected a reply that begins with {head!r}, found {reply!r}")
        return reply.removeprefix(head).strip()
