"""What drives one readout chain at a moment: the electronics, and the generator's waves."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from sim_hardware.world.clock import SampleClock
from sim_hardware.world.readout_settings import ReadoutSettings
from sim_hardware.world.squid_loop import LoopSettings
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.timeline import Track
from sim_hardware.world.waves import OFF, Floats, Wave

SHORT_S = 0.25e-3  # a heater pulse up to this is one deposit, a longer one is a power
ROUNDING = 1e-3  # of a sample, by which a stamp may miss the sample it was made at


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What the generator's volts become at a chain, and what no instrument changes."""

    bias_ohm: float = 1e6
    flux_ohm: float = 100e3
    heater_ohm: float = 10e3
    heater_share: float = 1e-4  # of the generator's volts
    battery_a: float = 0.0  # a TES bias besides the electronics'
    heater_w: float = 0.0  # on the sensor's heater, always

    def heat_w(self, volts: Floats | float) -> Floats:
        """What the heater gets from the generator."""
        return np.asarray((np.asarray(volts) * self.heater_share) ** 2 / self.heater_ohm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """Everything that drives a chain, from one change to the next."""

    readout: ReadoutSettings
    bias: Wave = OFF
    heater: Wave = OFF
    flux: Wave = OFF

    @property
    def steady(self) -> bool:
        """Whether nothing but short heater pulses changes with time."""
        return not (self.bias.moves or self.flux.moves or self.heats)

    @property
    def heats(self) -> bool:
        """Whether the heater's wave is a power that changes, not short pulses."""
        return self.heater.moves and not self.pulses

    @property
    def pulses(self) -> bool:
        """Whether the heater's wave is short pulses."""
        short = self.heater.function == "PULS" and self.heater.width_s <= SHORT_S
        return self.heater.moves and short

    def bias_a(self, lines: Lines, t_s: Floats) -> Floats:
        """The TES bias at times."""
        steady_a = self.readout.tes_bias_a + lines.battery_a
        return steady_a + self.bias.volts(t_s) / lines.bias_ohm

    def heater_w(self, lines: Lines, t_s: Floats) -> Floats:
        """The heater's power at times, without short pulses."""
        volts = self.heater.volts(t_s)
        if self.pulses:
            volts = np.full(t_s.shape, self.heater.levels_v[0])
        return lines.heater_w + lines.heat_w(volts)

    def flux_a(self, lines: Lines, t_s: Floats) -> Floats:
        """What the generator puts into the SQUID's flux line at times, besides `loop`'s."""
        return self.flux.volts(t_s) / lines.flux_ohm if self.flux.moves else np.zeros(t_s.shape)

    def loop(self, p: SquidParameters, lines: Lines) -> LoopSettings:
        """The loop's settings, with the steady currents in the flux line."""
        readout = self.readout
        rest_v = 0.0 if self.flux.moves else self.flux.levels_v[0]
        flux_a = readout.flux_a + rest_v / lines.flux_ohm
        middle = readout.offset_v is None
        connected = readout.feedback_ohm > 0  # without a resistor nothing closes the loop
        return LoopSettings(
            locked=readout.locked and connected,
            held=readout.held,
            squid_bias_a=readout.squid_bias_a,
            lock_v=p.middle_v(readout.squid_bias_a) if middle else readout.offset_v or 0.0,
            feedback_ohm=readout.feedback_ohm if connected else p.reference_feedback_ohm,
            flux_offset_phi0=flux_a / p.feedback_a_per_phi0,
            reset_v=readout.reset_v,
            overload_v=readout.overload_v,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Where a chain's drive comes from; the waves of outputs that are not wired are off."""

    readout: Track[ReadoutSettings]
    bias: Track[Wave]
    heater: Track[Wave]
    flux: Track[Wave]

    def times_s(self) -> list[float]:
        """The moments at which something changes, also where nobody commands it."""
        tracks = (self.readout, self.bias, self.heater, self.flux)
        changes = [entry.t_s for track in tracks for entry in track.entries]
        return changes + [entry.value.warm_until_s for entry in self.readout.entries]

    def at(self, t_s: float) -> Drive:
        """The drive at a time."""
        readout = self.readout.at(t_s)
        if t_s < readout.warm_until_s:
            readout = replace(readout, squid_bias_a=0.0)  # without V-phi it is as if not biased
        return Drive(
            readout=readout,
            bias=self.bias.at(t_s),
            heater=self.heater.at(t_s),
            flux=self.flux.at(t_s),
        )


class Drives:
    """The drives of a chain by the sample from which each applies."""

    def __init__(self, tracks: Tracks, clock: SampleClock) -> None:
        self._tracks, self._clock = tracks, clock
        self._seen, self._starts, self._drives = -1, [0], [tracks.at(0.0)]

    def refresh(self) -> None:
        """Take in what was told since."""
        times = self._tracks.times_s()
        if len(times) == self._seen:
            return
        self._seen = len(times)
        by_sample = {self._sample(t_s): t_s for t_s in sorted(times)}
        self._starts = list(by_sample)
        self._drives = [self._tracks.at(t_s) for t_s in by_sample.values()]

    def at(self, sample: int) -> tuple[Drive, int]:
        """The drive at a sample, and the sample at which the next one begins."""
        number = bisect_right(self._starts, sample)
        following = self._starts[number] if number < len(self._starts) else 2**63 - 1
        return self._drives[number - 1], following

    def _sample(self, t_s: float) -> int:
        return max(0, ceil(self._clock.position(t_s) - ROUNDING))
