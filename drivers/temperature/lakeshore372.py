"""Lake Shore 372: sixteen resistance thermometers, scanned, and the heaters that use them.

Confirmed by the printed manual and by several independent public drivers: terminators, the 50 ms
rule, the queries and commands below, the enumerations and ranges. Literal replies were seen for
*IDN?, KRDG?, SRDG?, HTR?, STILL?, SCAN?, RANGE?, INSET?, INTYPE? and OUTMODE?. That a readback
within 65 to 85 ms of a write is the old value was measured by others on a 336; we wait 100 ms.

Not confirmed on a device of ours: that the error bits of *ESR? are set for every refused command,
the shape of the replies to PID?, MOUT?, FILTER?, RDGPWR? and QRDG?, and the serial link.

By the manufacturer's own Python client alone: the fields of RAMP?, RAMPST?, ZONE?, ALARM?, ALARMST?
and their order. Not confirmed: the limits of a rate, what an alarm's source counts, whether its
last two fields are audible and visible or the other way round (that client does both), and whether
SETP? gives where a ramp is or where it leads. The control input A, the warm-up heater's ramp and
zones, and the curves (CRVHDR, CRVPT) are not covered.
"""

from __future__ import annotations

import enum

from daq.datatypes import Code, Fields, Flags, Integer, Number, Switch, Text
from drivers.instrument import Channel, Channels
from drivers.parameter import NoValueError, Parameter
from drivers.temperature.lakeshore import StatusChecked
from drivers.transport import Line, SerialPort


class Fault(enum.IntFlag):
    """What RDGST? says of an input; one that is not being scanned reports its last state."""

    CURRENT_SOURCE_OVERLOAD = 1
    COMMON_MODE_OVERLOAD = 2
    MIXER_OVERLOAD = 4
    DIFFERENTIAL_OVERLOAD = 8
    RESISTANCE_OVER = 16
    RESISTANCE_UNDER = 32
    TEMPERATURE_OVER = 64
    TEMPERATURE_UNDER = 128


class HeaterRange(enum.IntEnum):
    """Full-scale current of the sample heater."""

    OFF = 0
    UA_31_6 = 1
    UA_100 = 2
    UA_316 = 3
    MA_1 = 4
    MA_3_16 = 5
    MA_10 = 6
    MA_31_6 = 7
    MA_100 = 8


class OutputMode(enum.IntEnum):
    """What an output does."""

    OFF = 0
    MONITOR = 1
    OPEN_LOOP = 2
    ZONE = 3
    STILL = 4
    CLOSED_LOOP = 5
    WARM_UP = 6


class Slope(enum.IntEnum):
    """Sign of a sensor's temperature coefficient."""

    NEGATIVE = 1
    POSITIVE = 2


class Excitation(enum.IntEnum):
    """What is held constant while measuring."""

    VOLTAGE = 0
    CURRENT = 1


class AutoRange(enum.IntEnum):
    """How the resistance range is chosen."""

    OFF = 0
    ON = 1
    ROX102B = 2


class Units(enum.IntEnum):
    """What an input's readings and its setpoint are in."""

    KELVIN = 1
    OHM = 2


class HeaterFault(enum.IntEnum):
    """State of the sample heater's circuit."""

    NONE = 0
    OPEN = 1


class Temperature(Number):
    """Kelvin; the instrument says 0 where it has no curve or the reading is outside of it."""

    def parse(self, text: str) -> float:
        value = Number.parse(self, text)
        if value == 0.0:
            raise NoValueError("the input has no curve, or its resistance is outside of it")
        return value


