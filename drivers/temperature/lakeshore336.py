"""Lake Shore 336 and 350: four inputs A to D, and two heaters that hold them at setpoints.

In a config the inputs A to D are channels 1 to 4, and the outputs 1 and 2 are channels 11 and 12.

Confirmed by the vendor's own Python package, another public driver and the manuals: terminators,
the 50 ms rule, `;*ESR?`, KRDG?, SRDG?, HTR?, RANGE, HTRSET, HTRST?, INCRV, INTYPE, FILTER, SETP,
the identities, the bits of RDGST?, and that a readback within 65 to 85 ms of a write is the old
value; we wait 100 ms.

From memory, to be checked with the manual: PID, MOUT, OUTMODE and INNAME, and that a 350 has the
same HTRSET as a 336. Not covered: the analog outputs 3 and 4, the extra inputs of a 350's option
cards, curves. Nothing was confirmed on a device of ours.
"""

from __future__ import annotations

import enum

from daq.datatypes import Code, Fields, Flags, Integer, Number, Switch, Text
from drivers.instrument import Channel, Channels
from drivers.parameter import Parameter
from drivers.temperature.lakeshore import StatusChecked
from drivers.temperature.lakeshore372 import Temperature
from drivers.transport import Line, SerialPort

FIRST_OUTPUT = 11  # channel of output 1


class Fault(enum.IntFlag):
    """What RDGST? says of an input."""

    INVALID = 1
    TEMPERATURE_UNDER = 16
    TEMPERATURE_OVER = 32
    SENSOR_ZERO = 64
    SENSOR_OVER = 128


class Sensor(enum.IntEnum):
    """What is connected to an input."""

    NONE = 0
    DIODE = 1
    PLATINUM = 2
    NTC = 3
    THERMOCOUPLE = 4
    CAPACITANCE = 5


class Units(enum.IntEnum):
    """What an input's readings and its setpoint are in."""

    KELVIN = 1
    CELSIUS = 2
    SENSOR = 3


class HeaterResistance(enum.IntEnum):
    """The heater that is connected."""

    OHM_25 = 1
    OHM_50 = 2


class CurrentLimit(enum.IntEnum):
    """Largest current of the highest range."""

    USER = 0
    A_0_707 = 1
    A_1 = 2
    A_1_141 = 3
    A_2 = 4


class HeaterDisplay(enum.IntEnum):
    """What the output is told in."""

    CURRENT = 1
    POWER = 2


class HeaterFault(enum.IntEnum):
    """State of a heater's circuit; reading it clears it."""

    NONE = 0
    OPEN = 1
    SHORT = 2


class OutputMode(enum.IntEnum):
    """What an output does."""

    OFF = 0
    CLOSED_LOOP = 1
    ZONE = 2
    OPEN_LOOP = 3
    MONITOR = 4
    WARM_UP = 5


class HeaterRange336(enum.IntEnum):
    """Ranges of a 336: each is ten times the power of the one before."""

    OFF = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class HeaterRange350(enum.IntEnum):
    """Ranges of a 350: each is ten times the power of the one before."""

    OFF = 0
    RANGE_1 = 1
    RANGE_2 = 2
    RANGE_3 = 3
    RANGE_4 = 4
    RANGE_5 = 5


