"""Records: cut from the samples, described, and told of the pulses beside their own."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from daq.acquire import kernels
from daq.acquire.intervals import Intervals
from daq.acquire.kernels import F32, I16, I64
from daq.acquire.piles import Shot
from daq.acquire.salts import Salter
from daq.acquire.secondpulse import second_pulses
from daq.acquire.tape import Tape
from daq.model.batch import RecordBatch, Rows
from daq.model.channel import Channel
from daq.model.record import PULSES, RECORD, Flag, plain

FLAG_OF = {
    "unlocked": Flag.UNLOCKED,
    "heater": Flag.HEATER,
    "temperature": Flag.TEMPERATURE,
}


class Beside(msgspec.Struct, frozen=True):
    """What lies beside a shot's own pulse in its record."""

    piled_up: bool
    next_pulse: int  # index in the record, -1 for none


class Cutter:
    """Makes the records of one channel."""

    def __init__(
        self, index: int, channel: Channel, dead: Mapping[str, Intervals], salter: Salter
    ) -> None:
        self._index, self._channel, self._dead = index, channel, dead
        self._salter = salter

    def beside(self, shot: Shot, crossings: Sequence[tuple[int, int]]) -> Beside:
        """The other pulses that the channel's triggers found in the record of a shot.

        Of what follows within the merge window of its first trigger, the first crossing of each
        trigger is its own pulse.
        """
        c = self._channel
        start = shot.sample - c.pretrigger
        stop, leader = start + c.record_length, shot.members[0][0]
        own = set(shot.members)
        seen = {entry for _, entry in shot.members}
        others = []
        for sample, entry in crossings:
            if not start <= sample < stop or (sample, entry) in own:
                continue
            if leader <= sample < leader + c.merge_window and entry not in seen:
                seen.add(entry)
                continue
            others.append(sample)
        after = [sample - start for sample in others if sample > shot.sample]
        return Beside(bool(others), min(after, default=-1))

    def cut(
        self, shots: Sequence[tuple[Shot, Tape, Beside]], first: int, epochs: Sequence[int]
    ) -> RecordBatch:
        """The records of shots whose samples are on tapes; `first` is the number of the first."""
        c = self._channel
        samples = np.empty((len(shots), c.record_length), np.int16)
        for row, (shot, tape, _) in zip(samples, shots, strict=True):
            start = shot.sample - c.pretrigger
            row[:] = tape.read(start, start + c.record_length)
        table = np.zeros(len(shots), plain(RECORD))
        at = np.array([shot.sample for shot, _, _ in shots])
        table["record"] = first + np.arange(len(shots))
        table["trigger"] = at * c.decimation
        table["start"] = (at - c.pretrigger) * c.decimation
        table["epoch"] = epochs
        for name in ("cause", "causes", "amplitude", "chi2", "offset_s"):
            table[name] = [getattr(shot, name) for shot, _, _ in shots]
        table["crc"] = [zlib.crc32(row.tobytes()) for row in samples]
        signs = self._describe(samples, table)
        self._say_what_is_beside(shots, samples, table, signs)
        return RecordBatch(self._index, table, samples)

    def _describe(self, samples: I16, table: Rows) -> I64:
        """Fill in baseline and height; which way each record's pulse goes."""
        found = {sign: self._described(samples, sign) for sign in self._signs()}
        first = next(iter(found.values()))
        table["baseline"], table["baseline_rms"] = first[:, 0], first[:, 1]
        heights = np.stack([described[:, 2] for described in found.values()])
        which = heights.argmax(axis=0)
        table["height"] = heights[which, np.arange(len(samples))]
        signs: I64 = np.array(list(found), np.int64)[which]
        return signs

    def _signs(self) -> tuple[int, ...]:
        return {"rising": (1,), "falling": (-1,), "both": (1, -1)}[self._channel.direction]

    def _described(self, samples: I16, sign: int) -> F32:
        described = np.empty((len(samples), 3), np.float32)
        kernels.describe(samples, self._channel.pretrigger, sign < 0, described)
        return described

    def _say_what_is_beside(
        self, shots: Sequence[tuple[Shot, Tape, Beside]], samples: I16, table: Rows, signs: I64
    ) -> None:
        c = self._channel
        seconds = np.full(len(shots), -1, np.int64)
        if c.second_pulse_sigma:
            own = np.array([bool(shot.causes & PULSES) for shot, _, _ in shots])
            span, sigma = c.second_pulse_span, c.second_pulse_sigma
            second_pulses(samples, c.pretrigger, span, sigma, signs, own, seconds)
        for row, (shot, _, beside), second in zip(table, shots, seconds.tolist(), strict=True):
            nexts = [at for at in (beside.next_pulse, second) if at >= 0]
            row["next_pulse"] = min(nexts, default=-1)
            row["valid"] = c.record_length
            row["salt_ev"] = self._salt_ev(shot)
            flags = self._flags(shot)
            if beside.piled_up or second >= 0:
                flags |= Flag.PILED_UP
            if c.pile_up == "shorten" and nexts:
                flags |= Flag.SHORTENED
                row["valid"] = min(nexts)
            row["flags"] = flags

    def _salt_ev(self, shot: Shot) -> float:
        salt = self._salter.of(shot.sample) if shot.causes & PULSES else None
        return math.nan if salt is None else salt.energy_ev

    def _flags(self, shot: Shot) -> int:
        c, flags = self._channel, 0
        start = (shot.sample - c.pretrigger) * c.decimation
        if self._dead["saturated"].within(start, start + c.record_length * c.decimation):
            flags |= Flag.SATURATED
        if self._dead["guard"].within(start, start + c.record_length * c.decimation):
            flags |= Flag.GUARD
        first = shot.sample - c.pretrigger
        if self._salter.beside(first, first + c.record_length):
            flags |= Flag.SALTED
        for cause, flag in FLAG_OF.items():
            if self._dead[cause].holds(shot.sample * c.decimation):
                flags |= flag
        return flags
