"""Lake Shore 370: the 372's older brother, sixteen resistance thermometers and one heater.

Confirmed by pages of the printed manual and by two independent public drivers: the serial link,
the queries and commands below (heater and setpoint have no output number), the enumerations.
Literal replies were seen for *IDN?, RDGRNG?, INSET?, FILTER?, SCAN? and RDGK?.

A 370 says nothing of a command that it refuses, and no source shows *ESR? behind a command: what
was refused is seen in the readback. Not confirmed on a device of ours: that, the settling time
before a readback (100 ms, as measured on a 336), the shapes of the replies to CSET?, PID? and
MOUT?. By GPIB it is reached through an adapter that speaks TCP or serial. Curves are not covered.
"""

from __future__ import annotations

import enum

from daq.datatypes import Code, Fields, Flags, Integer, Number, Switch
from drivers.instrument import Channel, Channels, Instrument
from drivers.parameter import Parameter
from drivers.temperature.lakeshore372 import (
    Excitation,
    Fault,
    HeaterRange,
    Slope,
    Temperature,
    Units,
)
from drivers.transport import Line, SerialPort


class ControlMode(enum.IntEnum):
    """How the heater is driven."""

    CLOSED_LOOP = 1
    ZONE = 2
    OPEN_LOOP = 3
    OFF = 4


class HeaterDisplay(enum.IntEnum):
    """What the heater's output is told in."""

    CURRENT = 1
    POWER = 2


class Input(Channel):
    """One scanned sensor."""

    label = "input"

    temperature = Parameter("RDGK? {ch}", Temperature(unit="K"), "Temperature by its curve.")
    resistance = Parameter("RDGR? {ch}", Number(unit="ohm"), "Resistance as measured.")
    faults = Parameter("RDGST? {ch}", Flags(Fault), "Faults standing on this input.")
    scanning = Parameter(
        "INSET? {ch}",
        Fields(
            {
                "enabled": Switch(),
                "dwell": Integer(1, 200, "s"),
                "pause": Integer(3, 200, "s"),
                "curve": Integer(0, 20),
                "slope": Code(Slope),
            }
        ),
        "Whether and how it is scanned.",
        "INSET {ch},{value}",
        slow=True,
    )
    measuring = Parameter(
        "RDGRNG? {ch}",
        Fields(
            {
                "constant": Code(Excitation),
                "excitation": Integer(1, 22),
                "range": Integer(1, 22),
                "autorange": Switch(),
                "off": Switch(),
            }
        ),
        "Excitation and range: 2 uV or 1 pA and 2 mohm at 1, then half decades.",
        "RDGRNG {ch},{value}",
        slow=True,
    )
    filter = Parameter(
        "FILTER? {ch}",
        Fields({"on": Switch(), "settle": Integer(1, 200, "s"), "window": Integer(1, 80, "%")}),
        "Averaging of the readings.",
        "FILTER {ch},{value}",
        slow=True,
    )


class Lakeshore370(Instrument):
    """Sixteen sensors, scanned, and a heater that holds one of them at a setpoint."""

    identity = r"LSCI,MODEL370,"
    line = Line(
        send_end="\r\n",
        reply_end="\r\n",
        quiet_s=0.1,  # 50 ms do for GPIB, serial needs 100
        serial=SerialPort(baud=9600, data_bits=7, parity="odd"),
    )
    settle_s = 0.1

    inputs = Channels(Input, range(1, 17))
    scan = Parameter(
        "SCAN?",
        Fields({"input": Integer(1, 16), "auto": Switch()}),
        "Input that is measured now.",
        "SCAN {value}",
    )
    setpoint = Parameter("SETP?", Number(0, 2, "K"), "Temperature to hold.", "SETP {value}")
    heater_range = Parameter("HTRRNG?", Code(HeaterRange), "Heater range.", "HTRRNG {value}")
    heater_output = Parameter("HTR?", Number(unit="%"), "Output now; W where set to power.")
    manual_output = Parameter(
        "MOUT?", Number(0, 100, "%"), "Output without control.", "MOUT {value}", slow=True
    )
    still_output = Parameter("STILL?", Number(0, 100, "%"), "Still heater.", "STILL {value}")
    control = Parameter(
        "PID?",
        Fields(
            {
                "proportional": Number(0, 1000),
                "integral": Number(0, 10000, "s"),
                "derivative": Number(0, 2500, "s"),
            }
        ),
        "Control loop of the heater.",
        "PID {value}",
        slow=True,
    )
    control_mode = Parameter(
        "CMODE?", Code(ControlMode), "How the heater is driven.", "CMODE {value}", slow=True
    )
    output = Parameter(
        "CSET?",
        Fields(
            {
                "input": Integer(1, 16),
                "filtered": Switch(),
                "units": Code(Units),
                "delay": Integer(1, 255, "s"),
                "display": Code(HeaterDisplay),
                "limit": Code(HeaterRange),
                "resistance": Number(1, 100000, "ohm"),
            }
        ),
        "Which input is controlled, and the heater it is done with.",
        "CSET {value}",
        slow=True,
    )
