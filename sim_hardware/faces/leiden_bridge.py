"""The community's TCP bridge to the LabVIEW programs of a Leiden Cryogenics refrigerator.

As in the one published bridge: one command per connection, which needs no terminator and may be in
capitals, answered without a terminator by values with commas between, and then closed; its words
for what it does not know and for an index there is not. Of one client: temperatures in mK. The
gauges are P1 to P7, those that the gas handling behind the same front panel counts. Not confirmed
on a device: which thermometer has which index, that all seven gauges are passed on, and the units
of currents and resistances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim_hardware.face import Chunk
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import PRESSURES, GasHandling
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

UNKNOWN = "command not recognized"
FAILED = "error executing command, see server log"
EXCITATION_A = 1e-9

THERMOMETERS: tuple[tuple[str, Thermometer], ...] = (
    ("4K", SEMICONDUCTOR),
    ("still", RUTHENIUM_OXIDE),
    ("mixing", RUTHENIUM_OXIDE),
    ("50K", SEMICONDUCTOR),
)


class LeidenBridge:
    """The bridge on the refrigerator's computer."""

    model = "leiden-bridge"
    max_clients = 5
    refusal = b""

    def __init__(self, cryostat: Cryostat, gas: GasHandling) -> None:
        self.complaints: list[str] = []
        self._cryostat, self._gas = cryostat, gas
        self._all: dict[str, Callable[[float], list[float]]] = {
            "temperature": self._millikelvin,
            "resistance": self._ohm,
            "current": lambda _: [EXCITATION_A] * len(THERMOMETERS),
        }

    def connect(self, now_s: float) -> OneCommand:
        """Wait for the command of a new client."""
        del now_s
        return OneCommand(self)

    def answer(self, command: str, now_s: float) -> str:
        """The whole answer to a command."""
        for name, values in self._all.items():
            if command.startswith(f"all_{name}s"):
                return ",".join(map(str, values(now_s)))
        known = [name for name in (*self._all, "pressure") if command.startswith(name)]
        answer = self._one(known[0], command[-1], now_s) if known else UNKNOWN
        if answer in (UNKNOWN, FAILED):
            self.complaints.append(f"{command!r}: {answer}")
        return answer

    def _one(self, name: str, last: str, now_s: float) -> str:
        """The value that the last character counts: from 0, but gauges from 1."""
        if name == "pressure":
            known = f"p{last}" in PRESSURES
            return str(self._gas.pressure_mbar(f"p{last}", now_s)) if known else FAILED
        values = self._all[name](now_s)
        return str(values[int(last)]) if last.isdecimal() and int(last) < len(values) else FAILED

    def _millikelvin(self, now_s: float) -> list[float]:
        return [self._cryostat.temperature_k(stage, now_s) * 1e3 for stage, _ in THERMOMETERS]

    def _ohm(self, now_s: float) -> list[float]:
        return [
            thermometer.resistance_ohm(self._cryostat.temperature_k(stage, now_s))
            for stage, thermometer in THERMOMETERS
        ]


class OneCommand:
    """A connection: what arrives first is the command."""

    def __init__(self, bridge: LeidenBridge) -> None:
        self._bridge = bridge
        self._answer = b""
        self.over = False

    def receive(self, received: bytes, now_s: float) -> None:
        """Answer what arrived, and end."""
        command = received.decode("ascii", "replace").rstrip().lower()
        if command and not self.over:
            self._answer = self._bridge.answer(command, now_s).encode()
            self.over = True

    def send(self, now_s: float) -> Sequence[Chunk]:
        """The answer, once."""
        del now_s
        answer, self._answer = self._answer, b""
        return [answer] if answer else []

    def wait_s(self, now_s: float) -> float | None:
        """Never: it speaks when it is asked."""
        del now_s
        return None
