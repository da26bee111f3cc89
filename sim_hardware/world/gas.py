"""The gas handling of the refrigerator: valves, pumps, and the pressures and flow they cause.

Plain first-order quantities: the mixture circulates, or it is collected. The stages' temperatures
do not feel it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sim_hardware.world.cryostat import Response

VALVES = tuple(f"v{n}" for n in range(1, 24))
PUMPS = ("turbo1", "turbo2", "scroll1", "scroll2", "compressor", "pulsetube")
CIRCULATING = frozenset({"v1", "v4", "v7", "v9", "v10", "turbo1", "scroll1"})  # all of them on
TURBO, TURBO_HZ, TURBO_S = "turbo1", 820.0, 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What it goes for with one time constant, while the mixture circulates and while not."""

    circulating: float
    collected: float
    time_constant_s: float


PRESSURES = {  # mbar
    "p1": Quantity(circulating=1.83e-6, collected=1.9e-6, time_constant_s=300.0),  # vacuum can
    "p2": Quantity(circulating=9.62e-3, collected=1.2, time_constant_s=30.0),  # still
    "p3": Quantity(circulating=351.0, collected=4.0, time_constant_s=60.0),  # condensing
    "p4": Quantity(circulating=371.0, collected=5.0, time_constant_s=60.0),  # behind the pump
    "p5": Quantity(circulating=3.70, collected=620.0, time_constant_s=120.0),  # tank
    "p6": Quantity(circulating=9.50, collected=9.60, time_constant_s=600.0),  # service
    "p7": Quantity(circulating=1.20, collected=85.0, time_constant_s=120.0),  # tank of the 3He
}
SIX_GAUGES = tuple(PRESSURES)[:6]  # which most refrigerators have
FLOW = Quantity(circulating=0.243, collected=0.0, time_constant_s=45.0)  # mmol/s


class GasHandling:
    """The state of every valve and pump, and what follows from it."""

    def __init__(self) -> None:
        self._on = {name: name in CIRCULATING | {"pulsetube"} for name in (*VALVES, *PUMPS)}
        self._pressures = {
            name: Response(of.circulating, of.time_constant_s) for name, of in PRESSURES.items()
        }
        self._flow = Response(FLOW.circulating, FLOW.time_constant_s)
        self._turbo_hz = Response(TURBO_HZ, TURBO_S)

    @property
    def circulating(self) -> bool:
        """Whether the mixture goes round."""
        return all(self._on[name] for name in CIRCULATING)

    def on(self, name: str) -> bool:
        """Whether a valve is open or a pump runs; KeyError where there is no such part."""
        return self._on[name]

    def switch(self, states: dict[str, bool], now_s: float) -> None:
        """Open or close valves, start or stop pumps; KeyError, and nothing done, for no part."""
        unknown = set(states) - set(self._on)
        if unknown:
            raise KeyError(f"expected parts of the gas handling, found {sorted(unknown)}")
        self._on |= states
        self._respond(now_s)

    def circulate(self, on: bool, now_s: float) -> None:
        """Let the mixture go round, or collect it."""
        self.switch(dict.fromkeys(CIRCULATING, on), now_s)

    def pressure_mbar(self, name: str, now_s: float) -> float:
        """What the gauge `p1` to `p7` shows."""
        return self._pressures[name].at(now_s)

    def flow_mmol_s(self, now_s: float) -> float:
        """The circulation."""
        return self._flow.at(now_s)

    def turbo_hz(self, now_s: float) -> float:
        """How fast the turbo pump turns."""
        return self._turbo_hz.at(now_s)

    def _respond(self, now_s: float) -> None:
        for response, of in self._quantities():
            response.aim(of.circulating if self.circulating else of.collected, now_s)
        self._turbo_hz.aim(TURBO_HZ if self._on[TURBO] else 0.0, now_s)

    def _quantities(self) -> Iterable[tuple[Response, Quantity]]:
        yield self._flow, FLOW
        yield from ((self._pressures[name], of) for name, of in PRESSURES.items())
