"""The section that says what each detector hangs on: its electronics, generator and resistors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    model_validator,
)

from daq.settings.sections import Channels, Name, Section

PAIRS = ("squid_bias_a", "tes_sweep_a")
LISTS = ("baths_k", "map_shares", "map_heater_w")
ALL = "all"  # the table whose values every detector has that does not say otherwise
_SQUID = re.compile(r"\A([^:]+):([0-9]{1,3})\Z")
_PARAMETER = re.compile(r"\A([^:]+):(.+)\Z")


class Plug(NamedTuple):
    """A numbered channel of an instrument."""

    instrument: str
    number: int

    def __str__(self) -> str:
        return f"{self.instrument}:{self.number}"


class Place(NamedTuple):
    """A parameter of an instrument."""

    instrument: str
    parameter: str

    def __str__(self) -> str:
        return f"{self.instrument}:{self.parameter}"


def _plug(value: object) -> object:
    match = _SQUID.match(value) if isinstance(value, str) else None
    if match is None and not isinstance(value, Plug):
        raise ValueError(f'expected "instrument:number" such as "squids1:2", found {value!r}')
    return value if match is None else Plug(match[1], int(match[2]))


def _place(value: object) -> object:
    match = _PARAMETER.match(value) if isinstance(value, str) else None
    if match is None and not isinstance(value, Place):
        raise ValueError(
            f'expected "instrument:parameter" such as "fridge:input 6.temperature", found {value!r}'
        )
    return value if match is None else Place(match[1], match[2])


Socket = Annotated[Plug, BeforeValidator(_plug), PlainSerializer(str, return_type=str)]
Parameter = Annotated[Place, BeforeValidator(_place), PlainSerializer(str, return_type=str)]


class Detector(Section):
    """One detector: a TES, the SQUID that reads it, and what drives both."""

    squid: Socket = Field(description='Its SQUID electronics and channel: "squids1:2".')
    bias: Socket | None = Field(None, description="Generator and output at its TES bias line.")
    heater: Socket | None = Field(None, description="Generator and output at its heater.")
    flux: Socket | None = Field(None, description="Generator and output at its SQUID's flux.")
    thermometer: Parameter | None = Field(None, description="Reading of the bath [K].")
    setpoint: Parameter | None = Field(None, description="What the bath is told to hold [K].")
    bias_ohm: float = Field(1e6, gt=0, description="Turns the generator's V into TES bias [ohm].")
    flux_ohm: float = Field(100e3, gt=0, description="Turns the generator's V into flux [ohm].")
    heater_ohm: float = Field(10e3, gt=0, description="The heater [ohm].")
    heater_attenuation_db: float = Field(
        80.0, ge=0, le=200, description="From the generator to the heater [dB]."
    )
    input_a_per_phi0: float = Field(
        0.3e-6, gt=0, description="TES current that is one flux quantum: 1/M of the input coil [A]."
    )
    feedback_a_per_phi0: float = Field(
        40e-6, gt=0, description="Current of the flux line that is one quantum, by design [A]."
    )
    shunt_ohm: float = Field(20e-3, gt=0, description="The shunt beside the TES [ohm].")
    inductance_h: float = Field(
        400e-9, ge=0, description="Input coil and its wiring, by design [H]."
    )
    nep_max_w_rthz: float | None = Field(
        None, gt=0, description="NEP at 100 Hz that a tuned sensor may have; any, without."
    )
    squid_bias_a: tuple[float, float] = Field(
        (8e-6, 40e-6), description="Bias currents of the SQUID that tuning may try [A]."
    )
    tes_bias_max_a: float = Field(
        40e-6, gt=0, description="TES bias that no procedure goes beyond [A]."
    )
    bath_warmer_k2: float = Field(
        0.0,
        description="Square of the sensor's plate above that of the thermometer, by a leak [K2].",
    )
    baths_k: tuple[float, ...] = Field(
        (10e-3, 11.5e-3, 12.5e-3, 13.5e-3, 14.2e-3),
        description="Baths of a deep tuning, for Tc and G [K].",
    )
    map_shares: tuple[float, ...] = Field(
        (0.2, 0.35, 0.5),
        description="Of the normal resistance: where a deep tuning looks for a better place.",
    )
    map_heater_w: tuple[float, ...] = Field(
        (0.0,), description="The same with these powers of the generator at the heater [W]."
    )
    bath_max_k: float = Field(0.1, gt=0, description="Bath that no procedure goes beyond [K].")
    feedback_ohm: float | None = Field(
        None,
        gt=0,
        description="Feedback resistor to work with [ohm]; the one that stands, without.",
    )
    sweep_feedback_ohm: float = Field(
        3e3, gt=0, description="Feedback resistor of IVs: all of the current must fit [ohm]."
    )
    load_ohm: float | None = Field(
        None, gt=0, description="Shunt and parasitic resistance [ohm]; without: by each IV."
    )
    tes_normal_a: float = Field(30e-6, gt=0, description="TES bias that drives it normal [A].")
    tes_range_a: float | None = Field(
        125e-6, gt=0, description="Range of the TES bias to work in [A], where there are several."
    )
    tes_sweep_a: tuple[float, float] = Field(
        (8e-6, 0.4e-6), description="TES biases of an IV: from normal, down to the last ones [A]."
    )
    tes_share: float = Field(0.35, gt=0, lt=1, description="Of the normal resistance, to work at.")

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, given: object) -> object:
        """TOML has arrays for pairs and lists."""
        if not isinstance(given, Mapping):
            return given
        several = {*PAIRS, *LISTS}
        return {
            n: tuple(v) if n in several and isinstance(v, list) else v for n, v in given.items()
        }

    @model_validator(mode="after")
    def _in_order(self) -> Detector:
        least, most = self.squid_bias_a
        if not 0 < least < most:
            raise ValueError(
                f"expected squid_bias_a as [least, most] above 0, found {list(self.squid_bias_a)}"
            )
        top, bottom = self.tes_sweep_a
        if not 0 < bottom < top <= self.tes_bias_max_a:
            raise ValueError(
                f"expected tes_sweep_a as [top, bottom] up to tes_bias_max_a "
                f"{self.tes_bias_max_a:g}, found {list(self.tes_sweep_a)}"
            )
        if not all(0 < each <= self.bath_max_k for each in self.baths_k):
            raise ValueError(
                f"expected baths_k above 0 up to bath_max_k {self.bath_max_k:g}, "
                f"found {list(self.baths_k)}"
            )
        if not all(0 < each < 1 for each in self.map_shares):
            raise ValueError(f"expected map_shares from 0 to 1, found {list(self.map_shares)}")
        if self.tes_normal_a > self.tes_bias_max_a:
            raise ValueError(
                f"expected tes_normal_a up to tes_bias_max_a {self.tes_bias_max_a:g}, "
                f"found {self.tes_normal_a:g}"
            )
        return self


class Detectors(RootModel[dict[Name, Detector]]):
    """Detectors by the name of their channel; [detectors.all] is for those that say nothing."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _merged(cls, given: Any) -> Any:  # Any: whatever is in the file
        if not isinstance(given, Mapping):
            return given
        common = given.get(ALL, {})
        if not isinstance(common, Mapping):
            raise ValueError(f"expected a table {ALL}, found {common!r}")
        return {
            name: {**common, **own} if isinstance(own, Mapping) else own
            for name, own in given.items()
            if name != ALL
        }

    def mistakes(self, sections: Mapping[str, BaseModel]) -> Iterable[str]:
        """What does not fit the channels and instruments of the same config."""
        channels = sections.get("channels")
        known = getattr(sections.get("instruments"), "root", None)
        taken: dict[Plug, str] = {}
        for name, detector in self.root.items():
            if isinstance(channels, Channels) and name not in channels.root:
                expected = ", ".join(channels.root)
                yield f"detectors.{name}: expected one of the channels {expected}"
            other = taken.setdefault(detector.squid, name)
            if other != name:
                yield f"detectors.{name}.squid: {detector.squid} is already {other}'s"
            yield from self._unknown(name, detector, known or {})

    @staticmethod
    def _unknown(name: str, detector: Detector, known: Mapping[str, object]) -> Iterable[str]:
        for key in ("squid", "bias", "heater", "flux", "thermometer", "setpoint"):
            at = getattr(detector, key)
            if at is not None and at.instrument not in known:
                expected = ", ".join(known) or "none of [instruments]"
                yield (
                    f"detectors.{name}.{key}: expected one of the instruments {expected}, "
                    f"found {at.instrument!r}"
                )
