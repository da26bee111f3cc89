"""Records: cut from the samples, described, and told of the pulses beside their own."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from daq.acquire import kernels
from daq.acquire.intervals import Intervals
from daq.acquire.kernels import F32, I16
from daq.acquire.piles import Shot
from daq.acquire.salts import Salter
from daq.acquire.secondpulse import second_pulses
from daq.acquire.tape import Tape
from daq.model.batch import RecordBatch
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


class _Row(NamedTuple):
    """A row of `RECORD`, in its order."""

    record: int
    trigger: int
    start: int
    t_ns: int
    cause: int
    causes: int
    flags: int
    epoch: int
    baseline: float
    baseline_rms: float
    height: float
    amplitude: float
    chi2: float
    offset_s: float
    salt_ev: float
    next_pulse: int
    valid: int
    crc: int


assert _Row._fields == RECORD.names


class Cutter:
    """Makes the records of one channel."""

    def __init__(
        self, index: int, channel: Channel, dead: Mapping[str, Intervals], salter: Salter
    ) -> None:
        self._index, self._channel, self._dead = index, channel, dead
        self._salter = salter
        self._rising = channel.direction in ("rising", "both")
        self._falling = channel.direction in ("falling", "both")

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
        described = np.empty((len(shots), 4), np.float32)
        kernels.describe(samples, c.pretrigger, self._rising, self._falling, described)
        seconds = self._seconds(shots, samples, described[:, 3])
        crcs = [zlib.crc32(row.data) for row in samples]
        numbers = range(first, first + len(shots))
        rows = [
            self._row(number, shot, beside, epoch, crc, shape, second)
            for number, (shot, _, beside), epoch, crc, shape, second in zip(
                numbers, shots, epochs, crcs, described.tolist(), seconds, strict=True
            )
        ]
        return RecordBatch(self._index, np.array(rows, plain(RECORD)), samples)

    def _seconds(
        self, shots: Sequence[tuple[Shot, Tape, Beside]], samples: I16, signs: F32
    ) -> list[int]:
        """Where a second pulse begins in each record by its shape, -1 for none."""
        c, seconds = self._channel, np.full(len(shots), -1, np.int64)
        if c.second_pulse_sigma:
            own = np.array([bool(shot.causes & PULSES) for shot, _, _ in shots])
            span, sigma = c.second_pulse_span, c.second_pulse_sigma
            found = signs.astype(np.int64)
            second_pulses(samples, c.pretrigger, span, sigma, found, own, seconds)
        told: list[int] = seconds.tolist()
        return told

    def _row(
        self,
        number: int,
        shot: Shot,
        beside: Beside,
        epoch: int,
        crc: int,
        shape: Sequence[float],
        second: int,
    ) -> _Row:
        """One row of the table; its UTC is for whoever has the clock."""
        c, flags = self._channel, self._flags(shot)
        nexts = [at for at in (beside.next_pulse, second) if at >= 0]
        if beside.piled_up or second >= 0:
            flags |= Flag.PILED_UP
        shortened = c.pile_up == "shorten" and bool(nexts)
        baseline, baseline_rms, height, _ = shape
        return _Row(
            record=number,
            trigger=shot.sample * c.decimation,
            start=(shot.sample - c.pretrigger) * c.decimation,
            t_ns=0,
            cause=shot.cause,
            causes=shot.causes,
            flags=flags | Flag.SHORTENED if shortened else flags,
            epoch=epoch,
            baseline=baseline,
            baseline_rms=baseline_rms,
            height=height,
            amplitude=shot.amplitude,
            chi2=shot.chi2,
            offset_s=shot.offset_s,
            salt_ev=self._salt_ev(shot),
            next_pulse=min(nexts, default=-1),
            valid=min(nexts) if shortened else c.record_length,
            crc=crc,
        )

    def _salt_ev(self, shot: Shot) -> float:
        if not self._salter.active or not shot.causes & PULSES:
            return math.nan
        salt = self._salter.of(shot.sample)
        return math.nan if salt is None else salt.energy_ev

    def _flags(self, shot: Shot) -> int:
        c, flags = self._channel, 0
        start = (shot.sample - c.pretrigger) * c.decimation
        if self._dead["saturated"].within(start, start + c.record_length * c.decimation):
            flags |= Flag.SATURATED
        if self._dead["guard"].within(start, start + c.record_length * c.decimation):
            flags |= Flag.GUARD
        first = shot.sample - c.pretrigger
        if self._salter.active and self._salter.beside(first, first + c.record_length):
            flags |= Flag.SALTED
        for cause, flag in FLAG_OF.items():
            if self._dead[cause].holds(shot.sample * c.decimation):
                flags |= flag
        return flags
