"""From the tables [bench.tes] and [bench.squid] to the parameters of one sensor and its SQUID."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from sim_hardware.world.materials import MATERIALS, Crystal
from sim_hardware.world.physical import within
from sim_hardware.world.squid_parameters import SquidParameters
from sim_hardware.world.tes import BIAS_A, TesParameters

ALL = "all"  # in place of a channel: every target
MATERIAL = "CaWO4"
MOST_A, MOST_W = 125e-6, 1e-9
WORKING = ("bias_a", "heater_w")
CRYSTAL = "crystal_a_j_per_k4"  # follows from the crystal's mass


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor, its SQUID, and its working point: the heater's power follows where it is None."""

    tes: TesParameters
    squid: SquidParameters
    bias_a: float = BIAS_A
    heater_w: float | None = None


def sensor(tes: Mapping[str, float], squid: Mapping[str, float], *, mass_g: float) -> Sensor:
    """The sensor of a crystal; UnphysicalError or ValueError says what cannot be."""
    of_tes = [field.name for field in fields(TesParameters)]
    of_squid = [field.name for field in fields(SquidParameters)]
    _known("tes", tes, [*of_tes, *WORKING])
    _known("squid", squid, of_squid)
    own = {name: value for name, value in tes.items() if name not in WORKING}
    crystal = Crystal(material=MATERIALS[MATERIAL], mass_g=mass_g)
    heater_w = tes.get("heater_w")
    return Sensor(
        TesParameters(**{CRYSTAL: crystal.a_j_per_k4, **own}),
        _squid(squid),
        within("bias_a", tes.get("bias_a", BIAS_A), 0.0, MOST_A),
        None if heater_w is None else within("heater_w", heater_w, 0.0, MOST_W),
    )


def _known(table: str, found: Iterable[str], expected: list[str]) -> None:
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise ValueError(f"{table}: expected some of {', '.join(expected)}, found {unknown}")


def _squid(found: Mapping[str, float]) -> SquidParameters:
    """The SQUID, whose polarity is a whole number."""
    polarity = round(found.get("polarity", SquidParameters().polarity))
    numbers = {name: value for name, value in found.items() if name != "polarity"}
    return SquidParameters(polarity=polarity, **numbers)