class Input(Channel):
    """One scanned sensor."""

    label = "input"

    temperature = Parameter("KRDG? {ch}", Temperature(unit="K"), "Temperature by its curve.")
    resistance = Parameter("SRDG? {ch}", Number(unit="ohm"), "Resistance as measured.")
    faults = Parameter("RDGST? {ch}", Flags(Fault), "Faults standing on this input.")
    power = Parameter("RDGPWR? {ch}", Number(unit="W"), "Excitation power.", slow=True)
    quadrature = Parameter("QRDG? {ch}", Number(unit="ohm"), "Imaginary part.", slow=True)
    name = Parameter(
        "INNAME? {ch}", Text(15), "Name on the display.", 'INNAME {ch},"{value}"', slow=True
    )
    scanning = Parameter(
        "INSET? {ch}",
        Fields(
            {
                "enabled": Switch(),
                "dwell": Integer(1, 200, "s"),
                "pause": Integer(3, 200, "s"),
                "curve": Integer(0, 59),
                "slope": Code(Slope),
            }
        ),
        "Whether and how it is scanned.",
        "INSET {ch},{value}",
        slow=True,
    )
    measuring = Parameter(
        "INTYPE? {ch}",
        Fields(
            {
                "constant": Code(Excitation),
                "excitation": Integer(1, 22),
                "autorange": Code(AutoRange),
                "range": Integer(1, 22),
                "shunted": Switch(),
                "units": Code(Units),
            }
        ),
        "Excitation and range: 2 uV or 1 pA and 2 mohm at 1, then half decades.",
        "INTYPE {ch},{value}",
        slow=True,
    )
    alarm = Parameter(
        "ALARM? {ch}",
        Fields(
            {
                "on": Switch(),
                "source": Integer(0, 4),
                "high": Number(0, 1e6),
                "low": Number(0, 1e6),
                "deadband": Number(0, 1e6),
                "latching": Switch(),
                "audible": Switch(),
                "visible": Switch(),
            }
        ),
        "When the input gives an alarm.",
        "ALARM {ch},{value}",
        slow=True,
    )
    alarms = Parameter(
        "ALARMST? {ch}",
        Fields({"high": Switch(), "low": Switch()}),
        "Alarms standing on this input.",
        slow=True,
    )
    filter = Parameter(
        "FILTER? {ch}",
        Fields({"on": Switch(), "settle": Integer(1, 200, "s"), "window": Integer(1, 80, "%")}),
        "Averaging of the readings.",
        "FILTER {ch},{value}",
        slow=True,
    )


ZONE = Fields(
    {
        "up_to": Number(0, 9999, "K"),
        "proportional": Number(0, 1000),
        "integral": Number(0, 10000, "s"),
        "derivative": Number(0, 2500, "s"),
        "manual_output": Number(0, 100, "%"),
        "range": Code(HeaterRange),
        "rate": Number(0, 100, "K/min"),
        "relay_1": Switch(),
        "relay_2": Switch(),
    }
)


class Zone(Channel):
    """What the sample heater does in one range of temperatures, in mode ZONE."""

    label = "zone"

    settings = Parameter(
        "ZONE? 0,{ch}", ZONE, "What holds up to a temperature.", "ZONE 0,{ch},{value}", slow=True
    )


class Lakeshore372(StatusChecked):
    """Sixteen sensors, scanned, and a heater that holds one of them at a setpoint."""

    identity = r"LSCI,MODEL372,"
    line = Line(
        send_end="\n",
        reply_end="\r\n",
        quiet_s=0.05,
        serial=SerialPort(baud=57600, data_bits=7, parity="odd"),
    )
    settle_s = 0.1

    inputs = Channels(Input, range(1, 17))
    zones = Channels(Zone, range(1, 11), chosen=False)
    scan = Parameter(
        "SCAN?",
        Fields({"input": Integer(1, 16), "auto": Switch()}),
        "Input that is measured now.",
        "SCAN {value}",
    )
    setpoint = Parameter("SETP? 0", Number(0, 2, "K"), "Temperature to hold.", "SETP 0,{value}")
    setpoint_ramp = Parameter(
        "RAMP? 0",
        Fields({"on": Switch(), "rate": Number(0, 100, "K/min")}),
        "How fast the setpoint moves to a new one; at 0 and off at once.",
        "RAMP 0,{value}",
        slow=True,
    )
    ramping = Parameter("RAMPST? 0", Switch(), "Whether the setpoint is on its way.")
    heater_range = Parameter("RANGE? 0", Code(HeaterRange), "Heater range.", "RANGE 0,{value}")
    heater_output = Parameter("HTR?", Number(unit="%"), "Output now; W where set to power.")
    heater_fault = Parameter("HTRST? 0", Code(HeaterFault), "State of the heater circuit.")
    manual_output = Parameter(
        "MOUT? 0", Number(0, 100, "%"), "Output without control.", "MOUT 0,{value}", slow=True
    )
    still_output = Parameter("STILL?", Number(0, 100, "%"), "Still heater.", "STILL {value}")
    control = Parameter(
        "PID? 0",
        Fields(
            {
                "proportional": Number(0, 1000),
                "integral": Number(0, 10000, "s"),
                "derivative": Number(0, 2500, "s"),
            }
        ),
        "Control loop of the sample heater.",
        "PID 0,{value}",
        slow=True,
    )
    output = Parameter(
        "OUTMODE? 0",
        Fields(
            {
                "mode": Code(OutputMode),
                "input": Integer(0, 16),
                "on_at_power_up": Switch(),
                "bipolar": Switch(),
                "filtered": Switch(),
                "delay": Integer(1, 255, "s"),
            }
        ),
        "What the sample heater does, and by which input.",
        "OUTMODE 0,{value}",
        slow=True,
    )
