"""The heat that flows between the stages of a refrigerator, as a differential equation.

The state is the logarithm of each stage's temperature in K, the condensed share of the mixture,
its circulation as a share of the usual one, and the integral of each controller in W.

Pulse tubes: load curves that rise from the temperature without load (2.8 K and 32 K of one with
1.5 W at 4.2 K and 40 W at 45 K) and saturate. Still: 3He evaporates, by an exponential vapour
pressure that the pump limits. Mixing chamber: P = a (T² - T0²) times the circulation. Heat switches
tie the cold plates to the 4 K stage above 7 K, so that the pulse tubes cool them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, pi, sin

import numpy as np

from sim_hardware.world.copper import ELECTRONS_J_PER_KG_K2, heat_capacity_j_per_kg_k
from sim_hardware.world.fridges import Fridge
from sim_hardware.world.heaters import Constant, Heater, Regulator
from sim_hardware.world.integrator import Array

STAGES = ("50K", "4K", "still", "mixing", "plate")
INDEX = {name: n for n, name in enumerate(STAGES)}
CONDENSED, CIRCULATION, N_FIXED = 5, 6, 7  # where in the state; the controllers follow
ROOM_K, SHIELD_K, COLD_K, STILL_K = 300.0, 47.0, 3.6, 0.7  # at rest

FIRST_W, FIRST_FROM_K, FIRST_SCALE_K = 250.0, 32.0, 75.0
SECOND_W, SECOND_FROM_K, SECOND_SCALE_K = 80.0, 2.8, 74.0
STOPPED_W_PER_K = (0.03, 0.02)  # what a pulse tube that stands conducts, to 50 K and on to 4 K
RADIATED = 0.5  # of the heat on the 50 K stage; the rest is conducted

SWITCH_W_PER_K, SWITCH_K, SWITCH_WIDTH_K = 3.0, 7.0, 0.2
LINE_W_PER_K = 0.03  # of the circulating mixture, above 2 K, until it is liquid
COLUMN_W_PER_K, COLUMN_K = 0.05, 0.6  # convection between still and mixing chamber, above this
BOILING_K = 1.5  # of the still, above which the column between them is stirred whatever is below

LATENT_J_PER_MOL, VAPOUR_K, PUMP_LIMIT = 26.0, 1.86, 0.25
MOL_PER_W_PER_K2 = 1 / 76.0  # of circulation for a cooling power; the ideal is 1/84
GAS_J_PER_MOL_K, LIQUEFIED_K = 20.8, 4.2
CIRCULATION_S, CONDENSING_S, COLLECTING_S, BOILING_S = 45.0, 7200.0, 3600.0, 600.0
STILL_S, MIXING_S = 60.0, 100.0  # time constants that the helium in them makes

REGENERATOR_J_PER_K = 40.0  # rare earths and helium in the second stage of a pulse tube
HELIUM_K = 0.4  # above which the heat capacity of the mixture stays as it is
STILL_KG, MIXING_KG, PLATE_KG = 6.0, 6.0, 2.0
LEAK_W, SHAKEN_W = 1e-6, 0.2e-6  # into the mixing chamber, and while a pulse tube runs
PLATE_W, PLATE_S = 2e-9, 30.0  # what leaks into the detector plate; its time constant
EXCHANGE_W_PER_K = (0.8, 0.5, 0.15, 0.15, 0.05)  # of gas let in to warm up, by stage

DRIFT_PERIODS_S = ((5400.0, 9100.0), (3600.0, 7900.0), (2400.0, 5300.0), (1800.0, 3700.0))
DRIFT_SHARES = (0.03, 0.02, 0.004, 0.012)  # of cooling at 50 K, 4 K, still; of the mixing's leak

PLATE_W_PER_K2 = PLATE_KG * 0.693e-3 / 0.063546 / PLATE_S


@dataclass(frozen=True, slots=True)
class Machine:
    """The switches of the machine room; `warming` lets exchange gas in."""

    pulse_tube: bool = True
    circulating: bool = True
    warming: bool = False


@dataclass(frozen=True, slots=True)
class Orders:
    """What has been ordered: the machine room's switches, and heaters by stage and driver."""

    machine: Machine = Machine()
    heaters: tuple[tuple[tuple[str, str], Heater], ...] = ()

    @property
    def regulators(self) -> tuple[tuple[str, str], ...]:
        """Which heaters have an integral in the state, in order."""
        return tuple(key for key, heater in self.heaters if isinstance(heater, Regulator))


def _gate(excess: float) -> float:
    """From 0 to 1 around 0, smoothly."""
    return 1 / (1 + exp(-min(max(excess, -60.0), 60.0)))


