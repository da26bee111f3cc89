"""The dtypes of what the core produces; they are the contract, from the core to the file.

Field titles carry meaning and [unit]; the store writes them into the file as attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import cache

import numpy as np


class Cause(IntEnum):
    """Why a record was taken; bit `1 << cause` of a record's `causes`."""

    LEVEL = 1
    EDGE = 2
    MATCHED = 3
    EXTERNAL = 4
    SOFTWARE = 5
    PERIODIC = 6
    RANDOM = 7
    SECONDARY = 8


def mask_of(causes: Iterable[int]) -> int:
    """Causes as the bits of `causes`."""
    return sum({1 << cause for cause in causes})


PULSES = mask_of((Cause.LEVEL, Cause.EDGE, Cause.MATCHED))  # what says that a pulse is there


class Flag(IntEnum):
    """Bits of a record's `flags`."""

    SATURATED = 1  # a sample at the end of the ADC's range
    PILED_UP = 2  # another pulse of this channel inside the record
    SHORTENED = 4  # valid only up to where the next record's pulse begins
    UNLOCKED = 8  # the SQUID was not locked
    HEATER = 16  # within a heater pulse
    TEMPERATURE = 32  # the temperature was out of its band
    SALTED = 64  # a pulse that software added reaches into it
    GUARD = 128  # a hit of the guard lies in it


class HitKind(IntEnum):
    """What the guard finds."""

    JUMP = 1  # the lock slipped by whole flux quanta, which are taken off from there on
    STORM = 2  # so many jumps in a second that they are none any more
    RAIL = 3  # the output was at the end of its range
    FROZEN = 4  # the samples did not change
    NOISE = 5  # the noise was out of its band
    BASELINE = 6  # the baseline was out of its band


def described(fields: Sequence[tuple[str, str, str]]) -> np.dtype[np.void]:
    """A packed structured dtype from (name, format, "meaning [unit]") rows."""
    return np.dtype([((title, name), form) for name, form, title in fields])


def _names(kind: type[IntEnum]) -> str:
    return ", ".join(f"{int(one)} {one.name.lower().replace('_', ' ')}" for one in kind)


