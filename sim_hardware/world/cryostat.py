"""The cryostat: its temperatures as functions of the seed and of what was ordered, and when.

Whoever asks, how often and in which order makes no difference. Orders may come late or be given
for later; what lies before them stays as it is.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import exp, inf, log, nextafter, pi, sin
from typing import Literal, get_args

import numpy as np

from sim_hardware.source import ForgottenError
from sim_hardware.world.fridges import Fridge, checked_base_k, fridge
from sim_hardware.world.heaters import Constant, Gains, Heater, Regulator
from sim_hardware.world.integrator import Array, Solution
from sim_hardware.world.orders import (
    HEATER,
    SWITCHES,
    Report,
    heater_of,
    heater_value,
    switches_of,
)
from sim_hardware.world.physical import UnphysicalError, within
from sim_hardware.world.thermal import (
    CIRCULATION,
    COLD_K,
    CONDENSED,
    INDEX,
    MIXING_S,
    N_FIXED,
    PLATE_S,
    PLATE_W_PER_K2,
    ROOM_K,
    SHIELD_K,
    STAGES,
    STILL_K,
    STILL_S,
    Machine,
    Orders,
    Thermal,
)

MODEL = "bluefors-xld400"
PLATE_K = 9.837e-3  # at which the detectors have their working point
PLATE_LIMIT_W = 1e-6
PLATE = ("plate", "plate")  # the plate's own controller
NOISE, DRIFTS = 1 << 32, 1 << 33  # of the generators: not one of the particles' keys
NOISE_K = {"50K": 3e-3, "4K": 5e-4, "still": 1e-4, "mixing": 2e-6, "plate": 1e-7}  # rms
TICK_S = 0.1  # thermometer noise is white down to this
LOOP_GAIN, TUNED_UP_TO_K = 10.0, 0.4  # of a controller that is tuned
TOLERANCES = (1e-4, 1e-4, 3e-5, 1e-5, 3e-6)  # of each step, in ln T
REMEMBERED_S, REMEMBERED_STEPS = 900.0, 20_000  # what is remembered at least, and at most besides
LARGEST_W = 1000.0  # of a heater

PULSE_TUBE_HZ, N_HARMONICS = 1.4, 5  # the stages' masses leave little of higher ones
RIPPLE_K = {"50K": 0.03, "4K": 5e-3, "still": 2e-5, "mixing": 3e-8, "plate": 2e-9}

Start = Literal["cold", "warm"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order, as it stands in the log."""

    at_s: float
    what: str
    changed: Callable[[Orders], Orders]


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start_s` to the next stretch: what was ordered, and what it made of the stages."""

    start_s: float
    orders: Orders
    solution: Solution


class Cryostat:
    """The stages of one refrigerator, the heaters on them, and its machine room's switches.

    `start` is "cold", at rest with the mixture going round, or "warm", at 300 K with everything
    switched on at time 0. The plate is regulated at `plate_setpoint_k`; 0: it is not.
    """

    def __init__(
        self,
        seed: int,
        model: str = MODEL,
        start: Start = "cold",
        *,
        base_k: float | None = None,
        plate_setpoint_k: float = PLATE_K,
        drifting: bool = True,
    ) -> None:
        """Raises UnphysicalError."""
        if start not in get_args(Start):
            raise UnphysicalError(f'start: expected "cold" or "warm", found {start}')
        self._seed, self.model, self.of = seed, model, fridge(model)
        self.base_k = checked_base_k(self.of.base_k if base_k is None else base_k)
        self._thermal = _thermal(self.of, self.base_k, _phases(seed) if drifting else ())
        self._lock = threading.RLock()  # guards the log and the stretches
        self.log: list[Ordered] = []
        orders = Orders(heaters=self._regulating_plate(plate_setpoint_k))
        state = warm(orders) if start == "warm" else at_rest(self._thermal, orders)
        self._stretches = [Stretch(0.0, orders, self._solution(0.0, orders, state))]
        self._oldest_s = 0.0  # orders from before are forgotten
        self._watchers: list[Callable[[float], None]] = []
        self._looked_s = 0.0  # orders from before come too late
        self._report: Report = lambda *_: None

    # --- what it is like

    def look(self, now_s: float) -> tuple[float, float]:
        """The plate in K and the shaking, just before a time; no order changes them afterwards.

        ForgottenError where that is too long ago to be known.
        """
        with self._lock:
            if now_s < self._oldest_s:
                raise ForgottenError(f"expected a time from {self._oldest_s} s on, found {now_s}")
            self._looked_s = max(self._looked_s, now_s)
            before_s = nextafter(now_s, -inf)
            return self.plate_k(before_s), self.shaking(before_s)

    def temperature_k(self, stage: str, now_s: float) -> float:
        """What a perfect but noisy thermometer shows on a stage."""
        return self.true_k(stage, now_s) + NOISE_K[stage] * self._noise(stage, now_s)

    def true_k(self, stage: str, now_s: float) -> float:
        """The temperature of a stage, with the pulse tube's ripple."""
        smooth_k = exp(self._state(now_s)[INDEX[stage]])
        return smooth_k + RIPPLE_K[stage] * self.shaking(now_s) * _ripple(now_s)

    def plate_k(self, now_s: float) -> float:
        """The temperature of the plate that the detectors stand on."""
        return self.true_k("plate", now_s)

    def shaking(self, now_s: float) -> float:
        """How much the pulse tubes shake: 1 while they run, 0 when they stand."""
        return 1.0 if self.machine(now_s).pulse_tube else 0.0

    def condensed(self, now_s: float) -> float:
        """The share of the mixture that is liquid."""
        return min(1.0, max(0.0, float(self._state(now_s)[CONDENSED])))

    def circulation(self, now_s: float) -> float:
        """How much of the mixture goes round, as a share of the usual flow."""
        return max(0.0, float(self._state(now_s)[CIRCULATION]))

    def flow_mmol_s(self, now_s: float) -> float:
        """The circulation."""
        return self.circulation(now_s) * self._thermal.flow_mol_s * 1e3

    def machine(self, now_s: float) -> Machine:
        """How the machine room's switches stand at a time."""
        return self.orders(now_s).machine

    def orders(self, now_s: float) -> Orders:
        """All that is ordered at a time."""
        with self._lock:
            return self._stretch(now_s).orders

    @property
    def state_log(self) -> list[tuple[float, str]]:
        """Every order that is remembered: when, and what."""
        with self._lock:
            return [(each.at_s, each.what) for each in self.log]

    # --- heaters

    def heat(self, power_w: float, now_s: float, *, by: str = "") -> None:
        """Put a constant power on the mixing chamber, with the heater that `by` drives."""
        self._give("mixing", by, power_w, now_s)

    def hold(
        self,
        setpoint_k: float,
        limit_w: float,
        now_s: float,
        *,
        by: str = "",
        gains: Gains | None = None,
    ) -> None:
        """Regulate the mixing chamber with a heater of that power; tuned, if no gains are given."""
        self._drive(("mixing", by), self._regulator("mixing", setpoint_k, limit_w, gains), now_s)

    def heat_still(self, power_w: float, now_s: float, *, by: str = "") -> None:
        """Put a constant power on the still."""
        self._give("still", by, power_w, now_s)

    def hold_still(
        self,
        setpoint_k: float,
        limit_w: float,
        now_s: float,
        *,
        by: str = "",
        gains: Gains | None = None,
    ) -> None:
        """Regulate the still."""
        self._drive(("still", by), self._regulator("still", setpoint_k, limit_w, gains), now_s)

    def heat_plate(self, power_w: float, now_s: float, *, by: str = PLATE[1]) -> None:
        """Put a constant power on the detector plate."""
        self._give("plate", by, power_w, now_s)

    def hold_plate(
        self,
        setpoint_k: float,
        limit_w: float,
        now_s: float,
        *,
        by: str = PLATE[1],
        gains: Gains | None = None,
    ) -> None:
        """Regulate the detector plate."""
        self._drive(("plate", by), self._regulator("plate", setpoint_k, limit_w, gains), now_s)

    def driven_w(self, stage: str, by: str, now_s: float) -> float:
        """The power of one heater alone."""
        return self._powers_w(now_s).get((stage, by), 0.0)

    def heater_w(self, now_s: float) -> float:
        """The power on the mixing chamber."""
        return self._on("mixing", now_s)

    def still_heater_w(self, now_s: float) -> float:
        """The power on the still."""
        return self._on("still", now_s)

    def plate_heater_w(self, now_s: float) -> float:
        """The power on the detector plate."""
        return self._on("plate", now_s)

    def tuned(self, stage: str, setpoint_k: float) -> Gains:
        """The gains with which a stage goes to a setpoint ten times faster than left alone."""
        setpoint_k = min(setpoint_k, TUNED_UP_TO_K)
        per_k, integral_s = {
            "mixing": (2 * self.of.cooling_w_per_k2 * setpoint_k, MIXING_S),
            "still": (self._thermal.still_w_per_k(), STILL_S),
            "plate": (PLATE_W_PER_K2 * setpoint_k, PLATE_S),
        }[stage]
        return Gains(w_per_k=LOOP_GAIN * per_k, integral_s=integral_s)

    # --- the machine room

    def trip_compressor(self, at_s: float) -> None:
        """The pulse tubes stop."""
        self._switch("compressor trips", at_s, pulse_tube=False)

    def restart(self, at_s: float) -> None:
        """Pulse tubes on, the mixture goes round, nothing warms up."""
        self._switch("restart", at_s, pulse_tube=True, circulating=True, warming=False)

    def run_pulse_tubes(self, on: bool, at_s: float) -> None:
        """Switch the pulse tubes."""
        self._switch(f"pulse tubes {'on' if on else 'off'}", at_s, pulse_tube=on)

    def circulate(self, on: bool, at_s: float) -> None:
        """Let the mixture go round, or collect it."""
        self._switch(f"circulation {'on' if on else 'off'}", at_s, circulating=on)

    def stop_circulation(self, at_s: float) -> None:
        """The mixture is collected."""
        self._switch("circulation off", at_s, circulating=False)

    def warm_up(self, at_s: float) -> None:
        """Everything off, and exchange gas in."""
        self._switch("warm up", at_s, pulse_tube=False, circulating=False, warming=True)

    def watch(self, watcher: Callable[[float], None]) -> None:
        """Tell the time of every order to the machine room, once it is given."""
        self._watchers.append(watcher)

    def report_to(self, report: Report) -> None:
        """From now on, tell of every order that changes something: what `obey` takes."""
        self._report = report

    def obey(self, at_s: float, what: str, value: Mapping[str, object]) -> None:
        """Give an order that was reported once more; UnphysicalError where it is none."""
        if what == SWITCHES:
            self._switch("switched again", at_s, **switches_of(value))
        elif what == HEATER:
            (stage, by), heater = heater_of(value)
            if isinstance(heater, Constant):
                self._give(stage, by, heater.power_w, at_s)
            else:
                made = self._regulator(stage, heater.setpoint_k, heater.limit_w, heater.gains)
                self._drive((stage, by), made, at_s)
        else:
            raise UnphysicalError(f"expected {HEATER} or {SWITCHES}, found {what}")

    # --- how it is known

    def _give(self, stage: str, by: str, power_w: float, now_s: float) -> None:
        within("power of a heater [W]", power_w, 0.0, LARGEST_W)
        self._drive((stage, by), Constant(power_w), now_s)

    def _regulator(
        self, stage: str, setpoint_k: float, limit_w: float, gains: Gains | None
    ) -> Regulator:
        within("setpoint [K]", setpoint_k, 0.0, 1e9)
        within("limit of a heater [W]", limit_w, 0.0, LARGEST_W)
        gains = gains or self.tuned(stage, setpoint_k)
        for name in ("w_per_k", "integral_s", "derivative_s"):
            within(f"{name} of a controller", getattr(gains, name), 0.0, 1e9)
        return Regulator(setpoint_k, limit_w, gains)

    def _drive(self, key: tuple[str, str], heater: Heater, now_s: float) -> None:
        at_s, new = self._order(
            f"{key[0]} heater {key[1]}: {heater}", now_s, partial(_driven, key, heater)
        )
        if new:
            self._report(at_s, HEATER, heater_value(key, heater))

    def _switch(self, what: str, at_s: float, **switches: bool) -> None:
        def changed(orders: Orders) -> Orders:
            return replace(orders, machine=replace(orders.machine, **switches))

        at_s, new = self._order(what, at_s, changed)
        if new:
            self._report(at_s, SWITCHES, switches)
        for watcher in self._watchers:
            watcher(at_s)

    def _order(
        self, what: str, at_s: float, changed: Callable[[Orders], Orders]
    ) -> tuple[float, bool]:
        """Enter an order in the log at its place, and follow all from there.

        Returns when it applies, which is after all that was looked at, and if it changes anything.
        """
        with self._lock:
            at_s = max(at_s, self._looked_s)
            within(
                "time of an order [s]", at_s, self._oldest_s, 1e12, "what lies before is forgotten"
            )
            place = bisect_right(self.log, at_s, key=lambda each: each.at_s)
            self.log.insert(place, Ordered(at_s, what, changed))
            kept = bisect_right(self._stretches, at_s, key=lambda each: each.start_s)
            del self._stretches[kept:]
            new = self._follow(self.log[place])
            for each in self.log[place + 1 :]:
                self._follow(each)
            self._forget()
            return at_s, new

    def _follow(self, ordered: Ordered) -> bool:
        """Begin the stretch after an order, if it changes anything; whether it does."""
        before = self._stretches[-1]
        orders = ordered.changed(before.orders)
        if orders == before.orders:
            return False
        state = before.solution.at(ordered.at_s)
        before.solution.forget_after(ordered.at_s)
        carried = self._carried(before, ordered.at_s, state, orders)
        solution = self._solution(ordered.at_s, orders, carried)
        self._stretches.append(Stretch(ordered.at_s, orders, solution))
        return True

    def _carried(self, before: Stretch, at_s: float, state: Array, orders: Orders) -> Array:
        """The state with the integrals of those who regulate now, who take over without a bump."""
        powers = self._thermal.powers_w(at_s, state, before.orders)
        integrals = dict(zip(before.orders.regulators, state[N_FIXED:].tolist(), strict=True))
        taken = [integrals.get(key, powers.get(key, 0.0)) for key in orders.regulators]
        return np.array([*state[:N_FIXED].tolist(), *taken])

    def _solution(self, start_s: float, orders: Orders, state: Array) -> Solution:
        slopes = partial(_sloping, self._thermal, orders)
        return Solution(slopes, start_s, state, tolerances(orders))

    def _state(self, now_s: float) -> Array:
        with self._lock:
            return self._stretch(now_s).solution.at(max(0.0, now_s))

    def _stretch(self, now_s: float) -> Stretch:
        found = bisect_right(self._stretches, now_s, key=lambda each: each.start_s)
        return self._stretches[max(0, found - 1)]

    def _powers_w(self, now_s: float) -> dict[tuple[str, str], float]:
        with self._lock:
            stretch = self._stretch(now_s)
            state = stretch.solution.at(max(0.0, now_s))
            return self._thermal.powers_w(max(0.0, now_s), state, stretch.orders)

    def _on(self, stage: str, now_s: float) -> float:
        return sum(w for (of, _), w in self._powers_w(now_s).items() if of == stage)

    def _forget(self) -> None:
        """Drop the oldest stretches."""
        newest_s = self.log[-1].at_s
        while (
            len(self._stretches) > 1
            and self._stretches[1].start_s < newest_s - REMEMBERED_S
            and sum(each.solution.n_steps for each in self._stretches) > REMEMBERED_STEPS
        ):
            del self._stretches[0]
        self._oldest_s = max(self._oldest_s, self._stretches[0].start_s)
        old = bisect_right(self.log, newest_s - REMEMBERED_S, key=lambda each: each.at_s)
        excess = min(len(self.log) - REMEMBERED_STEPS, old)
        if excess > 0:
            self._oldest_s = max(self._oldest_s, self.log[excess - 1].at_s)
        del self.log[: bisect_left(self.log, self._oldest_s, key=lambda each: each.at_s)]

    def _regulating_plate(self, setpoint_k: float) -> tuple[tuple[tuple[str, str], Heater], ...]:
        if not setpoint_k:
            return ()
        why = "the plate is no colder than the mixing chamber"
        within("plate_setpoint_k", setpoint_k, self.base_k, 0.1, why)
        return ((PLATE, Regulator(setpoint_k, PLATE_LIMIT_W, self.tuned("plate", setpoint_k))),)

    def _noise(self, stage: str, now_s: float) -> float:
        """A normal deviate for each stage and tick, whoever asks and however often."""
        tick = int(now_s / TICK_S) % 2**64  # there is a time before the bench's, too
        counter = np.array([0, 0, STAGES.index(stage), tick], np.uint64)
        philox = np.random.Philox(counter=counter, key=[self._seed, NOISE])
        return float(np.random.Generator(philox).standard_normal())


def at_rest(thermal: Thermal, orders: Orders) -> Array:
    """The state in which everything stays as it is at time 0."""
    return np.array(_at_rest(thermal, orders))


@lru_cache(maxsize=64)
def _at_rest(thermal: Thermal, orders: Orders) -> tuple[float, ...]:
    kelvins = (SHIELD_K, COLD_K, STILL_K, thermal.base_k * 1.001, thermal.base_k * 1.01)
    guess = np.array([*map(log, kelvins), 1.0, 1.0, *(0.0 for _ in orders.regulators)])

    def frozen(_: float, state: Array) -> Array:
        return thermal.slopes(0.0, state, orders)

    solution = Solution(frozen, 0.0, guess, tolerances(orders), longest_s=1e9)
    return tuple(solution.at(1e8).tolist())


def warm(orders: Orders) -> Array:
    """The state in which nothing has been cooled."""
    return np.array([log(ROOM_K)] * len(STAGES) + [0.0, 0.0] + [0.0 for _ in orders.regulators])


def tolerances(orders: Orders) -> Array:
    """Of each step, by what the state holds; those of controllers move their stage by as little."""
    regulators = [heater for _, heater in orders.heaters if isinstance(heater, Regulator)]
    powers = [max(TOLERANCES[-1] * r.gains.w_per_k * r.setpoint_k, 1e-15) for r in regulators]
    return np.array([*TOLERANCES, 3e-5, 3e-5, *powers])


def _driven(key: tuple[str, str], heater: Heater, orders: Orders) -> Orders:
    """The orders with a heater; the constant ones come first, then others as they began."""
    before = dict(orders.heaters)
    if isinstance(heater, Regulator) and isinstance(before.get(key), Regulator):
        heaters = before | {key: heater}
    else:
        heaters = {k: v for k, v in before.items() if k != key} | {key: heater}
    ordered = sorted(heaters.items(), key=lambda each: isinstance(each[1], Regulator))
    return replace(orders, heaters=tuple(ordered))


def _sloping(thermal: Thermal, orders: Orders, time_s: float, state: Array) -> Array:
    return thermal.slopes(time_s, state, orders)


@lru_cache(maxsize=64)
def _thermal(of: Fridge, base_k: float, phases: tuple[float, ...]) -> Thermal:
    return Thermal(of, base_k, phases)


def _phases(seed: int) -> tuple[float, ...]:
    generator = np.random.Generator(np.random.Philox(key=[seed, DRIFTS]))
    return tuple(generator.random(8).tolist())


def _ripple(now_s: float) -> float:
    """The pulse tube's ripple in time: a fundamental of height 1, and harmonics that fall as 1/k².

    A displacement that steps (1/k) behind a thermal mass (1/k).
    """
    turn = 2 * pi * PULSE_TUBE_HZ * now_s
    return sum(sin(k * turn) / k**2 for k in range(1, N_HARMONICS + 1))
