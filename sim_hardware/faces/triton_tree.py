"""The keys of a Triton, and what each reads and sets in the world.

Of several independent clients: the nouns, K and mB and Hz, ON and OFF, OPEN and CLOSE, the actions,
and that STOP is written for NONE. Of one client each: uA for the ranges below 1 mA, and SYS:USER.
Not confirmed on a device: the words of SYS:DR:STATUS, units of resistances and of the turbo pump's
readings, which thermometer is which channel, that a loop switched off leaves the heater as it is,
and what P, I and D mean: here P is 5 where it is tuned, I and D are minutes. There is no magnet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

from sim_hardware.world.calendar import Calendar
from sim_hardware.world.cryostat import Cryostat
from sim_hardware.world.gas import SIX_GAUGES, GasHandling
from sim_hardware.world.thermometers import RUTHENIUM_OXIDE, SEMICONDUCTOR, Thermometer

NUMBER = re.compile(r"([+-]?\d{1,9}(?:\.\d*)?(?:[eE][+-]?\d{1,2})?)([a-zA-Z/]*)")
PREFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0}

THERMOMETERS: dict[str, tuple[str, Thermometer]] = {
    "T1": ("50K", SEMICONDUCTOR),
    "T2": ("4K", SEMICONDUCTOR),
    "T3": ("still", RUTHENIUM_OXIDE),
    "T5": ("mixing", RUTHENIUM_OXIDE),
}
CHANNELS = {"COOL": "T5", "STIL": "T3", "MC": "T5"}
CONTROLLED = "T5"
N_VALVES = 9
PUMPS = {"TURB1": "turbo1", "COMP": "compressor"}
TURBO_READINGS = {"POWR": "95W", "PST": "31C", "MT": "35C", "BT": "30C", "PBT": "29C", "ET": "33C"}
HEATER_OHM = 120.0
LARGEST_W = 0.1  # of a heater that is not regulated
RANGES_A = (0.0, 31.6e-6, 0.1e-3, 0.316e-3, 1e-3, 3.16e-3, 10e-3, 31.6e-3, 100e-3)
ON_OFF = {"ON": True, "OFF": False}
OPEN_CLOSE = {"OPEN": True, "CLOSE": False}
ACTIONS = ("NONE", "COND", "COLL", "CLDN", "PCL", "EPCL", "PCOND", "RCOND", "WARM")
WRITTEN_ACTIONS = {name: name for name in ACTIONS[1:]} | {"STOP": "NONE"}
CIRCULATES = {"COND": True, "COLL": False}
NUMBERS = {  # of the loop: unit, smallest and largest value, at first
    "TSET": ("K", 0.0, 300.0, 0.0),
    "P": ("", 0.0, 1e4, 5.0),
    "I": ("", 0.0, 1e4, 2.0),
    "D": ("", 0.0, 1e4, 0.0),
    "RAMP:RATE": ("K/min", 0.0, 100.0, 0.01),
}


@dataclass(frozen=True, slots=True)
class Key:
    """What READ gives, and what SET does; that gives the value as understood, or None: refused."""

    read: Callable[[float], str]
    write: Callable[[str, float], str | None] | None = None


Group = dict[str, Key]


class System:
    """Everything with an address; `moves` says whether a valve obeys this time."""

    def __init__(
        self,
        cryostat: Cryostat,
        gas: GasHandling,
        calendar: Calendar,
        moves: Callable[[], bool],
    ) -> None:
        self._cryostat, self._gas, self._calendar, self._moves = cryostat, gas, calendar, moves
        self._numbers = {name: first for name, (_, _, _, first) in NUMBERS.items()}
        self._regulates, self._range_a = False, 0.0
        self._action = "NONE"

    def groups(self) -> Iterator[tuple[str, Group]]:
        """The keys by the address they are under."""
        yield from self._whole()
        for name, (stage, thermometer) in THERMOMETERS.items():
            yield f"DEV:{name}:TEMP:SIG", self._signals(stage, thermometer)
            yield f"DEV:{name}:TEMP:MEAS", _measuring()
        yield f"DEV:{CONTROLLED}:TEMP:LOOP", self._loop()
        for gauge in SIX_GAUGES:
            yield f"DEV:{gauge.upper()}:PRES:SIG", {"PRES": Key(partial(self._pressure, gauge))}
        for n in range(1, N_VALVES + 1):
            yield f"DEV:V{n}:VALV:SIG", {"STATE": self._valve(f"v{n}")}
        yield from self._pumps()
        yield from self._heaters()

    def _whole(self) -> Iterator[tuple[str, Group]]:
        yield "SYS", {"TIME": Key(self._time), "USER": _always("GUEST")}
        action = Key(lambda _: self._action, self._act)
        yield "SYS:DR", {"STATUS": _always("OK"), "ACTN": action}
        yield "SYS:DR:CHAN", {name: _stored(at, THERMOMETERS) for name, at in CHANNELS.items()}

    def _signals(self, stage: str, thermometer: Thermometer) -> Group:
        kelvin = partial(self._cryostat.temperature_k, stage)
        return {
            "TEMP": Key(lambda now_s: f"{kelvin(now_s):.6g}K"),
            "RES": Key(lambda now_s: f"{thermometer.resistance_ohm(kelvin(now_s)):.6g}Ohm"),
        }

    def _loop(self) -> Group:
        numbers = {
            name: Key(partial(self._number, name), partial(self._set_number, name))
            for name in NUMBERS
        }
        return numbers | {
            "MODE": Key(lambda _: _word(self._regulates, ON_OFF), self._set_mode),
            "RANGE": Key(lambda _: prefixed(self._range_a, "A"), self._set_range),
            "RAMP:ENAB": _stored("OFF", ON_OFF),
            "FILT:ENAB": _stored("OFF", ON_OFF),
            "HTR": _stored("H1", ("H1",)),
        }

    def _pumps(self) -> Iterator[tuple[str, Group]]:
        for name, part in PUMPS.items():
            state = Key(partial(self._part, part, ON_OFF), partial(self._switch, part, ON_OFF))
            turbo = {"SPD": Key(lambda now_s: f"{self._gas.turbo_hz(now_s):.1f}Hz")} | {
                key: _always(said) for key, said in TURBO_READINGS.items()
            }
            yield f"DEV:{name}:PUMP:SIG", {"STATE": state} | (turbo if part == "turbo1" else {})

    def _heaters(self) -> Iterator[tuple[str, Group]]:
        of_sample, of_still = self._cryostat.heater_w, self._cryostat.still_heater_w
        powers = {"H1": (of_sample, self._heat), "H2": (of_still, self._heat_still)}
        for name, (power_w, heat) in powers.items():
            yield f"DEV:{name}:HTR:SIG", {"POWR": Key(partial(_microwatts, power_w), heat)}
            yield f"DEV:{name}:HTR", {"RES": _always(f"{HEATER_OHM:g}Ohm")}

    # --- what the keys do

    def _time(self, now_s: float) -> str:
        return self._calendar.utc(now_s).strftime("%H:%M:%S")

    def _act(self, value: str, now_s: float) -> str | None:
        """Begin an action; STOP ends it and is NONE from then on."""
        if value not in WRITTEN_ACTIONS:
            return None
        self._action = WRITTEN_ACTIONS[value]
        if value in CIRCULATES:
            self._gas.circulate(CIRCULATES[value], now_s)
        return value

    def _number(self, name: str, now_s: float) -> str:
        del now_s
        return f"{self._numbers[name]:.6g}{NUMBERS[name][0]}"

    def _set_number(self, name: str, value: str, now_s: float) -> str | None:
        unit, smallest, largest, _ = NUMBERS[name]
        found = parsed(value, unit)
        if found is None or not smallest <= found <= largest:
            return None
        self._numbers[name] = found
        self._regulate(now_s)
        return self._number(name, now_s)

    def _set_mode(self, value: str, now_s: float) -> str | None:
        if value not in ON_OFF:
            return None
        self._regulates = ON_OFF[value]
        self._regulate(now_s)
        return value

    def _set_range(self, value: str, now_s: float) -> str | None:
        """One of the ranges, which a number without a unit gives in mA."""
        found = parsed(value, "A", bare=1e-3)
        near = [a for a in RANGES_A if found is not None and math.isclose(a, found, abs_tol=1e-9)]
        if not near:
            return None
        self._range_a = near[0]
        self._regulate(now_s)
        return prefixed(self._range_a, "A")

    def _regulate(self, now_s: float) -> None:
        """Let the loop act; what it leaves alone keeps its power."""
        if self._regulates:
            limit_w = HEATER_OHM * self._range_a**2
            setpoint_k, tuned_p = self._numbers["TSET"], NUMBERS["P"][3]
            gains = self._cryostat.tuned("mixing", setpoint_k).set_to(
                self._numbers["P"] / tuned_p, 60 * self._numbers["I"], 60 * self._numbers["D"]
            )
            self._cryostat.hold(setpoint_k, limit_w, now_s, gains=gains)

    def _heat(self, value: str, now_s: float) -> str | None:
        """A constant power, which a number without a unit gives in uW; not while it regulates."""
        power_w = _power_w(value)
        if power_w is None or self._regulates:
            return None
        self._cryostat.heat(power_w, now_s)
        return f"{power_w * 1e6:.6g}uW"

    def _heat_still(self, value: str, now_s: float) -> str | None:
        power_w = _power_w(value)
        if power_w is None:
            return None
        self._cryostat.heat_still(power_w, now_s)
        return f"{power_w * 1e6:.6g}uW"

    def _pressure(self, gauge: str, now_s: float) -> str:
        return f"{self._gas.pressure_mbar(gauge, now_s):.5g}mB"

    def _valve(self, part: str) -> Key:
        return Key(partial(self._part, part, OPEN_CLOSE), partial(self._turn, part))

    def _part(self, part: str, words: dict[str, bool], now_s: float) -> str:
        return _word(self._gas.on(part, now_s), words)

    def _turn(self, part: str, value: str, now_s: float) -> str | None:
        """A valve may stay where it is although the command was accepted."""
        if value in OPEN_CLOSE and not self._moves():
            return value
        return self._switch(part, OPEN_CLOSE, value, now_s)

    def _switch(self, part: str, words: dict[str, bool], value: str, now_s: float) -> str | None:
        if value not in words:
            return None
        self._gas.switch({part: words[value]}, now_s)
        return value


def prefixed(value: float, unit: str) -> str:
    """A number with the largest prefix that keeps it at 1 or more; 0 has none but m."""
    fitting = [(name, factor) for name, factor in PREFIXES.items() if abs(value) >= factor]
    name, factor = fitting[-1] if fitting else ("m", 1e-3)
    return f"{value / factor:.6g}{name}{unit}"


def parsed(text: str, unit: str, *, bare: float = 1.0) -> float | None:
    """A number with a prefix and the unit, or without both in units of `bare`; None: neither."""
    found = NUMBER.fullmatch(text)
    if found is None:
        return None
    number, given = float(found[1]), found[2]
    if not given:
        return number * bare
    prefix = given.removesuffix(unit) if unit and given.endswith(unit) else None
    return number * PREFIXES[prefix] if prefix in PREFIXES else None


def _power_w(text: str) -> float | None:
    power_w = parsed(text, "W", bare=1e-6)
    return power_w if power_w is not None and 0 <= power_w <= LARGEST_W else None


def _microwatts(power_w: Callable[[float], float], now_s: float) -> str:
    return f"{power_w(now_s) * 1e6:.6g}uW"


def _always(said: str) -> Key:
    """What never changes."""
    return Key(lambda _: said)


def _measuring() -> Group:
    """How a thermometer is scanned; kept, and without effect here."""
    return {"ENAB": _stored("ON", ON_OFF), "DWEL": _seconds("3S"), "PAUS": _seconds("3S")}


def _stored(first: str, words: Collection[str]) -> Key:
    """One of some words, which is kept."""
    return _kept(first, lambda value: value if value in words else None)


def _seconds(first: str) -> Key:
    """A time up to 1000 s, which is kept."""

    def understood(value: str) -> str | None:
        found = parsed(value, "S")
        return f"{found:.6g}S" if found is not None and 0 <= found <= 1000 else None

    return _kept(first, understood)


def _kept(first: str, understood: Callable[[str], str | None]) -> Key:
    kept = first

    def write(value: str, now_s: float) -> str | None:
        nonlocal kept
        del now_s
        found = understood(value)
        kept = kept if found is None else found
        return found

    return Key(lambda _: kept, write)


def _word(state: bool, words: dict[str, bool]) -> str:
    return next(word for word, meant in words.items() if meant is state)