class Input(Channel):
    """One sensor, which messages call by its letter."""

    label = "input"

    temperature = Parameter("KRDG? {ch:c}", Temperature(unit="K"), "Temperature by its curve.")
    sensor = Parameter("SRDG? {ch:c}", Number(), "Reading in the sensor's own unit.")
    faults = Parameter("RDGST? {ch:c}", Flags(Fault), "Faults standing on this input.")
    name = Parameter(
        "INNAME? {ch:c}", Text(15), "Name on the display.", 'INNAME {ch:c},"{value}"', slow=True
    )
    curve = Parameter(
        "INCRV? {ch:c}", Integer(0, 59), "Its curve; 0 is none.", "INCRV {ch:c},{value}", slow=True
    )
    measuring = Parameter(
        "INTYPE? {ch:c}",
        Fields(
            {
                "sensor": Code(Sensor),
                "autorange": Switch(),
                "range": Integer(0, 8),
                "compensated": Switch(),
                "units": Code(Units),
            }
        ),
        "Sensor and range.",
        "INTYPE {ch:c},{value}",
        slow=True,
    )
    filter = Parameter(
        "FILTER? {ch:c}",
        Fields({"on": Switch(), "points": Integer(2, 64), "window": Integer(1, 10, "%")}),
        "Averaging of the readings.",
        "FILTER {ch:c},{value}",
        slow=True,
    )

    @property
    def prefix(self) -> str:
        return f"{self.label} {self.number:c}."

    @property
    def number(self) -> int:
        """The code of its letter."""
        return ord("A") + self._number - 1


class Output(Channel):
    """One heater and its control loop."""

    label = "output"

    setpoint = Parameter(
        "SETP? {ch}", Number(0, 1000, "K"), "Temperature to hold.", "SETP {ch},{value}"
    )
    heater_output = Parameter("HTR? {ch}", Number(unit="%"), "Output now.")
    heater_fault = Parameter("HTRST? {ch}", Code(HeaterFault), "State of the heater circuit.")
    manual_output = Parameter(
        "MOUT? {ch}", Number(0, 100, "%"), "Output without control.", "MOUT {ch},{value}", slow=True
    )
    control = Parameter(
        "PID? {ch}",
        Fields(
            {
                "proportional": Number(0.1, 1000),
                "integral": Number(0, 1000),
                "derivative": Number(0, 200, "%"),
            }
        ),
        "Control loop.",
        "PID {ch},{value}",
        slow=True,
    )
    mode = Parameter(
        "OUTMODE? {ch}",
        Fields(
            {"mode": Code(OutputMode), "input": Integer(0, 8), "on_at_power_up": Switch()},
        ),
        "What it does, and by which input: 1 is A.",
        "OUTMODE {ch},{value}",
        slow=True,
    )
    heater = Parameter(
        "HTRSET? {ch}",
        Fields(
            {
                "resistance": Code(HeaterResistance),
                "limit": Code(CurrentLimit),
                "user_limit": Number(0, 2, "A"),
                "display": Code(HeaterDisplay),
            }
        ),
        "The heater that is connected, and how much it bears.",
        "HTRSET {ch},{value}",
        slow=True,
    )

    @property
    def prefix(self) -> str:
        return f"{self.label} {self.number}."

    @property
    def number(self) -> int:
        """As it is printed on the back."""
        return self._number - FIRST_OUTPUT + 1


class Output336(Output):
    """A heater of a 336."""

    range = Parameter("RANGE? {ch}", Code(HeaterRange336), "Heater range.", "RANGE {ch},{value}")


class Output350(Output):
    """A heater of a 350."""

    range = Parameter("RANGE? {ch}", Code(HeaterRange350), "Heater range.", "RANGE {ch},{value}")


LINE = Line(
    send_end="\n",
    reply_end="\r\n",
    quiet_s=0.05,
    serial=SerialPort(baud=57600, data_bits=7, parity="odd"),
)
INPUTS, OUTPUTS = range(1, 5), (FIRST_OUTPUT, FIRST_OUTPUT + 1)


class Lakeshore336(StatusChecked):
    """Four sensors, measured all the time, and two heaters."""

    identity = r"LSCI,MODEL336,"
    line = LINE
    settle_s = 0.1

    inputs = Channels(Input, INPUTS)
    outputs = Channels(Output336, OUTPUTS)


class Lakeshore350(StatusChecked):
    """The same for lower temperatures, with more heater ranges."""

    identity = r"LSCI,MODEL350,"
    line = LINE
    settle_s = 0.1

    inputs = Channels(Input, INPUTS)
    outputs = Channels(Output350, OUTPUTS)
