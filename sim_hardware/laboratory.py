"""The wires of a bench: what its instruments give to its readout chains, and when that changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil
from zlib import crc32

import numpy as np

from sim_hardware.face import Face
from sim_hardware.faces.keysight33500b import Keysight33500B
from sim_hardware.faces.magnicon_xxf1 import MagniconXxf1
from sim_hardware.faces.starcryo import StarCryo
from sim_hardware.scenario import FluxJump, Schedule, UnlockStorm
from sim_hardware.settings import Bench, BenchError
from sim_hardware.wiring import Plug
from sim_hardware.world.bath import Bath
from sim_hardware.world.chain import Chain, Recipe
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.detectors import MAINS_A, PULSE_TUBE_A, VOLTS_PER_COUNT
from sim_hardware.world.drive import Lines, Tracks
from sim_hardware.world.noise import Pool
from sim_hardware.world.particles import Hit, Truth
from sim_hardware.world.pfl import FluxLockedLoops
from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.pulser import HeaterPulses, Sync
from sim_hardware.world.readout_settings import ReadoutSettings
from sim_hardware.world.squid import SquidElectronics
from sim_hardware.world.squid_loop import NO_OVERLOADS, Overloads
from sim_hardware.world.squid_loop import FluxJump as Slip
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BATH_K, TesParameters, heater_for, operating_point
from sim_hardware.world.timeline import ALONE, CRYOSTAT, Timeline, Track
from sim_hardware.world.waves import Wave
from sim_hardware.world.working_point import WorkingPoint, lines_pool

TUNED_SHARE = 0.35  # of the normal resistance, where the heater holds a tuned sensor
STORM_QUANTA = (-2, -1, 1, 2)
MARGIN_S = 1.0  # that chains remember beyond their digitizer's memory


@dataclass(frozen=True, slots=True)
class Tuned:
    """The working point that a sensor has been prepared for."""

    tes: TesParameters
    squid: SquidParameters
    bias_a: float
    heater_w: float


class Laboratory:
    """The instruments that drive chains, the tracks of what they give, and the chains."""

    def __init__(self, bench: Bench, timeline: Timeline, cryostat: Cryostat) -> None:
        """Every wired instrument is set as `initial` says; raises BenchError."""
        self._bench, self._timeline, self.cryostat = bench, timeline, cryostat
        cryostat.report_to(lambda at_s, what, value: timeline.note(CRYOSTAT, at_s, what, value))
        self.bath = Bath(cryostat.look)
        self._plate_k = bench.cryostat.plate_setpoint_k or BATH_K
        self._electronics: dict[str, SquidElectronics | FluxLockedLoops] = {}
        self._readouts: dict[Plug, Track[ReadoutSettings]] = {}
        self._waves: dict[Plug, Track[Wave]] = {}
        self._chains: dict[Plug, Chain] = {}
        self._tuned = {c: self._prepared(c) for c in bench.channels if bench.kind(c) == "target"}
        self._generators: dict[str, Keysight33500B] = {}
        for name, instrument in bench.instruments.items():
            self._plug_in(name, instrument.model)
        self._points = cache(self._working_point)

    def face(self, name: str) -> Face | None:
        """The face of an instrument that drives chains; None where it is none."""
        electronics = self._electronics.get(name)
        if isinstance(electronics, SquidElectronics):
            return MagniconXxf1(electronics)
        if isinstance(electronics, FluxLockedLoops):
            return StarCryo(electronics)
        return self._generators.get(name)

    def chains(self, digitizer: str, clock: SampleClock, truth: Truth) -> dict[str, Chain]:
        """The chains of a digitizer, ready for work; takes a second."""
        of = self._bench.digitizers[digitizer]
        remembered = round((self._bench.memory_s(digitizer) + MARGIN_S) * of.sample_rate_hz)
        flat_out = self._bench.pace == "flat-out"
        mains, shaken = (
            lines_pool(lines, of.sample_rate_hz, self._rng(f"{name} on {digitizer}"))
            for name, lines in (("mains", MAINS_A), ("pulse tube", PULSE_TUBE_A))
        )
        made = {
            channel: Chain(
                self._recipe(channel, working := self._points(tuned, of.sample_rate_hz), mains),
                working,
                (mains, shaken),
                self._tracks(channel),
                self.bath,
                clock,
                partial(_hits_of, truth, channel),
                self._slips(channel, clock),
                None if flat_out else remembered,
                partial(self._note_alone, channel, clock),
            )
            for channel, tuned in self._tuned.items()
            if channel in of.channels
        }
        squids = self._bench.wiring.squids
        self._chains |= {squids[c]: chain for c, chain in made.items() if c in squids}
        return made

    @property
    def sources(self) -> list[str]:
        """Who gives something, by the names in the command log."""
        return [str(plug) for plug in (*self._readouts, *self._waves)]

    @property
    def readouts(self) -> list[Track[ReadoutSettings]]:
        """What electronics give to those that they read."""
        return list(self._readouts.values())

    @property
    def waves(self) -> list[Track[Wave]]:
        """What generators give."""
        return list(self._waves.values())

    def heater_pulses(self) -> HeaterPulses | None:
        """The truth of the pulses that the generator sends to heaters."""
        heater = self._bench.wiring.heater
        if heater is None:
            return None
        return HeaterPulses(self._waves[heater], self._lines(0.0, 0.0), tuple(self._tuned))

    def syncs(self, channels: Sequence[str]) -> dict[str, Sync]:
        """The levels at those of the channels that show a generator's sync."""
        wired = self._bench.wiring.sync
        return {c: Sync(self._waves[wired[c]]) for c in channels if c in wired}

    # --- instruments

    def _plug_in(self, name: str, model: str) -> None:
        if model == MagniconXxf1.model:
            self._magnicon(name)
        elif model == StarCryo.model:
            self._star_cryo(name)
        elif model == Keysight33500B.model:
            self._generator(name)

    def _magnicon(self, name: str) -> None:
        electronics = SquidElectronics(
            lambda channel: self._read_again(Plug(name, channel)),
            lambda channel: self._overloads(Plug(name, channel)),
        )
        for channel, plug in self._wired(name):
            if self._bench.initial == "tuned":
                self._tune(electronics, plug.channel, self._tuned[channel])
            self._readouts[plug] = Track(str(plug), electronics.settings(plug.channel))
        self._electronics[name] = electronics

    def _tune(self, electronics: SquidElectronics, channel: str, tuned: Tuned) -> None:
        squid = tuned.squid
        put = partial(
            electronics.put,
            channel,
            tes_bias_a=tuned.bias_a,
            squid_bias_a=squid.reference_bias_a,
            flux_a=0.0,
            feedback_ohm=squid.reference_feedback_ohm,
            locked=True,
        )
        put(offset_v=0.0)
        put(offset_v=squid.middle_v(electronics.bias_current_a(channel)))

    def _star_cryo(self, name: str) -> None:
        loops = FluxLockedLoops(lambda address: self._read_again(Plug(name, str(int(address)))))
        for channel, plug in self._wired(name):
            address = f"{int(plug.channel):02X}"
            if self._bench.initial == "tuned":
                loops.tune(address, self._tuned[channel].squid.reference_bias_a)
            self._readouts[plug] = Track(str(plug), loops.settings(address))
        self._electronics[name] = loops

    def _generator(self, name: str) -> None:
        generator = Keysight33500B(lambda: self._look_again(name))
        for channel in ("1", "2"):
            plug = Plug(name, channel)
            self._waves[plug] = Track(str(plug), generator.wave(channel))
        self._generators[name] = generator

    def _wired(self, name: str) -> list[tuple[str, Plug]]:
        """The channels that this electronics reads, and where."""
        squids = self._bench.wiring.squids
        return [(channel, plug) for channel, plug in squids.items() if plug.instrument == name]

    def _read_again(self, plug: Plug) -> None:
        """An electronics was told something about a channel."""
        track = self._readouts.get(plug)
        if track is None:
            return
        electronics = self._electronics[plug.instrument]
        if isinstance(electronics, SquidElectronics):
            settings = electronics.settings(plug.channel)
        else:
            settings = electronics.settings(f"{int(plug.channel):02X}")
        self._timeline.enter(track, lambda *_: settings)

    def _overloads(self, plug: Plug) -> Overloads:
        """What an electronics counts of a channel, as far as samples were converted."""
        chain = self._chains.get(plug)
        return NO_OVERLOADS if chain is None else chain.overloads

    def _look_again(self, name: str) -> None:
        """A generator was told something."""
        for plug, track in self._waves.items():
            if plug.instrument == name:
                self._timeline.enter(track, self._generators[name].wave(plug.channel).stamped)

    # --- chains

    def _prepared(self, channel: str) -> Tuned:
        """The working point that the heater holds."""
        settings = self._bench.sensor(channel)
        tes = settings.tes
        spread = 1 + self._bench.spread * self._rng(f"spread of {channel}").standard_normal()
        tes = replace(tes, collection=min(1.0, max(0.0, tes.collection * float(spread))))
        bias_a = settings.bias_a
        plug = self._bench.wiring.squids.get(channel)
        if plug and self._bench.instruments[plug.instrument].model == MagniconXxf1.model:
            bias_a = SquidElectronics.nearest_aux_a(bias_a)
        heater_w = settings.heater_w
        if heater_w is None:
            r_ohm = TUNED_SHARE * tes.r_normal_ohm
            heater_w = heater_for(tes, r_ohm=r_ohm, bias_a=bias_a, bath_k=self._plate_k)
        if heater_w < 0:
            raise BenchError(
                f"tes.{channel}: expected a bias that leaves something to the heater, found "
                f"{bias_a:g} A, which alone warms the sensor beyond its working point"
            )
        return Tuned(tes, settings.squid, bias_a, heater_w)

    def _working_point(self, tuned: Tuned, rate_hz: float) -> WorkingPoint:
        op = operating_point(
            tuned.tes, bias_a=tuned.bias_a, bath_k=self._plate_k, heater_w=tuned.heater_w
        )
        rng = self._rng(f"noise of {tuned} at {rate_hz}")
        try:
            return WorkingPoint(tuned.tes, tuned.squid, op, rate_hz, rng)
        except UnphysicalError as error:
            raise BenchError(f"tes: {error}") from error

    def _recipe(self, channel: str, working: WorkingPoint, lines: Pool) -> Recipe:
        tuned, rng = self._tuned[channel], self._rng(f"channel {channel}")
        a, b, c = (int(rng.integers(len(pool))) for pool in (*working.noise, lines))
        plug = self._bench.wiring.squids.get(channel)
        biased = plug and isinstance(self._electronics[plug.instrument], SquidElectronics)
        return Recipe(
            name=channel,
            seed=self._bench.seed,
            tes=tuned.tes,
            squid=tuned.squid,
            lines=self._lines(0.0 if biased or plug is None else tuned.bias_a, tuned.heater_w),
            volts_per_count=VOLTS_PER_COUNT,
            places=(a, b, c),
        )

    def _lines(self, battery_a: float, heater_w: float) -> Lines:
        wiring = self._bench.wiring
        return Lines(
            bias_ohm=wiring.bias_ohm,
            flux_ohm=wiring.flux_ohm,
            heater_ohm=wiring.heater_ohm,
            heater_share=10 ** (-wiring.heater_attenuation_db / 20),
            battery_a=battery_a,
            heater_w=heater_w,
        )

    def _tracks(self, channel: str) -> Tracks:
        wiring = self._bench.wiring
        plug = wiring.squids.get(channel)
        readout = Track(channel, self._unwired(channel)) if plug is None else self._readouts[plug]
        off = Track("", Wave())
        outputs = {name: self._waves[output] for name, output in wiring.outputs.items()}
        return Tracks(
            readout=readout,
            bias=outputs.get("bias", off),
            heater=outputs.get("heater", off),
            flux=outputs.get("flux", off),
        )

    def _unwired(self, channel: str) -> ReadoutSettings:
        """What a chain has that nobody can tell anything."""
        tuned = self._tuned[channel]
        return ReadoutSettings(
            tes_bias_a=tuned.bias_a,
            squid_bias_a=tuned.squid.reference_bias_a,
            offset_v=None,
            feedback_ohm=tuned.squid.reference_feedback_ohm,
            gain=tuned.squid.open_gain,
            locked=True,
        )

    def _slips(self, channel: str, clock: SampleClock) -> list[Slip]:
        """When the script lets a lock slip."""
        schedule = Schedule(self._bench.scenario)
        jumps = [(jump.at_s, jump.n_phi0) for jump in schedule.of(FluxJump, channel)]
        for storm in schedule.of(UnlockStorm, channel):
            rng = self._rng(f"storm on {channel} at {storm.at_s}")
            times = rng.uniform(storm.at_s, storm.stop_s, rng.poisson(storm.rate_hz * storm.for_s))
            jumps += [(t_s, int(rng.choice(STORM_QUANTA))) for t_s in times.tolist()]
        # an error of one quantum less is an output of one quantum more
        return [Slip(ceil(clock.position(at_s)), quanta=-n) for at_s, n in sorted(jumps)]

    def _note_alone(self, channel: str, clock: SampleClock, start: int, stop: int) -> None:
        self._timeline.note(channel, clock.time_s(stop), ALONE, start)

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._bench.seed, crc32(purpose.encode())])


def _hits_of(truth: Truth, channel: str, start_s: float, stop_s: float) -> list[Hit]:
    return [hit for hit in truth.truth(start_s, stop_s) if hit.channel == channel]
