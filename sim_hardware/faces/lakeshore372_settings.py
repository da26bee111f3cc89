"""What can be set on a Lake Shore 372: the fields of each command, and how they are given back."""

from __future__ import annotations

from sim_hardware.faces.lakeshore import (
    SWITCH,
    Label,
    OneOf,
    Real,
    Setting,
    Whole,
    fixed,
    gain,
    moving,
    plain,
)
from sim_hardware.faces.lakeshore_bridge import INPUTS, input_settings

ALL_INPUTS = ("A", *INPUTS)
OUTPUTS = ("0", "1", "2")
LOOPS = ("0", "1")  # outputs with a control loop
ZONES = tuple(f"{output},{zone}" for output in LOOPS for zone in range(1, 11))
CURVES = tuple(str(n) for n in range(21, 60))  # of the user
RATE = Real(0, 100, fixed(8, 3))  # K/min
GAINS = (Real(0, 1000, gain), Real(0, 10_000, gain), Real(0, 2500, gain))

SETTINGS = input_settings(ALL_INPUTS, curves=59) | {
    "EMUL": Setting((SWITCH,), "0"),
    "STILL": Setting((Real(0, 100, fixed(6, 2)),), "+00.00"),
    "INNAME": Setting((Label(15),), "", ALL_INPUTS),
    "INTYPE": Setting(
        (SWITCH, Whole(1, 22, 2), Whole(0, 2), Whole(1, 22, 2), SWITCH, Whole(1, 2)),
        "0,07,1,10,0,1",
        ALL_INPUTS,
    ),
    "TLIMIT": Setting((Real(0, 9999, fixed(5, 0)),), "+0000", ALL_INPUTS),
    "FREQ": Setting((Whole(1, 5),), "2", ("0", "A")),
    "OUTMODE": Setting(
        (Whole(0, 6), OneOf(("0", *ALL_INPUTS)), SWITCH, SWITCH, SWITCH, Whole(1, 255, 3)),
        "0,0,1,0,0,001",
        OUTPUTS,
    ),
    "RANGE": Setting((Whole(0, 8),), "0", OUTPUTS),
    "SETP": Setting((Real(0, 1e6, moving),), moving(0.0), OUTPUTS),
    "PID": Setting(GAINS, "+0010.0,+0020.0,+0000.0", OUTPUTS),
    "MOUT": Setting((Real(0, 100, moving),), moving(0.0), OUTPUTS),
    "RAMP": Setting((SWITCH, RATE), "0,+000.000", LOOPS),
    "ZONE": Setting(
        (
            Real(0, 9999, moving),
            *GAINS,
            Real(0, 100, moving),
            Whole(0, 8),
            RATE,
            SWITCH,
            SWITCH,
        ),
        f"{moving(0.0)},+0010.0,+0020.0,+0000.0,{moving(0.0)},0,+000.000,0,0",
        ZONES,
    ),
    "ALARM": Setting(
        (
            SWITCH,
            Whole(0, 4),
            Real(0, 1e6, plain),
            Real(0, 1e6, plain),
            Real(0, 1e6, plain),
            SWITCH,
            SWITCH,
            SWITCH,
        ),
        "0,0,0,0,0,0,0,0",
        ALL_INPUTS,
        every="0",
    ),
    "CRVHDR": Setting(
        (Label(15), Label(10), OneOf(("3", "4", "7")), Real(0, 9999, fixed(8, 3)), Whole(1, 2)),
        "User Curve,,4,+325.000,1",
        CURVES,
    ),
    "HTRSET": Setting(
        (Real(1, 2000, fixed(8, 3)), Whole(0, 8), Real(0, 10, fixed(8, 2)), Whole(1, 2)),
        "+120.000,8,+0000.00,1",
        ("0",),
    ),
}

# what a laboratory has set: four thermometers, the sample heater on the mixing chamber
PRESET = {("INNAME", n): f"Channel {n:0>2}" for n in ALL_INPUTS} | {
    ("INSET", "1"): "1,007,003,21,1",
    ("INSET", "2"): "1,007,003,22,1",
    ("INSET", "5"): "1,007,003,23,1",
    ("INSET", "6"): "1,007,003,24,1",
    ("INTYPE", "A"): "1,04,0,15,0,2",
    ("INTYPE", "5"): "0,03,1,15,0,1",
    ("INTYPE", "6"): "0,03,1,15,0,1",
    ("OUTMODE", "0"): "5,6,1,0,0,001",
    ("OUTMODE", "2"): "4,16,1,0,0,001",
}
