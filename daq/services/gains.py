"""The gains of a run: followed by its heater pulses, and those that are in force.

What is followed is a function of the records and of the rungs that run control says; what is in
force entered by the door, and is what energies are corrected by, live and from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from daq.model.batch import Batch, Rows
from daq.model.channel import Channel
from daq.model.record import Cause, Flag
from daq.readout.drift import Drift, Gain

SPOILED = Flag.SATURATED | Flag.PILED_UP | Flag.SHORTENED | Flag.SALTED | Flag.GUARD | Flag.UNLOCKED
# of a control pulse: its flat top looks like a second pulse, and a sensor that is normal sees none
SPOILED_FLAT = SPOILED & ~(Flag.PILED_UP | Flag.SHORTENED)
TOLD_S = 10.0  # gains enter no more often
NEWS = 0.1  # of its uncertainty: a smaller change of a gain is none
UNKNOWN = 0.0  # volts: of pulses while the generator was being told
KEPT = 16  # control pulses that are told of


class Rung(msgspec.Struct, frozen=True, array_like=True):
    """From a UTC on heater pulses have so many volts; a `control` pulse saturates the sensor."""

    t_ns: int
    volts: float
    control: bool


class Gains(msgspec.Struct):
    """All channels of a run. `wander_per_rth` of 0: nothing is followed."""

    wander_per_rth: float = 0.0
    rungs: list[Rung] = []
    drifts: dict[str, Drift] = {}
    controls: dict[str, Drift] = {}  # by the control pulse, which tells of the working point
    newest: dict[str, list[tuple[float, float]]] = {}  # control pulses: UTC [s], relative height
    in_force: dict[str, float] = {}
    told_s: float = 0.0  # of the pulse after which gains entered

    def rung(self, t_ns: int, volts: float, *, control: bool) -> None:
        """From a time on heater pulses have another height."""
        self.rungs = [*self.rungs[-63:], Rung(t_ns, volts, control)]

    def take(self, batch: Batch, channels: Sequence[Channel]) -> None:
        """Follow the heater pulses among records."""
        for records in batch.records if self.wander_per_rth and self.rungs else ():
            name, table = channels[records.channel].name, records.table
            for row in table[_external(table)]:
                self._take(name, row)

    def news(self) -> dict[str, Gain]:
        """Gains that are worth entering now; {} nearly always."""
        newest_s = max((d.at_s or 0.0 for d in self.drifts.values()), default=0.0)
        if newest_s < self.told_s + TOLD_S:
            return {}
        gains = {name: d.gain for name, d in self.drifts.items() if d.at_s is not None}
        far = [
            abs(gain.value - self.in_force.get(name, 1.0)) > NEWS * gain.sigma
            for name, gain in gains.items()
        ]
        return gains if any(far) else {}

    def enter(self, gains: Mapping[str, Sequence[float]]) -> None:
        """These are in force from now on."""
        self.in_force = {**self.in_force, **{name: one[0] for name, one in gains.items()}}
        self.told_s = max((d.at_s or 0.0 for d in self.drifts.values()), default=0.0)

    # Any: a part of the core's state, as its module says
    def told(self, channel: str) -> dict[str, Any] | None:
        """How a channel stands; None where no pulse was believed yet."""
        drift = self.drifts.get(channel)
        if drift is None or drift.at_s is None:
            return None
        value, sigma = drift.gain
        control = self.controls.get(channel)
        return {
            "value": value,
            "sigma": sigma,
            "in_force": self.in_force.get(channel, 1.0),
            "control": None if control is None else control.gain.value,
            "pulses": self.newest.get(channel, []),
        }

    def _take(self, name: str, row: np.void) -> None:
        t_ns = int(row["t_ns"])
        rung = next((one for one in reversed(self.rungs) if one.t_ns <= t_ns), None)
        if rung is None or rung.volts == UNKNOWN:
            return
        if row["flags"] & int(SPOILED_FLAT if rung.control else SPOILED):
            return
        if rung.control:
            self._control(name, t_ns / 1e9, rung.volts, float(row["height"]))
            return
        height = row["amplitude"] if np.isfinite(row["amplitude"]) else row["height"]
        drift = self.drifts.setdefault(name, Drift(self.wander_per_rth))
        drift.take(t_ns / 1e9, rung.volts, float(height))

    def _control(self, name: str, t_s: float, volts: float, height: float) -> None:
        """A pulse that saturates has not the filter's shape: its height alone is how far it went.

        One that the drift does not believe yet is told of, too: a median of some will.
        """
        drift = self.controls.setdefault(name, Drift(self.wander_per_rth))
        drift.take(t_s, volts, height)
        reference = drift.rungs[volts].reference if volts in drift.rungs else 0.0
        if reference and height > 0:
            newest = self.newest.get(name, [])[1 - KEPT :]
            self.newest[name] = [*newest, (t_s, height / reference)]


def heater_rows(table: Rows) -> Rows:
    """Which records are of a heater's pulse alone, by the line that says so."""
    chosen: Rows = _external(table) & (table["flags"] & int(SPOILED) == 0)
    return chosen


def _external(table: Rows) -> npt.NDArray[np.bool_]:
    chosen: npt.NDArray[np.bool_] = table["causes"] & (1 << Cause.EXTERNAL) > 0
    return chosen


def divided(table: Rows, gain: Any) -> Rows:
    """RECORD rows with the heights they would have had at the reference; Any: one or for each."""
    corrected = table.copy()
    for quantity in ("height", "amplitude"):
        corrected[quantity] = table[quantity] / gain
    return corrected
