"""One readout chain: a sensor on its crystal, its SQUID, and the samples that these give.

Two ways lead to samples. Near its working point, steadily driven and locked, a chain *streams*:
baseline, templates and noise from pools. For SETTLE_S after any change, while a wave drives it,
while it is unlocked or elsewhere, its equations are *integrated* (of a sensor that no current
flows through, only those of its circuit). Which way is used for which
sample, and every sample, follows from the seed and from the bench's timeline alone: states are
kept at cell boundaries, so that any stretch can be had again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import asin, exp, inf, pi, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from sim_hardware.source import ForgottenError, Samples
from sim_hardware.world.bath import Bath
from sim_hardware.world.clock import SampleClock
from sim_hardware.world.drive import Drive, Drives, Lines, Tracks
from sim_hardware.world.noise import Pool
from sim_hardware.world.normals import key, normal
from sim_hardware.world.particles import Hit
from sim_hardware.world.squid_loop import (
    NO_OVERLOADS,
    FluxJump,
    LoopSettings,
    LoopState,
    Overloads,
    flux_noise,
    follow,
)
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.template_bank import LONGEST_S
from sim_hardware.world.tes import OperatingPoint, TesParameters, operating_point
from sim_hardware.world.tes_kernel import Deposit, TesState, advance
from sim_hardware.world.tes_linear import BOLTZMANN_J_PER_K
from sim_hardware.world.working_point import BATH_STEP_K, Near, WorkingPoint

CELL_S = 0.09  # the way is chosen once per cell; shorter than a point of the bath's grid
SETTLE_S = 0.4  # 14 times the crystal's time constant
PATIENCE_S = 600.0  # that a chain streams for without anybody seeing it
LEAD_S = 0.2  # integrated before it takes over from streaming, so that pulses go on
RENDERED = 4  # cells whose pulses are made at once
KEPT = 10  # cells between states that are kept while integrating
NEAR_LOCK_PHI0 = 0.05
SURE_LOCK = 0.9  # of the depth of V-phi: beyond, a lock is lost by noise
NEAR_T_K = 60e-6  # of the electrons: noise and pulses' tails, less than another branch
MARGIN_S = 1e-3  # more than floats may be off
SWING_V = 1.0  # more than pulses and noise move a locked output

_MOMENT = np.zeros(1)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a chain is made of."""

    name: str
    seed: int
    tes: TesParameters
    squid: SquidParameters
    lines: Lines
    volts_per_count: float
    places: tuple[int, int, int]  # where in the noise pools, and in that of the lines, sample 0 is


@dataclass(frozen=True, slots=True)
class State:
    """Where a chain stands at a sample.

    Integrating since `since`, it has `tes` and `loop`; streaming since then, the loop is
    `error_phi0` off the flux. `n_jumps` of the scripted jumps are behind it.
    """

    sample: int
    drive: Drive
    since: int
    n_jumps: int = 0
    tes: TesState | None = None
    loop: LoopState | None = None
    error_phi0: float = 0.0
    counted: Overloads = NO_OVERLOADS  # until it began to stream

    @property
    def streams(self) -> bool:
        """Whether it streams."""
        return self.tes is None

    @property
    def overloads(self) -> Overloads:
        """Those of its output since sample 0."""
        return self.loop.overloads if self.loop else self.counted


class Ramp(NamedTuple):
    """What streams over a cell: straight lines in the sample's place in it."""

    base: float
    base_step: float
    gain: float
    gain_step: float
    mains_gain: float
    shaken_gain: float


