"""What the cryostat is ordered, as plain values that can be written down and given once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields

from sim_hardware.world.heaters import Constant, Gains, Heater, Regulator
from sim_hardware.world.physical import UnphysicalError
from sim_hardware.world.thermal import STAGES, Machine

HEATER, SWITCHES = "heater", "switches"
Report = Callable[[float, str, Mapping[str, object]], None]  # when, HEATER or SWITCHES, and what


def heater_value(key: tuple[str, str], heater: Heater) -> dict[str, object]:
    """A heater on a stage, by who drives it."""
    return {"stage": key[0], "by": key[1], **asdict(heater)}


def heater_of(value: Mapping[str, object]) -> tuple[tuple[str, str], Heater]:
    """The heater that `heater_value` wrote; UnphysicalError where it did not."""
    given = dict(value)
    stage, by = given.pop("stage", None), given.pop("by", None)
    if stage not in STAGES or not isinstance(by, str):
        raise UnphysicalError(f"heater: expected a stage and who drives it, found {value}")
    gains = given.pop("gains", None)
    if gains is None:
        return (str(stage), by), Constant(**_numbers(Constant, given))
    parts = _numbers(Gains, gains if isinstance(gains, Mapping) else {})
    given_k = _numbers(Regulator, given, without=("gains",))
    return (str(stage), by), Regulator(**given_k, gains=Gains(**parts))


def switches_of(value: Mapping[str, object]) -> dict[str, bool]:
    """Switches of the machine room; UnphysicalError for what is none."""
    known = {each.name for each in fields(Machine)}
    found = {name: on for name, on in value.items() if isinstance(on, bool) and name in known}
    if len(found) != len(value) or not found:
        raise UnphysicalError(f"switches: expected some of {sorted(known)}, found {value}")
    return found


def _numbers(
    of: type[Constant | Gains | Regulator],
    value: Mapping[str, object],
    without: tuple[str, ...] = (),
) -> dict[str, float]:
    names = {each.name for each in fields(of)} - set(without)
    numbers = {n: float(v) for n, v in value.items() if isinstance(v, int | float)}
    if set(numbers) != names or len(value) != len(names):
        raise UnphysicalError(f"heater: expected the numbers {sorted(names)}, found {value}")
    return numbers
