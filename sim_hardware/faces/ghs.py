"""The gas handling GHS-2T-1T-700 of a Leiden Cryogenics refrigerator, on its serial line.

Of one client: the commands, a tab between acknowledgment and data, 64 lamps and keys that are 1
(off) or 2 (on), eight ADC values, the buttons' numbers, the five states, that an order is answered
by its acknowledgment alone. Not confirmed on a device: the scale of the ADC values, which is
invented here, what `ID?` says, and that a numbered button turns the valve of that number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import log10

from sim_hardware.face import TextConversation
from sim_hardware.world.gas import GAUGES, GasHandling

IDENTITY = "GHS-2T-1T-700 SIM"
OK, COMMAND_ERROR, PARAMETER_ERROR, NOT_ACCEPTED = "0", "1", "2", "4"
N_KEYS = 64
OFF, ON = "1", "2"
LARGEST_ADC = 999_999
ADC_PER_MMOL_S = 100_000
ADC_PER_DECADE, ADC_LOWEST_MBAR = 100_000, 1e-6  # of pressures
LIMITS = (200_000, 600_000, 200_000, 600_000)  # P6 low and high, P7 low and high
START, CONDENSING_3HE, CONDENSING_4HE, NORMAL, RECOVERY = "1", "2", "3", "4", "5"
STATES = {48: START, 61: CONDENSING_3HE, 62: CONDENSING_4HE, 63: NORMAL, 64: RECOVERY}
CIRCULATES = {CONDENSING_3HE: True, CONDENSING_4HE: True, NORMAL: True, RECOVERY: False}
VALVE_BUTTONS = {
    31: "v1", 36: "v2", 34: "v3", 7: "v4", 9: "v5", 27: "v6", 24: "v7", 30: "v8", 12: "v9",
    19: "v10", 21: "v11", 18: "v12", 15: "v13", 13: "v14", 3: "v15", 4: "v16", 28: "v17",
}  # fmt: skip
UNCONNECTED = frozenset(range(8, 60, 3))

NUMBERS = re.compile(r"\d{1,6}(,\d{1,6})*")


class Ghs:
    """The gas handling; messages and replies end with LF."""

    model = "leiden-ghs"
    max_clients = 1
    refusal = b""
    message_end = b"\n"

    def __init__(self, gas: GasHandling) -> None:
        self.complaints: list[str] = []
        self._gas = gas
        self._state, self._limits = NORMAL, list(LIMITS)
        self._pressed: set[int] = set()
        self._queries: dict[str, Callable[[float], str]] = {
            "ID?": lambda _: IDENTITY,
            "STATUS?": lambda _: self._state,
            "LEDS?": lambda now_s: _lamps(self._lit(now_s)),
            "KEYS?": lambda _: _lamps(self._pressed),
            "ADC?": self._adc,
            "SETTINGS?": lambda _: ",".join(map(str, self._limits)),
        }
        self._orders: dict[str, Callable[[list[int], float], str]] = {
            "SETTINGS": self._set_limits,
            "DEVMAN": self._press,
        }

    def connect(self, now_s: float) -> TextConversation:
        """Talk with who has the line now."""
        del now_s
        return TextConversation(self)

    def answer(self, message: str, now_s: float) -> str:
        """An acknowledgment, and the data of a query after a tab."""
        message = message.rstrip("\r")
        if message in self._queries:
            return f"{OK}\t{self._queries[message](now_s)}\n"
        acknowledgment = self._obey(message, now_s)
        if acknowledgment != OK:
            self.complaints.append(f"{message!r}: acknowledged with {acknowledgment}")
        return f"{acknowledgment}\n"

    def _obey(self, message: str, now_s: float) -> str:
        word, _, rest = message.partition(" ")
        if word not in self._orders:
            return COMMAND_ERROR
        if not NUMBERS.fullmatch(rest):
            return PARAMETER_ERROR
        return self._orders[word]([int(number) for number in rest.split(",")], now_s)

    def _set_limits(self, numbers: list[int], now_s: float) -> str:
        del now_s
        if len(numbers) != len(LIMITS):
            return PARAMETER_ERROR
        self._limits = numbers
        return OK

    def _press(self, numbers: list[int], now_s: float) -> str:
        """Press a button: it begins a state, turns a valve, or is a key that stays pressed."""
        if len(numbers) != 1 or not 0 < numbers[0] <= N_KEYS:
            return PARAMETER_ERROR
        (number,) = numbers
        if number in UNCONNECTED:
            return NOT_ACCEPTED
        if number in STATES:
            self._begin(STATES[number], now_s)
        elif number in VALVE_BUTTONS:
            valve = VALVE_BUTTONS[number]
            self._gas.switch({valve: not self._gas.on(valve, now_s)}, now_s)
        else:
            self._pressed ^= {number}
        return OK

    def _begin(self, state: str, now_s: float) -> None:
        self._state = state
        if state in CIRCULATES:
            self._gas.circulate(CIRCULATES[state], now_s)

    def _lit(self, now_s: float) -> set[int]:
        """The lamps that are on."""
        valves = {number for number, valve in VALVE_BUTTONS.items() if self._gas.on(valve, now_s)}
        states = {number for number, state in STATES.items() if state == self._state}
        return self._pressed | valves | states

    def _adc(self, now_s: float) -> str:
        """P1 to P7, and the flow."""
        pressures = [_counts(self._gas.pressure_mbar(name, now_s)) for name in GAUGES]
        flow = round(self._gas.flow_mmol_s(now_s) * ADC_PER_MMOL_S)
        return ",".join(map(str, [*pressures, flow]))


def _counts(mbar: float) -> int:
    counts = ADC_PER_DECADE * log10(max(mbar, ADC_LOWEST_MBAR) / ADC_LOWEST_MBAR)
    return min(round(counts), LARGEST_ADC)


def _lamps(on: set[int]) -> str:
    return ",".join(ON if number in on else OFF for number in range(1, N_KEYS + 1))