class Chain:
    """The samples of one channel, by their numbers."""

    def __init__(
        self,
        recipe: Recipe,
        working: WorkingPoint,
        lines: tuple[Pool, Pool],
        tracks: Tracks,
        bath: Bath,
        clock: SampleClock,
        truth: Callable[[float, float], Sequence[Hit]],
        jumps: Sequence[FluxJump] = (),
        remembered: int | None = None,
        report: Callable[[int, int], None] = lambda *_: None,
    ) -> None:
        """`truth` gives the hits of this channel; `remembered` samples can be asked for again.

        `lines` are what is picked up from the mains, and from pulse tubes that shake, in A.
        `report` is told of every stretch that the chain is left alone for.
        """
        self.recipe, self._working, self._line_pools = recipe, working, lines
        self._drives, self._bath, self._clock = Drives(tracks, clock), bath, clock
        self._truth = truth
        self._jumps = sorted(jumps, key=lambda jump: jump.sample)
        self._remembered, self._report = remembered, report
        self._alone: dict[int, set[int]] = {}
        self._left: dict[int, State] = {}  # the state it was left in, by where it is found
        self._cell = max(1, round(CELL_S * clock.rate_hz))
        self._settle, self._lead, self._patience = (
            round(s * clock.rate_hz) for s in (SETTLE_S, LEAD_S, PATIENCE_S)
        )
        self._dt_s = 1 / clock.rate_hz
        self._noise_key = key(recipe.seed, recipe.name, "sensor")
        self._rest = lru_cache(256)(self._rest_at)
        # what is checked whenever it is made is made once per drive
        self._loop: Callable[[Drive], LoopSettings] = lru_cache(64)(
            lambda drive: drive.loop(recipe.squid, recipe.lines)
        )
        self._squid: Callable[[float], SquidParameters] = lru_cache(8)(
            lambda gain: replace(recipe.squid, open_gain=gain)
        )
        self._rendered: tuple[object, npt.NDArray[np.float32]] = (None, np.empty(0, np.float32))
        self._ramped: tuple[object, Ramp] = (None, Ramp(0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
        self._state = self._begun()
        self._kept, self._reached = [self._state], 0
        self.overloads = NO_OVERLOADS  # until the farthest sample that was asked for

    def fill(self, row: Samples, start: int, hits: Sequence[Hit]) -> None:
        """Put the samples from `start` on into a row; `hits` are those of the channel from
        LONGEST_S before on."""
        self._drives.refresh()
        stop = start + len(row)
        state = self._state if self._state.sample == start else self._state_before(start)
        state = self._brought(state, start)
        while state.sample < stop:
            state = self._changed(self._after_gap(state, stop))
            end = self._end(state, stop)
            state = self._continued(state, end, row[state.sample - start : end - start], hits)
        self._state = state
        if stop >= self._reached:
            self._reached, self.overloads = stop, state.overloads

    def leave_alone(self, start: int, stop: int) -> None:
        """Nobody asks for the samples [start, stop): at `stop` the chain is found at rest."""
        self._alone.setdefault(start, set()).add(stop)

    # --- where it stands

    def _brought(self, state: State, start: int) -> State:
        """The state at a sample, as if everything before it had been asked for."""
        unseen = 0 if state.streams else self._remembered or 0
        while state.sample < start:
            state = self._after_gap(state, start)
            if self._gives_up(state, start, unseen):
                state = self._left_alone(state, start)
            state = self._changed(state)
            end = self._end(state, start)
            if not state.streams:
                unseen += end - state.sample
            hits = [] if state.streams else self._hits(state.sample, end)
            state = self._continued(state, end, None, hits)
        return state

    def _after_gap(self, state: State, limit: int) -> State:
        """The state after a stretch that nobody asks for, where one begins or ends here."""
        stops = self._alone.get(state.sample, ())
        if stops:
            state = self._changed(state)  # a state that was kept here has seen what begins here
            self._keep(state)
            self._left |= dict.fromkeys(stops, state)
        last = max((stop for stop in stops if stop <= limit), default=state.sample)
        if last in self._left:
            state = self._at_rest(self._left[last], last)
            self._keep(state)
        return state

    def _gives_up(self, state: State, start: int, unseen: int) -> bool:
        """Whether it is too much work to go on to a sample, after so many integrated samples.

        Nobody can ask for what lies between: it is more than is remembered.
        """
        if self._remembered is None:
            return False
        far = start - state.sample
        tired = not state.streams and unseen >= self._remembered
        return far > max(self._patience if not tired else 0, self._remembered + self._settle)

    def _left_alone(self, state: State, start: int) -> State:
        """At rest shortly before a sample."""
        stop = (start - self._settle) // self._cell * self._cell
        self.leave_alone(state.sample, stop)
        self._report(state.sample, stop)
        oldest = self._kept[0].sample
        self._left = {at: left for at, left in self._left.items() if at >= oldest}
        self._alone = {at: stops for at, stops in self._alone.items() if at >= oldest}
        return self._after_gap(state, start)

    def _begun(self) -> State:
        """At sample 0: at rest under what is set then, locked where the loop is closed."""
        drive, _ = self._drives.at(0)
        bath_k = self._bath.at_k(0.0)
        op = operating_point(
            self.recipe.tes,
            bias_a=self._steady_bias_a(drive),
            heater_w=self._steady_heater_w(drive),
            bath_k=bath_k,
        )
        settings = self._loop(drive)
        loop = LoopState.without_feedback(self.recipe.squid, settings, op.current_a)
        tes = TesState.at(op)
        loop = replace(loop, error_phi0=self._nearest(drive, loop))
        begun = State(0, drive, 0, tes=tes, loop=loop)
        return self._streaming(begun) or begun

    def _state_before(self, start: int) -> State:
        """The last kept state up to a sample."""
        number = bisect_right(self._kept, start, key=lambda state: state.sample) - 1
        if number < 0:
            oldest = self._kept[0].sample
            raise ForgottenError(
                f"{self.recipe.name}: expected samples from {oldest} on, which are remembered, "
                f"found {start}"
            )
        state = self._kept[number]
        known = min(start, self._reached)
        whole = known - known % self._cell
        if state.streams and whole > state.sample:
            return replace(state, sample=whole)  # nothing happened in between, or it were kept
        return state

    def _keep(self, state: State) -> None:
        if state.sample <= self._kept[-1].sample:
            return
        self._kept.append(state)
        if self._remembered is not None:
            oldest = state.sample - self._remembered
            needed = bisect_right(self._kept, oldest, key=lambda each: each.sample) - 1
            del self._kept[: max(0, needed)]

    def _end(self, state: State, stop: int) -> int:
        """How far one piece goes: to the end of the cell, to the next change or jump, to `stop`."""
        _, following = self._drives.at(state.sample)
        cell_end = state.sample - state.sample % self._cell + self._cell
        if state.n_jumps < len(self._jumps):
            jump = self._jumps[state.n_jumps].sample
            following = min(following, jump if jump > state.sample else following)
        return min(stop, following, cell_end)

    def _at_rest(self, state: State, sample: int) -> State:
        """How a chain that was in a state is found at a sample, unseen in between."""
        drive, _ = self._drives.at(sample)
        op = operating_point(
            self.recipe.tes,
            bias_a=self._steady_bias_a(drive),
            heater_w=self._steady_heater_w(drive),
            bath_k=self._bath.at_k(self._clock.time_s(sample)),
            from_k=state.tes.t_e_k if state.tes else self._working.op.t_e_k,
        )
        flux = self._flux_phi0(drive, op.current_a)
        n_jumps = bisect_right(self._jumps, sample - 1, key=lambda jump: jump.sample)
        error = flux
        if drive.readout.n_locks == state.drive.readout.n_locks:
            before = state.loop.error_phi0 if state.loop else state.error_phi0
            error = before + sum(jump.quanta for jump in self._jumps[state.n_jumps : n_jumps])
        loop = LoopState(sample=sample, flux_phi0=flux, error_phi0=error, overloads=state.overloads)
        return State(sample, drive, sample, n_jumps, tes=TesState.at(op, sample), loop=loop)

    # --- from one way to the other

    def _changed(self, state: State) -> State:
        """The state with what begins at its sample: another drive, a jump, the other way."""
        drive, _ = self._drives.at(state.sample)
        if drive != state.drive:
            state = self._driven(state, drive)
            self._keep(state)
        state = self._jumped(state)
        if state.sample % self._cell:
            return state
        if state.streams:
            near, bath_k = self._near(drive, state.sample)
            if not near.holds(bath_k) or self._beyond(state, near.at(bath_k)[0]):
                state = replace(self._integrating(state), since=state.sample)
                self._keep(state)
            return state
        settled = state.sample - state.since >= self._settle
        streaming = self._streaming(state) if settled else None
        if streaming or state.sample % (KEPT * self._cell) == 0:
            self._keep(streaming or state)
        return streaming or state

    def _driven(self, state: State, drive: Drive) -> State:
        """Under another drive from now on; a loop that is closed anew begins from nothing."""
        before = state.drive
        state = self._integrating(state)
        assert state.tes is not None
        assert state.loop is not None
        loop = state.loop
        if drive.readout.n_locks != before.readout.n_locks:
            flux = self._flux_phi0(drive, state.tes.current_a) + loop.trapped_phi0
            loop = replace(loop, flux_phi0=flux, error_phi0=flux)
        return replace(state, drive=drive, loop=loop, since=state.sample)

    def _integrating(self, state: State) -> State:
        """The state of the equations at the end of a stretch that was streamed."""
        if not state.streams:
            return state
        recipe, drive = self.recipe, state.drive
        start = max(state.since, state.sample - self._lead, 0)
        near, bath_k = self._near(drive, start)
        op = operating_point(
            recipe.tes,
            bias_a=self._steady_bias_a(drive),
            heater_w=self._steady_heater_w(drive),
            bath_k=bath_k,
            from_k=near.at(bath_k)[1] if len(near.bath_k) else self._working.op.t_e_k,
        )
        tes = TesState.at(op, start)
        hits = self._hits(start, state.sample)
        while tes.sample < state.sample:
            cell_end = tes.sample - tes.sample % self._cell + self._cell
            _, tes = self._currents(tes, drive, min(cell_end, state.sample), hits)
        loop = LoopState(
            sample=state.sample,
            flux_phi0=self._flux_phi0(drive, tes.current_a),
            error_phi0=state.error_phi0,
            overloads=state.counted,
        )
        return replace(state, tes=tes, loop=loop)

    def _streaming(self, state: State) -> State | None:
        """The state as it streams from now on; None where it cannot."""
        assert state.tes is not None
        assert state.loop is not None
        drive = state.drive
        if not drive.steady or not self._locked(drive):
            return None
        near, bath_k = self._near(drive, state.sample)
        if not near.holds(bath_k) or abs(state.tes.t_e_k - near.at(bath_k)[1]) > NEAR_T_K:
            return None
        error = self._nearest(drive, state.loop)
        if abs(error - state.loop.error_phi0) > NEAR_LOCK_PHI0:
            return None
        error -= state.loop.trapped_phi0
        found = State(
            *(state.sample, drive, state.sample, state.n_jumps),
            error_phi0=error,
            counted=state.overloads,
        )
        return None if self._beyond(found, near.at(bath_k)[0]) else found

    def _beyond(self, state: State, current_a: float) -> bool:
        """Whether the output of a streaming state may come to where overloads are counted."""
        settings = self._loop(state.drive)
        limit_v = min(settings.overload_v, settings.reset_v)
        if limit_v == inf:
            return False
        flux = self._flux_phi0(state.drive, current_a) - state.error_phi0
        rest_v = self.recipe.squid.volts_per_phi0(settings.feedback_ohm) * flux
        return abs(rest_v) + SWING_V > limit_v

    def _jumped(self, state: State) -> State:
        """A streaming loop whose lock slips at this very sample."""
        if not state.streams or state.n_jumps >= len(self._jumps):
            return state
        jump = self._jumps[state.n_jumps]
        if jump.sample > state.sample:
            return state
        error = state.error_phi0 + jump.quanta
        near, bath_k = self._near(state.drive, state.sample)
        jumped = replace(state, error_phi0=error, n_jumps=state.n_jumps + 1)
        if self._beyond(jumped, near.at(bath_k)[0]):  # the loop jumps, and counts
            state = replace(self._integrating(state), since=state.sample)
        else:
            state = jumped
        self._keep(state)
        return self._jumped(state)

    def _flux_phi0(self, drive: Drive, current_a: float) -> float:
        """What a current and the flux line give the SQUID."""
        settings, squid = self._loop(drive), self.recipe.squid
        return squid.polarity * current_a / squid.input_a_per_phi0 + settings.flux_offset_phi0

    def _locked(self, drive: Drive) -> bool:
        """Whether the loop holds the flux for sure."""
        settings = self._loop(drive)
        point = self._lock_point(drive)
        return settings.locked and not settings.held and point is not None

    def _lock_point(self, drive: Drive) -> float | None:
        """Where in V-phi, in phi0 from its middle, the loop settles; None where it does not."""
        settings = self._loop(drive)
        squid = self.recipe.squid
        half_v = squid.depth_v(settings.squid_bias_a) / 2
        off_v = settings.lock_v - squid.middle_v(settings.squid_bias_a)
        return asin(off_v / half_v) / (2 * pi) if abs(off_v) < SURE_LOCK * half_v else None

    def _nearest(self, drive: Drive, loop: LoopState) -> float:
        """The error of the lock nearest to where the loop is."""
        point = self._lock_point(drive) or 0.0
        return point + round(loop.error_phi0 - point)

    # --- samples

    def _continued(self, state: State, end: int, out: Samples | None, hits: Sequence[Hit]) -> State:
        """The state at `end`, and what lies before it in counts; within one cell."""
        if state.streams:
            if out is not None:
                self._stream(state, out)
            return replace(state, sample=end)
        return self._integrate(state, end, out, hits)

    def _integrate(self, state: State, end: int, out: Samples | None, hits: Sequence[Hit]) -> State:
        assert state.tes is not None
        assert state.loop is not None
        recipe, drive = self.recipe, state.drive
        if self._rests(state):
            current_a, tes = self._resting(state.tes, drive, end)
        else:
            current_a, tes = self._currents(state.tes, drive, end, hits)
        samples = np.arange(state.sample, end)
        to_input = recipe.squid.input_a_per_phi0 / recipe.squid.feedback_a_per_phi0
        wave_a = drive.flux_a(recipe.lines, self._times_s(state.sample, end))
        current_a += (
            self._lines_a(samples, state.sample) + recipe.squid.polarity * to_input * wave_a
        )
        n_jumps = bisect_right(self._jumps, end - 1, key=lambda jump: jump.sample)
        volts, loop = follow(
            self._squid(drive.readout.gain),
            self._loop(drive),
            state.loop,
            current_a,
            dt_s=self._dt_s,
            flux_noise_phi0=flux_noise(
                recipe.squid,
                seed=recipe.seed,
                channel=recipe.name,
                start=state.sample,
                n=end - state.sample,
                dt_s=self._dt_s,
            ),
            jumps=self._jumps[state.n_jumps : n_jumps],
        )
        if out is not None:
            volts += self._offset_v(state.sample)
            _digitize(out, volts, 1 / recipe.volts_per_count)
        return replace(state, sample=end, tes=tes, loop=loop, n_jumps=n_jumps)

    def _currents(
        self, tes: TesState, drive: Drive, end: int, hits: Sequence[Hit]
    ) -> tuple[Floats, TesState]:
        """The sensor's current from its state's sample to `end`, within one cell."""
        start, recipe = tes.sample, self.recipe
        t_s = self._times_s(start, end)
        return advance(
            recipe.tes,
            tes,
            dt_s=self._dt_s,
            bias_a=drive.bias_a(recipe.lines, t_s),
            heater_w=drive.heater_w(recipe.lines, t_s),
            bath_k=self._baths_k(start, end),
            deposits=[Deposit(self._clock.position(hit.true_s), hit.energy_ev) for hit in hits],
            noise_key=self._noise_key,
        )

    def _rests(self, state: State) -> bool:
        """Whether no bias flows, and has not for long: the sensor is then a resistor."""
        cell = state.sample - state.sample % self._cell
        unbiased = state.drive.steady and self._steady_bias_a(state.drive) == 0.0
        return unbiased and cell - state.since >= self._settle

    def _resting(self, tes: TesState, drive: Drive, end: int) -> tuple[Floats, TesState]:
        """The noise of the circuit alone, exact; without a current no heat is seen."""
        p, cell = self.recipe.tes, tes.sample - tes.sample % self._cell
        bath_k = self._bath.at_k(self._clock.time_s(cell))
        op = self._rest(self._steady_heater_w(drive), round(bath_k / BATH_STEP_K))
        r_ohm = float(p.r_ohm(op.t_e_k, 0.0))
        whole_ohm = p.r_load_ohm + r_ohm
        warm_k = (p.shunt_k * p.r_load_ohm + op.t_e_k * r_ohm) / whole_ohm
        decay = exp(-self._dt_s * whole_ohm / p.inductance_h)
        sigma_a = sqrt(BOLTZMANN_J_PER_K * warm_k / p.inductance_h * (1 - decay**2))
        out = np.empty(end - tes.sample)
        noise_key = np.uint64(self._noise_key)
        last_a = _circuit_noise(out, tes.current_a, decay, sigma_a, noise_key, tes.sample)
        rest = TesState.at(op, end)
        return out, replace(rest, current_a=last_a)

    def _rest_at(self, heater_w: float, bath_steps: int) -> OperatingPoint:
        bath_k = bath_steps * BATH_STEP_K
        return operating_point(self.recipe.tes, bias_a=0.0, bath_k=bath_k, heater_w=heater_w)

    def _stream(self, state: State, out: Samples) -> None:
        """Baseline, pulses and noise of samples within one cell."""
        start = state.sample
        ramp = self._ramp(state)
        signal = self._signal_a(state, len(out))
        (a, b), (mains, shaken) = self._working.noise, self._line_pools
        pools = (a, b, mains)
        k = 0
        while k < len(out):
            i, j, m = (
                (start + k + place) % len(pool)
                for pool, place in zip(pools, self.recipe.places, strict=True)
            )
            n = min(len(out) - k, len(a) - i, len(b) - j, len(mains) - m)
            _mix(
                out[k : k + n],
                a[i : i + n],
                b[j : j + n],
                mains[m : m + n],
                shaken[m : m + n],
                signal[k : k + n],
                len(signal) > 0,
                (start + k) % self._cell,
                ramp,
            )
            k += n

    def _ramp(self, state: State) -> Ramp:
        """Baseline and gain over the cell of a streaming state, all in counts and counts per A."""
        cell = state.sample - state.sample % self._cell
        key_ = (cell, state.since, state.error_phi0, state.drive)
        if self._ramped[0] != key_:
            self._ramped = (key_, self._ramp_of(state, cell))
        return self._ramped[1]

    def _ramp_of(self, state: State, cell: int) -> Ramp:
        recipe, drive = self.recipe, state.drive
        near = self._working.near(self._steady_bias_a(drive), self._steady_heater_w(drive))
        settings = self._loop(drive)
        per_phi0 = recipe.squid.volts_per_phi0(settings.feedback_ohm) / recipe.volts_per_count
        per_a = recipe.squid.volts_per_a(settings.feedback_ohm) / recipe.volts_per_count
        flux_counts = per_phi0 * (settings.flux_offset_phi0 - state.error_phi0)
        flux_counts += self._offset_v(cell) / recipe.volts_per_count
        (before_a, _, scale), (after_a, _, scale_after) = (
            near.at(self._bath.at_k(self._clock.time_s(sample)))
            for sample in (cell, cell + self._cell)
        )
        return Ramp(
            base=per_a * before_a + flux_counts,
            base_step=per_a * (after_a - before_a) / self._cell,
            gain=per_a * scale,
            gain_step=per_a * (scale_after - scale) / self._cell,
            mains_gain=per_a,
            shaken_gain=per_a * self._shaking(cell),
        )

    def _signal_a(self, state: State, n: int) -> npt.NDArray[np.float32]:
        """The pulses in n samples from the state on; an empty array where there are none."""
        width = RENDERED * self._cell
        begin = state.sample - state.sample % width
        key_ = (begin, state.since, state.drive)
        if self._rendered[0] != key_:
            self._rendered = (key_, self._render(state.since, begin, width))
        signal = self._rendered[1]
        return signal[state.sample - begin : state.sample - begin + n] if len(signal) else signal

    def _render(self, since: int, start: int, n: int) -> npt.NDArray[np.float32]:
        """The pulses in whole cells: in a storm each lies in many of the pieces asked for."""
        signal: npt.NDArray[np.float32] = np.empty(0, np.float32)
        bank = self._working.bank
        for hit in self._hits(start, start + n):
            position = self._clock.position(hit.true_s)
            energy_ev = min(hit.energy_ev, bank.most_ev)
            felt = since - self._settle <= position < start + n
            if felt and position + 1 + bank.length(energy_ev) > start:
                if not len(signal):
                    signal = np.zeros(n, np.float32)
                bank.add(signal, start, position, energy_ev)
        # pulses that overlap do not add up beyond what there is to lose
        return np.maximum(signal, np.float32(-bank.full_swing_a))

    # --- what samples are made of

    def _hits(self, start: int, stop: int) -> list[Hit]:
        """What may be felt in [start, stop)."""
        first_s, stop_s = self._clock.time_s(start), self._clock.time_s(stop)
        return list(self._truth(first_s - LONGEST_S - MARGIN_S, stop_s + MARGIN_S))

    def _times_s(self, start: int, end: int) -> Floats:
        """The bench times of samples within one cell, whatever else is asked for."""
        cell = start - start % self._cell
        begin_s, end_s = self._clock.time_s(cell), self._clock.time_s(cell + self._cell)
        steps = np.arange(start - cell, end - cell)
        return np.asarray(begin_s + (end_s - begin_s) / self._cell * steps, np.float64)

    def _baths_k(self, start: int, end: int) -> Floats:
        """The bath at samples within one cell: a straight line over it."""
        cell = start - start % self._cell
        begin_k, end_k = (
            self._bath.at_k(self._clock.time_s(at)) for at in (cell, cell + self._cell)
        )
        steps = np.arange(start - cell, end - cell)
        return np.asarray(begin_k + (end_k - begin_k) / self._cell * steps, np.float64)

    def _lines_a(self, samples: npt.NDArray[np.int64], start: int) -> Floats:
        """What is picked up, as a current in the input coil."""
        mains, shaken = self._line_pools
        at = (samples + self.recipe.places[2]) % len(mains)
        return mains[at].astype(np.float64) + self._shaking(start) * shaken[at]

    def _shaking(self, sample: int) -> float:
        """How much the pulse tubes shake, the same over a cell."""
        return self._bath.at(self._clock.time_s(sample - sample % self._cell))[1]

    def _offset_v(self, sample: int) -> float:
        """The output's offset, the same over a cell."""
        cell = sample - sample % self._cell
        return float(self.recipe.squid.offset_at_v(self._clock.time_s(cell)))

    def _near(self, drive: Drive, sample: int) -> tuple[Near, float]:
        """The streamable states under a steady drive, and the bath at a sample."""
        bath_k = self._bath.at_k(self._clock.time_s(sample))
        bias_a, heater_w = self._steady_bias_a(drive), self._steady_heater_w(drive)
        return self._working.near(bias_a, heater_w), bath_k

    def _steady_bias_a(self, drive: Drive) -> float:
        return float(drive.bias_a(self.recipe.lines, _MOMENT)[0])

    def _steady_heater_w(self, drive: Drive) -> float:
        return float(drive.heater_w(self.recipe.lines, _MOMENT)[0])


@njit(nogil=True, cache=True)
def _circuit_noise(
    out: Floats, x: float, decay: float, sigma: float, noise_key: np.uint64, first: int
) -> float:
    for i in range(out.size):
        out[i] = x
        x = x * decay + sigma * normal(noise_key, np.uint64(first + i))
    return x


@njit(nogil=True, cache=True)
def _digitize(out: Samples, volts: Floats, per_volt: float) -> None:
    for i in range(out.size):
        out[i] = np.int16(np.floor(min(max(volts[i] * per_volt, -32768.0), 32767.0) + 0.5))


@njit(nogil=True, cache=True)
def _mix(
    out: Samples,
    first: Pool,
    second: Pool,
    mains: Pool,
    shaken: Pool,
    signal: npt.NDArray[np.float32],
    has_signal: bool,
    k: int,
    ramp: Ramp,
) -> None:
    """`k` is the first sample's place in its cell, where base and gain are counted from."""
    base, base_step = np.float32(ramp.base), np.float32(ramp.base_step)
    gain, gain_step = np.float32(ramp.gain), np.float32(ramp.gain_step)
    mains_gain, shaken_gain = np.float32(ramp.mains_gain), np.float32(ramp.shaken_gain)
    for i in range(out.size):
        at = np.float32(k + i)
        value = first[i] + second[i]
        if has_signal:
            value += signal[i]
        value *= gain + gain_step * at
        value += mains_gain * mains[i] + shaken_gain * shaken[i] + base + base_step * at
        value = min(max(value, np.float32(-32768)), np.float32(32767))
        out[i] = np.int16(np.floor(value + np.float32(0.5)))
