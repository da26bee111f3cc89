"""The gas handling of the refrigerator: its valves and pumps, and the pressures that follow.

Valves and pumps act on the cryostat: the mixture goes round while all of one set are on, and is
collected while not. The cryostat acts on the pressures: what is not liquid is in the tanks.
"""

from __future__ import annotations

from bisect import insort
from math import exp

from sim_hardware.world.cryostat import Cryostat

VALVES = tuple(f"v{n}" for n in range(1, 24))
PUMPS = ("turbo1", "turbo2", "scroll1", "scroll2", "compressor", "pulsetube")
CIRCULATING = frozenset({"v1", "v4", "v7", "v9", "v10", "turbo1", "scroll1"})  # all of them on
PULSE_TUBE = "pulsetube"
TURBO, TURBO_HZ, TURBO_S = "turbo1", 820.0, 40.0

GAUGES = ("p1", "p2", "p3", "p4", "p5", "p6", "p7")
SIX_GAUGES = GAUGES[:6]  # which most refrigerators have
VACUUM_MBAR, OUTGASSED_MBAR, DESORBED_MBAR, EXCHANGE_MBAR = 1.83e-6, 5e-4, 3e-3, 1.0
DESORBING_K = 20.0  # of the 4 K stage, above which it no longer pumps the vacuum
STILL_MBAR, BOILING_MBAR, PUMPED_MBAR = 9.52e-3, 1.2, 1e-4
RETURN_MBAR, EMPTY_MBAR, CONDENSING_MBAR = 347.0, 4.0, 600.0
PUMP_MBAR = 20.0  # from the pump to the condensing line, of the usual flow
TANK_MBAR, HELIUM3_MBAR, SERVICE_MBAR = (3.70, 616.3), (1.20, 83.8), 9.50

Switched = tuple[float, int, dict[str, bool]]  # when, a number that keeps the order, and what


class GasHandling:
    """The state of every valve and pump, and what follows from it."""

    def __init__(self, cryostat: Cryostat) -> None:
        self._cryostat = cryostat
        machine = cryostat.machine(0.0)
        on = dict.fromkeys((*VALVES, *PUMPS), False) | {PULSE_TUBE: machine.pulse_tube}
        on |= dict.fromkeys(CIRCULATING, machine.circulating)
        self._switched: list[Switched] = [(float("-inf"), 0, on)]
        self._n = 0
        cryostat.watch(self._obey)

    def circulating(self, now_s: float) -> bool:
        """Whether the mixture is let go round."""
        states = self._states(now_s)
        return all(states[name] for name in CIRCULATING)

    def on(self, name: str, now_s: float) -> bool:
        """Whether a valve is open or a pump runs; KeyError where there is no such part."""
        return self._states(now_s)[name]

    def switch(self, states: dict[str, bool], now_s: float) -> None:
        """Open or close valves, start or stop pumps; KeyError, and nothing done, for no part."""
        unknown = set(states) - set(self._switched[0][2])
        if unknown:
            raise KeyError(f"expected parts of the gas handling, found {sorted(unknown)}")
        self._note(states, now_s)
        machine, circulating = self._cryostat.machine(now_s), self.circulating(now_s)
        if states.get(PULSE_TUBE, machine.pulse_tube) != machine.pulse_tube:
            self._cryostat.run_pulse_tubes(states[PULSE_TUBE], now_s)
        if circulating != machine.circulating:
            self._cryostat.circulate(circulating, now_s)

    def circulate(self, on: bool, now_s: float) -> None:
        """Let the mixture go round, or collect it."""
        self.switch(dict.fromkeys(CIRCULATING, on), now_s)

    def pressure_mbar(self, name: str, now_s: float) -> float:
        """What a gauge shows, `p1` to `p7`: vacuum, still, condensing, pump, tank, service, 3He."""
        condensed = self._cryostat.condensed(now_s)
        gas, share = 1 - condensed, self._cryostat.circulation(now_s)
        goes_round = self.circulating(now_s)
        condensing = EMPTY_MBAR + RETURN_MBAR * share + CONDENSING_MBAR * gas * goes_round
        boiling = 0.0 if goes_round else BOILING_MBAR * condensed
        return {
            "p1": self._vacuum_mbar(now_s),
            "p2": PUMPED_MBAR + STILL_MBAR * share + boiling,
            "p3": condensing,
            "p4": condensing + PUMP_MBAR * share,
            "p5": TANK_MBAR[0] + TANK_MBAR[1] * gas,
            "p6": SERVICE_MBAR,
            "p7": HELIUM3_MBAR[0] + HELIUM3_MBAR[1] * gas,
        }[name]

    def flow_mmol_s(self, now_s: float) -> float:
        """The circulation."""
        return self._cryostat.flow_mmol_s(now_s)

    def turbo_hz(self, now_s: float) -> float:
        """How fast the turbo pump turns."""
        since_s, hz, on = 0.0, 0.0, False
        for at_s, _, states in self._switched:
            if TURBO in states and at_s <= now_s:
                hz = _spun_hz(hz, on, at_s - since_s)
                since_s, on = at_s, states[TURBO]
        return _spun_hz(hz, on, now_s - since_s)

    def _vacuum_mbar(self, now_s: float) -> float:
        """Cold surfaces pump; warm ones give back what they had pumped."""
        if self._cryostat.machine(now_s).warming:
            return EXCHANGE_MBAR
        shield_k = self._cryostat.true_k("50K", now_s)
        over = self._cryostat.true_k("4K", now_s) - DESORBING_K
        desorbed = DESORBED_MBAR / (1 + exp(-over)) if over > -60 else 0.0
        return VACUUM_MBAR + OUTGASSED_MBAR * (shield_k / 300) ** 8 + desorbed

    def _obey(self, now_s: float) -> None:
        """Turn what an order to the cryostat turns."""
        machine = self._cryostat.machine(now_s)
        states = {PULSE_TUBE: machine.pulse_tube}
        if machine.circulating != self.circulating(now_s):
            states |= dict.fromkeys(CIRCULATING, machine.circulating)
        self._note(states, now_s)

    def _note(self, states: dict[str, bool], now_s: float) -> None:
        self._n += 1
        insort(self._switched, (now_s, self._n, dict(states)))

    def _states(self, now_s: float) -> dict[str, bool]:
        states: dict[str, bool] = {}
        for at_s, _, switched in self._switched:
            if at_s <= now_s or not states:
                states |= switched
        return states


def _spun_hz(hz: float, on: bool, for_s: float) -> float:
    """How fast the pump turns after a while."""
    goal = TURBO_HZ if on else 0.0
    return goal + (hz - goal) * exp(-max(0.0, for_s) / TURBO_S)