@cache
def plain(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """The same fields without titles, as files and buffers hold them."""
    assert dtype.names is not None
    return np.dtype([(name, dtype[name]) for name in dtype.names])


def titles(dtype: np.dtype[np.void]) -> dict[str, str]:
    """Field name -> its "meaning [unit]"."""
    assert dtype.fields is not None
    assert dtype.names is not None
    return {name: str(dtype.fields[name][2]) for name in dtype.names}  # type: ignore[misc]


RECORD = described(
    [
        ("record", "<i8", "number of this record in its channel, from 0, without holes"),
        ("trigger", "<i8", "digitizer sample at which the trigger condition became true"),
        ("start", "<i8", "digitizer sample of the first sample of the record"),
        ("t_ns", "<i8", "UTC of the trigger sample by the clock anchors [ns]"),
        ("cause", "<u1", f"why the record was taken ({_names(Cause)})"),
        ("causes", "<u2", "all causes that fell together here: bit 1 << cause"),
        ("flags", "<u2", f"bits: {_names(Flag)}"),
        ("epoch", "<u2", "settings epoch the record was taken in"),
        ("baseline", "<f4", "mean of the pretrigger [ADC counts]"),
        ("baseline_rms", "<f4", "standard deviation of the pretrigger [ADC counts]"),
        (
            "height",
            "<f4",
            "largest excursion in the trigger's direction from baseline [ADC counts]",
        ),
        ("amplitude", "<f4", "of the optimal filter, not-a-number without one [ADC counts]"),
        ("chi2", "<f4", "of the optimal filter, per degree of freedom; not-a-number where none"),
        ("offset_s", "<f4", "refined time of the pulse after `trigger`; not-a-number: none [s]"),
        ("salt_ev", "<f4", "energy of the salt that triggered it; not-a-number: none did [eV]"),
        ("next_pulse", "<i4", "sample of the record at which the next pulse begins, -1 for none"),
        ("valid", "<u4", "samples from the first that are free of a next record's pulse"),
        ("crc", "<u4", "CRC-32 of the record's samples as little-endian bytes"),
    ]
)

EVENT = described(
    [
        ("event", "<i8", "number of the event in the run, from 0, without holes"),
        ("t_ns", "<i8", "UTC of the earliest record of the event [ns]"),
        ("n_records", "<u2", "records that belong to the event"),
        ("channels", "<u8", "bit i: the run's i-th channel has a record in the event"),
        ("targets", "<u2", "channels with mass that have a pulse in the event: its multiplicity"),
        ("tags", "<u4", "bit i: the run's i-th window fired for a record of the event"),
        ("vetoed", "<u8", "bit i: a record of the run's i-th channel is vetoed"),
        ("vetoed_by", "<u4", "bit i: vetoed by the run's i-th window"),
        ("absent", "<u8", "bit i: the run's i-th digitizer was silent, its veto unknown"),
        ("late", "<u1", "1: its digitizer had been silent and came back after the event's time"),
    ]
)

MEMBER = described(
    [
        ("event", "<i8", "number of the event"),
        ("channel", "<u2", "index into the channel table"),
        ("record", "<i8", "number of the record in that channel"),
        ("tags", "<u4", "bit i: the run's i-th window fired for this record"),
    ]
)

GAP = described(
    [
        ("digitizer", "<u2", "index into the digitizer table"),
        ("start", "<i8", "first digitizer sample lost"),
        ("stop", "<i8", "one past the last digitizer sample lost"),
        ("exact", "<u1", "1 where the hardware counted, 0 where it is an estimate"),
        ("cause", "S16", "what lost the samples"),
    ]
)

ANCHOR = described(
    [
        ("digitizer", "<u2", "index into the digitizer table"),
        ("sample", "<i8", "digitizer sample"),
        ("t_ns", "<i8", "UTC at which it was converted [ns]"),
    ]
)

# The causes in their fixed precedence: a sample with several counts for the first.
DEAD = {
    "gap": "samples lost at the digitizer for any other cause",
    "paused": "samples in a pause",
    "disk_full": "samples lost, or without records, while the disk was full",
    "saturated": "samples within a stretch at the end of the ADC's range",
    "unlocked": "samples while the SQUID was not locked",
    "heater": "samples within a heater pulse",
    "temperature": "samples while the temperature was out of its band",
    "throttled": "samples in which a pulse would be dropped: the rate was too high",
    "edge": "samples too near a start, gap or stop for a whole record",
    "holdoff": "samples around a trigger in which no other could have its own record",
    "vetoed": "samples in which a record would be tagged as vetoed",
    "salted": "samples in which a pulse that software added would reach into a record",
}
DEAD_CAUSES = tuple(DEAD)

LEDGER = described(
    [
        ("channel", "<u2", "index into the channel table"),
        ("start", "<i8", "first digitizer sample of the row"),
        ("stop", "<i8", "one past its last; live + all causes = stop - start"),
        ("live", "<i8", "samples in which the channel's first pulse trigger could fire"),
        *((cause, "<i8", meaning) for cause, meaning in DEAD.items()),
    ]
)

SALT = described(
    [
        ("channel", "<u2", "index into the channel table"),
        ("sample", "<i8", "digitizer sample at which the added pulse begins"),
        ("t_ns", "<i8", "UTC of it by the clock anchors [ns]"),
        ("energy_ev", "<f4", "its energy [eV]"),
        ("height", "<f4", "its height [ADC counts]"),
        ("found", "<u1", "1 where a trigger of the channel found it"),
        ("counts", "<u1", "1 where the channel could trigger: the others say nothing"),
    ]
)

GUARD = described(
    [
        ("channel", "<u2", "index into the channel table"),
        ("kind", "<u1", f"what it is ({_names(HitKind)})"),
        ("start", "<i8", "first digitizer sample of it"),
        ("stop", "<i8", "one past its last; of a jump, of what it costs"),
        ("t_ns", "<i8", "UTC of its start by the clock anchors [ns]"),
        ("quanta", "<i2", "of a jump: whole flux quanta, with their sign; else 0"),
        ("size", "<f4", "jump: as measured [quanta]; noise, baseline: the last value [counts]"),
    ]
)

READING = described(
    [
        ("t_ns", "<i8", "UTC at which the value was taken [ns]"),
        ("instrument", "S32", "name of the instrument in the config"),
        ("parameter", "S64", "parameter, with its channel where it has one"),
        ("value", "<f8", "value in the unit; not-a-number where it is text or an error"),
        ("unit", "S16", "unit of the value"),
        ("source", "S8", "where it comes from: read, shadow or error"),
        ("text", "S96", "the value as text where it is no number; the error's sentence"),
    ]
)

MESSAGE = described(
    [
        ("t_ns", "<i8", "UTC [ns]"),
        (
            "level",
            "S8",
            "info, warning, error, comment (of a person) or label (of the data that follow)",
        ),
        ("text", "S240", "one sentence"),
    ]
)