@dataclass(frozen=True)
class Thermal:
    """The equation of one refrigerator; `phases` are those of the drifts, none without drifts."""

    of: Fridge
    base_k: float
    phases: tuple[float, ...] = ()
    room_w: float = field(init=False)
    down_w: float = field(init=False)
    still_w_per_k2: float = field(init=False)
    flow_mol_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Balance the heat that flows in against the cooling at rest."""
        flow = self.of.cooling_w_per_k2 * MOL_PER_W_PER_K2
        still_w = flow * LATENT_J_PER_MOL
        into_cold_w = self.second_w(COLD_K) + still_w
        object.__setattr__(self, "flow_mol_s", flow)
        object.__setattr__(self, "still_w_per_k2", 2 * still_w / (COLD_K**2 - STILL_K**2))
        object.__setattr__(self, "down_w", into_cold_w)
        object.__setattr__(self, "room_w", self.first_w(SHIELD_K) + into_cold_w)

    # --- what cools

    def first_w(self, temperature_k: float) -> float:
        """What the first stages of the pulse tubes take up."""
        return (
            self.of.pulse_tubes
            * FIRST_W
            * (1 - exp((FIRST_FROM_K - temperature_k) / FIRST_SCALE_K))
        )

    def second_w(self, temperature_k: float) -> float:
        """What their second stages take up."""
        full_w = self.of.pulse_tubes * SECOND_W
        return full_w * (1 - exp((SECOND_FROM_K - temperature_k) / SECOND_SCALE_K))

    def evaporation(self, still_k: float, condensed: float) -> float:
        """What leaves a pumped still, as a share of the usual circulation."""
        free = exp(min(VAPOUR_K * (1 / STILL_K - 1 / still_k), 30.0))
        limited = (1 + PUMP_LIMIT) * free / (1 + PUMP_LIMIT * free)
        return limited * 1.02 * condensed / (abs(condensed) + 0.02)

    def dilution_w(self, mixing_k: float, circulation: float, condensed: float) -> float:
        """What the mixing chamber takes up: a (T² - T0²), of two phases below 0.8 K."""
        phases = mixing_k**2 / (1 + (mixing_k / 0.8) ** 6)
        at_base_w = LEAK_W + SHAKEN_W + PLATE_W
        share = circulation * condensed**4
        return share * (self.of.cooling_w_per_k2 * (phases - self.base_k**2) + at_base_w)

    # --- what flows and is stored

    def capacities(self, logs: list[float], condensed: float) -> list[float]:
        """The heat capacity of each stage, in J/K."""
        of, still_k, mixing_k = self.of, exp(logs[2]), exp(logs[3])
        copper = [heat_capacity_j_per_kg_k(log) for log in logs]
        helium = MIXING_S * 2 * of.cooling_w_per_k2 - MIXING_KG * ELECTRONS_J_PER_KG_K2
        in_mixing = helium * mixing_k / (1 + (mixing_k / HELIUM_K) ** 4) ** 0.25
        in_still = STILL_S * self.still_w_per_k() * still_k / (still_k + 0.1) * 8 / 7
        return [
            of.shields_kg * copper[0],
            of.plates_kg * copper[1] + of.pulse_tubes * REGENERATOR_J_PER_K,
            STILL_KG * copper[2] + condensed * in_still,
            MIXING_KG * copper[3] + condensed * in_mixing,
            PLATE_KG * copper[4],
        ]

    def still_w_per_k(self) -> float:
        """How much more power warms the still by 1 K, from its usual temperature."""
        return self.flow_mol_s * LATENT_J_PER_MOL * VAPOUR_K / STILL_K**2 / (1 + PUMP_LIMIT)

    def flows_w(self, time_s: float, state: list[float], orders: Orders) -> list[float]:
        """The heat that flows into each stage, without its heaters."""
        shield, cold, still, mixing, plate = (exp(log) for log in state[:CONDENSED])
        condensed, circulation = state[CONDENSED], state[CIRCULATION]
        drifts = [self.drift(n, time_s) for n in range(4)]
        running, goes_round = float(orders.machine.pulse_tube), float(orders.machine.circulating)

        radiated = (ROOM_K**4 - shield**4) / (ROOM_K**4 - SHIELD_K**4)
        conducted = (ROOM_K - shield) / (ROOM_K - SHIELD_K)
        room = self.room_w * (RADIATED * radiated + (1 - RADIATED) * conducted)
        down = self.down_w * (shield - cold) / (SHIELD_K - COLD_K)
        room += (1 - running) * STOPPED_W_PER_K[0] * self.of.pulse_tubes * (ROOM_K - shield)
        down += (1 - running) * STOPPED_W_PER_K[1] * self.of.pulse_tubes * (shield - cold)
        first = running * self.first_w(shield) * (1 + drifts[0])
        second = running * self.second_w(cold) * (1 + drifts[1])

        evaporating = self.evaporation(still, condensed)
        flow = self.flow_mol_s * evaporating
        boiled_off = flow * LATENT_J_PER_MOL * (1 + drifts[2])
        warm_gas = goes_round * flow * GAS_J_PER_MOL_K * max(0.0, cold - LIQUEFIED_K)
        supports = self.still_w_per_k2 * (cold**2 - still**2) / 2
        gas = goes_round * (1 - condensed)
        to_still = supports + _tie(cold, still, gas)
        to_mixing = _tie(cold, mixing, gas)

        wetted = condensed / (abs(condensed) + 0.05)
        above = mixing**8 / (mixing**8 + COLUMN_K**8) + _gate((still - BOILING_K) / 0.05)
        column = COLUMN_W_PER_K * wetted * above * (still - mixing)
        leak = LEAK_W * (1 + drifts[3]) * (still**2 - mixing**2) / STILL_K**2
        link = PLATE_W_PER_K2 * (plate**2 - mixing**2) / 2
        link += SWITCH_W_PER_K / 5 * _gate((plate - SWITCH_K) / SWITCH_WIDTH_K) * (plate - mixing)
        taken = self.dilution_w(mixing, circulation, condensed)
        return [
            room - down - first,
            down - second - to_still - to_mixing,
            to_still + warm_gas - column - leak - boiled_off,
            to_mixing + column + leak + link + running * SHAKEN_W - taken,
            PLATE_W - link,
        ]

    def slopes(self, time_s: float, state: Array, orders: Orders) -> Array:
        """How the state changes."""
        y = state.tolist()
        kelvins = [exp(log) for log in y[:CONDENSED]]
        capacities = self.capacities(y[:CONDENSED], y[CONDENSED])
        into = self.flows_w(time_s, y, orders)
        if orders.machine.warming:
            gas = zip(into, EXCHANGE_W_PER_K, kelvins, strict=True)
            into = [flow + per_k * (ROOM_K - kelvin) for flow, per_k, kelvin in gas]
        integrals = iter(y[N_FIXED:])
        grown = []
        for (stage, _), heater in orders.heaters:
            n = INDEX[stage]
            if isinstance(heater, Constant):
                into[n] += heater.power_w
                continue
            wanted = heater.wanted_w(next(integrals), kelvins[n], into[n], capacities[n])
            into[n] += heater.given_w(wanted)
            grown.append(heater.integral_w_per_s(wanted, kelvins[n]))
        logs = [w / (c * k) for w, c, k in zip(into, capacities, kelvins, strict=True)]
        return np.array([*logs, *self._mixture(kelvins, y, orders), *grown])

    def powers_w(self, time_s: float, state: Array, orders: Orders) -> dict[tuple[str, str], float]:
        """What each heater gives, by its stage and who drives it."""
        y = state.tolist()
        capacities = self.capacities(y[:CONDENSED], y[CONDENSED])
        into = self.flows_w(time_s, y, orders)
        integrals, powers = iter(y[N_FIXED:]), {}
        for (stage, by), heater in orders.heaters:
            n = INDEX[stage]
            if isinstance(heater, Constant):
                given = heater.power_w
            else:
                given = heater.given_w(
                    heater.wanted_w(next(integrals), exp(y[n]), into[n], capacities[n])
                )
            into[n] += given
            powers[stage, by] = given
        return powers

    def drift(self, stage: int, time_s: float) -> float:
        """The share by which what cools a stage, or leaks into it, is more than usual now."""
        if not self.phases:
            return 0.0
        first_s, second_s = DRIFT_PERIODS_S[stage]
        first = sin(2 * pi * (time_s / first_s + self.phases[2 * stage]))
        second = sin(2 * pi * (time_s / second_s + self.phases[2 * stage + 1]))
        return DRIFT_SHARES[stage] * (0.7 * first + 0.3 * second)

    def _mixture(self, kelvins: list[float], y: list[float], orders: Orders) -> tuple[float, float]:
        """How the condensed share and the circulation change."""
        _, cold, still, *_ = kelvins
        condensed, circulation = y[CONDENSED], y[CIRCULATION]
        change = -condensed * _gate((still - 4.8) / 0.2) / BOILING_S
        if not orders.machine.circulating:
            collecting = min(1.0, condensed / 0.03) / COLLECTING_S
            return change - collecting, -circulation / CIRCULATION_S
        cool = _gate((4.6 - cold) / 0.15) * _gate((5.0 - still) / 0.3)
        change += cool * min(1.0, (1 - condensed) / 0.05) / CONDENSING_S
        return change, (self.evaporation(still, condensed) - circulation) / CIRCULATION_S


def _tie(cold_k: float, stage_k: float, gas: float) -> float:
    """From the 4 K stage through a heat switch, and with the gas that goes round above 2 K."""
    switch = SWITCH_W_PER_K * _gate((stage_k - SWITCH_K) / SWITCH_WIDTH_K)
    line = gas * LINE_W_PER_K * _gate((stage_k - 2.0) / 0.1)
    return (switch + line) * (cold_k - stage_k)
